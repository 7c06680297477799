//! `cargo xtask sim mutants`: does the simulator find bugs that we know to be there?
//!
//! Each `sim/mutants/*.patch` plants one bug in the shipped crates. A copy of the tree is patched, the simulator is
//! built there and must fail within a number of seeds; on the copy without a patch it must not. A patch may name the scenario and the
//! oracle that must find it: what another oracle sees would not prove that one.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

use crate::copy;
use crate::process::Run;
use crate::sim;
use crate::workspace::Workspace;

/// Where a mutant is tried that names no scenario.
const SCENARIOS: [&str; 2] = ["smoke", "partition"];

/// A bug may hang the simulator itself, which none of its oracles can see.
const LIMIT: Duration = Duration::from_secs(900);

#[derive(Parser)]
#[command(name = "cargo xtask sim mutants", bin_name = "cargo xtask sim mutants")]
struct Options {
    /// Tries only the mutant of this name (the patch's file name without `.patch`); may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Seeds per scenario within which each mutant must be caught
    #[arg(long, default_value_t = 100)]
    seeds: u32,
    /// Lists the mutants and does nothing
    #[arg(long)]
    list: bool,
}

/// A planted bug.
struct Mutant {
    name: String,
    bug: String,
    aim: Option<Aim>,
    patch: PathBuf,
}

/// Which oracle must find a bug, and in which scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Aim {
    scenario: String,
    oracle: String,
}

impl Mutant {
    fn scenarios(&self) -> Vec<&str> {
        self.aim
            .as_ref()
            .map_or_else(|| SCENARIOS.to_vec(), |aim| vec![&aim.scenario])
    }
}

/// What the simulator said.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Caught {
        scenario: String,
        seeds: String,
        oracle: String,
    },
    Survived,
    /// Neither: the simulator broke, a patch does not apply or build, or other oracles than the one named found it.
    Broken(String),
}

struct Row {
    name: String,
    verdict: Verdict,
    took: Duration,
    bug: String,
}

pub(crate) fn command(workspace: &Workspace, arguments: &[OsString]) -> ExitCode {
    let name = OsString::from("cargo xtask sim mutants");
    let options = match Options::try_parse_from(std::iter::once(&name).chain(arguments)) {
        Ok(options) => options,
        Err(error) => error.exit(),
    };
    match run(workspace, &options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(workspace: &Workspace, options: &Options) -> Result<bool, String> {
    let mutants = choose(workspace, &options.only)?;
    if options.list {
        for mutant in &mutants {
            println!("{:<24} {}", mutant.name, mutant.bug);
        }
        return Ok(true);
    }
    let laboratory = Laboratory::new(workspace);
    let total = mutants.len() + 1;
    println!(
        "[1/{total}] the tree without a bug: {} seeds per scenario",
        options.seeds
    );
    let started = Instant::now();
    laboratory.restore()?;
    let program = sim::build(&laboratory.tree, &laboratory.target, true)?;
    let scenarios: BTreeSet<&str> = mutants.iter().flat_map(Mutant::scenarios).collect();
    let sound = laboratory.judge(&program, options.seeds, scenarios, None)?;
    println!(
        "        {}, {:.0} s",
        described(&sound, true),
        started.elapsed().as_secs_f64()
    );
    let mut rows = Vec::new();
    for (index, mutant) in mutants.into_iter().enumerate() {
        println!("[{}/{total}] {}: {}", index + 2, mutant.name, mutant.bug);
        let started = Instant::now();
        let verdict = laboratory.try_mutant(&mutant, options.seeds)?;
        let took = started.elapsed();
        println!(
            "        {}, {:.0} s",
            described(&verdict, false),
            took.as_secs_f64()
        );
        rows.push(Row {
            name: mutant.name,
            verdict,
            took,
            bug: mutant.bug,
        });
    }
    laboratory.restore()?;
    print!("{}", table(&rows));
    if sound != Verdict::Survived {
        println!("the tree without a bug failed: nothing above proves anything");
    }
    let uncaught = rows
        .iter()
        .filter(|row| !matches!(row.verdict, Verdict::Caught { .. }))
        .count();
    println!("{} caught, {uncaught} not", rows.len() - uncaught);
    Ok(sound == Verdict::Survived && uncaught == 0)
}

fn choose(workspace: &Workspace, only: &[String]) -> Result<Vec<Mutant>, String> {
    let mut mutants = Vec::new();
    for file in workspace.files()? {
        let Some(name) = file
            .strip_prefix("sim/mutants/")
            .and_then(|name| name.strip_suffix(".patch"))
        else {
            continue;
        };
        let patch = workspace.root().join(&file);
        let text = std::fs::read_to_string(&patch).map_err(|error| format!("{file}: {error}"))?;
        let bug = bug_of(&text).ok_or_else(|| format!("{file}: its first line does not name the bug"))?;
        mutants.push(Mutant {
            name: name.to_owned(),
            bug,
            aim: aim_of(&text),
            patch,
        });
    }
    if let Some(unknown) = only
        .iter()
        .find(|name| mutants.iter().all(|mutant| mutant.name != **name))
    {
        return Err(format!("no mutant is called `{unknown}`"));
    }
    mutants.retain(|mutant| only.is_empty() || only.contains(&mutant.name));
    if mutants.is_empty() {
        Err("there is no patch in sim/mutants".into())
    } else {
        Ok(mutants)
    }
}

/// The first line of a patch, a comment, says what is wrong with it.
fn bug_of(patch: &str) -> Option<String> {
    let first = patch.lines().next()?;
    let is_diff = first.starts_with("diff ") || first.starts_with("--- ");
    let words = first.trim_start_matches('#').trim();
    (!is_diff && !words.is_empty()).then(|| words.to_owned())
}

/// The second line, `# SCENARIO: ORACLE`, says what must find it.
fn aim_of(patch: &str) -> Option<Aim> {
    let (scenario, oracle) = patch.lines().nth(1)?.strip_prefix("# ")?.split_once(": ")?;
    Some(Aim {
        scenario: scenario.to_owned(),
        oracle: oracle.to_owned(),
    })
}

/// The copy of the tree in which bugs are planted, and what is built from it.
struct Laboratory<'w> {
    workspace: &'w Workspace,
    tree: PathBuf,
    target: PathBuf,
}

impl<'w> Laboratory<'w> {
    fn new(workspace: &'w Workspace) -> Self {
        let folder = workspace.target().join("mutants");
        Self {
            workspace,
            tree: folder.join("tree"),
            target: folder.join("target"),
        }
    }

    /// Makes the copy equal to the work tree.
    fn restore(&self) -> Result<(), String> {
        copy::mirror(self.workspace, &self.tree)
    }

    fn try_mutant(&self, mutant: &Mutant, seeds: u32) -> Result<Verdict, String> {
        self.restore()?;
        if let Err(error) = self.apply(&mutant.patch) {
            return Ok(Verdict::Broken(error));
        }
        match sim::build(&self.tree, &self.target, false) {
            Ok(program) => self.judge(&program, seeds, mutant.scenarios(), mutant.aim.as_ref()),
            Err(error) => {
                println!("{error}");
                Ok(Verdict::Broken("does not build".into()))
            }
        }
    }

    /// The ceiling keeps git from finding the repository around the copy, in which it would skip every file.
    fn apply(&self, patch: &Path) -> Result<(), String> {
        let ceiling = self.tree.parent().unwrap_or(&self.tree);
        let apply = Run::new("git", &self.tree)
            .args(["apply", "--verbose"])
            .args([patch])
            .env("GIT_CEILING_DIRECTORIES", ceiling);
        apply.check_quietly().map(drop).map_err(|error| {
            println!("{error}");
            "does not apply".to_owned()
        })
    }

    /// Runs scenarios until one finds something. With an aim all seeds are run: which oracle speaks first is chance.
    fn judge<'s>(
        &self,
        program: &Path,
        seeds: u32,
        scenarios: impl IntoIterator<Item = &'s str>,
        aim: Option<&Aim>,
    ) -> Result<Verdict, String> {
        let seeds = seeds.to_string();
        for scenario in scenarios {
            let run = Run::new(program, &self.tree)
                .args(["run", "--scenario", scenario, "--seeds", &seeds])
                .args(aim.map(|_| "--keep-going"));
            let file = self.target.with_file_name("output.txt");
            let (status, output) = match run.capture_within(LIMIT, &file) {
                Ok(ended) => ended,
                Err(error) => return Ok(Verdict::Broken(error)),
            };
            let oracle = aim.map(|aim| aim.oracle.as_str());
            let verdict = verdict_of(scenario, status.code(), &output, oracle);
            if verdict == Verdict::Survived {
                continue;
            }
            if let Verdict::Broken(_) = verdict {
                println!("{output}");
            }
            return Ok(verdict);
        }
        Ok(Verdict::Survived)
    }
}

/// Exit codes as `sim/README.md` gives them: 1, 2 and 3 are findings; 4 (a case that never arose) is none,
/// since few seeds may not reach it.
fn verdict_of(scenario: &str, code: Option<i32>, output: &str, wanted: Option<&str>) -> Verdict {
    let oracle = match code {
        Some(0 | 4) => return Verdict::Survived,
        Some(1) => "an invariant",
        Some(2) => "convergence",
        Some(3) => "determinism",
        Some(code) => return Verdict::Broken(format!("the simulator exited with {code}")),
        None => return Verdict::Broken("the simulator was ended by a signal".into()),
    };
    let mut violations = output
        .lines()
        .filter(|line| line.trim_start().starts_with("violation:"));
    let line = match wanted {
        None => violations.next().unwrap_or_default(),
        Some(wanted) => match violations.find(|line| field(line, "oracle") == Some(wanted)) {
            Some(line) => line,
            None => return Verdict::Broken(format!("found, but not by {wanted}")),
        },
    };
    Verdict::Caught {
        scenario: scenario.to_owned(),
        seeds: field(line, "after").unwrap_or("?").to_owned(),
        oracle: field(line, "oracle").unwrap_or(oracle).to_owned(),
    }
}

fn field<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    line.split_whitespace()
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

fn described(verdict: &Verdict, sound: bool) -> String {
    match (verdict, sound) {
        (Verdict::Survived, true) => "no violation".into(),
        (Verdict::Survived, false) => "NOT CAUGHT".into(),
        (Verdict::Broken(error), _) => format!("BROKEN: {error}"),
        (
            Verdict::Caught {
                scenario,
                seeds,
                oracle,
            },
            _,
        ) => format!("caught by {oracle} after {seeds} seeds of {scenario}"),
    }
}

fn table(rows: &[Row]) -> String {
    let width = rows
        .iter()
        .map(|row| row.name.len())
        .max()
        .unwrap_or(0)
        .max("mutant".len());
    let mut text = format!(
        "\n{:<width$}  caught  seeds  scenario         oracle        time  bug\n",
        "mutant"
    );
    for Row {
        name,
        verdict,
        took,
        bug,
    } in rows
    {
        let (caught, seeds, scenario, oracle) = match verdict {
            Verdict::Caught {
                scenario,
                seeds,
                oracle,
            } => ("yes", seeds.as_str(), scenario.as_str(), oracle.as_str()),
            Verdict::Survived => ("NO", "-", "-", "-"),
            Verdict::Broken(error) => ("BROKEN", "-", "-", error.as_str()),
        };
        let seconds = took.as_secs_f64();
        let _ = writeln!(
            text,
            "{name:<width$}  {caught:<6}  {seeds:>5}  {scenario:<15}  {oracle:<10}  {seconds:>4.0} s  {bug}"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_read() {
        let output = "smoke 12/100\nviolation: scenario=smoke seed=17 after=18 oracle=I6 twice in the log\n";
        let caught = Verdict::Caught {
            scenario: "smoke".into(),
            seeds: "18".into(),
            oracle: "I6".into(),
        };
        assert_eq!(verdict_of("smoke", Some(1), output, None), caught);
        let bare = |oracle: &str| Verdict::Caught {
            scenario: "smoke".into(),
            seeds: "?".into(),
            oracle: oracle.into(),
        };
        assert_eq!(verdict_of("smoke", Some(2), "", None), bare("convergence"));
        assert_eq!(verdict_of("smoke", Some(3), "", None), bare("determinism"));
        assert_eq!(verdict_of("smoke", Some(0), "", None), Verdict::Survived);
        assert_eq!(verdict_of("smoke", Some(4), "", None), Verdict::Survived);
        assert!(matches!(
            verdict_of("smoke", Some(5), "", None),
            Verdict::Broken(_)
        ));
        assert!(matches!(
            verdict_of("smoke", Some(101), "", None),
            Verdict::Broken(_)
        ));
        assert!(matches!(verdict_of("smoke", None, "", None), Verdict::Broken(_)));
    }

    #[test]
    fn an_aimed_mutant_must_be_found_by_its_oracle() {
        let output = "violation: scenario=fin-race seed=0 after=1 oracle=W9 lost\n\
                      violation: scenario=fin-race seed=3 after=4 oracle=W8 another code\n";
        let caught = |oracle: &str, seeds: &str| Verdict::Caught {
            scenario: "fin-race".into(),
            seeds: seeds.into(),
            oracle: oracle.into(),
        };
        let verdict = |wanted| verdict_of("fin-race", Some(1), output, wanted);
        assert_eq!(verdict(Some("W8")), caught("W8", "4"));
        assert_eq!(verdict(Some("W9")), caught("W9", "1"));
        assert_eq!(
            verdict(Some("W1")),
            Verdict::Broken("found, but not by W1".into())
        );
        assert_eq!(verdict(None), caught("W9", "1"));

        let aim = aim_of("# a bug\n# fin-race: W8\ndiff --git a/x b/x\n");
        let expected = Aim {
            scenario: "fin-race".into(),
            oracle: "W8".into(),
        };
        assert_eq!(aim, Some(expected));
        assert_eq!(aim_of("# a bug\ndiff --git a/x b/x\n"), None);
    }

    /// A repository of its own in the temporary folder, removed at the end.
    struct Planted(PathBuf);

    impl Planted {
        fn new(files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("weirline-mutants-{}", std::process::id()));
            for (name, text) in files {
                let path = root.join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            Run::new("git", &root)
                .args(["init", "--quiet"])
                .check_quietly()
                .unwrap();
            Self(root)
        }
    }

    impl Drop for Planted {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_bug_is_planted_in_the_copy_only_and_removed_again() {
        // With this first line git looks for the file from the top of the repository that it thinks it is in.
        let git = "diff --git a/crates/a.rs b/crates/a.rs";
        let patch =
            format!("# a bug\n{git}\n--- a/crates/a.rs\n+++ b/crates/a.rs\n@@ -1 +1 @@\n-right\n+wrong\n");
        let planted = Planted::new(&[
            (".gitignore", "/target\n"),
            ("crates/a.rs", "right\n"),
            ("sim/mutants/bug.patch", &patch),
            (
                "sim/mutants/stale.patch",
                &patch.replace("right", "changed since"),
            ),
        ]);
        let workspace = Workspace::at(&planted.0);
        let laboratory = Laboratory::new(&workspace);
        let copy = laboratory.tree.join("crates/a.rs");
        let text = |path: &Path| std::fs::read_to_string(path).unwrap();
        let mutants = choose(&workspace, &[]).unwrap();
        assert_eq!(
            mutants
                .iter()
                .map(|mutant| mutant.name.as_str())
                .collect::<Vec<_>>(),
            ["bug", "stale"]
        );

        laboratory.restore().unwrap();
        laboratory.apply(&mutants[0].patch).unwrap();
        assert_eq!(
            (
                text(&copy).as_str(),
                text(&planted.0.join("crates/a.rs")).as_str()
            ),
            ("wrong\n", "right\n")
        );

        std::fs::write(laboratory.tree.join("left-over"), "x").unwrap();
        laboratory.restore().unwrap();
        assert_eq!(text(&copy), "right\n");
        assert!(!laboratory.tree.join("left-over").exists());
        assert!(
            laboratory.apply(&mutants[1].patch).is_err(),
            "a patch that does not fit must not pass"
        );
        assert!(choose(&workspace, &["unknown".into()]).is_err());
    }

    #[test]
    fn a_patch_names_its_bug_first() {
        assert_eq!(
            bug_of("# a short write is ignored\ndiff --git a/x b/x\n").as_deref(),
            Some("a short write is ignored")
        );
        assert_eq!(bug_of("diff --git a/x b/x\n"), None);
        assert_eq!(bug_of("--- a/x\n+++ b/x\n"), None);
        assert_eq!(bug_of(""), None);
    }

    #[test]
    fn a_survivor_stands_out_in_the_table() {
        let row = |name: &str, verdict| Row {
            name: name.into(),
            verdict,
            took: Duration::from_secs(3),
            bug: "b".into(),
        };
        let caught = Verdict::Caught {
            scenario: "smoke".into(),
            seeds: "4".into(),
            oracle: "I2".into(),
        };
        let text = table(&[row("short-write", caught), row("other", Verdict::Survived)]);
        assert!(
            text.lines()
                .any(|line| line.starts_with("other") && line.contains("NO")),
            "{text}"
        );
        assert!(
            text.lines()
                .any(|line| line.starts_with("short-write") && line.contains("I2")),
            "{text}"
        );
    }
}
