//! Where the log keeps its files: the seam for tests and simulators.

mod backend;
mod directory;

pub(crate) use backend::{Backend, ReadOnly, is_full};
pub use directory::Directory;

use std::fmt;
use std::io;
use std::sync::Arc;

/// Where a log is kept: three files, which nobody else writes while this value exists.
pub trait Storage: fmt::Debug + Send + Sync + 'static {
    /// The database. Empty if the log is to be made.
    fn database(&self) -> Arc<dyn Medium>;

    /// The two files of the journal. Empty if the log is to be made.
    fn journal(&self, half: Half) -> Arc<dyn Medium>;

    /// What to call one of them in an error that people read.
    fn name(&self, part: Part) -> String;
}

/// One of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The database.
    Database,
    /// The journal.
    Journal(Half),
}

/// One of the two files of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// The one that is written first.
    A,
    /// The other.
    B,
}

/// A file, or something that fails as files do.
///
/// What was written is certain to survive a loss of power only when a later [`sync`](Self::sync) has succeeded; until
/// then, and after a sync that failed, each sector of 512 bytes may or may not. All calls block.
#[allow(clippy::len_without_is_empty, reason = "asking is I/O")]
pub trait Medium: fmt::Debug + Send + Sync + 'static {
    /// The length, in bytes.
    ///
    /// # Errors
    /// As the operating system gives them.
    fn len(&self) -> io::Result<u64>;

    /// Fills `out` from the bytes at `at`.
    ///
    /// # Errors
    /// As the operating system gives them; `UnexpectedEof` when the file is shorter.
    fn read(&self, at: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes the bytes at `at`; the file grows as needed.
    ///
    /// # Errors
    /// As the operating system gives them; `StorageFull` when there is no room. Then any part may have been written.
    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file, or makes it longer with zeros, for which there need not be room.
    ///
    /// # Errors
    /// As the operating system gives them.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Returns when everything that was written, and the length, survives a loss of power.
    ///
    /// # Errors
    /// As the operating system gives them; then nothing is certain of what was written since the last success.
    fn sync(&self) -> io::Result<()>;
}
