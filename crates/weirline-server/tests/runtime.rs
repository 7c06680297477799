//! The server on threads, over loopback: the workers' deadlines, which come from a thread of their own, and the end of all threads.
#![expect(
    clippy::disallowed_methods,
    reason = "the server is given a thread, as a program gives it its main one"
)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;
use weirline_handshake::OriginPolicy;
use weirline_log::{EventLog as _, MemoryConfig, MemoryLog};
use weirline_server::{Config, ServeError, runtime};
use weirline_tokio::Entropy;

const SHORT: Duration = Duration::from_millis(50);

/// Far beyond every deadline here: no answer at all fails a test, a late one does not.
const PATIENCE: Duration = Duration::from_secs(60);

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<(), ServeError>>,
    /// Every worker has a clone of it.
    held: Arc<()>,
}

impl Server {
    fn start(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            workers: 2,
            origins: OriginPolicy::builder().absent(true).build().unwrap(),
            echo: true,
            ..Config::default()
        };
        change(&mut config);
        let bound = runtime::bind(config, ([127, 0, 0, 1], 0).into()).unwrap();
        let address = bound.local_addr();
        let (stop, stopped) = oneshot::channel::<()>();
        let held = Arc::new(());
        let holds = Arc::clone(&held);
        let entropy = Entropy::from_fn(move |bytes| {
            let _ = &holds;
            bytes.fill(7);
        });
        let thread = std::thread::spawn(move || {
            let log = MemoryLog::new(MemoryConfig::default(), 1).split();
            bound.run(log, entropy, (), async {
                let _ = stopped.await;
            })
        });
        Self {
            address,
            stop,
            thread,
            held,
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// A connection behind its handshake.
    fn open(&self) -> TcpStream {
        let mut stream = self.connect();
        let request = "GET /echo HTTP/1.1\r\nHost: server\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(bytes::<1>(&mut stream)[0]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "));
        stream
    }

    /// Stops it, and waits for its threads.
    fn stop(self) {
        let _ = self.stop.send(());
        self.thread.join().unwrap().unwrap();
        assert_eq!(Arc::strong_count(&self.held), 1, "a worker is left");
    }
}

fn bytes<const N: usize>(stream: &mut TcpStream) -> [u8; N] {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// The next frame, of a server and short: its first byte and its payload.
fn frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let [first, len] = bytes(stream);
    assert!(len <= 125);
    let mut payload = vec![0; usize::from(len)];
    stream.read_exact(&mut payload).unwrap();
    (first, payload)
}

/// Reads to the end of the stream.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    rest
}

const PING: u8 = 0x89;
const CLOSE: u8 = 0x88;

#[test]
fn a_handshake_that_takes_too_long_is_ended() {
    let server = Server::start(|config| config.handshake.deadline = SHORT);
    for part in ["", "GET /echo HTTP/1.1\r\nHost: server\r\n"] {
        let mut stream = server.connect();
        stream.write_all(part.as_bytes()).unwrap();
        assert_eq!(rest(&mut stream), b"", "{part:?}");
    }
    server.stop();
}

#[test]
fn a_peer_that_says_nothing_is_pinged_and_given_up() {
    let server = Server::start(|config| {
        let mut connection = weirline_tokio::Config::default();
        connection.ping_interval = Some(SHORT);
        connection.ping_timeout = SHORT;
        connection.eof_timeout = SHORT;
        connection.close_timeout = SHORT;
        config.echo_connection = connection.into();
    });
    // On both workers.
    let streams: Vec<_> = (0..8).map(|_| server.open()).collect();
    for mut stream in streams {
        assert_eq!(frame(&mut stream).0, PING);
        let (first, payload) = frame(&mut stream);
        assert_eq!(
            (first, payload.get(..2)),
            (CLOSE, Some(&1011u16.to_be_bytes()[..]))
        );
        assert_eq!(rest(&mut stream), b"");
    }
    server.stop();
}

/// Peers that do not answer the Close frame, and one in its handshake: the patience with them is a timer as well.
#[test]
fn all_threads_end_at_the_shutdown() {
    let server = Server::start(|config| config.shutdown_timeout = SHORT);
    let mut silent: Vec<_> = (0..8).map(|_| server.open()).collect();
    let _begins = server.connect();
    server.stop();
    for stream in &mut silent {
        let (first, payload) = frame(stream);
        assert_eq!(
            (first, payload.get(..2)),
            (CLOSE, Some(&1001u16.to_be_bytes()[..]))
        );
        assert_eq!(rest(stream), b"");
    }
}

#[test]
fn a_server_without_connections_stops_at_once() {
    Server::start(|config| config.shutdown_timeout = Duration::from_secs(1_000_000)).stop();
}
