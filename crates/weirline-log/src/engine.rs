//! What an engine is: one writer that owns the commit order, and readers.

use std::time::{Duration, Instant};

use crate::{
    Attach, Bounds, Command, Entry, Epoch, Offset, Outcome, ReadLimits, ReadOutcome, SessionId, StreamId,
};

/// The engine itself failed; no command is at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The storage has no room. What is in the log can be read, and what is to be written is refused until there is room
    /// again; the engine notices by itself.
    #[error("the log's storage is full: free some space, and publishing goes on without a restart")]
    StorageFull(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The storage below failed. A later call may succeed: the engine recovers by itself as soon as the storage does.
    #[error("the log's storage failed")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The writer is gone, or an earlier failure left the engine unusable.
    #[error("the log is closed")]
    Closed,
}

/// A stream log: one writer, any number of readers.
pub trait EventLog {
    /// The owner of the commit order.
    type Writer: LogWriter;
    /// Reads what is committed.
    type Reader: LogReader;

    /// The two halves. There is exactly one writer.
    fn split(self) -> (Self::Writer, Self::Reader);
}

/// The one commit order.
///
/// Append → durable → visible and acknowledged: when [`commit`](Self::commit) returns, what it reports is as durable as
/// the engine makes it, and not before is any of it visible to a reader as something a consumer may be told.
pub trait LogWriter {
    /// Applies a batch in order, as one atomic write, and adds one outcome per command, in the same order.
    ///
    /// It may block on storage; who must not block gives the writer a thread of its own.
    ///
    /// # Errors
    /// [`LogError`]: nothing of the batch is applied, and no outcome was added.
    fn commit(&mut self, batch: &[Command], outcomes: &mut Vec<Outcome>) -> Result<(), LogError>;

    /// The sessions that nobody holds, in order, each with its attach; their time to live runs from the moment at which this
    /// is asked.
    ///
    /// Meant for the start: after an engine has been opened again, these are all sessions that are alive. The owner of the
    /// writer keeps their time, and sends [`Command::Expire`] when it is over.
    fn detached(&self) -> Vec<(SessionId, Attach)> {
        Vec::new()
    }

    /// Does what is due beside the commits, and moves the log's own time to `now`: retention by age, forgetting, recovery of a
    /// storage that failed. Each call does a bounded amount of work, and may block as a commit does.
    ///
    /// The owner of the writer calls it when it has nothing else to do, and about once per second while it has.
    ///
    /// # Errors
    /// [`LogError`]: nothing is lost, and the next call tries again.
    fn maintain(&mut self, now: Instant) -> Result<Upkeep, LogError> {
        let _ = now;
        Ok(Upkeep::Done)
    }

    /// How often [`maintain`](Self::maintain) should be called; `None` for an engine that can do without.
    fn upkeep_interval(&self) -> Option<Duration> {
        None
    }

    /// Puts what is in memory where the next opening finds it at once. A writer that is dropped instead loses nothing.
    ///
    /// # Errors
    /// [`LogError`]: the next opening takes longer. Nothing is lost.
    fn close(self) -> Result<(), LogError>
    where
        Self: Sized,
    {
        Ok(())
    }
}

/// What [`LogWriter::maintain`] has left to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Upkeep {
    /// Nothing, until time has passed or something was committed.
    Done,
    /// More of the same: it should be called again soon.
    More,
}

/// Reads of committed entries. Cheap to clone; each call sees one consistent state of the stream.
pub trait LogReader: Clone {
    /// What the stream holds; `None` if it does not exist.
    ///
    /// # Errors
    /// [`LogError`] when the engine failed.
    fn bounds(&self, stream: &StreamId) -> Result<Option<Bounds>, LogError>;

    /// Adds to `out` the streams whose names come behind `after`, in the order of their bytes, at most `limit` of them.
    ///
    /// # Errors
    /// [`LogError`] when the engine failed; then `out` is as it was.
    fn streams(
        &self,
        after: Option<&StreamId>,
        limit: usize,
        out: &mut Vec<(StreamId, Bounds)>,
    ) -> Result<(), LogError>;

    /// Adds to `out` the entries behind `after` in order, as far as the limits allow; `None` if the stream does not
    /// exist. An `after` beyond the head finds nothing.
    ///
    /// # Errors
    /// [`LogError`] when the engine failed; then `out` is as it was.
    fn read(
        &self,
        stream: &StreamId,
        after: Offset,
        limits: ReadLimits,
        out: &mut Vec<Entry>,
    ) -> Result<Option<ReadOutcome>, LogError>;

    /// Up to where the history of (`epoch`, `offset`) is also the current one: 0 for an unknown epoch or stream.
    ///
    /// # Errors
    /// [`LogError`] when the engine failed.
    fn common(&self, stream: &StreamId, epoch: Epoch, offset: Offset) -> Result<Offset, LogError>;
}
