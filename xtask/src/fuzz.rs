//! The fuzz crate stands outside the workspace (it needs its own lock file), so nothing else checks it.

use crate::process::Run;
use crate::workspace::Workspace;

/// Type-checks the fuzz targets with warnings denied; fuzzing itself needs a nightly compiler, this does not.
pub(crate) fn check(workspace: &Workspace) -> Result<(), String> {
    let manifest = workspace.root().join("fuzz/Cargo.toml");
    if !manifest.is_file() {
        return Err("fuzz/Cargo.toml is missing".into());
    }
    command(workspace).check()
}

/// Shares the workspace's target directory: dependencies that agree in version and features are not checked twice.
pub(crate) fn command(workspace: &Workspace) -> Run {
    Run::cargo(workspace.root())
        .args(["check", "--locked", "--manifest-path", "fuzz/Cargo.toml"])
        .env("CARGO_TARGET_DIR", workspace.target())
}
