//! Publishing: one message, or a batch.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, JsonRejection};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use weirline_log::{
    Attach, Author, Command, Item, Outcome, PayloadKind, Proof, RollingHash, Seq, SessionId, StreamId,
};

use super::Api;
use super::error::{ApiError, ErrorBody};

/// A message that is to be published.
struct Message {
    stream: StreamId,
    kind: PayloadKind,
    payload: Bytes,
    key: Option<Key>,
}

/// What became of it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Published {
    New {
        /// Its place in the stream.
        offset: u64,
    },
    Duplicate {
        /// True: it was published before.
        duplicate: bool,
    },
}

/// An Idempotency-Key, as the log knows it.
///
/// It is a session that publishes one message and ends: the log remembers of it what makes a repetition a duplicate, for as long as it
/// remembers an expired session, and as durably as the message itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key(SessionId);

impl Key {
    fn new(key: &str) -> Result<Self, ApiError> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ApiError::bad_request(
                "an Idempotency-Key has 1 to 255 visible ASCII characters",
            ));
        }
        // No client's token contains a space, so no token names the same session.
        let digest = Sha256::new()
            .chain_update("an idempotency key ")
            .chain_update(key);
        Ok(Self(SessionId(digest.finalize().into())))
    }
}

const KEY_BYTES_MAX: usize = 255;

impl Message {
    fn item(&self) -> Item {
        Item::publish(&self.stream, self.kind, &self.payload)
    }

    /// Adds what publishes it; one command, or three.
    fn commands(&self, now: Instant, commands: &mut Vec<Command>) {
        let append = |author| Command::Append {
            stream: self.stream.clone(),
            author,
            kind: self.kind,
            payload: self.payload.clone(),
        };
        let Some(Key(session)) = self.key else {
            commands.push(append(None));
            return;
        };
        let (attach, now) = (Attach::FIRST, now.into_std());
        let author = Author {
            session,
            attach,
            seq: Seq::FIRST,
            item: Some(self.item()),
        };
        // The same dial each time: a repetition is let in.
        let proof = Some(Proof {
            owner: [0; 32],
            nonce: [0; 16],
        });
        commands.extend([
            Command::Attach {
                session,
                attach,
                proof,
                now,
            },
            append(Some(author)),
            Command::End { session, attach, now },
        ]);
    }

    /// Takes its outcomes.
    fn outcome(&self, outcomes: &mut impl Iterator<Item = Outcome>) -> Result<Published, ApiError> {
        let Some(_) = self.key else {
            return appended(outcomes.next());
        };
        let (attached, appended_or_not, _) = (outcomes.next(), outcomes.next(), outcomes.next());
        match attached {
            Some(Outcome::Attached { count, .. }) if count.is_zero() => appended(appended_or_not),
            Some(Outcome::Attached { hash, .. }) if hash == RollingHash::ZERO.then(self.item()) => {
                Ok(Published::Duplicate { duplicate: true })
            }
            Some(Outcome::Attached { .. }) => Err(ApiError::KEY_REUSED),
            Some(Outcome::AttachRefused(refusal)) => Err(refusal.into()),
            _ => Err(ApiError::UNKNOWN),
        }
    }
}

fn appended(outcome: Option<Outcome>) -> Result<Published, ApiError> {
    match outcome {
        Some(Outcome::Appended { offset, .. }) => Ok(Published::New { offset: offset.get() }),
        Some(Outcome::AppendRefused(refusal)) => Err(refusal.into()),
        _ => Err(ApiError::UNKNOWN),
    }
}

/// `POST /v1/streams/{stream}/messages`: the body is the message.
pub(super) async fn one<R>(
    State(api): State<Arc<Api<R>>>,
    Path(stream): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Published>, ApiError> {
    let message = Message {
        stream: stream_id(&stream)?,
        kind: kind(&headers)?,
        payload: body.map_err(too_large)?,
        key: key(&headers)?,
    };
    if message.kind == PayloadKind::Text && std::str::from_utf8(&message.payload).is_err() {
        return Err(ApiError::bad_request(
            "the body is not UTF-8: send it as application/octet-stream",
        ));
    }
    let mut commands = Vec::new();
    message.commands(Instant::now(), &mut commands);
    let outcomes = api.commit(commands).await?;
    message.outcome(&mut outcomes.into_iter()).map(Json)
}

/// The body of a batch.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Batch {
    messages: Vec<BatchMessage>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchMessage {
    stream: String,
    text: Option<String>,
    base64: Option<String>,
    idempotency_key: Option<String>,
}

/// What became of a batch: one result for each message, in order.
#[derive(Serialize)]
pub(super) struct BatchPublished {
    results: Vec<BatchResult>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum BatchResult {
    Published(Published),
    Refused { error: ErrorBody },
}

impl TryFrom<BatchMessage> for Message {
    type Error = ApiError;

    fn try_from(message: BatchMessage) -> Result<Self, ApiError> {
        let (kind, payload) = match (message.text, message.base64) {
            (Some(text), None) => (PayloadKind::Text, text.into_bytes()),
            (None, Some(base64)) => {
                let decoded = BASE64_STANDARD.decode(base64);
                let payload = decoded.map_err(|error| ApiError::bad_request(format!("base64: {error}")))?;
                (PayloadKind::Binary, payload)
            }
            _ => {
                return Err(ApiError::bad_request("a message has either `text` or `base64`"));
            }
        };
        Ok(Self {
            stream: stream_id(&message.stream)?,
            kind,
            payload: payload.into(),
            key: message.idempotency_key.as_deref().map(Key::new).transpose()?,
        })
    }
}

/// `POST /v1/publish`: all messages are committed together, each with an outcome of its own. A body that makes no sense publishes nothing.
pub(super) async fn batch<R>(
    State(api): State<Arc<Api<R>>>,
    body: Result<Json<Batch>, JsonRejection>,
) -> Result<Json<BatchPublished>, ApiError> {
    let Json(batch) = body.map_err(bad_json)?;
    let max = api.config.messages_max;
    if batch.messages.len() > max {
        return Err(ApiError::bad_request(format!(
            "a batch has at most {max} messages"
        )));
    }
    let mut messages = Vec::with_capacity(batch.messages.len());
    for (index, message) in batch.messages.into_iter().enumerate() {
        let message = Message::try_from(message);
        messages.push(message.map_err(|error| error.inside(&format!("messages[{index}]")))?);
    }
    let mut commands = Vec::new();
    let now = Instant::now();
    for message in &messages {
        message.commands(now, &mut commands);
    }
    if commands.is_empty() {
        return Ok(Json(BatchPublished { results: Vec::new() }));
    }
    let mut outcomes = api.commit(commands).await?.into_iter();
    let results = messages
        .iter()
        .map(|message| match message.outcome(&mut outcomes) {
            Ok(published) => BatchResult::Published(published),
            Err(error) => BatchResult::Refused {
                error: error.into_body(),
            },
        });
    Ok(Json(BatchPublished {
        results: results.collect(),
    }))
}

pub(super) fn stream_id(name: &str) -> Result<StreamId, ApiError> {
    StreamId::new(name).map_err(|error| ApiError::bad_request(error.to_string()))
}

/// Text by what the request says of its body (RFC 9110 §8.3), binary else.
fn kind(headers: &HeaderMap) -> Result<PayloadKind, ApiError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(PayloadKind::Binary);
    };
    let value = value
        .to_str()
        .map_err(|_| ApiError::bad_request("Content-Type"))?;
    let media_type = value.split(';').next().unwrap_or_default().trim();
    let is_text = media_type
        .get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("text/"))
        || media_type.eq_ignore_ascii_case("application/json");
    Ok(if is_text {
        PayloadKind::Text
    } else {
        PayloadKind::Binary
    })
}

fn key(headers: &HeaderMap) -> Result<Option<Key>, ApiError> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    match (keys.next(), keys.next()) {
        (None, _) => Ok(None),
        (Some(key), None) => Key::new(key.to_str().unwrap_or_default()).map(Some),
        _ => Err(ApiError::bad_request("more than one Idempotency-Key")),
    }
}

const IDEMPOTENCY_KEY: &str = "idempotency-key";

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn too_large(rejection: BytesRejection) -> ApiError {
    ApiError::refused(rejection.status(), rejection.body_text())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn bad_json(rejection: JsonRejection) -> ApiError {
    ApiError::refused(rejection.status(), rejection.body_text())
}
