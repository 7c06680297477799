//! An engine that keeps everything in memory: acknowledged means appended, and a restart is a new epoch.

mod config;
mod reader;
mod stream;
mod writer;

pub use config::{ENTRY_OVERHEAD_BYTES, MemoryConfig};
pub use reader::MemoryReader;
pub use writer::MemoryWriter;

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::{EventLog, StreamId};
use stream::StreamState;

/// The in-memory engine, before it is split into its writer and its readers.
#[derive(Debug)]
pub struct MemoryLog {
    writer: MemoryWriter,
    reader: MemoryReader,
}

impl MemoryLog {
    /// An empty log. `seed` decides the epoch ids: it must come from a good random source, or clients take a restarted
    /// log for the one before.
    #[must_use]
    pub fn new(config: MemoryConfig, seed: u64) -> Self {
        let streams = Streams::default();
        let reader = MemoryReader::new(streams.clone());
        Self {
            writer: MemoryWriter::new(config, seed, streams),
            reader,
        }
    }
}

impl EventLog for MemoryLog {
    type Writer = MemoryWriter;
    type Reader = MemoryReader;

    fn split(self) -> (MemoryWriter, MemoryReader) {
        (self.writer, self.reader)
    }
}

/// The streams, shared by the writer and all readers. Only the writer adds any.
#[derive(Debug, Clone, Default)]
struct Streams(Arc<RwLock<Directory>>);

#[derive(Debug, Default)]
struct Directory {
    states: HashMap<StreamId, Arc<RwLock<StreamState>>>,
    /// The same names, in order.
    names: BTreeSet<StreamId>,
}

impl Streams {
    fn find(&self, stream: &StreamId) -> Option<Arc<RwLock<StreamState>>> {
        lock_read(&self.0).states.get(stream).cloned()
    }

    fn insert(&self, stream: StreamId, state: StreamState) -> Arc<RwLock<StreamState>> {
        let state = Arc::new(RwLock::new(state));
        let mut directory = lock_write(&self.0);
        directory.names.insert(stream.clone());
        directory.states.insert(stream, Arc::clone(&state));
        state
    }

    fn len(&self) -> usize {
        lock_read(&self.0).states.len()
    }

    /// At most `limit` names behind `after`, in order.
    fn names(&self, after: Option<&StreamId>, limit: usize) -> Vec<StreamId> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let directory = lock_read(&self.0);
        let range = directory.names.range::<StreamId, _>((start, Bound::Unbounded));
        range.take(limit).cloned().collect()
    }
}

// A panic inside a lock would leave no half-made state that a reader could mistake for a whole one: every change under
// a lock is a push, a pop and arithmetic on checked numbers. So poisoning is not passed on.
fn lock_read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn lock_write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
