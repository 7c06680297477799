//! `docs/threats.md` says what proves that we withstand an attack: all that it names is there.

use super::{Finding, Tree};
use crate::spec::source;

const PAGE: &str = "docs/threats.md";

/// Tests in it are named `path::function`, from here on.
const ROOT: &str = "crates/";

/// The heading of the table that has proofs; the next heading ends it.
const PROVED: &str = "## Proved";

/// Each `path::function` is a test of that file, each command one that there is, and each attack has one of either.
pub(crate) fn proofs(tree: &Tree) -> Vec<Finding> {
    let finding = |line: usize, message: String| Finding::new("threats", PAGE, line, message);
    let text = tree.text(PAGE).unwrap_or_default();
    let (mut findings, mut rows, mut proved) = (Vec::new(), 0, false);
    for (index, line) in text.lines().enumerate() {
        if line.starts_with("## ") {
            proved = line == PROVED;
        }
        let mut proofs = 0;
        for code in line.split('`').skip(1).step_by(2) {
            match is_there(tree, code) {
                None => {}
                Some(true) => proofs += 1,
                Some(false) => findings.push(finding(index + 1, format!("there is no {code}"))),
            }
        }
        let is_row =
            proved && line.starts_with('|') && !line.starts_with("| attack") && !line.starts_with("|--");
        if is_row {
            rows += 1;
            if proofs == 0 {
                findings.push(finding(index + 1, "nothing proves this".into()));
            }
        }
    }
    if rows == 0 {
        findings.push(finding(0, format!("has no table below `{PROVED}`")));
    }
    findings
}

/// Whether the test, or the measurement, fuzz target or scenario of a command exists; `None` for other code.
fn is_there(tree: &Tree, code: &str) -> Option<bool> {
    if let Some((file, test)) = code.split_once(".rs::") {
        let text = tree.text(&format!("{ROOT}{file}.rs"));
        return Some(text.is_some_and(|text| source::test(text, test).is_some()));
    }
    let words: Vec<&str> = code.strip_prefix("cargo xtask ")?.split(' ').collect();
    let named = |file: &str, name: &str| {
        let text = tree.text(file);
        text.is_some_and(|text| text.contains(&format!("\"{name}\"")))
    };
    Some(match words[..] {
        ["measure", what] => named("xtask/src/measure.rs", what),
        ["fuzz", target] => tree.text(&format!("fuzz/fuzz_targets/{target}.rs")).is_some(),
        ["sim", "run", "--scenario", name] => named("sim/src/plan.rs", name),
        [step] => named("xtask/src/steps.rs", step),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found where this is the row below the heading.
    fn check(row: &str, expect: &[(usize, &str)]) {
        let page = format!(
            "# Threats\n\n{PROVED}\n\n| attack | ours | proof |\n|---|---|---|\n{row}\n\n## Not covered\n\n| x | y |\n"
        );
        let tree = Tree::planted(&[
            (PAGE, &page),
            (
                "crates/a/tests/t.rs",
                "#[test]\nfn proves() {}\n\nfn helps() {}\n",
            ),
            ("xtask/src/measure.rs", "[\"attacks\"]"),
            ("xtask/src/steps.rs", "name: \"conformance\","),
            ("fuzz/fuzz_targets/header.rs", ""),
            ("sim/src/plan.rs", "\"half-open\""),
        ]);
        let found = proofs(&tree);
        let found: Vec<_> = found
            .iter()
            .map(|found| (found.line, found.message.as_str()))
            .collect();
        assert_eq!(found, expect, "{row}");
    }

    #[test]
    fn a_proof_that_is_not_there_is_found() {
        for proof in [
            "a/tests/t.rs::proves",
            "cargo xtask measure attacks",
            "cargo xtask fuzz header",
            "cargo xtask sim run --scenario half-open",
            "cargo xtask conformance",
        ] {
            check(&format!("| floods | bounded by `N` | `{proof}` |"), &[]);
        }
        for proof in [
            "a/tests/t.rs::gone",
            "a/tests/t.rs::helps",
            "b/tests/t.rs::proves",
            "crates/a/tests/t.rs::proves",
            "cargo xtask measure gone",
            "cargo xtask fuzz gone",
            "cargo xtask sim run --scenario gone",
            "cargo xtask gone",
            "cargo xtask fuzz header --minutes 3",
        ] {
            let gone = format!("there is no {proof}");
            let row = format!("| floods | ours | `a/tests/t.rs::proves`, `{proof}` |");
            check(&row, &[(7, &gone)]);
        }
        check("| floods | bounded by `N` | |", &[(7, "nothing proves this")]);
        check("", &[(0, "has no table below `## Proved`")]);
        assert_eq!(proofs(&Tree::planted(&[])).len(), 1, "no page at all");
    }
}
