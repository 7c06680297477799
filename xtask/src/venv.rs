//! The pinned Python and Node packages of the independent clients, installed below the target directory.

use std::path::{Path, PathBuf};

use crate::process::Run;
use crate::workspace::Workspace;

const PYTHON_CHECK: &str =
    "import sys; sys.exit(None if sys.version_info >= (3, 11) else 'Python 3.11 or later is needed')";

/// The interpreters, with their packages in place.
pub(crate) struct Installed {
    pub(crate) python: PathBuf,
    /// A folder that holds `node_modules` and links to our scripts.
    pub(crate) node_folder: PathBuf,
}

/// Installs what is missing; does nothing when the pins have not changed since the last time.
pub(crate) fn install(workspace: &Workspace) -> Result<Installed, String> {
    let clients = workspace.root().join("tests/clients");
    let target = workspace.target().join("clients");
    let node = target.join("node");
    std::fs::create_dir_all(&node).map_err(|error| format!("{}: {error}", node.display()))?;
    let python = python(workspace.root(), &clients, &target)?;
    node_packages(&clients, &node)?;
    Ok(Installed {
        python,
        node_folder: node,
    })
}

/// A Python with what `pinned/requirements.txt` names, in `target/venv`; returns the interpreter.
pub(crate) fn python(root: &Path, pinned: &Path, target: &Path) -> Result<PathBuf, String> {
    let venv = target.join("venv");
    let python = venv.join("bin/python");
    let pins = read(&pinned.join("requirements.txt"))?;
    if !python.exists() {
        // Never installed, or the interpreter that it links to is gone.
        let _ = std::fs::remove_dir_all(&venv);
    }
    once(&venv, &pins, || {
        println!("installing Python packages into {}", venv.display());
        Run::new("python3", root)
            .args(["-c", PYTHON_CHECK])
            .check_quietly()?;
        Run::new("python3", root)
            .args(["-m", "venv", "--clear"])
            .args([&venv])
            .check_quietly()?;
        Run::new(&python, pinned)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
                "-r",
                "requirements.txt",
            ])
            .check_quietly()
            .map(drop)
    })?;
    Ok(python)
}

fn node_packages(clients: &Path, node: &Path) -> Result<(), String> {
    let mut pins = String::new();
    for name in ["package.json", "package-lock.json", ".npmrc"] {
        let text = read(&clients.join(name))?;
        write(&node.join(name), &text)?;
        pins.push_str(&text);
    }
    once(&node.join("node_modules"), &pins, || {
        println!("installing the Node clients into {}", node.display());
        Run::new("npm", node)
            .args(["ci", "--no-audit", "--no-fund"])
            .check_quietly()
            .map(drop)
    })
}

/// Runs `install` unless `folder` carries a stamp with exactly these pins. The stamp is written last: an
/// installation that was interrupted is done again.
pub(crate) fn once(
    folder: &Path,
    pins: &str,
    install: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let stamp = folder.join(".weirline-pins");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == pins) {
        return Ok(());
    }
    install()?;
    write(&stamp, pins)
}

pub(crate) fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_installed_again_only_when_the_pins_change() {
        let folder = std::env::temp_dir().join(format!("weirline-xtask-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut installed = 0;
        for pins in ["a==1", "a==1", "a==2"] {
            once(&folder, pins, || {
                installed += 1;
                Ok(())
            })
            .unwrap();
        }
        let failed = once(&folder, "a==3", || Err("no network".into()));
        let again = once(&folder, "a==3", || {
            installed += 1;
            Ok(())
        });
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!((installed, failed.is_err(), again), (3, true, Ok(())));
    }
}
