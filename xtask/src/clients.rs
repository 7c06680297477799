//! `cargo xtask clients`: subscribers and publishers written by others, cut by a proxy, against the release binary.

use crate::process::Run;
use crate::venv;
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Lines of the file that is published
    #[arg(long, default_value_t = 100_000)]
    lines: u32,
    /// Cuts per client
    #[arg(long, default_value_t = 20)]
    cuts: u32,
    /// Decides where and how each connection is cut
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Handed on to the Python program, e.g. `-- --only websockets`
    #[arg(last = true)]
    rest: Vec<String>,
}

/// The step of `cargo xtask test`: a file short enough to wait for, as many cuts as in the long form.
pub(crate) fn short(workspace: &Workspace) -> Result<(), String> {
    run(
        workspace,
        &Options {
            lines: 3_000,
            cuts: 20,
            seed: 1,
            rest: Vec::new(),
        },
    )
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), String> {
    let installed = venv::install(workspace)?;
    Run::cargo(workspace.root())
        .args(["build", "--locked", "--release", "--package", "weirline"])
        .env("CARGO_TARGET_DIR", workspace.target())
        .check()?;
    let server = Workspace::binary(workspace.target(), "release", "weirline");
    let python = |script: &str| {
        Run::new(&installed.python, workspace.root())
            .args(["-B", "-u"])
            .args([workspace.root().join("tests/clients").join(script)])
            .args(["--node-folder"])
            .args([&installed.node_folder])
    };
    python("selftest.py").check()?;
    python("run.py")
        .args(["--server"])
        .args([&server])
        .args(["--lines", &options.lines.to_string()])
        .args(["--cuts", &options.cuts.to_string()])
        .args(["--seed", &options.seed.to_string()])
        .args(&options.rest)
        .check()
}
