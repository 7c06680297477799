//! UTF-8 in any split, against the standard library.
//!
//! The first byte chooses the cuts, the second how many letters stand in front: that puts the text on both sides of the length at
//! which the vector kernel begins.

use weirline_codec::{InvalidUtf8, Utf8Validator};

use crate::source::{Source, pieces};

pub(crate) fn run(input: &[u8]) {
    let mut source = Source::new(input);
    let (seed, letters) = (source.byte(), usize::from(source.byte()));
    let text = [&b"a".repeat(letters)[..], source.remainder()].concat();
    let verdict = match std::str::from_utf8(&text) {
        Ok(_) => Ok(()),
        Err(error) => Err(InvalidUtf8 {
            sequence_start: error.valid_up_to() as u64,
        }),
    };
    assert_eq!(validate(&[&text]), verdict, "whole: {text:x?}");
    assert_eq!(
        validate(&pieces(seed, &text)),
        verdict,
        "cut by {seed}: {text:x?}"
    );
    bytewise(&text, verdict);
}

fn validate(pieces: &[&[u8]]) -> Result<(), InvalidUtf8> {
    let mut validator = Utf8Validator::new();
    for piece in pieces {
        validator.push(piece)?;
    }
    validator.finish()
}

/// RFC 6455 §8.1: the error comes with the first byte that cannot be right, and no sooner.
fn bytewise(text: &[u8], verdict: Result<(), InvalidUtf8>) {
    let valid = std::str::from_utf8(text).map_or_else(|error| error.valid_up_to(), str::len);
    let mut validator = Utf8Validator::new();
    for (index, byte) in text.iter().enumerate() {
        let open = text.get(valid..=index).unwrap_or_default();
        let hopeless = std::str::from_utf8(open).is_err_and(|error| error.error_len().is_some());
        let pushed = validator.push(std::slice::from_ref(byte));
        assert_eq!(pushed.is_err(), hopeless, "byte {index} of {text:x?}");
        if hopeless {
            assert_eq!(pushed, verdict);
            return;
        }
    }
    assert_eq!(validator.finish(), verdict);
}
