//! The limits of the in-memory engine.

use std::time::Duration;

use crate::SessionLimits;

/// What an entry is charged beside its payload, in bytes: its record in a table that may be half empty, and the head of its
/// payload's allocation.
pub const ENTRY_OVERHEAD_BYTES: usize = 112;

/// The limits of a [`MemoryLog`](crate::MemoryLog). Every one of them is a bound on memory.
#[derive(Debug, Clone)]
pub struct MemoryConfig {
    /// Retention per stream, in messages. Default 1,000,000. The newest entry is always kept.
    pub stream_messages_max: usize,
    /// Retention per stream, in bytes, each entry charged its payload and [`ENTRY_OVERHEAD_BYTES`]. Default 64 MiB. The
    /// newest entry is always kept.
    pub stream_bytes_max: usize,
    /// All streams together, in bytes. Default 1 GiB. Over it the oldest entries of the whole log go first, whatever
    /// stream they are in: one busy stream then shortens the history of quiet ones.
    pub bytes_max: usize,
    /// How many streams there may be. Default 10,000. Streams are never removed.
    pub streams_max: usize,
    /// The largest payload, in bytes. Default 16 MiB. A larger one is refused with `TooLarge`.
    pub entry_bytes_max: usize,
    /// How many sessions may be alive. Default 100,000. Further ones are refused with `Full`.
    pub sessions_max: usize,
    /// How many sessions that published are remembered, alive or expired. Default 1,000,000 (about 150 bytes each).
    /// The first message of a further one is refused with `PublishersFull`.
    pub publishers_max: usize,
    /// How long an expired session that published is remembered. Default 7 days. A client that comes back later may
    /// not be told what became of its last messages.
    pub tombstone_ttl: Duration,
    /// In how many streams one session may have a recorded ack. Default 256.
    pub acks_per_session_max: usize,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            stream_messages_max: 1_000_000,
            stream_bytes_max: 64 << 20,
            bytes_max: 1 << 30,
            streams_max: 10_000,
            entry_bytes_max: 16 << 20,
            sessions_max: 100_000,
            publishers_max: 1_000_000,
            tombstone_ttl: Duration::from_secs(7 * 86_400),
            acks_per_session_max: 256,
        }
    }
}

impl MemoryConfig {
    pub(super) fn session_limits(&self) -> SessionLimits {
        SessionLimits {
            sessions_max: self.sessions_max,
            publishers_max: self.publishers_max,
            tombstone_ttl: self.tombstone_ttl,
            acks_per_session_max: self.acks_per_session_max,
        }
    }
}
