//! The 101 (RFC 6455 §4.2.2).

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::rejection::{Rejection, RejectionKind};
use super::request::UpgradeRequest;
use crate::fields;
use crate::key::AcceptKey;
use crate::subprotocol::Subprotocol;

/// The 101 that accepts one request; made by [`UpgradeRequest::accept`].
///
/// It names no extension: all offers are declined.
#[derive(Clone, Debug)]
#[must_use]
pub struct UpgradeResponse {
    accept: AcceptKey,
    offered: Vec<Subprotocol>,
    chosen: Option<Subprotocol>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The application asked for an answer that cannot be sent. A mistake of the application, never of the peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// The subprotocol is not among the offered ones (RFC 6455 §4.2.2 item 5.5).
    #[error("the chosen subprotocol was not offered: take the result of negotiate_subprotocol")]
    SubprotocolNotOffered,
    /// The header is written by the handshake, or frames the message.
    #[error("the header {0} is written by the handshake itself: leave it out")]
    ReservedHeader(HeaderName),
}

impl UpgradeResponse {
    pub(super) fn new(request: &UpgradeRequest) -> Self {
        Self {
            accept: request.key().accept(),
            offered: request.subprotocols().to_vec(),
            chosen: None,
            headers: Vec::new(),
        }
    }

    /// Names the subprotocol that was chosen; `None` leaves it out.
    ///
    /// # Errors
    /// [`ResponseError::SubprotocolNotOffered`].
    pub fn subprotocol<'a>(mut self, chosen: impl Into<Option<&'a str>>) -> Result<Self, ResponseError> {
        self.chosen = match chosen.into() {
            None => None,
            Some(name) => {
                let offered = self.offered.iter().find(|offer| **offer == name);
                Some(offered.ok_or(ResponseError::SubprotocolNotOffered)?.clone())
            }
        };
        Ok(self)
    }

    /// Adds a header (R4), for example the guide's `X-Connection-Validated`. Those of the handshake stand there once (RFC 6455
    /// §11.3.2, §11.3.3, §11.3.4).
    ///
    /// # Errors
    /// [`ResponseError::ReservedHeader`] for `Upgrade`, `Connection`, `Sec-WebSocket-*` and message framing.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Result<Self, ResponseError> {
        if fields::is_reserved_in_answer(&name) {
            return Err(ResponseError::ReservedHeader(name));
        }
        self.headers.push((name, value));
        Ok(self)
    }

    /// Adds all these headers, for example what [`Validate`](super::Validate) returned.
    ///
    /// # Errors
    /// As [`header`](Self::header).
    pub fn headers(mut self, headers: &HeaderMap) -> Result<Self, ResponseError> {
        for (name, value) in headers {
            self = self.header(name.clone(), value.clone())?;
        }
        Ok(self)
    }

    /// The subprotocol that this answer names.
    #[must_use]
    pub fn chosen_subprotocol(&self) -> Option<&Subprotocol> {
        self.chosen.as_ref()
    }

    /// The bytes of the answer (RFC 6455 §4.2.2 item 5), which names no extension (§9), and has each field once (§11.3.3,
    /// §11.3.4). Frames may follow them at once, in the same write.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(256);
        fields::start_answer(&mut out, StatusCode::SWITCHING_PROTOCOLS);
        fields::push(&mut out, "Upgrade", b"websocket");
        fields::push(&mut out, "Connection", b"Upgrade");
        fields::push(&mut out, "Sec-WebSocket-Accept", self.accept.as_str().as_bytes());
        if let Some(chosen) = &self.chosen {
            fields::push(&mut out, "Sec-WebSocket-Protocol", chosen.as_str().as_bytes());
        }
        for (name, value) in &self.headers {
            fields::push(&mut out, name.as_str(), value.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out.into()
    }
}

/// So that `?` works where a decision returns a [`Rejection`]: a mistake of the application is a 500.
impl From<ResponseError> for Rejection {
    fn from(error: ResponseError) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            RejectionKind::Internal,
            error.to_string(),
        )
    }
}
