//! What no tracked file contains.

use super::source::{matches_at, tokens, without_comments};
use super::{Finding, Tree};

/// Folders of somebody's machine. Each is put together here so that this file does not contain it.
const MACHINE_FOLDERS: &[&str] = &[
    concat!("/", "home", "/"),
    concat!("/", "root", "/"),
    concat!("/", "work", "/"),
    concat!("/", "Users", "/"),
    concat!("C:", "\\", "Users"),
];

/// No test is switched off and no code is left to be written.
pub(crate) fn placeholders(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.rust() {
        let code = without_comments(text);
        let tokens = tokens(&code);
        for (at, token) in tokens.iter().enumerate() {
            let found = if matches_at(&tokens, at, &["#", "[", "ignore"]) {
                "a test that is switched off"
            } else if matches_at(&tokens, at, &["todo", "!"])
                || matches_at(&tokens, at, &["unimplemented", "!"])
            {
                "code that is left to be written"
            } else {
                continue;
            };
            findings.push(Finding::new("placeholder", path, token.line, found));
        }
    }
    findings
}

/// A path of one machine is of no use on another.
pub(crate) fn machine_paths(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.iter() {
        for (index, line) in text.lines().enumerate() {
            if let Some(folder) = MACHINE_FOLDERS.iter().find(|folder| begins_a_path(line, folder)) {
                findings.push(Finding::new(
                    "paths",
                    path,
                    index + 1,
                    format!("names a machine's folder, {folder}"),
                ));
            }
        }
    }
    findings
}

/// Whether `folder` stands in the line as the start of a path, not inside a longer one.
fn begins_a_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        !line[..at].ends_with(|before: char| before.is_alphanumeric() || "_-.*}>)".contains(before))
    })
}

/// A lock file for npm that names download addresses works only where that registry is reached.
pub(crate) fn registry_addresses(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree
        .iter()
        .filter(|(name, _)| name.ends_with("package-lock.json"))
    {
        for (index, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("\"resolved\": \"http") {
                findings.push(Finding::new(
                    "paths",
                    path,
                    index + 1,
                    "names a registry's address",
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_is_found() {
        let check = |code: &str, expect: usize| {
            let tree = Tree::planted(&[("crates/a/tests/x.rs", code)]);
            assert_eq!(placeholders(&tree).len(), expect, "{code}");
        };
        check(concat!("#[test]\n#[ign", "ore]\nfn f() {}"), 1);
        check(concat!("#[ign", "ore = \"slow\"] fn f() {}"), 1);
        check("fn f() { todo!() }", 1);
        check("fn f() { unimplemented!(\"x\") }", 1);
        check("// todo!()\nfn ignore(x: [u8; 1]) { \"todo!()\"; }", 0);
    }

    #[test]
    fn a_machine_path_is_found() {
        let check = |line: &str, expect: usize| {
            let tree = Tree::planted(&[("README.md", line)]);
            assert_eq!(machine_paths(&tree).len(), expect, "{line}");
        };
        for folder in MACHINE_FOLDERS {
            check(&format!("see {folder}x"), 1);
            check(&format!("\"{folder}x\""), 1);
        }
        check(concat!("sim/", "work", "/x and ../", "home", "/y"), 0);
        check("nothing here", 0);
    }

    #[test]
    fn a_registry_address_is_found() {
        let lock = "{\n  \"resolved\": \"https://registry.example/ws.tgz\",\n  \"version\": \"1\"\n}";
        assert_eq!(
            registry_addresses(&Tree::planted(&[("tests/clients/package-lock.json", lock)])).len(),
            1
        );
        let lock = "{\n  \"version\": \"1\"\n}";
        assert!(registry_addresses(&Tree::planted(&[("tests/clients/package-lock.json", lock)])).is_empty());
    }
}
