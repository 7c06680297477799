//! Explores the shipped session machines exhaustively within small bounds; `README.md` says what is modelled.
#![forbid(unsafe_code)]
#![expect(
    clippy::disallowed_methods,
    reason = "the machines count from some instant, which is read once; and a search says how long it took"
)]

mod action;
mod bounds;
mod hash;
mod log;
mod process;
mod search;
mod world;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;

use action::KINDS;
use bounds::{PROFILES, Profile};
use search::{Found, Search};
use world::{Fixed, World};

#[derive(Parser)]
#[command(
    name = "cargo xtask explore",
    about = "Explores the session machines within small bounds."
)]
struct Options {
    /// States in each profile, unless its bounds end before
    #[arg(long, default_value_t = 5_000_000)]
    states: usize,
    /// Of so many states one is followed, without further faults, to its rest
    #[arg(long, default_value_t = 4)]
    calm_every: u64,
    /// Explores only this profile (may be given several times)
    #[arg(long, value_name = "NAME")]
    profile: Vec<String>,
    /// Lists the profiles with their bounds and does nothing
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.list {
        for profile in PROFILES {
            println!("{:<10} {}", profile.name, profile.what);
            for (kind, bound) in profile.budget.kinds().iter().filter(|(_, bound)| *bound > 0) {
                println!("           {kind:<10} {bound}");
            }
        }
        return ExitCode::SUCCESS;
    }
    let chosen = |profile: &&Profile| {
        options.profile.is_empty() || options.profile.iter().any(|it| it == profile.name)
    };
    if let Some(unknown) = options
        .profile
        .iter()
        .find(|name| PROFILES.iter().all(|it| it.name != *name))
    {
        eprintln!("no profile is called `{unknown}`; --list lists them");
        return ExitCode::from(2);
    }
    // What a machine says when it panics is part of the violation that is told.
    std::panic::set_hook(Box::new(|_| ()));
    let mut states = 0;
    for profile in PROFILES.iter().filter(chosen) {
        match explore(profile, &options) {
            Some(explored) => states += explored,
            None => return ExitCode::FAILURE,
        }
    }
    println!("{states} states, no violation");
    ExitCode::SUCCESS
}

/// One profile; `None` if there is a violation, which is told.
fn explore(profile: &Profile, options: &Options) -> Option<usize> {
    let started = Instant::now();
    let fixed = Arc::new(Fixed::new(started));
    let search = Search::new(World::begin(&fixed, profile), options.calm_every.max(1));
    let found = search.run(options.states, |found| {
        eprint!(
            "\r{}: {} states, depth {} ",
            profile.name, found.states, found.depth
        );
    });
    eprint!("\r");
    println!(
        "{:<8} {:>9} states, {:>10} transitions, depth {:>2} {}, {} followed to rest over {}, {:.1} s",
        profile.name,
        found.states,
        found.transitions,
        found.depth,
        if found.exhausted { "(all)" } else { "(cut off)" },
        found.settled,
        found.calm_states,
        started.elapsed().as_secs_f64()
    );
    if let Some(violation) = &found.violation {
        println!(
            "violation: profile={} states={} steps={} calm={} fault={}",
            profile.name,
            found.states,
            violation.steps.len() - violation.calm,
            violation.calm,
            violation.fault
        );
        for line in search::tell(&fixed, profile, violation) {
            println!("{line}");
        }
        return None;
    }
    println!("         new per step: {:?}", found.layers);
    tell_taken(&found);
    Some(found.states)
}

/// A search that never takes an action proves nothing about it.
fn tell_taken(found: &Found) {
    let taken = KINDS.iter().zip(&found.taken).filter(|(_, times)| **times > 0);
    let taken: Vec<_> = taken
        .map(|((kind, _), times)| format!("{kind:?} {times}"))
        .collect();
    println!("         {}", taken.join(", "));
}
