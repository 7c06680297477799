//! `cargo xtask explore`: the session machines, breadth first; `explore mutants` takes the rules out of them, one at a time.
//!
//! Each `explore/mutants/*.patch` takes one rule of the protocol out of the shipped crates: its first line says which, its second
//! names the profile that must find it. A copy of the tree is patched and built, and the search must end with a violation.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

use crate::copy;
use crate::process::Run;
use crate::workspace::Workspace;

/// States per profile in `cargo xtask test`: with five profiles over a million.
const SHORT_STATES: &str = "220000";

/// A search that hangs must not hang everything.
const LIMIT: Duration = Duration::from_secs(1800);

#[derive(Parser)]
#[command(
    name = "cargo xtask explore mutants",
    bin_name = "cargo xtask explore mutants"
)]
struct Options {
    /// Tries only the mutant of this name (the patch's file name without `.patch`); may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// States within which each mutant must be caught
    #[arg(long, default_value_t = 2_000_000)]
    states: u32,
    /// Lists the mutants and does nothing
    #[arg(long)]
    list: bool,
}

/// A rule that is taken out.
struct Mutant {
    name: String,
    rule: String,
    profile: String,
    patch: PathBuf,
}

/// What the search said.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Caught {
        states: String,
        steps: String,
        fault: String,
    },
    Survived,
    Broken(String),
}

/// Forwards arguments and exit code; `mutants` is ours.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<ExitCode, String> {
    if arguments.first().is_some_and(|first| first == "mutants") {
        let name = OsString::from("cargo xtask explore mutants");
        let options = Options::try_parse_from(std::iter::once(&name).chain(&arguments[1..]));
        let sound = try_mutants(workspace, &options.unwrap_or_else(|error| error.exit()))?;
        return Ok(if sound {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
    let program = build(workspace.root(), &target(workspace), true)?;
    let status = Run::new(program, workspace.root()).args(arguments).status()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The step of `cargo xtask test`.
pub(crate) fn short(workspace: &Workspace) -> Result<(), String> {
    println!("$ cargo xtask explore --states {SHORT_STATES}");
    let program = build(workspace.root(), &target(workspace), true)?;
    Run::new(program, workspace.root())
        .args(["--states", SHORT_STATES])
        .check_within(LIMIT)
}

/// A target directory of its own: these settings would rebuild everything in the shared one, back and forth.
fn target(workspace: &Workspace) -> PathBuf {
    workspace.target().join("explore")
}

/// Optimized, and with the checks that the machines make of themselves.
fn build(root: &Path, target: &Path, shown: bool) -> Result<PathBuf, String> {
    let build = Run::cargo(root)
        .args(["build", "--locked", "--release", "--package", "weirline-explore"])
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
        .env("CARGO_TARGET_DIR", target);
    if shown {
        build.check()?;
    } else {
        build.check_quietly()?;
    }
    Ok(Workspace::binary(target, "release", "weirline-explore"))
}

fn try_mutants(workspace: &Workspace, options: &Options) -> Result<bool, String> {
    let mutants = choose(workspace, &options.only)?;
    let folder = workspace.target().join("explore-mutants");
    let (tree, target) = (folder.join("tree"), folder.join("target"));
    let mut table = String::from(
        "| rule that is taken out | profile | states | steps | found by |\n|---|---|---|---|---|\n",
    );
    let mut uncaught = 0;
    for (index, mutant) in mutants.iter().enumerate() {
        println!(
            "[{}/{}] {}: {}",
            index + 1,
            mutants.len(),
            mutant.name,
            mutant.rule
        );
        if options.list {
            continue;
        }
        let started = Instant::now();
        copy::mirror(workspace, &tree)?;
        let verdict = try_mutant(mutant, &tree, &target, options.states);
        let seconds = started.elapsed().as_secs_f64();
        println!("        {verdict:?}, {seconds:.0} s");
        uncaught += usize::from(!matches!(verdict, Verdict::Caught { .. }));
        let (states, steps, fault) = match &verdict {
            Verdict::Caught { states, steps, fault } => (&**states, &**steps, &**fault),
            Verdict::Survived => ("-", "-", "NOT FOUND"),
            Verdict::Broken(error) => ("-", "-", &**error),
        };
        let Mutant { rule, profile, .. } = mutant;
        let _ = writeln!(table, "| {rule} | {profile} | {states} | {steps} | {fault} |");
    }
    if !options.list {
        copy::mirror(workspace, &tree)?;
        println!("\n{table}\n{} caught, {uncaught} not", mutants.len() - uncaught);
    }
    Ok(uncaught == 0)
}

fn try_mutant(mutant: &Mutant, tree: &Path, target: &Path, states: u32) -> Verdict {
    // The ceiling keeps git from finding the repository around the copy, in which it would skip every file.
    let apply = Run::new("git", tree)
        .args(["apply", "--verbose"])
        .args([&mutant.patch])
        .env("GIT_CEILING_DIRECTORIES", tree.parent().unwrap_or(tree));
    let built = apply.check_quietly().and_then(|_| build(tree, target, false));
    let program = match built {
        Ok(program) => program,
        Err(error) => {
            println!("{error}");
            return Verdict::Broken("does not apply or build".into());
        }
    };
    let run = Run::new(program, tree)
        .args(["--profile", &mutant.profile, "--states", &states.to_string()])
        .args(["--calm-every", "1"]);
    match run.capture_within(LIMIT, &target.with_file_name("output.txt")) {
        Ok((status, output)) => {
            let verdict = verdict_of(status.code(), &output);
            let at = output.find("violation:").unwrap_or(output.len());
            println!("{}", &output[at..]);
            verdict
        }
        Err(error) => Verdict::Broken(error),
    }
}

fn verdict_of(code: Option<i32>, output: &str) -> Verdict {
    match code {
        Some(0) => return Verdict::Survived,
        Some(1) => {}
        _ => return Verdict::Broken("the search itself failed".into()),
    }
    let line = output.lines().find(|line| line.starts_with("violation:"));
    let Some((fields, fault)) = line.and_then(|line| line.split_once(" fault=")) else {
        return Verdict::Broken("no violation was told".into());
    };
    let field = |name: &str| {
        let mut words = fields.split_whitespace();
        words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    };
    Verdict::Caught {
        states: field("states").unwrap_or("?").to_owned(),
        steps: field("steps").unwrap_or("?").to_owned(),
        fault: fault.to_owned(),
    }
}

fn choose(workspace: &Workspace, only: &[String]) -> Result<Vec<Mutant>, String> {
    let mut mutants = Vec::new();
    for file in workspace.files()? {
        let name = file.strip_prefix("explore/mutants/");
        let Some(name) = name.and_then(|name| name.strip_suffix(".patch")) else {
            continue;
        };
        if !only.is_empty() && !only.iter().any(|wanted| wanted == name) {
            continue;
        }
        let patch = workspace.root().join(&file);
        let text = std::fs::read_to_string(&patch).map_err(|error| format!("{file}: {error}"))?;
        let (rule, profile) =
            aim_of(&text).ok_or_else(|| format!("{file}: its first lines are no rule and profile"))?;
        mutants.push(Mutant {
            name: name.to_owned(),
            rule,
            profile,
            patch,
        });
    }
    if mutants.is_empty() {
        return Err("no mutant is called so".into());
    }
    Ok(mutants)
}

/// The first two lines of a patch: the rule, and the profile that finds it.
fn aim_of(patch: &str) -> Option<(String, String)> {
    let mut lines = patch.lines();
    let mut line = || Some(lines.next()?.strip_prefix("# ")?.to_owned());
    Some((line()?, line()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_is_read() {
        let output = "publish 12 states\nviolation: profile=publish states=12 steps=3 calm=9 fault=I6: twice\n  1. x\n";
        let caught = Verdict::Caught {
            states: "12".into(),
            steps: "3".into(),
            fault: "I6: twice".into(),
        };
        assert_eq!(verdict_of(Some(1), output), caught);
        assert_eq!(verdict_of(Some(0), ""), Verdict::Survived);
        assert!(matches!(verdict_of(Some(1), "nothing"), Verdict::Broken(_)));
        assert!(matches!(verdict_of(None, output), Verdict::Broken(_)));
    }

    #[test]
    fn a_patch_names_its_rule_and_profile() {
        let expected = Some(("a rule".to_owned(), "publish".to_owned()));
        assert_eq!(aim_of("# a rule\n# publish\ndiff --git a/x b/x\n"), expected);
        assert_eq!(aim_of("# a rule\ndiff --git a/x b/x\n"), None);
    }
}
