//! Many seeds: workers, progress, and what all of them came to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cases::Counts;
use crate::plan::Scenario;
use crate::run::{Report, Verdict, run};
use crate::scene::Scene;
use crate::trace::{Event, Keep, first_divergence};

/// Which seeds, and how.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The scenario.
    pub scenario: Scenario,
    /// The first seed.
    pub start: u64,
    /// How many.
    pub seeds: u64,
    /// No seed begins after so long.
    pub time_max: Option<Duration>,
    /// Worlds at a time.
    pub jobs: usize,
    /// Go on after a failure.
    pub keep_going: bool,
    /// Every n-th seed runs twice; 0 for none.
    pub twice_every: u64,
}

/// What a batch came to.
#[derive(Debug, Default)]
pub struct Summary {
    /// Seeds that ran.
    pub seeds: u64,
    /// Seeds that ran twice with the same trace.
    pub twice: u64,
    /// Failures by seed; a seed that parted from itself has its divergence.
    pub failures: BTreeMap<u64, Failure>,
    /// Cases of all seeds.
    pub counts: Counts,
    /// Simulated time of all seeds.
    pub simulated: Duration,
    /// Real time of the batch.
    pub real: Duration,
    /// Connections of all seeds.
    pub connections: u64,
    /// Trace events of all seeds.
    pub events: u64,
}

/// A seed that failed.
#[derive(Debug)]
pub struct Failure {
    /// Its run.
    pub report: Report,
    /// Where its two runs parted, if they did.
    pub divergence: Option<Divergence>,
}

/// Where two runs of one seed parted.
#[derive(Debug)]
pub struct Divergence {
    /// The number of the event.
    pub at: usize,
    /// The first run's event.
    pub one: Option<Event>,
    /// The second run's event.
    pub two: Option<Event>,
}

impl Batch {
    /// Runs it; the bar is shown on terminals only.
    #[must_use]
    pub fn run(&self) -> Summary {
        let bar = ProgressBar::new(self.seeds);
        let style = ProgressStyle::with_template("{prefix:<15} {bar:40} {pos}/{len} seeds  {elapsed}  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(self.scenario.name());
        let clock = real_clock();
        let next = AtomicU64::new(0);
        let stop = AtomicBool::new(false);
        let summary = Mutex::new(Summary::default());
        let work = || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let late = self.time_max.is_some_and(|most| clock.elapsed() >= most);
                if index >= self.seeds || late || stop.load(Ordering::Relaxed) {
                    return;
                }
                let (report, divergence) = self.seed(self.start.wrapping_add(index), index);
                let failed = report.verdict != Verdict::Good || divergence.is_some();
                let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
                let twice = self.is_twice(index);
                summary.add(report, divergence, twice);
                bar.inc(1);
                bar.set_message(format!("{} failed", summary.failures.len()));
                if failed && !self.keep_going {
                    stop.store(true, Ordering::Relaxed);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.jobs {
                scope.spawn(work);
            }
            work();
        });
        bar.finish_and_clear();
        let mut summary = summary.into_inner().unwrap_or_else(PoisonError::into_inner);
        summary.real = clock.elapsed();
        summary
    }

    fn is_twice(&self, index: u64) -> bool {
        self.twice_every > 0 && index.is_multiple_of(self.twice_every)
    }

    fn seed(&self, seed: u64, index: u64) -> (Report, Option<Divergence>) {
        let plan = Scene::draw(self.scenario, seed);
        let report = run(&plan, Keep::Last);
        if !self.is_twice(index) || run(&plan, Keep::Last).hash == report.hash {
            return (report, None);
        }
        let divergence = diverge(&plan).unwrap_or(Divergence {
            at: 0,
            one: None,
            two: None,
        });
        (report, Some(divergence))
    }
}

/// Runs a plan twice with all events: where the runs part.
#[must_use]
pub fn diverge(plan: &Scene) -> Option<Divergence> {
    let (one, two) = (run(plan, Keep::All), run(plan, Keep::All));
    let (at, left, right) = first_divergence(&one.events, &two.events)?;
    Some(Divergence {
        at,
        one: left.cloned(),
        two: right.cloned(),
    })
}

impl Summary {
    fn add(&mut self, report: Report, divergence: Option<Divergence>, twice: bool) {
        self.seeds += 1;
        self.twice += u64::from(twice && divergence.is_none());
        self.simulated += report.simulated;
        self.connections += report.connections as u64;
        self.events += report.events_total;
        self.counts.merge(&report.counts);
        if report.verdict != Verdict::Good || divergence.is_some() {
            self.failures.insert(report.seed, Failure { report, divergence });
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long a batch takes is measured outside all worlds"
)]
fn real_clock() -> std::time::Instant {
    std::time::Instant::now()
}
