//! `cargo xtask bench`: our libraries beside others.
//!
//! The comparison stands outside the workspace, since nothing else needs the peers.

use std::path::PathBuf;

use crate::process::Run;
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Echo servers of Weirline and of its peers, each on one thread: CPU, instructions and memory, with a picture
    Peers(Peers),
}

#[derive(clap::Args)]
struct Peers {
    /// Only see whether everything works; the figures mean nothing
    #[arg(long)]
    quick: bool,
    /// Where `peers.json` and `peers.svg` go [default: bench/ in the target directory]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Fail where a bar is missed
    #[arg(long)]
    check: bool,
    /// Handed on to the load generator: `--rounds N`, `--cells 1,3`, `--servers NAME,NAME`, `--skip cpu,instructions,idle`
    #[arg(last = true)]
    more: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), String> {
    match &options.what {
        What::Peers(options) => peers(workspace, options),
    }
}

/// Tests the load generator, builds everything in release, and compares.
fn peers(workspace: &Workspace, options: &Peers) -> Result<(), String> {
    cargo(workspace, "build").args(["--release"]).check()?;
    let target = workspace.target().join(TARGET);
    let out = match &options.out {
        Some(out) => out.clone(),
        None => workspace.target().join("bench"),
    };
    let program = |name| Workspace::binary(&target, "release", name);
    let mut run = Run::new(program("peer-load"), workspace.root())
        .args(["--server".into(), program("peer-server")])
        .args(["--out".into(), out]);
    if options.quick {
        run = run.args(["--quick"]);
    }
    if options.check {
        run = run.args(["--check"]);
    }
    run.args(&options.more).check()
}

/// Lints and tests the comparison itself, and lets each server echo: nothing else of the project builds it.
pub(crate) fn check(workspace: &Workspace) -> Result<(), String> {
    cargo(workspace, "clippy")
        .args(["--all-targets", "--", "-D", "warnings"])
        .check()?;
    cargo(workspace, "test").check()
}

/// A folder of its own within the target directory, so that builds with other features do not push each other out.
const TARGET: &str = "peers";

fn cargo(workspace: &Workspace, command: &str) -> Run {
    Run::cargo(workspace.root())
        .args([command, "--locked", "--manifest-path", "benches/peers/Cargo.toml"])
        .env("CARGO_TARGET_DIR", workspace.target().join(TARGET))
}
