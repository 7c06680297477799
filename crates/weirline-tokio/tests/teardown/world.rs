//! Two ends of a connection over the loopback device, and the document that says what each sees of its end.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use weirline_codec::{CloseFrame, OpCode};
use weirline_flow::Strategy;
use weirline_tokio::*;

use crate::common::{close_payload, config, decode, masked, now, unmasked};

/// Which side of the connection our end is; the other end is the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Server,
    Client,
}

/// Long enough for what another task does at once, short enough to wait for.
pub(crate) const SHORT: Duration = Duration::from_millis(100);

const HOUR: Duration = Duration::from_secs(3600);

/// The document's table: what each row must come to.
const DOCUMENT: &str = include_str!("../../../../docs/closing.md");

/// Descriptors are counted for the whole process: one row at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Plays a row with our end as either side, and compares what both ends saw with the document. Afterwards no task and no
/// descriptor may be left.
pub(crate) fn row<F>(name: &str, play: impl Fn(Side) -> F)
where
    F: Future<Output = (String, String)>,
{
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let expected = documented(name);
    for side in [Side::Server, Side::Client] {
        let before = descriptors();
        let limit = Duration::from_secs(60);
        let seen = runtime
            .block_on(async { tokio::time::timeout(limit, play(side)).await })
            .unwrap_or_else(|_| panic!("{name}, {side:?}: no end"));
        assert_eq!(seen, expected, "{name}, our end is the {side:?}");
        assert_eq!(runtime.metrics().num_alive_tasks(), 0, "{name}, {side:?}");
        assert_eq!(descriptors(), before, "{name}, {side:?}");
    }
}

/// What the document says of a row: our end, and the other.
fn documented(name: &str) -> (String, String) {
    let rows = DOCUMENT
        .lines()
        .map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    for cells in rows {
        if let ["", test, _, ours, other, ""] = cells[..]
            && test.trim_matches('`') == name
        {
            return (ours.to_owned(), other.to_owned());
        }
    }
    panic!("docs/closing.md has no row {name}");
}

/// The names of all rows of the document.
pub(crate) fn documented_names() -> Vec<&'static str> {
    let tests = DOCUMENT.lines().filter_map(|line| line.strip_prefix("| `"));
    tests.filter_map(|line| line.split('`').next()).collect()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Both ends of a fresh connection: ours, and the other.
pub(crate) async fn sockets(side: Side) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Listener::local_addr(&listener).unwrap();
    let dial = TcpConnector.connect("127.0.0.1", address.port());
    let (accepted, dialed) = tokio::join!(Listener::accept(&listener), dial);
    let (accepted, dialed) = (accepted.unwrap().0, dialed.unwrap());
    match side {
        Side::Server => (accepted, dialed),
        Side::Client => (dialed, accepted),
    }
}

/// No timer ends a connection, unless the row is about that: what only a timer would end does not end.
fn patient() -> Config {
    config(|config| {
        config.send_strategy = Strategy::Pause;
        config.write_stall_timeout = HOUR;
        config.close_timeout = HOUR;
        config.eof_timeout = HOUR;
    })
}

/// Two ends that are both driven by this crate.
pub(crate) async fn pair(side: Side) -> (Driven, Driven) {
    let (ours, other) = sockets(side).await;
    let opposite = match side {
        Side::Server => Side::Client,
        Side::Client => Side::Server,
    };
    (Driven::start(ours, side), Driven::start(other, opposite))
}

/// An end that a driver drives, and one that the test drives.
pub(crate) async fn against_raw(side: Side) -> (Driven, Raw) {
    against_raw_with(side, |_| {}).await
}

pub(crate) async fn against_raw_with(side: Side, change: impl FnOnce(&mut Config)) -> (Driven, Raw) {
    let (ours, other) = sockets(side).await;
    let mut config = patient();
    change(&mut config);
    let raw = Raw {
        stream: other,
        received: Vec::new(),
        masks: side == Side::Server,
    };
    (
        Driven::start_with(ours, side, config, InboxLimits::default()),
        raw,
    )
}

/// One end, with its driver on a task of its own.
pub(crate) struct Driven {
    pub(crate) handle: Handle,
    pub(crate) inbox: Inbox,
    pub(crate) driver: JoinHandle<End>,
}

impl Driven {
    fn start(stream: TcpStream, side: Side) -> Self {
        Self::start_with(stream, side, patient(), InboxLimits::default())
    }

    pub(crate) fn start_with(stream: TcpStream, side: Side, config: Config, limits: InboxLimits) -> Self {
        let connection = match side {
            Side::Server => Connection::server(config.into(), now()),
            Side::Client => Connection::client(config.into(), Entropy::os().mask_source(), now()),
        };
        let (handle, inbox, handler) = channel(limits);
        let driver = Driver::new(stream, connection, bytes::Bytes::new(), handler, ());
        #[expect(
            clippy::disallowed_methods,
            reason = "a runtime counts its own tasks, not those of a LocalSet"
        )]
        let driver = tokio::spawn(driver);
        Self {
            handle,
            inbox,
            driver,
        }
    }

    /// Waits for the driver, whose stream is gone then, and tells what it saw as the document does. All holders hear the same.
    pub(crate) async fn end(self) -> String {
        let end = self.driver.await.expect("the driver does not panic");
        assert_eq!(self.handle.closed().await, Ok(end.clone()));
        let mut inbox = self.inbox;
        while inbox.recv().await.is_some() {}
        assert_eq!(inbox.end(), Some(end.clone()));
        told(&end)
    }
}

/// `sent / received / cause`.
pub(crate) fn told(end: &End) -> String {
    let code = |code: Option<CloseCode>| code.map_or_else(|| "–".to_owned(), |code| code.value().to_string());
    let cause = match &end.cause {
        // Whether a read or a write meets it first is chance.
        Cause::Io(_) => "the transport failed".to_owned(),
        cause => cause.to_string(),
    };
    format!("{} / {} / {cause}", code(end.sent), code(end.received))
}

/// An end without a driver.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    received: Vec<u8>,
    masks: bool,
}

/// What a raw end saw until the end of the stream.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Bytes of payload.
    pub(crate) data_bytes: usize,
    /// Close frames and the end, as the document tells them.
    pub(crate) told: Vec<String>,
}

impl Raw {
    /// A frame as this side must send it.
    pub(crate) fn frame(&self, opcode: OpCode, payload: &[u8]) -> Vec<u8> {
        if self.masks {
            masked(opcode, true, payload)
        } else {
            unmasked(opcode, true, payload)
        }
    }

    pub(crate) async fn send(&mut self, opcode: OpCode, payload: &[u8]) {
        let frame = self.frame(opcode, payload);
        self.stream.write_all(&frame).await.expect("no reset");
    }

    pub(crate) async fn close(&mut self, code: u16) {
        self.send(OpCode::Close, &close_payload(code)).await;
    }

    /// Reads until a Close frame has come, or the stream has ended or failed.
    pub(crate) async fn until_close(&mut self, seen: &mut Seen) {
        loop {
            while let Some(frame) = decode(&mut self.received) {
                match frame.opcode {
                    OpCode::Close => {
                        let close = CloseFrame::parse(&frame.payload).unwrap();
                        let code = close.code.map_or(1005, CloseCode::value);
                        seen.told.push(format!("Close {code}"));
                        return;
                    }
                    OpCode::Ping | OpCode::Pong => {}
                    _ => seen.data_bytes += frame.payload.len(),
                }
            }
            let mut chunk = vec![0; 64 << 10];
            match self.stream.read(&mut chunk).await {
                Ok(0) => {
                    let part = if self.received.is_empty() { "" } else { "a part, " };
                    seen.told.push(format!("{part}end"));
                    return;
                }
                Ok(read) => self.received.extend_from_slice(&chunk[..read]),
                Err(error) => {
                    seen.told.push(format!("{:?}", error.kind()));
                    return;
                }
            }
        }
    }

    /// Reads until the stream has ended or failed.
    pub(crate) async fn until_end(&mut self) -> Seen {
        let mut seen = Seen::default();
        loop {
            self.until_close(&mut seen).await;
            if !seen.told.last().is_some_and(|told| told.starts_with("Close")) {
                return seen;
            }
        }
    }

    /// To be called when our end has dropped its stream: a reset, however late, would stand in `SO_ERROR`.
    pub(crate) fn tell(&self, seen: Seen) -> String {
        let mut told = seen.told;
        if let Some(error) = self.stream.take_error().unwrap() {
            told.push(format!("SO_ERROR {error}"));
        }
        told.join(", ")
    }

    /// Ends the connection by a reset.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }
}
