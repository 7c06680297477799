//! The in-memory engine against a small model that keeps everything it was ever told (I6, I7, I9, I10, I11).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;
use weirline_log::{
    AckRefusal, AppendRefusal, Attach, AttachKind, AttachRefusal, Author, Command, ENTRY_OVERHEAD_BYTES,
    Entry, Epoch, EventLog, LogReader, LogWriter, MemoryConfig, MemoryLog, MemoryReader, MemoryWriter,
    Offset, Outcome, PayloadKind, Position, ReadLimits, Seq, SessionId, StreamId,
};

const STREAMS: [&str; 3] = ["a", "b", "c"];
const TOMBSTONE_S: u64 = 100;

/// What a step asks for, in small numbers, so that the interesting collisions happen.
#[derive(Debug, Clone)]
enum Step {
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
}

fn step() -> impl Strategy<Value = Step> {
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
    ]
}

fn config() -> impl Strategy<Value = MemoryConfig> {
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
            |(messages, entries, all, streams, sessions, publishers, acks)| MemoryConfig {
                stream_messages_max: messages,
                stream_bytes_max: entries * (ENTRY_OVERHEAD_BYTES + 12),
                bytes_max: all * (ENTRY_OVERHEAD_BYTES + 12),
                streams_max: streams,
                entry_bytes_max: 40,
                sessions_max: sessions,
                publishers_max: publishers,
                tombstone_ttl: Duration::from_secs(TOMBSTONE_S),
                acks_per_session_max: acks,
            },
        )
}

#[derive(Debug, Default)]
struct ModelStream {
    epochs: Vec<Epoch>,
    /// Every entry of the current history, trimmed ones too; with its global age.
    entries: Vec<(u64, Bytes)>,
    trimmed: usize,
}

impl ModelStream {
    fn kept_bytes(&self) -> usize {
        self.entries[self.trimmed..]
            .iter()
            .map(|(_, payload)| payload.len() + ENTRY_OVERHEAD_BYTES)
            .sum()
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Life {
    Attached,
    Detached,
    Dead { until_s: u64 },
}

#[derive(Debug)]
struct ModelSession {
    attach: u64,
    count: u64,
    life: Life,
    acked: BTreeMap<usize, (Epoch, u64)>,
}

#[derive(Debug)]
struct Model {
    config: MemoryConfig,
    streams: BTreeMap<usize, ModelStream>,
    sessions: BTreeMap<u8, ModelSession>,
    now_s: u64,
    age: u64,
    /// Every (session, sequence) that ever entered the log (I6); with the attach it came from.
    published: BTreeSet<(u8, u64)>,
}

impl Model {
    fn bytes(&self) -> usize {
        self.streams.values().map(ModelStream::kept_bytes).sum()
    }

    fn live(&self) -> usize {
        self.sessions
            .values()
            .filter(|s| !matches!(s.life, Life::Dead { .. }))
            .count()
    }

    fn publishers(&self) -> usize {
        self.sessions.values().filter(|s| s.count > 0).count()
    }

    fn bury_old(&mut self) {
        let now_s = self.now_s;
        self.sessions
            .retain(|_, s| !matches!(s.life, Life::Dead { until_s } if until_s <= now_s));
    }

    /// The attach and the count of a session; zeros if there is none.
    fn known(&self, id: u8) -> (u64, u64) {
        self.sessions.get(&id).map_or((0, 0), |s| (s.attach, s.count))
    }

    fn is_current(&self, id: u8, attach: u64) -> bool {
        self.sessions
            .get(&id)
            .is_some_and(|s| s.life == Life::Attached && s.attach == attach)
    }

    fn attach(&mut self, id: u8, attach: u64) -> Outcome {
        self.bury_old();
        let full = self.live() >= self.config.sessions_max;
        match self.sessions.get_mut(&id) {
            None if attach != 1 => Outcome::AttachRefused(AttachRefusal::Unknown),
            None if full => Outcome::AttachRefused(AttachRefusal::Full),
            None => {
                self.sessions.insert(
                    id,
                    ModelSession {
                        attach,
                        count: 0,
                        life: Life::Attached,
                        acked: BTreeMap::new(),
                    },
                );
                attached(AttachKind::New, 0, None)
            }
            Some(s) if attach <= s.attach => Outcome::AttachRefused(AttachRefusal::Stale {
                current: Attach::new(s.attach).unwrap(),
            }),
            Some(s) if attach > s.attach + (1 << 20) => Outcome::AttachRefused(AttachRefusal::Jump),
            Some(s) if full && matches!(s.life, Life::Dead { .. }) => {
                Outcome::AttachRefused(AttachRefusal::Full)
            }
            Some(s) => {
                let (kind, previous) = match s.life {
                    Life::Attached => (AttachKind::Resumed, Some(s.attach)),
                    Life::Detached => (AttachKind::Resumed, None),
                    Life::Dead { .. } => (AttachKind::Revived, None),
                };
                s.life = Life::Attached;
                s.attach = attach;
                attached(kind, s.count, previous)
            }
        }
    }

    fn append(&mut self, stream: usize, author: Option<(u8, u64, u64)>, payload: Bytes) -> Outcome {
        if let Some((id, attach, seq)) = author {
            if !self.is_current(id, attach) {
                return Outcome::AppendRefused(AppendRefusal::Fenced);
            }
            let count = self.sessions[&id].count;
            if seq <= count {
                return Outcome::Duplicate {
                    count: Seq::new(count).unwrap(),
                };
            }
            if seq != count + 1 {
                return Outcome::AppendRefused(AppendRefusal::Gap {
                    expected: Seq::new(count + 1).unwrap(),
                });
            }
            if count == 0 && self.publishers() >= self.config.publishers_max {
                return Outcome::AppendRefused(AppendRefusal::PublishersFull);
            }
        }
        if payload.len() > self.config.entry_bytes_max {
            return Outcome::AppendRefused(AppendRefusal::TooLarge {
                limit: self.config.entry_bytes_max,
            });
        }
        if !self.streams.contains_key(&stream) && self.streams.len() >= self.config.streams_max {
            return Outcome::AppendRefused(AppendRefusal::StreamsFull);
        }
        let state = self.streams.entry(stream).or_default();
        state.entries.push((self.age, payload));
        self.age += 1;
        let offset = state.entries.len() as u64;
        while state.entries.len() - state.trimmed > 1
            && (state.entries.len() - state.trimmed > self.config.stream_messages_max
                || state.kept_bytes() > self.config.stream_bytes_max)
        {
            state.trimmed += 1;
        }
        let mut count = 0;
        if let Some((id, _, seq)) = author {
            assert!(
                self.published.insert((id, seq)),
                "I6: the model itself let {id}/{seq} in twice"
            );
            self.sessions.get_mut(&id).unwrap().count = seq;
            count = seq;
        }
        while self.bytes() > self.config.bytes_max {
            let kept = |s: &&mut ModelStream| s.trimmed < s.entries.len();
            let oldest = self
                .streams
                .values_mut()
                .filter(kept)
                .min_by_key(|s| s.entries[s.trimmed].0)
                .unwrap();
            if oldest.entries[oldest.trimmed].0 + 1 == self.age {
                break;
            }
            oldest.trimmed += 1;
        }
        Outcome::Appended {
            offset: Offset::new(offset).unwrap(),
            previous: Offset::new(offset - 1).unwrap(),
            count: Seq::new(count).unwrap(),
        }
    }

    fn ack(&mut self, (id, attach): (u8, u64), stream: usize, epoch: Epoch, offset: u64) -> Outcome {
        let limit = self.config.acks_per_session_max;
        if !self.is_current(id, attach) {
            return Outcome::AckRefused(AckRefusal::Fenced);
        }
        let Some(state) = self.streams.get(&stream) else {
            return Outcome::AckRefused(AckRefusal::Beyond { head: Offset::ZERO });
        };
        let current = *state.epochs.last().unwrap();
        let head = state.entries.len() as u64;
        if epoch != current {
            return Outcome::AckRefused(AckRefusal::Epoch { current });
        }
        if offset > head {
            return Outcome::AckRefused(AckRefusal::Beyond {
                head: Offset::new(head).unwrap(),
            });
        }
        let acked = &mut self.sessions.get_mut(&id).unwrap().acked;
        if !acked.contains_key(&stream) && acked.len() >= limit {
            return Outcome::AckRefused(AckRefusal::TooManyStreams);
        }
        let recorded = acked.entry(stream).or_insert((epoch, offset));
        *recorded = if recorded.0 == epoch {
            (epoch, recorded.1.max(offset))
        } else {
            (epoch, offset)
        };
        Outcome::Acked {
            position: Position {
                epoch: recorded.0,
                offset: Offset::new(recorded.1).unwrap(),
            },
        }
    }

    fn bury(&mut self, id: u8) {
        let until_s = self.now_s + TOMBSTONE_S;
        let session = self.sessions.get_mut(&id).unwrap();
        session.life = Life::Dead { until_s };
        session.acked.clear();
        if session.count == 0 {
            self.sessions.remove(&id);
        }
    }
}

fn attached(kind: AttachKind, count: u64, previous: Option<u64>) -> Outcome {
    let previous = previous.map(|attach| Attach::new(attach).unwrap());
    Outcome::Attached {
        kind,
        count: Seq::new(count).unwrap(),
        previous,
        acked: Vec::new(),
    }
}

struct World {
    model: Model,
    writer: MemoryWriter,
    reader: MemoryReader,
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

impl World {
    fn new(config: MemoryConfig, seed: u64) -> Self {
        let (writer, reader) = MemoryLog::new(config.clone(), seed).split();
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
            writer,
            reader,
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
                self.writer
                    .commit(std::slice::from_ref(&command), &mut outcomes)
                    .unwrap();
                (command, outcomes.remove(0))
            }
            Step::Attach(id, rise) => {
                let attach = near(self.model.known(id).0, rise);
                let command = Command::Attach {
                    session: session_id(id),
                    attach: Attach::new(attach).unwrap(),
                    now,
                };
                (command, self.model.attach(id, attach))
            }
            Step::Append(..) | Step::AppendAlone(..) | Step::Ack(..) => self.publishing(step, nth),
            Step::Detach(id, off) | Step::Expire(id, off) | Step::End(id, off) => {
                self.ending(step, id, off, now)
            }
            Step::Wait(_) | Step::BeginEpoch(..) => return None,
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

    fn step(&mut self, step: &Step, nth: usize) -> Option<Command> {
        match *step {
            Step::Wait(seconds) => self.model.now_s += seconds,
            Step::BeginEpoch(stream, back) => {
                let bounds = match self.model.streams.get_mut(&stream) {
                    None => {
                        assert_eq!(self.writer.begin_epoch(&stream_id(stream), Offset::ZERO), None);
                        return None;
                    }
                    Some(state) => {
                        let keep = (state.entries.len() as u64).saturating_sub(back);
                        state.entries.truncate(usize::try_from(keep).unwrap());
                        state.trimmed = state.trimmed.min(state.entries.len());
                        self.writer
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
                self.writer
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

    /// The engine draws an epoch for each stream it makes; the model learns it there.
    fn learn_epochs(&mut self) {
        for (&stream, state) in &mut self.model.streams {
            if state.epochs.is_empty() {
                state
                    .epochs
                    .push(self.reader.bounds(&stream_id(stream)).unwrap().unwrap().epoch);
            }
        }
    }

    fn check(&self) {
        assert_eq!(self.writer.bytes(), self.model.bytes());
        for stream in 0..STREAMS.len() {
            let id = stream_id(stream);
            let bounds = self.reader.bounds(&id).unwrap();
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
                let read = self
                    .reader
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
            previous,
            ..
        } => Outcome::Attached {
            kind,
            count,
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every outcome and every readable entry is what the model says. With the model's own assertion this is I6 (a
    /// sequence enters once, until its tombstone is gone), I7 (only the next sequence enters), I10 and I11.
    #[test]
    fn the_engine_does_what_the_model_does(config in config(), seed in any::<u64>(), steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new(config, seed);
        for (nth, step) in steps.iter().enumerate() {
            world.step(step, nth);
            // What a forgotten session published may be published again: that is what the tombstone's seven days are for.
            let World { model, .. } = &mut world;
            let sessions = &model.sessions;
            model.published.retain(|(id, _)| sessions.contains_key(id));
        }
    }

    /// A batch gives what its commands give one by one.
    #[test]
    fn one_batch_is_the_commands_in_order(config in config(), seed in any::<u64>(), steps in prop::collection::vec(step(), 1..60), cut in 1usize..20) {
        let mut world = World::new(config.clone(), seed);
        let steps: Vec<_> = steps.into_iter().filter(|step| !matches!(step, Step::BeginEpoch(..))).collect();
        let commands: Vec<_> = steps.iter().enumerate().filter_map(|(nth, step)| {
            let command = world.step(step, nth);
            let World { model, .. } = &mut world;
            let sessions = &model.sessions;
            model.published.retain(|(id, _)| sessions.contains_key(id));
            command
        }).collect();

        let (mut single, single_reader) = MemoryLog::new(config.clone(), seed).split();
        let (mut batched, batched_reader) = MemoryLog::new(config, seed).split();
        let (mut one_by_one, mut in_batches) = (Vec::new(), Vec::new());
        for command in &commands {
            single.commit(std::slice::from_ref(command), &mut one_by_one).unwrap();
        }
        for batch in commands.chunks(cut) {
            batched.commit(batch, &mut in_batches).unwrap();
        }
        prop_assert_eq!(one_by_one, in_batches);
        for stream in 0..STREAMS.len() {
            let id = stream_id(stream);
            prop_assert_eq!(single_reader.bounds(&id).unwrap(), batched_reader.bounds(&id).unwrap());
        }
    }

    /// Reading in steps of any size gives what one large read gives, and every step makes progress.
    #[test]
    fn reading_in_steps_is_reading_at_once(sizes in prop::collection::vec(0usize..30, 1..40), messages in 0usize..5, bytes in 0usize..50) {
        let (mut writer, reader) = MemoryLog::new(MemoryConfig::default(), 1).split();
        let mut outcomes = Vec::new();
        let batch: Vec<_> = sizes.iter().enumerate().map(|(nth, &size)| append(0, None, payload(nth, size))).collect();
        writer.commit(&batch, &mut outcomes).unwrap();
        let mut read: Vec<Entry> = Vec::new();
        loop {
            let after = read.last().map_or(Offset::ZERO, |entry| entry.offset);
            let before = read.len();
            let found = reader.read(&stream_id(0), after, ReadLimits { messages, bytes }, &mut read).unwrap().unwrap();
            prop_assert_eq!(found.entries, read.len() - before);
            let step = &read[before..];
            prop_assert!(step.len() <= messages.max(1));
            prop_assert!(step.len() <= 1 || step.iter().map(|entry| entry.payload.len()).sum::<usize>() <= bytes);
            if found.entries == 0 {
                break;
            }
        }
        let expect: Vec<_> = sizes.iter().enumerate().map(|(nth, &size)| payload(nth, size)).collect();
        let read: Vec<_> = read.into_iter().map(|entry| entry.payload).collect();
        prop_assert_eq!(read, expect);
    }
}
