//! Prints what the engine does on a disk: publishing with every ack durable, opening after SIGKILL, replay from the file.
//!
//! `cargo run --release -p weirline-log-redb --example figures -- DIRECTORY [MIB] [SESSIONS] [BATCH]
//! [CHECKPOINT_MIB]`. The directory must not exist; it is removed in the end.

use std::error::Error;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use bytes::Bytes;
use weirline_log::{
    Attach, Author, Command, EventLog as _, LogReader as _, LogWriter as _, Offset, Outcome, PayloadKind,
    ReadLimits, Seq, SessionId, StreamId,
};
use weirline_log_redb::{Job, RedbConfig, RedbLog, RedbReader, RedbWriter};

const PAYLOAD_BYTES: usize = 256;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let number = |at: usize, default| arguments.get(at).map_or(Ok(default), |text| text.parse::<u64>());
    let directory = arguments.first().ok_or("which directory?")?;
    let directory = Path::new(directory);
    let (mib, sessions, batch) = (number(1, 1024)?, number(2, 1024)?, number(3, 1024)?);
    let checkpoint = number(4, 16)?;
    let count = (mib << 20) / PAYLOAD_BYTES as u64;
    if arguments.get(5).is_some() {
        return publish(directory, count, (sessions, batch, checkpoint));
    }
    if directory.exists() {
        return Err("the directory exists".into());
    }
    println!("{count} records of {PAYLOAD_BYTES} B, {sessions} sessions, batches of {batch}");
    kill_a_publisher(directory, &[mib, sessions, batch, checkpoint])?;
    let (_writer, reader) = reopen(directory)?;
    replay(&reader, 1024, 256 << 10)?;
    replay(&reader, 64, 64 << 10)?;
    drop(reader);
    std::fs::remove_dir_all(directory)?;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "it measures")]
fn now() -> Instant {
    Instant::now()
}

fn open(directory: &Path, checkpoint_mib: u64) -> Result<(RedbWriter, RedbReader)> {
    let config = RedbConfig {
        checkpoint_bytes: checkpoint_mib << 20,
        ..RedbConfig::default()
    };
    let log = RedbLog::open(directory, config, 0x5eed)?;
    Ok(log.checkpoints_on(on_a_thread()?).split())
}

/// Hands checkpoints to a thread of their own.
fn on_a_thread() -> Result<impl Fn(Job) + Send + 'static> {
    let (jobs, queue) = sync_channel::<Job>(1);
    std::thread::Builder::new()
        .name("checkpoints".into())
        .spawn(move || queue.into_iter().for_each(|job| job()))?;
    // If the thread is gone, the job is dropped, which is a checkpoint that failed.
    Ok(move |job| drop(jobs.send(job)))
}

fn stream() -> StreamId {
    StreamId::new("figures").expect("it is a name")
}

/// Runs the publisher in a process of its own, and kills that when it has published everything.
fn kill_a_publisher(directory: &Path, numbers: &[u64]) -> Result {
    let mut child = Process::new(std::env::current_exe()?)
        .arg(directory)
        .args(numbers.iter().map(u64::to_string))
        .arg("child")
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().ok_or("no output")?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        if line == "published" {
            child.kill()?;
        } else {
            println!("{line}");
        }
    }
    let status = child.wait()?;
    if status.code().is_some() {
        return Err(format!("the publisher ended by itself: {status}").into());
    }
    Ok(())
}

fn session(number: u64) -> SessionId {
    let mut id = [0x5a; 32];
    // Hashes are spread evenly, and so are these.
    id[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    SessionId(id)
}

fn publish(directory: &Path, count: u64, (sessions, batch, checkpoint): (u64, u64, u64)) -> Result {
    let (mut writer, _reader) = open(directory, checkpoint)?;
    let mut outcomes = Vec::new();
    let attach = |number| Command::Attach {
        session: session(number),
        attach: Attach::FIRST,
        proof: None,
        now: now(),
    };
    writer.commit(&(0..sessions).map(attach).collect::<Vec<_>>(), &mut outcomes)?;
    let payload = Bytes::from(vec![b'x'; PAYLOAD_BYTES]);
    let stream = stream();
    let mut took = Vec::new();
    let started = now();
    let mut next = 0;
    while next < count {
        let append = |n: u64| -> Result<Command> {
            let author = Author {
                session: session(n % sessions),
                attach: Attach::FIRST,
                seq: Seq::new(n / sessions + 1)?,
                item: None,
            };
            Ok(Command::Append {
                stream: stream.clone(),
                author: Some(author),
                kind: PayloadKind::Binary,
                payload: payload.clone(),
            })
        };
        let commands = (next..(next + batch).min(count))
            .map(append)
            .collect::<Result<Vec<_>>>()?;
        outcomes.clear();
        let began = now();
        writer.commit(&commands, &mut outcomes)?;
        took.push(began.elapsed());
        if !outcomes
            .iter()
            .all(|outcome| matches!(outcome, Outcome::Appended { .. }))
        {
            return Err("a message was refused".into());
        }
        next += commands.len() as u64;
    }
    let all = started.elapsed();
    took.sort_unstable();
    let at = |per_mille: usize| {
        let nth = took.len() * per_mille / 1000;
        took.get(nth.min(took.len() - 1)).copied().unwrap_or_default()
    };
    println!(
        "publish: {:.0} records/s, every ack durable",
        count as f64 / all.as_secs_f64()
    );
    println!(
        "commit: p50 {:?}, p90 {:?}, p99 {:?}, max {:?}",
        at(500),
        at(900),
        at(990),
        at(1000)
    );
    println!("published");
    loop {
        std::thread::park_timeout(Duration::from_secs(60));
    }
}

fn reopen(directory: &Path) -> Result<(RedbWriter, RedbReader)> {
    let mut size = 0;
    for file in std::fs::read_dir(directory)? {
        size += file?.metadata()?.len();
    }
    let began = now();
    let halves = open(directory, 16)?;
    println!(
        "open after SIGKILL: {:?} ({} MiB of files)",
        began.elapsed(),
        size >> 20
    );
    Ok(halves)
}

fn replay(reader: &RedbReader, messages: usize, bytes: usize) -> Result {
    let mut entries = Vec::new();
    let (mut at, mut count) = (Offset::ZERO, 0u64);
    let began = now();
    loop {
        entries.clear();
        reader.read(&stream(), at, ReadLimits { messages, bytes }, &mut entries)?;
        let Some(last) = entries.last() else { break };
        at = last.offset;
        count += entries.len() as u64;
    }
    let rate = count as f64 / began.elapsed().as_secs_f64();
    println!(
        "replay: {rate:.0} records/s in reads of up to {messages} messages and {} KiB",
        bytes >> 10
    );
    Ok(())
}
