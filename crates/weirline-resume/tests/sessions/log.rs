//! The log under test, and beside it everything that was ever committed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use bytes::Bytes;
use weirline_log::{
    AppendRefusal, Attach, AttachKind, Command, Epoch, EventLog as _, LogReader as _, LogWriter as _,
    MemoryConfig, MemoryLog, MemoryReader, MemoryWriter, Offset, Outcome, Position, Seq, SessionId, StreamId,
};

pub(crate) type History = BTreeMap<u64, Bytes>;

pub(crate) const STREAMS: [&str; 2] = ["a", "b"];

pub(crate) fn stream(index: usize) -> StreamId {
    StreamId::new(STREAMS[index % STREAMS.len()]).unwrap()
}

pub(crate) struct Log {
    writer: MemoryWriter,
    pub(crate) reader: MemoryReader,
    retention: usize,
    seed: u64,
    /// For each epoch of a stream, what was ever committed in it.
    pub(crate) histories: BTreeMap<(StreamId, Epoch), History>,
    /// Every payload ever appended, in order.
    pub(crate) appended: Vec<Bytes>,
    /// Payloads in an outbox that was copied: two sessions may come of it, and publish them once each.
    pub(crate) copied: BTreeSet<Bytes>,
    numbers: BTreeSet<(SessionId, Seq)>,
    attached: BTreeMap<SessionId, Attach>,
    acked: BTreeMap<(SessionId, StreamId), Position>,
    /// Everything applied since the engine began, so that a part of it can be applied again.
    journal: Vec<Command>,
    /// Payloads that an unclean stop took back.
    pub(crate) lost: BTreeSet<Bytes>,
    /// An unclean stop took back a session's number.
    pub(crate) forgot_a_number: bool,
    /// So many appends to come are refused as if the log were full.
    pub(crate) refuse: u8,
}

impl Log {
    pub(crate) fn new(retention: usize, seed: u64) -> Self {
        let (writer, reader) = Self::engine(retention, seed);
        let mut log = Self {
            writer,
            reader,
            retention,
            seed,
            histories: BTreeMap::new(),
            appended: Vec::new(),
            copied: BTreeSet::new(),
            numbers: BTreeSet::new(),
            attached: BTreeMap::new(),
            acked: BTreeMap::new(),
            journal: Vec::new(),
            lost: BTreeSet::new(),
            forgot_a_number: false,
            refuse: 0,
        };
        log.open();
        log
    }

    fn engine(retention: usize, seed: u64) -> (MemoryWriter, MemoryReader) {
        let config = MemoryConfig {
            stream_messages_max: retention,
            entry_bytes_max: 40,
            ..MemoryConfig::default()
        };
        MemoryLog::new(config, seed).split()
    }

    fn open(&mut self) {
        for index in 0..STREAMS.len() {
            let stream = stream(index);
            let outcome = self.apply(Command::Open {
                stream: stream.clone(),
            });
            let Outcome::Opened(bounds) = outcome else {
                panic!("{outcome:?}");
            };
            self.histories.entry((stream, bounds.epoch)).or_default();
        }
    }

    pub(crate) fn end(&self, stream: &StreamId) -> Position {
        let bounds = self.reader.bounds(stream).unwrap().unwrap();
        Position {
            epoch: bounds.epoch,
            offset: bounds.head,
        }
    }

    /// An unclean stop that kept the sessions and a part of the entries of one stream.
    pub(crate) fn change_epoch(&mut self, stream: &StreamId, keep: u64) {
        let old = self.reader.bounds(stream).unwrap().unwrap();
        let (trimmed, head) = (old.trimmed.get(), old.head.get());
        let keep = trimmed + keep % (head - trimmed + 1);
        let bounds = self
            .writer
            .begin_epoch(stream, Offset::new(keep).unwrap())
            .unwrap();
        let kept = self.histories[&(stream.clone(), old.epoch)]
            .range(..=keep)
            .map(|(k, v)| (*k, v.clone()))
            .collect();
        let before = self.histories.insert((stream.clone(), bounds.epoch), kept);
        assert!(before.is_none(), "an epoch came again");
        self.acked.retain(|(_, acked), _| acked != stream);
    }

    /// A restart of a log that keeps nothing.
    pub(crate) fn wipe(&mut self) {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.writer, self.reader) = Self::engine(self.retention, self.seed);
        self.attached.clear();
        self.acked.clear();
        self.journal.clear();
        self.open();
    }

    /// An unclean stop of a log that keeps every attach, and all but the last `drop` messages and skips with their counts.
    pub(crate) fn roll_back(&mut self, drop: usize) {
        let journal = std::mem::take(&mut self.journal);
        let counted = |command: &&Command| matches!(command, Command::Append { .. } | Command::Skip { .. });
        let mut keep = journal.iter().filter(counted).count().saturating_sub(drop);
        let attached = self.attached.clone();
        self.wipe();
        self.attached = attached;
        let numbers = std::mem::take(&mut self.numbers);
        let mut kept = BTreeSet::new();
        for command in journal {
            if counted(&&command) {
                if keep == 0 {
                    continue;
                }
                keep -= 1;
            }
            let outcome = self.apply(command.clone());
            self.note_numbers(&command, &outcome);
            if let (Command::Append { stream, payload, .. }, Outcome::Appended { offset, .. }) =
                (&command, outcome)
            {
                let epoch = self.end(stream).epoch;
                let history = self.histories.entry((stream.clone(), epoch)).or_default();
                history.insert(offset.get(), payload.clone());
                kept.insert(payload.clone());
            }
            self.journal.push(command);
        }
        self.forgot_a_number |= !numbers.is_subset(&self.numbers);
        let lost = self.appended.iter().filter(|payload| !kept.contains(*payload));
        self.lost.extend(lost.cloned());
        self.appended.retain(|payload| kept.contains(payload));
    }

    pub(crate) fn was_appended(&self, payload: &Bytes) -> bool {
        self.lost.contains(payload) || self.appended.contains(payload)
    }

    /// I6: each number of a session is counted once.
    fn note_numbers(&mut self, command: &Command, outcome: &Outcome) {
        let (author, from) = match (command, outcome) {
            (Command::Append { author, .. }, Outcome::Appended { .. }) => {
                (author.unwrap(), author.unwrap().seq)
            }
            (Command::Skip { author, from }, Outcome::Skipped { .. }) => (*author, *from),
            _ => return,
        };
        for number in from.get()..=author.seq.get() {
            let number = (author.session, Seq::new(number).unwrap());
            assert!(self.numbers.insert(number), "I6: {number:?} twice");
        }
    }

    pub(crate) fn commit(
        &mut self,
        command: Command,
        handled: impl Fn(SessionId, &StreamId, Position) -> bool,
    ) -> Outcome {
        if self.refuse > 0 && matches!(command, Command::Append { .. }) {
            self.refuse -= 1;
            return Outcome::AppendRefused(AppendRefusal::StreamsFull);
        }
        let outcome = self.apply(command.clone());
        match (&command, &outcome) {
            (Command::Attach { session, attach, .. }, Outcome::Attached { kind, .. }) => {
                let before = self.attached.insert(*session, *attach);
                let again = before == Some(*attach);
                assert!(before <= Some(*attach), "I11: a lower attach won");
                assert!(
                    !again || *kind != AttachKind::New,
                    "I11: an equal attach made a session"
                );
            }
            (Command::Append { stream, payload, .. }, Outcome::Appended { offset, .. }) => {
                let twice = self.appended.contains(payload);
                assert!(
                    !twice || self.copied.contains(payload),
                    "I6: {payload:?} is in the log twice"
                );
                self.appended.push(payload.clone());
                let epoch = self.end(stream).epoch;
                let history = self.histories.get_mut(&(stream.clone(), epoch)).unwrap();
                history.insert(offset.get(), payload.clone());
            }
            (Command::Ack { session, stream, .. }, Outcome::Acked { position }) => {
                assert!(
                    handled(*session, stream, *position),
                    "I4: {position:?} was never handled"
                );
                let before = self.acked.insert((*session, stream.clone()), *position);
                let falls = before.is_some_and(|b| b.epoch == position.epoch && b.offset > position.offset);
                assert!(!falls, "I4: a recorded ack fell");
            }
            _ => {}
        }
        self.note_numbers(&command, &outcome);
        let author = match &command {
            Command::Append { author, .. } => *author,
            Command::Skip { author, .. } => Some(*author),
            _ => None,
        };
        if let Some(author) = author
            && matches!(outcome, Outcome::Appended { .. } | Outcome::Skipped { .. })
        {
            assert_eq!(self.attached.get(&author.session), Some(&author.attach), "I10");
        }
        let changed = matches!(
            outcome,
            Outcome::Attached { .. }
                | Outcome::Appended { .. }
                | Outcome::Skipped { .. }
                | Outcome::Detached
                | Outcome::Ended
        );
        if changed {
            self.journal.push(command);
        }
        outcome
    }

    pub(crate) fn expire(&mut self, pick: usize, now: Instant) -> bool {
        let Some((&session, &attach)) = self.attached.iter().nth(pick % self.attached.len().max(1)) else {
            return false;
        };
        let command = Command::Expire { session, attach, now };
        let expired = self.apply(command.clone()) == Outcome::Expired;
        if expired {
            self.journal.push(command);
            self.acked.retain(|(of, _), _| *of != session);
        }
        expired
    }

    fn apply(&mut self, command: Command) -> Outcome {
        let mut outcomes = Vec::new();
        self.writer.commit(&[command], &mut outcomes).unwrap();
        outcomes.pop().unwrap()
    }
}
