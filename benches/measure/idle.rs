//! Memory of the server per connection that has sent one message and is idle.

use std::path::Path;

use crate::client::{Client, short_frame};
use crate::server::Server;
use crate::{Outcome, judge};

const BAR_BYTES: f64 = 2048.0;
const PER_SOURCE: usize = 2500;
/// Connections that are opened and kept before the first look, so that what is allocated once is not counted.
const WARM_UP: usize = 100;

/// What the measured connections do before they are idle.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// One echo of 125 B on `/echo`.
    Echo,
    /// A subscription at the head of one stream they share.
    Subscriber,
}

pub(crate) fn run(binary: &Path, connections: usize, kind: Kind) -> Outcome {
    let server = Server::start(binary)?;
    let warm = open(&server, WARM_UP, 1, kind)?;
    let before = server.resident_bytes()?;
    let mut held = Vec::new();
    let mut source = 2;
    while held.len() < connections {
        held.extend(open(
            &server,
            PER_SOURCE.min(connections - held.len()),
            source,
            kind,
        )?);
        source += 1;
    }
    let after = server.resident_bytes()?;
    println!("{connections} idle connections; server {before} -> {after} bytes resident");
    #[expect(clippy::cast_precision_loss, reason = "sizes below 2^52")]
    let per_connection = after.saturating_sub(before) as f64 / connections as f64;
    match kind {
        Kind::Echo => judge(
            "memory per idle connection, after one echo",
            per_connection,
            BAR_BYTES,
            "bytes",
        )?,
        Kind::Subscriber => println!("memory per idle subscriber: {per_connection:.0} bytes"),
    }
    drop((warm, held));
    server.stop()
}

fn open(server: &Server, connections: usize, source: u8, kind: Kind) -> Outcome<Vec<Client>> {
    (0..connections).map(|_| open_one(server, source, kind)).collect()
}

fn open_one(server: &Server, source: u8, kind: Kind) -> Outcome<Client> {
    let mut client;
    if kind == Kind::Echo {
        client = Client::connect(server.address, source)?;
        let answer = client.exchange(&short_frame(0x82, &[7; 125]), 127)?;
        if answer != [&[0x82, 125][..], &[7; 125]].concat() {
            return Err("the echo is wrong".into());
        }
    } else {
        client = Client::connect_to(server.address, source, "/v1/streams/idle")?;
        // RESUME_FROM:0, then RESUMED:0:0@ and the 16 digits of the epoch.
        let answer = client.exchange(&short_frame(0x81, b"RESUME_FROM:head"), 2 + 13 + 2 + 12 + 16)?;
        if !answer[2..].starts_with(b"RESUME_FROM:0") {
            return Err(format!("no subscription: {}", String::from_utf8_lossy(&answer)).into());
        }
    }
    Ok(client)
}
