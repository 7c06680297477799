//! Incremental UTF-8 (RFC 6455 §8.1).

/// The text is not UTF-8 (RFC 3629), whatever follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid UTF-8 in the sequence that begins at byte {sequence_start}")]
pub struct InvalidUtf8 {
    /// Where the offending sequence begins, in bytes from the start of the text.
    pub sequence_start: u64,
}

/// Checks a text that arrives in pieces, and fails at the first byte that cannot be right (RFC 6455 §8.1).
///
/// Sequences may straddle pieces. After an error the validator is of no more use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Utf8Validator {
    /// The bytes of a sequence whose end has not arrived; a legal beginning of one.
    partial: [u8; 3],
    partial_len: u8,
    /// Bytes before the partial sequence, all of them valid.
    valid: u64,
}

impl Utf8Validator {
    /// A validator at the start of a text.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            partial: [0; 3],
            partial_len: 0,
            valid: 0,
        }
    }

    /// Takes the next piece, of any length.
    ///
    /// # Errors
    ///
    /// [`InvalidUtf8`] as soon as the bytes so far are not the beginning of any UTF-8 text.
    #[inline]
    pub fn push(&mut self, piece: &[u8]) -> Result<(), InvalidUtf8> {
        match *piece {
            [byte] => self.push_byte(byte),
            _ => self.push_piece(piece),
        }
    }

    /// Apart, so that the short way before it needs none of its registers.
    #[inline(never)]
    fn push_piece(&mut self, piece: &[u8]) -> Result<(), InvalidUtf8> {
        let rest = self.complete_partial(piece)?;
        match validate(rest) {
            Ok(()) => self.valid += rest.len() as u64,
            Err(Stop {
                valid_up_to,
                incomplete,
            }) => {
                self.valid += valid_up_to as u64;
                if !incomplete {
                    return Err(self.error());
                }
                let tail = &rest[valid_up_to..];
                self.partial[..tail.len()].copy_from_slice(tail);
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "an incomplete sequence has at most 3 bytes"
                )]
                {
                    self.partial_len = tail.len() as u8;
                }
            }
        }
        Ok(())
    }

    /// Says whether the text may end here.
    ///
    /// # Errors
    ///
    /// [`InvalidUtf8`] where the last sequence is incomplete.
    pub fn finish(&self) -> Result<(), InvalidUtf8> {
        if self.partial_len == 0 {
            Ok(())
        } else {
            Err(self.error())
        }
    }

    /// Feeds the beginning of `piece` to the sequence that the last piece left open; returns what is left.
    fn complete_partial<'a>(&mut self, piece: &'a [u8]) -> Result<&'a [u8], InvalidUtf8> {
        let mut rest = piece;
        while self.partial_len > 0
            && let Some((&byte, behind)) = rest.split_first()
        {
            self.continue_partial(byte)?;
            rest = behind;
        }
        Ok(rest)
    }

    /// The next byte of an open sequence (RFC 3629 §4).
    #[inline(always)]
    fn continue_partial(&mut self, byte: u8) -> Result<(), InvalidUtf8> {
        let first = self.partial[0];
        let legal = match (self.partial_len, first) {
            (1, 0xE0) => 0xA0..=0xBF,
            (1, 0xED) => 0x80..=0x9F,
            (1, 0xF0) => 0x90..=0xBF,
            (1, 0xF4) => 0x80..=0x8F,
            _ => 0x80..=0xBF,
        };
        if !legal.contains(&byte) {
            return Err(self.error());
        }
        let width = match first {
            0xF0.. => 4,
            0xE0.. => 3,
            _ => 2,
        };
        if self.partial_len + 1 == width {
            self.partial_len = 0;
            self.valid += u64::from(width);
        } else {
            self.partial[usize::from(self.partial_len)] = byte;
            self.partial_len += 1;
        }
        Ok(())
    }

    /// A piece of one byte, as a peer that drips sends them. An error changes nothing.
    #[inline]
    fn push_byte(&mut self, byte: u8) -> Result<(), InvalidUtf8> {
        if self.partial_len > 0 {
            return self.continue_partial(byte);
        }
        match byte {
            0..=0x7F => self.valid += 1,
            0xC2..=0xF4 => (self.partial[0], self.partial_len) = (byte, 1),
            _ => return Err(self.error()),
        }
        Ok(())
    }

    fn error(&self) -> InvalidUtf8 {
        InvalidUtf8 {
            sequence_start: self.valid,
        }
    }
}

/// Where validation stopped: after `valid_up_to` bytes, at an incomplete sequence or at a wrong one.
struct Stop {
    valid_up_to: usize,
    incomplete: bool,
}

fn validate(bytes: &[u8]) -> Result<(), Stop> {
    // The vector kernel has a start-up cost that short texts do not earn back.
    if bytes.len() < SIMD_BYTES_MIN {
        std::str::from_utf8(bytes).map(|_| ()).map_err(|e| Stop {
            valid_up_to: e.valid_up_to(),
            incomplete: e.error_len().is_none(),
        })
    } else {
        simdutf8::compat::from_utf8(bytes).map(|_| ()).map_err(|e| Stop {
            valid_up_to: e.valid_up_to(),
            incomplete: e.error_len().is_none(),
        })
    }
}

const SIMD_BYTES_MIN: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Byte by byte: at which byte does it fail?
    fn fails_at(text: &[u8]) -> Option<usize> {
        let mut validator = Utf8Validator::new();
        text.iter().position(|byte| validator.push(&[*byte]).is_err())
    }

    #[test]
    fn fails_at_the_first_bad_byte() {
        // (text, index of the byte at which it must fail)
        let cases: [(&[u8], Option<usize>); 12] = [
            (b"plain", None),
            ("κόσμε".as_bytes(), None),
            (
                b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
                Some(12),
            ), // Autobahn 6.4.1: a surrogate
            (b"\xc0\xaf", Some(0)),         // overlong
            (b"\xc1\xbf", Some(0)),         // overlong
            (b"\xe0\x80\xaf", Some(1)),     // overlong, three bytes
            (b"\xf0\x80\x80\xaf", Some(1)), // overlong, four bytes
            (b"\xf4\x90\x80\x80", Some(1)), // above U+10FFFF; Autobahn 6.4.3
            (b"\xf5", Some(0)),
            (b"\x80", Some(0)),
            (b"a\xf0\x9f\x98 ", Some(4)),
            (b"\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf", None),
        ];
        for (text, expect) in cases {
            assert_eq!(fails_at(text), expect, "{text:x?}");
        }
    }

    #[test]
    fn an_open_sequence_is_legal_until_the_text_ends() {
        for open in ["é", "€", "😀"] {
            let bytes = open.as_bytes();
            for cut in 1..bytes.len() {
                let mut validator = Utf8Validator::new();
                validator.push(b"ab").unwrap();
                validator.push(&bytes[..cut]).unwrap();
                assert_eq!(
                    validator.finish(),
                    Err(InvalidUtf8 { sequence_start: 2 }),
                    "{open} cut at {cut}"
                );
                validator.push(&bytes[cut..]).unwrap();
                assert_eq!(validator.finish(), Ok(()));
            }
        }
    }

    /// Text that is mostly right, with some bytes changed, long enough for the vector kernel.
    fn nearly_text() -> impl Strategy<Value = Vec<u8>> {
        let text =
            proptest::collection::vec(any::<char>(), 0..120).prop_map(|c| c.into_iter().collect::<String>());
        let edits = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..2);
        (text, edits).prop_map(|(text, edits)| {
            let mut bytes = text.into_bytes();
            for (at, byte) in edits {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
            }
            bytes
        })
    }

    proptest! {
        #[test]
        fn any_split_gives_the_verdict_of_the_whole(text in nearly_text(), cuts in proptest::collection::vec(0usize..400, 0..6)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let mut validator = Utf8Validator::new();
            let verdict = cuts.windows(2).try_for_each(|w| validator.push(&text[w[0]..w[1]])).and_then(|()| validator.finish());
            match std::str::from_utf8(&text) {
                Ok(_) => prop_assert_eq!(verdict, Ok(())),
                Err(e) => prop_assert_eq!(verdict, Err(InvalidUtf8 { sequence_start: e.valid_up_to() as u64 })),
            }
        }
    }
}
