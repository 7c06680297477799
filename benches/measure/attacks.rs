//! Floods and lies. Each must be refused, or cost the server nothing.

use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::time::Duration;

use crate::client::{Client, short_frame};
use crate::server::Server;
use crate::{Outcome, judge};

const PINGS: usize = 1_000_000;
const FRAGMENTS: usize = 2_000_000;
const BURST: usize = 1000;
/// Messages of the warm-up, and their length: together many reads, each short enough to go through the worker's read buffer.
const WARM_UP_MESSAGES: usize = 512;
const WARM_UP_BYTES: u16 = 32 << 10;

pub(crate) fn run(binary: &Path) -> Outcome {
    let server = Server::start(binary)?;
    warm_up(&server)?;
    pings(&server)?;
    empty_fragments(&server)?;
    huge_length(&server)?;
    let mut client = Client::connect(server.address, 1)?;
    client.exchange(&short_frame(0x82, &[7; 125]), 127)?;
    println!("and a healthy client is still served");
    server.stop()
}

/// What is allocated once, such as a worker's read buffer, is not the attack's: more messages at once than that can hold, echoed.
fn warm_up(server: &Server) -> Outcome {
    let mut client = Client::connect(server.address, 1)?;
    let payload = vec![7; WARM_UP_BYTES.into()];
    let frames = [&[0x82, 0xfe][..], &WARM_UP_BYTES.to_be_bytes(), &[0; 4], &payload]
        .concat()
        .repeat(WARM_UP_MESSAGES);
    let mut writer = client.0.try_clone()?;
    let sender = std::thread::spawn(move || writer.write_all(&frames));
    let mut echoed = 0;
    let mut buffer = vec![0; 1 << 16];
    while echoed < WARM_UP_MESSAGES * payload.len() {
        echoed += client.0.read(&mut buffer)?;
    }
    sender.join().map_err(|_| "the sender panicked")??;
    Ok(())
}

/// A million pings of 125 bytes, none of whose answers is read.
fn pings(server: &Server) -> Outcome {
    let before = server.resident_bytes()?;
    let mut client = Client::connect(server.address, 1)?;
    let burst = short_frame(0x89, &[7; 125]).repeat(BURST);
    let mut peak = before;
    let mut sent = 0;
    client.0.set_write_timeout(Some(Duration::from_secs(5)))?;
    while sent < PINGS {
        match client.0.write(&burst) {
            Ok(_) => sent += BURST,
            Err(error) => {
                println!("1 M unread pings: refused after about {sent} ({})", error.kind());
                break;
            }
        }
        peak = peak.max(server.resident_bytes()?);
    }
    growth("1 M unread pings: growth of the server", before, peak, 64.0)
}

/// Two million empty fragments of one message.
fn empty_fragments(server: &Server) -> Outcome {
    let before = server.resident_bytes()?;
    let mut client = Client::connect(server.address, 1)?;
    client.0.write_all(&short_frame(0x02, &[]))?;
    let burst = short_frame(0x00, &[]).repeat(BURST);
    let mut sent = 0;
    while sent < FRAGMENTS && client.0.write_all(&burst).is_ok() {
        sent += BURST;
    }
    growth(
        "2 M empty fragments: growth of the server",
        before,
        server.resident_bytes()?,
        64.0,
    )?;
    expect_close(&mut client, 1008, "2 M empty fragments")
}

/// A frame that declares 2^63 - 1 bytes.
fn huge_length(server: &Server) -> Outcome {
    let before = server.resident_bytes()?;
    let mut client = Client::connect(server.address, 1)?;
    let header = [&[0x82, 0xff][..], &(u64::MAX >> 1).to_be_bytes(), &[1, 2, 3, 4]].concat();
    client.0.write_all(&header)?;
    expect_close(&mut client, 1009, "a declared length of 2^63 - 1")?;
    growth(
        "a declared length of 2^63 - 1: growth of the server",
        before,
        server.resident_bytes()?,
        64.0,
    )
}

fn growth(name: &str, before: u64, after: u64, bar_kibibytes: f64) -> Outcome {
    #[expect(clippy::cast_precision_loss, reason = "sizes below 2^52")]
    judge(
        name,
        after.saturating_sub(before) as f64 / 1024.0,
        bar_kibibytes,
        "KiB",
    )
}

/// The server must answer with this code, and then end the stream. A reset is accepted only after the code was seen, or where
/// the flood itself was still on its way.
fn expect_close(client: &mut Client, code: u16, name: &str) -> Outcome {
    let mut answer = Vec::new();
    let end = client.0.read_to_end(&mut answer);
    let [0x88, _, high, low, ..] = answer[..] else {
        return match end {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                println!("{name}: refused (reset while the flood was on its way)");
                Ok(())
            }
            other => Err(format!("{name}: no Close came: {other:?}, {answer:x?}").into()),
        };
    };
    let got = u16::from_be_bytes([high, low]);
    println!("{name}: refused with {got}");
    if got == code {
        Ok(())
    } else {
        Err(format!("{name}: expected {code}").into())
    }
}
