//! Any engine against a small model that keeps everything it was ever told (I6, I7, I9, I10, I11).
//!
//! The tests of each engine include this file, and say by [`Subject`] how theirs is made.

mod oracle;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;
use weirline_log::{
    Attach, Author, Bounds, Command, ENTRY_OVERHEAD_BYTES, Entry, Epoch, LogReader, LogWriter, MemoryConfig,
    Offset, Outcome, PayloadKind, ReadLimits, Seq, SessionId, StreamId,
};

use oracle::{Life, Model, ModelSession};

/// An engine under test.
pub(crate) trait Subject: Sized {
    type Writer: LogWriter;
    type Reader: LogReader;

    /// Whether retention by bytes is exact to the entry. Otherwise the model sets no limit in bytes.
    const EXACT_BYTES: bool;
    /// Whether it can be closed and opened again.
    const REOPENS: bool;

    fn create(limits: &MemoryConfig, seed: u64) -> Self;
    fn writer(&mut self) -> &mut Self::Writer;
    fn reader(&self) -> &Self::Reader;
    fn begin_epoch(&mut self, stream: &StreamId, keep: Offset) -> Option<Bounds>;
    /// What all entries cost together, if the engine counts it as the model does.
    fn bytes(&self) -> Option<usize>;
    fn reopen(&mut self, now: Instant);
}

const STREAMS: [&str; 3] = ["a", "b", "c"];
const TOMBSTONE_S: u64 = 100;

/// What a step asks for, in small numbers, so that the interesting collisions happen.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Open(usize),
    /// To this much above (or at, or below) the current attach.
    Attach(u8, i64),
    /// With the attach this much off the current one, and the sequence this much off the next one.
    Append(usize, u8, i64, i64, usize),
    AppendAlone(usize, usize),
    /// At this much off the head, in the current epoch or another.
    Ack(usize, u8, i64, i64, bool),
    Detach(u8, i64),
    Expire(u8, i64),
    End(u8, i64),
    Wait(u64),
    BeginEpoch(usize, u64),
    Reopen,
}

pub(crate) fn step<S: Subject>() -> impl Strategy<Value = Step> {
    let stream = 0usize..3;
    let session = 0u8..4;
    let off = || prop_oneof![6 => Just(0i64), 1 => Just(-1i64), 1 => Just(1i64)];
    let rise = prop_oneof![8 => Just(1i64), 1 => Just(0i64), 1 => Just(-1i64), 1 => Just(3i64), 1 => Just(1 << 20), 1 => Just((1i64 << 20) + 1)];
    let size = prop_oneof![8 => 0usize..20, 1 => Just(41usize)];
    prop_oneof![
        1 => stream.clone().prop_map(Step::Open),
        5 => (session.clone(), rise).prop_map(|(s, by)| Step::Attach(s, by)),
        10 => (stream.clone(), session.clone(), off(), off(), size.clone()).prop_map(|(t, s, a, n, z)| Step::Append(t, s, a, n, z)),
        2 => (stream.clone(), size).prop_map(|(t, z)| Step::AppendAlone(t, z)),
        8 => (stream.clone(), session.clone(), off(), -2i64..2, prop::bool::weighted(0.9)).prop_map(|(t, s, a, o, e)| Step::Ack(t, s, a, o, e)),
        3 => (session.clone(), off()).prop_map(|(s, a)| Step::Detach(s, a)),
        3 => (session.clone(), off()).prop_map(|(s, a)| Step::Expire(s, a)),
        1 => (session, off()).prop_map(|(s, a)| Step::End(s, a)),
        2 => (0u64..3).prop_map(|n| Step::Wait(n * 50)),
        2 => (stream, 0u64..6).prop_map(|(t, back)| Step::BeginEpoch(t, back)),
        1 => Just(if S::REOPENS { Step::Reopen } else { Step::Wait(0) }),
    ]
}

pub(crate) fn config<S: Subject>() -> impl Strategy<Value = MemoryConfig> {
    let bytes = |entries: usize| {
        if S::EXACT_BYTES {
            entries * (ENTRY_OVERHEAD_BYTES + 12)
        } else {
            usize::MAX
        }
    };
    (
        1usize..8,
        1usize..8,
        1usize..12,
        1usize..4,
        1usize..5,
        1usize..5,
        1usize..4,
    )
        .prop_map(
            move |(messages, entries, all, streams, sessions, publishers, acks)| MemoryConfig {
                stream_messages_max: messages,
                stream_bytes_max: bytes(entries),
                bytes_max: bytes(all),
                streams_max: streams,
                entry_bytes_max: 40,
                sessions_max: sessions,
                publishers_max: publishers,
                tombstone_ttl: Duration::from_secs(TOMBSTONE_S),
                acks_per_session_max: acks,
            },
        )
}

/// An engine and its model.
pub(crate) struct World<S> {
    model: Model,
    subject: S,
    start: Instant,
}

fn session_id(id: u8) -> SessionId {
    SessionId([id; 32])
}

fn stream_id(stream: usize) -> StreamId {
    StreamId::new(STREAMS[stream]).unwrap()
}

/// A number at `off` from `base`, as far as the types can say it.
fn near(base: u64, off: i64) -> u64 {
    base.saturating_add_signed(off)
}

impl<S: Subject> World<S> {
    pub(crate) fn new(config: MemoryConfig, seed: u64) -> Self {
        let subject = S::create(&config, seed);
        #[expect(
            clippy::disallowed_methods,
            reason = "an arbitrary starting point; the steps move it"
        )]
        let start = Instant::now();
        let model = Model {
            config,
            streams: BTreeMap::new(),
            sessions: BTreeMap::new(),
            now_s: 0,
            age: 0,
            published: BTreeSet::new(),
        };
        World {
            model,
            subject,
            start,
        }
    }

    /// The command of a step, and what the model answers.
    fn command(&mut self, step: &Step, nth: usize) -> Option<(Command, Outcome)> {
        let now = self.start + Duration::from_secs(self.model.now_s);
        Some(match *step {
            Step::Open(stream) => {
                let room = self.model.streams.len() < self.model.config.streams_max;
                if !self.model.streams.contains_key(&stream) && !room {
                    let refused = Outcome::OpenRefused(weirline_log::OpenRefusal::StreamsFull);
                    return Some((
                        Command::Open {
                            stream: stream_id(stream),
                        },
                        refused,
                    ));
                }
                self.model.streams.entry(stream).or_default();
                // The bounds are compared against the model after each step.
                let (mut outcomes, command) = (
                    Vec::new(),
                    Command::Open {
                        stream: stream_id(stream),
                    },
                );
                self.subject
                    .writer()
                    .commit(std::slice::from_ref(&command), &mut outcomes)
                    .unwrap();
                (command, outcomes.remove(0))
            }
            Step::Attach(id, rise) => {
                let attach = near(self.model.known(id).0, rise);
                let command = Command::Attach {
                    session: session_id(id),
                    attach: Attach::new(attach).unwrap(),
                    proof: None,
                    now,
                };
                (command, self.model.attach(id, attach))
            }
            Step::Append(..) | Step::AppendAlone(..) | Step::Ack(..) => self.publishing(step, nth),
            Step::Detach(id, off) | Step::Expire(id, off) | Step::End(id, off) => {
                self.ending(step, id, off, now)
            }
            Step::Wait(_) | Step::BeginEpoch(..) | Step::Reopen => return None,
        })
    }

    fn publishing(&mut self, step: &Step, nth: usize) -> (Command, Outcome) {
        match *step {
            Step::Append(stream, id, attach_off, seq_off, size) => {
                let (attach, count) = self.model.known(id);
                let (attach, seq) = (near(attach, attach_off), near(count + 1, seq_off));
                let payload = payload(nth, size);
                let author = Author {
                    session: session_id(id),
                    attach: Attach::new(attach).unwrap(),
                    seq: Seq::new(seq).unwrap(),
                    item: None,
                };
                let expect = self
                    .model
                    .append(stream, Some((id, attach, seq)), payload.clone());
                (append(stream, Some(author), payload), expect)
            }
            Step::AppendAlone(stream, size) => {
                let payload = payload(nth, size);
                let expect = self.model.append(stream, None, payload.clone());
                (append(stream, None, payload), expect)
            }
            Step::Ack(stream, id, attach_off, offset_off, right_epoch) => {
                let attach = near(self.model.known(id).0, attach_off);
                let state = self.model.streams.get(&stream);
                let offset = near(state.map_or(0, |s| s.entries.len() as u64), offset_off);
                let epoch = state.and_then(|s| {
                    if right_epoch {
                        s.epochs.last()
                    } else {
                        s.epochs.first()
                    }
                });
                let epoch = epoch.copied().unwrap_or(Epoch::new(0));
                let command = Command::Ack {
                    session: session_id(id),
                    attach: Attach::new(attach).unwrap(),
                    stream: stream_id(stream),
                    epoch,
                    offset: Offset::new(offset).unwrap(),
                };
                (command, self.model.ack((id, attach), stream, epoch, offset))
            }
            _ => unreachable!("{step:?} neither publishes nor acknowledges"),
        }
    }

    fn ending(&mut self, step: &Step, id: u8, off: i64, now: Instant) -> (Command, Outcome) {
        self.model.bury_old();
        let number = near(self.model.known(id).0, off);
        let (session, attach) = (session_id(id), Attach::new(number).unwrap());
        let current = self.model.is_current(id, number);
        match step {
            Step::Detach(..) => {
                if current {
                    self.model.sessions.get_mut(&id).unwrap().life = Life::Detached;
                }
                let expect = if current {
                    Outcome::Detached
                } else {
                    Outcome::Ignored
                };
                (Command::Detach { session, attach, now }, expect)
            }
            Step::Expire(..) => {
                let due = |s: &ModelSession| s.life == Life::Detached && s.attach == number;
                let due = self.model.sessions.get(&id).is_some_and(due);
                if due {
                    self.model.bury(id);
                }
                let expect = if due { Outcome::Expired } else { Outcome::Ignored };
                (Command::Expire { session, attach, now }, expect)
            }
            _ => {
                if current {
                    self.model.bury(id);
                }
                let expect = if current { Outcome::Ended } else { Outcome::Ignored };
                (Command::End { session, attach, now }, expect)
            }
        }
    }

    /// Takes a step on both sides, compares, and says which command it was, if it was one.
    pub(crate) fn step(&mut self, step: &Step, nth: usize) -> Option<Command> {
        let command = self.take(step, nth);
        // What a forgotten session published may be published again: that is what the tombstone's seven days are for.
        let Model {
            sessions, published, ..
        } = &mut self.model;
        published.retain(|(id, _)| sessions.contains_key(id));
        command
    }

    fn take(&mut self, step: &Step, nth: usize) -> Option<Command> {
        match *step {
            Step::Wait(seconds) => self.model.now_s += seconds,
            Step::Reopen => {
                self.subject
                    .reopen(self.start + Duration::from_secs(self.model.now_s));
                for session in self.model.sessions.values_mut() {
                    if session.life == Life::Attached {
                        session.life = Life::Detached;
                    }
                }
                self.check_detached();
            }
            Step::BeginEpoch(stream, back) => {
                let bounds = match self.model.streams.get_mut(&stream) {
                    None => {
                        assert_eq!(self.subject.begin_epoch(&stream_id(stream), Offset::ZERO), None);
                        return None;
                    }
                    Some(state) => {
                        let keep = (state.entries.len() as u64).saturating_sub(back);
                        state.entries.truncate(usize::try_from(keep).unwrap());
                        state.trimmed = state.trimmed.min(state.entries.len());
                        self.subject
                            .begin_epoch(&stream_id(stream), Offset::new(keep).unwrap())
                            .unwrap()
                    }
                };
                let epochs = &mut self.model.streams.get_mut(&stream).unwrap().epochs;
                assert!(!epochs.contains(&bounds.epoch), "an epoch id came twice");
                epochs.push(bounds.epoch);
            }
            _ => {
                let (command, expect) = self.command(step, nth)?;
                let mut outcomes = Vec::new();
                self.subject
                    .writer()
                    .commit(std::slice::from_ref(&command), &mut outcomes)
                    .unwrap();
                compare(&outcomes[0], &expect, step);
                self.check_acked(step, &outcomes[0]);
                self.learn_epochs();
                self.check();
                return Some(command);
            }
        }
        self.check();
        None
    }

    /// An attach hands back exactly the recorded acks, each as one value (I9).
    fn check_acked(&self, step: &Step, outcome: &Outcome) {
        let (Step::Attach(id, _), Outcome::Attached { acked, .. }) = (step, outcome) else {
            return;
        };
        let mut acked: Vec<_> = acked
            .iter()
            .map(|(stream, at)| (stream.to_string(), at.epoch, at.offset.get()))
            .collect();
        acked.sort();
        let model = &self.model.sessions[id].acked;
        let expect: Vec<_> = model
            .iter()
            .map(|(&s, &(epoch, offset))| (STREAMS[s].to_string(), epoch, offset))
            .collect();
        assert_eq!(acked, expect);
    }

    /// After opening, nobody holds a session, and the engine names those whose time runs.
    fn check_detached(&mut self) {
        let detached = self.subject.writer().detached();
        let waits = |(_, s): &(&u8, &ModelSession)| s.life == Life::Detached;
        let model = self.model.sessions.iter().filter(waits);
        let expect: Vec<_> = model
            .map(|(&id, s)| (session_id(id), Attach::new(s.attach).unwrap()))
            .collect();
        assert_eq!(detached, expect);
    }

    /// The engine draws an epoch for each stream it makes; the model learns it there.
    fn learn_epochs(&mut self) {
        for (&stream, state) in &mut self.model.streams {
            if state.epochs.is_empty() {
                state.epochs.push(
                    self.subject
                        .reader()
                        .bounds(&stream_id(stream))
                        .unwrap()
                        .unwrap()
                        .epoch,
                );
            }
        }
    }

    /// All streams are listed, in order, whatever the size of a page.
    fn check_names(&self) {
        let mut expected: Vec<_> = self.model.streams.keys().map(|&n| stream_id(n)).collect();
        expected.sort();
        for limit in 1..=2 {
            let mut pages = Vec::new();
            loop {
                let before = pages.len();
                let after = pages.last().map(|(name, _): &(StreamId, _)| name.clone());
                let reader = self.subject.reader();
                reader.streams(after.as_ref(), limit, &mut pages).unwrap();
                assert!(pages.len() - before <= limit);
                if pages.len() == before {
                    break;
                }
            }
            let bounds = |name: &StreamId| self.subject.reader().bounds(name).unwrap().unwrap();
            assert!(pages.iter().all(|(name, listed)| *listed == bounds(name)));
            let names: Vec<_> = pages.into_iter().map(|(name, _)| name).collect();
            assert_eq!(names, expected);
        }
    }

    fn check(&self) {
        if let Some(bytes) = self.subject.bytes() {
            assert_eq!(bytes, self.model.bytes());
        }
        self.check_names();
        for stream in 0..STREAMS.len() {
            let id = stream_id(stream);
            let bounds = self.subject.reader().bounds(&id).unwrap();
            let Some(state) = self.model.streams.get(&stream) else {
                assert_eq!(bounds, None);
                continue;
            };
            let bounds = bounds.unwrap();
            assert_eq!(bounds.epoch, *state.epochs.last().unwrap());
            assert_eq!(
                (bounds.trimmed.get(), bounds.head.get()),
                (state.trimmed as u64, state.entries.len() as u64)
            );
            for after in 0..=state.entries.len() + 1 {
                let mut entries: Vec<Entry> = Vec::new();
                let limits = ReadLimits {
                    messages: usize::MAX,
                    bytes: usize::MAX,
                };
                let read =
                    self.subject
                        .reader()
                        .read(&id, Offset::new(after as u64).unwrap(), limits, &mut entries);
                assert_eq!(read.unwrap().unwrap().bounds, bounds);
                let from = after.max(state.trimmed).min(state.entries.len());
                let read: Vec<_> = entries
                    .iter()
                    .map(|e| (e.offset.get(), e.previous.get(), &e.payload))
                    .collect();
                let expect: Vec<_> = (from as u64 + 1..)
                    .zip(&state.entries[from..])
                    .map(|(n, (_, p))| (n, n - 1, p))
                    .collect();
                assert_eq!(read, expect);
            }
        }
    }
}

/// Outcomes are compared but for the recorded acks of an attach, which are compared as a set elsewhere.
fn compare(real: &Outcome, expect: &Outcome, step: &Step) {
    let without_acks = |outcome: &Outcome| match outcome.clone() {
        Outcome::Attached {
            kind,
            count,
            hash,
            previous,
            ..
        } => Outcome::Attached {
            kind,
            count,
            hash,
            previous,
            acked: Vec::new(),
        },
        other => other,
    };
    assert_eq!(without_acks(real), without_acks(expect), "{step:?}");
}

/// Payloads are distinguishable: the number of the step, then padding.
fn payload(nth: usize, size: usize) -> Bytes {
    let mut bytes = nth.to_string().into_bytes();
    bytes.resize(size.max(bytes.len()), b'.');
    bytes.into()
}

fn append(stream: usize, author: Option<Author>, payload: Bytes) -> Command {
    Command::Append {
        stream: stream_id(stream),
        author,
        kind: PayloadKind::Binary,
        payload,
    }
}

/// One subject takes the commands of a history one by one, another in batches; their outcomes must be the same.
pub(crate) fn check_batches<S: Subject>(config: &MemoryConfig, seed: u64, steps: &[Step], cut: usize) {
    let mut world = World::<S>::new(config.clone(), seed);
    let commands: Vec<_> = (0..)
        .zip(steps)
        .filter(|(_, step)| !matches!(step, Step::BeginEpoch(..) | Step::Reopen))
        .filter_map(|(nth, step)| world.step(step, nth))
        .collect();
    let (mut single, mut batched) = (S::create(config, seed), S::create(config, seed));
    let (mut one_by_one, mut in_batches) = (Vec::new(), Vec::new());
    for command in &commands {
        single
            .writer()
            .commit(std::slice::from_ref(command), &mut one_by_one)
            .unwrap();
    }
    for batch in commands.chunks(cut) {
        batched.writer().commit(batch, &mut in_batches).unwrap();
    }
    assert_eq!(one_by_one, in_batches);
    for stream in 0..STREAMS.len() {
        let id = stream_id(stream);
        assert_eq!(
            single.reader().bounds(&id).unwrap(),
            batched.reader().bounds(&id).unwrap()
        );
    }
}

/// Reading in steps of any size gives what one large read gives, and every step makes progress.
pub(crate) fn check_reading<S: Subject>(sizes: &[usize], batch: usize, limits: ReadLimits) {
    let mut subject = S::create(&MemoryConfig::default(), 1);
    let mut outcomes = Vec::new();
    let commands: Vec<_> = (0..)
        .zip(sizes)
        .map(|(nth, &size)| append(0, None, payload(nth, size)))
        .collect();
    for batch in commands.chunks(batch) {
        subject.writer().commit(batch, &mut outcomes).unwrap();
    }
    let mut read: Vec<Entry> = Vec::new();
    loop {
        let after = read.last().map_or(Offset::ZERO, |entry| entry.offset);
        let before = read.len();
        let found = subject.reader().read(&stream_id(0), after, limits, &mut read);
        let found = found.unwrap().unwrap();
        assert_eq!(found.entries, read.len() - before);
        let step = &read[before..];
        assert!(step.len() <= limits.messages.max(1));
        let bytes: usize = step.iter().map(|entry| entry.payload.len()).sum();
        assert!(step.len() <= 1 || bytes <= limits.bytes);
        if found.entries == 0 {
            break;
        }
    }
    let expect: Vec<_> = (0..).zip(sizes).map(|(nth, &size)| payload(nth, size)).collect();
    let read: Vec<_> = read.into_iter().map(|entry| entry.payload).collect();
    assert_eq!(read, expect);
}
