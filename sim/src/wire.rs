//! A second, independent reader of WebSocket bytes: it watches what a socket sends and says what it saw.
//!
//! It shares nothing with the shipped codec, since an oracle that uses what it judges sees nothing.

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

impl Direction {
    /// 0 or 1.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self == Self::ToClient)
    }
}

/// A whole thing on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The request or response head; the status for a response.
    Head {
        /// The status code of a response, 0 for a request.
        status: u16,
    },
    /// A data message.
    Message {
        /// Its first bytes, unmasked.
        preview: Vec<u8>,
        /// All its bytes.
        len: u64,
        /// Text or binary.
        text: bool,
    },
    /// A close frame.
    Close {
        /// Its code, 1005 for none.
        code: u16,
        /// Its reason.
        reason: String,
    },
    /// A ping, with its payload.
    Ping(Vec<u8>),
    /// A pong, with its payload.
    Pong(Vec<u8>),
}

impl Seen {
    /// A short name by which faults choose messages: the word of the text form, `DATA`, or the frame's name.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Head { .. } => "HEAD",
            Self::Close { .. } => "CLOSE",
            Self::Ping(_) => "PING",
            Self::Pong(_) => "PONG",
            Self::Message { preview, .. } => LABELS
                .iter()
                .find(|label| preview.starts_with(label.as_bytes()))
                .copied()
                .unwrap_or("DATA"),
        }
    }
}

/// Messages of the text form by their first word; whatever else is data.
const LABELS: [&str; 9] = [
    "SESSION",
    "RESUME_FROM",
    "RESUMED",
    "RESET",
    "GAP",
    "ACK",
    "PAUSE",
    "CONTINUE",
    "ERROR",
];

/// Bytes of a message that are kept.
const PREVIEW: usize = 48;

/// Follows one direction of one connection.
#[derive(Clone)]
pub struct Scanner {
    direction: Direction,
    state: State,
    status: u16,
    message: Option<Open>,
    closed: bool,
    /// Bytes of the frame or head in hand.
    frame_bytes: u64,
    /// Bytes of the frames before it that belong to the same message.
    message_bytes: u64,
    was_control: bool,
}

#[derive(Clone)]
enum State {
    Head {
        line: Vec<u8>,
        first: bool,
    },
    Header {
        have: Vec<u8>,
    },
    Payload {
        left: u64,
        at: u64,
        header: Header,
        bytes: Vec<u8>,
    },
    /// The answer was no 101: what follows is not WebSocket.
    Other,
}

#[derive(Clone, Copy)]
struct Header {
    fin: bool,
    opcode: u8,
    mask: Option<[u8; 4]>,
    len: u64,
}

#[derive(Clone)]
struct Open {
    preview: Vec<u8>,
    len: u64,
    text: bool,
}

impl Scanner {
    /// Of the bytes that go this way.
    #[must_use]
    pub fn new(direction: Direction) -> Self {
        let state = State::Head {
            line: Vec::new(),
            first: true,
        };
        Self {
            direction,
            state,
            status: 0,
            message: None,
            closed: false,
            frame_bytes: 0,
            message_bytes: 0,
            was_control: false,
        }
    }

    /// Of the frames that go this way, behind the heads.
    #[must_use]
    pub fn of_frames(direction: Direction) -> Self {
        let state = State::Header { have: Vec::new() };
        Self {
            state,
            ..Self::new(direction)
        }
    }

    /// What the sender is in the middle of, and how many bytes of it have passed: frames of one message count as one.
    #[must_use]
    pub fn progress(&self) -> (&'static str, u64) {
        let opcode = match &self.state {
            State::Head { .. } => return ("HEAD", self.frame_bytes),
            State::Other => return ("", 0),
            State::Header { have } => have.first().copied().unwrap_or_default(),
            State::Payload { header, .. } => header.opcode,
        };
        match opcode & 0x0f {
            8 => ("CLOSE", self.frame_bytes),
            9 => ("PING", self.frame_bytes),
            10 => ("PONG", self.frame_bytes),
            _ if self.frame_bytes == 0 && self.message.is_none() => ("", 0),
            _ => ("DATA", self.message_bytes + self.frame_bytes),
        }
    }

    /// True when a close frame has passed.
    #[must_use]
    pub fn closed(&self) -> bool {
        self.closed
    }

    /// True from the first frame of a data message to its last.
    #[must_use]
    pub fn inside_message(&self) -> bool {
        self.message.is_some()
    }

    /// True inside a frame or a head.
    #[must_use]
    pub fn inside(&self) -> bool {
        match &self.state {
            State::Head { line, first } => !first || !line.is_empty(),
            State::Header { have } => !have.is_empty(),
            State::Payload { .. } => true,
            State::Other => false,
        }
    }

    /// Takes bytes until something is whole: how many it took, and what it was.
    ///
    /// # Errors
    ///
    /// What the sender did wrong (RFC 6455 by section).
    pub fn advance(&mut self, bytes: &[u8]) -> Result<(usize, Option<Seen>), String> {
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            let (took, seen) = match &mut self.state {
                State::Other => (rest.len(), None),
                State::Head { .. } => self.head(rest[0]),
                State::Header { .. } => (1, self.header(rest[0])?),
                State::Payload { .. } => self.payload(rest)?,
            };
            used += took;
            self.count(took);
            if seen.is_some() {
                return Ok((used, seen));
            }
        }
        Ok((used, None))
    }

    fn count(&mut self, took: usize) {
        self.frame_bytes += took as u64;
        if matches!(&self.state, State::Header { have } if have.is_empty()) {
            let of_message = std::mem::take(&mut self.frame_bytes);
            // A control frame in between leaves the count of its message alone.
            if !std::mem::take(&mut self.was_control) {
                self.message_bytes += of_message;
            }
            if self.message.is_none() {
                self.message_bytes = 0;
            }
        }
    }

    fn head(&mut self, byte: u8) -> (usize, Option<Seen>) {
        let State::Head { line, first } = &mut self.state else {
            return (0, None);
        };
        if byte != b'\n' {
            line.push(byte);
            return (1, None);
        }
        let text = String::from_utf8_lossy(line).trim_end().to_owned();
        line.clear();
        if *first {
            *first = false;
            if self.direction == Direction::ToClient {
                self.status = text
                    .split(' ')
                    .nth(1)
                    .and_then(|word| word.parse().ok())
                    .unwrap_or(0);
            }
        }
        if !text.is_empty() {
            return (1, None);
        }
        let websocket = self.direction == Direction::ToServer || self.status == 101;
        self.state = if websocket {
            State::Header { have: Vec::new() }
        } else {
            State::Other
        };
        (1, Some(Seen::Head { status: self.status }))
    }

    fn header(&mut self, byte: u8) -> Result<Option<Seen>, String> {
        let State::Header { have } = &mut self.state else {
            return Ok(None);
        };
        have.push(byte);
        let Some(header) = parse_header(have) else {
            return Ok(None);
        };
        self.check(header)?;
        let bytes = Vec::new();
        self.state = State::Payload {
            left: header.len,
            at: 0,
            header,
            bytes,
        };
        if header.len == 0 {
            self.finish(header, Vec::new())
        } else {
            Ok(None)
        }
    }

    fn check(&self, header: Header) -> Result<(), String> {
        let Header {
            fin,
            opcode,
            mask,
            len,
        } = header;
        if self.closed {
            return Err(format!(
                "a frame of opcode {opcode:#x} after the Close frame (§5.5.1)"
            ));
        }
        if mask.is_some() != (self.direction == Direction::ToServer) {
            return Err("masked the wrong way round (§5.1)".to_owned());
        }
        match opcode {
            0 if self.message.is_none() => Err("a continuation of nothing (§5.4)".to_owned()),
            1 | 2 if self.message.is_some() => Err("a new message inside another (§5.4)".to_owned()),
            8..=10 if !fin || len > 125 => {
                Err("a control frame that is long or fragmented (§5.5)".to_owned())
            }
            0..=2 | 8..=10 => Ok(()),
            _ => Err(format!("reserved opcode {opcode:#x} (§5.2)")),
        }
    }

    fn payload(&mut self, input: &[u8]) -> Result<(usize, Option<Seen>), String> {
        let State::Payload {
            left,
            at,
            header,
            bytes,
        } = &mut self.state
        else {
            return Ok((0, None));
        };
        let took = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
        let room = if header.opcode >= 8 { 125 } else { PREVIEW };
        let mask = header.mask.unwrap_or_default();
        for &byte in input.iter().take(took.min(room.saturating_sub(bytes.len()))) {
            bytes.push(byte ^ mask[bytes.len() % 4]);
        }
        *left -= took as u64;
        *at += took as u64;
        if *left > 0 {
            return Ok((took, None));
        }
        let (header, bytes) = (*header, std::mem::take(bytes));
        Ok((took, self.finish(header, bytes)?))
    }

    fn finish(&mut self, header: Header, bytes: Vec<u8>) -> Result<Option<Seen>, String> {
        self.state = State::Header { have: Vec::new() };
        self.was_control = header.opcode >= 8;
        Ok(match header.opcode {
            8 => {
                self.closed = true;
                let reason = String::from_utf8_lossy(bytes.get(2..).unwrap_or_default()).into_owned();
                Some(Seen::Close {
                    code: close_code(&bytes)?,
                    reason,
                })
            }
            9 => Some(Seen::Ping(bytes)),
            10 => Some(Seen::Pong(bytes)),
            opcode => {
                let text = opcode == 1;
                let mut open = self.message.take().unwrap_or(Open {
                    preview: Vec::new(),
                    len: 0,
                    text,
                });
                let room = PREVIEW.saturating_sub(open.preview.len());
                open.preview.extend(bytes.iter().take(room));
                open.len += header.len;
                if header.fin {
                    Some(Seen::Message {
                        preview: open.preview,
                        len: open.len,
                        text: open.text,
                    })
                } else {
                    self.message = Some(open);
                    None
                }
            }
        })
    }
}

fn parse_header(bytes: &[u8]) -> Option<Header> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let extended: usize = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let masked = second & 0x80 != 0;
    let whole = 2 + extended + if masked { 4 } else { 0 };
    let all = bytes.get(..whole)?;
    let len = match extended {
        0 => u64::from(second & 0x7f),
        _ => all[2..2 + extended]
            .iter()
            .fold(0, |len, &byte| (len << 8) | u64::from(byte)),
    };
    let mask = masked.then(|| {
        let mut mask = [0; 4];
        mask.copy_from_slice(&all[whole - 4..]);
        mask
    });
    Some(Header {
        fin: first & 0x80 != 0,
        opcode: first & 0x0f,
        mask,
        len,
    })
}

fn close_code(payload: &[u8]) -> Result<u16, String> {
    match *payload {
        [] => Ok(1005),
        [_] => Err("a Close frame of one byte (§5.5.1)".to_owned()),
        [high, low, ..] => match u16::from_be_bytes([high, low]) {
            code @ (1000..=1003 | 1007..=1014 | 3000..=4999) => Ok(code),
            code => Err(format!("close code {code} may not be sent (§7.4)")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(direction: Direction, bytes: &[u8], step: usize) -> Result<Vec<&'static str>, String> {
        let mut scanner = Scanner::new(direction);
        let mut labels = Vec::new();
        for part in bytes.chunks(step) {
            let mut rest = part;
            while !rest.is_empty() {
                let (used, seen) = scanner.advance(rest)?;
                labels.extend(seen.map(|seen| seen.label()));
                rest = &rest[used..];
            }
        }
        Ok(labels)
    }

    fn check(direction: Direction, bytes: &[u8], expect: Result<&[&'static str], &str>) {
        for step in [1, 2, 3, bytes.len()] {
            match (scan(direction, bytes, step), expect) {
                (Ok(labels), Ok(expect)) => assert_eq!(labels, expect),
                (Err(error), Err(expect)) => assert!(error.contains(expect), "{error}"),
                (got, _) => panic!("{got:?} instead of {expect:?}"),
            }
        }
    }

    #[test]
    fn the_server_side_is_read() {
        let mut bytes = b"HTTP/1.1 101 Switching Protocols\r\nA: b\r\n\r\n".to_vec();
        bytes.extend(b"\x01\x03RES\x89\x00\x80\x08UMED:1:1");
        bytes.extend(b"\x81\x05ACK:7\x81\x044:hi\x88\x02\x03\xe8");
        check(
            Direction::ToClient,
            &bytes,
            Ok(&["HEAD", "PING", "RESUMED", "ACK", "DATA", "CLOSE"]),
        );
        bytes.extend(b"\x81\x00");
        check(Direction::ToClient, &bytes, Err("after the Close"));
        check(
            Direction::ToClient,
            b"HTTP/1.1 503 No\r\n\r\nanything\r\n\r\n",
            Ok(&["HEAD"]),
        );
    }

    #[test]
    fn the_client_side_is_unmasked() {
        let mut bytes = b"GET / HTTP/1.1\r\n\r\n\x81\x87".to_vec();
        bytes.extend([1, 2, 3, 4]);
        bytes.extend(
            b"SESSION"
                .iter()
                .zip([1, 2, 3, 4].iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );
        check(Direction::ToServer, &bytes, Ok(&["HEAD", "SESSION"]));
        check(
            Direction::ToServer,
            b"GET / HTTP/1.1\r\n\r\n\x81\x00",
            Err("masked the wrong way"),
        );
        check(
            Direction::ToClient,
            b"HTTP/1.1 101 x\r\n\r\n\x88\x02\x03\xed",
            Err("1005 may not"),
        );
    }
}
