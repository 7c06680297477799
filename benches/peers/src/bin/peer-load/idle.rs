//! Memory of the server per connection that has had one echo and is idle.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use crate::Result;
use crate::answers::Answers;
use crate::cell::Cell;
use crate::load::open;
use crate::server::Server;

/// Connections before the first look, so that what is allocated once is not counted.
const WARM_UP: usize = 100;

const CELL: Cell = Cell::new(125, 1, 1);

/// Bytes per connection.
pub(crate) fn measure(binary: &Path, name: &str, connections: usize) -> Result<f64> {
    let server = Server::start(binary, name)?;
    let mut held = Vec::new();
    open_all(&server, WARM_UP, &mut held)?;
    let before = server.resident_bytes()?;
    open_all(&server, connections, &mut held)?;
    let after = server.resident_bytes()?;
    #[expect(clippy::cast_precision_loss, reason = "below 2^52")]
    Ok(after.saturating_sub(before) as f64 / connections as f64)
}

fn open_all(server: &Server, connections: usize, held: &mut Vec<TcpStream>) -> Result {
    for _ in 0..connections {
        let mut stream = open(server.address)?;
        stream.write_all(&CELL.batch())?;
        let mut answer = [0; 127];
        stream.read_exact(&mut answer)?;
        if !Answers::new(CELL).take(&answer)? {
            return Err("not an echo".into());
        }
        held.push(stream);
    }
    Ok(())
}
