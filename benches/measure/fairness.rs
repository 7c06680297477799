//! Whether a connection with endless input leaves its neighbour on the same worker its turns.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::client::{Client, short_frame};
use crate::server::Server;
use crate::{Outcome, judge};

/// The median of so many pairs counts.
const PAIRS: usize = 11;
/// Exchanges of the neighbour in each half of a pair.
const EXCHANGES: usize = 2000;
const BAR_MILLISECONDS: f64 = 1.0;

/// What never ends.
struct Flood {
    name: &'static str,
    /// Written over and over.
    frames: Vec<u8>,
}

fn floods() -> Vec<Flood> {
    let long = |length: u32| {
        let bytes = usize::try_from(length).expect("a small number");
        [
            &[0x82, 0xff, 0, 0, 0, 0][..],
            &length.to_be_bytes(),
            &[0; 4],
            &vec![7; bytes],
        ]
        .concat()
    };
    vec![
        Flood {
            name: "messages of 16 B",
            frames: short_frame(0x82, &[7; 16]).repeat(4096),
        },
        Flood {
            name: "messages of 64 KiB",
            frames: long(64 << 10),
        },
        Flood {
            name: "messages of 4 MiB",
            frames: long(4 << 20),
        },
    ]
}

pub(crate) fn run(binary: &Path) -> Outcome {
    let server = Server::start(binary)?;
    let mut neighbour = Client::connect(server.address, 1)?;
    percentile(&mut neighbour)?;
    for flood in floods() {
        let mut differences = Vec::new();
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        let mut rates = Vec::new();
        for _ in 0..PAIRS {
            alone.push(percentile(&mut neighbour)?);
            let stream = Client::connect(server.address, 2)?.0;
            let (under_flood, rate) = during(stream, &flood, || percentile(&mut neighbour))?;
            beside.push(under_flood);
            rates.push(rate);
            differences.push(beside[beside.len() - 1] - alone[alone.len() - 1]);
        }
        println!(
            "{}: p99 of the neighbour {:.3} ms alone, {:.3} ms beside it (medians of {PAIRS}), which brings {:.0} MiB/s",
            flood.name,
            median(&mut alone),
            median(&mut beside),
            median(&mut rates)
        );
        judge(
            &format!("{}: the neighbour's p99 above the paired one", flood.name),
            median(&mut differences),
            BAR_MILLISECONDS,
            "ms",
        )?;
    }
    drop(neighbour);
    server.stop()
}

/// The 99th percentile of the neighbour's round trips, in milliseconds.
pub(crate) fn percentile(neighbour: &mut Client) -> Outcome<f64> {
    let request = short_frame(0x82, &[7; 125]);
    let mut took = Vec::with_capacity(EXCHANGES);
    for _ in 0..EXCHANGES {
        let started = Instant::now();
        neighbour.exchange(&request, 127)?;
        took.push(started.elapsed());
    }
    took.sort_unstable();
    Ok(took[EXCHANGES * 99 / 100].as_secs_f64() * 1000.0)
}

/// Does `work` while the flood goes over `stream`; returns its result, and the flood's MiB/s.
fn during<T>(stream: TcpStream, flood: &Flood, work: impl FnOnce() -> Outcome<T>) -> Outcome<(T, f64)> {
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let flooding = scope.spawn(|| pour(stream, &flood.frames, &stop, &written));
        // Under way, with the buffers between full.
        while written.load(Ordering::Relaxed) < UNDER_WAY_BYTES && !flooding.is_finished() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let (started, before) = (Instant::now(), written.load(Ordering::Relaxed));
        let result = work();
        let bytes = written.load(Ordering::Relaxed) - before;
        let seconds = started.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        let poured = flooding.join().map_err(|_| "the flood panicked")?;
        poured.map_err(|error| format!("the flood was refused: {error}"))?;
        #[expect(clippy::cast_precision_loss, reason = "counts below 2^52")]
        let rate = bytes as f64 / f64::from(1 << 20) / seconds;
        if bytes == 0 {
            return Err("nothing of the flood was taken meanwhile".into());
        }
        Ok((result?, rate))
    })
}

const UNDER_WAY_BYTES: u64 = 16 << 20;

/// Writes as fast as the server takes it, and reads what comes back, on one thread.
fn pour(mut stream: TcpStream, frames: &[u8], stop: &AtomicBool, written: &AtomicU64) -> std::io::Result<()> {
    stream.set_nonblocking(true)?;
    let mut sink = vec![0; 1 << 20];
    let mut at = 0;
    while !stop.load(Ordering::Relaxed) {
        let wrote = unless_blocked(stream.write(&frames[at..]))?;
        at = (at + wrote) % frames.len();
        written.fetch_add(wrote as u64, Ordering::Relaxed);
        let read = unless_blocked(stream.read(&mut sink))?;
        if wrote + read == 0 {
            std::thread::sleep(Duration::from_micros(20));
        }
    }
    Ok(())
}

fn unless_blocked(moved: std::io::Result<usize>) -> std::io::Result<usize> {
    match moved {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

pub(crate) fn median(figures: &mut [f64]) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}
