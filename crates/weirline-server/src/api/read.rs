//! Reading: messages, and what there is.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use tracing::error;
use weirline_log::{Bounds, Entry, LogError, LogReader, Offset, PayloadKind, ReadLimits, StreamId};

use super::Api;
use super::error::ApiError;
use super::publish::stream_id;

/// A stream.
#[derive(Debug, Serialize)]
pub(super) struct StreamInfo {
    stream: String,
    /// Offsets of another epoch are of another history.
    epoch: String,
    /// Retention has removed everything up to and including this.
    trimmed: u64,
    /// The last message.
    head: u64,
}

impl StreamInfo {
    fn new(stream: &StreamId, bounds: &Bounds) -> Self {
        Self {
            stream: stream.as_str().into(),
            epoch: bounds.epoch.to_string(),
            trimmed: bounds.trimmed.get(),
            head: bounds.head.get(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamsQuery {
    after: Option<String>,
    limit: Option<usize>,
}

/// A page of streams, by name.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    streams: Vec<StreamInfo>,
    /// The `after` of the next page; absent behind the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// `GET /v1/streams?after=NAME&limit=N`
pub(super) async fn streams<R: LogReader>(
    State(api): State<Arc<Api<R>>>,
    query: Result<Query<StreamsQuery>, QueryRejection>,
) -> Result<Json<Page>, ApiError> {
    let Query(query) = query.map_err(bad_query)?;
    let after = query.after.as_deref().map(stream_id).transpose()?;
    let limit = limit(query.limit, api.config.messages_max)?;
    let mut found = Vec::new();
    api.reader
        .streams(after.as_ref(), limit, &mut found)
        .map_err(failed)?;
    let next = (found.len() == limit).then(|| found.last().map(|(name, _)| name.as_str().to_owned()));
    Ok(Json(Page {
        streams: found
            .iter()
            .map(|(name, bounds)| StreamInfo::new(name, bounds))
            .collect(),
        next: next.flatten(),
    }))
}

/// `GET /v1/streams/{stream}`
pub(super) async fn stream<R: LogReader>(
    State(api): State<Arc<Api<R>>>,
    Path(stream): Path<String>,
) -> Result<Json<StreamInfo>, ApiError> {
    let stream = stream_id(&stream)?;
    let bounds = api.reader.bounds(&stream).map_err(failed)?;
    let bounds = bounds.ok_or(ApiError::NO_STREAM)?;
    Ok(Json(StreamInfo::new(&stream, &bounds)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MessagesQuery {
    after: Option<u64>,
    limit: Option<usize>,
    epoch: Option<String>,
}

/// Messages of a stream.
#[derive(Debug, Serialize)]
pub(super) struct Messages {
    #[serde(flatten)]
    info: StreamInfo,
    /// Where the messages begin: beyond the `after` that was asked for if retention has removed what was behind it.
    after: u64,
    messages: Vec<Message>,
    /// The `after` of the next read.
    next: u64,
}

#[derive(Debug, Serialize)]
struct Message {
    offset: u64,
    #[serde(flatten)]
    payload: Payload,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Payload {
    Text(String),
    Base64(String),
}

impl From<Entry> for Message {
    fn from(entry: Entry) -> Self {
        let text = match entry.kind {
            PayloadKind::Text => String::from_utf8(entry.payload.to_vec()).ok(),
            PayloadKind::Binary => None,
        };
        let base64 = || Payload::Base64(BASE64_STANDARD.encode(&entry.payload));
        Self {
            offset: entry.offset.get(),
            payload: text.map_or_else(base64, Payload::Text),
        }
    }
}

/// `GET /v1/streams/{stream}/messages?after=N&limit=N&epoch=E`: what is behind `after`, as far as the limits allow.
pub(super) async fn messages<R: LogReader>(
    State(api): State<Arc<Api<R>>>,
    Path(stream): Path<String>,
    query: Result<Query<MessagesQuery>, QueryRejection>,
) -> Result<Json<Messages>, ApiError> {
    let Query(query) = query.map_err(bad_query)?;
    let stream = stream_id(&stream)?;
    let after =
        Offset::new(query.after.unwrap_or(0)).map_err(|error| ApiError::bad_request(error.to_string()))?;
    let limits = ReadLimits {
        messages: limit(query.limit, api.config.messages_max)?,
        bytes: api.config.read_bytes_max,
    };
    let mut entries = Vec::new();
    let read = api
        .reader
        .read(&stream, after, limits, &mut entries)
        .map_err(failed)?
        .ok_or(ApiError::NO_STREAM)?;
    let info = StreamInfo::new(&stream, &read.bounds);
    if let Some(epoch) = query.epoch
        && epoch != info.epoch
    {
        return Err(ApiError::another_epoch(&info.epoch));
    }
    let after = after.max(read.bounds.trimmed).get();
    let messages: Vec<Message> = entries.into_iter().map(Message::from).collect();
    Ok(Json(Messages {
        info,
        after,
        next: messages.last().map_or(after, |message| message.offset),
        messages,
    }))
}

fn limit(asked: Option<usize>, max: usize) -> Result<usize, ApiError> {
    match asked {
        None => Ok(LIMIT.min(max)),
        Some(asked) if (1..=max).contains(&asked) => Ok(asked),
        Some(_) => Err(ApiError::bad_request(format!("limit is from 1 to {max}"))),
    }
}

/// Where no limit is asked for.
const LIMIT: usize = 100;

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn bad_query(rejection: QueryRejection) -> ApiError {
    ApiError::refused(rejection.status(), rejection.body_text())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: LogError) -> ApiError {
    error!(event = "api.read_failed", %error, "the log cannot be read");
    ApiError::UNREADABLE
}
