//! Instructions of a part of this program, counted by valgrind.

use std::process::Command;

use crate::Outcome;

/// Runs this program again with `arguments`, and says how many instructions that took.
pub(crate) fn instructions(arguments: &[&str]) -> Outcome<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(arguments)
        .output()?;
    let report = String::from_utf8_lossy(&output.stderr);
    let line = report.lines().find_map(|line| line.split("Collected :").nth(1));
    match line {
        Some(figure) if output.status.success() => Ok(figure.trim().parse()?),
        _ => Err(format!("valgrind failed: {report}").into()),
    }
}
