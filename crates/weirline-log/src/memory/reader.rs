//! Reads of the in-memory engine.

use super::{Streams, lock_read};
use crate::{Bounds, Entry, Epoch, LogError, LogReader, Offset, ReadLimits, ReadOutcome, StreamId};

/// A reader of a [`MemoryLog`](crate::MemoryLog). Cloning it is one reference count; it may be used from any thread.
#[derive(Debug, Clone)]
pub struct MemoryReader {
    streams: Streams,
}

impl MemoryReader {
    pub(super) fn new(streams: Streams) -> Self {
        Self { streams }
    }
}

impl LogReader for MemoryReader {
    fn bounds(&self, stream: &StreamId) -> Result<Option<Bounds>, LogError> {
        Ok(self.streams.find(stream).map(|state| lock_read(&state).bounds()))
    }

    fn streams(
        &self,
        after: Option<&StreamId>,
        limit: usize,
        out: &mut Vec<(StreamId, Bounds)>,
    ) -> Result<(), LogError> {
        let names = self.streams.names(after, limit);
        out.extend(names.into_iter().filter_map(|name| {
            let bounds = lock_read(&*self.streams.find(&name)?).bounds();
            Some((name, bounds))
        }));
        Ok(())
    }

    fn read(
        &self,
        stream: &StreamId,
        after: Offset,
        limits: ReadLimits,
        out: &mut Vec<Entry>,
    ) -> Result<Option<ReadOutcome>, LogError> {
        Ok(self
            .streams
            .find(stream)
            .map(|state| lock_read(&state).read(after, limits, out)))
    }

    fn common(&self, stream: &StreamId, epoch: Epoch, offset: Offset) -> Result<Offset, LogError> {
        let Some(state) = self.streams.find(stream) else {
            return Ok(Offset::ZERO);
        };
        let state = lock_read(&state);
        Ok(state.chain.common(epoch, offset, state.bounds().head))
    }
}
