//! A world for one client: streams in memory, a server that says what a test tells it, time that stands still.
#![allow(dead_code, unreachable_pub)]

pub mod cut;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::Instant;
use weirline_client::{
    Client, ClientBuilder, ClientDriver, ClientState, Connector, Entropy, Event, Events, LinkState, Store,
    StoreError, StoreMode,
};
use weirline_connection::{CloseCode, Config, Connection, End};
use weirline_tokio::{AcceptSettings, Delivery, Driver, Handle, Inbox, InboxLimits, Message};

pub const URL: &str = "ws://server:7070/v1/streams/test";
pub const EPOCH: &str = "00000000000000ab";

/// Runs a test on one thread with paused time; a test that hangs fails after a virtual day.
pub fn world<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("runtime");
    let local = tokio::task::LocalSet::new();
    let bounded = async { tokio::time::timeout(Duration::from_secs(86_400), test).await };
    local.block_on(&runtime, bounded).expect("the test ends")
}

/// The same numbers in each run.
pub fn entropy(seed: u64) -> Entropy {
    let state = AtomicU64::new(seed);
    Entropy::from_fn(move |bytes| {
        for chunk in bytes.chunks_mut(8) {
            // splitmix64
            let mut z = state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
        }
    })
}

/// How a dial goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tcp {
    Open,
    Refused,
    /// No answer, for ever.
    Silent,
}

/// Dials in memory: each hands the server's end to [`Net::accept`].
#[derive(Clone)]
pub struct MemoryConnector {
    streams: mpsc::Sender<DuplexStream>,
    tcp: Rc<Cell<Tcp>>,
    dials: Rc<RefCell<Vec<Instant>>>,
}

impl Connector for MemoryConnector {
    type Stream = DuplexStream;

    async fn connect(&self, _host: &str, _port: u16) -> io::Result<DuplexStream> {
        self.dials.borrow_mut().push(Instant::now());
        match self.tcp.get() {
            Tcp::Open => {}
            Tcp::Refused => return Err(io::ErrorKind::ConnectionRefused.into()),
            Tcp::Silent => std::future::pending().await,
        }
        let (client, server) = tokio::io::duplex(64 << 10);
        self.streams
            .try_send(server)
            .map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        Ok(client)
    }
}

pub struct Net {
    streams: mpsc::Receiver<DuplexStream>,
    pub connector: MemoryConnector,
}

impl Net {
    pub fn new() -> Self {
        let (sender, streams) = mpsc::channel(64);
        let connector = MemoryConnector {
            streams: sender,
            tcp: Rc::new(Cell::new(Tcp::Open)),
            dials: Rc::default(),
        };
        Self { streams, connector }
    }

    pub fn tcp(&self, tcp: Tcp) {
        self.connector.tcp.set(tcp);
    }

    /// When the dials began.
    pub fn dials(&self) -> Vec<Instant> {
        self.connector.dials.borrow().clone()
    }

    pub async fn stream(&mut self) -> DuplexStream {
        self.streams.recv().await.expect("the connector lives")
    }

    /// The next connection, upgraded.
    pub async fn accept(&mut self) -> Peer {
        Peer::upgrade(self.stream().await).await
    }

    /// The next connection, if its client stays for the upgrade.
    pub async fn accept_any(&mut self) -> Option<Peer> {
        let stream = self.stream().await;
        tokio::time::timeout(Duration::from_secs(1), Peer::try_upgrade(stream))
            .await
            .ok()?
    }

    /// The next connection, with its opening read; says which session and attach it had, and from where it reads.
    pub async fn opening(&mut self) -> (Peer, Opening) {
        let mut peer = self.accept().await;
        let opening = peer.opening().await;
        (peer, opening)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    pub secret: String,
    pub attach: u64,
    pub from: String,
}

/// The server's end of one connection.
pub struct Peer {
    pub handle: Handle,
    inbox: Inbox,
}

impl Peer {
    async fn upgrade(stream: DuplexStream) -> Self {
        Self::try_upgrade(stream).await.expect("an upgrade")
    }

    async fn try_upgrade(stream: DuplexStream) -> Option<Self> {
        let accepted = weirline_tokio::accept(stream, &AcceptSettings::default(), |request| {
            assert_eq!(request.path(), "/v1/streams/test");
            Ok(request.accept().subprotocol("weirline.v1.text").expect("offered"))
        })
        .await
        .ok()?;
        let connection = Connection::server(Arc::new(Config::default()), Instant::now().into_std());
        let (handle, inbox, handler) = weirline_tokio::channel(InboxLimits::default());
        spawn_local(Driver::new(
            accepted.stream,
            connection,
            accepted.residue,
            handler,
            (),
        ));
        Some(Self { handle, inbox })
    }

    /// The next message as text; `None` at the end.
    pub async fn recv(&mut self) -> Option<String> {
        match self.inbox.recv().await? {
            Delivery::Message(message) => Some(String::from_utf8_lossy(&message.payload).into_owned()),
            other => panic!("{other:?}"),
        }
    }

    pub async fn expect(&mut self, text: &str) {
        assert_eq!(self.recv().await.as_deref(), Some(text));
    }

    pub async fn say(&self, text: &str) {
        self.try_say(text).await.expect("the client is there");
    }

    pub async fn try_say(&self, text: &str) -> Option<()> {
        self.handle.send(Message::text(text)).await.ok()
    }

    pub async fn opening(&mut self) -> Opening {
        self.try_opening().await.expect("SESSION and RESUME_FROM")
    }

    /// `None` when the client leaves, or says nothing for a second.
    pub async fn try_opening(&mut self) -> Option<Opening> {
        let second = Duration::from_secs(1);
        let session = tokio::time::timeout(second, self.recv()).await.ok()??;
        let fields: Vec<_> = session.split(':').collect();
        let ["SESSION", secret, attach] = fields[..] else {
            panic!("{session}")
        };
        let from = tokio::time::timeout(second, self.recv()).await.ok()??;
        let from = from.strip_prefix("RESUME_FROM:").expect("RESUME_FROM").to_owned();
        Some(Opening {
            secret: secret.to_owned(),
            attach: attach.parse().expect("a number"),
            from,
        })
    }

    /// Answers an opening: the count, and where delivery goes on.
    pub async fn answer(&self, count: u64, offset: u64, head: u64) {
        self.say(&format!("RESUME_FROM:{count}")).await;
        self.say(&format!("RESUMED:{offset}:{head}@{EPOCH}")).await;
    }

    pub fn close(&self, code: u16, reason: &str) {
        self.handle
            .close(CloseCode::try_from(code).expect("a legal code"), reason);
    }

    /// Ends the stream without a Close frame.
    pub fn cut(&self) {
        self.handle.abort();
    }

    pub async fn end(&self) -> End {
        self.handle.closed().await.expect("the driver lives")
    }
}

/// Keeps the state and what was saved, fails or hangs on demand.
#[derive(Clone, Default)]
pub struct TestStore {
    pub saved: Rc<RefCell<Vec<ClientState>>>,
    pub volatile: bool,
    pub fails: Rc<Cell<bool>>,
    /// Saves wait while this is closed.
    pub gate: Option<Rc<tokio::sync::Semaphore>>,
}

impl TestStore {
    pub fn last(&self) -> Option<ClientState> {
        self.saved.borrow().last().cloned()
    }
}

impl Store for TestStore {
    fn mode(&self) -> StoreMode {
        if self.volatile {
            StoreMode::Volatile
        } else {
            StoreMode::Durable
        }
    }

    async fn load(&mut self) -> Result<Option<ClientState>, StoreError> {
        Ok(self.last())
    }

    async fn save(&mut self, state: ClientState) -> Result<(), StoreError> {
        if let Some(gate) = &self.gate {
            gate.acquire().await.expect("open").forget();
        }
        if self.fails.get() {
            return Err(StoreError::new("the disk is full"));
        }
        // Await points before and behind the moment at which it is stored.
        tokio::task::yield_now().await;
        self.saved.borrow_mut().push(state);
        tokio::task::yield_now().await;
        Ok(())
    }
}

pub type TestDriver = ClientDriver<MemoryConnector, TestStore>;

pub fn builder() -> ClientBuilder {
    ClientBuilder::new(URL).expect("a URL")
}

/// A client over `net`, its driver running.
pub async fn start(
    net: &Net,
    builder: ClientBuilder,
    store: &TestStore,
) -> (
    Client,
    Events,
    tokio::task::JoinHandle<Result<(), weirline_client::ClientError>>,
) {
    let (client, events, driver) = builder
        .build(net.connector.clone(), store.clone(), entropy(7))
        .await
        .expect("a client");
    (client, events, spawn_local(driver.run()))
}

/// The next event that is no link state other than `Live` and `Down`.
pub async fn next(events: &mut Events) -> Option<Event> {
    loop {
        match events.next().await {
            Some(Event::Link(LinkState::Dialing { .. } | LinkState::Waiting { .. })) => {}
            other => return other,
        }
    }
}

/// Takes events until the connection is live.
pub async fn live(events: &mut Events) {
    while !matches!(
        events.next().await.expect("an event"),
        Event::Link(LinkState::Live { .. })
    ) {}
}

/// Takes events until a message of the stream.
pub async fn message(events: &mut Events) -> weirline_client::Message {
    loop {
        if let Event::Message(message) = events.next().await.expect("an event") {
            return message;
        }
    }
}
