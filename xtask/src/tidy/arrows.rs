//! Which crate may depend on which: the arrows of the layout in `ARCHITECTURE.md`.

use std::collections::BTreeSet;

use super::manifest::dependencies;
use super::purity::CORE;
use super::{Finding, Tree};

/// Each crate with what it may use directly; it may also use what those use.
const ARROWS: &[(&str, &[&str])] = &[
    ("weirline-codec", &[]),
    ("weirline-handshake", &[]),
    ("weirline-flow", &[]),
    ("weirline-log", &[]),
    ("weirline-connection", &["weirline-codec", "weirline-flow"]),
    ("weirline-resume", &["weirline-flow", "weirline-log"]),
    ("weirline-log-redb", &["weirline-log"]),
    (
        "weirline-tokio",
        &["weirline-connection", "weirline-handshake", "weirline-flow"],
    ),
    ("weirline-client", &["weirline-tokio", "weirline-resume"]),
    (
        "weirline-server",
        &["weirline-tokio", "weirline-resume", "weirline-log-redb"],
    ),
    ("weirline", &["weirline-server", "weirline-client"]),
];

/// Packages that bring in the outside world.
const IMPURE: &[&str] = &[
    "tokio",
    "rand",
    "getrandom",
    "fastrand",
    "mio",
    "socket2",
    "chrono",
    "time",
    "async-std",
    "smol",
];

/// `[dependencies]` follow the table.
pub(crate) fn arrows(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in tree.crates() {
        let path = format!("crates/{name}/Cargo.toml");
        let Some(allowed) = reachable(name) else {
            findings.push(Finding::new(
                "arrows",
                &path,
                0,
                format!("{name} has no row in the table of arrows"),
            ));
            continue;
        };
        for found in dependencies(tree.text(&path).unwrap_or_default()) {
            let package = found.package.as_str();
            if is_ours(package) && !allowed.contains(package) {
                let message = format!("{name} may not depend on {package}");
                findings.push(Finding::new("arrows", &path, found.line, message));
            }
        }
    }
    findings
}

/// A core crate cannot depend on what it may not name.
pub(crate) fn core_dependencies(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in tree.crates().filter(|name| CORE.contains(name)) {
        let path = format!("crates/{name}/Cargo.toml");
        for found in dependencies(tree.text(&path).unwrap_or_default()) {
            if IMPURE.contains(&found.package.as_str()) {
                let message = format!("a core crate depends on {}", found.package);
                findings.push(Finding::new("purity", &path, found.line, message));
            }
        }
    }
    findings
}

/// This program must build when nothing else does.
pub(crate) fn xtask_stands_alone(tree: &Tree) -> Vec<Finding> {
    let path = "xtask/Cargo.toml";
    dependencies(tree.text(path).unwrap_or_default())
        .into_iter()
        .filter(|found| is_ours(&found.package))
        .map(|found| {
            Finding::new(
                "arrows",
                path,
                found.line,
                format!("xtask may not depend on {}", found.package),
            )
        })
        .collect()
}

fn is_ours(package: &str) -> bool {
    package == "weirline" || package.starts_with("weirline-")
}

fn direct(name: &str) -> Option<&'static [&'static str]> {
    ARROWS.iter().find(|(from, _)| *from == name).map(|(_, to)| *to)
}

fn reachable(name: &str) -> Option<BTreeSet<&'static str>> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&'static str> = direct(name)?.to_vec();
    while let Some(next) = open.pop() {
        if found.insert(next) {
            open.extend(direct(next).unwrap_or_default());
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, dependency: &str, expect: usize) {
        let manifest = format!("[dependencies]\n{dependency} = {{ workspace = true }}\n");
        let tree = Tree::planted(&[(&format!("crates/{name}/Cargo.toml"), &manifest)]);
        let findings = arrows(&tree);
        assert_eq!(findings.len(), expect, "{name} -> {dependency}: {findings:?}");
        assert!(findings.iter().all(|finding| finding.line == 2));
    }

    #[test]
    fn a_wrong_arrow_is_found() {
        check("weirline-codec", "weirline-flow", 1);
        check("weirline-connection", "weirline-handshake", 1);
        check("weirline-resume", "weirline-connection", 1);
        check("weirline-server", "weirline-client", 1);
        check("weirline-client", "weirline-server", 1);
        check("weirline-flow", "weirline", 1);
    }

    #[test]
    fn a_right_arrow_is_not() {
        check("weirline-connection", "weirline-codec", 0);
        check("weirline-tokio", "weirline-codec", 0);
        check("weirline-client", "weirline-log", 0);
        check("weirline-codec", "thiserror", 0);
    }

    #[test]
    fn a_crate_without_a_row_is_found() {
        assert_eq!(
            arrows(&Tree::planted(&[("crates/weirline-new/Cargo.toml", "")])).len(),
            1
        );
    }

    #[test]
    fn development_dependencies_are_free() {
        let manifest = "[dev-dependencies]\nweirline-server = { workspace = true }\n";
        assert!(arrows(&Tree::planted(&[("crates/weirline-codec/Cargo.toml", manifest)])).is_empty());
    }

    #[test]
    fn an_impure_dependency_of_the_core_is_found() {
        let tree = |name: &str| {
            Tree::planted(&[(
                &format!("crates/{name}/Cargo.toml"),
                "[dependencies]\ntokio = { workspace = true }\n",
            )])
        };
        assert_eq!(core_dependencies(&tree("weirline-log")).len(), 1);
        assert!(core_dependencies(&tree("weirline-tokio")).is_empty());
    }

    #[test]
    fn xtask_depending_on_a_crate_of_ours_is_found() {
        let tree = |package: &str| {
            Tree::planted(&[(
                "xtask/Cargo.toml",
                &format!("[dependencies]\n{package} = {{ workspace = true }}\n"),
            )])
        };
        assert_eq!(xtask_stands_alone(&tree("weirline-codec")).len(), 1);
        assert!(xtask_stands_alone(&tree("clap")).is_empty());
    }
}
