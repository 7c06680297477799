//! A HELLO in an upgrade request: the value of a header field, or of a subprotocol token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::error::{WireError, WireErrorKind as E};
use super::{ClientMessage, Form, Hello};

/// The header field that carries a HELLO.
pub const ATTACH_HEADER: &str = "weirline-attach";
/// What an offered subprotocol that carries a HELLO begins with; it is never picked and never echoed.
pub const ATTACH_SUBPROTOCOL: &str = "weirline.attach.";
/// The greatest length of the value in characters.
pub const ATTACH_VALUE_LEN_MAX: usize = 8192;

/// A HELLO out of an upgrade request: base64url of the message, in either form.
///
/// It has a session's token in it: `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct AttachValue(Vec<u8>);

impl AttachValue {
    /// Reads the value of the header field, or what stands behind [`ATTACH_SUBPROTOCOL`].
    ///
    /// # Errors
    /// [`WireError`]: not base64url, or too long. Answer in-band, by a REJECT.
    pub fn parse(value: &str) -> Result<Self, WireError> {
        if value.len() > ATTACH_VALUE_LEN_MAX {
            return Err(E::BadValue.anywhere());
        }
        let message = URL_SAFE_NO_PAD.decode(value);
        message.map(Self).map_err(|_| E::BadValue.anywhere())
    }

    /// The HELLO in it.
    ///
    /// # Errors
    /// [`WireError`]: another message, or none.
    pub fn hello(&self) -> Result<Hello<'_>, WireError> {
        let form = match self.0.first() {
            Some(b'{') => Form::Json,
            _ => Form::Binary,
        };
        match ClientMessage::decode(form, form.kind(), &self.0)? {
            Some(ClientMessage::Hello(hello)) => Ok(hello),
            _ => Err(E::UnknownType.anywhere()),
        }
    }

    /// The value for a HELLO; `None` when it would be too long, and the HELLO must be the first message.
    #[must_use]
    pub fn encode(form: Form, hello: Hello<'_>) -> Option<String> {
        let mut message = Vec::new();
        ClientMessage::Hello(hello).encode(form, &mut message);
        let value = URL_SAFE_NO_PAD.encode(message);
        (value.len() <= ATTACH_VALUE_LEN_MAX).then_some(value)
    }
}

impl std::fmt::Debug for AttachValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AttachValue(..)")
    }
}
