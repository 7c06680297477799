//! `weirline`: the server, and a resumable client for the shell.

#![forbid(unsafe_code)]

mod cli;
mod descriptors;
mod foreground;
mod log_args;
mod logging;
mod publish;
mod server;
mod signals;
mod streams;
mod tail;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let result = match cli::Cli::parse().command() {
        cli::Command::Dev(args) => server::dev(args).map_err(Into::into),
        cli::Command::Serve(args) => server::serve(args).map_err(Into::into),
        cli::Command::Tail(args) => tail::run(args).map_err(Into::<Error>::into),
        cli::Command::Publish(args) => publish::run(args).map_err(Into::into),
        cli::Command::Streams(args) => streams::run(&args).map_err(Into::into),
    };
    result.unwrap_or_else(|error| {
        eprintln!("weirline: {error}");
        ExitCode::FAILURE
    })
}

type Error = Box<dyn std::error::Error>;
