//! The steps of `cargo xtask test`. Their order is the order of cost, and of reuse: what one step builds
//! the next ones find.

use crate::process::Run;
use crate::workspace::Workspace;
use crate::{bench, browser, clients, conformance, explore, fuzz, sim, spec, tidy, torture};

/// One thing that a change must pass.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) run: fn(&Workspace) -> Result<(), String>,
}

pub(crate) const ALL: &[Step] = &[
    Step {
        name: "fmt",
        what: "formatting",
        run: format,
    },
    Step {
        name: "tidy",
        what: "arrows, purity, sizes, documents",
        run: tidy::run,
    },
    Step {
        name: "spec",
        what: "each MUST of RFC 6455 has its place and its test",
        run: spec::check,
    },
    Step {
        name: "clippy",
        what: "lints on every target, warnings denied",
        run: clippy,
    },
    Step {
        name: "doc",
        what: "rustdoc, warnings denied",
        run: rustdoc,
    },
    Step {
        name: "bench",
        what: "the comparison with peers: lints and tests",
        run: bench::check,
    },
    Step {
        name: "fuzz",
        what: "the fuzz targets type-check",
        run: fuzz::check,
    },
    Step {
        name: "unit",
        what: "unit and integration tests",
        run: unit,
    },
    Step {
        name: "doctest",
        what: "the examples in READMEs and documentation",
        run: doctest,
    },
    Step {
        name: "conformance",
        what: "Autobahn's cases, against server and client",
        run: conformance::short,
    },
    Step {
        name: "sim",
        what: "a short simulation, in release",
        run: sim::short,
    },
    Step {
        name: "explore",
        what: "the session machines, breadth first",
        run: explore::short,
    },
    Step {
        name: "clients",
        what: "clients written by others, cut by a proxy",
        run: clients::short,
    },
    Step {
        name: "torture",
        what: "the server, killed under load",
        run: torture::short,
    },
    Step {
        name: "browser",
        what: "Chromium as a client",
        run: browser::short,
    },
];

fn format(workspace: &Workspace) -> Result<(), String> {
    shown(Run::cargo(workspace.root()).args(["fmt", "--all", "--check"]))?;
    if workspace.root().join("fuzz/Cargo.toml").is_file() {
        shown(Run::cargo(workspace.root()).args(["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"]))?;
    }
    shown(Run::cargo(workspace.root()).args([
        "fmt",
        "--manifest-path",
        "benches/peers/Cargo.toml",
        "--check",
    ]))?;
    Ok(())
}

fn clippy(workspace: &Workspace) -> Result<(), String> {
    shown(Run::cargo(workspace.root()).args([
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--keep-going",
        "--",
        "-D",
        "warnings",
    ]))
}

fn rustdoc(workspace: &Workspace) -> Result<(), String> {
    shown(
        Run::cargo(workspace.root())
            .args(["doc", "--locked", "--workspace", "--no-deps"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}

fn unit(workspace: &Workspace) -> Result<(), String> {
    shown(Run::cargo(workspace.root()).args([
        "test",
        "--locked",
        "--workspace",
        "--lib",
        "--bins",
        "--tests",
        "--no-fail-fast",
    ]))
}

fn doctest(workspace: &Workspace) -> Result<(), String> {
    shown(Run::cargo(workspace.root()).args(["test", "--locked", "--workspace", "--doc", "--no-fail-fast"]))
}

fn shown(run: Run) -> Result<(), String> {
    println!("$ {run}");
    run.check()
}
