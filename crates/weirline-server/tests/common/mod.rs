//! A server in this process, on pipes and a clock that jumps: nothing here waits for real time.

#![allow(dead_code, reason = "each test file uses a part of this")]

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use weirline_handshake::{ClientRequest, OriginPolicy, WsUrl};
use weirline_log::{EventLog as _, LogReader, LogWriter, MemoryConfig, MemoryLog, MemoryReader};
use weirline_server::{Config, ServeError, serve};
use weirline_tokio::{
    ConnectError, Connection, Delivery, Driver, End, Entropy, Handle, Inbox, InboxLimits, Listener, Message,
    MessageKind, channel, connect,
};

/// Gives out the far ends of pipes.
pub(crate) struct Pipes {
    dialled: Mutex<mpsc::Receiver<DuplexStream>>,
    exhausted: Rc<Exhausted>,
}

/// Lets the listener fail as it does when there are no descriptors left, and counts how often it was asked.
#[derive(Default)]
pub(crate) struct Exhausted {
    pub(crate) is: Cell<bool>,
    pub(crate) asked: Cell<u32>,
}

impl Listener for Pipes {
    type Stream = DuplexStream;

    async fn accept(&self) -> io::Result<(DuplexStream, SocketAddr)> {
        if self.exhausted.is.get() {
            self.exhausted.asked.set(self.exhausted.asked.get() + 1);
            return Err(io::Error::other("too many open files"));
        }
        match self.dialled.lock().await.recv().await {
            Some(stream) => Ok((stream, ([127, 0, 0, 1], 1).into())),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(([127, 0, 0, 1], 2).into())
    }
}

type Serving = JoinHandle<Result<(), ServeError>>;

/// A running server.
#[derive(Clone)]
pub(crate) struct Server<R = MemoryReader> {
    dial: mpsc::Sender<DuplexStream>,
    stop: Rc<RefCell<Option<oneshot::Sender<()>>>>,
    task: Rc<RefCell<Option<Serving>>>,
    pub(crate) log: R,
    pub(crate) exhausted: Rc<Exhausted>,
}

pub(crate) fn config() -> Config {
    let origins = OriginPolicy::builder().absent(true).build().unwrap();
    Config {
        workers: 2,
        origins,
        echo: true,
        ..Config::default()
    }
}

impl Server {
    pub(crate) fn start(config: Config) -> Self {
        Self::start_over(config, MemoryConfig::default())
    }

    /// Over a log with limits of its own.
    pub(crate) fn start_over(config: Config, log: MemoryConfig) -> Self {
        Self::over(config, MemoryLog::new(log, 1).split())
    }
}

impl<R: LogReader + Unpin + 'static> Server<R> {
    pub(crate) fn over(config: Config, (writer, log): (impl LogWriter + 'static, R)) -> Self {
        let (dial, dialled) = mpsc::channel(16);
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        let exhausted = Rc::<Exhausted>::default();
        let listener = Pipes {
            dialled: Mutex::new(dialled),
            exhausted: Rc::clone(&exhausted),
        };
        let task = spawn_local(serve(
            config,
            listener,
            (writer, log.clone()),
            entropy(),
            (),
            shutdown,
        ));
        Self {
            dial,
            stop: Rc::new(RefCell::new(Some(stop))),
            task: Rc::new(RefCell::new(Some(task))),
            log,
            exhausted,
        }
    }

    /// The near end of a connection whose other end the server accepts.
    pub(crate) async fn dial(&self, capacity: usize) -> DuplexStream {
        let (near, far) = duplex(capacity);
        self.dial.send(far).await.unwrap();
        near
    }

    pub(crate) fn stop(&self) {
        if let Some(stop) = self.stop.borrow_mut().take() {
            let _ = stop.send(());
        }
    }

    /// Waits for the end of `serve`.
    pub(crate) async fn stopped(&self) {
        let task = self.task.borrow_mut().take().unwrap();
        task.await.unwrap().unwrap();
    }
}

/// Repeatable, and different at each call.
pub(crate) fn entropy() -> Entropy {
    let state = std::sync::Mutex::new(0x1234_5678_u64);
    Entropy::from_fn(move |bytes| {
        let mut state = state.lock().unwrap();
        for byte in bytes {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (*state >> 56) as u8;
        }
    })
}

/// A client's connection, with its driver as a task.
pub(crate) struct Socket {
    pub(crate) handle: Handle,
    pub(crate) inbox: Inbox,
    driver: JoinHandle<End>,
}

impl Socket {
    pub(crate) async fn open<R: LogReader + Unpin + 'static>(server: &Server<R>, path: &str) -> Self {
        Self::try_open(server, path).await.unwrap()
    }

    pub(crate) async fn try_open<R: LogReader + Unpin + 'static>(
        server: &Server<R>,
        path: &str,
    ) -> Result<Self, ConnectError> {
        Self::over(server.dial(64 << 10).await, path).await
    }

    pub(crate) async fn over(stream: DuplexStream, path: &str) -> Result<Self, ConnectError> {
        let url: WsUrl = format!("ws://server{path}").parse().unwrap();
        let request = ClientRequest::new(&url, entropy().array());
        let connected = connect(stream, &request, Duration::from_secs(1000)).await?;
        let now = tokio::time::Instant::now().into_std();
        let mut config = weirline_tokio::Config::default();
        config.text_bytes_max = 32 << 20;
        let connection = Connection::client(config.into(), entropy().mask_source(), now);
        let (handle, inbox, handler) = channel(InboxLimits::default());
        let driver = Driver::new(connected.stream, connection, connected.residue, handler, ());
        Ok(Self {
            handle,
            inbox,
            driver: spawn_local(driver),
        })
    }

    pub(crate) async fn send(&self, text: &str) {
        self.handle.send(Message::text(text)).await.unwrap();
    }

    /// The next message as text, or `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<String> {
        match self.inbox.recv().await? {
            Delivery::Message(Message {
                kind: MessageKind::Text,
                payload,
            }) => Some(String::from_utf8(payload.to_vec()).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn expect(&mut self, messages: &[&str]) {
        for message in messages {
            assert_eq!(self.next().await.as_deref(), Some(*message));
        }
    }

    /// Opens the text form and takes its answers.
    pub(crate) async fn resume(&mut self, session: Option<(&str, u64)>, from: &str, have: u64) {
        if let Some((secret, attach)) = session {
            self.send(&format!("SESSION:{secret}:{attach}")).await;
        }
        self.send(&format!("RESUME_FROM:{from}")).await;
        self.expect(&[&format!("RESUME_FROM:{have}")]).await;
        if from != "none" {
            let answer = self.next().await.unwrap();
            assert!(answer.starts_with("RESUMED:"), "{answer}");
        }
    }

    /// Drops the stream without a word.
    pub(crate) async fn cut(self) {
        self.handle.abort();
        let _ = self.driver.await;
    }

    pub(crate) async fn ended(self) -> End {
        self.driver.await.unwrap()
    }
}

/// Writes a request by hand and reads until the server ends the stream.
pub(crate) async fn raw(mut stream: DuplexStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

pub(crate) fn upgrade(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: server\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// Runs a test on one thread, with local tasks and a paused clock.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, test);
}
