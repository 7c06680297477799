//! `cargo xtask fuzz`: the fuzz targets under libFuzzer, with the stable compiler.
//!
//! The fuzz crate stands outside the workspace (it needs its own lock file), so that nothing else checks it. What its targets do is in
//! the workspace's library `weirline-fuzz-targets`, whose tests replay `fuzz/corpus/TARGET/`. Inputs that are found here go to
//! `target/fuzz/corpus/TARGET/`, findings to `fuzz/artifacts/TARGET/`; neither is kept until somebody keeps it.

mod watch;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::process::Run;
use crate::workspace::Workspace;
use watch::{Outcome, Watched};

/// What drives libFuzzer; the flags that it gives the compiler are those of this version.
const CARGO_FUZZ: &str = "0.13.2";

/// A single input may take this long, in seconds, and the program this much memory, in MiB.
const INPUT_SECONDS_MAX: u32 = 10;
const MEMORY_MEBIBYTES_MAX: u32 = 1024;

/// So many inputs that libFuzzer found are kept for each target, the shortest: what the others reach is found again in seconds.
const CHOSEN_MAX: usize = 80;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// What to fuzz; everything by default
    targets: Vec<String>,
    /// How long each target runs
    #[arg(long, default_value_t = 10.0, value_name = "M")]
    minutes: f64,
    /// How many targets run at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// Runs this one input and nothing else: does it still fail?
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Makes this failing input smaller
    #[arg(long, value_name = "FILE", conflicts_with = "input")]
    minimise: Option<PathBuf>,
    /// Puts into fuzz/corpus what reaches code that the inputs there do not
    #[arg(long, conflicts_with_all = ["input", "minimise"])]
    distil: bool,
    /// Lists the targets and does nothing
    #[arg(long)]
    list: bool,
}

/// Type-checks the fuzz programs with warnings denied; the workspace's own steps check what they call.
pub(crate) fn check(workspace: &Workspace) -> Result<(), String> {
    let manifest = workspace.root().join("fuzz/Cargo.toml");
    if !manifest.is_file() {
        return Err("fuzz/Cargo.toml is missing".into());
    }
    // Shares the workspace's target directory: dependencies that agree in version and features are not checked twice.
    Run::cargo(workspace.root())
        .args(["check", "--locked", "--no-default-features"])
        .args(["--manifest-path", "fuzz/Cargo.toml"])
        .env("CARGO_TARGET_DIR", workspace.target())
        .check()
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), String> {
    let targets = choose(targets(workspace)?, &options.targets)?;
    if options.list {
        println!("{}", targets.join("\n"));
        return Ok(());
    }
    let fuzz = Fuzz {
        root: workspace.root().to_owned(),
        target: workspace.target().join("fuzz"),
        program: cargo_fuzz(workspace)?,
    };
    fuzz.build()?;
    if let Some(input) = options.input.as_ref().or(options.minimise.as_ref()) {
        let [target] = targets.as_slice() else {
            return Err("name the target that the input is for".into());
        };
        let input = std::path::absolute(input).map_err(|error| format!("{}: {error}", input.display()))?;
        let what = if options.input.is_some() { "run" } else { "tmin" };
        return fuzz.cargo(what).args([target]).args([&input]).check();
    }
    if options.distil {
        return targets.iter().try_for_each(|target| fuzz.distil(target));
    }
    if !(options.minutes > 0.0 && options.minutes <= 100_000.0) {
        return Err("--minutes takes a number above 0".into());
    }
    let outcomes = fuzz.all(
        &targets,
        Duration::from_secs_f64(options.minutes * 60.0),
        usize::from(options.jobs),
    )?;
    print!("{}", table(&outcomes));
    let findings: Vec<&str> = outcomes
        .iter()
        .filter(|outcome| outcome.failed)
        .map(|outcome| outcome.target.as_str())
        .collect();
    if findings.is_empty() {
        Ok(())
    } else {
        Err(format!("findings in {}", findings.join(", ")))
    }
}

/// The programs of `fuzz/fuzz_targets`, by name.
fn targets(workspace: &Workspace) -> Result<Vec<String>, String> {
    let folder = workspace.root().join("fuzz/fuzz_targets");
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".rs").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

fn choose(all: Vec<String>, named: &[String]) -> Result<Vec<String>, String> {
    match named.iter().find(|name| !all.contains(name)) {
        Some(unknown) => Err(format!(
            "no target is called `{unknown}`; there are {}",
            all.join(", ")
        )),
        None if named.is_empty() => Ok(all),
        None => Ok(named.to_vec()),
    }
}

/// Installs the pinned cargo-fuzz below the target directory, where it is not there yet; returns its program.
fn cargo_fuzz(workspace: &Workspace) -> Result<PathBuf, String> {
    let tools = workspace.target().join("tools");
    let program = tools
        .join("bin")
        .join(format!("cargo-fuzz{}", std::env::consts::EXE_SUFFIX));
    let installed = Run::new(&program, workspace.root())
        .args(["fuzz", "--version"])
        .capture();
    if installed.is_ok_and(|(status, text)| status.success() && text.contains(CARGO_FUZZ)) {
        return Ok(program);
    }
    println!("installing cargo-fuzz {CARGO_FUZZ} into {}", tools.display());
    Run::cargo(workspace.root())
        .args(["install", "--quiet", "--locked", "--force", "cargo-fuzz"])
        .args(["--version", &format!("={CARGO_FUZZ}")])
        .args(["--target-dir".as_ref(), tools.join("build").as_os_str()])
        .args(["--root".as_ref(), tools.as_os_str()])
        .check()?;
    Ok(program)
}

/// Where things are.
struct Fuzz {
    root: PathBuf,
    target: PathBuf,
    program: PathBuf,
}

impl Fuzz {
    /// No sanitizer: those need a nightly compiler, and there is no unsafe code of ours for them to look at.
    fn cargo(&self, what: &str) -> Run {
        Run::new(&self.program, &self.root)
            .args([
                "fuzz",
                what,
                "--sanitizer",
                "none",
                "--fuzz-dir",
                "fuzz",
                "--target-dir",
            ])
            .args([&self.target])
    }

    fn build(&self) -> Result<(), String> {
        self.cargo("build").check()
    }

    fn seeds(&self, target: &str) -> PathBuf {
        self.root.join("fuzz/corpus").join(target)
    }

    fn found(&self, target: &str) -> PathBuf {
        self.target.join("corpus").join(target)
    }

    /// Runs the targets, so many at once, and shows how they go.
    fn all(&self, targets: &[String], time: Duration, jobs: usize) -> Result<Vec<Outcome>, String> {
        let mut waiting = targets.iter();
        let mut running: Vec<Watched> = Vec::new();
        let mut outcomes = Vec::new();
        loop {
            while running.len() < jobs
                && let Some(target) = waiting.next()
            {
                running.push(Watched::start(target, &self.command(target, time)?, time)?);
            }
            if running.is_empty() {
                return Ok(outcomes);
            }
            std::thread::sleep(watch::LOOK);
            for index in (0..running.len()).rev() {
                if let Some(outcome) = running[index].look()? {
                    running.remove(index);
                    if outcome.failed {
                        self.explain(&outcome);
                    }
                    outcomes.push(outcome);
                }
            }
        }
    }

    fn command(&self, target: &str, time: Duration) -> Result<Run, String> {
        let found = self.found(target);
        for folder in [&found, &self.seeds(target)] {
            make_folder(folder)?;
        }
        let dictionary = self.root.join(format!("fuzz/dictionaries/{target}.dict"));
        let mut run = self
            .cargo("run")
            .args([target])
            .args([&found])
            .args([self.seeds(target)])
            .args(["--", "-print_final_stats=1"])
            .args([format!("-max_total_time={}", time.as_secs().max(1))])
            .args([format!("-timeout={INPUT_SECONDS_MAX}")])
            .args([format!("-rss_limit_mb={MEMORY_MEBIBYTES_MAX}")]);
        if dictionary.is_file() {
            run = run.args([format!("-dict={}", dictionary.display())]);
        }
        Ok(run)
    }

    /// What to do about a finding.
    fn explain(&self, outcome: &Outcome) {
        let target = &outcome.target;
        println!("\n{target}: a finding");
        for line in &outcome.why {
            println!("    {line}");
        }
        let Some(input) = &outcome.input else {
            println!("    no input was written; see above");
            return;
        };
        let input = input.strip_prefix(&self.root).unwrap_or(input).display();
        println!("    run it again:  cargo xtask fuzz {target} --input {input}");
        println!("    make it small: cargo xtask fuzz {target} --minimise {input}");
        println!("    keep it:       cp {input} fuzz/corpus/{target}/NAME");
        println!("                   and `cargo test -p weirline-fuzz-targets` fails until it is mended\n");
    }

    /// Inputs with a name of somebody's are kept; those that libFuzzer named are chosen anew, so that each reaches something that
    /// those before do not.
    fn distil(&self, target: &str) -> Result<(), String> {
        let (seeds, found) = (self.seeds(target), self.found(target));
        let chosen = self.target.join("distilled").join(target);
        let failed = |error: std::io::Error| format!("{}: {error}", seeds.display());
        let _ = std::fs::remove_dir_all(&chosen);
        for folder in [&chosen, &seeds, &found] {
            make_folder(folder)?;
        }
        for path in files(&seeds)?.iter().filter(|path| !is_named_by_hash(path)) {
            std::fs::copy(path, chosen.join(path.file_name().unwrap_or_default())).map_err(failed)?;
        }
        self.cargo("run")
            .args([target])
            .args([&chosen, &found, &seeds])
            // Edges alone, not how often each is taken: some dozens of inputs, not some thousands.
            .args([
                "--",
                "-set_cover_merge=1",
                "-use_counters=0",
                "-use_value_profile=0",
            ])
            .check_quietly()?;
        for path in files(&seeds)?.iter().filter(|path| is_named_by_hash(path)) {
            std::fs::remove_file(path).map_err(failed)?;
        }
        let length = |path: &PathBuf| std::fs::metadata(path).map_or(u64::MAX, |data| data.len());
        let mut all = files(&chosen)?;
        all.sort_by_cached_key(|path| (is_named_by_hash(path), length(path), path.clone()));
        let named = all.iter().filter(|path| !is_named_by_hash(path)).count();
        all.truncate(named + CHOSEN_MAX);
        let mut bytes = 0;
        for path in &all {
            bytes += std::fs::copy(path, seeds.join(path.file_name().unwrap_or_default())).map_err(failed)?;
        }
        println!("{target}: {} inputs, {bytes} bytes", all.len());
        Ok(())
    }
}

fn make_folder(path: &Path) -> Result<(), String> {
    std::fs::create_dir_all(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// The files of a folder, in order.
fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let entries = std::fs::read_dir(folder).map_err(failed)?;
    let paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>();
    let mut paths = paths.map_err(failed)?;
    paths.sort();
    Ok(paths)
}

/// libFuzzer names an input by its SHA-1.
fn is_named_by_hash(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn table(outcomes: &[Outcome]) -> String {
    let mut text = format!(
        "\n{:<18} {:>7} {:>13} {:>9} {:>7} {:>7}\n",
        "target", "minutes", "runs", "per s", "edges", "inputs"
    );
    for outcome in outcomes {
        let minutes = outcome.took.as_secs_f64() / 60.0;
        let verdict = if outcome.failed { "FINDING" } else { "ok" };
        let watch::Progress { runs, edges, inputs } = outcome.progress;
        #[expect(clippy::cast_precision_loss, reason = "a rate to show")]
        let rate = runs as f64 / outcome.took.as_secs_f64().max(1.0);
        text.push_str(&format!(
            "{:<18} {minutes:>7.1} {runs:>13} {rate:>9.0} {edges:>7} {inputs:>7}  {verdict}\n",
            outcome.target
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_chosen_by_name() {
        let all = || vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(choose(all(), &[]).unwrap(), all());
        assert_eq!(choose(all(), &["b".into()]).unwrap(), ["b"]);
        assert!(choose(all(), &["c".into()]).unwrap_err().contains("a, b"));
    }

    #[test]
    fn only_names_of_forty_hexadecimal_digits_are_libfuzzers() {
        let check =
            |name: &str, expect: bool| assert_eq!(is_named_by_hash(Path::new(name)), expect, "{name}");
        check("x/da39a3ee5e6b4b0d3255bfef95601890afd80709", true);
        check("x/two_origins", false);
        check("x/crash-da39a3ee5e6b4b0d3255bfef95601890afd80709", false);
        check("x/da39a3ee5e6b4b0d3255bfef95601890afd8070x", false);
    }
}
