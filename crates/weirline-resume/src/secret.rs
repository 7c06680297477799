use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use weirline_log::SessionId;

/// The secret that names a session and proves that its bearer owns it.
///
/// Between [`Secret::CHARS_MIN`] and [`Secret::CHARS_MAX`] characters of the base64url alphabet, so at least 128 bits. The log
/// never sees it, only its SHA-256 ([`Secret::session_id`]); `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(Box<str>);

impl Secret {
    /// The least number of characters: 22 characters carry 132 bits.
    pub const CHARS_MIN: usize = 22;
    /// The greatest number of characters.
    pub const CHARS_MAX: usize = 128;

    /// Takes a secret as it stands in a message; `None` when it is too short, too long, or not base64url.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let fits = (Self::CHARS_MIN..=Self::CHARS_MAX).contains(&text.len());
        (fits && text.bytes().all(legal)).then(|| Self(text.into()))
    }

    /// Makes a secret of 256 bits that the caller drew from a cryptographic source.
    #[must_use]
    pub fn from_entropy(entropy: [u8; 32]) -> Self {
        Self(URL_SAFE_NO_PAD.encode(entropy).into())
    }

    /// The text that goes into `SESSION:`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name under which the log knows the session: the SHA-256 of the secret's characters.
    #[must_use]
    pub fn session_id(&self) -> SessionId {
        SessionId(Sha256::digest(self.0.as_bytes()).into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_base64url_of_22_to_128_characters_is_a_secret() {
        fn check(text: &str, expect: bool) {
            assert_eq!(Secret::parse(text).is_some(), expect, "{text:?}");
        }
        check(&"a".repeat(21), false);
        check(&"a".repeat(22), true);
        check(&"a".repeat(128), true);
        check(&"a".repeat(129), false);
        check("abcdefghijklmnopqrst-_", true);
        check("abcdefghijklmnopqrst+/", false);
        check("abcdefghijklmnopqrstu=", false);
        check("abcdefghijklmnopqrstü", false);
    }

    #[test]
    fn entropy_gives_a_legal_secret_that_debug_hides() {
        let secret = Secret::from_entropy([0xab; 32]);
        assert_eq!(Secret::parse(secret.as_str()).as_ref(), Some(&secret));
        assert_eq!(secret.as_str().len(), 43);
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }
}
