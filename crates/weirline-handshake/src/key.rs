//! `Sec-WebSocket-Key` and `Sec-WebSocket-Accept` (RFC 6455 §1.3, §4.2.2).

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use sha1::{Digest as _, Sha1};

/// The GUID of RFC 6455 §1.3.
pub const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The value of `Sec-WebSocket-Key`: 16 bytes in base64, kept as the 24 characters that were sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct WebSocketKey([u8; 24]);

/// The value of `Sec-WebSocket-Accept`: proof that the server read the key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct AcceptKey(String);

/// A text is not 16 bytes in base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Sec-WebSocket-Key is not 16 bytes in base64: send 24 characters that end in ==")]
pub struct KeyError;

impl WebSocketKey {
    /// The key for these 16 random bytes, for a client (RFC 6455 §4.1, item 7). The bytes must be fresh for each
    /// connection: they stop a cache from replaying an old answer.
    #[must_use]
    pub fn from_nonce(nonce: [u8; 16]) -> Self {
        let mut text = [0; 24];
        let written = STANDARD.encode_slice(nonce, &mut text);
        debug_assert_eq!(written, Ok(24), "16 bytes are 24 characters of base64");
        Self(text)
    }

    /// Parses a key from a request (RFC 6455 §4.2.1, item 5).
    ///
    /// # Errors
    /// [`KeyError`] unless the text is 16 bytes in padded base64. Bits behind the last byte are not judged: the
    /// standard asks for the decoded length alone.
    pub fn parse(text: &[u8]) -> Result<Self, KeyError> {
        let text: [u8; 24] = text.try_into().map_err(|_| KeyError)?;
        let mut decoded = [0; 18];
        match LENIENT.decode_slice(text, &mut decoded) {
            Ok(16) => Ok(Self(text)),
            _ => Err(KeyError),
        }
    }

    /// The characters as sent.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 24] {
        &self.0
    }

    /// The accept value that answers this key: `base64(sha1(key + GUID))` (RFC 6455 §4.2.2, item 5.4).
    #[must_use]
    pub fn accept(&self) -> AcceptKey {
        let digest = Sha1::new().chain_update(self.0).chain_update(GUID).finalize();
        AcceptKey(STANDARD.encode(digest))
    }
}

impl fmt::Display for WebSocketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|&byte| fmt::Write::write_char(f, char::from(byte)))
    }
}

impl fmt::Debug for WebSocketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebSocketKey({self})")
    }
}

impl AcceptKey {
    /// The 28 characters of the value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AcceptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AcceptKey({})", self.0)
    }
}

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r1_accept_follows_the_standard() {
        let check = |key: &[u8], expect: &str| {
            assert_eq!(WebSocketKey::parse(key).expect("a key").accept().as_str(), expect);
        };
        check(b"dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        check(b"x3JJHMbDL1EzLkh9GBhXDw==", "HSmrc0sMlYUkAGmm5OPpG2HaGWk=");
        check(b"AAAAAAAAAAAAAAAAAAAAAA==", "ICX+Yqv66kxgM0FcWaLWlFLwTAI=");
        assert_eq!(
            WebSocketKey::from_nonce(*b"the sample nonce").as_bytes(),
            b"dGhlIHNhbXBsZSBub25jZQ=="
        );
    }

    #[test]
    fn keys_hold_sixteen_bytes() {
        let check = |key: &[u8], expect: bool| {
            assert_eq!(
                WebSocketKey::parse(key).is_ok(),
                expect,
                "{:?}",
                String::from_utf8_lossy(key)
            );
        };
        check(b"dGhlIHNhbXBsZSBub25jZQ==", true);
        check(b"dGhlIHNhbXBsZSBub25jZR==", true); // bits behind the sixteenth byte
        check(b"", false);
        check(b"dGhlIHNhbXBsZSBub25jZQ=", false);
        check(b"dGhlIHNhbXBsZSBub25jZQ", false);
        check(b"dGhlIHNhbXBsZSBub25jZQAA", false); // 18 bytes
        check(b"dGhlIHNhbXBsZSBub25jZQA=", false); // 17 bytes
        check(b"dGhlIHNhbXBsZSBub25jZ===", false);
        check(b"dGhlIHNhbXBsZSBub25j Q==", false);
        check(b"dGhlIHNhbXBsZSBub25jZ_==", false);
        check(b"dGhlIHNhbXBsZSBub25jZQ==dGhlIHNhbXBsZSBub25jZQ==", false);
    }
}
