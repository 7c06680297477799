//! The documents that a newcomer looks for.

use super::{Finding, Tree};

const DOCUMENTS: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
];

/// The two commands of the README: one runs it, one tests it.
const COMMANDS: &[&str] = &["cargo run --release", "cargo xtask test"];

/// They exist, and the README names its two commands.
pub(crate) fn documents(tree: &Tree) -> Vec<Finding> {
    let missing = DOCUMENTS
        .iter()
        .filter(|name| tree.text(name).is_none_or(|text| text.trim().is_empty()))
        .map(|name| Finding::new("documents", name, 0, "is missing or empty"));
    let readme = tree.text("README.md").unwrap_or_default();
    let unnamed = COMMANDS
        .iter()
        .filter(|command| !readme.contains(*command))
        .map(|command| Finding::new("documents", "README.md", 0, format!("does not name `{command}`")));
    missing.chain(unnamed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_document_or_command_is_found() {
        let readme = COMMANDS.join("\n");
        let mut files: Vec<(&str, &str)> = DOCUMENTS.iter().map(|name| (*name, "text")).collect();
        files[0].1 = &readme;
        assert_eq!(documents(&Tree::planted(&files)), []);
        for index in 0..files.len() {
            let mut fewer = files.clone();
            let (name, _) = fewer.remove(index);
            assert!(
                documents(&Tree::planted(&fewer))
                    .iter()
                    .any(|found| found.path == name),
                "{name}"
            );
        }
        files[0].1 = "cargo run --release";
        assert_eq!(documents(&Tree::planted(&files)).len(), 1);
    }
}
