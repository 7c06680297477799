//! Compares echo servers from outside: CPU per message, instructions per message, memory per idle connection. One thread, one
//! core, frames of its own; it uses none of the libraries that it compares.
//!
//! All servers of a cell run at the same time, each with its connections open, and get their slices of load in turn: a noisy
//! machine is noisy for all of them. CPU time is the server's own, from the scheduler's nanosecond account.
#![expect(
    clippy::disallowed_methods,
    reason = "the bans are for code that runs in the simulator"
)]

mod answers;
mod cell;
mod cpu;
mod idle;
mod instructions;
mod load;
mod picture;
mod report;
mod server;
mod statistics;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(name = "peer-load", about = "Compares echo servers.")]
struct Cli {
    /// The `peer-server` binary
    #[arg(long)]
    server: PathBuf,
    /// Where the picture and the figures go
    #[arg(long)]
    out: PathBuf,
    /// Only see whether everything works: short, few connections, figures without a meaning
    #[arg(long)]
    quick: bool,
    /// Slices per server and cell; the pairs of which the medians are taken
    #[arg(long, default_value_t = 40)]
    rounds: usize,
    /// Server CPU time of one slice, in milliseconds
    #[arg(long, default_value_t = 15)]
    slice_ms: u64,
    /// Only these servers, besides weirline
    #[arg(long, value_delimiter = ',')]
    servers: Vec<String>,
    /// Only these cells, counted from 0
    #[arg(long, value_delimiter = ',')]
    cells: Vec<usize>,
    /// Leave these parts out
    #[arg(long, value_delimiter = ',')]
    skip: Vec<Part>,
    /// Idle connections
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// Fail where a bar is missed
    #[arg(long)]
    check: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Cpu,
    Instructions,
    Idle,
}

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The servers in the order of the table. The first two are ours; the floor is no peer.
const SERVERS: [&str; 9] = [
    "weirline",
    "weirline-no-keepalive",
    "floor",
    "tokio-tungstenite",
    "tokio-tungstenite4k",
    "tokio-websockets",
    "tokio-websockets-batched",
    "fastwebsockets",
    "sockudo-ws",
];

/// As in the server; what is compared where only one way of ours is.
const OURS: &str = SERVERS[0];
/// Both ways of ours: as with the peers, the better one counts.
const ALL_OURS: [&str; 2] = [SERVERS[0], SERVERS[1]];
const FLOOR: &str = SERVERS[2];

/// Where the servers run, and where the load.
const SERVER_CORE: usize = 0;
const LOAD_CORE: usize = 1;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peer-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut cli: Cli) -> Result {
    if std::thread::available_parallelism()?.get() < 2 {
        return Err("one core for the server and one for the load are needed".into());
    }
    if cli.quick {
        (cli.rounds, cli.slice_ms, cli.connections) =
            (cli.rounds.min(3), cli.slice_ms.min(2), cli.connections.min(200));
    }
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(LOAD_CORE);
    rustix::thread::sched_setaffinity(None, &cores)?;
    rlimit::increase_nofile_limit(u64::MAX)?;
    std::fs::create_dir_all(&cli.out)?;
    let servers: Vec<&'static str> = SERVERS
        .into_iter()
        .filter(|name| {
            *name == OURS || cli.servers.is_empty() || cli.servers.iter().any(|named| named == name)
        })
        .collect();
    let wanted = |part| !cli.skip.contains(&part);
    let mut report = report::Report::new(&servers, cli.quick);
    if wanted(Part::Cpu) {
        for (index, cell) in cell::ALL.into_iter().enumerate() {
            if cli.cells.is_empty() || cli.cells.contains(&index) {
                let figures =
                    cpu::measure(&cli.server, &servers, cell, cli.rounds, cli.slice_ms * 1_000_000)?;
                report.add_cell(cell, &figures);
            }
        }
    }
    if wanted(Part::Instructions) {
        for name in &servers {
            report.add_instructions(name, instructions::measure(&cli.server, name, cli.quick)?);
        }
    }
    if wanted(Part::Idle) {
        for name in servers.iter().filter(|name| **name != FLOOR) {
            report.add_idle(name, idle::measure(&cli.server, name, cli.connections)?);
        }
    }
    let missed = report.finish(&cli.out)?;
    if cli.check && missed > 0 {
        return Err(format!("{missed} bars missed").into());
    }
    Ok(())
}
