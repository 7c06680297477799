//! A log on a simulated disk, what was done to it, and what it must be.

mod history;

use std::error::Error as _;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use history::{History, STREAMS, session_id, stream_id};
use weirline_log::{
    Author, Command, Entry, Epoch, EventLog as _, Item, LogReader as _, LogWriter as _, Offset, PayloadKind,
    Proof, ReadLimits, Seq,
};
use weirline_log_redb::simulation::{Faults, SimDisk};
use weirline_log_redb::storage::{Half, Part};
use weirline_log_redb::{Job, OpenError, RedbConfig, RedbLog, RedbReader, RedbWriter};

/// How many sessions publish.
pub(crate) const SESSIONS: u8 = 4;

/// What happened in one or more lives.
#[derive(Debug, Default)]
pub(crate) struct Life {
    pub(crate) crashes: u64,
    pub(crate) acknowledged: u64,
    pub(crate) refused: u64,
    pub(crate) checkpoints: u64,
    pub(crate) survived_unacknowledged: u64,
    pub(crate) crashed_while_opening: u64,
}

impl Life {
    pub(crate) fn add(&mut self, other: &Self) {
        self.crashes += other.crashes;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.checkpoints += other.checkpoints;
        self.survived_unacknowledged += other.survived_unacknowledged;
        self.crashed_while_opening += other.crashed_while_opening;
    }
}

pub(crate) struct World {
    /// Checkpoints are written by a thread, beside the commits.
    threaded: bool,
    random: u64,
    disk: SimDisk,
    config: RedbConfig,
    history: History,
    /// The epoch of each stream, as it was first seen. It never changes, since nothing is ever lost.
    epochs: [Option<Epoch>; STREAMS.len()],
    start: Instant,
    now_s: u64,
    nth: u64,
}

impl World {
    pub(crate) fn new(seed: u64, threaded: bool) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "an arbitrary starting point; the steps move it"
        )]
        let start = Instant::now();
        let mut world = Self {
            threaded,
            random: seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x9e37_79b9,
            disk: SimDisk::new(seed),
            config: RedbConfig::default(),
            history: History::new(u64::MAX),
            epochs: [None; STREAMS.len()],
            start,
            now_s: 0,
            nth: 0,
        };
        let messages_max = [u64::MAX, 60, 5][usize::try_from(world.draw() % 3).unwrap()];
        world.history = History::new(messages_max);
        world.config = RedbConfig {
            stream_messages_max: messages_max,
            checkpoint_bytes: 8192 + world.draw() % 4 * 8192,
            tail_bytes_max: usize::try_from(world.draw() % 3 * 2000).unwrap(),
            ..RedbConfig::default()
        };
        world
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) >> 8
    }

    fn open(&mut self) -> Result<RedbLog, OpenError> {
        let seed = self.draw();
        let log = RedbLog::open_storage(self.disk.storage(), self.config.clone(), seed)?;
        if !self.threaded {
            return Ok(log);
        }
        let (jobs, queue) = sync_channel::<Job>(1);
        std::thread::Builder::new()
            .spawn(move || queue.into_iter().for_each(|job| job()))
            .unwrap();
        Ok(log.checkpoints_on(move |job| drop(jobs.send(job))))
    }

    fn below(&mut self, n: u64) -> u64 {
        self.draw() % n
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_secs(self.now_s)
    }

    /// Opens the log with these faults, checks it, publishes until the power goes, and checks what is left.
    pub(crate) fn live(&mut self, faults: Faults) -> Result<Life, String> {
        let mut life = Life::default();
        self.disk.set_faults(faults);
        let (mut writer, reader) = loop {
            match self.open() {
                Ok(log) => break log.split(),
                Err(_) if self.disk.is_off() => {
                    life.crashes += 1;
                    life.crashed_while_opening += 1;
                    self.disk.restart();
                }
                // Before anything was confirmed, errors may leave half of a file that nobody can tell from a damaged one.
                Err(OpenError::Damaged { .. }) if self.history.is_empty() => {
                    self.disk.remove(Part::Database);
                    self.disk.remove(Part::Journal(Half::A));
                    self.disk.remove(Part::Journal(Half::B));
                }
                // An injected error; the next opening may have more luck.
                Err(error) if self.nth < 10_000 => {
                    self.nth += 1;
                    drop(error);
                    self.disk.kill();
                }
                Err(error) => return Err(format!("it cannot be opened: {error}")),
            }
        };
        for _ in 0..400 {
            if self.disk.is_off() {
                break;
            }
            self.step(&mut writer, &reader, &mut life)?;
        }
        drop((writer, reader));
        life.crashes += 1;
        if self.below(8) == 0 && !self.disk.is_off() {
            self.disk.kill();
        } else {
            self.disk.restart();
        }
        self.disk.set_faults(Faults {
            syncs_are_lies: false,
            ..Faults::default()
        });
        let mut opened = self.open();
        if matches!(opened, Err(OpenError::Damaged { .. })) && self.history.is_empty() {
            self.disk.remove(Part::Database);
            self.disk.remove(Part::Journal(Half::A));
            self.disk.remove(Part::Journal(Half::B));
            opened = self.open();
        }
        let (writer, reader) = opened
            .map_err(|error| format!("it cannot be opened: {error}"))?
            .split();
        self.history.all_detached(self.now());
        self.check(&writer, &reader, &mut life)?;
        if self.below(2) == 0 {
            let _ = writer.close();
        }
        self.disk.kill();
        Ok(life)
    }

    /// One batch, or some upkeep, and a look at what the readers see.
    fn step(&mut self, writer: &mut RedbWriter, reader: &RedbReader, life: &mut Life) -> Result<(), String> {
        if self.below(6) == 0 {
            self.now_s += self.below(40);
            let before = self.disk.operations();
            let _ = writer.maintain(self.now());
            life.checkpoints += u64::from(self.disk.operations() > before + 3);
            return Ok(());
        }
        let size = 1 + self.below(12);
        let batch: Vec<_> = (0..size).map(|_| self.command()).collect();
        let (mut outcomes, before) = (Vec::new(), self.disk.operations());
        match writer.commit(&batch, &mut outcomes) {
            Ok(()) => {
                life.acknowledged += 1;
                life.checkpoints += u64::from(self.disk.operations() > before + 3);
                let wrote = self.disk.operations() > before;
                self.history.acknowledge(batch, &outcomes, wrote)?;
            }
            Err(_) => {
                if !outcomes.is_empty() {
                    return Err("a refused batch has outcomes".into());
                }
                life.refused += 1;
                self.history.refuse(batch);
            }
        }
        self.check_visible(reader)
    }

    fn command(&mut self) -> Command {
        let id = u8::try_from(self.below(SESSIONS.into())).unwrap();
        let stream = usize::try_from(self.below(STREAMS.len() as u64)).unwrap();
        let (attach, count) = self.history.session(id);
        let (session, now) = (session_id(id), self.now());
        self.nth += 1;
        match self.below(20) {
            0 | 1 => Command::Attach {
                session,
                attach: attach.next().unwrap(),
                // Some sessions have a token, and each dial a nonce.
                proof: (id % 2 == 0).then(|| Proof {
                    owner: [id; 32],
                    nonce: u128::from(self.nth).to_be_bytes(),
                }),
                now,
            },
            2 => Command::Detach { session, attach, now },
            3 if self.below(4) == 0 => Command::Expire { session, attach, now },
            3 => Command::Open {
                stream: stream_id(stream),
            },
            4..8 => Command::Ack {
                session,
                attach,
                stream: stream_id(stream),
                epoch: self.epochs[stream].unwrap_or(Epoch::new(0)),
                offset: self.history.head(stream),
            },
            8 => {
                let from = Seq::new(count.get() + 1 + self.below(2) * self.below(2)).unwrap();
                let seq = from.checked_add(self.below(3)).unwrap();
                let author = Author {
                    session,
                    attach,
                    seq,
                    item: Some(Item::skip(from, seq)),
                };
                Command::Skip { author, from }
            }
            roll => {
                let seq = Seq::new(count.get() + self.below(2) + self.below(2)).unwrap();
                let mut payload = format!("{} ", self.nth).into_bytes();
                payload.resize(payload.len() + usize::try_from(self.below(600)).unwrap(), b'.');
                let item = Item::publish(&stream_id(stream), PayloadKind::Binary, &payload);
                let author = Author {
                    session,
                    attach,
                    seq,
                    item: Some(item),
                };
                Command::Append {
                    stream: stream_id(stream),
                    author: (roll < 17).then_some(author),
                    kind: PayloadKind::Binary,
                    payload: payload.into(),
                }
            }
        }
    }

    /// Readers see exactly what is acknowledged, unless the disk cannot be read.
    fn check_visible(&mut self, reader: &RedbReader) -> Result<(), String> {
        for (stream, name) in STREAMS.iter().enumerate() {
            let Ok(entries) = self.read(reader, stream)? else {
                continue;
            };
            if entries != self.history.entries(stream) {
                return Err(format!("{name} is not what is acknowledged"));
            }
        }
        Ok(())
    }

    /// The payloads of a stream; the inner error is that of an injected fault.
    fn read(
        &mut self,
        reader: &RedbReader,
        stream: usize,
    ) -> Result<Result<Vec<bytes::Bytes>, String>, String> {
        let id = stream_id(stream);
        let bounds = reader.bounds(&id).map_err(|error| error.to_string())?;
        if let Some(bounds) = bounds
            && *self.epochs[stream].get_or_insert(bounds.epoch) != bounds.epoch
        {
            return Err(format!("{id} has begun another epoch"));
        }
        let mut entries: Vec<Entry> = Vec::new();
        let limits = ReadLimits {
            messages: 7,
            bytes: usize::MAX,
        };
        loop {
            let start = bounds.map_or(Offset::ZERO, |bounds| bounds.trimmed);
            let after = entries.last().map_or(start, |entry| entry.offset);
            match reader.read(&id, after, limits, &mut entries) {
                Ok(Some(found)) if found.entries > 0 => {}
                Ok(_) => break,
                Err(error) => return Ok(Err(format!("{error}: {:?}", error.source()))),
            }
        }
        let start = bounds.map_or(0, |bounds| bounds.trimmed.get());
        let in_order = (start + 1..)
            .zip(&entries)
            .all(|(n, entry)| entry.offset.get() == n);
        if !in_order {
            return Err(format!("the offsets of {id} have a hole"));
        }
        Ok(Ok(entries.into_iter().map(|entry| entry.payload).collect()))
    }

    /// After a crash: which of the possible histories is it?
    fn check(&mut self, writer: &RedbWriter, reader: &RedbReader, life: &mut Life) -> Result<(), String> {
        let mut found = Vec::new();
        for stream in 0..STREAMS.len() {
            let entries = self.read(reader, stream)?;
            found.push(entries.map_err(|what| format!("a disk without faults cannot be read: {what}"))?);
        }
        for (id, session) in writer.sessions().iter() {
            for (stream, position) in &session.acked {
                let nth = STREAMS.iter().position(|name| *name == stream.as_str());
                if self.epochs[nth.unwrap()] != Some(position.epoch) {
                    return Err(format!("an ack of {id} in {stream} is of another epoch"));
                }
            }
        }
        let more = self.history.settle(&found, writer.sessions())?;
        life.survived_unacknowledged += u64::from(more);
        Ok(())
    }
}
