//! Reading and writing single header fields.

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// How often a field that must be there once is there.
#[derive(Debug)]
pub(crate) enum Single<'a> {
    Absent,
    One(&'a HeaderValue),
    Repeated,
}

/// Looks up a field that must not be repeated.
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Single<'a> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Single::Absent,
        (Some(value), None) => Single::One(value),
        (Some(_), Some(_)) => Single::Repeated,
    }
}

/// Whether a comma-separated field, in one line or several, names this token in any case.
pub(crate) fn names_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    // Bytes, not text: one odd byte must not hide the other elements of its line.
    let lines = headers.get_all(name).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .any(|element| element.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Starts an answer with its status line.
pub(crate) fn start_answer(out: &mut Vec<u8>, status: StatusCode) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes one field. The value comes from a `HeaderValue` or from this crate, so it has no line break.
pub(crate) fn push(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    debug_assert!(
        !value.contains(&b'\n') && !value.contains(&b'\r'),
        "a value never breaks its line"
    );
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Fields of an answer that belong to the handshake or to message framing: an application may not add them.
pub(crate) fn is_reserved_in_answer(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONNECTION | header::UPGRADE | header::CONTENT_LENGTH | header::TRANSFER_ENCODING
    ) || name.as_str().starts_with("sec-websocket-")
}

/// Fields of a request that belong to the handshake or to message framing: an application may not add them.
pub(crate) fn is_reserved_in_request(name: &HeaderName) -> bool {
    is_reserved_in_answer(name) || matches!(*name, header::HOST | header::ORIGIN)
}
