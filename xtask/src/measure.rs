//! `cargo xtask measure`: the figures that are measured on the real server, each beside its bar.

use crate::process::Run;
use crate::workspace::Workspace;

/// What is measured when nothing is named. All but the last two start the server.
const ALL: [&str; 9] = [
    "syscalls",
    "idle",
    "subscribers",
    "attacks",
    "churn",
    "fairness",
    "hostile",
    "pipe",
    "bytewise",
];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// What to measure; everything by default
    #[arg(value_parser = ALL)]
    what: Vec<String>,
}

/// Builds server and load generator in release, and measures; the first figure over its bar is an error.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), String> {
    Run::cargo(workspace.root())
        .args([
            "build",
            "--locked",
            "--release",
            "--package",
            "weirline",
            "--package",
            "weirline-benches",
        ])
        .check()?;
    let server = Workspace::binary(workspace.target(), "release", "weirline");
    let measure = Workspace::binary(workspace.target(), "release", "measure");
    let named = options.what.iter().map(String::as_str);
    let what: Vec<&str> = if options.what.is_empty() {
        ALL.to_vec()
    } else {
        named.collect()
    };
    for name in what {
        println!("== {name}");
        let run = Run::new(&measure, workspace.root());
        let run = match name {
            "pipe" | "bytewise" => run.args([name]),
            "subscribers" => run
                .args(["idle", "--kind", "subscriber", "--server"])
                .args([&server]),
            other => run.args([other, "--server"]).args([&server]),
        };
        run.check()?;
    }
    Ok(())
}
