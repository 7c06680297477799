//! Where things are: the root, the target directory, the tracked files.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The checkout that `cargo xtask` was called in.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// Finds the root from where cargo says this package lies, or from the current directory.
    ///
    /// The path is looked up when the command runs, never compiled in: the program goes on working when
    /// the checkout was moved.
    pub(crate) fn find() -> Result<Self, String> {
        let start = match std::env::var_os("CARGO_MANIFEST_DIR") {
            Some(directory) => PathBuf::from(directory),
            None => std::env::current_dir().map_err(|error| format!("no current directory: {error}"))?,
        };
        let root = start
            .ancestors()
            .find(|directory| {
                std::fs::read_to_string(directory.join("Cargo.toml"))
                    .is_ok_and(|manifest| manifest.lines().any(|line| line.trim() == "[workspace]"))
            })
            .ok_or_else(|| format!("no workspace manifest at or above {}", start.display()))?
            .to_path_buf();
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(directory) => root.join(directory),
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    #[cfg(test)]
    pub(crate) fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            target: root.join("target"),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// `target/`, or what `CARGO_TARGET_DIR` names.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// A program that cargo built with this profile into `target`.
    pub(crate) fn binary(target: &Path, profile: &str, name: &str) -> PathBuf {
        target
            .join(profile)
            .join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
    }

    /// Files that are tracked or could be (not ignored), relative to the root, with `/`.
    ///
    /// Untracked ones are included so that a mistake shows before it is committed; files that were
    /// deleted in the work tree are left out.
    pub(crate) fn files(&self) -> Result<Vec<String>, String> {
        let output = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(&self.root)
            .output()
            .map_err(|error| format!("git: {error}"))?;
        if !output.status.success() {
            return Err(format!(
                "git ls-files: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            ));
        }
        let mut files: Vec<String> = output
            .stdout
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .filter(|name| self.root.join(name).is_file())
            .collect();
        files.sort();
        files.dedup();
        Ok(files)
    }
}

/// Whether this runs under continuous integration, where nothing may be skipped.
pub(crate) fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}
