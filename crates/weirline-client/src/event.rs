//! What the application learns, in the order in which it happened.

use std::time::Duration;

use bytes::Bytes;
use weirline_log::{Attach, Offset, PayloadKind, Position, Seq};
use weirline_resume::Ticket;
use weirline_resume::text::{ErrorCode, GapReason};

use crate::error::Cause;

/// One event of a client, from [`Events::next`](crate::Events::next).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A message of the stream.
    Message(Message),
    /// Offsets that will not come: retention overtook this client, or a policy dropped them.
    Gap(Gap),
    /// The log behind the stream is another one: what was seen above `position.offset` is not its history, and
    /// what follows comes after `position`. Tell [`Events::handled`](crate::Events::handled) of it as of a message.
    Reset {
        /// The last position before it, as far as there was one.
        taken: Option<Position>,
        /// The end of the common history, in the stream's present epoch.
        position: Position,
    },
    /// All published messages up to this one are in the log, but for those that other events name. Cumulative: a
    /// later acknowledgement replaces one that was not taken.
    Acked(Ticket),
    /// The server refused a message.
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
    /// The server lost messages it had acknowledged (an engine that is not durable, after a crash), by the
    /// session's own numbers, both ends included.
    LostAfterAck {
        /// The first.
        from: Seq,
        /// The last.
        to: Seq,
    },
    /// These messages were sent, and whether they are in the log can no longer be learnt: the server does not know the
    /// session any more. They have left the outbox, and are not sent again.
    Uncertain {
        /// The first.
        from: Ticket,
        /// The last.
        to: Ticket,
    },
    /// The server is saturated and asks to publish no more; what is in the outbox waits.
    Paused {
        /// A word of the protocol: `publishing`, `slow-consumer`, …
        reason: String,
    },
    /// The end of [`Event::Paused`].
    Continued,
    /// The server does not know the session (any more): it goes on under a new secret. An [`Event::Uncertain`] came
    /// before, if there was anything uncertain.
    SessionRenewed,
    /// The connection under the stream changed state.
    Link(LinkState),
}

impl Event {
    /// The bytes of payload or text this event holds.
    pub(crate) fn payload_len(&self) -> usize {
        match self {
            Self::Message(message) => message.payload.len(),
            Self::Refused { text, .. } | Self::Paused { reason: text } => text.len(),
            _ => 0,
        }
    }
}

/// One message, and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// Its place. The pair names this message for ever, which makes a handler idempotent: store it with the
    /// effect, and skip what is not above it (R26).
    pub position: Position,
    /// Text or binary, as it was published.
    pub kind: PayloadKind,
    /// What was published. UTF-8 if the kind is text.
    pub payload: Bytes,
}

/// Offsets that will not come, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// The first.
    pub from: Offset,
    /// The last, with its epoch: tell [`Events::handled`](crate::Events::handled) of it as of a message.
    pub position: Position,
    /// Why.
    pub reason: GapReason,
}

/// The connection under the stream. Every change is an event and a log line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkState {
    /// A dial starts; its attach number is stored.
    Dialing {
        /// The number of this dial in its session; `None` without a session.
        attach: Option<Attach>,
    },
    /// The server has answered: messages flow.
    Live {
        /// Where delivery goes on, and the head at that moment; `None` when only publishing.
        stream: Option<(Position, Offset)>,
    },
    /// The connection, or the attempt to make one, is over.
    Down {
        /// Why.
        cause: Cause,
    },
    /// The next dial is `delay` away (R25).
    Waiting {
        /// The dial of this outage that follows, from 1.
        attempt: u32,
        /// How long until then.
        delay: Duration,
    },
}
