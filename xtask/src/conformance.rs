//! `cargo xtask conformance`: Autobahn's cases against our server and our client, by two suites.

use std::path::{Path, PathBuf};

use crate::process::Run;
use crate::venv;
use crate::workspace::Workspace;

/// Names the interpreter for Autobahn's own suite, which runs on nothing newer.
const PYTHON2_VARIABLE: &str = "WEIRLINE_PYTHON2";

const PYTHON2_CHECK: &str = "import sys; sys.exit(sys.version_info[:2] != (2, 7))";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Runs Autobahn's own suite too, on release binaries, and writes docs/conformance.md. Needs Python 2.7, found on the PATH, by
    /// pyenv, or by WEIRLINE_PYTHON2
    #[arg(long)]
    full: bool,
}

/// The step of `cargo xtask test`: the fast runner, and binaries that check themselves while they run.
pub(crate) fn short(workspace: &Workspace) -> Result<(), String> {
    run(workspace, &Options { full: false })
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), String> {
    let here = workspace.root().join("tests/conformance");
    let work = workspace.target().join("conformance");
    std::fs::create_dir_all(&work).map_err(|error| format!("{}: {error}", work.display()))?;
    let python = venv::python(workspace.root(), &here, &work)?;
    let kosoku = python.with_file_name("kosoku");
    let script = |name: &str| {
        Run::new(&python, workspace.root())
            .args(["-B", "-u"])
            .args([here.join(name)])
            .args(["--kosoku"])
            .args([&kosoku])
    };
    script("selftest.py").check()?;
    let (server, client) = build(workspace, options.full)?;
    let run = script("run.py")
        .args(["--server"])
        .args([&server])
        .args(["--client"])
        .args([&client])
        .args(["--work"])
        .args([work.join("reports")]);
    if !options.full {
        return run.check();
    }
    let (python2, base) = python2(workspace.root(), &here, &work)?;
    run.args(["--full"])
        .args([workspace.root().join("docs/conformance.md")])
        .args(["--python2"])
        .args([&python2])
        .args(["--python2-base"])
        .args([&base])
        .check()
}

/// The server and the client. What is not built for release has been built by the tests before, and asserts more.
fn build(workspace: &Workspace, release: bool) -> Result<(PathBuf, PathBuf), String> {
    let cargo = |arguments: &[&str]| {
        Run::cargo(workspace.root())
            .args(["build", "--locked"])
            .args(arguments)
            .env("CARGO_TARGET_DIR", workspace.target())
            .check()
    };
    let profile = if release {
        cargo(&["--release", "--package", "weirline"])?;
        cargo(&[
            "--release",
            "--package",
            "weirline-tokio",
            "--example",
            "conformance",
        ])?;
        "release"
    } else {
        cargo(&["--workspace", "--bin", "weirline", "--example", "conformance"])?;
        "debug"
    };
    let examples = format!("{profile}/examples");
    Ok((
        Workspace::binary(workspace.target(), profile, "weirline"),
        Workspace::binary(workspace.target(), &examples, "conformance"),
    ))
}

/// A Python 2.7, and the folder where Autobahn's suite and what it needs are installed for it.
fn python2(root: &Path, pinned: &Path, work: &Path) -> Result<(PathBuf, PathBuf), String> {
    let python = find_python2(root)?;
    let base = work.join("python2");
    std::fs::create_dir_all(&base).map_err(|error| format!("{}: {error}", base.display()))?;
    let pins = venv::read(&pinned.join("requirements-python2.txt"))?;
    venv::once(&base, &pins, || {
        println!("installing Autobahn's suite into {}", base.display());
        // A virtual environment would take a further package; this is the interpreter's own way to install elsewhere.
        Run::new(&python, pinned)
            .args(["-m", "pip", "install", "--user", "--ignore-installed", "--quiet"])
            .args(["--disable-pip-version-check", "--no-warn-script-location"])
            .args(["--no-deps", "-r", "requirements-python2.txt"])
            .env("PYTHONUSERBASE", &base)
            .check_quietly()
            .map(drop)
    })?;
    Ok((python, base))
}

fn find_python2(root: &Path) -> Result<PathBuf, String> {
    let is_right = |python: &Path| {
        let run = Run::new(python, root).args(["-c", PYTHON2_CHECK]);
        run.check_quietly().is_ok()
    };
    if let Some(named) = std::env::var_os(PYTHON2_VARIABLE) {
        let named = PathBuf::from(named);
        return if is_right(&named) {
            Ok(named)
        } else {
            Err(format!(
                "{PYTHON2_VARIABLE} names {}, which is no Python 2.7",
                named.display()
            ))
        };
    }
    let on_path = PathBuf::from("python2.7");
    let python = std::iter::once(on_path)
        .chain(pyenv_python2(root))
        .find(|python| is_right(python));
    python.ok_or_else(|| {
        format!(
            "Autobahn's suite needs Python 2.7 with pip, and none was found: install it (`pyenv install 2.7.18`) or name it in {PYTHON2_VARIABLE}"
        )
    })
}

/// Those that pyenv has, although they are not chosen.
fn pyenv_python2(root: &Path) -> Vec<PathBuf> {
    let pyenv = |arguments: &[&str]| Run::new("pyenv", root).args(arguments).check_quietly();
    let versions = pyenv(&["versions", "--bare"]).unwrap_or_default();
    versions
        .lines()
        .map(str::trim)
        .filter(|version| version.starts_with("2.7"))
        .filter_map(|version| pyenv(&["prefix", version]).ok())
        .map(|prefix| Path::new(prefix.trim()).join("bin/python2.7"))
        .collect()
}
