//! The names of the protocol: streams, epochs, sessions.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest stream name, in bytes.
pub const STREAM_ID_BYTES_MAX: usize = 128;

/// The name of a stream: 1 to 128 characters of `[A-Za-z0-9._-]`. Cloning is one reference count.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(Arc<str>);

/// A string that is no stream name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseStreamIdError {
    /// The name is empty.
    #[error("a stream name has at least one character")]
    Empty,
    /// The name has more than [`STREAM_ID_BYTES_MAX`] bytes.
    #[error("a stream name has at most {STREAM_ID_BYTES_MAX} characters")]
    TooLong,
    /// The byte at this index is none of `[A-Za-z0-9._-]`.
    #[error("a stream name consists of letters, digits, '.', '_' and '-' (see byte {0})")]
    Character(usize),
}

impl StreamId {
    /// The checked constructor.
    ///
    /// # Errors
    /// [`ParseStreamIdError`] says what is wrong with the name.
    pub fn new(name: &str) -> Result<Self, ParseStreamIdError> {
        if name.is_empty() {
            return Err(ParseStreamIdError::Empty);
        }
        if name.len() > STREAM_ID_BYTES_MAX {
            return Err(ParseStreamIdError::TooLong);
        }
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        match name.bytes().position(|byte| !legal(byte)) {
            Some(index) => Err(ParseStreamIdError::Character(index)),
            None => Ok(Self(name.into())),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StreamId {
    type Err = ParseStreamIdError;

    fn from_str(name: &str) -> Result<Self, ParseStreamIdError> {
        Self::new(name)
    }
}

impl AsRef<str> for StreamId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for StreamId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamId({})", self.0)
    }
}

/// The life of a stream's numbering: random, never reused, shown as 16 lowercase hexadecimal digits.
///
/// Two offsets are comparable only within one epoch. To clients it is opaque.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

/// A string that is no epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an epoch is 16 lowercase hexadecimal digits")]
pub struct ParseEpochError;

impl Epoch {
    /// An epoch with this id, which must have been drawn at random.
    #[must_use]
    pub const fn new(id: u64) -> Self {
        Self(id)
    }

    /// The id.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl FromStr for Epoch {
    type Err = ParseEpochError;

    fn from_str(digits: &str) -> Result<Self, ParseEpochError> {
        let legal = digits.len() == 16
            && digits
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !legal {
            return Err(ParseEpochError);
        }
        u64::from_str_radix(digits, 16)
            .map(Self)
            .map_err(|_| ParseEpochError)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epoch({self})")
    }
}

/// The name of a session: the SHA-256 of the client's secret, so that neither the log nor a trace holds the secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; 32]);

impl SessionId {
    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The first eight bytes in hexadecimal: enough to follow a session through a log.
impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stream_names() {
        let longest = "x".repeat(128);
        let too_long = "x".repeat(129);
        for (name, expect) in [
            ("a", Ok(())),
            ("A-z_0.9", Ok(())),
            ("..", Ok(())),
            (longest.as_str(), Ok(())),
            ("", Err(ParseStreamIdError::Empty)),
            (too_long.as_str(), Err(ParseStreamIdError::TooLong)),
            ("a/b", Err(ParseStreamIdError::Character(1))),
            ("a b", Err(ParseStreamIdError::Character(1))),
            ("ä", Err(ParseStreamIdError::Character(0))),
            ("a\n", Err(ParseStreamIdError::Character(1))),
            ("a%2e", Err(ParseStreamIdError::Character(1))),
        ] {
            assert_eq!(StreamId::new(name).map(|_| ()), expect, "{name:?}");
        }
    }

    #[test]
    fn epochs_have_one_spelling() {
        for (digits, legal) in [
            ("0123456789abcdef", true),
            ("ffffffffffffffff", true),
            ("0123456789ABCDEF", false),
            ("+123456789abcdef", false),
            ("123456789abcdef", false),
            ("00123456789abcdef", false),
            ("", false),
        ] {
            let parsed = digits.parse::<Epoch>();
            assert_eq!(parsed.is_ok(), legal, "{digits}");
            if let Ok(epoch) = parsed {
                assert_eq!(epoch.to_string(), digits);
            }
        }
    }

    proptest! {
        #[test]
        fn epochs_survive_the_wire(id in any::<u64>()) {
            prop_assert_eq!(Epoch::new(id).to_string().parse(), Ok(Epoch::new(id)));
        }
    }
}
