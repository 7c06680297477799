//! The commit order of the in-memory engine.

use std::collections::BTreeSet;
use std::sync::{Arc, RwLock};

use bytes::Bytes;

use super::sessions::{Admission, Sessions};
use super::stream::StreamState;
use super::{MemoryConfig, Streams, lock_read, lock_write};
use crate::{
    AckRefusal, AppendRefusal, Author, Bounds, Command, Epoch, LogError, LogWriter, Offset, OpenRefusal,
    Outcome, PayloadKind, Position, Seq, StreamId,
};

/// The writer of a [`MemoryLog`](crate::MemoryLog): sessions, retention, and the ids of epochs.
#[derive(Debug)]
pub struct MemoryWriter {
    config: MemoryConfig,
    streams: Streams,
    sessions: Sessions,
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
            config,
            streams,
            sessions: Sessions::default(),
            epochs: EpochIds(seed),
            next_age: 0,
            oldest: BTreeSet::new(),
            bytes: 0,
        }
    }

    /// Begins another epoch of a stream with its entries up to `keep`, as an engine does that comes up after an unclean
    /// stop; says what the stream holds then, or `None` if it does not exist. Sessions keep their counts.
    pub fn begin_epoch(&mut self, stream: &StreamId, keep: Offset) -> Option<Bounds> {
        let shared = self.streams.find(stream)?;
        let mut state = lock_write(&shared);
        let before = state.oldest_age();
        self.bytes -= state.begin_epoch(self.epochs.next(), keep);
        self.note_oldest(stream, before, state.oldest_age());
        Some(state.bounds())
    }

    /// What all entries cost together, in bytes: each its payload and [`ENTRY_OVERHEAD_BYTES`](crate::ENTRY_OVERHEAD_BYTES).
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    fn apply(&mut self, command: &Command) -> Outcome {
        match command {
            Command::Open { stream } => match self.find_or_create(stream) {
                Some(state) => Outcome::Opened(lock_read(&state).bounds()),
                None => Outcome::OpenRefused(OpenRefusal::StreamsFull),
            },
            &Command::Attach { session, attach, now } => self
                .sessions
                .attach(&self.config, session, attach, now)
                .unwrap_or_else(Outcome::AttachRefused),
            Command::Append {
                stream,
                author,
                kind,
                payload,
            } => self
                .append(stream, *author, *kind, payload)
                .unwrap_or_else(Outcome::AppendRefused),
            Command::Ack {
                session,
                attach,
                stream,
                epoch,
                offset,
            } => {
                let position = Position {
                    epoch: *epoch,
                    offset: *offset,
                };
                match self.ack((*session, *attach), stream, position) {
                    Ok(position) => Outcome::Acked { position },
                    Err(refusal) => Outcome::AckRefused(refusal),
                }
            }
            &Command::Detach { session, attach, now } => self.sessions.detach(session, attach, now),
            &Command::Expire { session, attach, now } => {
                self.sessions.expire(&self.config, session, attach, now)
            }
            &Command::End { session, attach, now } => self.sessions.end(&self.config, session, attach, now),
        }
    }

    fn append(
        &mut self,
        stream: &StreamId,
        author: Option<Author>,
        kind: PayloadKind,
        payload: &Bytes,
    ) -> Result<Outcome, AppendRefusal> {
        let count = match author
            .map(|author| self.sessions.admit(&self.config, author))
            .transpose()?
        {
            None => Seq::ZERO,
            Some(Admission::Next(count)) => count,
            Some(Admission::Duplicate(count)) => return Ok(Outcome::Duplicate { count }),
        };
        let limit = self.config.entry_bytes_max;
        if payload.len() > limit {
            return Err(AppendRefusal::TooLarge { limit });
        }
        let shared = self.find_or_create(stream).ok_or(AppendRefusal::StreamsFull)?;
        let offset = self
            .store(stream, &shared, kind, payload.clone())
            .ok_or(AppendRefusal::Exhausted)?;
        if let Some(author) = author {
            self.sessions.count(author);
        }
        self.trim_whole_log(stream);
        let previous = offset.previous().unwrap_or(Offset::ZERO);
        Ok(Outcome::Appended {
            offset,
            previous,
            count,
        })
    }

    fn ack(
        &mut self,
        from: (crate::SessionId, crate::Attach),
        stream: &StreamId,
        position: Position,
    ) -> Result<Position, AckRefusal> {
        let bounds = self.streams.find(stream).map(|state| lock_read(&state).bounds());
        self.sessions.ack(&self.config, from, stream, position, bounds)
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
                .insert(stream.clone(), StreamState::new(self.epochs.next())),
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

impl LogWriter for MemoryWriter {
    fn commit(&mut self, batch: &[Command], outcomes: &mut Vec<Outcome>) -> Result<(), LogError> {
        outcomes.extend(batch.iter().map(|command| self.apply(command)));
        Ok(())
    }
}

/// `SplitMix64`: a bijection of a counter, so that one log never draws an id twice.
#[derive(Debug)]
struct EpochIds(u64);

impl EpochIds {
    fn next(&mut self) -> Epoch {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Epoch::new(mixed ^ (mixed >> 31))
    }
}
