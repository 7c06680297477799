//! Messages of the resume protocol's text form: what is accepted has one spelling, and what is built from values is accepted.
//!
//! The first byte chooses text or binary, and whether the rest is a message or the values to build one from.

use weirline_log::{Attach, Epoch, NUMBER_MAX, Offset, PayloadKind, Seq};
use weirline_resume::Secret;
use weirline_resume::text::{
    ClientMessage, ErrorCode, ErrorText, GapReason, PauseReason, ServerMessage, Start,
};

use crate::source::Source;

pub(crate) fn run(input: &[u8]) {
    let mut source = Source::new(input);
    let flags = source.byte();
    let kind = if flags & 1 == 0 {
        PayloadKind::Text
    } else {
        PayloadKind::Binary
    };
    if flags & 2 == 0 {
        one_spelling(kind, source.remainder());
    } else {
        from_client(&build_client(kind, &mut source));
        let words = String::from_utf8_lossy(source.take(40)).into_owned();
        from_server(&build_server(kind, &words, &mut source));
    }
}

/// Whatever is accepted is formatted to the very same bytes, under the same kind; and its numbers can be read by a JavaScript.
fn one_spelling(kind: PayloadKind, message: &[u8]) {
    let mut wire = Vec::new();
    let client = ClientMessage::parse(kind, message);
    if let Ok(parsed) = &client {
        assert_eq!((parsed.encode(&mut wire), &wire[..]), (kind, message));
    }
    wire.clear();
    let server = ServerMessage::parse(kind, message);
    if let Ok(parsed) = &server {
        assert_eq!((parsed.encode(&mut wire), &wire[..]), (kind, message));
    }
    let numbered = message.first().is_some_and(u8::is_ascii_digit);
    assert_eq!(
        numbered && client.is_ok(),
        numbered && server.is_ok(),
        "a payload's number is read alike"
    );
    if kind == PayloadKind::Binary {
        assert!(numbered || (client.is_err() && server.is_err()));
    }
    if numbered {
        let digits = message.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let text = std::str::from_utf8(&message[..digits]).expect("digits");
        let value = text
            .parse::<u64>()
            .ok()
            .filter(|value| (1..=NUMBER_MAX).contains(value));
        let legal = message.get(digits) == Some(&b':') && !text.starts_with('0') && value.is_some();
        assert_eq!(client.is_ok(), legal, "{}", message.escape_ascii());
    }
}

fn from_client(message: &ClientMessage<'_>) {
    let mut wire = Vec::new();
    let kind = message.encode(&mut wire);
    assert_eq!(ClientMessage::parse(kind, &wire).as_ref(), Ok(message));
    one_spelling(kind, &wire);
}

fn from_server(message: &ServerMessage<'_>) {
    let mut wire = Vec::new();
    let kind = message.encode(&mut wire);
    assert_eq!(ServerMessage::parse(kind, &wire).as_ref(), Ok(message));
    one_spelling(kind, &wire);
}

/// Small numbers, numbers of every length, and the greatest.
fn number(source: &mut Source<'_>) -> u64 {
    let (low, shift) = (u64::from(source.u16()), source.below(54));
    (low << shift).wrapping_sub(u64::from(shift > 50)) & NUMBER_MAX
}

fn offset(source: &mut Source<'_>) -> Offset {
    Offset::new(number(source)).expect("below the greatest")
}

fn some_offset(source: &mut Source<'_>) -> Offset {
    Offset::new(number(source).max(1)).expect("below the greatest")
}

fn seq(source: &mut Source<'_>) -> Seq {
    Seq::new(number(source).max(1)).expect("below the greatest")
}

fn epoch(source: &mut Source<'_>) -> Epoch {
    Epoch::new(number(source) << source.below(12))
}

fn build_client<'a>(kind: PayloadKind, source: &mut Source<'a>) -> ClientMessage<'a> {
    match source.below(6) {
        0 => {
            let len = 22 + source.below(107);
            let secret: String = (0..len)
                .map(|_| source.choose(b"azAZ09-_"))
                .map(char::from)
                .collect();
            ClientMessage::Session {
                secret: Secret::parse(&secret).expect("of its alphabet and length"),
                attach: Attach::new(number(source).max(1)).expect("below the greatest"),
            }
        }
        1 => ClientMessage::ResumeFrom(source.choose(&[Start::Head, Start::Nothing])),
        2 => {
            let offset = offset(source);
            let epoch = (source.byte() & 1 == 0).then(|| epoch(source));
            ClientMessage::ResumeFrom(Start::After { offset, epoch })
        }
        3 => ClientMessage::Ack(offset(source)),
        _ => ClientMessage::Publish {
            seq: seq(source),
            kind,
            payload: source.take(64),
        },
    }
}

fn build_server<'a>(kind: PayloadKind, words: &'a str, source: &mut Source<'a>) -> ServerMessage<'a> {
    let text = ErrorText::new(words).or_else(|| ErrorText::new("text"));
    let text = text.expect("a legal text");
    let code = source.choose(ErrorCode::ALL);
    match source.below(10) {
        0 => ServerMessage::ResumeFrom(seq(source)),
        1 => {
            let (a, b) = (offset(source), offset(source));
            ServerMessage::Resumed {
                offset: a.min(b),
                head: a.max(b),
                epoch: epoch(source),
            }
        }
        2 => ServerMessage::Reset {
            epoch: epoch(source),
            common: offset(source),
        },
        3 => {
            let (a, b) = (some_offset(source), some_offset(source));
            ServerMessage::Gap {
                from: a.min(b),
                to: a.max(b),
                reason: source.choose(GapReason::ALL),
            }
        }
        4 => ServerMessage::Ack(seq(source)),
        5 => ServerMessage::Pause(PauseReason::new(words).unwrap_or(PauseReason::PUBLISHING)),
        6 => ServerMessage::Continue,
        7 => ServerMessage::Error { code, text },
        8 => ServerMessage::Refused {
            seq: seq(source),
            code,
            text,
        },
        _ => ServerMessage::Data {
            offset: some_offset(source),
            kind,
            payload: source.take(64),
        },
    }
}
