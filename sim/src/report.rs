//! What people read after a batch: the table, the failures with a line to paste, and JSON for programs.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use serde_json::json;

use crate::batch::{Batch, Divergence, Failure, Summary};
use crate::cases::CASES;
use crate::run::Verdict;
use crate::scene::Scene;

/// Seeds from which on a case that never arose fails a run: fewer show nothing by missing one.
pub const SEEDS_FOR_CASES: u64 = 50;

/// The exit code of a batch, by the worst thing that happened.
#[must_use]
pub fn exit_code(batch: &Batch, summary: &Summary) -> u8 {
    let failures = || summary.failures.values();
    if failures().any(|failure| matches!(failure.report.verdict, Verdict::Harness(_))) {
        5
    } else if failures().any(|failure| failure.report.verdict == Verdict::Broken) {
        1
    } else if failures().any(|failure| failure.report.verdict == Verdict::NotAtRest) {
        2
    } else if failures().any(|failure| failure.divergence.is_some()) {
        3
    } else if summary.seeds >= SEEDS_FOR_CASES && !summary.counts.missing(batch.scenario.name()).is_empty() {
        4
    } else {
        0
    }
}

/// The failures, the lowest seed first, each with what to paste.
#[must_use]
pub fn failures(batch: &Batch, summary: &Summary) -> String {
    let mut text = String::new();
    for (seed, failure) in &summary.failures {
        let name = batch.scenario.name();
        let after = seed.wrapping_sub(batch.start) + 1;
        let oracle = oracle(failure);
        let what = failure.report.violations.first().map_or_else(
            || match &failure.report.verdict {
                Verdict::Harness(error) => error.clone(),
                _ => "two runs of one seed differ".to_owned(),
            },
            |violation| format!("at {:.3} s: {}", violation.at.as_secs_f64(), violation.text),
        );
        let _ = writeln!(
            text,
            "violation: scenario={name} seed={seed} after={after} oracle={oracle} {what}"
        );
        for other in failure.report.violations.iter().skip(1).take(5) {
            let _ = writeln!(text, "  also {}: {}", other.invariant, other.text);
        }
        if let Some(divergence) = &failure.divergence {
            text.push_str(&diverged(divergence));
        }
        let _ = writeln!(
            text,
            "  replay:  cargo xtask sim replay {seed} --scenario {name} --trace"
        );
    }
    text
}

/// The event at which two runs of one seed part.
#[must_use]
pub fn diverged(divergence: &Divergence) -> String {
    let show = |event: &Option<_>| {
        event
            .as_ref()
            .map_or_else(|| "nothing".to_owned(), |event| format!("{event:?}"))
    };
    let Divergence { at, one, two } = divergence;
    format!(
        "  the runs part at event {at}:\n    {}\n    {}\n",
        show(one),
        show(two)
    )
}

fn oracle(failure: &Failure) -> &str {
    match (&failure.report.verdict, failure.report.violations.first()) {
        (_, Some(violation)) => &violation.invariant,
        (Verdict::Harness(_), None) => "harness",
        (_, None) => "I23",
    }
}

/// One line per scenario, then one per case.
#[must_use]
pub fn table(batches: &[(Batch, Summary)]) -> String {
    let mut text = format!(
        "\n{:<10} {:>6} {:>7} {:>6} {:>12} {:>8} {:>10} {:>11}\n",
        "scenario", "seeds", "failed", "twice", "connections", "events", "simulated", "real/seed"
    );
    for (batch, summary) in batches {
        let seeds = u32::try_from(summary.seeds.max(1)).unwrap_or(u32::MAX);
        let _ = writeln!(
            text,
            "{:<10} {:>6} {:>7} {:>6} {:>12} {:>7}k {:>8} s {:>8} ms",
            batch.scenario.name(),
            summary.seeds,
            summary.failures.len(),
            summary.twice,
            summary.connections,
            summary.events / 1000,
            summary.simulated.as_secs(),
            (summary.real / seeds).as_millis(),
        );
    }
    let _ = write!(text, "\n{:<6} {:<18}", "oracle", "case");
    for (batch, _) in batches {
        let _ = write!(text, " {:>10}", batch.scenario.name());
    }
    text.push('\n');
    for case in CASES {
        let _ = write!(text, "{:<6} {:<18}", case.invariant, case.name);
        for (batch, summary) in batches {
            let count = summary.counts.count(case.name);
            let wanted = case.scenarios.contains(&batch.scenario.name());
            let shown = match (count, wanted) {
                (0, true) => "NEVER".to_owned(),
                (0, false) => "-".to_owned(),
                _ => count.to_string(),
            };
            let _ = write!(text, " {shown:>10}");
        }
        let _ = writeln!(text, "  {}", case.what);
    }
    text
}

/// Writes a summary, and for each failure its plan and its last events.
///
/// # Errors
///
/// When the folder cannot be written.
pub fn json(folder: &Path, batches: &[(Batch, Summary)]) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut all = Vec::new();
    for (batch, summary) in batches {
        let name = batch.scenario.name();
        let cases: serde_json::Map<_, _> = CASES
            .iter()
            .map(|case| (case.name.to_owned(), json!(summary.counts.count(case.name))))
            .collect();
        all.push(json!({
            "scenario": name,
            "seed_start": batch.start,
            "seeds": summary.seeds,
            "twice": summary.twice,
            "failed": summary.failures.keys().collect::<Vec<_>>(),
            "connections": summary.connections,
            "events": summary.events,
            "simulated_s": summary.simulated.as_secs_f64(),
            "real_s": summary.real.as_secs_f64(),
            "exit": exit_code(batch, summary),
            "cases": cases,
        }));
        for (seed, failure) in &summary.failures {
            let failure = json!({
                "plan": Scene::draw(batch.scenario, *seed),
                "verdict": failure.report.verdict,
                "violations": failure.report.violations,
                "events": failure.report.events.iter().map(|event| format!("{event:?}")).collect::<Vec<_>>(),
            });
            write(&folder.join(format!("{name}-{seed}.json")), &failure)?;
        }
    }
    write(&folder.join("summary.json"), &json!(all))
}

#[expect(clippy::disallowed_methods, reason = "no event loop runs here")]
fn write(path: &Path, value: &serde_json::Value) -> io::Result<()> {
    std::fs::write(path, format!("{value:#}\n"))
}
