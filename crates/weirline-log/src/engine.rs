//! What an engine is: one writer that owns the commit order, and readers.

use crate::{Bounds, Command, Entry, Epoch, Offset, Outcome, ReadLimits, ReadOutcome, StreamId};

/// The engine itself failed; no command is at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The storage below failed.
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
}

/// Reads of committed entries. Cheap to clone; each call sees one consistent state of the stream.
pub trait LogReader: Clone {
    /// What the stream holds; `None` if it does not exist.
    ///
    /// # Errors
    /// [`LogError`] when the engine failed.
    fn bounds(&self, stream: &StreamId) -> Result<Option<Bounds>, LogError>;

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
