//! The real binary, and a WebSocket client to talk to it.

#![allow(dead_code, reason = "each test file uses a part of this")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use weirline_handshake::{ClientRequest, WsUrl};
use weirline_tokio::{
    Config, ConnectError, Connection, Delivery, Driver, End, Entropy, Handle, Inbox, InboxLimits, Message,
    channel, connect,
};

/// Longer than anything here takes; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A server process. It is killed when the test ends, however that happens.
pub(crate) struct Server {
    child: Child,
    address: String,
    stderr: Option<ChildStderr>,
    /// Removed with the server.
    _data: Option<DataDir>,
}

/// A directory for a log, which is removed when this is dropped.
pub(crate) struct DataDir(PathBuf);

impl DataDir {
    /// The name of a directory that is not there yet.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("data-{}-{number}", std::process::id());
        Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn text(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Server {
    /// Starts `weirline ARGS --listen 127.0.0.1:0` and waits until it says where it listens. A `serve` that does not say where
    /// its log is gets a directory of its own.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_weirline")), args)
    }

    /// The same, where `command` ends by running the binary with the arguments that follow.
    pub(crate) fn start_by(command: Command, args: &[&str]) -> Self {
        Self::listen_by(command, "127.0.0.1:0", args)
    }

    /// The same at an address that a server had before.
    pub(crate) fn start_at(address: &str, args: &[&str]) -> Self {
        Self::listen_by(Command::new(env!("CARGO_BIN_EXE_weirline")), address, args)
    }

    fn listen_by(mut command: Command, address: &str, args: &[&str]) -> Self {
        let names_log = args.contains(&"--data-dir") || args.contains(&"--durability");
        let data = (args[0] == "serve" && !names_log).then(DataDir::new);
        if let Some(data) = &data {
            command.env("WEIRLINE_DATA_DIR", data.path());
        }
        let mut child = command
            .args(args)
            .args(["--listen", address, "--workers", "2"])
            .env("RUST_LOG", "debug")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .trim_end()
            .strip_prefix("listening on ws://")
            .expect("the contract's first line")
            .to_owned();
        let stderr = child.stderr.take();
        Self {
            child,
            address,
            stderr,
            _data: data,
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.address)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Ends it as a crash does: nothing runs in it any more.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for the end; returns the status and the log.
    pub(crate) fn wait(&mut self) -> (ExitStatus, String) {
        let mut log = String::new();
        self.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap(), log)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A WebSocket connection whose driver runs as a task.
pub(crate) struct Socket {
    pub(crate) handle: Handle,
    pub(crate) inbox: Inbox,
    driver: JoinHandle<End>,
}

impl Socket {
    pub(crate) async fn open(url: &str) -> Self {
        Self::try_open(url, |request| request).await.unwrap()
    }

    pub(crate) async fn try_open(
        url: &str,
        change: impl FnOnce(ClientRequest) -> ClientRequest,
    ) -> Result<Self, ConnectError> {
        let url: WsUrl = url.parse().unwrap();
        let entropy = Entropy::os();
        let stream = TcpStream::connect((url.dial_host(), url.port())).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let request = change(ClientRequest::new(&url, entropy.array()));
        let connected = connect(stream, &request, PATIENCE).await?;
        let now = tokio::time::Instant::now().into_std();
        let connection = Connection::client(Config::default().into(), entropy.mask_source(), now);
        let (handle, inbox, handler) = channel(InboxLimits::default());
        let driver = Driver::new(connected.stream, connection, connected.residue, handler, ());
        Ok(Self {
            handle,
            inbox,
            driver: tokio::task::spawn_local(driver),
        })
    }

    pub(crate) async fn send(&self, text: &str) {
        self.handle.send(Message::text(text)).await.unwrap();
    }

    pub(crate) async fn send_binary(&self, bytes: &'static [u8]) {
        self.handle.send(Message::binary(bytes)).await.unwrap();
    }

    /// The next message, as text; binary ones begin with `bin:`.
    pub(crate) async fn next(&mut self) -> Option<String> {
        let delivery = tokio::time::timeout(PATIENCE, self.inbox.recv())
            .await
            .expect("something comes in time");
        match delivery? {
            Delivery::Message(message) => {
                let text = String::from_utf8_lossy(&message.payload).into_owned();
                let binary = message.kind == weirline_tokio::MessageKind::Binary;
                Some(if binary { format!("bin:{text}") } else { text })
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn expect(&mut self, messages: &[&str]) {
        for message in messages {
            assert_eq!(self.next().await.as_deref(), Some(*message));
        }
    }

    /// Sends `RESUME_FROM` and what else there is, and takes the answer to it; returns the epoch.
    pub(crate) async fn resume(&mut self, session: Option<&str>, from: &str, have: u64) -> String {
        if let Some(session) = session {
            self.send(&format!("SESSION:{session}")).await;
        }
        self.send(&format!("RESUME_FROM:{from}")).await;
        self.expect(&[&format!("RESUME_FROM:{have}")]).await;
        if from == "none" {
            return String::new();
        }
        let answer = self.next().await.unwrap();
        assert!(answer.starts_with("RESUMED:"), "{answer}");
        answer.split_once('@').unwrap().1.to_owned()
    }

    /// Drops the TCP connection without a word.
    pub(crate) async fn cut(self) {
        self.handle.abort();
        let _ = self.driver.await;
    }

    /// Waits for the end of the connection.
    pub(crate) async fn ended(self) -> End {
        tokio::time::timeout(PATIENCE, self.driver)
            .await
            .expect("the connection ends in time")
            .unwrap()
    }
}

/// Runs a test on one thread with local tasks.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

/// What ends a line, commands a terminal, or changes how its neighbours are read.
pub(crate) fn is_hidden(c: char) -> bool {
    let bidi =
        matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    c.is_control() || bidi
}
