//! The same closing cases over the simulated network and over real sockets on the loopback device: where they differ, the
//! simulator shows something that does not happen, or hides something that does. Known differences are listed with their reason.

mod cases;
mod loopback;
mod told;

use std::fmt::Write as _;

use crate::chaos::ChaosPlan;
use crate::conn::Side;
use crate::net::{NetPlan, Violation};
use crate::pairs::{PairsPlan, PairsWorld, run_to_end};
use crate::pin;
use crate::plan::Scenario;
use crate::trace::Keep;

pub use cases::Case;

/// A case on one ground: what the client's end and the server's saw.
type Seen = [String; 2];

/// What the comparison came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// For people.
    pub text: String,
    /// Cases that differ for no known reason, and known differences that are none.
    pub unexplained: usize,
    /// Violations on either ground.
    pub violations: Vec<String>,
}

/// Runs all cases on both grounds.
///
/// # Errors
///
/// When no socket can be opened.
pub fn run(shows_all: bool) -> Result<Outcome, String> {
    let cases = cases::all();
    let (simulated, broken) = in_simulation(&cases)?;
    let (real, broken_too) = loopback::run(&cases)?;
    let mut outcome = Outcome::default();
    for (ground, violations) in [("simulated", broken), ("loopback", broken_too)] {
        let lines = violations
            .iter()
            .map(|found| format!("{ground}: {}: {}", found.invariant, found.text));
        outcome.violations.extend(lines);
    }
    for ((case, simulated), real) in cases.iter().zip(&simulated).zip(&real) {
        compare(case, simulated, real, shows_all, &mut outcome);
    }
    let _ = writeln!(
        outcome.text,
        "{} cases, {} unexplained differences, {} violations",
        cases.len(),
        outcome.unexplained,
        outcome.violations.len()
    );
    Ok(outcome)
}

fn compare(case: &Case, simulated: &Seen, real: &Seen, shows_all: bool, outcome: &mut Outcome) {
    let text = &mut outcome.text;
    if shows_all {
        let _ = writeln!(text, "{}", case.title());
    }
    for side in Side::BOTH {
        let (here, there) = (&simulated[side.index()], &real[side.index()]);
        if shows_all && here == there {
            let _ = writeln!(text, "  {side:?}: {here}");
        }
        match (here == there, case.difference(side)) {
            (true, None) => {}
            (false, Some(known)) if known.simulated == *here && known.real == *there => {
                if shows_all {
                    let _ = writeln!(
                        text,
                        "  {side:?}: {here}\n    but over loopback: {there}\n    because {}",
                        known.why
                    );
                }
            }
            (same, known) => {
                outcome.unexplained += 1;
                let what = match (same, known) {
                    (true, _) => "the known difference is none",
                    (false, Some(_)) => "they differ in another way than is known",
                    (false, None) => "they differ",
                };
                let _ = writeln!(
                    text,
                    "{}, {side:?}: {what}\n  simulated: {here}\n  loopback:  {there}",
                    case.title()
                );
            }
        }
    }
}

/// All cases side by side, in a network without whims.
fn plan(cases: &[Case]) -> PairsPlan {
    PairsPlan {
        scenario: Scenario::FinRace,
        seed: 1,
        net: NetPlan {
            tick_ms: 1,
            latency_ms_min: 1,
            latency_ms_max: 2,
            client_chaos: ChaosPlan::default(),
            server_chaos: ChaosPlan::default(),
            window_bytes: 64 << 10,
            vectored: true,
            hang_percent: 0,
            fuses: Vec::new(),
        },
        pairs: cases.iter().map(|case| case.pair.clone()).collect(),
    }
}

fn in_simulation(cases: &[Case]) -> Result<(Vec<Seen>, Vec<Violation>), String> {
    let cases = cases.to_vec();
    let body = move || {
        let plan = plan(&cases);
        pin::pin_thread(plan.seed);
        let world = PairsWorld::new(plan, Keep::Last);
        run_to_end(&world);
        (told::by(&world, &cases), world.net.violations())
    };
    let thread = std::thread::Builder::new()
        .stack_size(16 << 20)
        .spawn(body)
        .map_err(|error| error.to_string())?;
    thread
        .join()
        .map_err(|_| "the simulated world panicked".to_owned())
}
