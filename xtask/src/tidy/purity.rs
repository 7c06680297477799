//! What code may not name: the core is pure, nothing that runs in the simulator reads a wall clock, and no
//! channel is unbounded.

use super::source::{Token, matches_at, shipped_files, tokens};
use super::{Finding, Tree};

/// Crates above the line of the layout: no sockets, tasks, clocks, threads, files, environment or random source.
pub(crate) const CORE: &[&str] = &[
    "weirline-codec",
    "weirline-handshake",
    "weirline-flow",
    "weirline-log",
    "weirline-connection",
    "weirline-resume",
];

/// The one crate that never runs in the simulator: the command line.
const OUTSIDE_THE_SIMULATOR: &str = "weirline";

const IMPURE_STD: &[&str] = &["net", "fs", "thread", "env", "process"];
const IMPURE_CRATES: &[&str] = &["tokio", "rand", "getrandom", "SystemTime"];
const WALL_CLOCKS: &[&str] = &["SystemTime", "UNIX_EPOCH", "chrono", "OffsetDateTime"];
const UNBOUNDED: &[&str] = &[
    "unbounded_channel",
    "unbounded",
    "UnboundedSender",
    "UnboundedReceiver",
];

/// The core crates name nothing of the outside world.
pub(crate) fn core(tree: &Tree) -> Vec<Finding> {
    scan(tree, CORE.iter().copied(), "purity", |tokens, at| {
        if let Some(module) = names_std_module(tokens, at, IMPURE_STD) {
            return Some(format!("a core crate names std::{module}"));
        }
        if matches_at(tokens, at, &["Instant", "::", "now"]) {
            return Some("a core crate reads a clock: take the time as an argument".into());
        }
        named(tokens, at, IMPURE_CRATES).map(|name| format!("a core crate names {name}"))
    })
}

/// I20: no safety property reads a wall clock; a seed could not be replayed either.
pub(crate) fn wall_clock(tree: &Tree) -> Vec<Finding> {
    let simulated: Vec<&str> = tree
        .crates()
        .filter(|name| *name != OUTSIDE_THE_SIMULATOR)
        .collect();
    scan(tree, simulated.into_iter(), "wall-clock", |tokens, at| {
        if matches_at(tokens, at, &["std", "::", "time", "::", "Instant", "::", "now"]) {
            return Some("the simulator cannot move this clock: use tokio::time::Instant".into());
        }
        named(tokens, at, WALL_CLOCKS).map(|name| format!("code that runs in the simulator names {name}"))
    })
}

/// Every queue has a named bound.
pub(crate) fn unbounded_channels(tree: &Tree) -> Vec<Finding> {
    let all: Vec<&str> = tree.crates().collect();
    let folders = all
        .into_iter()
        .map(|name| format!("crates/{name}/"))
        .chain(["sim/".to_owned()]);
    let mut findings = Vec::new();
    for folder in folders {
        scan_folder(tree, &folder, "unbounded", &mut findings, |tokens, at| {
            if matches_at(tokens, at, &["mpsc", "::", "channel", "(", ")"])
                || matches_at(tokens, at, &["mpsc", "::", "channel", "::", "<"])
                    && tokens[at..]
                        .iter()
                        .find(|token| token.text == "(")
                        .is_some_and(|open| {
                            let index = tokens.iter().position(|token| token == open).unwrap_or(at);
                            matches_at(tokens, index, &["(", ")"])
                        })
            {
                return Some("an unbounded channel".into());
            }
            named(tokens, at, UNBOUNDED).map(|name| format!("an unbounded channel: {name}"))
        });
    }
    findings
}

fn scan<'n>(
    tree: &Tree,
    crates: impl Iterator<Item = &'n str>,
    rule: &'static str,
    find: impl Fn(&[Token<'_>], usize) -> Option<String>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in crates {
        scan_folder(tree, &format!("crates/{name}/"), rule, &mut findings, &find);
    }
    findings
}

fn scan_folder(
    tree: &Tree,
    folder: &str,
    rule: &'static str,
    findings: &mut Vec<Finding>,
    find: impl Fn(&[Token<'_>], usize) -> Option<String>,
) {
    for (path, code) in shipped_files(tree, folder) {
        let tokens = tokens(&code);
        for (at, token) in tokens.iter().enumerate() {
            if let Some(message) = find(&tokens, at) {
                findings.push(Finding::new(rule, path, token.line, message));
            }
        }
    }
}

fn named<'n>(tokens: &[Token<'_>], at: usize, names: &[&'n str]) -> Option<&'n str> {
    names.iter().copied().find(|name| *name == tokens[at].text)
}

/// `std::net`, or `std::{…, net::…}`.
fn names_std_module<'n>(tokens: &[Token<'_>], at: usize, modules: &[&'n str]) -> Option<&'n str> {
    if !matches_at(tokens, at, &["std", "::"]) || at + 2 >= tokens.len() {
        return None;
    }
    if tokens[at + 2].text != "{" {
        return named(tokens, at + 2, modules);
    }
    let mut depth = 0usize;
    for index in at + 2..tokens.len() {
        match tokens[index].text {
            "{" => depth += 1,
            "}" if depth == 1 => return None,
            "}" => depth -= 1,
            _ if depth == 1 && ["{", ","].contains(&tokens[index - 1].text) => {
                if let Some(module) = named(tokens, index, modules) {
                    return Some(module);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rule: fn(&Tree) -> Vec<Finding>, path: &str, code: &str) -> usize {
        let manifest = "crates/weirline-server/Cargo.toml";
        rule(&Tree::planted(&[
            (path, code),
            (manifest, ""),
            ("crates/weirline/Cargo.toml", ""),
        ]))
        .len()
    }

    #[test]
    fn an_impure_core_is_found() {
        let check = |code: &str, expect: usize| {
            assert_eq!(
                found(core, "crates/weirline-codec/src/a.rs", code),
                expect,
                "{code}"
            );
        };
        check("use std::net::TcpStream;", 1);
        check("use std::{fmt, net::{IpAddr}};", 1);
        check("use std::{fmt, collections::{BTreeMap}, fs};", 1);
        check("fn f() { std::thread::yield_now() }", 1);
        check("let t = Instant::now();", 1);
        check("use std::time::SystemTime;", 1);
        check("use tokio::time;", 1);
        check("let x: u8 = rand::random();", 1);
        check(
            "use std::{fmt, time::Duration}; use core::net::IpAddr; let net = 1;",
            0,
        );
        check(
            "// std::net\n/// tokio\nfn operand(now: std::time::Instant) {}",
            0,
        );
        check(
            "#[cfg(test)] mod tests { use std::time::Instant; fn f() { Instant::now(); } }",
            0,
        );
        assert_eq!(
            found(core, "crates/weirline-tokio/src/a.rs", "use tokio::time;"),
            0
        );
    }

    #[test]
    fn a_wall_clock_in_simulated_code_is_found() {
        let check = |path: &str, code: &str, expect: usize| {
            assert_eq!(found(wall_clock, path, code), expect, "{path} {code}");
        };
        check("crates/weirline-server/src/a.rs", "SystemTime::now()", 1);
        check("crates/weirline-server/src/a.rs", "std::time::Instant::now()", 1);
        check(
            "crates/weirline-server/src/a.rs",
            "tokio::time::Instant::now()",
            0,
        );
        check("crates/weirline/src/a.rs", "SystemTime::now()", 0);
    }

    #[test]
    fn an_unbounded_channel_is_found() {
        let check = |code: &str, expect: usize| {
            assert_eq!(
                found(unbounded_channels, "crates/weirline-server/src/a.rs", code),
                expect,
                "{code}"
            );
            assert_eq!(found(unbounded_channels, "sim/src/a.rs", code), expect, "{code}");
        };
        check("let (a, b) = tokio::sync::mpsc::unbounded_channel();", 1);
        check("let (a, b) = std::sync::mpsc::channel();", 1);
        check("let (a, b) = mpsc::channel::<Vec<u8>>();", 1);
        check("let (a, b) = mpsc::channel(16); weirline_tokio::channel(4);", 0);
        check("let (a, b) = mpsc::channel::<Vec<u8>>(16); f();", 0);
    }
}
