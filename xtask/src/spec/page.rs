//! `docs/rfc6455.md`: the list as a page to read.

use std::fmt::Write as _;

use super::data::{Kind, Link, Row, Run, Section, Spec};
use super::mutate;

/// How the rows of some sections stand.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    musts: usize,
    proven: usize,
    nobody: usize,
    absent: usize,
    open: usize,
    mutants: usize,
    caught: usize,
}

/// The page.
pub(crate) fn page(spec: &Spec, runs: &[Run]) -> String {
    let mut page = String::from(INTRODUCTION);
    page.push_str("| § | about | MUST, MUST NOT | proven | binds no endpoint | no such feature | open |\n");
    page.push_str("|---|---|---|---|---|---|---|\n");
    for section in &spec.sections {
        let tally = tally(rows_of(spec, section), runs);
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} | {} |",
            section.number,
            section.topic,
            tally.musts,
            shown(tally.proven),
            shown(tally.nobody),
            shown(tally.absent),
            shown(tally.open)
        );
    }
    let total = tally(spec.rows.iter().collect(), runs);
    let _ = writeln!(
        page,
        "| **all** | | **{}** | **{}** | **{}** | **{}** | **{}** |\n",
        total.musts, total.proven, total.nobody, total.absent, total.open
    );
    page.push_str(MUTANTS);
    for run in runs {
        let _ = writeln!(page, "- {}", mutate::summary(run));
    }
    for section in &spec.sections {
        let _ = writeln!(page, "\n## §{} {}\n", section.number, section.topic);
        page.push_str("| id | | who | what | where it is kept | what proves it | taken out |\n");
        page.push_str("|---|---|---|---|---|---|---|\n");
        for row in rows_of(spec, section) {
            page.push_str(&line(row, runs));
        }
    }
    page
}

/// The table for a terminal.
pub(crate) fn summary(spec: &Spec, runs: &[Run]) -> String {
    let mut text = format!(
        "{:<8} {:>5} {:>7} {:>7} {:>7} {:>5} {:>8} {:>7}  about\n",
        "section", "musts", "proven", "nobody", "absent", "open", "mutants", "caught"
    );
    let mut push = |name: &str, tally: Tally, topic: &str| {
        let _ = writeln!(
            text,
            "{name:<8} {:>5} {:>7} {:>7} {:>7} {:>5} {:>8} {:>7}  {topic}",
            tally.musts, tally.proven, tally.nobody, tally.absent, tally.open, tally.mutants, tally.caught
        );
    };
    for section in &spec.sections {
        push(
            &section.number,
            tally(rows_of(spec, section), runs),
            &section.topic,
        );
    }
    push("all", tally(spec.rows.iter().collect(), runs), "");
    for run in runs {
        let _ = writeln!(text, "mutants: {}", mutate::summary(run));
    }
    text
}

fn rows_of<'s>(spec: &'s Spec, section: &Section) -> Vec<&'s Row> {
    spec.rows
        .iter()
        .filter(|row| row.section() == section.number)
        .collect()
}

/// Counts the MUSTs; what is only a SHOULD has a row, and no place in the sums.
fn tally(rows: Vec<&Row>, runs: &[Run]) -> Tally {
    let mut tally = Tally::default();
    for row in rows.into_iter().filter(|row| row.is_must()) {
        tally.musts += 1;
        match row.none.as_ref().map(|none| none.kind) {
            None => tally.proven += 1,
            Some(Kind::Nobody) => tally.nobody += 1,
            Some(Kind::Absent) => tally.absent += 1,
            Some(Kind::Open) => tally.open += 1,
        }
        tally.mutants += usize::from(!row.mutants.is_empty());
        tally.caught += usize::from(is_caught(row, runs));
    }
    tally
}

fn is_caught(row: &Row, runs: &[Run]) -> bool {
    runs.iter().any(|run| run.caught.contains(&row.id))
}

fn line(row: &Row, runs: &[Run]) -> String {
    let mut what = escaped(&row.says);
    if let Some(note) = &row.note {
        let _ = write!(what, " *{}*", escaped(note));
    }
    let (places, tests) = match &row.none {
        Some(none) => {
            let kind = match none.kind {
                Kind::Nobody => "binds no endpoint",
                Kind::Absent => "no such feature",
                Kind::Open => "**open**",
            };
            (format!("{kind}: {}", escaped(&none.reason)), String::new())
        }
        None => (links(&row.places), links(&row.tests)),
    };
    let taken_out = match (row.mutants.len(), is_caught(row, runs)) {
        (0, _) => "",
        (_, true) => "caught",
        (_, false) => "not tried",
    };
    format!(
        "| {} | {} | {} | {what} | {places} | {tests} | {taken_out} |\n",
        row.id,
        row.word,
        escaped(&row.who)
    )
}

fn links(links: &[Link]) -> String {
    let shown: Vec<String> = links
        .iter()
        .map(|link| format!("[{}](../{}) `{}`", link.file_name(), link.file, link.symbol))
        .collect();
    shown.join("<br>")
}

/// A cell ends at a bar.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}

fn shown(count: usize) -> String {
    if count == 0 {
        String::new()
    } else {
        count.to_string()
    }
}

const INTRODUCTION: &str = "\
# RFC 6455, requirement by requirement

Each MUST and MUST NOT of RFC 6455, in our words: where it is kept, and the test that proves it. Numbers count them
in each section, in the order of its text. A row without a place says why: it binds no endpoint (proxies, browsers,
whoever writes an extension), it is about a feature that is not there, or it is open. Rows with an `s` are SHOULDs worth
having; no sum counts them.

This page is written by `cargo xtask spec --write` from `rfc6455.toml` and `rfc6455.mutants.toml`. `cargo xtask spec`, a step of
`cargo xtask test`, fails when a row is missing, when a place or a test is not there, when no place cites the section, or when this page is not
what the list says.

";

const MUTANTS: &str = "\
## Would the tests notice?

`cargo xtask spec mutate` takes the enforcing check of a row out, in a copy of the tree, or makes the code do the opposite
where there is no check to take out; then the row's test must fail. Rows are drawn by a seed. The last runs:

";

#[cfg(test)]
mod tests {
    use super::super::data::{Absence, Mutant};
    use super::*;

    fn spec() -> Spec {
        let link = |file: &str, symbol: &str| Link {
            file: file.into(),
            symbol: symbol.into(),
        };
        let row = |id: &str, word: &str| Row {
            id: id.into(),
            word: word.into(),
            who: "both".into(),
            says: "Says a|b.".into(),
            ..Row::default()
        };
        let none = |kind| {
            Some(Absence {
                kind,
                reason: "Because.".into(),
            })
        };
        Spec {
            sections: vec![Section {
                number: "5.1".into(),
                topic: "masking".into(),
                musts: 4,
                line: 1,
            }],
            rows: vec![
                Row {
                    places: vec![link("crates/a/src/b.rs", "T::f"), link("crates/a/src/c.rs", "g")],
                    tests: vec![link("crates/a/tests/t.rs", "proves")],
                    mutants: vec![Mutant::default()],
                    note: Some("A note.".into()),
                    ..row("5.1-1", "MUST")
                },
                Row {
                    none: none(Kind::Nobody),
                    ..row("5.1-2", "MUST NOT")
                },
                Row {
                    none: none(Kind::Absent),
                    ..row("5.1-3", "MUST")
                },
                Row {
                    none: none(Kind::Open),
                    ..row("5.1-4", "MUST")
                },
                Row {
                    places: vec![link("crates/a/src/b.rs", "T::f")],
                    tests: vec![link("crates/a/tests/t.rs", "proves")],
                    ..row("5.1-s1", "SHOULD")
                },
            ],
        }
    }

    #[test]
    fn the_page_has_every_row_and_what_became_of_it() {
        let run = Run {
            seed: Some(7),
            caught: vec!["5.1-1".into()],
            ..Run::default()
        };
        let page = page(&spec(), &[run]);
        for line in [
            "| 5.1 | masking | 4 | 1 | 1 | 1 | 1 |",
            "| **all** | | **4** | **1** | **1** | **1** | **1** |",
            "- 1 of 1 caught, seed 7",
            "| 5.1-1 | MUST | both | Says a\\|b. *A note.* | [b.rs](../crates/a/src/b.rs) `T::f`<br>\
            [c.rs](../crates/a/src/c.rs) `g` | [t.rs](../crates/a/tests/t.rs) `proves` | caught |",
            "| 5.1-2 | MUST NOT | both | Says a\\|b. | binds no endpoint: Because. |  |  |",
            "| 5.1-4 | MUST | both | Says a\\|b. | **open**: Because. |  |  |",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\nin\n{page}");
        }
        assert!(super::page(&spec(), &[]).contains("| not tried |"));
        assert!(page.contains("| 5.1-s1 | SHOULD |"));
    }

    #[test]
    fn the_terminal_gets_the_sums() {
        let text = summary(&spec(), &[]);
        let sums: Vec<&str> = text.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(sums, ["all", "4", "1", "1", "1", "1", "1", "0"]);
    }
}
