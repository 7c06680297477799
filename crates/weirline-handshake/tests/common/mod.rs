//! The one place where the tests touch the readers.
#![allow(dead_code, reason = "each test file uses a part of these helpers")]

use weirline_handshake::{HeadLimits, Progress, Rejection, RequestReader, UpgradeRequest};

/// The fields of a valid request, without an Origin.
pub(crate) const VALID: [(&str, &str); 5] = [
    ("Host", "server.example"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
];

/// A request with the valid fields, where a change `(name, None)` removes a field, `(name, Some)` replaces it, and
/// `("+name", Some)` adds one.
pub(crate) fn request(changes: &[(&str, Option<&str>)]) -> Vec<u8> {
    let mut fields: Vec<(&str, &str)> = VALID.to_vec();
    for (name, value) in changes {
        match (name.strip_prefix('+'), value) {
            (Some(name), Some(value)) => fields.push((name, value)),
            (None, None) => fields.retain(|(known, _)| known != name),
            (None, Some(value)) => {
                let field = fields.iter_mut().find(|(known, _)| known == name);
                field.expect("a known field").1 = value;
            }
            (Some(_), None) => panic!("nothing to add"),
        }
    }
    let mut head = b"GET /chat?room=1 HTTP/1.1\r\n".to_vec();
    for (name, value) in fields {
        head.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// Feeds a whole input, and the same input byte by byte; both must say the same.
pub(crate) fn read(input: &[u8]) -> Result<Box<UpgradeRequest>, Rejection> {
    read_within(input, HeadLimits::default()).map(|(request, _)| request)
}

/// As [`read`], with limits; also says how many bytes belong to the head.
pub(crate) fn read_within(
    input: &[u8],
    limits: HeadLimits,
) -> Result<(Box<UpgradeRequest>, usize), Rejection> {
    let whole = feed(input, &[], limits);
    let cuts: Vec<usize> = (1..input.len()).collect();
    let bytewise = feed(input, &cuts, limits);
    assert_eq!(
        format!("{whole:?}"),
        format!("{bytewise:?}"),
        "whole = byte by byte"
    );
    whole.expect("the head is complete or refused")
}

/// Feeds the input cut at these places. `None` when it ends before the head does.
pub(crate) fn feed(
    input: &[u8],
    cuts: &[usize],
    limits: HeadLimits,
) -> Option<Result<(Box<UpgradeRequest>, usize), Rejection>> {
    let mut reader = RequestReader::new(limits);
    let mut start = 0;
    for &end in cuts.iter().chain([&input.len()]) {
        match reader.handle_input(&input[start..end]) {
            Ok(Progress::NeedMore) => start = end,
            Ok(Progress::Done { request, consumed }) => return Some(Ok((request, start + consumed))),
            Err(rejection) => return Some(Err(rejection)),
        }
    }
    None
}
