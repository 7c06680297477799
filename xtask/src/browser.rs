//! `cargo xtask browser`: Chromium as a client of the release binary.

use std::path::{Path, PathBuf};

use crate::process::Run;
use crate::venv;
use crate::workspace::Workspace;

/// Names the browser.
const VARIABLE: &str = "WEIRLINE_CHROMIUM";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Handed on to the Python program, e.g. `-- --screenshot page.png`
    #[arg(last = true)]
    rest: Vec<String>,
}

/// The step of `cargo xtask test`.
pub(crate) fn short(workspace: &Workspace) -> Result<(), String> {
    run(workspace, &Options { rest: Vec::new() })
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), String> {
    let root = workspace.root();
    let chromium = chromium(root)?;
    // Its judge, its proxy and the server with planted bugs are those of the clients.
    let python = venv::python(
        root,
        &root.join("tests/clients"),
        &workspace.target().join("clients"),
    )?;
    Run::cargo(root)
        .args(["build", "--locked", "--release", "--package", "weirline"])
        .env("CARGO_TARGET_DIR", workspace.target())
        .check()?;
    Run::new(&python, root)
        .args(["-B", "-u"])
        .args([root.join("tests/browser/run.py")])
        .args(["--server"])
        .args([Workspace::binary(workspace.target(), "release", "weirline")])
        .args(["--chromium"])
        .args([&chromium])
        .args(["--document"])
        .args([root.join("docs/browser.md")])
        .args(&options.rest)
        .check()
}

/// The browser that is there. It is no package of a language, so it cannot be pinned or installed below `target`.
fn chromium(root: &Path) -> Result<PathBuf, String> {
    let runs = |program: &Path| Run::new(program, root).args(["--version"]).check_quietly();
    if let Some(named) = std::env::var_os(VARIABLE) {
        let named = PathBuf::from(named);
        return runs(&named)
            .map(|_| named)
            .map_err(|error| format!("{VARIABLE}: {error}"));
    }
    let installed = PathBuf::from("chromium");
    if runs(&installed).is_err() {
        install(root).map_err(|error| {
            format!(
                "no Chromium was found: install it, or name it in {VARIABLE}. Debian's was tried: {error}"
            )
        })?;
        runs(&installed)?;
    }
    Ok(installed)
}

/// Debian's package, for a machine whose root runs the tests: an image of a continuous integration.
fn install(root: &Path) -> Result<(), String> {
    let apt = |arguments: &[&str]| {
        Run::new("apt-get", root)
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .check_quietly()
            .map(drop)
    };
    println!("installing Debian's chromium");
    apt(&["update", "--quiet"])?;
    apt(&[
        "install",
        "--yes",
        "--quiet",
        "--no-install-recommends",
        "chromium",
    ])
}
