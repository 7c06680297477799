//! The commit order of the in-memory engine.

use std::collections::BTreeSet;
use std::sync::{Arc, RwLock};
use std::time::Instant;

use bytes::Bytes;

use super::stream::StreamState;
use super::{MemoryConfig, Streams, lock_read, lock_write};
use crate::{
    AppendRefusal, Attach, Bounds, Command, EpochIds, LogClock, LogError, LogWriter, Offset, Outcome,
    PayloadKind, SessionId, SessionTable, StreamId, StreamTable, Upkeep,
};

/// The writer of a [`MemoryLog`](crate::MemoryLog): sessions, retention, and the ids of epochs.
#[derive(Debug)]
pub struct MemoryWriter {
    sessions: SessionTable,
    table: Table,
}

/// The streams and their retention.
#[derive(Debug)]
struct Table {
    config: MemoryConfig,
    streams: Streams,
    epochs: EpochIds,
    /// The age of the next entry.
    next_age: u64,
    /// Each stream that has entries, by the age of its oldest.
    oldest: BTreeSet<(u64, StreamId)>,
    /// What all entries cost together.
    bytes: usize,
}

impl MemoryWriter {
    pub(super) fn new(config: MemoryConfig, seed: u64, streams: Streams) -> Self {
        Self {
            sessions: SessionTable::new(config.session_limits(), LogClock::default()),
            table: Table {
                config,
                streams,
                epochs: EpochIds::new(seed),
                next_age: 0,
                oldest: BTreeSet::new(),
                bytes: 0,
            },
        }
    }

    /// Begins another epoch of a stream with its entries up to `keep`, as an engine does that comes up after an unclean
    /// stop; says what the stream holds then, or `None` if it does not exist. Sessions keep their counts.
    pub fn begin_epoch(&mut self, stream: &StreamId, keep: Offset) -> Option<Bounds> {
        self.table.begin_epoch(stream, keep)
    }

    /// The sessions and tombstones.
    #[must_use]
    pub const fn sessions(&self) -> &SessionTable {
        &self.sessions
    }

    /// What all entries cost together, in bytes: each its payload and [`ENTRY_OVERHEAD_BYTES`](crate::ENTRY_OVERHEAD_BYTES).
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.table.bytes
    }
}

impl LogWriter for MemoryWriter {
    fn commit(&mut self, batch: &[Command], outcomes: &mut Vec<Outcome>) -> Result<(), LogError> {
        let Self { sessions, table } = self;
        outcomes.extend(batch.iter().map(|command| sessions.apply(table, command)));
        Ok(())
    }

    fn detached(&self) -> Vec<(SessionId, Attach)> {
        self.sessions.detached().collect()
    }

    fn maintain(&mut self, now: Instant) -> Result<Upkeep, LogError> {
        self.sessions.advance(now);
        Ok(Upkeep::Done)
    }
}

impl StreamTable for Table {
    fn bounds(&self, stream: &StreamId) -> Option<Bounds> {
        self.streams.find(stream).map(|state| lock_read(&state).bounds())
    }

    fn open(&mut self, stream: &StreamId) -> Option<Bounds> {
        let shared = self.find_or_create(stream)?;
        Some(lock_read(&shared).bounds())
    }

    fn entry_bytes_max(&self) -> usize {
        self.config.entry_bytes_max
    }

    fn append(
        &mut self,
        stream: &StreamId,
        kind: PayloadKind,
        payload: &Bytes,
    ) -> Result<Offset, AppendRefusal> {
        let shared = self.find_or_create(stream).ok_or(AppendRefusal::StreamsFull)?;
        let offset = self
            .store(stream, &shared, kind, payload.clone())
            .ok_or(AppendRefusal::Exhausted)?;
        self.trim_whole_log(stream);
        Ok(offset)
    }
}

impl Table {
    fn begin_epoch(&mut self, stream: &StreamId, keep: Offset) -> Option<Bounds> {
        let shared = self.streams.find(stream)?;
        let mut state = lock_write(&shared);
        let before = state.oldest_age();
        self.bytes -= state.begin_epoch(self.epochs.draw(), keep);
        self.note_oldest(stream, before, state.oldest_age());
        Some(state.bounds())
    }

    fn find_or_create(&mut self, stream: &StreamId) -> Option<Arc<RwLock<StreamState>>> {
        if let Some(found) = self.streams.find(stream) {
            return Some(found);
        }
        if self.streams.len() >= self.config.streams_max {
            return None;
        }
        Some(
            self.streams
                .insert(stream.clone(), StreamState::new(self.epochs.draw())),
        )
    }

    /// Appends, and applies the stream's own retention under the same lock.
    fn store(
        &mut self,
        stream: &StreamId,
        shared: &RwLock<StreamState>,
        kind: PayloadKind,
        payload: Bytes,
    ) -> Option<Offset> {
        let mut state = lock_write(shared);
        let (oldest, bytes) = (state.oldest_age(), state.bytes());
        let offset = state.append(self.next_age, kind, payload)?;
        self.next_age += 1;
        while state.len() > 1
            && (state.len() > self.config.stream_messages_max || state.bytes() > self.config.stream_bytes_max)
        {
            state.trim_oldest();
        }
        self.bytes = self.bytes - bytes + state.bytes();
        self.note_oldest(stream, oldest, state.oldest_age());
        Some(offset)
    }

    /// Trims the oldest entries of the whole log until it fits; `appended` keeps at least its newest.
    fn trim_whole_log(&mut self, appended: &StreamId) {
        while self.bytes > self.config.bytes_max {
            let Some((age, stream)) = self.oldest.first().cloned() else {
                return;
            };
            let Some(shared) = self.streams.find(&stream) else {
                return;
            };
            let mut state = lock_write(&shared);
            if stream == *appended && state.len() == 1 {
                return;
            }
            self.bytes -= state.trim_oldest();
            self.note_oldest(&stream, Some(age), state.oldest_age());
        }
    }

    fn note_oldest(&mut self, stream: &StreamId, before: Option<u64>, after: Option<u64>) {
        if before == after {
            return;
        }
        if let Some(age) = before {
            self.oldest.remove(&(age, stream.clone()));
        }
        if let Some(age) = after {
            self.oldest.insert((age, stream.clone()));
        }
    }
}
