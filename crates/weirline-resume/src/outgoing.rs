use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use weirline_log::PayloadKind;

/// At most 32 bytes, held inline: what stands before a payload that many connections share.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix {
    len: u8,
    bytes: [u8; Prefix::LEN_MAX],
}

impl Prefix {
    /// The greatest number of bytes.
    pub const LEN_MAX: usize = 32;

    /// No bytes.
    pub const EMPTY: Self = Self {
        len: 0,
        bytes: [0; Self::LEN_MAX],
    };

    /// `number:`, the prefix of a message with a payload in the text form.
    #[must_use]
    pub fn number(number: u64) -> Self {
        Self::join(b"", number, b":")
    }

    /// A number alone.
    pub(crate) fn decimal(number: u64) -> Self {
        Self::join(b"", number, b"")
    }

    /// Adds bytes at the end.
    ///
    /// # Panics
    /// When there is no room for them: whoever writes prefixes knows how long they are.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let from = usize::from(self.len);
        self.bytes[from..from + bytes.len()].copy_from_slice(bytes);
        self.len += u8::try_from(bytes.len()).unwrap_or_default();
    }

    /// `ACK:number`, a whole message.
    pub(crate) fn ack(number: u64) -> Self {
        Self::join(b"ACK:", number, b"")
    }

    fn join(before: &[u8], number: u64, behind: &[u8]) -> Self {
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut rest = number;
        loop {
            at -= 1;
            digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        let mut prefix = Self::EMPTY;
        let parts = before.iter().chain(&digits[at..]).chain(behind);
        for (slot, &byte) in prefix.bytes.iter_mut().zip(parts) {
            *slot = byte;
            prefix.len += 1;
        }
        prefix
    }
}

impl Deref for Prefix {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self))
    }
}

/// One message for the transport: `prefix` and `payload` are one WebSocket message of `kind`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Outgoing {
    /// Text or binary.
    pub kind: PayloadKind,
    /// Written before the payload.
    pub prefix: Prefix,
    /// Shared with the log or the outbox, never copied.
    pub payload: Bytes,
}

impl Outgoing {
    /// A text message without a shared payload.
    pub(crate) fn control(text: String) -> Self {
        Self {
            kind: PayloadKind::Text,
            prefix: Prefix::EMPTY,
            payload: Bytes::from(text),
        }
    }

    /// `ACK:number`, without an allocation.
    pub(crate) fn ack(number: u64) -> Self {
        Self {
            kind: PayloadKind::Text,
            prefix: Prefix::ack(number),
            payload: Bytes::new(),
        }
    }

    /// `number:payload`.
    pub(crate) fn numbered(number: u64, kind: PayloadKind, payload: Bytes) -> Self {
        Self {
            kind,
            prefix: Prefix::number(number),
            payload,
        }
    }

    /// The text of a message that is the protocol's own and carries no payload, such as `GAP:1:2:retention`: for logs. It is one line
    /// of printable characters. `None` for a payload, and for an `ACK`.
    #[must_use]
    pub fn control_text(&self) -> Option<&str> {
        if self.prefix.is_empty() {
            std::str::from_utf8(&self.payload).ok()
        } else {
            None
        }
    }

    /// Length of the whole message in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.prefix.len() + self.payload.len()
    }

    /// Whether the message has no bytes; messages of the protocol never are.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Prefix and payload in one piece: a copy, for tests and small tools.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        [&self.prefix[..], &self.payload[..]].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_prefix_is_its_decimal_and_a_colon() {
        for number in [0, 1, 9, 10, 42, (1 << 53) - 1, u64::MAX] {
            assert_eq!(&Prefix::number(number)[..], format!("{number}:").as_bytes());
        }
    }
}
