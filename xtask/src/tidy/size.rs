//! A file that is too long to read in one sitting is cut. Functions are left to clippy's `too_many_lines`.

use super::{Finding, Tree};

const LINES_MAX: usize = 800;
const SOURCES: &[&str] = &[".rs", ".py", ".js", ".mjs", ".sh"];

/// No source file has over 800 lines.
pub(crate) fn files(tree: &Tree) -> Vec<Finding> {
    tree.iter()
        .filter(|(name, _)| SOURCES.iter().any(|end| name.ends_with(end)))
        .map(|(name, text)| (name, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(name, lines)| Finding::new("size", name, 0, format!("{lines} lines, at most {LINES_MAX}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_source_file_is_found() {
        let check = |name: &str, lines: usize, expect: usize| {
            let tree = Tree::planted(&[(name, &"x\n".repeat(lines))]);
            assert_eq!(files(&tree).len(), expect, "{name} {lines}");
        };
        check("crates/a/src/lib.rs", 801, 1);
        check("tests/clients/x.py", 801, 1);
        check("crates/a/src/lib.rs", 800, 0);
        check("Cargo.lock", 5000, 0);
    }
}
