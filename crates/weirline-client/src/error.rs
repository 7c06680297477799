//! Why connections end, why the client ends, and why a call was refused.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use weirline_handshake::Escaped;
use weirline_resume::text::ErrorCode;

/// Why one connection, or one attempt to make one, is over. The client goes on from any of these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// No connection could be made: the name does not resolve, nobody listens, the network is away.
    #[error("cannot connect: {0}")]
    Dial(String),
    /// From the start of the dial to the server's first answer took longer than
    /// [`dial_timeout`](crate::ClientBuilder::dial_timeout).
    #[error("no answer in time")]
    DialTimeout,
    /// The server, or a proxy before it, answered the upgrade with an HTTP status that may pass.
    #[error("the upgrade was answered with HTTP status {status}")]
    Refused {
        /// The status: 408, 429 or 5xx.
        status: u16,
        /// `Retry-After`, in seconds.
        retry_after: Option<Duration>,
    },
    /// The answer to the upgrade was not one, or broke off.
    #[error("the upgrade failed: {0}")]
    Handshake(String),
    /// A Close frame came.
    #[error("closed by the server with {code}{}", Reason(.reason))]
    Closed {
        /// The close code, 1005 when the frame had none.
        code: u16,
        /// The reason, as sent.
        reason: String,
    },
    /// The connection ended without a Close frame: end of file, a reset, an unanswered ping.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// The server broke the protocol, and the client closed the connection.
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
    /// The client gave the attempt up, because it is closing.
    #[error("given up by this client")]
    Abandoned,
}

impl Cause {
    /// `Retry-After` of an HTTP answer. (The machine reads the wish in a Close frame.)
    pub(crate) fn hint(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

struct Reason<'a>(&'a str);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", self.0.escape_debug())
        }
    }
}

/// Why a client is over for good.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Another holder of this session attached with a higher number (I12). This one never tries to win it back.
    #[error("another client has taken over this session")]
    Superseded,
    /// An outage had all its dials (R25).
    #[error("gave up after {attempts} attempts; the last one: {last}")]
    Exhausted {
        /// How many were made.
        attempts: u32,
        /// What became of the last one.
        last: Cause,
    },
    /// The upgrade was answered with a status that will not pass: the URL, the origin or the rights are wrong.
    #[error("the server refused the upgrade with HTTP status {status}{}", Reason(.message))]
    Refused {
        /// The status: 3xx, or 4xx other than 408 and 429.
        status: u16,
        /// The beginning of the body.
        message: String,
    },
    /// The server said `ERROR:code:text` to something the client will not do otherwise next time.
    #[error("the server refused: {code}: {}", Escaped(text))]
    Rejected {
        /// The code.
        code: ErrorCode,
        /// For people.
        text: String,
    },
    /// The server broke the protocol, in a way that another dial does not help against: it is no Weirline server.
    #[error("{0}")]
    Protocol(String),
    /// The attach numbers of the session are used up, at 2^53 − 1.
    #[error("the session has no attach numbers left")]
    Numbers,
    /// The store failed. No dial was made, and nothing sent, on state that is not stored.
    #[error("the client's state could not be stored: {0}")]
    Store(#[from] StoreError),
    /// The client was closed, by [`Client::close`](crate::Client::close) or because all handles are gone.
    #[error("the client is closed")]
    Closed,
    /// The driver future was dropped, so nothing moves any more.
    #[error("the client's driver was dropped")]
    DriverDropped,
}

/// Why a message was not taken. The caller still owns it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The outbox is full: too much is published and not acknowledged. Only from
    /// [`Client::try_publish`](crate::Client::try_publish).
    #[error("the outbox is full")]
    Full,
    /// One message larger than the server or the outbox would ever take.
    #[error("a message of {bytes} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// The length of the payload.
        bytes: usize,
        /// The greatest length taken.
        limit: usize,
    },
    /// The client is over.
    #[error(transparent)]
    Ended(#[from] ClientError),
}

/// What a [`Store`](crate::Store) says when it cannot do its work.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(Arc<dyn std::error::Error + Send + Sync>);

impl StoreError {
    /// Wraps the engine's own error.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(Arc::from(error.into()))
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::new(error)
    }
}

/// Why no client could be made.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Not a `ws://` URL this client can dial.
    #[error("{url:?} is not a URL to connect to: {why}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// A header or an origin that cannot stand in a request.
    #[error("{0}")]
    Request(String),
}
