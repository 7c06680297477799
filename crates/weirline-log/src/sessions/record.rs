//! What is remembered of one session.

use std::time::Duration;

use crate::{Attach, Position, Proof, RollingHash, Seq, StreamId};

/// The limits of a [`SessionTable`](super::SessionTable). Every one of them is a bound on memory.
#[derive(Debug, Clone)]
pub struct SessionLimits {
    /// How many sessions may be alive. Default 100,000. Further ones are refused with `Full`.
    pub sessions_max: usize,
    /// How many sessions that published are remembered, alive or expired. Default 1,000,000 (about 150 bytes each).
    /// The first message of a further one is refused with `PublishersFull`.
    pub publishers_max: usize,
    /// How long an expired session that published is remembered, in the log's own time. Default 7 days. A client that
    /// comes back later may not be told what became of its last messages.
    pub tombstone_ttl: Duration,
    /// In how many streams one session may have a recorded ack. Default 256.
    pub acks_per_session_max: usize,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            sessions_max: 100_000,
            publishers_max: 1_000_000,
            tombstone_ttl: Duration::from_secs(7 * 86_400),
            acks_per_session_max: 256,
        }
    }
}

/// One session, or its tombstone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionRecord {
    /// The current attach.
    pub attach: Attach,
    /// How many of its messages are in the log.
    pub count: Seq,
    /// The rolling hash at `count`.
    pub hash: RollingHash,
    /// What its current attach has shown.
    pub proof: Option<Proof>,
    /// Whether it is alive, and held.
    pub state: SessionState,
    /// The recorded acks, one per stream.
    pub acked: Vec<(StreamId, Position)>,
}

impl SessionRecord {
    /// Whether a connection holds it with this attach.
    #[must_use]
    pub fn is_held_by(&self, attach: Attach) -> bool {
        self.state == SessionState::Attached && self.attach == attach
    }

    /// Whether an engine that wrote `other` need not write this: who holds a session does not outlive the process.
    #[must_use]
    pub fn is_durably(&self, other: &Self) -> bool {
        let until = |record: &Self| match record.state {
            SessionState::Attached | SessionState::Detached => None,
            SessionState::Tombstone { until } => Some(until),
        };
        let numbers = |record: &Self| (record.attach, record.count, record.hash, record.proof);
        numbers(self) == numbers(other) && until(self) == until(other) && self.acked == other.acked
    }
}

/// Whether a session is alive, and held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionState {
    /// A connection holds it.
    Attached,
    /// It waits for its next connection.
    Detached,
    /// It has expired or ended; its numbers are remembered until this moment of the log's own time.
    Tombstone {
        /// The end of the memory.
        until: Duration,
    },
}
