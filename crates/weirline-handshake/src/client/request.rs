//! The client's request (RFC 6455 §4.1).

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};

use super::url::WsUrl;
use crate::fields;
use crate::key::WebSocketKey;
use crate::origin::Origin;
use crate::subprotocol::{Subprotocol, SubprotocolError};

/// The request that opens a WebSocket connection.
///
/// It offers no extension. It may serve several dials when each gets its own key by [`with_key`](Self::with_key).
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientRequest {
    url: WsUrl,
    key: WebSocketKey,
    origin: Option<Origin>,
    subprotocols: Vec<Subprotocol>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The application asked for a request that cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientRequestError {
    /// The subprotocols are not a list of distinct tokens.
    #[error(transparent)]
    Subprotocol(#[from] SubprotocolError),
    /// The header is written by the handshake, or frames the message.
    #[error("the header {0} is written by the handshake itself: leave it out")]
    ReservedHeader(HeaderName),
}

impl ClientRequest {
    /// A request for this URL. The 16 bytes must be random and fresh for each connection (RFC 6455 §4.1 item 7).
    pub fn new(url: &WsUrl, key: [u8; 16]) -> Self {
        Self {
            url: url.clone(),
            key: WebSocketKey::from_nonce(key),
            origin: None,
            subprotocols: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// The same request with another key, for another dial.
    pub fn with_key(self, key: [u8; 16]) -> Self {
        Self {
            key: WebSocketKey::from_nonce(key),
            ..self
        }
    }

    /// Sends an Origin, as a browser would (RFC 6455 §4.1 item 8).
    pub fn origin(self, origin: Origin) -> Self {
        Self {
            origin: Some(origin),
            ..self
        }
    }

    /// Offers these subprotocols, the preferred one first, in place of earlier ones.
    ///
    /// # Errors
    /// [`ClientRequestError::Subprotocol`] when one is no token or is there twice.
    pub fn subprotocols(mut self, names: &[&str]) -> Result<Self, ClientRequestError> {
        self.subprotocols.clear();
        for name in names {
            // A name with a comma would be read as two.
            let name = Subprotocol::new(name)?;
            Subprotocol::read_list(name.as_str(), &mut self.subprotocols)?;
        }
        Ok(self)
    }

    /// Adds a header, for example `Authorization`. Those of the handshake stand there once, and no extension is offered (RFC 6455
    /// §5.8, §9.1, §11.3.1, §11.3.5).
    ///
    /// # Errors
    /// [`ClientRequestError::ReservedHeader`] for `Host`, `Origin`, `Upgrade`, `Connection`, `Sec-WebSocket-*` and
    /// message framing.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Result<Self, ClientRequestError> {
        if fields::is_reserved_in_request(&name) {
            return Err(ClientRequestError::ReservedHeader(name));
        }
        self.headers.push((name, value));
        Ok(self)
    }

    /// The URL of the request.
    #[must_use]
    pub fn url(&self) -> &WsUrl {
        &self.url
    }

    /// The key of the request.
    #[must_use]
    pub fn key(&self) -> &WebSocketKey {
        &self.key
    }

    /// The offered subprotocols.
    #[must_use]
    pub fn offered_subprotocols(&self) -> &[Subprotocol] {
        &self.subprotocols
    }

    /// The bytes of the request. Send nothing behind them before the answer has been read (RFC 6455 §4.1). They offer no
    /// extension (RFC 6455 §9.1).
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(b"GET ");
        out.extend_from_slice(self.url.path_and_query().as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        fields::push(&mut out, "Host", self.url.host_field().as_bytes());
        fields::push(&mut out, "Upgrade", b"websocket");
        fields::push(&mut out, "Connection", b"Upgrade");
        fields::push(&mut out, "Sec-WebSocket-Key", self.key.as_bytes());
        fields::push(&mut out, "Sec-WebSocket-Version", b"13");
        if let Some(origin) = &self.origin {
            fields::push(&mut out, "Origin", origin.to_string().as_bytes());
        }
        if !self.subprotocols.is_empty() {
            let names: Vec<_> = self.subprotocols.iter().map(Subprotocol::as_str).collect();
            fields::push(&mut out, "Sec-WebSocket-Protocol", names.join(", ").as_bytes());
        }
        for (name, value) in &self.headers {
            fields::push(&mut out, name.as_str(), value.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out.into()
    }
}
