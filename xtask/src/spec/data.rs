//! The list of requirements: `docs/rfc6455.toml`, and `docs/rfc6455.mutants.toml` with what became of the mutants.

use super::toml::{self, Table};

/// Everything that is known about the requirements.
#[derive(Debug, Default)]
pub(crate) struct Spec {
    pub(crate) sections: Vec<Section>,
    pub(crate) rows: Vec<Row>,
}

/// A section of the RFC that has requirements.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) number: String,
    /// What it is about.
    pub(crate) topic: String,
    /// How often MUST and MUST NOT stand in its text, counted by hand.
    pub(crate) musts: usize,
    pub(crate) line: usize,
}

/// One requirement.
#[derive(Debug, Default)]
pub(crate) struct Row {
    pub(crate) line: usize,
    /// The section and a number in it: `5.1-1`; for a SHOULD `5.1-s1`.
    pub(crate) id: String,
    /// MUST, MUST NOT, SHOULD or SHOULD NOT.
    pub(crate) word: String,
    /// Whom it binds: `client`, `server`, `both`, or somebody else in plain words.
    pub(crate) who: String,
    /// What it says, in our words.
    pub(crate) says: String,
    /// Where it is kept: `file: symbol`.
    pub(crate) places: Vec<Link>,
    /// What proves it: `file: function`.
    pub(crate) tests: Vec<Link>,
    /// Why nothing keeps and proves it.
    pub(crate) none: Option<Absence>,
    /// What a reader should know besides.
    pub(crate) note: Option<String>,
    pub(crate) mutants: Vec<Mutant>,
}

/// A symbol of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Link {
    pub(crate) file: String,
    pub(crate) symbol: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Absence {
    pub(crate) kind: Kind,
    pub(crate) reason: String,
}

/// Why a requirement has no place and no test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It binds no endpoint: proxies, browsers, whoever writes an extension.
    Nobody,
    /// It is about a feature that is not there, and is kept by its absence.
    Absent,
    /// It is not met.
    Open,
}

/// A change that takes the enforcing check out, or makes the code do the opposite.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mutant {
    pub(crate) line: usize,
    pub(crate) file: String,
    pub(crate) find: String,
    pub(crate) with: String,
    /// Which of the row's tests must fail; may be left out where there is one.
    pub(crate) test: Option<Link>,
}

/// One run of `spec mutate`, as it is recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Run {
    /// `None`: all rows.
    pub(crate) seed: Option<u64>,
    /// Of the rows and their mutants, so that the record of other ones is not taken for theirs.
    pub(crate) fingerprint: String,
    pub(crate) caught: Vec<String>,
    pub(crate) missed: Vec<String>,
}

impl Spec {
    /// # Errors
    /// What cannot be read, with its line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut spec = Self::default();
        for table in toml::tables(text)? {
            match table.name.as_str() {
                "section" => spec.sections.push(section(table)?),
                "row" => spec.rows.push(row(table)?),
                "row.mutant" => {
                    let line = table.line;
                    let row = spec
                        .rows
                        .last_mut()
                        .ok_or_else(|| format!("line {line}: a mutant before any row"))?;
                    row.mutants.push(mutant(table)?);
                }
                other => return Err(format!("line {}: [[{other}]] means nothing", table.line)),
            }
        }
        Ok(spec)
    }

    pub(crate) fn row(&self, id: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.id == id)
    }
}

impl Row {
    /// The number of its section.
    pub(crate) fn section(&self) -> &str {
        self.id.split_once('-').map_or("", |(section, _)| section)
    }

    /// Whether it is counted: a MUST or a MUST NOT.
    pub(crate) fn is_must(&self) -> bool {
        matches!(self.word.as_str(), "MUST" | "MUST NOT")
    }

    /// The test that must fail for a mutant of this row.
    pub(crate) fn test_of<'r>(&'r self, mutant: &'r Mutant) -> Option<&'r Link> {
        match (&mutant.test, &self.tests[..]) {
            (Some(test), _) => Some(test),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }
}

impl Link {
    fn parse(text: &str, line: usize) -> Result<Self, String> {
        let (file, symbol) = text
            .split_once(": ")
            .ok_or_else(|| format!("line {line}: `{text}` is not `file: symbol`"))?;
        Ok(Self {
            file: file.trim().to_owned(),
            symbol: symbol.trim().to_owned(),
        })
    }

    /// The file's name without its folders.
    pub(crate) fn file_name(&self) -> &str {
        self.file.rsplit('/').next().unwrap_or(&self.file)
    }
}

impl std::fmt::Display for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.file, self.symbol)
    }
}

fn section(mut table: Table) -> Result<Section, String> {
    let line = table.line;
    let musts = table
        .optional_number("musts")?
        .ok_or_else(|| format!("line {line}: [[section]] has no `musts`"))?;
    let section = Section {
        number: table.text("number")?,
        topic: table.text("topic")?,
        musts: usize::try_from(musts).map_err(|_| format!("line {line}: {musts} requirements"))?,
        line,
    };
    table.end().map(|()| section)
}

fn row(mut table: Table) -> Result<Row, String> {
    let line = table.line;
    let links = |list: Vec<String>| -> Result<Vec<Link>, String> {
        list.iter().map(|text| Link::parse(text, line)).collect()
    };
    let row = Row {
        line,
        id: table.text("id")?,
        word: table.text("word")?,
        who: table.text("who")?,
        says: table.text("says")?,
        places: links(table.list("places")?)?,
        tests: links(table.list("tests")?)?,
        none: absence(&mut table)?,
        note: table.optional_text("note")?,
        mutants: Vec::new(),
    };
    table.end().map(|()| row)
}

fn absence(table: &mut Table) -> Result<Option<Absence>, String> {
    for (key, kind) in [
        ("nobody", Kind::Nobody),
        ("absent", Kind::Absent),
        ("open", Kind::Open),
    ] {
        if let Some(reason) = table.optional_text(key)? {
            return Ok(Some(Absence { kind, reason }));
        }
    }
    Ok(None)
}

fn mutant(mut table: Table) -> Result<Mutant, String> {
    let line = table.line;
    let test = table.optional_text("test")?;
    let mutant = Mutant {
        line,
        file: table.text("file")?,
        find: table.text("find")?,
        with: table.text("with")?,
        test: test.map(|text| Link::parse(&text, line)).transpose()?,
    };
    table.end().map(|()| mutant)
}

/// # Errors
/// What cannot be read, with its line.
pub(crate) fn parse_runs(text: &str) -> Result<Vec<Run>, String> {
    let mut runs = Vec::new();
    for mut table in toml::tables(text)? {
        if table.name != "run" {
            return Err(format!("line {}: [[{}]] means nothing", table.line, table.name));
        }
        runs.push(Run {
            seed: table.optional_number("seed")?,
            fingerprint: table.text("fingerprint")?,
            caught: table.list("caught")?,
            missed: table.list("missed")?,
        });
        table.end()?;
    }
    Ok(runs)
}

/// The text that [`parse_runs`] reads.
pub(crate) fn write_runs(runs: &[Run]) -> String {
    let mut text = String::from("# Written by `cargo xtask spec mutate`.\n");
    for run in runs {
        text.push_str("\n[[run]]\n");
        if let Some(seed) = run.seed {
            text.push_str(&format!("seed = {seed}\n"));
        }
        text.push_str(&format!("fingerprint = \"{}\"\n", run.fingerprint));
        for (key, ids) in [("caught", &run.caught), ("missed", &run.missed)] {
            text.push_str(&format!("{key} = ["));
            for (index, id) in ids.iter().enumerate() {
                text.push_str(if index % 12 == 0 { "\n    " } else { " " });
                text.push_str(&format!("\"{id}\","));
            }
            text.push_str(if ids.is_empty() { "]\n" } else { "\n]\n" });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"
[[section]]
number = "5.1"
topic = "masking"
musts = 2

[[row]]
id = "5.1-1"
word = "MUST"
who = "client"
says = "Masks."
places = ["a.rs: Type::function"]
tests = ["t.rs: proves_it"]

[[row.mutant]]
file = "a.rs"
find = "mask()"
with = ""

[[row]]
id = "5.1-2"
word = "MUST NOT"
who = "proxies"
says = "Do not look."
nobody = "No endpoint."
"#;

    #[test]
    fn a_list_is_read() {
        let spec = Spec::parse(LIST).unwrap();
        assert_eq!(
            (spec.sections[0].number.as_str(), spec.sections[0].musts),
            ("5.1", 2)
        );
        let row = spec.row("5.1-1").unwrap();
        assert_eq!((row.section(), row.is_must()), ("5.1", true));
        assert_eq!(row.places[0].to_string(), "a.rs: Type::function");
        assert_eq!(row.test_of(&row.mutants[0]), Some(&row.tests[0]));
        let none = spec.row("5.1-2").unwrap().none.clone().unwrap();
        assert_eq!((none.kind, none.reason.as_str()), (Kind::Nobody, "No endpoint."));
    }

    #[test]
    fn a_mutant_of_several_tests_must_name_its_own() {
        let mut spec = Spec::parse(LIST).unwrap();
        let row = &mut spec.rows[0];
        row.tests.push(row.tests[0].clone());
        assert_eq!(row.test_of(&row.mutants[0]), None);
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for (from, to) in [
            ("who = \"client\"\n", ""),
            ("musts = 2", "musts = \"2\""),
            ("says", "sais"),
            ("a.rs: Type", "a.rs Type"),
            ("[[row.mutant]]", "[[row.mutation]]"),
        ] {
            let text = LIST.replacen(from, to, 1);
            assert_ne!(text, LIST);
            assert!(Spec::parse(&text).is_err(), "{to}");
        }
    }

    #[test]
    fn runs_survive_being_written() {
        let ids = |n: usize| (1..=n).map(|n| format!("5.1-{n}")).collect::<Vec<_>>();
        let runs = [
            Run {
                seed: Some(7),
                fingerprint: "abc".into(),
                caught: ids(30),
                missed: ids(1),
            },
            Run {
                seed: None,
                fingerprint: "def".into(),
                caught: ids(3),
                missed: Vec::new(),
            },
        ];
        assert_eq!(parse_runs(&write_runs(&runs)).unwrap(), runs);
        assert_eq!(parse_runs("").unwrap(), []);
    }
}
