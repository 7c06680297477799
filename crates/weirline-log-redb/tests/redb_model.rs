//! The durable engine against the model that the in-memory one is held to.

#[path = "../../weirline-log/tests/model/mod.rs"]
mod model;

use std::time::{Duration, Instant};

use model::{Subject, World, check_batches, check_reading, config, step};
use proptest::prelude::*;
use weirline_log::{
    Bounds, EventLog as _, LogWriter as _, MemoryConfig, Offset, ReadLimits, SessionLimits, StreamId,
};
use weirline_log_redb::simulation::SimDisk;
use weirline_log_redb::{RedbConfig, RedbLog, RedbReader, RedbWriter};

struct Redb {
    config: RedbConfig,
    disk: SimDisk,
    halves: Option<(RedbWriter, RedbReader)>,
    seed: u64,
    closes: u64,
}

impl Redb {
    fn open(&mut self) {
        let log = RedbLog::open_storage(self.disk.storage(), self.config.clone(), self.seed).unwrap();
        self.halves = Some(log.split());
    }
}

impl Subject for Redb {
    type Writer = RedbWriter;
    type Reader = RedbReader;
    const EXACT_BYTES: bool = false;
    const REOPENS: bool = true;

    fn create(limits: &MemoryConfig, seed: u64) -> Self {
        let config = RedbConfig {
            stream_messages_max: limits.stream_messages_max as u64,
            stream_bytes_max: u64::MAX,
            bytes_max: u64::MAX,
            streams_max: limits.streams_max,
            entry_bytes_max: limits.entry_bytes_max,
            sessions: SessionLimits {
                sessions_max: limits.sessions_max,
                publishers_max: limits.publishers_max,
                tombstone_ttl: limits.tombstone_ttl,
                acks_per_session_max: limits.acks_per_session_max,
            },
            // So small that checkpoints happen in the middle of everything.
            checkpoint_bytes: 2048 + seed % 8 * 1024,
            checkpoint_after: Duration::from_secs(60),
            tail_bytes_max: usize::try_from(seed % 5 * 200).unwrap(),
            ..RedbConfig::default()
        };
        let mut subject = Self {
            config,
            disk: SimDisk::new(seed),
            halves: None,
            seed,
            closes: 0,
        };
        subject.open();
        subject
    }

    fn writer(&mut self) -> &mut RedbWriter {
        &mut self.halves.as_mut().unwrap().0
    }

    fn reader(&self) -> &RedbReader {
        &self.halves.as_ref().unwrap().1
    }

    fn begin_epoch(&mut self, stream: &StreamId, keep: Offset) -> Option<Bounds> {
        self.writer().begin_epoch(stream, keep).unwrap()
    }

    fn bytes(&self) -> Option<usize> {
        None
    }

    /// By turns it is closed, the process ends, and the power goes.
    fn reopen(&mut self, now: Instant) {
        self.writer().maintain(now).unwrap();
        let (writer, _) = self.halves.take().unwrap();
        self.closes += 1;
        // The log's own time is stored with checkpoints and commits; the model wants all of it.
        writer.close().unwrap();
        match self.closes % 3 {
            0 => {}
            1 => self.disk.kill(),
            _ => self.disk.restart(),
        }
        self.seed = self.seed.wrapping_add(1);
        self.open();
        self.writer().maintain(now).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every outcome and every readable entry is what the model says (I6, I7, I10, I11), over closing and opening again.
    #[test]
    fn the_engine_does_what_the_model_does(
        config in config::<Redb>(),
        seed in any::<u64>(),
        steps in prop::collection::vec(step::<Redb>(), 1..80),
    ) {
        let mut world = World::<Redb>::new(config, seed);
        for (nth, step) in steps.iter().enumerate() {
            world.step(step, nth);
        }
    }

    /// A batch gives what its commands give one by one.
    #[test]
    fn one_batch_is_the_commands_in_order(
        config in config::<Redb>(),
        seed in any::<u64>(),
        steps in prop::collection::vec(step::<Redb>(), 1..60),
        cut in 1usize..20,
    ) {
        check_batches::<Redb>(&config, seed, &steps, cut);
    }

    /// Reading in steps of any size gives what one large read gives, and every step makes progress.
    #[test]
    fn reading_in_steps_is_reading_at_once(
        sizes in prop::collection::vec(0usize..30, 1..200),
        batch in 1usize..10,
        messages in 0usize..5,
        bytes in 0usize..50,
    ) {
        check_reading::<Redb>(&sizes, batch, ReadLimits { messages, bytes });
    }
}
