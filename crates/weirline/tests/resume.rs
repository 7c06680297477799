//! `tail` and `publish`, as a shell uses them, over a proxy that cuts.

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::Server;

/// A `weirline` that is killed when the test ends.
struct Weirline(Child);

impl Weirline {
    fn start(args: &[&str]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_weirline"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.0.id().to_string()])
            .status();
        assert!(status.unwrap().success());
    }

    /// Gives it this on stdin, and waits for its end.
    fn feed(mut self, input: &[u8]) -> Output {
        self.0.stdin.take().unwrap().write_all(input).unwrap();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        self.0.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
        self.0.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
        Output {
            status: self.0.wait().unwrap(),
            stdout,
            stderr,
        }
    }

    fn stdout(&mut self) -> BufReader<std::process::ChildStdout> {
        BufReader::new(self.0.stdout.take().unwrap())
    }
}

impl Drop for Weirline {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whose bytes a proxy counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Client,
    Server,
}

/// Passes connections on; each of the first ones ends after so many bytes from one side.
fn proxy(upstream: &str, side: From, cuts: &'static [usize]) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let upstream = upstream.to_owned();
    let dials = Arc::new(AtomicUsize::new(0));
    let counted = dials.clone();
    let serve = move || {
        while let Ok((client, _)) = listener.accept() {
            let cut = cuts
                .get(counted.fetch_add(1, Ordering::SeqCst))
                .copied()
                .unwrap_or(usize::MAX);
            let server = TcpStream::connect(&upstream).unwrap();
            let (from_client, to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let cut_if = move |counted| if side == counted { cut } else { usize::MAX };
            thread(move || pass(from_client, to_server, cut_if(From::Client)));
            thread(move || pass(server, client, cut_if(From::Server)));
        }
    };
    thread(serve);
    (address, dials)
}

fn thread(run: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().spawn(run).unwrap();
}

/// Copies up to `left` bytes, then ends both directions.
fn pass(mut from: TcpStream, mut to: TcpStream, mut left: usize) {
    let mut buffer = [0; 4096];
    while left > 0 {
        let room = left.min(buffer.len());
        match from.read(&mut buffer[..room]) {
            Ok(n) if n > 0 && to.write_all(&buffer[..n]).is_ok() => left -= n,
            _ => break,
        }
    }
    for stream in [from, to] {
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }
}

fn lines(count: usize) -> String {
    (1..=count)
        .map(|n| format!("line {n} {}\n", "·".repeat(n % 50)))
        .collect()
}

#[test]
fn r26_lines_arrive_once_and_in_order_over_connections_that_are_cut() {
    let server = Server::start(&["dev"]);
    let (proxy, dials) = proxy(server.address(), From::Server, &[40_000, 333]);
    let url = format!("ws://{proxy}/v1/streams/lines");
    let expect = lines(5000);
    let direct = server.url("/v1/streams/lines");
    let published = Weirline::start(&["publish", &direct]).feed(expect.as_bytes());
    let said = String::from_utf8_lossy(&published.stderr).into_owned();
    assert!(
        published.status.success() && published.stdout.is_empty(),
        "{said}"
    );
    assert!(
        said.contains("5000 lines are published and acknowledged"),
        "{said}"
    );

    let mut tail = Weirline::start(&["tail", &url, "--from", "1"]);
    let mut seen = String::new();
    let mut stdout = tail.stdout();
    for _ in 0..5000 {
        assert_ne!(stdout.read_line(&mut seen).unwrap(), 0, "tail ended");
    }
    assert!(seen == expect, "every line once and in order");
    assert_eq!(dials.load(Ordering::SeqCst), 3, "both cuts happened");
    tail.signal("INT");
    assert!(tail.0.wait().unwrap().success());
}

#[test]
fn r24_a_publisher_that_is_cut_leaves_every_line_once_in_the_log() {
    let server = Server::start(&["dev"]);
    let (proxy, dials) = proxy(server.address(), From::Client, &[20_000, 30_000]);
    let expect = lines(5000);
    let url = format!("ws://{proxy}/v1/streams/cut");
    let published = Weirline::start(&["publish", &url, "--file", "-"]).feed(expect.as_bytes());
    assert!(
        published.status.success(),
        "{}",
        String::from_utf8_lossy(&published.stderr)
    );
    assert_eq!(dials.load(Ordering::SeqCst), 3, "both cuts happened");
    let mut tail = Weirline::start(&[
        "tail",
        &server.url("/v1/streams/cut"),
        "--from",
        "4990",
        "--offsets",
    ]);
    let mut seen = String::new();
    let mut stdout = tail.stdout();
    for _ in 4990..=5000 {
        stdout.read_line(&mut seen).unwrap();
    }
    let numbered: String = expect
        .lines()
        .enumerate()
        .skip(4989)
        .map(|(n, line)| format!("{}\t{line}\n", n + 1))
        .collect();
    assert_eq!(seen, numbered);
    tail.signal("TERM");
    assert!(tail.0.wait().unwrap().success());
}

#[test]
fn a_mistake_is_said_in_one_line_and_fails() {
    let server = Server::start(&["dev"]);
    let check = |args: &[&str], input: &[u8], expect: &str| {
        let output = Weirline::start(args).feed(input);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(
            said.lines().last().unwrap_or_default().contains(expect),
            "{args:?}: {said}"
        );
    };
    let stream = server.url("/v1/streams/s");
    check(&["publish", "http://localhost/"], b"", "replace http by ws");
    check(&["tail", "wss://localhost/v1/streams/s"], b"", "TLS");
    check(&["tail", &server.url("/v1/nowhere")], b"", "404");
    check(&["tail", &stream, "--from", "9007199254740993"], b"", "2^53");
    check(
        &["publish", &stream, "--file", "/no/such/file"],
        b"",
        "/no/such/file",
    );
    check(&["publish", &stream, "--file", "/"], b"", "directory");
    check(&["publish", &stream], b"good\n\xff\n", "line 2");
}

#[test]
fn a_reader_that_has_enough_ends_tail_quietly() {
    let server = Server::start(&["dev"]);
    let url = server.url("/v1/streams/pipe");
    let mut tail = Weirline::start(&["tail", &url, "--from", "1"]);
    drop(tail.stdout());
    assert!(
        Weirline::start(&["publish", &url])
            .feed(b"one\ntwo\n")
            .status
            .success()
    );
    assert!(tail.0.wait().unwrap().success());
}
