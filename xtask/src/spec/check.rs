//! What must hold of the list: nothing missing, and every place, test and mutant in it really there.

use std::collections::BTreeMap;

use super::data::{Link, Mutant, Row, Run, Spec};
use super::mutate::{draw, fingerprint};
use super::source;

/// How often MUST and MUST NOT stand in RFC 6455, §2 included, where the words themselves are listed.
pub(crate) const MUSTS: usize = 140;

/// How many of these are MUST NOT.
pub(crate) const MUST_NOTS: usize = 26;

/// Rows that a recorded run of mutants must at least have drawn.
const ROWS_DRAWN_MIN: usize = 30;

/// The texts of the files that the list names, by their paths from the root.
pub(crate) type Files = BTreeMap<String, String>;

/// One thing that is wrong: the line of the list, 0 for the whole of it, and what.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) line: usize,
    pub(crate) message: String,
}

fn finding(line: usize, message: impl Into<String>) -> Finding {
    Finding {
        line,
        message: message.into(),
    }
}

/// Everything that is wrong with the list and its recorded runs.
pub(crate) fn all(spec: &Spec, runs: &[Run], files: &Files) -> Vec<Finding> {
    let mut findings = counts(spec);
    findings.extend(order(spec));
    for row in &spec.rows {
        findings.extend(words(row));
        findings.extend(evidence(row, files));
        findings.extend(mutants(row, files));
    }
    findings.extend(recorded(spec, runs));
    findings
}

/// Whether every MUST of every section has its row.
fn counts(spec: &Spec) -> Vec<Finding> {
    let mut findings = Vec::new();
    for section in &spec.sections {
        let rows = spec.rows.iter().filter(|row| row.section() == section.number);
        let found = rows.filter(|row| row.is_must()).count();
        if found != section.musts {
            let message = format!(
                "§{} has {} MUST and MUST NOT, the list has {found} rows for them",
                section.number, section.musts
            );
            findings.push(finding(section.line, message));
        }
    }
    let total: usize = spec.sections.iter().map(|section| section.musts).sum();
    if total != MUSTS {
        findings.push(finding(
            0,
            format!("the sections have {total} MUST and MUST NOT, the RFC has {MUSTS}"),
        ));
    }
    let nots = spec.rows.iter().filter(|row| row.word == "MUST NOT").count();
    if nots != MUST_NOTS {
        findings.push(finding(
            0,
            format!("{nots} rows are a MUST NOT, the RFC has {MUST_NOTS}"),
        ));
    }
    findings
}

/// Whether ids count up from 1 in each section, and sections stand together in their order.
fn order(spec: &Spec) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut rows = spec.rows.iter().peekable();
    for section in &spec.sections {
        let (mut musts, mut shoulds) = (0, 0);
        while let Some(row) = rows.next_if(|row| row.section() == section.number) {
            let expect = if row.is_must() {
                musts += 1;
                format!("{}-{musts}", section.number)
            } else {
                shoulds += 1;
                format!("{}-s{shoulds}", section.number)
            };
            if row.id != expect {
                findings.push(finding(
                    row.line,
                    format!("{} stands where {expect} belongs", row.id),
                ));
            }
        }
    }
    if let Some(row) = rows.next() {
        let message = format!("{} stands in no section, or behind those of another", row.id);
        findings.push(finding(row.line, message));
    }
    findings
}

fn words(row: &Row) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !matches!(row.word.as_str(), "MUST" | "MUST NOT" | "SHOULD" | "SHOULD NOT") {
        findings.push(finding(
            row.line,
            format!("{}: `{}` is no such word", row.id, row.word),
        ));
    }
    let mut texts = vec![("says", Some(&row.says)), ("note", row.note.as_ref())];
    texts.push(("reason", row.none.as_ref().map(|none| &none.reason)));
    for (name, text) in texts {
        if text.is_some_and(|text| text.trim().len() < 10 || !text.ends_with('.')) {
            findings.push(finding(
                row.line,
                format!("{}: its {name} is no sentence", row.id),
            ));
        }
    }
    if row.who.trim().is_empty() {
        findings.push(finding(row.line, format!("{}: it binds nobody", row.id)));
    }
    findings
}

/// Whether there are a place and a test, and both exist; or a reason.
fn evidence(row: &Row, files: &Files) -> Vec<Finding> {
    let mut findings = Vec::new();
    match (&row.none, row.places.is_empty(), row.tests.is_empty()) {
        (Some(_), true, true) => {}
        (Some(_), ..) => findings.push(finding(
            row.line,
            format!("{}: a place or a test, and a reason for none", row.id),
        )),
        (None, true, _) => findings.push(finding(row.line, format!("{}: no place keeps it", row.id))),
        (None, _, true) => findings.push(finding(row.line, format!("{}: no test proves it", row.id))),
        (None, false, false) => {}
    }
    for place in &row.places {
        if !exists(place, files, |text, name| source::item(text, name).is_some()) {
            findings.push(finding(row.line, format!("{}: there is no {place}", row.id)));
        }
    }
    let cited = |place: &Link| {
        exists(place, files, |text, name| {
            source::cites(text, name, row.section())
        })
    };
    if row.none.is_none() && !row.places.iter().any(cited) {
        let message = format!("{}: none of its places cites §{}", row.id, row.section());
        findings.push(finding(row.line, message));
    }
    for test in &row.tests {
        if !exists(test, files, |text, name| source::test(text, name).is_some()) {
            findings.push(finding(row.line, format!("{}: there is no test {test}", row.id)));
        }
    }
    findings
}

fn exists(link: &Link, files: &Files, found: impl Fn(&str, &str) -> bool) -> bool {
    files
        .get(&link.file)
        .is_some_and(|text| found(text, &link.symbol))
}

/// Whether each mutant changes one place of its row, and names the test that must notice.
fn mutants(row: &Row, files: &Files) -> Vec<Finding> {
    let mut findings = Vec::new();
    for mutant in &row.mutants {
        let mut wrong =
            |message: String| findings.push(finding(mutant.line, format!("{}: {message}", row.id)));
        match row.test_of(mutant) {
            None => wrong("which of its tests must notice this mutant?".into()),
            Some(test) if !row.tests.contains(test) => wrong(format!("{test} is none of its tests")),
            Some(_) => {}
        }
        if let Err(message) = applies(row, mutant, files) {
            wrong(message);
        }
    }
    findings
}

fn applies(row: &Row, mutant: &Mutant, files: &Files) -> Result<(), String> {
    let file = &mutant.file;
    let text = files.get(file).ok_or_else(|| format!("there is no {file}"))?;
    if mutant.find.trim().is_empty() || mutant.find == mutant.with {
        return Err("the mutant changes nothing".into());
    }
    let mut found = text.match_indices(&mutant.find);
    let at = match (found.next(), found.next()) {
        (Some((at, _)), None) => at,
        (None, _) => return Err(format!("{file} does not have what the mutant replaces")),
        (Some(_), Some(_)) => return Err(format!("{file} has what the mutant replaces several times")),
    };
    // From the first line of which something is replaced.
    let blank = mutant.find.len() - mutant.find.trim_start().len();
    let line = text[..at + blank].matches('\n').count();
    let mut places = row.places.iter().filter(|place| place.file == *file);
    if places.any(|place| source::item(text, &place.symbol).is_some_and(|lines| lines.contains(&line))) {
        Ok(())
    } else {
        Err(format!(
            "line {} of {file} is in none of the row's places",
            line + 1
        ))
    }
}

/// Whether a run with drawn rows is recorded, of the present mutants, and nothing was missed in any.
fn recorded(spec: &Spec, runs: &[Run]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for run in runs {
        let name = run
            .seed
            .map_or("all rows".to_owned(), |seed| format!("seed {seed}"));
        if let Some(missed) = run.missed.first() {
            findings.push(finding(0, format!("the recorded run of {name} missed {missed}")));
        }
        let drawn = draw(spec, run.seed, run.caught.len() + run.missed.len());
        let ids: Vec<&str> = drawn.iter().map(|row| row.id.as_str()).collect();
        let same = run.missed.is_empty() && ids == run.caught && fingerprint(&drawn) == run.fingerprint;
        if !same && run.missed.is_empty() {
            let message = format!("the recorded run of {name} was of other rows or mutants: run it again");
            findings.push(finding(0, message));
        }
    }
    let enough = |run: &Run| run.seed.is_some() && run.caught.len() >= ROWS_DRAWN_MIN;
    if !runs.iter().any(enough) {
        let message =
            format!("no run of {ROWS_DRAWN_MIN} drawn rows is recorded: cargo xtask spec mutate --seed N");
        findings.push(finding(0, message));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::data::{Absence, Kind, Section};
    use super::*;

    const SOURCE: &str =
        "/// RFC 6455 §5.1.\nfn keeps() {\n    check();\n}\n\nfn other() {\n    check2();\n}\n";
    const TESTS: &str = "#[test]\nfn proves() {}\n\n#[test]\nfn proves_more() {}\n";

    fn link(file: &str, symbol: &str) -> Link {
        Link {
            file: file.into(),
            symbol: symbol.into(),
        }
    }

    fn row() -> Row {
        Row {
            id: "5.1-1".into(),
            word: "MUST".into(),
            who: "client".into(),
            says: "It masks its frames.".into(),
            places: vec![link("a.rs", "keeps")],
            tests: vec![link("t.rs", "proves")],
            mutants: vec![Mutant {
                file: "a.rs".into(),
                find: "    check();\n".into(),
                ..Mutant::default()
            }],
            ..Row::default()
        }
    }

    fn files() -> Files {
        [("a.rs", SOURCE), ("t.rs", TESTS)]
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .into()
    }

    /// What is found in a row after a change.
    fn in_row(change: impl FnOnce(&mut Row)) -> Vec<String> {
        let mut row = row();
        change(&mut row);
        let findings = [words(&row), evidence(&row, &files()), mutants(&row, &files())];
        findings
            .into_iter()
            .flatten()
            .map(|finding| finding.message)
            .collect()
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Row), expect: &str) {
        let found = in_row(change);
        assert!(
            found.iter().any(|message| message.contains(expect)),
            "{expect}: {found:?}"
        );
    }

    #[test]
    fn a_row_that_is_right_has_no_finding() {
        assert_eq!(in_row(|_| {}), [""; 0]);
        let reason = |row: &mut Row| {
            (row.places, row.tests, row.mutants) = Default::default();
            row.none = Some(Absence {
                kind: Kind::Nobody,
                reason: "It binds proxies.".into(),
            });
        };
        assert_eq!(in_row(reason), [""; 0]);
    }

    #[test]
    fn what_is_missing_in_a_row_is_found() {
        check(|row| row.word = "MAY".into(), "no such word");
        check(|row| row.says = String::new(), "says is no sentence");
        check(|row| row.note = Some("short".into()), "note is no sentence");
        check(|row| row.who = " ".into(), "binds nobody");
        check(|row| row.places.clear(), "no place keeps it");
        check(|row| row.tests.clear(), "no test proves it");
        check(|row| row.id = "5.2-1".into(), "none of its places cites §5.2");
        check(
            |row| row.places[0].symbol = "gone".into(),
            "there is no a.rs: gone",
        );
        check(|row| row.places[0].file = "b.rs".into(), "there is no b.rs");
        check(
            |row| row.tests[0].symbol = "gone".into(),
            "there is no test t.rs: gone",
        );
        check(
            |row| row.tests[0] = link("a.rs", "keeps"),
            "there is no test a.rs: keeps",
        );
        let empty = |row: &mut Row| {
            (row.places, row.tests, row.mutants) = Default::default();
            row.none = Some(Absence {
                kind: Kind::Open,
                reason: " ".into(),
            });
        };
        check(empty, "reason is no sentence");
        let both = |row: &mut Row| {
            row.none = Some(Absence {
                kind: Kind::Absent,
                reason: "It is not there.".into(),
            });
        };
        check(both, "and a reason for none");
    }

    #[test]
    fn a_mutant_that_does_not_fit_is_found() {
        check(|row| row.mutants[0].find = "check".into(), "several times");
        check(|row| row.mutants[0].find = "gone".into(), "does not have");
        check(
            |row| row.mutants[0].find = "    check2();\n".into(),
            "line 7 of a.rs is in none",
        );
        check(
            |row| row.mutants[0].with = row.mutants[0].find.clone(),
            "changes nothing",
        );
        check(|row| row.mutants[0].file = "b.rs".into(), "there is no b.rs");
        check(
            |row| row.tests.push(link("t.rs", "proves_more")),
            "which of its tests",
        );
        check(
            |row| row.mutants[0].test = Some(link("t.rs", "proves_more")),
            "is none of its tests",
        );
    }

    fn spec(ids: &[(&str, &str)], sections: &[(&str, usize)]) -> Spec {
        Spec {
            sections: sections
                .iter()
                .map(|(number, musts)| Section {
                    number: (*number).into(),
                    topic: "x".into(),
                    musts: *musts,
                    line: 1,
                })
                .collect(),
            rows: ids
                .iter()
                .map(|(id, word)| Row {
                    id: (*id).into(),
                    word: (*word).into(),
                    ..row()
                })
                .collect(),
        }
    }

    #[test]
    fn a_missing_row_is_found() {
        let (must, not) = ("MUST", "MUST NOT");
        let found = counts(&spec(&[("5.1-1", must)], &[("5.1", 2)]));
        assert!(
            found[0]
                .message
                .contains("§5.1 has 2 MUST and MUST NOT, the list has 1")
        );
        assert!(
            found
                .iter()
                .any(|finding| finding.message.contains("the RFC has 140"))
        );
        assert!(
            found
                .iter()
                .any(|finding| finding.message.contains("the RFC has 26"))
        );

        let numbers: Vec<String> = (1..=MUSTS).map(|n| format!("5.1-{n}")).collect();
        let rows: Vec<_> = numbers
            .iter()
            .enumerate()
            .map(|(n, id)| (id.as_str(), if n < MUST_NOTS { not } else { must }))
            .collect();
        let whole = spec(&rows, &[("5.1", MUSTS)]);
        assert_eq!(counts(&whole), []);
        assert_eq!(order(&whole), []);
        assert_eq!(counts(&spec(&rows[1..], &[("5.1", MUSTS)])).len(), 2);
    }

    #[test]
    fn ids_out_of_order_are_found() {
        let sections = [("5.1", 2), ("5.2", 1)];
        let check = |ids: &[&str], expect: &str| {
            let rows: Vec<_> = ids
                .iter()
                .map(|id| (*id, if id.contains("-s") { "SHOULD" } else { "MUST" }))
                .collect();
            let found = order(&spec(&rows, &sections));
            let message = found.first().map_or("", |finding| finding.message.as_str());
            assert!(
                message.contains(expect) && message.is_empty() == expect.is_empty(),
                "{ids:?}: {message}"
            );
        };
        check(&["5.1-1", "5.1-2", "5.1-s1", "5.2-1"], "");
        check(&["5.1-1", "5.1-3", "5.2-1"], "5.1-3 stands where 5.1-2 belongs");
        check(&["5.1-1", "5.1-1", "5.2-1"], "5.1-1 stands where 5.1-2 belongs");
        check(&["5.1-1", "5.2-1", "5.1-2"], "5.1-2 stands in no section");
        check(
            &["5.1-1", "5.1-2", "5.2-1", "5.3-1"],
            "5.3-1 stands in no section",
        );
    }

    #[test]
    fn a_run_that_is_not_of_these_rows_is_found() {
        let ids: Vec<String> = (1..=40).map(|n| format!("5.1-{n}")).collect();
        let rows: Vec<_> = ids.iter().map(|id| (id.as_str(), "MUST")).collect();
        let mut spec = spec(&rows, &[("5.1", 40)]);
        let run = |seed: Option<u64>, rows: usize| {
            let drawn = draw(&spec, seed, rows);
            Run {
                seed,
                fingerprint: fingerprint(&drawn),
                caught: drawn.iter().map(|row| row.id.clone()).collect(),
                missed: Vec::new(),
            }
        };
        let (drawn, few, all) = (run(Some(7), 30), run(Some(7), 29), run(None, 40));
        let messages = |spec: &Spec, runs: &[Run]| -> Vec<String> {
            recorded(spec, runs)
                .into_iter()
                .map(|finding| finding.message)
                .collect()
        };
        assert_eq!(messages(&spec, &[drawn.clone(), all.clone()]), [""; 0]);
        for runs in [&[][..], &[all], &[few]] {
            assert!(
                messages(&spec, runs)[0].contains("no run of 30 drawn rows"),
                "{runs:?}"
            );
        }
        let mut missed = drawn.clone();
        missed.missed = missed.caught.split_off(29);
        assert!(messages(&spec, &[missed])[0].contains("missed"));
        for row in &mut spec.rows {
            row.mutants[0].with = "another".into();
        }
        assert!(messages(&spec, &[drawn])[0].contains("of other rows or mutants"));
    }
}
