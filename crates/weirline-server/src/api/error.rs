//! Errors as a client of the API sees them (RFC 9457).

use std::borrow::Cow;

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use weirline_log::{AppendRefusal, AttachRefusal};

/// An answer that says what is wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: StatusCode,
    /// For programs; never changes its meaning.
    code: &'static str,
    /// For people.
    detail: Cow<'static, str>,
}

/// Inside a batch an error has no answer of its own.
#[derive(Serialize)]
pub(super) struct ErrorBody {
    status: u16,
    code: &'static str,
    detail: Cow<'static, str>,
}

impl ApiError {
    pub(crate) const NO_ROUTE: Self = Self::fixed(
        StatusCode::NOT_FOUND,
        "no-route",
        "there is nothing here: /v1/openapi.json describes what there is",
    );
    pub(crate) const NO_METHOD: Self = Self::fixed(
        StatusCode::METHOD_NOT_ALLOWED,
        "no-method",
        "this path does not take this method: /v1/openapi.json describes what there is",
    );
    pub(crate) const NO_STREAM: Self = Self::fixed(
        StatusCode::NOT_FOUND,
        "no-stream",
        "there is no such stream: the first message makes it",
    );
    pub(crate) const BUSY: Self = Self::fixed(
        StatusCode::SERVICE_UNAVAILABLE,
        "busy",
        "too many requests are at work: try again",
    );
    pub(crate) const LOG_FAILED: Self = Self::fixed(
        StatusCode::SERVICE_UNAVAILABLE,
        "log-failed",
        "the log failed, and nothing was published: try again",
    );
    pub(crate) const UNREADABLE: Self = Self::fixed(
        StatusCode::SERVICE_UNAVAILABLE,
        "log-failed",
        "the log cannot be read now: try again",
    );
    pub(crate) const UNKNOWN: Self = Self::fixed(
        StatusCode::SERVICE_UNAVAILABLE,
        "unknown",
        "whether it was published is not known: repeat it with the same Idempotency-Key",
    );
    pub(crate) const KEY_REUSED: Self = Self::fixed(
        StatusCode::UNPROCESSABLE_ENTITY,
        "key-reused",
        "another message was published with this Idempotency-Key: take a new key for a new message",
    );
    pub(crate) const FOREIGN: Self = Self::fixed(
        StatusCode::FORBIDDEN,
        "foreign",
        "only programs of this machine are served: send no Origin, and a Host that is a loopback address or localhost",
    );

    const fn fixed(status: StatusCode, code: &'static str, detail: &'static str) -> Self {
        Self {
            status,
            code,
            detail: Cow::Borrowed(detail),
        }
    }

    /// The request makes no sense.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: "bad-request",
            detail: Cow::Owned(detail.into()),
        }
    }

    /// What the framework says of a body or a query.
    pub(crate) fn refused(status: StatusCode, detail: String) -> Self {
        let code = match status {
            StatusCode::PAYLOAD_TOO_LARGE => "too-large",
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "media-type",
            _ => "bad-request",
        };
        Self {
            status,
            code,
            detail: Cow::Owned(detail),
        }
    }

    /// The reader's offsets are of another history.
    pub(crate) fn another_epoch(current: &str) -> Self {
        Self {
            status: StatusCode::CONFLICT,
            code: "epoch",
            detail: Cow::Owned(format!(
                "the stream's epoch is {current}: its offsets have nothing to do with yours, read on from 0"
            )),
        }
    }

    /// The same, with the place to which it refers.
    pub(crate) fn inside(mut self, place: &str) -> Self {
        self.detail = Cow::Owned(format!("{place}: {}", self.detail));
        self
    }

    pub(super) fn into_body(self) -> ErrorBody {
        ErrorBody {
            status: self.status.as_u16(),
            code: self.code,
            detail: self.detail,
        }
    }
}

impl From<AppendRefusal> for ApiError {
    fn from(refusal: AppendRefusal) -> Self {
        let (status, code) = match refusal {
            AppendRefusal::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too-large"),
            AppendRefusal::StreamsFull => (StatusCode::INSUFFICIENT_STORAGE, "streams-full"),
            AppendRefusal::PublishersFull => (StatusCode::SERVICE_UNAVAILABLE, "keys-full"),
            AppendRefusal::StorageFull => (StatusCode::INSUFFICIENT_STORAGE, "storage-full"),
            AppendRefusal::Exhausted => (StatusCode::INSUFFICIENT_STORAGE, "exhausted"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "refused"),
        };
        Self {
            status,
            code,
            detail: Cow::Owned(format!("not published: {refusal}")),
        }
    }
}

impl From<AttachRefusal> for ApiError {
    fn from(refusal: AttachRefusal) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: "keys-full",
            detail: Cow::Owned(format!("not published, the key cannot be kept: {refusal}")),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status;
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        (status, kind, Json(self.into_body())).into_response()
    }
}
