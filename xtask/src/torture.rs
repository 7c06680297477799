//! `cargo xtask torture`: the release binary, killed with SIGKILL while clients publish and subscribe.

use crate::process::Run;
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How often the server is killed
    #[arg(long, default_value_t = 100)]
    kills: u32,
}

/// The step of `cargo xtask test`.
pub(crate) fn short(workspace: &Workspace) -> Result<(), String> {
    run(workspace, &Options { kills: 5 })
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), String> {
    Run::cargo(workspace.root())
        .args(["build", "--locked", "--release", "--package", "weirline"])
        .args(["--package", "weirline-benches"])
        .env("CARGO_TARGET_DIR", workspace.target())
        .check()?;
    let server = Workspace::binary(workspace.target(), "release", "weirline");
    Run::new(
        Workspace::binary(workspace.target(), "release", "torture"),
        workspace.root(),
    )
    .args(["--server"])
    .args([&server])
    .args(["--kills", &options.kills.to_string()])
    .check()
}
