//! Messages of the resume protocol's JSON and binary forms: what is accepted can be said in both, binary has one spelling, and a
//! plain reading of the JSON agrees.
//!
//! The first byte chooses the form, or the value of an upgrade request; the rest is the message.

use serde_json::Value;
use weirline_resume::wire::{AttachValue, ClientMessage, Code, Form, ServerMessage};

use crate::source::Source;

/// Both sides' messages are judged alike.
macro_rules! judge {
    ($type:ident, $form:expr, $message:expr) => {
        if let Ok(Some(read)) = $type::decode($form, $form.kind(), $message) {
            for form in [Form::Json, Form::Binary] {
                let mut written = Vec::new();
                read.encode(form, &mut written);
                let again = $type::decode(form, form.kind(), &written);
                assert_eq!(again, Ok(Some(read.clone())));
                match form {
                    Form::Binary if form == $form => assert!(
                        written == $message || differ_in_a_code($message, &written),
                        "{read:?} has two spellings"
                    ),
                    Form::Json if form == $form => agree($message, &written),
                    _ => {}
                }
            }
        }
    };
}

pub(crate) fn run(input: &[u8]) {
    let mut source = Source::new(input);
    let flags = source.byte();
    let message = source.remainder();
    match flags & 3 {
        2 => upgrade(&String::from_utf8_lossy(message)),
        other => {
            let form = if other & 1 == 0 { Form::Json } else { Form::Binary };
            judge!(ClientMessage, form, message);
            judge!(ServerMessage, form, message);
        }
    }
}

/// A code that is not known is read as `unavailable`; nothing else may be changed by reading and writing.
fn differ_in_a_code(message: &[u8], written: &[u8]) -> bool {
    let mut changed = message.iter().zip(written).filter(|(a, b)| a != b);
    let one = changed.next();
    message.len() == written.len()
        && changed.next().is_none()
        && one.is_some_and(|(&a, &b)| usize::from(a) > Code::ALL.len() && b == Code::Unavailable.number())
}

/// Everything that our own spelling says was said by the message.
fn agree(message: &[u8], written: &[u8]) {
    let ours: Value = serde_json::from_slice(written).expect("what we write is JSON");
    // A number that is not looked at may be too great for a plain reader.
    if let Ok(theirs) = serde_json::from_slice::<Value>(message) {
        assert!(says(&theirs, &ours), "{theirs} is read as {ours}");
    }
}

fn says(theirs: &Value, ours: &Value) -> bool {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => ours.iter().all(|(name, value)| {
            let unknown_code = name == "code" && *value == Code::Unavailable.as_str();
            theirs
                .get(name)
                .is_some_and(|said| unknown_code || says(said, value))
        }),
        (Value::Array(theirs), Value::Array(ours)) => {
            theirs.len() == ours.len() && theirs.iter().zip(ours).all(|(theirs, ours)| says(theirs, ours))
        }
        _ => theirs == ours,
    }
}

/// What an upgrade request carries is a HELLO or an error; a HELLO can be carried.
fn upgrade(value: &str) {
    let Ok(parsed) = AttachValue::parse(value) else {
        return;
    };
    if let Ok(hello) = parsed.hello() {
        let again = AttachValue::encode(Form::Binary, hello.clone());
        if let Some(again) = again {
            let again = AttachValue::parse(&again).expect("what we write");
            assert_eq!(again.hello(), Ok(hello));
        }
    }
}
