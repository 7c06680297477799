use bytes::Bytes;
use weirline_log::PayloadKind;

/// What is published: UTF-8 text or any bytes, valid by construction.
///
/// Made by `From` out of `&str`, `String`, `&[u8]`, `Vec<u8>` and [`Bytes`], or by [`Payload::text`] out of bytes
/// that may be text. Cloning shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    kind: PayloadKind,
    bytes: Bytes,
}

impl Payload {
    /// Takes bytes as text without copying them.
    ///
    /// # Errors
    /// Where they are not UTF-8.
    pub fn text(bytes: Bytes) -> Result<Self, std::str::Utf8Error> {
        str::from_utf8(&bytes)?;
        Ok(Self {
            kind: PayloadKind::Text,
            bytes,
        })
    }

    /// Text or binary.
    #[must_use]
    pub fn kind(&self) -> PayloadKind {
        self.kind
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl From<String> for Payload {
    fn from(text: String) -> Self {
        Self {
            kind: PayloadKind::Text,
            bytes: text.into(),
        }
    }
}

impl From<&str> for Payload {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self {
            kind: PayloadKind::Binary,
            bytes,
        }
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<&[u8]> for Payload {
    fn from(bytes: &[u8]) -> Self {
        Bytes::copy_from_slice(bytes).into()
    }
}
