//! Generated histories of the multiplexed forms: the real client and server machines, over links that delay and cut, on the real in-memory
//! log, with two holders of a session, repeated dials, crashes of clients, epochs that change, a log that is wiped or rolled back, retention,
//! slow consumers, and refusals.
//!
//! Checked all the time: I1, I3, I4, I6, I7, I9, I10, I11, I14, I15, I16; at rest: I2, I5, I12, I13, I14.

#![expect(
    clippy::disallowed_methods,
    reason = "a history needs some instant to count from; nothing else reads the clock"
)]

mod consumer;
mod log;
mod process;
mod world;

use proptest::prelude::*;

use world::{Marks, Plan, World};

fn plan() -> impl Strategy<Value = Plan> {
    let kinds = (any::<[u8; 3]>(), 3usize..40, any::<u8>(), any::<u64>());
    kinds.prop_map(|(processes, retention, faults, seed)| Plan {
        processes,
        retention,
        faults,
        seed,
    })
}

/// What happens, in order; shown on one line.
struct Steps(Vec<[u8; 3]>);

impl std::fmt::Debug for Steps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|step| write!(f, "{step:?}, "))
    }
}

fn cases() -> ProptestConfig {
    let mut config = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 3000;
    }
    config.max_shrink_iters = 20_000;
    config.failure_persistence = None;
    config
}

#[test]
fn i1_to_i16_hold_in_every_history() {
    let marks = std::cell::RefCell::new(Marks::default());
    let steps = prop::collection::vec(any::<[u8; 3]>(), 20..400).prop_map(Steps);
    let mut runner = proptest::test_runner::TestRunner::new(cases());
    let result = runner.run(&(plan(), steps), |(plan, steps)| {
        let mut world = World::new(&plan);
        for step in steps.0 {
            world.step(step);
        }
        world.settle();
        marks.borrow_mut().add(&world.marks);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    // A test that never meets its case proves nothing.
    let marks = marks.into_inner();
    eprintln!("{marks:?}");
    for (name, times) in marks.iter() {
        assert!(
            times > 0 || std::env::var_os("PROPTEST_CASES").is_some(),
            "{name} never arose"
        );
    }
}
