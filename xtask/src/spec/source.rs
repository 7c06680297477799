//! Finds symbols in Rust source that rustfmt has laid out: an item ends at the first line that closes it at its own depth.

use std::ops::Range;

/// The lines (from 0) of `symbol` in a source text: a function, type or constant, or `Type::function` in an `impl` of
/// `Type`. What stands in the file's own tests does not count.
pub(crate) fn item(text: &str, symbol: &str) -> Option<Range<usize>> {
    let lines: Vec<&str> = text.lines().collect();
    let end = lines
        .iter()
        .position(|line| *line == "#[cfg(test)]")
        .unwrap_or(lines.len());
    let lines = &lines[..end];
    match symbol.split_once("::") {
        None => find(lines, symbol),
        Some((owner, name)) => blocks(lines, owner).find_map(|block| {
            let found = find(&lines[block.clone()], name)?;
            Some(block.start + found.start..block.start + found.end)
        }),
    }
}

/// Whether a symbol cites a section of the RFC: in its own lines, in the comments above them, or at the head of its file.
pub(crate) fn cites(text: &str, symbol: &str, section: &str) -> bool {
    let lines: Vec<&str> = text.lines().collect();
    let Some(item) = item(text, symbol) else {
        return false;
    };
    let above = lines[..item.start].iter().rev();
    let above = above.take_while(|line| line.trim_start().starts_with(['/', '#', ')']));
    let head = lines.iter().take_while(|line| line.starts_with("//!"));
    let mut all = above.chain(&lines[item.clone()]).chain(head);
    let cited = format!("§{section}");
    all.any(|line| {
        let mut found = line
            .match_indices(&cited)
            .map(|(at, _)| &line[at + cited.len()..]);
        // `§5.1` is not cited by `§5.11` or `§5.1.1`, but by the end of a sentence.
        found.any(|rest| {
            let mut rest = rest.chars();
            let next = rest.next().unwrap_or(' ');
            let goes_on = next == '.' && rest.next().is_some_and(|c| c.is_ascii_digit());
            !goes_on && !next.is_ascii_digit()
        })
    })
}

/// The line (from 0) of a test function.
pub(crate) fn test(text: &str, name: &str) -> Option<usize> {
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| declares(line, "fn", name))?;
    let above = lines[..at].iter().rev().map(|line| line.trim());
    let is_test = above
        .take_while(|line| !line.is_empty() && !line.ends_with(['}', '{']))
        .any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"));
    is_test.then_some(at)
}

/// Lines of the `impl` and `trait` blocks of a type.
fn blocks<'l>(lines: &'l [&'l str], owner: &'l str) -> impl Iterator<Item = Range<usize>> + 'l {
    lines.iter().enumerate().filter_map(move |(start, line)| {
        let is_block = line.starts_with("impl") || line.contains("trait ");
        (is_block && words(line).any(|word| word == owner)).then(|| start..start + length(&lines[start..]))
    })
}

fn find(lines: &[&str], name: &str) -> Option<Range<usize>> {
    let start = lines.iter().position(|line| {
        ["fn", "const", "static", "struct", "enum", "trait", "type"]
            .iter()
            .any(|keyword| declares(line, keyword, name))
    })?;
    Some(start..start + length(&lines[start..]))
}

/// How many lines the item that begins in the first line has.
fn length(lines: &[&str]) -> usize {
    let first = lines[0];
    if first.ends_with([';', '}']) {
        return 1;
    }
    let depth = first.len() - first.trim_start().len();
    let closes = |line: &&str| {
        line.len() > depth
            && line[..depth].trim().is_empty()
            && matches!(&line[depth..], "}" | "};" | "];" | ");")
    };
    lines.iter().position(closes).map_or(lines.len(), |at| at + 1)
}

fn declares(line: &str, keyword: &str, name: &str) -> bool {
    let mut words = words(line);
    words.any(|word| word == keyword) && words.next() == Some(name) && !line.trim_start().starts_with("//")
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "\
/// Says fn other() in its words.
pub(crate) struct Reader {
    state: State,
}

impl Reader {
    pub(crate) const fn new(
        state: State,
    ) -> Self {
        Self { state }
    }

    fn read(&mut self) {
        match self.state {
            State::Idle => {}
        }
    }
}

impl<T> From<T> for Other<T>
where
    T: Copy,
{
    fn from(value: T) -> Self { Self(value) }

    fn read(&self) {}
}

const NAMES: [&str; 2] = [
    \"a\",
    \"b\",
];
const LIMIT: usize = 3;

#[cfg(test)]
mod tests {
    #[test]
    fn it_reads() {
        other();
    }

    proptest! {
        /// Always.
        #[test]
        fn it_always_reads(n in 0..3) {}
    }

    fn helper() {}

    #[tokio::test(start_paused = true)]
    #[should_panic]
    async fn it_waits() {}
}
";

    #[test]
    fn items_are_found_with_their_lines() {
        let check = |symbol: &str, expect: Option<(usize, usize)>| {
            // Lines as an editor counts them, both ends included.
            let found = item(SOURCE, symbol).map(|lines| (lines.start + 1, lines.end));
            assert_eq!(found, expect, "{symbol}");
        };
        check("Reader", Some((2, 4)));
        check("Reader::new", Some((7, 11)));
        check("Reader::read", Some((13, 17)));
        check("Other::read", Some((26, 26)));
        check("Other::from", Some((24, 24)));
        check("NAMES", Some((29, 32)));
        check("LIMIT", Some((33, 33)));
        check("Reader::from", None);
        check("other", None);
        check("helper", None);
        check("it_reads", None);
    }

    #[test]
    fn a_citation_is_found_where_it_belongs() {
        let source = "\
//! The reader (RFC 6455 §9).

/// Reads (RFC 6455 §5.1.1, §5.11).
#[inline]
fn read() {
    // RFC 6455 §7.
    other();
}

/// §4.1: not its own.
fn other() {}
";
        let check = |section: &str, expect: bool| {
            assert_eq!(cites(source, "read", section), expect, "{section}");
        };
        for section in ["9", "5.1.1", "5.11", "7"] {
            check(section, true);
        }
        for section in ["5.1", "5", "4.1", "7.1", "1"] {
            check(section, false);
        }
        assert!(!cites(source, "absent", "9"));
    }

    #[test]
    fn tests_are_found_by_their_attribute() {
        for name in ["it_reads", "it_always_reads", "it_waits"] {
            assert!(test(SOURCE, name).is_some(), "{name}");
        }
        for name in ["helper", "read", "new", "absent", "it_read"] {
            assert_eq!(test(SOURCE, name), None, "{name}");
        }
    }
}
