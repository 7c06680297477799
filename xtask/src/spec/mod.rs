//! `cargo xtask spec`: every MUST and MUST NOT of RFC 6455, tied to the place that keeps it and to the test that proves it.

mod check;
mod data;
mod mutate;
mod page;
pub(crate) mod source;
mod toml;

use std::collections::BTreeSet;

use crate::workspace::Workspace;
use check::{Files, Finding};
use data::{Run, Spec};

const LIST: &str = "docs/rfc6455.toml";
const RUNS: &str = "docs/rfc6455.mutants.toml";
const PAGE: &str = "docs/rfc6455.md";

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    /// Writes docs/rfc6455.md; otherwise it must be what the list says
    #[arg(long)]
    write: bool,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Takes enforcing checks out, in a copy of the tree, and runs the tests that must notice
    Mutate(mutate::Options),
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), String> {
    match &options.command {
        None if options.write => write(workspace),
        None => check(workspace),
        Some(Command::Mutate(options)) => mutate(workspace, options),
    }
}

/// The step of `cargo xtask test`: the list is whole, all it names is there, and the page is its own.
pub(crate) fn check(workspace: &Workspace) -> Result<(), String> {
    let known = Known::read(workspace)?;
    let mut findings = known.findings();
    let page = std::fs::read_to_string(workspace.root().join(PAGE)).unwrap_or_default();
    if page != page::page(&known.spec, &known.runs) {
        findings.push(Finding {
            line: 0,
            message: format!("{PAGE} is not what the list says: cargo xtask spec --write"),
        });
    }
    print!("{}", page::summary(&known.spec, &known.runs));
    report(&findings)
}

/// Writes the page; what is wrong with the list is said all the same.
fn write(workspace: &Workspace) -> Result<(), String> {
    let known = Known::read(workspace)?;
    let page = page::page(&known.spec, &known.runs);
    std::fs::write(workspace.root().join(PAGE), page).map_err(|error| format!("{PAGE}: {error}"))?;
    print!("{}", page::summary(&known.spec, &known.runs));
    report(&known.findings())
}

fn mutate(workspace: &Workspace, options: &mutate::Options) -> Result<(), String> {
    let known = Known::read(workspace)?;
    let wrong: Vec<Finding> = known
        .findings()
        .into_iter()
        // What the record lacks is what this run is for.
        .filter(|finding| finding.line > 0)
        .collect();
    report(&wrong)?;
    let (record, sound) = mutate::run(workspace, &known.spec, options)?;
    if let Some(record) = record {
        mutate::store(workspace, RUNS, &mutate::merged(known.runs, record))?;
        println!("recorded in {RUNS}; cargo xtask spec --write puts it into {PAGE}");
    }
    if sound {
        Ok(())
    } else {
        Err("a test did not notice that what it proves was taken out".into())
    }
}

/// The list, its runs, and the files that it names.
struct Known {
    spec: Spec,
    runs: Vec<Run>,
    files: Files,
}

impl Known {
    fn read(workspace: &Workspace) -> Result<Self, String> {
        let read = |name: &str| {
            std::fs::read_to_string(workspace.root().join(name)).map_err(|error| format!("{name}: {error}"))
        };
        let spec = Spec::parse(&read(LIST)?).map_err(|error| format!("{LIST}: {error}"))?;
        let runs =
            data::parse_runs(&read(RUNS).unwrap_or_default()).map_err(|error| format!("{RUNS}: {error}"))?;
        let names: BTreeSet<&String> = spec
            .rows
            .iter()
            .flat_map(|row| {
                let links = row.places.iter().chain(&row.tests).map(|link| &link.file);
                links.chain(row.mutants.iter().map(|mutant| &mutant.file))
            })
            .collect();
        // A file that is not there is found where it is named.
        let files = names
            .into_iter()
            .filter_map(|name| Some((name.clone(), read(name).ok()?)))
            .collect();
        Ok(Self { spec, runs, files })
    }

    fn findings(&self) -> Vec<Finding> {
        check::all(&self.spec, &self.runs, &self.files)
    }
}

fn report(findings: &[Finding]) -> Result<(), String> {
    for Finding { line, message } in findings {
        match line {
            0 => println!("{LIST}: {message}"),
            line => println!("{LIST}:{line}: {message}"),
        }
    }
    match findings.len() {
        0 => Ok(()),
        count => Err(format!("{count} findings in {LIST}")),
    }
}
