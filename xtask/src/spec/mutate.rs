//! `cargo xtask spec mutate`: would the named tests fail without what they are said to prove?
//!
//! In a copy of the tree the enforcing check of a row is taken out, the row's test is built and run, and must fail. On the
//! copy without a change it must not. Only the crates between the change and the test are built.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::data::{self, Link, Mutant, Row, Run as Record, Spec};
use crate::copy;
use crate::process::Run;
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Draws the rows; the same seed draws the same rows of the same list
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many rows are drawn
    #[arg(long, default_value_t = 30)]
    rows: usize,
    /// Every row that has a mutant, instead of some that are drawn
    #[arg(long, conflicts_with_all = ["seed", "rows"])]
    all: bool,
    /// Only this row (may be given several times); nothing is recorded
    #[arg(long, value_name = "ID", conflicts_with_all = ["seed", "rows", "all"])]
    only: Vec<String>,
}

/// A test that hangs must not hang everything.
const LIMIT: Duration = Duration::from_secs(120);

/// What became of one mutant.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The named test failed.
    Caught,
    /// It passed.
    Survived,
    /// Neither: it does not build, or its test does not run.
    Broken(String),
}

/// Rows that have mutants, in their order: all of them, or as many as are wanted. The rank of a row depends on the seed and
/// its own id alone, so that a row more or less changes little.
pub(crate) fn draw(spec: &Spec, seed: Option<u64>, wanted: usize) -> Vec<&Row> {
    let mut rows: Vec<(usize, &Row)> = spec.rows.iter().enumerate().collect();
    rows.retain(|(_, row)| !row.mutants.is_empty());
    if let Some(seed) = seed {
        rows.sort_by_key(|(_, row)| hash(&[&seed.to_string(), &row.id]));
        rows.truncate(wanted);
        rows.sort_by_key(|(at, _)| *at);
    }
    rows.into_iter().map(|(_, row)| row).collect()
}

/// Changes when a row is another one, or any of its mutants or the tests that must notice them.
pub(crate) fn fingerprint(rows: &[&Row]) -> String {
    let mut parts: Vec<String> = Vec::new();
    for row in rows {
        parts.push(row.id.clone());
        for mutant in &row.mutants {
            parts.extend([mutant.file.clone(), mutant.find.clone(), mutant.with.clone()]);
            parts.extend(row.test_of(mutant).map(Link::to_string));
        }
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    format!("{:016x}", hash(&parts))
}

/// FNV-1a with a mix at the end, since texts that differ in their last byte alone would rank beside each other.
fn hash(parts: &[&str]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in parts.iter().flat_map(|part| part.bytes().chain([0xFF])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash ^ (hash >> 31)
}

/// Tries the rows; returns what is to be recorded, if anything is.
///
/// # Errors
/// What kept it from trying, or that something was not caught.
pub(crate) fn run(
    workspace: &Workspace,
    spec: &Spec,
    options: &Options,
) -> Result<(Option<Record>, bool), String> {
    let seed = (!options.all).then_some(options.seed);
    let rows = if options.only.is_empty() {
        draw(spec, seed, options.rows)
    } else {
        named(spec, &options.only)?
    };
    if options.only.is_empty() && seed.is_some() && rows.len() < options.rows {
        return Err(format!("only {} rows have a mutant", rows.len()));
    }
    let laboratory = Laboratory::new(workspace)?;
    laboratory.prove_sound(&rows)?;
    let mut record = Record {
        seed,
        fingerprint: fingerprint(&rows),
        ..Record::default()
    };
    let mut table = format!(
        "\n{:<10}  {:<8}  {:>5}  file and test\n",
        "row", "verdict", "time"
    );
    for (index, row) in rows.iter().enumerate() {
        println!("[{}/{}] {}: {}", index + 1, rows.len(), row.id, row.says);
        let mut all_caught = true;
        for mutant in &row.mutants {
            let started = Instant::now();
            let test = row.test_of(mutant).ok_or("a mutant without a test")?;
            let verdict = laboratory.try_mutant(mutant, test)?;
            all_caught &= verdict == Verdict::Caught;
            let shown = match &verdict {
                Verdict::Caught => "caught",
                Verdict::Survived => "SURVIVED",
                Verdict::Broken(_) => "BROKEN",
            };
            let seconds = started.elapsed().as_secs_f64();
            println!("        {shown}: {test}, {seconds:.0} s");
            if let Verdict::Broken(why) = verdict {
                println!("{why}");
            }
            let _ = writeln!(
                table,
                "{:<10}  {shown:<8}  {seconds:>3.0} s  {}, {test}",
                row.id, mutant.file
            );
        }
        let list = if all_caught {
            &mut record.caught
        } else {
            &mut record.missed
        };
        list.push(row.id.clone());
    }
    print!("{table}");
    println!("{}", summary(&record));
    let sound = record.missed.is_empty();
    Ok((options.only.is_empty().then_some(record), sound))
}

/// "30 of 30 caught, seed 7".
pub(crate) fn summary(record: &Record) -> String {
    let total = record.caught.len() + record.missed.len();
    let which = record.seed.map_or("every row that has code".to_owned(), |seed| {
        format!("seed {seed}")
    });
    format!("{} of {total} caught, {which}", record.caught.len())
}

fn named<'s>(spec: &'s Spec, ids: &[String]) -> Result<Vec<&'s Row>, String> {
    ids.iter()
        .map(|id| match spec.row(id) {
            Some(row) if row.mutants.is_empty() => Err(format!("{id} has no mutant")),
            Some(row) => Ok(row),
            None => Err(format!("there is no row {id}")),
        })
        .collect()
}

/// The copy in which checks are taken out, and what is built from it.
struct Laboratory {
    tree: PathBuf,
    target: PathBuf,
}

impl Laboratory {
    fn new(workspace: &Workspace) -> Result<Self, String> {
        let folder = workspace.target().join("spec");
        let laboratory = Self {
            tree: folder.join("tree"),
            target: folder.join("target"),
        };
        copy::mirror(workspace, &laboratory.tree)?;
        Ok(laboratory)
    }

    /// Every test passes as long as nothing is taken out; otherwise its failing would prove nothing.
    fn prove_sound(&self, rows: &[&Row]) -> Result<(), String> {
        let mut tests: BTreeMap<Target, Vec<&Link>> = BTreeMap::new();
        for row in rows {
            for test in row.mutants.iter().filter_map(|mutant| row.test_of(mutant)) {
                tests.entry(Target::of(test)?).or_default().push(test);
            }
        }
        for (target, tests) in tests {
            println!("{target}: {} tests pass without a change?", tests.len());
            let program = self.build(&target)?;
            for test in tests {
                match self.judge(&program, &target, test)? {
                    Verdict::Survived => {}
                    verdict => return Err(format!("{test} does not pass without a change: {verdict:?}")),
                }
            }
        }
        Ok(())
    }

    fn try_mutant(&self, mutant: &Mutant, test: &Link) -> Result<Verdict, String> {
        let place = self.tree.join(&mutant.file);
        let text = read(&place)?;
        let target = Target::of(test)?;
        write(&place, &text.replacen(&mutant.find, &mutant.with, 1))?;
        let verdict = match self.build(&target) {
            Ok(program) => self.judge(&program, &target, test),
            Err(error) => Ok(Verdict::Broken(error)),
        };
        write(&place, &text)?;
        verdict
    }

    /// Builds one test program; returns where it is.
    fn build(&self, target: &Target) -> Result<PathBuf, String> {
        let output = Run::cargo(&self.tree)
            .args(["test", "--locked", "--no-run", "--package", &target.package])
            .args(target.selection())
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CARGO_TERM_COLOR", "never")
            .check_quietly()?;
        program_in(&output)
            .map(|program| self.tree.join(program))
            .ok_or_else(|| format!("cargo does not say what it built:\n{output}"))
    }

    fn judge(&self, program: &Path, target: &Target, test: &Link) -> Result<Verdict, String> {
        let directory = self.tree.join("crates").join(&target.package);
        let name = target.test_name(test);
        let run = Run::new(program, &directory)
            .args([name.as_str(), "--exact"])
            .env("RUST_BACKTRACE", "0");
        match run.capture_within(LIMIT, &self.target.join("output.txt")) {
            Ok((status, output)) => Ok(verdict_of(status.success(), &output, &name)),
            Err(error) => Ok(Verdict::Broken(error)),
        }
    }
}

/// The failing must be the test's own: a program that fails otherwise proves nothing.
fn verdict_of(success: bool, output: &str, name: &str) -> Verdict {
    if !output.contains("running 1 test\n") {
        return Verdict::Broken(format!("{name} did not run:\n{output}"));
    }
    let says = |word: &str| {
        let line = format!("test {name} ... {word}");
        let panics = format!("test {name} - should panic ... {word}");
        output
            .lines()
            .any(|found| found.ends_with(&line) || found.ends_with(&panics))
    };
    match success {
        true if says("ok") => Verdict::Survived,
        false if says("FAILED") => Verdict::Caught,
        _ => Verdict::Broken(format!("{name} neither passed nor failed:\n{output}")),
    }
}

/// A test program of a crate: its unit tests, or one file of its `tests`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    package: String,
    /// `None`: the library's own tests.
    file: Option<String>,
}

impl Target {
    /// From `crates/PACKAGE/tests/FILE.rs` or `crates/PACKAGE/src/…`.
    fn of(test: &Link) -> Result<Self, String> {
        let parts: Vec<&str> = test.file.split('/').collect();
        match parts[..] {
            ["crates", package, "tests", file] => Ok(Self {
                package: package.to_owned(),
                file: file.strip_suffix(".rs").map(str::to_owned),
            }),
            ["crates", package, "src", ..] => Ok(Self {
                package: package.to_owned(),
                file: None,
            }),
            _ => Err(format!("{test} is no test of a crate")),
        }
    }

    fn selection(&self) -> Vec<&str> {
        match &self.file {
            Some(file) => vec!["--test", file],
            None => vec!["--lib"],
        }
    }

    /// The test's name with the modules that it stands in.
    fn test_name(&self, test: &Link) -> String {
        if self.file.is_some() {
            return test.symbol.clone();
        }
        let path = test.file.split("/src/").nth(1).unwrap_or_default();
        let path = path
            .trim_end_matches(".rs")
            .trim_end_matches("/mod")
            .replace('/', "::");
        let module = if path == "lib" { String::new() } else { path + "::" };
        format!("{module}tests::{}", test.symbol)
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} {}",
            self.package,
            self.file.as_deref().unwrap_or("(unit tests)")
        )
    }
}

/// What stands in the parentheses of cargo's last line about an executable.
fn program_in(output: &str) -> Option<&str> {
    let line = output
        .lines()
        .rfind(|line| line.trim_start().starts_with("Executable "))?;
    let (_, behind) = line.rsplit_once('(')?;
    behind.strip_suffix(')')
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// The recorded runs with this one in place of the one before it of its kind.
pub(crate) fn merged(runs: Vec<Record>, record: Record) -> Vec<Record> {
    let mut runs: Vec<Record> = runs
        .into_iter()
        .filter(|run| run.seed.is_some() != record.seed.is_some())
        .collect();
    runs.push(record);
    runs.sort_by_key(|run| run.seed.is_none());
    runs
}

/// # Errors
/// When the file cannot be written.
pub(crate) fn store(workspace: &Workspace, path: &str, runs: &[Record]) -> Result<(), String> {
    write(&workspace.root().join(path), &data::write_runs(runs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(rows: usize) -> Spec {
        let row = |n: usize| Row {
            id: format!("5.1-{n}"),
            mutants: vec![Mutant::default(); usize::from(!n.is_multiple_of(4))],
            ..Row::default()
        };
        Spec {
            rows: (1..=rows).map(row).collect(),
            ..Spec::default()
        }
    }

    fn ids(rows: &[&Row]) -> Vec<String> {
        rows.iter().map(|row| row.id.clone()).collect()
    }

    #[test]
    fn a_draw_depends_on_the_seed_and_little_on_the_list() {
        let (spec, longer) = (spec(100), spec(104));
        let drawn = ids(&draw(&spec, Some(1), 30));
        assert_eq!(drawn.len(), 30);
        assert_eq!(drawn, ids(&draw(&spec, Some(1), 30)));
        assert_ne!(drawn, ids(&draw(&spec, Some(2), 30)));
        assert!(
            drawn
                .iter()
                .all(|id| spec.row(id).is_some_and(|row| !row.mutants.is_empty()))
        );
        let longer = ids(&draw(&longer, Some(1), 30));
        let same = drawn.iter().filter(|id| longer.contains(id)).count();
        assert!(same >= 27, "{same} rows are the same");
        assert_eq!(draw(&spec, None, 0).len(), 75, "all that have a mutant");
        // Each row has its chance.
        let ever: std::collections::BTreeSet<String> = (0..40)
            .flat_map(|seed| ids(&draw(&spec, Some(seed), 30)))
            .collect();
        assert_eq!(ever.len(), 75);
    }

    #[test]
    fn a_fingerprint_is_of_the_mutants() {
        let mut spec = spec(10);
        let before = fingerprint(&draw(&spec, None, 0));
        assert_eq!(fingerprint(&draw(&spec, None, 0)), before);
        spec.rows[0].says = "Other words.".into();
        assert_eq!(fingerprint(&draw(&spec, None, 0)), before);
        spec.rows[0].mutants[0].with = "other code".into();
        assert_ne!(fingerprint(&draw(&spec, None, 0)), before);
    }

    #[test]
    fn only_the_named_test_counts() {
        let check = |success: bool, output: &str, expect: &str| {
            let verdict = format!("{:?}", verdict_of(success, output, "a::proves"));
            assert!(verdict.starts_with(expect), "{output:?}: {verdict}");
        };
        check(true, "running 1 test\ntest a::proves ... ok\n", "Survived");
        check(false, "running 1 test\ntest a::proves ... FAILED\n", "Caught");
        check(
            false,
            "running 1 test\ntest a::proves - should panic ... FAILED\n",
            "Caught",
        );
        check(true, "running 0 tests\n", "Broken");
        check(
            false,
            "running 1 test\nmemory allocation of 9 bytes failed\n",
            "Broken",
        );
        check(false, "running 2 tests\ntest a::proves ... FAILED\n", "Broken");
        check(false, "error: no such option\n", "Broken");
    }

    #[test]
    fn targets_follow_from_paths() {
        let check = |file: &str, package: &str, selection: &[&str], name: &str| {
            let test = Link {
                file: file.into(),
                symbol: "proves".into(),
            };
            let target = Target::of(&test).unwrap();
            assert_eq!(
                (target.package.as_str(), target.selection().as_slice()),
                (package, selection)
            );
            assert_eq!(target.test_name(&test), name);
        };
        check("crates/a/tests/b.rs", "a", &["--test", "b"], "proves");
        check("crates/a/src/b.rs", "a", &["--lib"], "b::tests::proves");
        check("crates/a/src/b/c.rs", "a", &["--lib"], "b::c::tests::proves");
        check("crates/a/src/b/mod.rs", "a", &["--lib"], "b::tests::proves");
        check("crates/a/src/lib.rs", "a", &["--lib"], "tests::proves");
        let outside = Link {
            file: "sim/src/x.rs".into(),
            symbol: "proves".into(),
        };
        assert!(Target::of(&outside).is_err());
        assert!(
            Target::of(&Link {
                file: "crates/a/tests/b/c.rs".into(),
                ..outside
            })
            .is_err()
        );
    }

    #[test]
    fn the_program_is_what_cargo_names() {
        let output = "   Compiling a v0.1.0\n    Finished `test` profile\n  Executable tests/b.rs (target/debug/deps/b-1f)\n";
        assert_eq!(program_in(output), Some("target/debug/deps/b-1f"));
        let unit = "  Executable unittests src/lib.rs (/t/debug/deps/a-2e)\n";
        assert_eq!(program_in(unit), Some("/t/debug/deps/a-2e"));
        assert_eq!(program_in("    Finished\n"), None);
    }

    #[test]
    fn a_run_replaces_the_one_of_its_kind() {
        let run = |seed: Option<u64>, mark: &str| Record {
            seed,
            fingerprint: mark.into(),
            ..Record::default()
        };
        let runs = merged(vec![run(None, "a"), run(Some(1), "b")], run(Some(2), "c"));
        assert_eq!(runs, [run(Some(2), "c"), run(None, "a")]);
        assert_eq!(merged(runs, run(None, "d")), [run(Some(2), "c"), run(None, "d")]);
    }
}
