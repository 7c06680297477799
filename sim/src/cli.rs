//! The command line, as `cargo xtask sim` forwards it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::batch::{Batch, Summary, diverge};
use crate::plan::Scenario;
use crate::report;
use crate::run::{Verdict, run};
use crate::scene::Scene;
use crate::trace::Keep;

/// Runs Weirline in a simulated network. Without a command: every scenario for a minute or two.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask sim", bin_name = "cargo xtask sim", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists the scenarios and the cases that each must reach
    List,
    /// Runs seeds of one scenario or of all
    Run(RunArgs),
    /// Runs one seed, or a plan from a file, again
    Replay(ReplayArgs),
    /// Prints the plan of a seed as JSON, to be edited and given to `replay`
    Plan {
        /// The seed
        seed: u64,
        /// The scenario
        #[arg(long, value_enum, default_value_t = Scenario::Smoke)]
        scenario: Scenario,
    },
    /// Runs the closing cases over the simulated network and over loopback sockets; differences must be known
    Conform {
        /// Print what both ends of each case saw
        #[arg(long)]
        all: bool,
    },
    /// Runs each seed twice and compares the traces
    CheckDeterminism {
        /// Seeds per scenario
        #[arg(long, default_value_t = 200)]
        seeds: u64,
        /// The first seed
        #[arg(long, default_value_t = 0)]
        seed_start: u64,
        /// One scenario only
        #[arg(long, value_enum)]
        scenario: Option<Scenario>,
        /// Worlds at a time
        #[arg(long, default_value_t = cores())]
        jobs: usize,
    },
}

#[derive(Debug, Args)]
struct RunArgs {
    /// One scenario only
    #[arg(long, value_enum)]
    scenario: Option<Scenario>,
    /// Seeds per scenario
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    seed_start: u64,
    /// No seed begins after so many minutes per scenario; without --seeds, seeds go on until then
    #[arg(long)]
    minutes: Option<u64>,
    /// Worlds at a time
    #[arg(long, default_value_t = cores())]
    jobs: usize,
    /// Go on after a failure
    #[arg(long)]
    keep_going: bool,
    /// Write a summary, and a file for each failure, into this folder
    #[arg(long, value_name = "DIR")]
    json: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ReplayArgs {
    /// A seed, or a file with a plan
    what: String,
    /// The scenario of the seed
    #[arg(long, value_enum, default_value_t = Scenario::Smoke)]
    scenario: Scenario,
    /// Print every event
    #[arg(long)]
    trace: bool,
    /// Print the logs of the shipped crates to stderr, by a filter such as `debug` or `weirline_client=trace`
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

/// Seeds per scenario of a run without arguments.
const SEEDS: u64 = 500;
/// Every n-th seed of a run is run twice.
const TWICE_EVERY: u64 = 20;

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Cli {
    /// Does what was asked; the exit code.
    #[must_use]
    pub fn run(self) -> u8 {
        match self.command {
            None => run_all(&RunArgs {
                scenario: None,
                seeds: Some(SEEDS),
                seed_start: 0,
                minutes: None,
                jobs: cores(),
                keep_going: false,
                json: None,
            }),
            Some(Command::List) => list(),
            Some(Command::Run(args)) => run_all(&args),
            Some(Command::Replay(args)) => replay(&args),
            Some(Command::Plan { seed, scenario }) => {
                println!(
                    "{}",
                    serde_json::to_string_pretty(&Scene::draw(scenario, seed)).unwrap_or_default()
                );
                0
            }
            Some(Command::Conform { all }) => conform(all),
            Some(Command::CheckDeterminism {
                seeds,
                seed_start,
                scenario,
                jobs,
            }) => check_determinism(seeds, seed_start, scenario, jobs),
        }
    }
}

fn scenarios(one: Option<Scenario>) -> Vec<Scenario> {
    one.map_or_else(|| Scenario::ALL.to_vec(), |one| vec![one])
}

fn list() -> u8 {
    for scenario in Scenario::ALL {
        println!("{:<10} {}", scenario.name(), scenario.about());
        for case in crate::cases::CASES
            .iter()
            .filter(|case| case.scenarios.contains(&scenario.name()))
        {
            println!("  {:<6} {:<18} {}", case.invariant, case.name, case.what);
        }
    }
    0
}

fn run_all(args: &RunArgs) -> u8 {
    let seeds = match (args.seeds, args.minutes) {
        (Some(seeds), _) => seeds,
        (None, Some(_)) => u64::MAX,
        (None, None) => SEEDS,
    };
    let mut batches: Vec<(Batch, Summary)> = Vec::new();
    for scenario in scenarios(args.scenario) {
        let batch = Batch {
            scenario,
            start: args.seed_start,
            seeds,
            time_max: args.minutes.map(|minutes| Duration::from_secs(60 * minutes)),
            jobs: args.jobs.max(1),
            keep_going: args.keep_going,
            twice_every: TWICE_EVERY,
        };
        let summary = batch.run();
        print!("{}", report::failures(&batch, &summary));
        let stop = !summary.failures.is_empty() && !args.keep_going;
        batches.push((batch, summary));
        if stop {
            break;
        }
    }
    finish(&batches, args.json.as_deref())
}

fn finish(batches: &[(Batch, Summary)], json: Option<&std::path::Path>) -> u8 {
    print!("{}", report::table(batches));
    let mut code = 0;
    for (batch, summary) in batches {
        let this = report::exit_code(batch, summary);
        if this == 4 {
            let missing = summary.counts.missing(batch.scenario.name());
            let names: Vec<_> = missing
                .iter()
                .map(|case| format!("{} ({})", case.name, case.invariant))
                .collect();
            println!("{}: never arose: {}", batch.scenario.name(), names.join(", "));
        }
        if code == 0 {
            code = this;
        }
    }
    if let Some(folder) = json
        && let Err(error) = report::json(folder, batches)
    {
        eprintln!("{}: {error}", folder.display());
        return 5;
    }
    code
}

fn check_determinism(seeds: u64, start: u64, scenario: Option<Scenario>, jobs: usize) -> u8 {
    let mut batches = Vec::new();
    for scenario in scenarios(scenario) {
        let jobs = jobs.max(1);
        let batch = Batch {
            scenario,
            start,
            seeds,
            time_max: None,
            jobs,
            keep_going: true,
            twice_every: 1,
        };
        let mut summary = batch.run();
        summary.failures.retain(|_, failure| failure.divergence.is_some());
        print!("{}", report::failures(&batch, &summary));
        println!(
            "{:<10} {} of {} seeds had the same trace twice",
            scenario.name(),
            summary.twice,
            summary.seeds
        );
        batches.push((batch, summary));
    }
    if batches.iter().all(|(_, summary)| summary.failures.is_empty()) {
        0
    } else {
        3
    }
}

fn conform(all: bool) -> u8 {
    match crate::conform::run(all) {
        Ok(outcome) => {
            print!("{}", outcome.text);
            for violation in &outcome.violations {
                println!("violation: {violation}");
            }
            u8::from(outcome.unexplained > 0 || !outcome.violations.is_empty())
        }
        Err(error) => {
            eprintln!("{error}");
            5
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "no event loop runs here")]
fn plan_of(args: &ReplayArgs) -> Result<Scene, String> {
    if let Ok(seed) = args.what.parse() {
        return Ok(Scene::draw(args.scenario, seed));
    }
    let bytes = std::fs::read(&args.what).map_err(|error| format!("{}: {error}", args.what))?;
    serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", args.what))
}

fn replay(args: &ReplayArgs) -> u8 {
    let plan = match plan_of(args) {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("{error}");
            return 5;
        }
    };
    if let Some(filter) = &args.log {
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .without_time()
            .with_writer(std::io::stderr)
            .init();
    }
    let report = run(&plan, if args.trace { Keep::All } else { Keep::Last });
    if args.trace {
        for event in &report.events {
            println!("{event:?}");
        }
    }
    println!(
        "{:?}: {} events, {:.3} s simulated, {} connections, trace {}",
        report.verdict,
        report.events_total,
        report.simulated.as_secs_f64(),
        report.connections,
        report.hash
    );
    for violation in &report.violations {
        println!(
            "{} at {:.3} s: {}",
            violation.invariant,
            violation.at.as_secs_f64(),
            violation.text
        );
    }
    if args.log.is_none()
        && let Some(divergence) = diverge(&plan)
    {
        print!("{}", report::diverged(&divergence));
        return 3;
    }
    match report.verdict {
        Verdict::Good => 0,
        Verdict::Broken => 1,
        Verdict::NotAtRest => 2,
        Verdict::Harness(_) => 5,
    }
}
