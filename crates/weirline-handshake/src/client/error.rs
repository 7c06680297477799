//! Why a client's handshake failed.

use std::time::Duration;

use http::StatusCode;
use http::header::HeaderMap;

use crate::escape::Escaped;
use crate::head::HeadError;

/// The server's answer does not open a WebSocket connection: close (RFC 6455 §4.1, *fail the connection*).
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The server, or something in front of it, answered with another status than 101.
    #[error("the server refused the upgrade with {}: {}", .0.status, Escaped(.0.body_text().trim()))]
    Refused(Box<RefusedUpgrade>),
    /// The head of the answer cannot be read.
    #[error("the server's answer cannot be read: {0}")]
    Head(HeadError),
    /// The server closed the connection in the middle of its answer, or before it.
    #[error(
        "the server closed the connection during the handshake: is this its WebSocket port, and is TLS meant?"
    )]
    ClosedEarly,
    /// `Upgrade` is not `websocket` (RFC 6455 §4.1, answer item 2).
    #[error("the answer lacks Upgrade: websocket: a proxy in between is not set up for WebSocket")]
    Upgrade,
    /// `Connection` does not name `upgrade` (item 3).
    #[error("the answer lacks Connection: Upgrade: a proxy in between is not set up for WebSocket")]
    Connection,
    /// `Sec-WebSocket-Accept` is absent, repeated or does not answer our key (item 4).
    #[error("the answer does not fit our key: it comes from a cache, or the server is no WebSocket server")]
    Accept,
    /// The server names an extension that was not offered, or sends an empty list of them (item 5); this client offers
    /// none.
    #[error("the server chose an extension that was not offered: the server is at fault")]
    ExtensionNotOffered,
    /// The server names a subprotocol that was not offered, or more than one (item 6).
    #[error("the server chose a subprotocol that was not offered: offer one that it serves")]
    SubprotocolNotOffered,
    /// The 101 announces a body, which it cannot have (RFC 9112 §6.1).
    #[error("the 101 announces a body: a proxy in between is not set up for WebSocket")]
    Body,
    /// More interim answers (1xx) than [`ResponseReader::INTERIM_MAX`](super::ResponseReader::INTERIM_MAX).
    #[error("the server sends one interim answer after another: it never accepts")]
    TooManyInterim,
}

/// A complete answer with another status than 101.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RefusedUpgrade {
    /// The status.
    pub status: StatusCode,
    /// The header fields, in the order received.
    pub headers: HeaderMap,
    /// The value of `Retry-After` in seconds; a date is ignored, since reading it needs a clock.
    pub retry_after: Option<Duration>,
    /// The start of the body, at most [`ResponseReader::BODY_PREFIX_MAX`](super::ResponseReader::BODY_PREFIX_MAX) bytes.
    pub body_prefix: Vec<u8>,
}

impl RefusedUpgrade {
    /// The start of the body as text. It is the peer's: show it by [`Escaped`].
    #[must_use]
    pub fn body_text(&self) -> String {
        String::from_utf8_lossy(&self.body_prefix).into_owned()
    }
}

impl HandshakeError {
    /// The status that the server refused with.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused(refused) => Some(refused.status),
            _ => None,
        }
    }

    /// When the server wants us back.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refused) => refused.retry_after,
            _ => None,
        }
    }
}
