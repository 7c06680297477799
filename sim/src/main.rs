//! The simulator's program; `cargo xtask sim` builds and runs it.

use std::process::ExitCode;

use clap::Parser as _;
use weirline_sim::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(what) = weirline_sim::startup_check() {
        eprintln!("{what}");
        return ExitCode::from(5);
    }
    ExitCode::from(cli.run())
}
