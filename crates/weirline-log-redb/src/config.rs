//! The limits of a durable log.

use std::time::Duration;

use weirline_log::SessionLimits;

/// The settings of a [`RedbLog`](crate::RedbLog). They may differ each time it is opened.
///
/// Retention removes what is beyond any of its limits, the oldest first. By bytes and by age it works in blocks of up to
/// 64 KiB, and when a checkpoint is written; by messages it is exact at once, though the space follows with the checkpoint.
#[derive(Debug, Clone)]
pub struct RedbConfig {
    /// Retention per stream, in messages. Default unlimited. The newest message is always kept.
    pub stream_messages_max: u64,
    /// Retention per stream, in bytes of its blocks. Default 1 GiB. The newest block is always kept.
    pub stream_bytes_max: u64,
    /// Retention per stream, by age in the log's own time, which rests while the log is closed. Default unlimited.
    /// It is as exact as [`maintain`](weirline_log::LogWriter::maintain) is called often. Even the newest message goes.
    pub stream_age_max: Option<Duration>,
    /// All streams together, in bytes of their blocks. Default 16 GiB. Over it the oldest blocks of the whole log go first,
    /// whatever stream they are in. The file may be up to twice as large, and keeps its size when what is in it shrinks.
    pub bytes_max: u64,
    /// How many streams there may be. Default 10,000. Streams are never removed.
    pub streams_max: usize,
    /// The largest payload, in bytes. Default 16 MiB, at most 1 GiB. A larger one is refused with `TooLarge`.
    pub entry_bytes_max: usize,
    /// The limits of sessions. The memory they take is taken with this engine, too.
    pub sessions: SessionLimits,
    /// How much is committed between two checkpoints, in bytes of a file of the journal, of which there are two. Default 8 MiB.
    /// The more, the fewer checkpoints, and the longer each takes (8 MiB: about 50 ms). Up to twice as much of the newest is held in
    /// memory, and has to be read again by an opening after a crash.
    pub checkpoint_bytes: u64,
    /// After how much of the log's own time [`maintain`](weirline_log::LogWriter::maintain) writes a checkpoint of the
    /// little that was committed since the last. Default 60 s.
    pub checkpoint_after: Duration,
    /// How much of the newest entries is kept in memory beyond the last checkpoint, so that consumers near the head do not read
    /// the file, in bytes. Default 16 MiB.
    pub tail_bytes_max: usize,
    /// The database's cache of pages, in bytes. Default 64 MiB.
    pub cache_bytes: usize,
}

impl Default for RedbConfig {
    fn default() -> Self {
        Self {
            stream_messages_max: u64::MAX,
            stream_bytes_max: 1 << 30,
            stream_age_max: None,
            bytes_max: 16 << 30,
            streams_max: 10_000,
            entry_bytes_max: 16 << 20,
            sessions: SessionLimits::default(),
            checkpoint_bytes: 8 << 20,
            checkpoint_after: Duration::from_secs(60),
            tail_bytes_max: 16 << 20,
            cache_bytes: 64 << 20,
        }
    }
}
