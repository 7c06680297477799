//! What was acknowledged, what may have survived besides, and the in-memory engine as the judge of both.

use std::time::Instant;

use bytes::Bytes;
use weirline_log::{
    AckRefusal, Attach, Command, Entry, Epoch, EventLog as _, LogReader as _, LogWriter as _, MemoryConfig,
    MemoryLog, MemoryReader, MemoryWriter, Offset, Outcome, Position, ReadLimits, Seq, SessionId,
    SessionRecord, SessionState, SessionTable, StreamId,
};

pub(crate) const STREAMS: [&str; 3] = ["a", "b", "c"];

pub(crate) fn session_id(id: u8) -> SessionId {
    SessionId([id; 32])
}

pub(crate) fn stream_id(stream: usize) -> StreamId {
    StreamId::new(STREAMS[stream]).unwrap()
}

/// The batches that count, and the in-memory engine that has taken them.
pub(crate) struct History {
    batches: Vec<Vec<Command>>,
    /// Refused since the last acknowledgement: at most one of these may be on the disk.
    refused: Vec<Vec<Command>>,
    memory: Memory,
    messages_max: usize,
    /// When the process ended last.
    ended: Option<Instant>,
}

struct Memory(MemoryWriter, MemoryReader);

impl History {
    /// Of a log whose streams keep so many messages.
    pub(crate) fn new(messages_max: u64) -> Self {
        let messages_max = usize::try_from(messages_max).unwrap();
        Self {
            messages_max,
            batches: Vec::new(),
            refused: Vec::new(),
            memory: Memory::new(messages_max, &[]),
            ended: None,
        }
    }
}

impl Memory {
    fn new(messages_max: usize, batches: &[Vec<Command>]) -> Self {
        let config = MemoryConfig {
            stream_messages_max: messages_max,
            stream_bytes_max: usize::MAX,
            ..MemoryConfig::default()
        };
        let (writer, reader) = MemoryLog::new(config, 1).split();
        let mut memory = Self(writer, reader);
        for batch in batches {
            memory.commit(batch);
        }
        memory
    }

    /// Commits a batch that was made for the other engine, whose epochs are others.
    fn commit(&mut self, batch: &[Command]) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for command in batch {
            let mut command = command.clone();
            // 0 stands for an epoch that the publisher did not know.
            if let Command::Ack { stream, epoch, .. } = &mut command
                && *epoch != Epoch::new(0)
                && let Some(bounds) = self.1.bounds(stream).unwrap()
            {
                *epoch = bounds.epoch;
            }
            self.0.commit(&[command], &mut outcomes).unwrap();
        }
        outcomes
    }

    fn entries(&self, stream: usize) -> Vec<Bytes> {
        let mut entries: Vec<Entry> = Vec::new();
        let limits = ReadLimits {
            messages: usize::MAX,
            bytes: usize::MAX,
        };
        self.1
            .read(&stream_id(stream), Offset::ZERO, limits, &mut entries)
            .unwrap();
        entries.into_iter().map(|entry| entry.payload).collect()
    }

    fn is(&self, found: &[Vec<Bytes>], sessions: &SessionTable) -> bool {
        let ours = self.0.sessions().iter().map(without_epochs_and_times);
        let theirs = sessions.iter().map(without_epochs_and_times);
        (0..STREAMS.len()).all(|stream| self.entries(stream) == found[stream]) && ours.eq(theirs)
    }

    /// Every session that is attached is no more.
    fn detach_all(&mut self, now: Instant) -> Vec<Command> {
        let attached = |(_, record): &(SessionId, &SessionRecord)| record.state == SessionState::Attached;
        let attached = self.0.sessions().iter().filter(attached);
        let all: Vec<_> = attached
            .map(|(session, record)| Command::Detach {
                session,
                attach: record.attach,
                now,
            })
            .collect();
        self.commit(&all);
        all
    }
}

impl History {
    /// The batch is committed; the other engine must say the same of it. If it wrote anything, that is in the place of what was
    /// refused before.
    pub(crate) fn acknowledge(
        &mut self,
        batch: Vec<Command>,
        outcomes: &[Outcome],
        wrote: bool,
    ) -> Result<(), String> {
        if wrote {
            self.refused.clear();
        }
        let expect = self.memory.commit(&batch);
        for ((command, outcome), expect) in batch.iter().zip(outcomes).zip(&expect) {
            let (outcome, expect) = (without_epochs(outcome), without_epochs(expect));
            if outcome != expect {
                return Err(format!("{command:?}: {outcome:?} and not {expect:?}"));
            }
        }
        self.batches.push(batch);
        Ok(())
    }

    /// Whether nothing was ever acknowledged.
    pub(crate) fn is_empty(&self) -> bool {
        self.batches.iter().all(Vec::is_empty)
    }

    pub(crate) fn refuse(&mut self, batch: Vec<Command>) {
        self.refused.push(batch);
    }

    /// The process has ended: nobody holds a session.
    pub(crate) fn all_detached(&mut self, now: Instant) {
        self.ended = now.into();
        let all = self.memory.detach_all(now);
        self.batches.push(all);
    }

    /// Takes the history that the log turned out to have, and says whether that is more than was acknowledged.
    pub(crate) fn settle(&mut self, found: &[Vec<Bytes>], sessions: &SessionTable) -> Result<bool, String> {
        let refused = std::mem::take(&mut self.refused);
        if self.memory.is(found, sessions) {
            return Ok(false);
        }
        for batch in refused {
            let mut batches = self.batches.clone();
            // It came before the process ended.
            batches.insert(batches.len() - 1, batch);
            let mut memory = Memory::new(self.messages_max, &batches);
            batches.extend(self.ended.map(|now| memory.detach_all(now)));
            if memory.is(found, sessions) {
                (self.batches, self.memory) = (batches, memory);
                return Ok(true);
            }
        }
        let lens: Vec<_> = found.iter().map(Vec::len).collect();
        let expect: Vec<_> = (0..STREAMS.len())
            .map(|stream| self.entries(stream).len())
            .collect();
        Err(format!(
            "the log has {lens:?} entries; {expect:?} were acknowledged"
        ))
    }

    pub(crate) fn entries(&self, stream: usize) -> Vec<Bytes> {
        self.memory.entries(stream)
    }

    pub(crate) fn head(&self, stream: usize) -> Offset {
        let bounds = self.memory.1.bounds(&stream_id(stream)).unwrap();
        bounds.map_or(Offset::ZERO, |bounds| bounds.head)
    }

    /// The session's attach and count; zeros if there is none.
    pub(crate) fn session(&self, id: u8) -> (Attach, Seq) {
        let record = self.memory.0.sessions().get(session_id(id));
        record.map_or((Attach::ZERO, Seq::ZERO), |record| (record.attach, record.count))
    }
}

/// What can be compared between two engines.
fn without_epochs(outcome: &Outcome) -> String {
    let without = |position: &Position| position.offset;
    match outcome {
        Outcome::Attached {
            kind,
            count,
            hash,
            previous,
            acked,
        } => {
            let acked: Vec<_> = acked.iter().map(|(stream, at)| (stream, without(at))).collect();
            format!("attached {kind:?} {count} {hash:?} {previous:?} {acked:?}")
        }
        Outcome::Opened(bounds) => format!("opened {} {}", bounds.trimmed, bounds.head),
        Outcome::Acked { position } => format!("acked {}", without(position)),
        Outcome::AckRefused(AckRefusal::Epoch { .. }) => "another epoch".into(),
        other => format!("{other:?}"),
    }
}

fn without_epochs_and_times((id, record): (SessionId, &SessionRecord)) -> String {
    let SessionRecord {
        attach,
        count,
        hash,
        proof,
        state,
        acked,
    } = record;
    let proof = proof.map(|proof| (proof.owner, proof.nonce));
    let state = match state {
        SessionState::Tombstone { .. } => "tombstone".into(),
        other => format!("{other:?}"),
    };
    let acked: Vec<_> = acked.iter().map(|(stream, at)| (stream, at.offset)).collect();
    format!("{id} {attach} {count} {hash:?} {proof:?} {state} {acked:?}")
}
