//! Fills a small filesystem for good, looks at what the engine does, frees some space, and looks again.
//!
//! `cargo run --release -p weirline-log-redb --example full_disk -- DIRECTORY`. The directory should be on a filesystem of its
//! own, of some 40 to 200 MiB, for instance `mount -t tmpfs -o size=64m tmpfs DIRECTORY`. Ends with an error when the
//! engine does not do what it should.

use std::error::Error;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use weirline_log::{
    Command, EventLog as _, LogError, LogReader as _, LogWriter as _, Offset, PayloadKind, ReadLimits,
    StreamId,
};
use weirline_log_redb::{RedbConfig, RedbLog, RedbReader, RedbWriter};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const BATCH: u64 = 200;
const BALLAST_BYTES: usize = 16 << 20;
/// More than any filesystem that this is meant for.
const BATCHES_MAX: u64 = 20_000;

fn main() -> Result {
    let directory = std::env::args().nth(1).ok_or("which directory?")?;
    let (log, ballast) = (
        Path::new(&directory).join("log"),
        Path::new(&directory).join("ballast"),
    );
    File::create(&ballast)?.write_all(&vec![0xb5; BALLAST_BYTES])?;
    let config = RedbConfig {
        checkpoint_bytes: 4 << 20,
        ..RedbConfig::default()
    };

    let (mut writer, reader) = RedbLog::open(&log, config.clone(), 0x5eed)?.split();
    let (full, error) = publish_until_refused(&mut writer, 0)?;
    println!("{full} messages acknowledged, then: {error}");
    expect(
        matches!(error, LogError::StorageFull(_)),
        "the refusal is not typed",
    )?;
    let mut refused = 0;
    for _ in 0..50 {
        refused += u64::from(matches!(
            publish(&mut writer, full),
            Err(LogError::StorageFull(_))
        ));
        expect(count(&reader)? == full, "something is not read any more")?;
    }
    println!("{refused} of 50 more attempts refused; all {full} messages read after each");
    expect(refused == 50, "a message was acknowledged on a full disk")?;
    expect(writer.maintain(now()).is_err(), "upkeep says that all is well")?;

    fs::remove_file(&ballast)?;
    let mut tries = 0;
    while publish(&mut writer, full).is_err() {
        tries += 1;
        expect(tries <= 16, "publishing does not go on")?;
    }
    println!("space freed: publishing goes on after {tries} refused attempts, without a restart");
    let (more, _) = publish_until_refused(&mut writer, full + BATCH)?;
    println!("{more} messages acknowledged until it is full again");
    expect(count(&reader)? == more, "something is lost")?;

    drop((writer, reader));
    let (_writer, reader) = RedbLog::open(&log, config, 0xbeef)?.split();
    expect(
        count(&reader)? == more,
        "something is lost by opening a full disk",
    )?;
    println!("opened again on the full disk: all {more} messages are there");
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the time does not matter here")]
fn now() -> Instant {
    Instant::now()
}

fn expect(holds: bool, otherwise: &'static str) -> Result {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

fn stream() -> StreamId {
    StreamId::new("full").expect("it is a name")
}

fn publish(writer: &mut RedbWriter, from: u64) -> std::result::Result<(), LogError> {
    let message = |n: u64| Command::Append {
        stream: stream(),
        author: None,
        kind: PayloadKind::Text,
        payload: format!("{n:>200}").into(),
    };
    let batch: Vec<_> = (from + 1..=from + BATCH).map(message).collect();
    writer.commit(&batch, &mut Vec::new())
}

fn publish_until_refused(writer: &mut RedbWriter, from: u64) -> Result<(u64, LogError)> {
    let mut acknowledged = from;
    for _ in 0..BATCHES_MAX {
        match publish(writer, acknowledged) {
            Ok(()) => acknowledged += BATCH,
            Err(error) => return Ok((acknowledged, error)),
        }
    }
    Err("it is never full: take a smaller filesystem".into())
}

/// Reads everything, and checks that each message is the one of its number.
fn count(reader: &RedbReader) -> Result<u64> {
    let mut at = Offset::ZERO;
    let mut entries = Vec::new();
    let limits = ReadLimits {
        messages: 1000,
        bytes: 1 << 20,
    };
    loop {
        entries.clear();
        reader.read(&stream(), at, limits, &mut entries)?;
        for entry in &entries {
            let number: u64 = std::str::from_utf8(&entry.payload)?.trim_start().parse()?;
            expect(
                number == entry.offset.get(),
                "a message is not what was published",
            )?;
        }
        match entries.last() {
            Some(last) => at = last.offset,
            None => return Ok(at.get()),
        }
    }
}
