use std::time::Duration;

use bytes::Bytes;
use weirline_log::{Epoch, Offset, PayloadKind, Position, Seq};

use crate::Ticket;
use crate::wire::{Attached, Code, Durability, GapReason, Sub, SubState};

/// What a [`SessionClient`](crate::SessionClient) tells its application.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionEvent {
    /// The dial is answered.
    Live {
        /// What the attach found.
        outcome: Attached,
        /// What an acknowledgement means.
        durability: Durability,
    },
    /// The session lives shorter than the dials of an outage may last.
    ShortTtl {
        /// Its life without a connection.
        ttl: Duration,
    },
    /// A subscription is open.
    Subscribed {
        /// Which.
        sub: Sub,
        /// Delivery goes on behind it.
        position: Position,
        /// The stream's last offset.
        head: Offset,
        /// What that means.
        state: SubState,
    },
    /// A subscription has ended: the application asked for it, or the server says why.
    Unsubscribed {
        /// Which.
        sub: Sub,
        /// Why, for programs and for people.
        fault: Option<(Code, String)>,
    },
    /// A message of a stream. Call [`handled`](crate::SessionClient::handled) with its position when it is handled.
    Message {
        /// Whose.
        sub: Sub,
        /// Its place.
        position: Position,
        /// Text or binary.
        kind: PayloadKind,
        /// The message.
        payload: Bytes,
    },
    /// These offsets, both ends included, will not be delivered. To be handled like a message, by the position of its end.
    Gap {
        /// Whose.
        sub: Sub,
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
        /// Whose.
        sub: Sub,
        /// What was taken in before.
        taken: Option<Position>,
        /// The end of the common history, in the stream's present epoch.
        position: Position,
    },
    /// The server says to hold: publishing, which the client then does until `Resumed`, or that a consumer is slow.
    Paused {
        /// A word of the protocol's page.
        reason: String,
    },
    /// A pause of publishing is over.
    Resumed,
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
        code: Code,
        /// Why, for people.
        detail: String,
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
    /// Another holder of the session published under the numbers of these messages, which have left the outbox. Whether a first part of them is in
    /// the log too cannot be told.
    NotPublished {
        /// The first.
        from: Ticket,
        /// The last.
        to: Ticket,
    },
    /// These messages were sent and never acknowledged, and nothing can tell any more whether they are in the log. They have left the
    /// outbox.
    Uncertain {
        /// The first.
        from: Ticket,
        /// The last.
        to: Ticket,
    },
    /// What became of a credential that was offered.
    Credential {
        /// A fresh one is due by then; `None` is never.
        accepted: Result<Option<Duration>, (Code, String)>,
    },
    /// The server asks to leave: dial again in `after`, at `url` or where the last dial went. The connection works until then.
    Drain {
        /// So much later.
        after: Duration,
        /// The server closes then.
        deadline: Duration,
        /// Follow it only to a host that is known.
        url: Option<String>,
    },
    /// The server does not know the session (any more): the next dial makes another. An `Uncertain` has come before, if anything was.
    SessionRenewed,
    /// Another process holds the session with a higher attach number. This client has stopped.
    Superseded,
    /// The session has ended. This client has stopped. An `Uncertain` has come before, if anything was.
    Ended {
        /// The server's reason; `None` if the application asked for it.
        fault: Option<(Code, String)>,
    },
    /// The connection is lost, the session is not: dial again after a backoff.
    Disconnected {
        /// The server's wish, at most 60 s.
        hint: Option<Duration>,
    },
    /// This client has stopped.
    Failed(SessionFailure),
}

/// Why a client stopped for good.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SessionFailure {
    /// The server refused with a code that dialing again does not help against.
    #[error("refused: {code}: {detail}")]
    Refused {
        /// The code.
        code: Code,
        /// For people.
        detail: String,
    },
    /// The server broke the protocol.
    #[error("the server broke the protocol: {0}")]
    Protocol(&'static str),
}

/// Why a subscription was not taken. The caller is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The stream is subscribed, or its last subscription has not ended yet.
    #[error("the stream is subscribed already")]
    Subscribed,
    /// There are as many as may be.
    #[error("there are too many subscriptions")]
    TooMany,
    /// The client has stopped; an event said why.
    #[error("the client has stopped")]
    Stopped,
}
