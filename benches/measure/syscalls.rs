//! System calls per message: whether everything that belongs together leaves and arrives together.

use std::path::Path;
use std::process::Command;

use crate::client::{Client, short_frame};
use crate::server::Server;
use crate::{Outcome, judge};

const DEPTH: usize = 16;
const ROUNDS: usize = 2000;
const BAR: f64 = 0.1;

pub(crate) fn run(binary: &Path) -> Outcome {
    let report = std::env::temp_dir().join(format!("weirline-strace-{}", std::process::id()));
    let calls = "trace=recvfrom,recvmsg,read,readv,sendto,sendmsg,write,writev";
    let mut tracer = Command::new("strace");
    tracer.args(["-f", "-qq", "-c", "-e", calls, "-o"]).arg(&report);
    let server = Server::start_under(&mut tracer, binary)?;
    let mut client = Client::connect(server.address, 1)?;
    let request = short_frame(0x82, &[7; 16]).repeat(DEPTH);
    let answer = [&[0x82, 16][..], &[7; 16]].concat().repeat(DEPTH);
    for _ in 0..ROUNDS {
        if client.exchange(&request, answer.len())? != answer {
            return Err("the echo is wrong".into());
        }
    }
    drop(client);
    server.stop()?;
    let table = std::fs::read_to_string(&report)?;
    std::fs::remove_file(&report)?;
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let per_message = |names: &[&str]| {
        names.iter().map(|name| calls_of(&table, name)).sum::<u64>() as f64 / (DEPTH * ROUNDS) as f64
    };
    println!("{} messages of 16 B at depth {DEPTH}", DEPTH * ROUNDS);
    judge(
        "receiving calls per message",
        per_message(&["recvfrom", "recvmsg", "read", "readv"]),
        BAR,
        "",
    )?;
    judge(
        "sending calls per message",
        per_message(&["sendto", "sendmsg", "write", "writev"]),
        BAR,
        "",
    )
}

/// From strace's table: `% time, seconds, usecs/call, calls, [errors,] name`.
fn calls_of(table: &str, name: &str) -> u64 {
    let row = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut rows = row.filter(|columns| columns.last() == Some(&name));
    rows.next()
        .and_then(|columns| columns.get(3)?.parse().ok())
        .unwrap_or(0)
}
