//! A log that is open.

use std::path::Path;
use std::sync::Arc;

use weirline_log::EventLog;

use crate::storage::{Directory, Storage};
use crate::{Job, OpenError, RedbConfig, RedbReader, RedbWriter, writer};

/// The durable engine, before it is split into its writer and its readers.
#[derive(Debug)]
pub struct RedbLog {
    writer: RedbWriter,
    reader: RedbReader,
}

impl RedbLog {
    /// Opens the log in a directory, or makes an empty one. `seed` decides the ids of the epochs that begin while it is open:
    /// it must come from a good random source, each time another.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong and what to do.
    pub fn open(directory: &Path, config: RedbConfig, seed: u64) -> Result<Self, OpenError> {
        Self::open_storage(Directory::open(directory)?, config, seed)
    }

    /// Opens the log in a storage of any kind, or makes an empty one; see [`open`](Self::open).
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong and what to do.
    pub fn open_storage(storage: impl Storage, config: RedbConfig, seed: u64) -> Result<Self, OpenError> {
        let (writer, reader) = writer::open(Arc::new(storage), config, seed)?;
        Ok(Self { writer, reader })
    }

    /// Has checkpoints written by `run`, which should hand each to a thread that does nothing else; commits then go on
    /// meanwhile. There is at most one at a time.
    ///
    /// Without this, the commit or the upkeep that needs a checkpoint writes it by itself. A job that is dropped is a
    /// checkpoint that failed.
    #[must_use]
    pub fn checkpoints_on(mut self, run: impl Fn(Job) + Send + 'static) -> Self {
        self.writer.checkpoints_on(run);
        self
    }
}

impl EventLog for RedbLog {
    type Writer = RedbWriter;
    type Reader = RedbReader;

    fn split(self) -> (RedbWriter, RedbReader) {
        (self.writer, self.reader)
    }
}
