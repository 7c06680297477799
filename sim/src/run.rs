//! One plan, one world, one verdict.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use serde::Serialize;

use crate::cases::Counts;
use crate::net::{Net, Violation};
use crate::pin;
use crate::scene::Scene;
use crate::trace::{Event, Keep};
use crate::{pairs, world};

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing was broken, and all came to rest.
    Good,
    /// An invariant was broken, or shipped code panicked.
    Broken,
    /// With all faults healed, something never came to rest.
    NotAtRest,
    /// The simulator itself failed.
    Harness(String),
}

/// What is known after a run.
#[derive(Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What it came to.
    pub verdict: Verdict,
    /// What was broken.
    pub violations: Vec<Violation>,
    /// SHA-256 over the whole trace.
    pub hash: String,
    /// Events in the trace.
    pub events_total: u64,
    /// The events that were kept.
    pub events: Vec<Event>,
    /// How often each case arose.
    pub counts: Counts,
    /// Simulated time.
    pub simulated: Duration,
    /// Connections that were opened.
    pub connections: usize,
}

impl Report {
    /// What the network of a world that is over tells.
    #[must_use]
    pub fn of(net: &Net, verdict: Verdict, simulated: Duration) -> Self {
        let trace = net.take_trace();
        let (hash, events_total) = trace.hash();
        Self {
            seed: net.seed,
            verdict,
            violations: net.violations(),
            hash,
            events_total,
            events: trace.into_events(),
            counts: net.counts(),
            simulated,
            connections: net.conns().len(),
        }
    }

    /// A report of a harness that failed.
    fn failed(seed: u64, verdict: Verdict, violations: Vec<Violation>) -> Self {
        Self {
            seed,
            verdict,
            violations,
            hash: String::new(),
            events_total: 0,
            events: Vec::new(),
            counts: Counts::default(),
            simulated: Duration::ZERO,
            connections: 0,
        }
    }
}

/// Runs a scene in a thread of its own, since the hash keys of `std` belong to a thread, with clock and chance pinned.
#[must_use]
pub fn run(scene: &Scene, keep: Keep) -> Report {
    let seed = scene.seed();
    let scene = scene.clone();
    let body = move || {
        pin::pin_thread(seed);
        let world = || match scene {
            Scene::Streams(plan) => world::run(*plan, keep),
            Scene::Pairs(plan) => pairs::run(*plan, keep),
        };
        let result = std::panic::catch_unwind(AssertUnwindSafe(world));
        result.unwrap_or_else(|panic| panicked(seed, &*panic))
    };
    match std::thread::Builder::new()
        .name(format!("seed-{seed}"))
        .stack_size(STACK_BYTES)
        .spawn(body)
    {
        Ok(thread) => thread.join().unwrap_or_else(|panic| panicked(seed, &*panic)),
        Err(error) => Report::failed(seed, Verdict::Harness(error.to_string()), Vec::new()),
    }
}

/// A debug build of a whole server in one thread wants more than the usual stack.
const STACK_BYTES: usize = 16 << 20;

fn panicked(seed: u64, panic: &(dyn std::any::Any + Send)) -> Report {
    let text = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_else(|| "a panic without words".to_owned());
    let violation = Violation {
        invariant: "panic".to_owned(),
        at: Duration::ZERO,
        text,
    };
    Report::failed(seed, Verdict::Broken, vec![violation])
}
