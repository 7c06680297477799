//! The project's own commands: `cargo xtask test | tidy | sim | explore | clients | conformance | browser | torture | measure`.
//!
//! Nothing here depends on a crate of the workspace, so that `cargo xtask` builds in seconds and
//! still runs when the crates do not compile.
#![forbid(unsafe_code)]
#![expect(
    clippy::disallowed_methods,
    reason = "the bans protect code that runs in the simulator; this program starts processes and reads files"
)]

mod bench;
mod browser;
mod clients;
mod conformance;
mod copy;
mod explore;
mod fuzz;
mod measure;
mod mutants;
mod process;
mod sim;
mod spec;
mod steps;
mod test;
mod tidy;
mod torture;
mod venv;
mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use workspace::Workspace;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Weirline's own commands."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything a change must pass, in order; ends with the line `N passed, N failed`
    Test(test::Options),
    /// The rules that no compiler checks: dependency arrows, purity, sizes, documents
    Tidy,
    /// The simulator; `cargo xtask sim help` lists what it can do, `sim mutants` tests the simulator itself
    #[command(disable_help_flag = true)]
    Sim {
        /// Handed on to the simulator's own command line
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// The session machines, breadth first within small bounds; `explore mutants` takes their rules out, one at a time
    #[command(disable_help_flag = true)]
    Explore {
        /// Handed on to the search's own command line
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Clients written by others, cut by a proxy, against the release binary
    Clients(clients::Options),
    /// Autobahn's cases against our server and our client
    Conformance(conformance::Options),
    /// Chromium as a client of the release binary
    Browser(browser::Options),
    /// The server is killed under load, again and again, and nothing that was acknowledged may be lost
    Torture(torture::Options),
    /// System calls, memory, resistance to floods, instructions: measured on the real server, each beside its bar
    Measure(measure::Options),
    /// Our libraries beside those of others
    Bench(bench::Options),
    /// Every MUST of RFC 6455: where it is kept, what proves it, and whether that would notice
    Spec(spec::Options),
    /// Fuzz targets under libFuzzer, with the stable compiler; ends with a table
    Fuzz(fuzz::Options),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let workspace = match Workspace::find() {
        Ok(workspace) => workspace,
        Err(error) => return fail(&error),
    };
    match cli.command {
        Command::Test(options) => test::run(&workspace, &options),
        Command::Tidy => report(tidy::run(&workspace)),
        Command::Sim { arguments } => sim::run(&workspace, &arguments),
        Command::Explore { arguments } => {
            explore::run(&workspace, &arguments).unwrap_or_else(|error| fail(&error))
        }
        Command::Clients(options) => report(clients::run(&workspace, &options)),
        Command::Conformance(options) => report(conformance::run(&workspace, &options)),
        Command::Browser(options) => report(browser::run(&workspace, &options)),
        Command::Torture(options) => report(torture::run(&workspace, &options)),
        Command::Measure(options) => report(measure::run(&workspace, &options)),
        Command::Bench(options) => report(bench::run(&workspace, &options)),
        Command::Spec(options) => report(spec::run(&workspace, &options)),
        Command::Fuzz(options) => report(fuzz::run(&workspace, &options)),
    }
}

fn report(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &str) -> ExitCode {
    eprintln!("xtask: {error}");
    ExitCode::FAILURE
}
