//! The log under test, and beside it everything that was ever committed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use bytes::Bytes;
use weirline_log::{
    AppendRefusal, Attach, Command, Epoch, EventLog as _, LogReader as _, LogWriter as _, MemoryConfig,
    MemoryLog, MemoryReader, MemoryWriter, Offset, Outcome, Position, Seq, SessionId, StreamId,
};

pub(crate) type History = BTreeMap<u64, Bytes>;

pub(crate) struct Log {
    writer: MemoryWriter,
    pub(crate) reader: MemoryReader,
    pub(crate) stream: StreamId,
    retention: usize,
    seed: u64,
    /// For each epoch, what was ever committed in it.
    pub(crate) histories: BTreeMap<Epoch, History>,
    /// Every payload ever appended, in order, with whether it had an author.
    pub(crate) appended: Vec<(Bytes, bool)>,
    /// Payloads in an outbox that was copied: two sessions may come of it, and publish them once each.
    pub(crate) copied: BTreeSet<Bytes>,
    numbers: BTreeSet<(SessionId, Seq)>,
    attached: BTreeMap<SessionId, Attach>,
    acked: BTreeMap<SessionId, Position>,
    /// Everything applied since the engine began, so that a part of it can be applied again.
    journal: Vec<Command>,
    /// Payloads that an unclean stop took back.
    pub(crate) lost: BTreeSet<Bytes>,
    /// An unclean stop took back a session's number. Its payload need not be lost: where an outbox was copied, the other session may
    /// have published it too.
    pub(crate) forgot_a_number: bool,
    /// So many appends to come are refused as if the log were full.
    pub(crate) refuse: u8,
}

impl Log {
    pub(crate) fn new(retention: usize, seed: u64) -> Self {
        let (writer, reader) = Self::engine(retention, seed);
        let stream = StreamId::new("s").unwrap();
        let mut log = Self {
            writer,
            reader,
            stream,
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
        let outcome = self.apply(Command::Open {
            stream: self.stream.clone(),
        });
        assert!(matches!(outcome, Outcome::Opened(_)));
        self.histories.entry(self.epoch()).or_default();
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.reader.bounds(&self.stream).unwrap().unwrap().epoch
    }

    pub(crate) fn head(&self) -> Offset {
        self.reader.bounds(&self.stream).unwrap().unwrap().head
    }

    /// An unclean stop that kept the sessions and a part of the entries.
    pub(crate) fn change_epoch(&mut self, keep: u64) {
        let (old, head) = (self.epoch(), self.head().get());
        let trimmed = self.reader.bounds(&self.stream).unwrap().unwrap().trimmed.get();
        let keep = trimmed + keep % (head - trimmed + 1);
        let bounds = self
            .writer
            .begin_epoch(&self.stream, Offset::new(keep).unwrap())
            .unwrap();
        let kept = self.histories[&old]
            .range(..=keep)
            .map(|(k, v)| (*k, v.clone()))
            .collect();
        assert!(
            self.histories.insert(bounds.epoch, kept).is_none(),
            "an epoch came again"
        );
        self.acked.clear();
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

    /// An unclean stop of a log that keeps every attach, and all but the last `drop` messages with their counts.
    pub(crate) fn roll_back(&mut self, drop: usize) {
        let journal = std::mem::take(&mut self.journal);
        let messages = |command: &Command| matches!(command, Command::Append { .. });
        let mut keep = journal
            .iter()
            .filter(|command| messages(command))
            .count()
            .saturating_sub(drop);
        let attached = self.attached.clone();
        self.wipe();
        self.attached = attached;
        let numbers = std::mem::take(&mut self.numbers);
        let (mut history, mut kept) = (History::new(), BTreeSet::new());
        for command in journal {
            if messages(&command) {
                if keep == 0 {
                    continue;
                }
                keep -= 1;
            }
            let outcome = self.apply(command.clone());
            if let (Command::Append { payload, author, .. }, Outcome::Appended { offset, .. }) =
                (&command, outcome)
            {
                history.insert(offset.get(), payload.clone());
                kept.insert(payload.clone());
                self.numbers
                    .extend(author.map(|author| (author.session, author.seq)));
            }
            self.journal.push(command);
        }
        self.histories.insert(self.epoch(), history);
        self.forgot_a_number |= !numbers.is_subset(&self.numbers);
        let lost = self
            .appended
            .iter()
            .map(|(payload, _)| payload)
            .filter(|payload| !kept.contains(*payload));
        self.lost.extend(lost.cloned());
        self.appended.retain(|(payload, _)| kept.contains(payload));
    }

    pub(crate) fn was_appended(&self, payload: &Bytes) -> bool {
        self.lost.contains(payload) || self.appended.iter().any(|(other, _)| other == payload)
    }

    pub(crate) fn commit(
        &mut self,
        command: Command,
        handled: impl Fn(SessionId, Position) -> bool,
    ) -> Outcome {
        if self.refuse > 0 && matches!(command, Command::Append { .. }) {
            self.refuse -= 1;
            return Outcome::AppendRefused(AppendRefusal::StreamsFull);
        }
        let outcome = self.apply(command.clone());
        if matches!(
            outcome,
            Outcome::Attached { .. } | Outcome::Appended { .. } | Outcome::Detached
        ) {
            self.journal.push(command.clone());
        }
        match (&command, &outcome) {
            (Command::Attach { session, attach, .. }, Outcome::Attached { .. }) => {
                let before = self.attached.insert(*session, *attach);
                assert!(before < Some(*attach), "I11: a lower attach won");
            }
            (Command::Append { author, payload, .. }, Outcome::Appended { offset, .. }) => {
                if let Some(author) = author {
                    assert_eq!(self.attached.get(&author.session), Some(&author.attach), "I10");
                    assert!(
                        self.numbers.insert((author.session, author.seq)),
                        "I6: {author:?} twice"
                    );
                }
                let twice = self.appended.iter().any(|(other, _)| other == payload);
                assert!(
                    !twice || self.copied.contains(payload),
                    "I6: {payload:?} is in the log twice"
                );
                self.appended.push((payload.clone(), author.is_some()));
                let epoch = self.epoch();
                self.histories
                    .get_mut(&epoch)
                    .unwrap()
                    .insert(offset.get(), payload.clone());
            }
            (Command::Ack { session, .. }, Outcome::Acked { position }) => {
                assert!(handled(*session, *position), "I4: {position:?} was never handled");
                let before = self.acked.insert(*session, *position);
                let falls = before.is_some_and(|b| b.epoch == position.epoch && b.offset > position.offset);
                assert!(!falls, "I4: a recorded ack fell");
            }
            _ => {}
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
            self.acked.remove(&session);
            // A session that never published is forgotten, and begins again with attach 1.
            self.attached.remove(&session);
        }
        expired
    }

    fn apply(&mut self, command: Command) -> Outcome {
        let mut outcomes = Vec::new();
        self.writer.commit(&[command], &mut outcomes).unwrap();
        outcomes.pop().unwrap()
    }
}
