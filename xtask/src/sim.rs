//! `cargo xtask sim`: builds the simulator the one way in which a seed can be replayed, and runs it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::mutants;
use crate::process::Run;
use crate::workspace::Workspace;

/// tokio's own random choices are seeded only under this flag.
pub(crate) const RUSTFLAGS: &str = "--cfg tokio_unstable";

/// The harness itself failed (the simulator's own exit code for that).
const HARNESS_FAILED: u8 = 5;

/// Seeds per scenario in `cargo xtask test`: enough to meet every case that a run must meet, few enough to wait for.
const SHORT_SEEDS: &str = "100";

/// The closing cases take a second or two, most of it in timers.
const CONFORM_LIMIT: Duration = Duration::from_secs(120);

/// A simulator that hangs must not hang everything.
const SHORT_LIMIT: Duration = Duration::from_secs(900);

/// Builds, then forwards arguments and exit code; `sim mutants` is ours.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> ExitCode {
    if arguments.first().is_some_and(|first| first == "mutants") {
        return mutants::command(workspace, &arguments[1..]);
    }
    match build(workspace.root(), &target(workspace), true)
        .and_then(|program| Run::new(program, workspace.root()).args(arguments).status())
    {
        Ok(status) => {
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            code.map_or(ExitCode::from(HARNESS_FAILED), ExitCode::from)
        }
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::from(HARNESS_FAILED)
        }
    }
}

/// The step of `cargo xtask test`.
pub(crate) fn short(workspace: &Workspace) -> Result<(), String> {
    println!("$ cargo xtask sim run --seeds {SHORT_SEEDS}");
    let program = build(workspace.root(), &target(workspace), true)?;
    Run::new(&program, workspace.root())
        .args(["run", "--seeds", SHORT_SEEDS])
        .check_within(SHORT_LIMIT)?;
    println!("$ cargo xtask sim conform");
    Run::new(&program, workspace.root())
        .args(["conform"])
        .check_within(CONFORM_LIMIT)
}

/// A target directory of its own: the flag would rebuild everything in the shared one, back and forth.
fn target(workspace: &Workspace) -> PathBuf {
    workspace.target().join("sim")
}

/// Builds the simulator of the tree at `root`; returns the program.
pub(crate) fn build(root: &Path, target: &Path, shown: bool) -> Result<PathBuf, String> {
    let build = Run::cargo(root)
        .args(["build", "--locked", "--release", "--package", "weirline-sim"])
        .env("RUSTFLAGS", RUSTFLAGS)
        // What the shipped program gains by these, the simulator does not earn back: it is built anew for each mutant.
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_TARGET_DIR", target);
    if shown {
        build.check()?;
    } else {
        build.check_quietly()?;
    }
    Ok(Workspace::binary(target, "release", "weirline-sim"))
}
