//! Kills the real server with SIGKILL again and again, while clients publish and subscribe, and then compares what was acknowledged with
//! what is there. `cargo xtask torture` builds both in release and runs it.
//!
//! Each publisher counts up in a stream of its own and in one that all share; each stream has a subscriber from its beginning. In
//! the end every stream must hold every number of each of its publishers once and in order; no subscriber may be told of a gap, of a
//! reset, or of anything that was lost.
#![forbid(unsafe_code)]
#![expect(clippy::disallowed_methods, reason = "kills real processes, in real time")]

mod load;
mod process;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

use load::{Load, Totals};
use process::Server;

#[derive(Parser)]
#[command(
    name = "torture",
    about = "Kills the server under load, and looks for what is lost."
)]
struct Options {
    /// The server's binary
    #[arg(long)]
    server: PathBuf,
    /// How often it is killed
    #[arg(long, default_value_t = 100)]
    kills: u32,
    /// How many clients publish to streams of their own; as many publish to one that they share
    #[arg(long, default_value_t = 4)]
    publishers: u16,
    /// Bytes of a message
    #[arg(long, default_value_t = 256)]
    size: usize,
}

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("torture: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Outcome<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    tokio::task::LocalSet::new().block_on(&runtime, torture(options))
}

async fn torture(options: &Options) -> Outcome<String> {
    let mut server = Server::start(&options.server)?;
    let load = Load::start(server.address(), options.publishers, options.size).await?;
    let started = Instant::now();
    let mut slowest = Duration::ZERO;
    for kill in 1..=options.kills {
        // Each time another point: after nothing at all, in the middle of a batch, in a checkpoint.
        let pause = PAUSES_MS[kill as usize % PAUSES_MS.len()];
        load.progress(PROGRESS)
            .await
            .map_err(|error| format!("before kill {kill}: {error}"))?;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let opening = server.kill_and_start()?;
        slowest = slowest.max(opening);
        load.check()
            .map_err(|error| format!("after kill {kill}: {error}"))?;
        if kill % 20 == 0 {
            println!("{kill} kills, {} messages acknowledged", load.acknowledged());
        }
    }
    let acknowledged = load.acknowledged();
    let Totals { published, delivered } = load.finish().await?;
    server.stop()?;
    Ok(format!(
        "{} kills in {:.1} s: {acknowledged} messages acknowledged under fire, {published} in all; {delivered} delivered; \
         0 lost, 0 twice, order kept; the slowest start took {} ms",
        options.kills,
        started.elapsed().as_secs_f64(),
        slowest.as_millis(),
    ))
}

/// Messages that have to be acknowledged between two kills: a server that only restarts proves nothing.
const PROGRESS: u64 = 50;
const PAUSES_MS: [u64; 7] = [0, 3, 17, 50, 111, 230, 400];
