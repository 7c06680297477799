//! What stands in the fields. A value that exists is valid.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use weirline_log::{Epoch, NUMBER_MAX, Offset, PayloadKind};

/// The client's number for a subscription, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sub(NonZeroU32);

impl Sub {
    /// The checked constructor; `None` for 0.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Sub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Proves that its bearer owns a session. The log keeps its SHA-256 alone; `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(pub [u8; 32]);

impl Token {
    /// What the log compares: the token and its bearer, so that a token is of no use to anybody else.
    #[must_use]
    pub fn owner(&self, principal: &str) -> [u8; 32] {
        let digest = Sha256::new().chain_update(self.0).chain_update(principal);
        digest.finalize().into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Tells the dials of one client apart, even if they have one attach number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nonce(pub [u8; 16]);

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nonce({})", URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// Absolute limits, counted from the attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Cost in bytes: each message its payload and [`Limits::OVERHEAD_BYTES`].
    pub bytes: u64,
    /// Messages.
    pub messages: u64,
}

impl Limits {
    /// No limit.
    pub const NONE: Self = Self {
        bytes: NUMBER_MAX,
        messages: NUMBER_MAX,
    };

    /// What a message costs beside its payload.
    pub const OVERHEAD_BYTES: u64 = 32;
}

/// From where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Begin {
    /// Behind the last offset that was taken in; 0 asks for everything that is kept.
    After {
        /// The offset.
        offset: Offset,
        /// Without it, a change of epoch goes unnoticed unless the offset is beyond the head.
        epoch: Option<Epoch>,
    },
    /// Only what comes.
    Head,
    /// Behind the session's recorded ack, or at the head.
    AckedOrHead,
    /// Behind the session's recorded ack, or at the start.
    AckedOrStart,
}

/// What happens when the consumer of a subscription is slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Policy {
    /// The cursor waits.
    #[default]
    Pause,
    /// The cursor jumps, and a GAP says so.
    DropOldest {
        /// So many of the newest messages are kept for it; from 1.
        keep: u64,
    },
    /// The connection is broken.
    Break,
}

/// A message of a stream as it was published.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Payload<'a> {
    /// Text or binary. Text is UTF-8.
    pub kind: PayloadKind,
    /// Borrowed from the message where that has it literally.
    pub bytes: Cow<'a, [u8]>,
}

impl fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} \"{}\"", self.kind, self.bytes.escape_ascii())
    }
}

/// A reason: 1 to 32 of `a-z 0-9 -`, held inline.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Word {
    len: u8,
    bytes: [u8; Word::LEN_MAX],
}

impl Word {
    /// The greatest length.
    pub const LEN_MAX: usize = 32;
    /// The server cannot take more of what this client publishes.
    pub const PUBLISHING: Self = Self::of(b"publishing");
    /// The consumer is too slow.
    pub const SLOW_CONSUMER: Self = Self::of(b"slow-consumer");

    const fn of(word: &[u8]) -> Self {
        let mut bytes = [0; Self::LEN_MAX];
        let mut at = 0;
        while at < word.len() {
            bytes[at] = word[at];
            at += 1;
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most 32")]
        let len = at as u8;
        Self { len, bytes }
    }

    /// Checks a word; `None` when it is empty, too long, or outside the alphabet.
    #[must_use]
    pub fn new(word: &str) -> Option<Self> {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = (1..=Self::LEN_MAX).contains(&word.len());
        (fits && word.bytes().all(legal)).then(|| Self::of(word.as_bytes()))
    }

    /// The word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Word({})", self.as_str())
    }
}

/// What a fault says to people: at most 256 bytes without control characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Detail<'a>(Cow<'a, str>);

impl<'a> Detail<'a> {
    /// The greatest length in bytes.
    pub const LEN_MAX: usize = 256;

    /// Checks a text; `None` when it is too long or has control characters.
    #[must_use]
    pub fn new(text: impl Into<Cow<'a, str>>) -> Option<Self> {
        let text = text.into();
        (text.len() <= Self::LEN_MAX && !text.contains(char::is_control)).then_some(Self(text))
    }

    /// A text of this program's own; what is not legal is left out.
    #[must_use]
    pub fn lossy(text: impl Into<Cow<'a, str>>) -> Self {
        Self::new(text).unwrap_or_default()
    }

    /// The text, perhaps empty.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same, owned.
    #[must_use]
    pub fn into_owned(self) -> Detail<'static> {
        Detail(self.0.into_owned().into())
    }
}

/// A credential: 1 to 8192 visible ASCII characters. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Credential<'a>(Cow<'a, str>);

impl<'a> Credential<'a> {
    /// The greatest length.
    pub const LEN_MAX: usize = 8192;

    /// Checks a credential; `None` when it is empty, too long, or has other characters.
    #[must_use]
    pub fn new(text: impl Into<Cow<'a, str>>) -> Option<Self> {
        let text = text.into();
        let fits = (1..=Self::LEN_MAX).contains(&text.len());
        (fits && text.bytes().all(|byte| byte.is_ascii_graphic())).then_some(Self(text))
    }

    /// The credential.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(..)")
    }
}

/// Where to go: an absolute `ws:` or `wss:` URL of at most 1024 visible ASCII characters. No more of it is checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Url<'a>(Cow<'a, str>);

impl<'a> Url<'a> {
    /// The greatest length.
    pub const LEN_MAX: usize = 1024;

    /// Checks a URL; `None` when it is too long, has other characters, or another scheme.
    #[must_use]
    pub fn new(text: impl Into<Cow<'a, str>>) -> Option<Self> {
        let text = text.into();
        let scheme = text.starts_with("ws://") || text.starts_with("wss://");
        let legal = text.len() <= Self::LEN_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
        (scheme && legal).then_some(Self(text))
    }

    /// The URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(format!("{:?}", Token([7; 32])), "Token(..)");
        assert_eq!(format!("{:?}", Credential::new("abc").unwrap()), "Credential(..)");
    }

    #[test]
    fn words_are_lowercase_digits_and_dashes() {
        for (word, legal) in [
            ("a", true),
            ("slow-consumer", true),
            ("a-very-long-word-of-32-characters", false),
            ("32-characters-of-a-legal-word-ab", true),
            ("", false),
            ("A", false),
            ("ä", false),
            ("a b", false),
        ] {
            assert_eq!(Word::new(word).is_some(), legal, "{word}");
        }
        assert_eq!(Word::new("publishing"), Some(Word::PUBLISHING));
        assert_eq!(Word::SLOW_CONSUMER.as_str(), "slow-consumer");
    }

    #[test]
    fn addresses_are_absolute() {
        for (url, legal) in [
            ("wss://b.example/v1/ws", true),
            ("ws://[::1]:7070/", true),
            ("https://b.example/", false),
            ("/v1/ws", false),
            ("", false),
            ("ws://a b", false),
        ] {
            assert_eq!(Url::new(url).is_some(), legal, "{url}");
        }
    }
}
