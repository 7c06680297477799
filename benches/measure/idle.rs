//! Memory of the server per connection that has sent one message and is idle.

use std::path::Path;

use crate::client::{Client, short_frame};
use crate::server::Server;
use crate::{Outcome, judge};

const BAR_BYTES: f64 = 2048.0;
const PER_SOURCE: usize = 2500;
/// Connections that are opened and kept before the first look, so that what is allocated once is not counted.
const WARM_UP: usize = 100;

pub(crate) fn run(binary: &Path, connections: usize) -> Outcome {
    let server = Server::start(binary)?;
    let warm = open(&server, WARM_UP, 1)?;
    let before = server.resident_bytes()?;
    let mut held = Vec::new();
    let mut source = 2;
    while held.len() < connections {
        held.extend(open(&server, PER_SOURCE.min(connections - held.len()), source)?);
        source += 1;
    }
    let after = server.resident_bytes()?;
    println!(
        "{connections} idle connections after one echo of 125 B; server {before} -> {after} bytes resident"
    );
    #[expect(clippy::cast_precision_loss, reason = "sizes below 2^52")]
    let per_connection = after.saturating_sub(before) as f64 / connections as f64;
    judge("memory per idle connection", per_connection, BAR_BYTES, "bytes")?;
    drop((warm, held));
    server.stop()
}

fn open(server: &Server, connections: usize, source: u8) -> Outcome<Vec<Client>> {
    let request = short_frame(0x82, &[7; 125]);
    let answer = [&[0x82, 125][..], &[7; 125]].concat();
    (0..connections)
        .map(|_| {
            let mut client = Client::connect(server.address, source)?;
            if client.exchange(&request, answer.len())? != answer {
                return Err("the echo is wrong".into());
            }
            Ok(client)
        })
        .collect()
}
