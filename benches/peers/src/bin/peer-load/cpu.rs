//! Server CPU per message.

use std::path::Path;

use crate::Result;
use crate::cell::Cell;
use crate::load::Load;
use crate::server::Server;

/// Rounds between two starts of the servers. Where a process's memory happens to lie makes up to a fifth of the cost of a long message:
/// that is spread, not merit.
const ROUNDS_PER_START: usize = 4;

/// One server under one kind of load.
struct Runner {
    server: Server,
    load: Load,
    messages_per_batch: u64,
    batches: u64,
}

/// For each server the nanoseconds per message of each round, in the order of `names`.
pub(crate) fn measure(
    binary: &Path,
    names: &[&'static str],
    cell: Cell,
    rounds: usize,
    slice_ns: u64,
) -> Result<Vec<Vec<f64>>> {
    let mut runners = Vec::new();
    let mut figures = vec![Vec::with_capacity(rounds); names.len()];
    for round in 0..rounds {
        if round % ROUNDS_PER_START == 0 {
            runners.clear();
            for name in names {
                let started = Runner::start(binary, name, cell, slice_ns);
                runners.push(started.map_err(|error| format!("{name}, {cell}: {error}"))?);
            }
        }
        for turn in 0..runners.len() {
            // Nobody is always the first, and nobody always comes after the same one.
            let turn = if round % 2 == 0 {
                turn
            } else {
                runners.len() - 1 - turn
            };
            let index = (turn + round / 2) % runners.len();
            let figure = runners[index].slice();
            figures[index].push(figure.map_err(|error| format!("{}, {cell}: {error}", names[index]))?);
        }
    }
    Ok(figures)
}

impl Runner {
    /// Starts a server and finds out how many batches make a slice. That warms everything up, too.
    fn start(binary: &Path, name: &str, cell: Cell, slice_ns: u64) -> Result<Self> {
        let server = Server::start(binary, name)?;
        let load = Load::connect(server.address, cell)?;
        let messages_per_batch = (cell.depth * cell.connections) as u64;
        let mut runner = Self {
            server,
            load,
            messages_per_batch,
            batches: 1,
        };
        loop {
            let before = runner.server.cpu_ns()?;
            runner.load.run(runner.batches)?;
            let took = (runner.server.cpu_ns()? - before).max(1);
            if took >= slice_ns / 2 {
                runner.batches = (runner.batches * slice_ns).div_ceil(took);
                return Ok(runner);
            }
            runner.batches *= 2;
        }
    }

    /// Nanoseconds per message.
    fn slice(&mut self) -> Result<f64> {
        let before = self.server.cpu_ns()?;
        self.load.run(self.batches)?;
        let took = self.server.cpu_ns()? - before;
        #[expect(clippy::cast_precision_loss, reason = "below 2^52")]
        Ok(took as f64 / (self.batches * self.messages_per_batch) as f64)
    }
}
