//! Close codes and the payload of a Close frame (RFC 6455 §5.5.1, §7.4).

use crate::header::CONTROL_PAYLOAD_BYTES_MAX;

/// The longest close reason, in bytes: a control frame's 125 less the two of the code (RFC 6455 §5.5).
pub const CLOSE_REASON_BYTES_MAX: usize = CONTROL_PAYLOAD_BYTES_MAX - 2;

/// A status code that may stand in a Close frame (RFC 6455 §7.4, and the IANA registry for 1012–1014).
///
/// 1005 (no code), 1006 (no Close frame) and 1015 (TLS failure) are never sent, so no value of this type is one of them:
/// where they mean something, an `Option` or an error says it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: the endpoint is going away: a server shuts down, a browser leaves the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: a kind of data that the endpoint cannot accept.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// 1007: data not of the message's kind, such as text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: the endpoint's policy was violated.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// 1009: a message too big to process.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// 1010: the server did not negotiate an extension that the client needs.
    pub const MANDATORY_EXTENSION: Self = Self(1010);
    /// 1011: the server met a condition that kept it from fulfilling the request.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 1012: the server restarts; a client may reconnect after a delay.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: the server is overloaded; a client should come back later.
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// 1014: a gateway got an invalid response from upstream.
    pub const BAD_GATEWAY: Self = Self(1014);

    /// The number on the wire.
    #[must_use]
    pub const fn value(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for CloseCode {
    type Error = InvalidCloseCode;

    /// RFC 6455 §7.4.1, §7.4.2.
    fn try_from(code: u16) -> Result<Self, InvalidCloseCode> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Ok(Self(code)),
            _ => Err(InvalidCloseCode(code)),
        }
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> Self {
        code.0
    }
}

impl std::fmt::Display for CloseCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CloseCode({})", self.0)
    }
}

/// The number may not stand in a Close frame (RFC 6455 §7.4.1, §7.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a close code that may be sent: use 1000-1003, 1007-1014 or 3000-4999")]
pub struct InvalidCloseCode(pub u16);

/// What a Close frame says: a code and a reason, or nothing (RFC 6455 §5.5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CloseFrame<'a> {
    /// `None` where the payload is empty (the application then sees 1005, RFC 6455 §7.1.5).
    pub code: Option<CloseCode>,
    /// Text for people; at most 123 bytes.
    pub reason: &'a str,
}

impl<'a> CloseFrame<'a> {
    /// Reads the whole, unmasked payload of a Close frame.
    ///
    /// # Errors
    ///
    /// A payload of one byte, a code that may not be sent, a reason that is not UTF-8.
    pub fn parse(payload: &'a [u8]) -> Result<Self, ClosePayloadError> {
        match payload {
            [] => Ok(Self::default()),
            [_] => Err(ClosePayloadError::OneByte),
            [high, low, reason @ ..] => {
                let code = CloseCode::try_from(u16::from_be_bytes([*high, *low]))?;
                let reason = std::str::from_utf8(reason).map_err(|_| ClosePayloadError::ReasonNotUtf8)?;
                Ok(Self {
                    code: Some(code),
                    reason,
                })
            }
        }
    }

    /// The payload to send. A reason without a code is left out; one of over 123 bytes is cut at a character's boundary.
    #[must_use]
    pub fn encode(&self) -> ClosePayload {
        let mut payload = ClosePayload {
            bytes: [0; CONTROL_PAYLOAD_BYTES_MAX],
            len: 0,
        };
        if let Some(code) = self.code {
            let reason = &self.reason[..self.reason.floor_char_boundary(CLOSE_REASON_BYTES_MAX)];
            payload.bytes[..2].copy_from_slice(&code.0.to_be_bytes());
            payload.bytes[2..2 + reason.len()].copy_from_slice(reason.as_bytes());
            payload.len = 2 + reason.len();
        }
        payload
    }
}

/// Why the payload of a Close frame is not legal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClosePayloadError {
    /// Half a code: it has two bytes wherever there is a payload (RFC 6455 §5.5.1).
    #[error("a Close frame with a payload of one byte")]
    OneByte,
    /// RFC 6455 §7.4.
    #[error(transparent)]
    Code(#[from] InvalidCloseCode),
    /// RFC 6455 §5.5.1.
    #[error("a close reason that is not UTF-8")]
    ReasonNotUtf8,
}

/// An encoded payload of a Close frame: dereferences to its 0 to 125 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClosePayload {
    bytes: [u8; CONTROL_PAYLOAD_BYTES_MAX],
    len: usize,
}

impl std::ops::Deref for ClosePayload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_codes_that_may_be_sent_exist() {
        let legal: Vec<u16> = (0..=u16::MAX)
            .filter(|code| CloseCode::try_from(*code).is_ok())
            .collect();
        let expect: Vec<u16> = (1000..=1003).chain(1007..=1014).chain(3000..=4999).collect();
        assert_eq!(legal, expect);
    }

    type Parsed<'a> = Result<(Option<u16>, &'a str), ClosePayloadError>;

    #[test]
    fn payloads_parse_or_say_why_not() {
        let long = "x".repeat(CLOSE_REASON_BYTES_MAX);
        let cases: [(&[u8], Parsed<'_>); 8] = [
            (b"", Ok((None, ""))),
            (b"\x03", Err(ClosePayloadError::OneByte)),
            (b"\x03\xe8", Ok((Some(1000), ""))),
            (b"\x03\xe8bye", Ok((Some(1000), "bye"))),
            (b"\x03\xed", Err(ClosePayloadError::Code(InvalidCloseCode(1005)))),
            (b"\x00\x00", Err(ClosePayloadError::Code(InvalidCloseCode(0)))),
            (b"\x03\xe8\xff", Err(ClosePayloadError::ReasonNotUtf8)),
            (
                &[&[0x0f, 0xa0][..], long.as_bytes()].concat(),
                Ok((Some(4000), &long)),
            ),
        ];
        for (payload, expect) in cases {
            let parsed =
                CloseFrame::parse(payload).map(|frame| (frame.code.map(CloseCode::value), frame.reason));
            assert_eq!(parsed, expect, "{payload:x?}");
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let reason = format!("{}€", "x".repeat(CLOSE_REASON_BYTES_MAX - 1));
        let payload = CloseFrame {
            code: Some(CloseCode::NORMAL),
            reason: &reason,
        }
        .encode();
        assert_eq!(payload.len(), 124);
        assert_eq!(
            CloseFrame::parse(&payload).unwrap().reason,
            "x".repeat(CLOSE_REASON_BYTES_MAX - 1)
        );
    }

    proptest! {
        #[test]
        fn encode_then_parse_is_identity(code in 3000u16..5000, reason in ".{0,30}") {
            let frame = CloseFrame { code: Some(CloseCode::try_from(code).unwrap()), reason: &reason };
            let payload = frame.encode();
            prop_assert_eq!(CloseFrame::parse(&payload), Ok(frame));
        }

        #[test]
        fn parse_never_panics(payload in proptest::collection::vec(any::<u8>(), 0..126)) {
            let _ = CloseFrame::parse(&payload);
        }
    }
}
