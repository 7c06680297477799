//! The in-memory engine against the model.

mod model;

use std::time::Instant;

use model::{Subject, World, check_batches, check_reading, config, step};
use proptest::prelude::*;
use weirline_log::{
    Bounds, EventLog as _, MemoryConfig, MemoryLog, MemoryReader, MemoryWriter, Offset, ReadLimits, StreamId,
};

struct Memory(MemoryWriter, MemoryReader);

impl Subject for Memory {
    type Writer = MemoryWriter;
    type Reader = MemoryReader;
    const EXACT_BYTES: bool = true;
    const REOPENS: bool = false;

    fn create(limits: &MemoryConfig, seed: u64) -> Self {
        let (writer, reader) = MemoryLog::new(limits.clone(), seed).split();
        Self(writer, reader)
    }

    fn writer(&mut self) -> &mut MemoryWriter {
        &mut self.0
    }

    fn reader(&self) -> &MemoryReader {
        &self.1
    }

    fn begin_epoch(&mut self, stream: &StreamId, keep: Offset) -> Option<Bounds> {
        self.0.begin_epoch(stream, keep)
    }

    fn bytes(&self) -> Option<usize> {
        Some(self.0.bytes())
    }

    fn reopen(&mut self, _: Instant) {
        unreachable!("what is in memory ends with it");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every outcome and every readable entry is what the model says. With the model's own assertion this is I6 (a
    /// sequence enters once, until its tombstone is gone), I7 (only the next sequence enters), I10 and I11.
    #[test]
    fn the_engine_does_what_the_model_does(
        config in config::<Memory>(),
        seed in any::<u64>(),
        steps in prop::collection::vec(step::<Memory>(), 1..80),
    ) {
        let mut world = World::<Memory>::new(config, seed);
        for (nth, step) in steps.iter().enumerate() {
            world.step(step, nth);
        }
    }

    /// A batch gives what its commands give one by one.
    #[test]
    fn one_batch_is_the_commands_in_order(
        config in config::<Memory>(),
        seed in any::<u64>(),
        steps in prop::collection::vec(step::<Memory>(), 1..60),
        cut in 1usize..20,
    ) {
        check_batches::<Memory>(&config, seed, &steps, cut);
    }

    /// Reading in steps of any size gives what one large read gives, and every step makes progress.
    #[test]
    fn reading_in_steps_is_reading_at_once(
        sizes in prop::collection::vec(0usize..30, 1..40),
        batch in 1usize..10,
        messages in 0usize..5,
        bytes in 0usize..50,
    ) {
        check_reading::<Memory>(&sizes, batch, ReadLimits { messages, bytes });
    }
}
