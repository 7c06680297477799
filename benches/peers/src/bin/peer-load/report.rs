//! The table, the verdicts, and the figures as JSON.

use std::path::Path;

use serde::Serialize;

use crate::cell::Cell;
use crate::statistics::Spread;
use crate::{ALL_OURS, FLOOR, OURS, Result, picture};

#[derive(Serialize)]
pub(crate) struct Report {
    /// Made to see whether everything works: the figures mean nothing.
    quick: bool,
    pub(crate) servers: Vec<&'static str>,
    pub(crate) cells: Vec<CellReport>,
    /// Instructions per message of 16 B at depth 16, outside the kernel.
    pub(crate) instructions: Vec<Figure>,
    /// Bytes per idle connection.
    pub(crate) idle_bytes: Vec<Figure>,
}

#[derive(Serialize)]
pub(crate) struct CellReport {
    pub(crate) cell: Cell,
    rounds: usize,
    pub(crate) rows: Vec<Row>,
    /// The better of our two ways.
    pub(crate) ours: &'static str,
    pub(crate) fastest_peer: &'static str,
    /// Ours divided by the fastest peer's, pair by pair.
    pub(crate) ratio: Spread,
    bar: f64,
}

#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    ns_per_message: Spread,
    /// Divided by ours, pair by pair.
    pub(crate) to_ours: Spread,
}

#[derive(Serialize)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) figure: f64,
}

/// The cell in which we must be clearly faster, and by how much.
const BATCHED: (Cell, f64) = (Cell::new(16, 64, 32), 0.7);

/// Our idle memory divided by the leanest peer's.
const IDLE_BAR: f64 = 1.0 / 3.0;

impl Report {
    pub(crate) fn new(servers: &[&'static str], quick: bool) -> Self {
        Self {
            quick,
            servers: servers.to_vec(),
            cells: Vec::new(),
            instructions: Vec::new(),
            idle_bytes: Vec::new(),
        }
    }

    /// `figures`: for each server the nanoseconds per message of each round.
    pub(crate) fn add_cell(&mut self, cell: Cell, figures: &[Vec<f64>]) {
        let medians: Vec<f64> = figures
            .iter()
            .map(|figures| Spread::of(figures.iter().copied()).median)
            .collect();
        let fastest = |is_one: &dyn Fn(&'static str) -> bool| {
            let ones = (0..medians.len()).filter(|index| is_one(self.servers[*index]));
            ones.min_by(|a, b| medians[*a].total_cmp(&medians[*b]))
                .unwrap_or_default()
        };
        let ours = fastest(&|name| ALL_OURS.contains(&name));
        let peer = fastest(&|name| name != FLOOR && !ALL_OURS.contains(&name));
        let pairs = |a: &[f64], b: &[f64]| Spread::of(a.iter().zip(b).map(|(a, b)| a / b));
        let row = |(name, theirs): (&&'static str, &Vec<f64>)| Row {
            name,
            ns_per_message: Spread::of(theirs.iter().copied()),
            to_ours: pairs(theirs, &figures[ours]),
        };
        let report = CellReport {
            cell,
            rounds: figures[ours].len(),
            ours: self.servers[ours],
            fastest_peer: self.servers[peer],
            ratio: pairs(&figures[ours], &figures[peer]),
            bar: if cell == BATCHED.0 { BATCHED.1 } else { 1.0 },
            rows: self.servers.iter().zip(figures).map(row).collect(),
        };
        report.print();
        self.cells.push(report);
    }

    pub(crate) fn add_instructions(&mut self, name: &'static str, figure: Option<f64>) {
        match figure {
            Some(figure) => {
                println!("{name}: {figure:.0} instructions per message, 16 B × 16");
                self.instructions.push(Figure { name, figure });
            }
            None => println!("{name}: no valgrind, so no instructions are counted"),
        }
    }

    pub(crate) fn add_idle(&mut self, name: &'static str, figure: f64) {
        println!("{name}: {figure:.0} bytes per idle connection");
        self.idle_bytes.push(Figure { name, figure });
    }

    /// Writes the files; says how many bars were missed.
    pub(crate) fn finish(&self, out: &Path) -> Result<usize> {
        std::fs::write(out.join("peers.json"), serde_json::to_string_pretty(self)? + "\n")?;
        std::fs::write(out.join("peers.svg"), picture::draw(self))?;
        println!("\n{} has the figures and the picture", out.display());
        let mut missed = 0;
        for cell in &self.cells {
            println!("{}", cell.verdict());
            missed += usize::from(!cell.holds());
        }
        if let Some((ours, leanest)) = self.idle_pair() {
            let ratio = ours / leanest.figure;
            let holds = ratio <= IDLE_BAR;
            missed += usize::from(!holds);
            println!(
                "{} idle memory: {ratio:.3} of {} (bar: {IDLE_BAR:.3})",
                mark(holds),
                leanest.name
            );
        }
        Ok(missed)
    }

    fn idle_pair(&self) -> Option<(f64, &Figure)> {
        let ours = self.idle_bytes.iter().find(|figure| figure.name == OURS)?;
        let peers = self
            .idle_bytes
            .iter()
            .filter(|figure| !ALL_OURS.contains(&figure.name));
        Some((ours.figure, peers.min_by(|a, b| a.figure.total_cmp(&b.figure))?))
    }
}

impl CellReport {
    fn print(&self) {
        println!(
            "\n{} ({} rounds), ns of server CPU per message",
            self.cell, self.rounds
        );
        for row in &self.rows {
            let (ns, ratio) = (row.ns_per_message, row.to_ours);
            println!(
                "  {:<26}{:>11.0} ({:.0}–{:.0}){:>10.2} of ours ({:.2}–{:.2})",
                row.name, ns.median, ns.low, ns.high, ratio.median, ratio.low, ratio.high
            );
        }
        println!("  {}", self.verdict());
    }

    /// Whether at most a quarter of the pairs would have to be left out for the bar to be met.
    fn holds(&self) -> bool {
        self.ratio.low <= self.bar
    }

    fn verdict(&self) -> String {
        let Spread { low, median, high } = self.ratio;
        format!(
            "{} {}: {} {median:.2} ({low:.2}–{high:.2}) of {} (bar: {:.1})",
            mark(self.holds()),
            self.cell,
            self.ours,
            self.fastest_peer,
            self.bar
        )
    }
}

fn mark(holds: bool) -> &'static str {
    if holds { "ok    " } else { "MISSED" }
}
