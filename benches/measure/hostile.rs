//! Crowds of peers that mean harm: when they are gone, and what a healthy client notices of them meanwhile.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::client::{Client, short_frame};
use crate::fairness::{median, percentile};
use crate::server::Server;
use crate::{Outcome, judge};

/// So many times a p99 is taken at a server that nobody attacks and then at the attacked one; the median difference counts. Side by
/// side, what else the machine does meanwhile is in both.
const PAIRS: usize = 11;
const CONNECTS: usize = 200;

pub(crate) fn run(binary: &Path) -> Outcome {
    drippers(binary)?;
    shut_windows(binary)?;
    pings(binary)
}

const DRIPPERS: usize = 2000;
const DEADLINE: f64 = 10.0;

/// Peers that send a byte of their request each second.
fn drippers(binary: &Path) -> Outcome {
    let server = Server::start(binary)?;
    let address = server.address;
    let quiet = Server::start(binary)?;
    let crowd: std::io::Result<Vec<Dripper>> = (0..DRIPPERS).map(|_| Dripper::new(address)).collect();
    let mut crowd = crowd?;
    let (pairs, lasted) = std::thread::scope(|scope| {
        let dripping = scope.spawn(move || drip(&mut crowd).map_err(|error| error.to_string()));
        let pairs = Pairs::take(|| connects(quiet.address), || connects(address));
        let in_time = !dripping.is_finished();
        let lasted = dripping.join().map_err(|_| "the drippers panicked")??;
        if !in_time {
            return Err("the drippers were gone before the connects were measured".into());
        }
        Ok::<_, Box<dyn std::error::Error>>((pairs?, lasted))
    })?;
    pairs.judge(&format!("{DRIPPERS} drippers: p99 of healthy connects"))?;
    let (first, last) = lasted;
    println!("{DRIPPERS} drippers: the first was gone after {first:.2} s");
    if first < DEADLINE - 0.1 {
        return Err("that is before the deadline".into());
    }
    judge("the last", last, DEADLINE + 1.0, "s")?;
    quiet.stop()?;
    server.stop()
}

struct Dripper {
    stream: TcpStream,
    born: Instant,
    sent: u64,
    lasted: Option<Duration>,
}

const REQUEST: &[u8] = b"GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n";

impl Dripper {
    fn new(server: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(server)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            born: Instant::now(),
            sent: 0,
            lasted: None,
        })
    }

    /// Sends what is due, and looks whether the server has gone.
    fn turn(&mut self) -> Outcome {
        let age = self.born.elapsed();
        let due = usize::try_from(self.sent)? < REQUEST.len() && age.as_secs() >= self.sent;
        let wrote = if due {
            let at = usize::try_from(self.sent)?;
            self.sent += 1;
            self.stream.write(&REQUEST[at..=at]).map(drop)
        } else {
            Ok(())
        };
        match wrote.and_then(|()| self.stream.read(&mut [0])) {
            Ok(0) => self.lasted = Some(age),
            Ok(_) => return Err("an answer to no request".into()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.lasted = Some(age),
        }
        Ok(())
    }
}

/// Drips until all are gone; returns how many seconds the first and the last one lasted.
fn drip(crowd: &mut [Dripper]) -> Outcome<(f64, f64)> {
    let give_up = Instant::now() + Duration::from_secs(30);
    while crowd.iter().any(|dripper| dripper.lasted.is_none()) {
        if Instant::now() > give_up {
            return Err("there are drippers left after 30 s".into());
        }
        for dripper in crowd.iter_mut().filter(|dripper| dripper.lasted.is_none()) {
            dripper.turn()?;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let seconds = crowd.iter().filter_map(|dripper| dripper.lasted);
    let mut seconds: Vec<f64> = seconds.map(|lasted| lasted.as_secs_f64()).collect();
    seconds.sort_unstable_by(f64::total_cmp);
    Ok((seconds[0], seconds[seconds.len() - 1]))
}

const SHUT: usize = 3000;
const MESSAGES: usize = 40;
const MESSAGE_BYTES: usize = 4000;
/// 2 s for a message to wait, 1 s for the peer to read why, and half a second for three thousand of both.
const CLOSED_AFTER_BAR: f64 = 3.5;

/// Subscribers that read nothing.
fn shut_windows(binary: &Path) -> Outcome {
    let server = Server::start(binary)?;
    let quiet = Server::start(binary)?;
    let mut alone = Client::connect(quiet.address, 1)?;
    let mut neighbour = Client::connect(server.address, 1)?;
    let mut publisher = Client::connect_to(server.address, 1, "/v1/streams/s")?;
    publisher.exchange(&short_frame(0x81, b"RESUME_FROM:none"), b"..RESUME_FROM:0".len())?;
    let before = server.descriptors()?;
    let crowd: Outcome<Vec<TcpStream>> = (0..SHUT)
        .map(|number| shut_window(server.address, number))
        .collect();
    let crowd = crowd?;
    wait_for(&server, |open| open >= before + SHUT)?;
    // Their openings are on the way.
    std::thread::sleep(Duration::from_secs(1));
    for number in 1..=MESSAGES {
        publisher.0.write_all(&message(number))?;
    }
    // From here on all of it is on its way to each of them.
    let last = format!("ACK:{MESSAGES}").into_bytes();
    let mut said = Vec::new();
    while !said.ends_with(&last) {
        let mut chunk = [0; 4096];
        let read = publisher.0.read(&mut chunk)?;
        said.extend_from_slice(&chunk[..read]);
    }
    let published = Instant::now();
    // What three thousand deliveries cost is no matter of windows that are shut.
    std::thread::sleep(Duration::from_millis(500));
    let (pairs, closed) = std::thread::scope(|scope| {
        let closing = scope.spawn(|| {
            let gone = wait_for(&server, |open| open <= before).map_err(|error| error.to_string());
            gone.map(|()| published.elapsed().as_secs_f64())
        });
        let pairs = Pairs::take(|| percentile(&mut alone), || percentile(&mut neighbour));
        let closed = closing.join().map_err(|_| "the watch panicked")??;
        Ok::<_, Box<dyn std::error::Error>>((pairs?, closed))
    })?;
    pairs.judge(&format!("{SHUT} shut windows: p99 of a neighbour's echoes"))?;
    judge("all of them closed after", closed, CLOSED_AFTER_BAR, "s")?;
    drop(crowd);
    quiet.stop()?;
    server.stop()
}

/// A subscriber with a window as small as the kernel allows, who does not even read the 101.
fn shut_window(server: SocketAddr, number: usize) -> Outcome<TcpStream> {
    let source = u8::try_from(2 + number % 100)?;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_recv_buffer_size(1)?;
    // The kernel gives the server's side room for some segments, which on loopback would be megabytes.
    socket.set_tcp_mss(536)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, source), 0)).into())?;
    socket.connect(&server.into())?;
    let mut stream = TcpStream::from(socket);
    let request = format!(
        "GET /v1/streams/s HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    let opening = short_frame(0x81, b"RESUME_FROM:head");
    stream.write_all(&[request.as_bytes(), &opening].concat())?;
    Ok(stream)
}

fn message(number: usize) -> Vec<u8> {
    let text = format!("{number}:{}", "x".repeat(MESSAGE_BYTES));
    let len = u16::try_from(text.len()).expect("below 64 KiB");
    [
        &[0x81, 0x80 | 126][..],
        &len.to_be_bytes(),
        &[0; 4],
        text.as_bytes(),
    ]
    .concat()
}

/// Waits until the number of the server's descriptors is as wanted.
fn wait_for(server: &Server, wanted: impl Fn(usize) -> bool) -> Outcome {
    let give_up = Instant::now() + Duration::from_secs(20);
    while !wanted(server.descriptors()?) {
        if Instant::now() > give_up {
            return Err(format!("{} descriptors after 20 s", server.descriptors()?).into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// One connection behind the other that sends pings as fast as it can, until it is closed for it.
fn pings(binary: &Path) -> Outcome {
    let (server, quiet) = (Server::start(binary)?, Server::start(binary)?);
    let mut alone = Client::connect(quiet.address, 1)?;
    let mut neighbour = Client::connect(server.address, 1)?;
    let (stop, address) = (AtomicBool::new(false), server.address);
    let (pairs, floods) = std::thread::scope(|scope| {
        let flooding = scope.spawn(|| flood(address, &stop).map_err(|error| error.to_string()));
        let pairs = Pairs::take(|| percentile(&mut alone), || percentile(&mut neighbour));
        stop.store(true, Ordering::Relaxed);
        let floods = flooding.join().map_err(|_| "the flood panicked")??;
        Ok::<_, Box<dyn std::error::Error>>((pairs?, floods))
    })?;
    println!("{floods} connections were closed for their pings meanwhile");
    pairs.judge("pings without end: p99 of a neighbour's echoes")?;
    quiet.stop()?;
    server.stop()
}

const PINGS: usize = 20_000;

fn flood(server: SocketAddr, stop: &AtomicBool) -> Outcome<usize> {
    let frames = short_frame(0x89, &[7; 125]).repeat(PINGS);
    let mut floods = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut client = Client::connect(server, u8::try_from(2 + floods % 100)?)?;
        // It is refused somewhere on the way.
        let _ = client.0.write_all(&frames);
        let _ = client.0.read_to_end(&mut Vec::new());
        floods += 1;
    }
    Ok(floods)
}

/// The p99 of connecting, the upgrade included, in milliseconds.
fn connects(server: SocketAddr) -> Outcome<f64> {
    let mut took = Vec::with_capacity(CONNECTS);
    for number in 0..CONNECTS {
        let started = Instant::now();
        let client = Client::connect(server, u8::try_from(2 + number % 100)?)?;
        took.push(started.elapsed());
        drop(client);
    }
    took.sort_unstable();
    Ok(took[CONNECTS * 99 / 100].as_secs_f64() * 1000.0)
}

/// Figures in milliseconds, of a quiet and of an attacked server in turn.
struct Pairs {
    alone: Vec<f64>,
    differences: Vec<f64>,
}

impl Pairs {
    fn take(
        mut alone: impl FnMut() -> Outcome<f64>,
        mut beside: impl FnMut() -> Outcome<f64>,
    ) -> Outcome<Self> {
        let (mut all, mut differences) = (Vec::new(), Vec::new());
        for _ in 0..PAIRS {
            let alone = alone()?;
            all.push(alone);
            differences.push(beside()? - alone);
        }
        Ok(Self {
            alone: all,
            differences,
        })
    }

    /// At most a fifth above the quiet server, or one millisecond.
    fn judge(mut self, name: &str) -> Outcome {
        let alone = median(&mut self.alone);
        println!("{name}: {alone:.3} ms at a quiet server (medians of {PAIRS} pairs)");
        let bar = (alone * 0.2).max(1.0);
        judge(
            "above that at the attacked one",
            median(&mut self.differences),
            bar,
            "ms",
        )
    }
}
