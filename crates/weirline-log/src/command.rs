//! What changes durable state, and what became of it.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;

use crate::{
    Attach, Bounds, Epoch, Item, Offset, PayloadKind, Position, RollingHash, Seq, SessionId, StreamId,
};

/// One change of durable state. All of them go through one commit order.
///
/// Each command of a session names the attach it comes from, and does nothing unless that attach is the session's
/// current one at the moment of the commit (I10): a connection that was taken over while its command was queued has
/// lost.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Command {
    /// Makes sure that the stream exists, so that it has an epoch. → [`Outcome::Opened`]
    Open {
        /// The stream.
        stream: StreamId,
    },
    /// Attaches a connection to a session, which is made, resumed, taken over, or revived. → [`Outcome::Attached`]
    Attach {
        /// The session.
        session: SessionId,
        /// The client's number; must be above the session's current one, by at most 2²⁰. A new session begins with 1.
        attach: Attach,
        /// How the client proves that the session is its own; `None` if the session's name alone does.
        proof: Option<Proof>,
        /// When.
        now: Instant,
    },
    /// Appends a message. → [`Outcome::Appended`] or [`Outcome::Duplicate`]
    Append {
        /// The stream; made if it does not exist.
        stream: StreamId,
        /// Who says so, for exactly-once publishing; `None` for a publisher without a session.
        author: Option<Author>,
        /// Text or binary.
        kind: PayloadKind,
        /// The message.
        payload: Bytes,
    },
    /// Counts numbers of a session that will never be published. → [`Outcome::Skipped`] or [`Outcome::Duplicate`]
    Skip {
        /// Who says so; its `seq` is the last of the numbers.
        author: Author,
        /// The first of the numbers: the session's next one.
        from: Seq,
    },
    /// Records that the session's consumer has handled everything up to `offset`. → [`Outcome::Acked`]
    Ack {
        /// The session.
        session: SessionId,
        /// The attach it comes from.
        attach: Attach,
        /// The stream.
        stream: StreamId,
        /// The epoch of the offset; must be the stream's current one.
        epoch: Epoch,
        /// The offset; must not be beyond the head.
        offset: Offset,
    },
    /// The connection is gone; the session waits for the next. → [`Outcome::Detached`]
    Detach {
        /// The session.
        session: SessionId,
        /// The attach that ended.
        attach: Attach,
        /// When.
        now: Instant,
    },
    /// The session's time to live is over. Does nothing while it is attached, or if `attach` is not its current one.
    /// → [`Outcome::Expired`]
    Expire {
        /// The session.
        session: SessionId,
        /// The attach after which the time ran.
        attach: Attach,
        /// When.
        now: Instant,
    },
    /// The client ended its session (BYE). → [`Outcome::Ended`]
    End {
        /// The session.
        session: SessionId,
        /// The attach it comes from.
        attach: Attach,
        /// When.
        now: Instant,
    },
}

/// What a client shows beside its session's name.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Proof {
    /// The hash of the session's token and of whom it belongs to: the same for each attach.
    pub owner: [u8; 32],
    /// Of this dial. The same number with the same nonce is the same dial, which an intermediary has repeated.
    pub nonce: [u8; 16],
}

impl Proof {
    /// Whether both show the same token, in a time that does not depend on where they differ.
    #[must_use]
    pub fn is_owner(&self, other: &Self) -> bool {
        let differences = self.owner.iter().zip(other.owner).map(|(a, b)| a ^ b);
        differences.fold(0, |all, one| all | one) == 0
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof(..)")
    }
}

/// Who publishes: the key of the deduplication (session, seq), and the attach that fences it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Author {
    /// The session.
    pub session: SessionId,
    /// The attach it comes from.
    pub attach: Attach,
    /// The session's own number for this message, from 1, without holes.
    pub seq: Seq,
    /// What the session's rolling hash takes in with it; `None` leaves the hash as it is.
    pub item: Option<Item>,
}

/// What became of a [`Command`]. A refusal has changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The stream exists.
    Opened(Bounds),
    /// The stream could not be made.
    OpenRefused(OpenRefusal),
    /// This attach is the session's current one.
    Attached {
        /// What happened to the session.
        kind: AttachKind,
        /// How many of the session's messages are in the log: the client goes on with the next.
        count: Seq,
        /// The rolling hash at `count`.
        hash: RollingHash,
        /// The attach that was connected until this moment, if any: its connection is to be closed with 4409.
        previous: Option<Attach>,
        /// The recorded acks, one per stream. Empty for a new or revived session.
        acked: Vec<(StreamId, Position)>,
    },
    /// The attach does not count.
    AttachRefused(AttachRefusal),
    /// The message is in the log, for good.
    Appended {
        /// Its place.
        offset: Offset,
        /// The place of the entry before it.
        previous: Offset,
        /// The author's count with this message; 0 without an author.
        count: Seq,
    },
    /// The numbers will never be published.
    Skipped {
        /// The author's count with them.
        count: Seq,
    },
    /// The message has been in the log already; nothing changed. To the publisher this is a success.
    Duplicate {
        /// The author's count.
        count: Seq,
    },
    /// The message is not in the log, and the author's count is what it was.
    AppendRefused(AppendRefusal),
    /// The ack is recorded, or an equal or later one was.
    Acked {
        /// The ack on record.
        position: Position,
    },
    /// The ack is not recorded.
    AckRefused(AckRefusal),
    /// The session waits for its next connection.
    Detached,
    /// The session has expired; what it published is remembered if it published anything.
    Expired,
    /// The session was ended by its client.
    Ended,
    /// A `Detach`, `Expire` or `End` that came too late, or from an attach that is not the current one.
    Ignored,
}

/// What an attach found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AttachKind {
    /// The session did not exist, and does from now on.
    New,
    /// The session existed, attached or not.
    Resumed,
    /// The session is attached under this very number by the same dial, which an intermediary has repeated: the connection
    /// that holds it is to be closed, but its client is not superseded.
    Repeated,
    /// The session had expired; it goes on under the same id and numbering, without its recorded acks.
    Revived,
}

/// Why an attach does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum AttachRefusal {
    /// The session's current attach is this one, which is not lower.
    #[error("attach {current} is current")]
    Stale {
        /// The current attach.
        current: Attach,
    },
    /// There is no such session, and the attach is not the first.
    #[error("there is no such session")]
    Unknown,
    /// The attach is more than 2²⁰ above the current one.
    #[error("the attach number jumps too far")]
    Jump,
    /// There are as many sessions as there may be.
    #[error("there are too many sessions")]
    Full,
    /// The session is another one's.
    #[error("the token is not the session's")]
    Owner,
}

/// Why a message is not in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum AppendRefusal {
    /// The author's next number is another one.
    #[error("the next sequence is {expected}")]
    Gap {
        /// The number to send.
        expected: Seq,
    },
    /// The author's attach is not its session's current one, or the session is not attached.
    #[error("the attach is not the current one")]
    Fenced,
    /// The payload is longer than an entry may be.
    #[error("the message is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The stream does not exist, and there are as many as there may be.
    #[error("there are too many streams")]
    StreamsFull,
    /// There are as many sessions that published as can be remembered.
    #[error("there are too many publishing sessions")]
    PublishersFull,
    /// The stream's or the session's numbers are used up.
    #[error("the numbers are used up")]
    Exhausted,
    /// The log's storage has no room. The same message may be sent again later.
    #[error("the log's storage is full")]
    StorageFull,
    /// The log cannot be written. The same message may be sent again later.
    #[error("the log cannot be written")]
    Unavailable,
}

/// Why an ack was not recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum AckRefusal {
    /// The attach is not its session's current one, or the session is not attached.
    #[error("the attach is not the current one")]
    Fenced,
    /// The offset is beyond the head.
    #[error("the stream's head is {head}")]
    Beyond {
        /// The head; 0 for a stream that does not exist.
        head: Offset,
    },
    /// The epoch is not the stream's current one.
    #[error("the stream's epoch is {current}")]
    Epoch {
        /// The current epoch.
        current: Epoch,
    },
    /// The session has recorded acks in as many streams as it may.
    #[error("the session acknowledges too many streams")]
    TooManyStreams,
    /// The log cannot be written. A later ack covers this one.
    #[error("the log cannot be written")]
    Unavailable,
}

/// Why a stream could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum OpenRefusal {
    /// There are as many streams as there may be.
    #[error("there are too many streams")]
    StreamsFull,
}
