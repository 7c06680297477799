//! What every crate we ship has: a README whose example is compiled, workspace lints, no unsafe code.

use super::manifest::says;
use super::{Finding, Tree};

/// Checks each folder of `crates/`.
pub(crate) fn crates(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in tree.crates() {
        let manifest = format!("crates/{name}/Cargo.toml");
        if !says(
            tree.text(&manifest).unwrap_or_default(),
            "lints",
            "workspace",
            "true",
        ) {
            findings.push(Finding::new(
                "crate",
                &manifest,
                0,
                "does not take the workspace's lints",
            ));
        }
        let library = format!("crates/{name}/src/lib.rs");
        let (root, is_library) = match tree.text(&library) {
            Some(_) => (library, true),
            None => (format!("crates/{name}/src/main.rs"), false),
        };
        let text = tree.text(&root).unwrap_or_default();
        if !text.lines().any(|line| line.trim() == "#![forbid(unsafe_code)]") {
            findings.push(Finding::new(
                "crate",
                &root,
                0,
                "does not say #![forbid(unsafe_code)]",
            ));
        }
        if is_library && !text.contains(r#"include_str!("../README.md")"#) {
            findings.push(Finding::new(
                "crate",
                &root,
                0,
                "does not include its README, whose example is so not compiled",
            ));
        }
        let readme = format!("crates/{name}/README.md");
        match tree.text(&readme) {
            None => findings.push(Finding::new("crate", &readme, 0, "is missing")),
            Some(text) if !has_example(text, is_library) => {
                findings.push(Finding::new("crate", &readme, 0, "shows no example"));
            }
            Some(_) => {}
        }
    }
    findings
}

/// A fenced block; for a library one that rustdoc compiles.
fn has_example(readme: &str, is_library: bool) -> bool {
    let mut inside = false;
    readme
        .lines()
        .filter_map(|line| line.trim().strip_prefix("```"))
        .any(|info| {
            inside = !inside;
            let words: Vec<&str> = info.split([',', ' ']).filter(|word| !word.is_empty()).collect();
            let compiled = words
                .iter()
                .all(|word| ["rust", "no_run", "should_panic"].contains(word));
            inside && (compiled || !is_library)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[lints]\nworkspace = true\n";
    const ROOT: &str = "#![forbid(unsafe_code)]\n#![doc = include_str!(\"../README.md\")]\n";
    const README: &str = "# a\n```rust\nassert!(true);\n```\n";

    fn check(manifest: &str, root: &str, readme: Option<&str>, expect: &[&str]) {
        let mut files = vec![("crates/a/Cargo.toml", manifest), ("crates/a/src/lib.rs", root)];
        files.extend(readme.map(|text| ("crates/a/README.md", text)));
        let messages: Vec<String> = crates(&Tree::planted(&files))
            .into_iter()
            .map(|found| found.message)
            .collect();
        assert_eq!(messages.len(), expect.len(), "{messages:?}");
        for (message, part) in messages.iter().zip(expect) {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_crate_that_lacks_something_is_found() {
        check(MANIFEST, ROOT, Some(README), &[]);
        check("", ROOT, Some(README), &["lints"]);
        check(
            MANIFEST,
            "#![doc = include_str!(\"../README.md\")]",
            Some(README),
            &["unsafe_code"],
        );
        check(MANIFEST, "#![forbid(unsafe_code)]", Some(README), &["include"]);
        check(MANIFEST, ROOT, None, &["missing"]);
        check(MANIFEST, ROOT, Some("# a\nno example"), &["no example"]);
        check(MANIFEST, ROOT, Some("```text\nx\n```\n"), &["no example"]);
        check(MANIFEST, ROOT, Some("```rust,ignore\nx\n```\n"), &["no example"]);
    }

    #[test]
    fn a_binary_may_show_a_command() {
        let files = [
            ("crates/b/Cargo.toml", MANIFEST),
            ("crates/b/src/main.rs", "#![forbid(unsafe_code)]\nfn main() {}"),
            ("crates/b/README.md", "```sh\nweirline dev\n```\n"),
        ];
        assert_eq!(crates(&Tree::planted(&files)), []);
    }
}
