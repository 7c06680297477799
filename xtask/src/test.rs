//! `cargo xtask test`: the steps in order, what failed, and how to run that alone.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::steps::{self, Step};
use crate::workspace::{self, Workspace};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Runs only this step (may be given several times)
    #[arg(long, value_name = "STEP")]
    only: Vec<String>,
    /// Leaves this step out (may be given several times; refused when CI is set)
    #[arg(long, value_name = "STEP", conflicts_with = "only")]
    skip: Vec<String>,
    /// Stops at the first step that fails
    #[arg(long)]
    fail_fast: bool,
    /// Lists the steps and does nothing
    #[arg(long)]
    list: bool,
}

/// How one step went.
struct Outcome {
    name: &'static str,
    took: Duration,
    error: Option<String>,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> ExitCode {
    if options.list {
        for step in steps::ALL {
            println!("{:<11} {}", step.name, step.what);
        }
        return ExitCode::SUCCESS;
    }
    let chosen = match choose(options, workspace::in_ci()) {
        Ok(chosen) => chosen,
        Err(error) => {
            eprintln!("xtask: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut outcomes: Vec<Outcome> = Vec::new();
    for (index, step) in chosen.iter().enumerate() {
        println!("\n[{}/{}] {}: {}", index + 1, chosen.len(), step.name, step.what);
        let started = Instant::now();
        let error = (step.run)(workspace).err();
        let outcome = Outcome {
            name: step.name,
            took: started.elapsed(),
            error,
        };
        println!("[{}/{}] {}", index + 1, chosen.len(), describe(&outcome));
        let failed = outcome.error.is_some();
        outcomes.push(outcome);
        if failed && options.fail_fast {
            break;
        }
    }
    print!("{}", summary(&outcomes));
    if outcomes.iter().any(|outcome| outcome.error.is_some()) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn choose(options: &Options, in_ci: bool) -> Result<Vec<&'static Step>, String> {
    if in_ci && !options.skip.is_empty() {
        return Err("--skip is refused when CI is set: every step must pass there".into());
    }
    for name in options.only.iter().chain(&options.skip) {
        if steps::ALL.iter().all(|step| step.name != name) {
            return Err(format!(
                "no step is called `{name}`; `cargo xtask test --list` lists them"
            ));
        }
    }
    Ok(steps::ALL
        .iter()
        .filter(|step| options.only.is_empty() || options.only.iter().any(|name| name == step.name))
        .filter(|step| options.skip.iter().all(|name| name != step.name))
        .collect())
}

fn describe(outcome: &Outcome) -> String {
    let seconds = outcome.took.as_secs_f64();
    match &outcome.error {
        None => format!("{} passed in {seconds:.1} s", outcome.name),
        Some(error) => format!(
            "{name} FAILED after {seconds:.1} s: {error}\n    this step alone: cargo xtask test --only {name}",
            name = outcome.name
        ),
    }
}

/// The table at the end; its last line is the plain one that scripts count.
fn summary(outcomes: &[Outcome]) -> String {
    let mut text = String::from("\n");
    let total: Duration = outcomes.iter().map(|outcome| outcome.took).sum();
    for outcome in outcomes {
        let verdict = if outcome.error.is_none() { "ok" } else { "FAILED" };
        let _ = writeln!(
            text,
            "{:<11} {:>8.1} s  {verdict}",
            outcome.name,
            outcome.took.as_secs_f64()
        );
    }
    let _ = writeln!(text, "{:<11} {:>8.1} s", "all", total.as_secs_f64());
    for outcome in outcomes.iter().filter(|outcome| outcome.error.is_some()) {
        let _ = writeln!(
            text,
            "failed: {name}; this step alone: cargo xtask test --only {name}",
            name = outcome.name
        );
    }
    let failed = outcomes.iter().filter(|outcome| outcome.error.is_some()).count();
    let _ = writeln!(text, "{} passed, {failed} failed", outcomes.len() - failed);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(only: &[&str], skip: &[&str]) -> Options {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Options {
            only: owned(only),
            skip: owned(skip),
            fail_fast: false,
            list: false,
        }
    }

    fn names(options: &Options, in_ci: bool) -> Result<Vec<&'static str>, String> {
        choose(options, in_ci).map(|steps| steps.iter().map(|step| step.name).collect())
    }

    #[test]
    fn steps_are_chosen_by_name_and_stay_in_order() {
        assert_eq!(names(&options(&[], &[]), true).unwrap().len(), steps::ALL.len());
        assert_eq!(
            names(&options(&["tidy", "fmt"], &[]), true).unwrap(),
            ["fmt", "tidy"]
        );
        assert!(!names(&options(&[], &["fmt"]), false).unwrap().contains(&"fmt"));
    }

    #[test]
    fn an_unknown_step_is_refused() {
        assert!(names(&options(&["fnt"], &[]), false).is_err());
    }

    #[test]
    fn nothing_is_skipped_in_ci() {
        assert!(names(&options(&[], &["clients"]), true).is_err());
    }

    #[test]
    fn the_last_line_counts_steps() {
        let outcome = |name, error: Option<&str>| Outcome {
            name,
            took: Duration::from_millis(1500),
            error: error.map(String::from),
        };
        let text = summary(&[
            outcome("fmt", None),
            outcome("tidy", Some("bad")),
            outcome("doc", None),
        ]);
        assert_eq!(text.lines().last(), Some("2 passed, 1 failed"));
        assert!(text.contains("cargo xtask test --only tidy"), "{text}");
    }
}
