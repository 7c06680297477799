//! The messages of the multiplexed forms, `weirline.v1.json` and `weirline.v1.bin`: one set of values, two encodings, strict in both
//! directions.
//!
//! `protocol/messages.md` says how each is written. Decoding borrows from the message what it has literally: a text or binary payload of the
//! binary form always, a text payload of the JSON form unless it has escapes. What a decoder refuses it names by the field
//! ([`WireError`]); it never panics, and allocates no more than what the message itself is long.

mod attach;
mod binary;
mod choice;
mod error;
mod json;
mod message;
mod values;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use weirline_log::{NUMBER_MAX, Offset, PayloadKind};

use crate::Prefix;
use error::Name;

pub use attach::{ATTACH_HEADER, ATTACH_SUBPROTOCOL, ATTACH_VALUE_LEN_MAX, AttachValue};
pub use choice::{Attached, Code, Durability, SubState};
pub use error::{WireError, WireErrorKind};
pub use message::{
    Ack, AuthAnswer, ClientMessage, Credit, Data, Drain, Fault, Flow, Gap, Hello, LIST_MAX, Ping, PubAck,
    Publish, Refused, Reject, Reset, ServerMessage, Skip, Standing, Subscribe, Subscribed, Welcome,
};
pub use values::{Begin, Credential, Detail, Limits, Nonce, Payload, Policy, Sub, Token, Url, Word};

pub use crate::text::GapReason;
pub use weirline_log::{Item, RollingHash};

/// An encoding of the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// Objects in text messages.
    Json,
    /// Bytes in binary messages.
    Binary,
}

impl Form {
    /// The WebSocket subprotocol.
    #[must_use]
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "weirline.v1.json",
            Self::Binary => "weirline.v1.bin",
        }
    }

    /// The form that this subprotocol names.
    #[must_use]
    pub fn of_subprotocol(name: &str) -> Option<Self> {
        [Self::Json, Self::Binary]
            .into_iter()
            .find(|form| form.subprotocol() == name)
    }

    /// Which WebSocket messages carry it.
    #[must_use]
    pub const fn kind(self) -> PayloadKind {
        match self {
            Self::Json => PayloadKind::Text,
            Self::Binary => PayloadKind::Binary,
        }
    }

    fn takes(self, kind: PayloadKind) -> Result<(), WireError> {
        if kind == self.kind() {
            Ok(())
        } else {
            Err(WireErrorKind::WrongKind.anywhere())
        }
    }
}

impl<'a> ClientMessage<'a> {
    /// Reads one message; `None` is an extension, to be ignored.
    ///
    /// # Errors
    /// [`WireError`]: the peer is at fault; REJECT with [`WireError::code`].
    pub fn decode(form: Form, kind: PayloadKind, message: &'a [u8]) -> Result<Option<Self>, WireError> {
        form.takes(kind)?;
        match form {
            Form::Json => Self::decode_json(message),
            Form::Binary => Self::decode_binary(message),
        }
    }

    /// Appends the message to `out`; [`Form::kind`] says which WebSocket message carries it. What is outside the ranges that the fields
    /// name is written all the same, and will be refused.
    pub fn encode(&self, form: Form, out: &mut Vec<u8>) {
        match form {
            Form::Json => self.encode_json(out),
            Form::Binary => self.encode_binary(out),
        }
    }
}

impl<'a> ServerMessage<'a> {
    /// Reads one message; `None` is an extension, to be ignored.
    ///
    /// # Errors
    /// [`WireError`]: the peer is at fault; close with 1008 `bad-message`.
    pub fn decode(form: Form, kind: PayloadKind, message: &'a [u8]) -> Result<Option<Self>, WireError> {
        form.takes(kind)?;
        match form {
            Form::Json => Self::decode_json(message),
            Form::Binary => Self::decode_binary(message),
        }
    }

    /// Appends the message to `out`; [`Form::kind`] says which WebSocket message carries it. What is outside the ranges that the fields
    /// name is written all the same, and will be refused.
    pub fn encode(&self, form: Form, out: &mut Vec<u8>) {
        match form {
            Form::Json => self.encode_json(out),
            Form::Binary => self.encode_binary(out),
        }
    }
}

/// What stands before the payload of a DATA in the binary form: the rest of the message is the payload, as it is in the log.
#[must_use]
pub fn data_prefix_binary(sub: Sub, offset: Offset, previous: Offset, kind: PayloadKind) -> Prefix {
    binary::data_prefix(sub, offset, previous, kind)
}

/// What stands before the shared part of a DATA in the JSON form, which [`data_tail_json`] makes.
#[must_use]
pub fn data_prefix_json(sub: Sub) -> Prefix {
    let mut prefix = Prefix::EMPTY;
    prefix.push(b"{\"t\":\"data\",\"sub\":");
    prefix.push(&Prefix::decimal(u64::from(sub.get())));
    prefix
}

/// Appends the part of a DATA in the JSON form that is the same for all subscribers.
pub fn data_tail_json(
    out: &mut Vec<u8>,
    offset: Offset,
    previous: Offset,
    kind: PayloadKind,
    payload: &[u8],
) {
    json::data_tail(out, offset, previous, kind, payload);
}

/// No sub twice.
fn distinct(subs: impl Iterator<Item = Sub>) -> Result<(), WireError> {
    let mut seen = BTreeSet::new();
    for sub in subs {
        if !seen.insert(sub) {
            return Err(WireErrorKind::Duplicate.at(Name::Sub));
        }
    }
    Ok(())
}

/// A duration as it is written.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis())
        .unwrap_or(NUMBER_MAX)
        .min(NUMBER_MAX)
}

/// No hint is longer.
const HINT_MS_MAX: u64 = 60_000;
const DEADLINE_MS_MAX: u64 = 3_600_000;
const HEARTBEAT_MS: RangeInclusive<u64> = 1_000..=3_600_000;
const SIZE_MIN: u64 = 1024;
