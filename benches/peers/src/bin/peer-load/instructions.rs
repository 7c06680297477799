//! Instructions of the server outside the kernel per message, counted by valgrind's callgrind.

use std::io::{ErrorKind, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Result;
use crate::cell::Cell;
use crate::load::Load;
use crate::server::spawn;

const CELL: Cell = Cell::new(16, 16, 1);
const BATCHES: (u64, u64) = (200, 2200);

/// Instructions per message of 16 B at depth 16; `None` where there is no valgrind.
pub(crate) fn measure(binary: &Path, name: &str, quick: bool) -> Result<Option<f64>> {
    let (few, many) = if quick { (10, 110) } else { BATCHES };
    let Some(least) = count(binary, name, few)? else {
        return Ok(None);
    };
    let most = count(binary, name, many)?.ok_or("valgrind is gone")?;
    #[expect(clippy::cast_precision_loss, reason = "below 2^52")]
    Ok(Some(
        most.saturating_sub(least) as f64 / ((many - few) * CELL.depth as u64) as f64,
    ))
}

fn count(binary: &Path, name: &str, batches: u64) -> Result<Option<u64>> {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(binary)
        .args([name, "--once"])
        .stderr(Stdio::piped());
    let (mut child, address) = match spawn(&mut command) {
        Ok(started) => started,
        Err(error) if is_missing(error.as_ref()) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut load = Load::connect(address, CELL)?;
    load.run(batches)?;
    drop(load);
    let mut report = String::new();
    child
        .stderr
        .take()
        .ok_or("no stderr")?
        .read_to_string(&mut report)?;
    child.wait()?;
    let figure = report.lines().find_map(|line| line.split("Collected :").nth(1));
    Ok(Some(figure.ok_or(report.clone())?.trim().parse()?))
}

fn is_missing(error: &(dyn std::error::Error + 'static)) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == ErrorKind::NotFound)
}
