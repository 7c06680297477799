//! `Sec-WebSocket-Extensions` (RFC 6455 §9.1) against a second reader; offers survive being written out; lists may be cut into fields.
//!
//! The input is the field's value. What no field value can be (control bytes, bytes outside ASCII) is left out.

use std::fmt::Write as _;

use weirline_handshake::{
    ClientWindow, DeflateOffer, ExtensionOffer, HeadLimits, Progress, RejectionKind, RequestReader,
};

pub(crate) fn run(input: &[u8]) {
    let value: String = input
        .iter()
        .filter(|byte| matches!(byte, b'\t' | b' '..=b'~'))
        .map(|byte| char::from(*byte))
        .collect();
    let offers = read(&[&value]);
    assert_eq!(offers.is_ok(), is_legal(&value), "{value:?}");
    if let Ok(offers) = &offers {
        assert!((1..=ExtensionOffer::OFFERS_MAX).contains(&offers.len()));
        offers.iter().for_each(judge);
        let written: Vec<String> = offers.iter().filter_map(write).collect();
        let known: Vec<&ExtensionOffer> = offers.iter().filter(|offer| write(offer).is_some()).collect();
        if !written.is_empty() {
            let again = read(&[&written.join(", ")]).expect("what we write is legal");
            assert!(again.iter().eq(known), "{value:?}: {written:?}");
        }
    }
    // RFC 9110 §5.3: a list may be spread over fields, wherever a comma separates two elements.
    for (at, _) in value.match_indices(',') {
        let spread = read(&[&value[..at], &value[at + 1..]]);
        assert_eq!(spread, offers, "{value:?} cut at {at}");
    }
}

/// What the server's side reads from a request with these fields; `Err` says which of the two ways the fields are refused.
fn read(fields: &[&str]) -> Result<Vec<ExtensionOffer>, RejectionKind> {
    let mut head = String::from(
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n",
    );
    for field in fields {
        let _ = write!(head, "Sec-WebSocket-Extensions: {field}\r\n");
    }
    head.push_str("\r\n");
    let mut reader = RequestReader::new(HeadLimits::new(1 << 20, 64));
    match reader.handle_input(head.as_bytes()) {
        Ok(Progress::Done { request, .. }) => Ok(request.extensions().to_vec()),
        Ok(Progress::NeedMore) => panic!("the head is complete: {head:?}"),
        Err(rejection) => {
            assert_eq!(rejection.status().as_u16(), 400);
            Err(rejection.kind())
        }
    }
}

/// Ranges of RFC 7692 §7.1.2.
fn judge(offer: &ExtensionOffer) {
    if let ExtensionOffer::PermessageDeflate(offer) = offer {
        let client = match offer.client_max_window_bits {
            ClientWindow::AtMost(bits) => Some(bits),
            _ => None,
        };
        for bits in [offer.server_max_window_bits, client].into_iter().flatten() {
            assert!((8..=15).contains(&bits.bits()));
        }
    }
}

/// An offer in our words; `None` for one that is to be declined, of which the parameters are not kept.
fn write(offer: &ExtensionOffer) -> Option<String> {
    match offer {
        ExtensionOffer::Unknown { name } => Some(name.clone()),
        ExtensionOffer::PermessageDeflate(offer) => Some(write_deflate(offer)),
        _ => None,
    }
}

fn write_deflate(offer: &DeflateOffer) -> String {
    let mut text = String::from("permessage-deflate");
    if offer.server_no_context_takeover {
        text.push_str("; server_no_context_takeover");
    }
    if offer.client_no_context_takeover {
        text.push_str("; client_no_context_takeover");
    }
    if let Some(bits) = offer.server_max_window_bits {
        let _ = write!(text, "; server_max_window_bits={}", bits.bits());
    }
    match offer.client_max_window_bits {
        ClientWindow::AtMost(bits) => {
            let _ = write!(text, "; client_max_window_bits=\"{}\"", bits.bits());
        }
        ClientWindow::Limitable => text.push_str("; client_max_window_bits"),
        _ => {}
    }
    text
}

/// Whether a value keeps the grammar and our bounds, by a table of states over its marks.
fn is_legal(value: &str) -> bool {
    #[derive(Clone, Copy, PartialEq)]
    enum At {
        /// Between offers.
        Start,
        /// Behind an offer's name or a whole parameter.
        Name,
        /// Behind `;`.
        Semicolon,
        /// Behind a parameter's name.
        Parameter,
        /// Behind `=`.
        Equals,
    }
    let Some(marks) = marks(value) else { return false };
    let (mut at, mut offers, mut parameters) = (At::Start, 0, 0);
    for mark in marks {
        at = match (at, mark) {
            (At::Start | At::Name | At::Parameter, Mark::Sign(b',')) => At::Start,
            (At::Start, Mark::Token) => {
                (offers, parameters) = (offers + 1, 0);
                At::Name
            }
            (At::Name | At::Parameter, Mark::Sign(b';')) => At::Semicolon,
            (At::Semicolon, Mark::Token) => {
                parameters += 1;
                At::Parameter
            }
            (At::Parameter, Mark::Sign(b'=')) => At::Equals,
            (At::Equals, Mark::Token | Mark::Quoted) => At::Name,
            _ => return false,
        };
        if offers > ExtensionOffer::OFFERS_MAX || parameters > ExtensionOffer::PARAMETERS_MAX {
            return false;
        }
    }
    // RFC 6455 §9.1: a list has at least one element.
    offers > 0 && !matches!(at, At::Semicolon | At::Equals)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mark {
    Token,
    /// A quoted string that holds a token.
    Quoted,
    Sign(u8),
}

/// The value's tokens and signs; `None` where a byte is neither, or two tokens touch only by space.
fn marks(value: &str) -> Option<Vec<Mark>> {
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let mut marks = Vec::new();
    let mut bytes = value.bytes().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b' ' | b'\t' => {}
            b',' | b';' | b'=' => marks.push(Mark::Sign(byte)),
            b'"' => {
                let mut inside = Vec::new();
                loop {
                    match bytes.next()? {
                        b'"' => break,
                        b'\\' => inside.push(bytes.next()?),
                        other => inside.push(other),
                    }
                }
                if inside.is_empty() || !inside.iter().all(token) {
                    return None;
                }
                marks.push(Mark::Quoted);
            }
            other if token(&other) => {
                while bytes.next_if(token).is_some() {}
                marks.push(Mark::Token);
            }
            _ => return None,
        }
    }
    Some(marks)
}
