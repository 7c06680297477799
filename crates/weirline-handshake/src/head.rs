//! The head of an HTTP/1.1 message (RFC 9112 §2), gathered from a byte stream.
//!
//! ```text
//!  LineStart ──byte──▶ Line ──CR──▶ LineEnd ──LF──▶ LineStart      (a line that starts with a space: obs-fold, refused)
//!      └──────CR──────▶ HeadEnd ──LF──▶ Complete                   (an LF without CR, a CR without LF: refused)
//! ```
//!
//! Each byte passes this machine once, however the input is cut, and only a complete head is parsed: the work is linear.
//! What two parsers could read differently (bare LF or CR, obs-fold, control bytes, blank lines in front) is refused
//! here, so that nothing in front of the server can disagree with it about where a head ends.

use std::borrow::Cow;

/// Bounds on a head.
///
/// Going over either of them is 431 on the server and [`HandshakeError::Head`](crate::HandshakeError::Head) on the
/// client, as soon as it is seen: nothing over the bound is buffered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the whole head, the blank line included. Default 16 KiB; a connection that is being opened can cost
    /// that much memory.
    pub bytes: usize,
    /// Header fields. Default 64.
    pub headers: usize,
}

impl HeadLimits {
    /// Limits of this many bytes and header fields.
    #[must_use]
    pub const fn new(bytes: usize, headers: usize) -> Self {
        Self { bytes, headers }
    }
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self::new(16 * 1024, 64)
    }
}

/// What is wrong with a head as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// A line ends in LF alone (RFC 9112 §2.2).
    #[error("a line of the head ends in LF without CR: end lines in CRLF")]
    BareLf,
    /// A CR is not followed by LF (RFC 9112 §2.2).
    #[error("the head has a CR without LF: end lines in CRLF")]
    BareCr,
    /// A line starts with whitespace (RFC 9112 §5.2).
    #[error("a header field goes on in the next line: write each field in one line")]
    ObsFold,
    /// A control byte stands in the head (TLS spoken to a plain port starts with one).
    #[error("the head has a control byte: speak plain HTTP/1.1 here, not TLS or another protocol")]
    ControlByte,
    /// The head starts with an empty line.
    #[error("the head starts with an empty line: start with the request line")]
    EmptyStart,
    /// The head is longer than [`HeadLimits::bytes`].
    #[error("the head is longer than {0} bytes: send fewer and shorter header fields and cookies")]
    TooLong(usize),
    /// The head has more than [`HeadLimits::headers`] fields.
    #[error("the head has more than {0} header fields: send fewer")]
    TooManyHeaders(usize),
    /// The start line or a field breaks the grammar.
    #[error("the head is malformed: {0}")]
    Syntax(&'static str),
}

/// Gathers one head from a byte stream.
#[derive(Debug)]
pub(crate) struct HeadReader {
    limits: HeadLimits,
    /// What came in earlier inputs; empty when the whole head is in one input.
    buffer: Vec<u8>,
    scanned: usize,
    headers: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    LineStart,
    Line,
    LineEnd,
    HeadEnd,
    Complete,
}

/// A complete head, and how many bytes of the last input belong to it.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    pub(crate) bytes: Cow<'a, [u8]>,
    pub(crate) consumed: usize,
}

impl HeadReader {
    pub(crate) fn new(limits: HeadLimits) -> Self {
        Self {
            limits,
            buffer: Vec::new(),
            scanned: 0,
            headers: 0,
            state: State::Start,
        }
    }

    /// Whether nothing has come yet.
    pub(crate) fn is_untouched(&self) -> bool {
        self.scanned == 0
    }

    /// Takes a single byte that stands inside a line, and says whether it did: else nothing has changed. A peer that drips pays for a
    /// call per byte; this is the short way through it.
    #[inline]
    pub(crate) fn take_plain(&mut self, input: &[u8]) -> bool {
        match *input {
            [byte] if self.state == State::Line && self.scanned < self.limits.bytes && is_plain(byte) => {
                self.scanned += 1;
                self.buffer.push(byte);
                true
            }
            _ => false,
        }
    }

    /// Takes input up to the end of the head. After `Some` or an error the reader must be replaced.
    pub(crate) fn handle_input<'a>(&mut self, input: &'a [u8]) -> Result<Option<Head<'a>>, HeadError> {
        let Some(consumed) = self.scan(input)? else {
            self.buffer.extend_from_slice(input);
            return Ok(None);
        };
        let bytes = if self.buffer.is_empty() {
            Cow::Borrowed(&input[..consumed])
        } else {
            self.buffer.extend_from_slice(&input[..consumed]);
            Cow::Owned(std::mem::take(&mut self.buffer))
        };
        Ok(Some(Head { bytes, consumed }))
    }

    /// Finds the end of the head in this input: the number of bytes up to and with it.
    #[inline]
    fn scan(&mut self, input: &[u8]) -> Result<Option<usize>, HeadError> {
        let room = self.limits.bytes - self.scanned;
        let within = &input[..input.len().min(room)];
        let mut state = self.state;
        for (index, &byte) in within.iter().enumerate() {
            if state == State::Line && is_plain(byte) {
                continue;
            }
            state = match self.step(state, byte)? {
                State::Complete => return Ok(Some(index + 1)),
                next => next,
            };
        }
        self.state = state;
        self.scanned += within.len();
        if within.len() < input.len() {
            Err(HeadError::TooLong(self.limits.bytes))
        } else {
            Ok(None)
        }
    }

    /// Where one byte leads.
    fn step(&mut self, state: State, byte: u8) -> Result<State, HeadError> {
        match (state, byte) {
            (State::Line, b'\r') => Ok(State::LineEnd),
            (State::LineEnd, b'\n') => Ok(State::LineStart),
            (State::HeadEnd, b'\n') => Ok(State::Complete),
            (State::LineEnd | State::HeadEnd, _) => Err(HeadError::BareCr),
            (State::Start, b'\r' | b'\n') => Err(HeadError::EmptyStart),
            (State::LineStart, b'\r') => Ok(State::HeadEnd),
            (_, b'\n') => Err(HeadError::BareLf),
            (State::LineStart, b' ' | b'\t') => Err(HeadError::ObsFold),
            (_, 0..=8 | 11..=31 | 127) => Err(HeadError::ControlByte),
            (State::LineStart, _) if self.headers == self.limits.headers => {
                Err(HeadError::TooManyHeaders(self.limits.headers))
            }
            (State::LineStart, _) => {
                self.headers += 1;
                Ok(State::Line)
            }
            (State::Start | State::Line | State::Complete, _) => Ok(State::Line),
        }
    }

    /// Header fields of the head so far.
    pub(crate) fn field_count(&self) -> usize {
        self.headers
    }
}

/// A byte that leaves the machine inside its line.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | 128..)
}

/// What httparse says about a complete head.
pub(crate) fn parsed_whole(parsed: httparse::Result<usize>, length: usize) -> Result<(), HeadError> {
    match parsed {
        Ok(httparse::Status::Complete(end)) if end == length => Ok(()),
        Ok(_) => Err(HeadError::Syntax("it does not end where its blank line is")),
        Err(httparse::Error::HeaderName) => {
            Err(HeadError::Syntax("a header name has a byte that is not allowed"))
        }
        Err(httparse::Error::HeaderValue) => {
            Err(HeadError::Syntax("a header value has a byte that is not allowed"))
        }
        Err(httparse::Error::Status) => Err(HeadError::Syntax("the status is not three digits")),
        Err(httparse::Error::Version) => Err(HeadError::Syntax("the version is not HTTP/1.1")),
        Err(httparse::Error::NewLine) => Err(HeadError::Syntax("a line ends in the wrong place")),
        Err(httparse::Error::Token | httparse::Error::TooManyHeaders) => {
            Err(HeadError::Syntax("the start line has a byte that is not allowed"))
        }
    }
}

/// Copies parsed fields into a map, in their order.
pub(crate) fn header_map(fields: &[httparse::Header<'_>]) -> Result<http::HeaderMap, HeadError> {
    let mut map = http::HeaderMap::with_capacity(fields.len().min(64));
    for field in fields {
        let name = http::HeaderName::from_bytes(field.name.as_bytes());
        let name = name.map_err(|_| HeadError::Syntax("a header name has a byte that is not allowed"))?;
        let value = http::HeaderValue::from_bytes(field.value);
        let value = value.map_err(|_| HeadError::Syntax("a header value has a byte that is not allowed"))?;
        map.try_append(name, value)
            .map_err(|_| HeadError::TooManyHeaders(fields.len()))?;
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept is not looked at again before the head is complete, so that the work is linear however the input is cut:
    /// whoever looked would find rubbish. How many instructions a byte costs is measured by `cargo xtask measure bytewise`.
    #[test]
    fn what_is_kept_is_not_scanned_again() {
        let wire = b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
        for step in [1, 2, 5] {
            let mut reader = HeadReader::new(HeadLimits::new(wire.len(), 2));
            let mut fed = 0;
            let end = wire.chunks(step).find_map(|piece| {
                reader.buffer.fill(b'\n');
                fed += piece.len();
                if reader.take_plain(piece) {
                    return None;
                }
                let head = reader.handle_input(piece).expect("a legal head")?;
                Some((head.consumed, head.bytes.len()))
            });
            assert_eq!(
                end,
                Some((wire.len() - (wire.len() - 1) / step * step, wire.len()))
            );
            assert_eq!((fed, reader.field_count()), (wire.len(), 2));
        }
    }
}
