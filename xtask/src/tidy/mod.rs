//! `cargo xtask tidy`: the rules that no compiler checks.
//!
//! Every rule is a function from a [`Tree`] to its findings, and has tests that plant what it must find.

mod arrows;
mod crates;
mod documents;
mod manifest;
mod purity;
mod size;
mod source;
mod text;
mod threats;

use std::collections::BTreeMap;
use std::fmt;

use crate::workspace::Workspace;

/// The files under version control, with their text (lossy where it is not UTF-8).
#[derive(Default)]
pub(crate) struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    fn read(workspace: &Workspace) -> Result<Self, String> {
        let mut files = BTreeMap::new();
        for name in workspace.files()? {
            let bytes =
                std::fs::read(workspace.root().join(&name)).map_err(|error| format!("{name}: {error}"))?;
            files.insert(name, String::from_utf8_lossy(&bytes).into_owned());
        }
        Ok(Self { files })
    }

    #[cfg(test)]
    fn planted(files: &[(&str, &str)]) -> Self {
        let own = |(name, text): &(&str, &str)| (name.to_string(), text.to_string());
        Self {
            files: files.iter().map(own).collect(),
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.files.get(name).map(String::as_str)
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
    }

    fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter().filter(|(name, _)| name.ends_with(".rs"))
    }

    /// Names of the folders in `crates/` that have a manifest.
    fn crates(&self) -> impl Iterator<Item = &str> {
        self.files
            .keys()
            .filter_map(|name| name.strip_prefix("crates/")?.strip_suffix("/Cargo.toml"))
    }
}

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    rule: &'static str,
    path: String,
    /// From 1; 0 when the finding is about the whole file or its absence.
    line: usize,
    message: String,
}

impl Finding {
    fn new(rule: &'static str, path: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            rule,
            path: path.into(),
            line,
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rule,
            path,
            line,
            message,
        } = self;
        if *line == 0 {
            write!(f, "{path}: {message} [{rule}]")
        } else {
            write!(f, "{path}:{line}: {message} [{rule}]")
        }
    }
}

type Rule = fn(&Tree) -> Vec<Finding>;

const RULES: &[Rule] = &[
    arrows::arrows,
    arrows::core_dependencies,
    arrows::xtask_stands_alone,
    purity::core,
    purity::wall_clock,
    purity::unbounded_channels,
    size::files,
    crates::crates,
    documents::documents,
    text::placeholders,
    text::machine_paths,
    text::registry_addresses,
    threats::proofs,
];

/// Applies every rule to the work tree.
pub(crate) fn run(workspace: &Workspace) -> Result<(), String> {
    let tree = Tree::read(workspace)?;
    let findings: Vec<Finding> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("tidy: {} files, {} rules", tree.files.len(), RULES.len());
        Ok(())
    } else {
        Err(format!("{} findings", findings.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_names_its_place() {
        let finding = Finding::new("size", "a.rs", 3, "long");
        assert_eq!(finding.to_string(), "a.rs:3: long [size]");
        assert_eq!(
            Finding::new("size", "a.rs", 0, "long").to_string(),
            "a.rs: long [size]"
        );
    }
}
