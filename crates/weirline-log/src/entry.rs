//! What a stream holds, and how it is read.

use bytes::Bytes;

use crate::{Epoch, Offset};

/// How a payload was published, and how it is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PayloadKind {
    /// A text message. The payload is valid UTF-8.
    Text,
    /// A binary message.
    Binary,
}

/// One message in its place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Its place, from 1.
    pub offset: Offset,
    /// The place of the one before it in the log (not: the one sent before it), so that a reader can tell a legal hole
    /// from a loss. 0 for the first.
    pub previous: Offset,
    /// Text or binary.
    pub kind: PayloadKind,
    /// The message; cloning it is one reference count.
    pub payload: Bytes,
}

/// A place in one life of a stream. The two change only together (I9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// The epoch in which the offset was read.
    pub epoch: Epoch,
    /// The offset.
    pub offset: Offset,
}

/// What a stream holds at one moment: the entries in `(trimmed, head]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// The current epoch.
    pub epoch: Epoch,
    /// Retention has removed everything up to and including this; 0 if nothing.
    pub trimmed: Offset,
    /// The last entry; 0 if there never was one.
    pub head: Offset,
}

/// How much one read may return; always at least one entry, if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReadLimits {
    /// At most so many entries (0 is taken as 1).
    pub messages: usize,
    /// No further entry once the payloads have this many bytes.
    pub bytes: usize,
}

/// What a read has found, beside the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadOutcome {
    /// The stream at the moment of the read. When `trimmed` is beyond the `after` that was asked for, the entries begin
    /// behind `trimmed`, and the reader owes its consumer a gap. When `epoch` is another one than before, the entries
    /// belong to another history.
    pub bounds: Bounds,
    /// How many entries were added to the output.
    pub entries: usize,
}

impl ReadOutcome {
    /// For engines: what a read has found.
    #[must_use]
    pub const fn new(bounds: Bounds, entries: usize) -> Self {
        Self { bounds, entries }
    }
}
