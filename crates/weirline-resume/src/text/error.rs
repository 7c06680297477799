use std::fmt;

/// Why a message is not one of the text form. The sender is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// A text message that is not UTF-8. (A WebSocket transport has refused it with 1007 before.)
    #[error("not UTF-8")]
    NotUtf8,
    /// The first field is neither a number nor a word of this direction.
    #[error("unknown message")]
    UnknownMessage,
    /// A binary message that is not `number:payload`.
    #[error("a binary message must be number:payload")]
    NotNumbered,
    /// A number that is missing, has a sign or a leading zero, or is over 2^53 − 1 (or is 0 where it counts from 1).
    #[error("bad number")]
    BadNumber,
    /// An epoch that is not 16 lowercase hexadecimal digits.
    #[error("bad epoch")]
    BadEpoch,
    /// A secret that is not 22 to 128 base64url characters.
    #[error("bad secret")]
    BadSecret,
    /// A reason, code or text outside its alphabet or length.
    #[error("bad word")]
    BadWord,
    /// A field is missing, or something stands behind the last one.
    #[error("wrong number of fields")]
    WrongFields,
    /// A GAP whose end is before its beginning, or a RESUMED whose head is before its position.
    #[error("bad range")]
    BadRange,
}

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[$vmeta])* $variant,)* }

        impl $name {
            /// Every value, in the order of `PROTOCOL.md`.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            pub(crate) fn parse(word: &str) -> Result<Self, TextError> {
                match word { $($word => Ok(Self::$variant),)* _ => Err(TextError::BadWord) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// The code of an `ERROR`.
    ErrorCode {
        /// Not a message of the text form, or not allowed at this point; or none came in time.
        BadMessage = "bad-message",
        /// A PUB that skips numbers, or an attach number too far ahead.
        BadSequence = "bad-sequence",
        /// An ACK beyond what was sent on this connection.
        AckBeyond = "ack-beyond",
        /// The session is unknown and its attach number is not 1.
        SessionUnknown = "session-unknown",
        /// A higher or equal attach number has been seen.
        StaleAttach = "stale-attach",
        /// The payload is over the limit.
        TooLarge = "too-large",
        /// No permission.
        Forbidden = "forbidden",
        /// The server cannot take it at this time; later it may.
        Unavailable = "unavailable",
    }
}

words! {
    /// Why offsets were not delivered.
    GapReason {
        /// Retention removed them before this consumer came to them.
        Retention = "retention",
        /// They were dropped because this consumer was too slow.
        Dropped = "dropped",
        /// Later messages replaced them.
        Conflated = "conflated",
    }
}

/// The human-readable end of an `ERROR`: 1 to 123 bytes of printable UTF-8 that do not begin with a digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrorText<'a>(&'a str);

impl<'a> ErrorText<'a> {
    /// The greatest length in bytes.
    pub const LEN_MAX: usize = 123;
    /// Stands in for a text that is not legal.
    pub(crate) const FALLBACK: ErrorText<'static> = ErrorText("see the code");

    /// Checks a text; `None` when it is empty, too long, begins with a digit, or has control characters.
    #[must_use]
    pub fn new(text: &'a str) -> Option<Self> {
        let fits = (1..=Self::LEN_MAX).contains(&text.len());
        let begins = !text.starts_with(|c: char| c.is_ascii_digit());
        (fits && begins && !text.contains(char::is_control)).then_some(Self(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

/// The reason of a `PAUSE`: 1 to 32 of `[a-z0-9-]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PauseReason<'a>(&'a str);

impl<'a> PauseReason<'a> {
    /// The greatest length in bytes.
    pub const LEN_MAX: usize = 32;
    /// The server cannot take more of what this client publishes.
    pub const PUBLISHING: PauseReason<'static> = PauseReason("publishing");
    /// This client reads its stream too slowly; a break follows unless it catches up.
    pub const SLOW_CONSUMER: PauseReason<'static> = PauseReason("slow-consumer");

    /// Checks a reason; `None` when it is empty, too long, or outside the alphabet.
    #[must_use]
    pub fn new(reason: &'a str) -> Option<Self> {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = (1..=Self::LEN_MAX).contains(&reason.len());
        (fits && reason.bytes().all(legal)).then_some(Self(reason))
    }

    /// The reason.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }
}
