//! Every answer other than 101: its status, its reason, its bytes.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{StatusCode, header};

use crate::escape::Escaped;
use crate::fields;

/// A refused upgrade: the answer to send, after which the connection **must be closed**.
///
/// Closing is part of the answer: a proxy that takes any answer to an upgrade for a 101 would otherwise tunnel what the
/// attacker sends behind the request. So `encode` always says `Connection: close`, and nothing that follows the
/// request may be read as another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    status: StatusCode,
    kind: RejectionKind,
    message: Cow<'static, str>,
    retry_after: Option<Duration>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// Why an upgrade was refused: a small closed set, fit for a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RejectionKind {
    /// 400: the head breaks the grammar of HTTP/1.1.
    Head,
    /// 431: the head has too many bytes or fields.
    HeadTooLarge,
    /// 400: not HTTP/1.1.
    HttpVersion,
    /// 405: not GET.
    Method,
    /// 400: the request announces a body (`Transfer-Encoding`, `Content-Length`).
    Body,
    /// 400: `Host` is absent, repeated or malformed.
    Host,
    /// 400: the request target is malformed, or disagrees with `Host`.
    Target,
    /// 426 when there is no `Upgrade` at all, 400 when it names something else than `websocket`.
    Upgrade,
    /// 400: `Connection` does not name `upgrade`.
    Connection,
    /// 426: `Sec-WebSocket-Version` is not exactly one `13` (R2).
    Version,
    /// 400: `Sec-WebSocket-Key` is absent, repeated or malformed.
    Key,
    /// 400: the offered subprotocols are malformed, or none of them is supported.
    Subprotocol,
    /// 400: the offered extensions are malformed.
    Extension,
    /// 403: `Origin` is malformed or not allowed (R3).
    Origin,
    /// 404: nothing is served at this path.
    NotFound,
    /// 503: no room for another connection.
    Unavailable,
    /// The application's own reason, by [`Rejection::bad_request`], [`Rejection::forbidden`] or
    /// [`Rejection::custom`] (R4).
    Application,
    /// 500: the application built an answer that cannot be sent.
    Internal,
}

/// A status or a header that a [`Rejection`] cannot carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRejection {
    /// The status is not 4xx or 5xx.
    #[error("a rejection has a status of 400 to 599")]
    Status,
    /// The header belongs to the handshake or to the framing of the answer.
    #[error("this header is written by the handshake itself: leave it out")]
    ReservedHeader,
}

impl Rejection {
    /// 400 for a reason of the application.
    #[must_use]
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, RejectionKind::Application, message)
    }

    /// 403 for a reason of the application.
    #[must_use]
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, RejectionKind::Application, message)
    }

    /// 404: nothing is served at this path.
    #[must_use]
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, RejectionKind::NotFound, message)
    }

    /// 405 with `Allow: GET`.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        let message = "the method is not GET: open a WebSocket with GET";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, RejectionKind::Method, message)
    }

    /// 426 with `Upgrade: websocket` and `Sec-WebSocket-Version: 13` (RFC 6455 §4.2.2, RFC 9110 §15.5.22).
    #[must_use]
    pub fn upgrade_required(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UPGRADE_REQUIRED, RejectionKind::Upgrade, message)
    }

    /// 431: the head has too many bytes or fields (RFC 6585 §5).
    #[must_use]
    pub fn head_too_large(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            RejectionKind::HeadTooLarge,
            message,
        )
    }

    /// 503; `retry_after` is sent in whole seconds, rounded up (RFC 9110 §10.2.3).
    #[must_use]
    pub fn unavailable(message: impl Into<Cow<'static, str>>, retry_after: Option<Duration>) -> Self {
        let rejection = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            RejectionKind::Unavailable,
            message,
        );
        Self {
            retry_after,
            ..rejection
        }
    }

    /// Any other status of 400 to 599, for example 401 or 429.
    ///
    /// # Errors
    /// [`InvalidRejection::Status`] for any other number: a 2xx or 3xx would tell the peer that it was served.
    pub fn custom(
        status: StatusCode,
        message: impl Into<Cow<'static, str>>,
    ) -> Result<Self, InvalidRejection> {
        if status.is_client_error() || status.is_server_error() {
            Ok(Self::new(status, RejectionKind::Application, message))
        } else {
            Err(InvalidRejection::Status)
        }
    }

    pub(crate) fn new(
        status: StatusCode,
        kind: RejectionKind,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        let message = message.into();
        // Cleaned here once, so that neither the answer nor a log can be split by it.
        let message = if Escaped::is_clean(&message) {
            message
        } else {
            Escaped(&message).to_string().into()
        };
        Self {
            status,
            kind,
            message,
            retry_after: None,
            headers: Vec::new(),
        }
    }

    /// A 400 of the handshake itself.
    pub(crate) fn protocol(kind: RejectionKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, kind, message)
    }

    /// Adds a header to the answer, for example `WWW-Authenticate`.
    ///
    /// # Errors
    /// [`InvalidRejection::ReservedHeader`] for headers that `encode` writes.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Result<Self, InvalidRejection> {
        if fields::is_reserved_in_answer(&name) || WRITTEN.contains(&name) {
            return Err(InvalidRejection::ReservedHeader);
        }
        self.headers.push((name, value));
        Ok(self)
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Why, as a small closed set.
    #[must_use]
    pub fn kind(&self) -> RejectionKind {
        self.kind
    }

    /// Why, and what to do about it, on one line without control characters; also the body of the answer.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// When the peer should come back.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The whole answer, head and body. Write it, then close the connection. A refused version is told the one that is spoken
    /// (RFC 6455 §4.2.2 item 4, §4.4).
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let body = format!("{}\n", self.message);
        let mut out = Vec::with_capacity(256 + body.len());
        fields::start_answer(&mut out, self.status);
        // RFC 9110 §7.8: whoever sends Upgrade also names it in Connection.
        let wants_upgrade = self.status == StatusCode::UPGRADE_REQUIRED;
        let connection: &[u8] = if wants_upgrade {
            b"close, upgrade"
        } else {
            b"close"
        };
        fields::push(&mut out, "Connection", connection);
        if wants_upgrade {
            fields::push(&mut out, "Upgrade", b"websocket");
            fields::push(&mut out, "Sec-WebSocket-Version", b"13");
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            fields::push(&mut out, "Allow", b"GET");
        }
        if let Some(pause) = self.retry_after {
            let seconds = pause
                .as_secs()
                .saturating_add(u64::from(pause.subsec_nanos() > 0));
            fields::push(&mut out, "Retry-After", seconds.to_string().as_bytes());
        }
        for (name, value) in &self.headers {
            fields::push(&mut out, name.as_str(), value.as_bytes());
        }
        fields::push(&mut out, "Cache-Control", b"no-store");
        fields::push(&mut out, "X-Content-Type-Options", b"nosniff");
        fields::push(&mut out, "Content-Type", b"text/plain; charset=utf-8");
        fields::push(&mut out, "Content-Length", body.len().to_string().as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(body.as_bytes());
        out.into()
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "upgrade refused with {}: {}", self.status, self.message)
    }
}

impl std::error::Error for Rejection {}

impl RejectionKind {
    /// A stable name in snake case, for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::HeadTooLarge => "head_too_large",
            Self::HttpVersion => "http_version",
            Self::Method => "method",
            Self::Body => "body",
            Self::Host => "host",
            Self::Target => "target",
            Self::Upgrade => "upgrade",
            Self::Connection => "connection",
            Self::Version => "version",
            Self::Key => "key",
            Self::Subprotocol => "subprotocol",
            Self::Extension => "extension",
            Self::Origin => "origin",
            Self::NotFound => "not_found",
            Self::Unavailable => "unavailable",
            Self::Application => "application",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for RejectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Headers that `encode` writes itself, beside those of the handshake.
const WRITTEN: [HeaderName; 5] = [
    header::ALLOW,
    header::CACHE_CONTROL,
    header::CONTENT_TYPE,
    header::RETRY_AFTER,
    header::X_CONTENT_TYPE_OPTIONS,
];
