use std::time::Duration;

use bytes::Bytes;
use weirline_log::{Epoch, Offset, PayloadKind, Position, Seq};

use super::outbox::Ticket;
use crate::text::{ErrorCode, GapReason};

/// What a [`TextClient`](crate::TextClient) tells its application.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// The dial is answered.
    Live {
        /// Where delivery goes on, and the head at that moment; `None` when only publishing.
        stream: Option<(Position, Offset)>,
    },
    /// A message of the stream. Call [`handled`](crate::TextClient::handled) with its position when it is handled.
    Message {
        /// Its place.
        position: Position,
        /// Text or binary.
        kind: PayloadKind,
        /// The message.
        payload: Bytes,
    },
    /// These offsets, both ends included, will not be delivered. To be handled like a message, by the position of its end.
    Gap {
        /// The epoch of the offsets.
        epoch: Epoch,
        /// The first.
        from: Offset,
        /// The last.
        to: Offset,
        /// Why.
        reason: GapReason,
    },
    /// The stream is at another epoch. What was taken in above `position.offset` is not its history; delivery goes on behind
    /// `position`. To be handled like a message, by `position`.
    Reset {
        /// What was taken in before.
        taken: Option<Position>,
        /// The end of the common history, in the stream's present epoch.
        position: Position,
    },
    /// The server asks to publish no more; the client withholds what is in the outbox until `Continued`.
    Paused {
        /// A word of `PROTOCOL.md`, section 8.
        reason: String,
    },
    /// A pause is over.
    Continued,
    /// Every ticket up to this one is in the log, but for those that other events named.
    Acked {
        /// The last ticket.
        through: Ticket,
    },
    /// The server refused this message.
    Refused {
        /// Whose.
        ticket: Ticket,
        /// Why.
        code: ErrorCode,
        /// Why, for people.
        text: String,
        /// Whether it stays in the outbox and is sent again; otherwise it is given up.
        retried: bool,
    },
    /// The server's log lost messages that it had acknowledged, by the session's numbers, both ends included.
    LostAfterAck {
        /// The first.
        from: Seq,
        /// The last.
        to: Seq,
    },
    /// These messages were sent and never acknowledged, and nothing can tell any more whether they are in the log. They have left the
    /// outbox.
    Uncertain {
        /// The first.
        from: Ticket,
        /// The last.
        to: Ticket,
    },
    /// The server does not know the session (any more): it goes on under a new secret. An `Uncertain` has come before, if anything was.
    SessionRenewed,
    /// Another process holds the session with a higher attach number. This client has stopped.
    Superseded,
    /// The connection is lost, the session is not: dial again after a backoff.
    Disconnected {
        /// The server's wish, at most 60 s.
        hint: Option<Duration>,
    },
    /// This client has stopped.
    Failed(Failure),
}

/// Why a client stopped for good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The server refused with a code that dialing again does not help against.
    #[error("refused: {code}: {text}")]
    Refused {
        /// The code.
        code: ErrorCode,
        /// For people.
        text: String,
    },
    /// The server broke the protocol.
    #[error("the server broke the protocol: {0}")]
    Protocol(&'static str),
}

/// What follows from the end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AfterLoss {
    /// It was not the current connection: nothing.
    Ignored,
    /// Dial again after a backoff, not before the hint.
    Redial {
        /// The server's wish, at most 60 s.
        hint: Option<Duration>,
    },
    /// The client has stopped; the last event says why.
    Stopped,
}
