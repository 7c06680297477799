//! The picture: for each cell a row, for each server a point at its CPU per message relative to ours, and bars below for
//! instructions and memory.

use std::fmt::Write;

use crate::OURS;
use crate::report::{CellReport, Figure, Report};
use crate::statistics::Spread;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 96.0;
const ROW: f64 = 40.0;
const BAR: f64 = 20.0;

/// The ends of the scale, relative to ours.
const LEAST: f64 = 0.3;
const MOST: f64 = 64.0;

const COLOURS: [&str; 9] = [
    "#0b5cad", "#8a8a8a", "#b03a2e", "#e59866", "#1e8449", "#7dcea0", "#7d3c98", "#b7950b", "#5b8ff9",
];

pub(crate) fn draw(report: &Report) -> String {
    let mut svg = String::new();
    let cells_end = TOP + ROW * as_f64(report.cells.len());
    let bars = as_f64(report.instructions.len() + report.idle_bytes.len());
    let height = cells_end + 90.0 + bars * BAR + 70.0;
    line(
        &mut svg,
        format_args!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">"#
        ),
    );
    line(
        &mut svg,
        format_args!(r##"<rect width="100%" height="100%" fill="#fff"/>"##),
    );
    text(
        &mut svg,
        16.0,
        24.0,
        "Server CPU per echoed message, relative to weirline (log scale; bar: middle half of the pairs)",
    );
    legend(&mut svg, report);
    scale(&mut svg, cells_end);
    for (index, cell) in report.cells.iter().enumerate() {
        row(&mut svg, report, cell, TOP + ROW * (as_f64(index) + 0.5));
    }
    let mut y = cells_end + 60.0;
    y = figures(
        &mut svg,
        report,
        "Instructions per message outside the kernel, 16 B × 16 (log scale)",
        &report.instructions,
        y,
    );
    figures(
        &mut svg,
        report,
        "Bytes of server memory per idle connection (log scale)",
        &report.idle_bytes,
        y,
    );
    svg.push_str("</svg>\n");
    svg
}

fn legend(svg: &mut String, report: &Report) {
    for (index, name) in report.servers.iter().enumerate() {
        let (x, y) = (24.0 + 235.0 * as_f64(index % 4), 48.0 + 18.0 * as_f64(index / 4));
        point(svg, report, name, x, y - 4.0);
        text(svg, x + 10.0, y, name);
    }
}

fn scale(svg: &mut String, end: f64) {
    for tick in [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0] {
        let (x, strong) = (at(tick), tick == 1.0);
        let colour = if strong { "#0b5cad" } else { "#ddd" };
        line(
            svg,
            format_args!(r#"<line x1="{x:.1}" x2="{x:.1}" y1="{TOP}" y2="{end}" stroke="{colour}"/>"#),
        );
        text(svg, x - 6.0, end + 16.0, &format!("{tick}×"));
    }
}

fn row(svg: &mut String, report: &Report, cell: &CellReport, y: f64) {
    text(svg, 16.0, y + 4.0, &cell.cell.to_string());
    // Ours last, so that it lies on top.
    for row in cell.rows.iter().rev() {
        let Spread { low, median, high } = row.to_ours;
        let lane = as_f64(place(report, row.name)) * 3.6 - 12.6;
        line(
            svg,
            format_args!(
                r#"<line x1="{:.1}" x2="{:.1}" y1="{:.1}" y2="{:.1}" stroke="{}" stroke-width="2"/>"#,
                at(low),
                at(high),
                y + lane,
                y + lane,
                colour(report, row.name)
            ),
        );
        point(svg, report, row.name, at(median), y + lane);
    }
}

/// Bars, logarithmic too; returns where the next ones may begin.
fn figures(svg: &mut String, report: &Report, title: &str, figures: &[Figure], y: f64) -> f64 {
    if figures.is_empty() {
        return y;
    }
    text(svg, 16.0, y, title);
    let most = figures.iter().map(|figure| figure.figure).fold(1.0, f64::max);
    for (index, figure) in figures.iter().enumerate() {
        let top = y + 8.0 + BAR * as_f64(index);
        let width = (figure.figure.max(1.0).log10() / most.log10() * 560.0).max(1.0);
        text(svg, 32.0, top + 13.0, figure.name);
        line(
            svg,
            format_args!(
                r#"<rect x="210" y="{top:.1}" width="{width:.1}" height="{:.1}" fill="{}"/>"#,
                BAR - 5.0,
                colour(report, figure.name)
            ),
        );
        text(svg, 216.0 + width, top + 13.0, &format!("{:.0}", figure.figure));
    }
    y + BAR * as_f64(figures.len()) + 40.0
}

fn point(svg: &mut String, report: &Report, name: &str, x: f64, y: f64) {
    let radius = if name == OURS { 5.0 } else { 3.5 };
    line(
        svg,
        format_args!(
            r#"<circle cx="{x:.1}" cy="{y:.1}" r="{radius}" fill="{}"/>"#,
            colour(report, name)
        ),
    );
}

fn text(svg: &mut String, x: f64, y: f64, text: &str) {
    line(svg, format_args!(r#"<text x="{x:.1}" y="{y:.1}">{text}</text>"#));
}

fn line(svg: &mut String, element: std::fmt::Arguments<'_>) {
    writeln!(svg, "{element}").expect("a string takes everything");
}

fn colour(report: &Report, name: &str) -> &'static str {
    COLOURS[place(report, name) % COLOURS.len()]
}

fn place(report: &Report, name: &str) -> usize {
    report
        .servers
        .iter()
        .position(|server| *server == name)
        .unwrap_or(0)
}

/// Where a figure relative to ours stands.
fn at(ratio: f64) -> f64 {
    let part = (ratio.clamp(LEAST, MOST) / LEAST).ln() / (MOST / LEAST).ln();
    LEFT + part * (WIDTH - LEFT - RIGHT)
}

#[expect(clippy::cast_precision_loss, reason = "small counts")]
fn as_f64(count: usize) -> f64 {
    count as f64
}
