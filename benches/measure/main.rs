//! Measurements of the real server from outside: system calls, memory, resistance to attacks; and of the driver's
//! instructions. `cargo xtask measure` builds the server and runs them all.
//!
//! The load generator uses blocking sockets and frames of its own, none of what it measures.
#![forbid(unsafe_code)]
#![expect(clippy::disallowed_methods, reason = "measures real processes, in real time")]

mod attacks;
mod bytewise;
mod callgrind;
mod churn;
mod client;
mod fairness;
mod hostile;
mod idle;
mod pipe;
mod server;
mod syscalls;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "measure", about = "Measures the server from outside.")]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// System calls of the server per echoed message at pipeline depth 16 (needs strace)
    Syscalls(Server),
    /// Memory of the server per idle connection
    Idle {
        #[command(flatten)]
        server: Server,
        #[arg(long, default_value_t = 10_000)]
        connections: usize,
        #[arg(long, value_enum, default_value = "echo")]
        kind: idle::Kind,
    },
    /// Floods and lies: memory must stay where it is
    Attacks(Server),
    /// 50,000 connections that are reset and 50,000 that are closed: descriptors, tasks and memory afterwards
    Churn(Server),
    /// What a connection with endless input costs its neighbour on the same worker
    Fairness(Server),
    /// 2000 drippers, 3000 shut windows, pings without end: when they are gone, and what a healthy client notices
    Hostile(Server),
    /// Instructions per MiB of sending one message through a pipe of 64 KiB, at 16 and 256 MiB (needs valgrind)
    Pipe,
    /// The work that `pipe` counts: sends one message of so many MiB
    PipeOnce { mebibytes: usize },
    /// Instructions per byte of a head or a frame that comes byte by byte, small and large (needs valgrind)
    Bytewise,
    /// The work that `bytewise` counts: feeds so many bytes, so many times
    BytewiseOnce {
        #[arg(value_enum)]
        what: bytewise::What,
        bytes: usize,
        times: usize,
    },
}

/// The server to be measured.
#[derive(clap::Args)]
struct Server {
    /// The `weirline` binary
    #[arg(long)]
    server: PathBuf,
}

fn main() -> ExitCode {
    let result = match Cli::parse().what {
        What::Syscalls(Server { server }) => syscalls::run(&server),
        What::Idle {
            server: Server { server },
            connections,
            kind,
        } => idle::run(&server, connections, kind),
        What::Attacks(Server { server }) => attacks::run(&server),
        What::Churn(Server { server }) => churn::run(&server),
        What::Fairness(Server { server }) => fairness::run(&server),
        What::Hostile(Server { server }) => hostile::run(&server),
        What::Pipe => pipe::compare(),
        What::PipeOnce { mebibytes } => pipe::once(mebibytes),
        What::Bytewise => bytewise::compare(),
        What::BytewiseOnce { what, bytes, times } => bytewise::once(what, bytes, times),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("measure: {error}");
            ExitCode::FAILURE
        }
    }
}

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Prints a figure beside its bar, and fails where it is over.
fn judge(name: &str, figure: f64, bar: f64, unit: &str) -> Outcome {
    println!("{name}: {figure:.3} {unit} (bar: at most {bar} {unit})");
    if figure <= bar {
        Ok(())
    } else {
        Err(format!("{name}: {figure:.3} is over the bar of {bar} {unit}").into())
    }
}
