//! One echo server on one thread, of the library that is named. Each is what its own documentation shows as an echo, with
//! the batching that it offers; where two ways are documented, or batching costs something, both are here.
//!
//! Says `listening on ADDRESS` when it is ready, and serves until it is killed.

mod fast;
mod futures;
mod raw;
mod sockudo;
mod weirline;

use std::future::Future;
use std::net::Ipv4Addr;

use bytes::BytesMut;
use clap::{Parser, ValueEnum};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

#[derive(Parser)]
#[command(name = "peer-server", about = "An echo server of one library.")]
struct Cli {
    #[arg(value_enum)]
    library: Library,
    /// The core it stays on
    #[arg(long)]
    core: Option<usize>,
    /// End when the first connection has ended
    #[arg(long)]
    once: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Library {
    /// The same bytes, back as they came: what the kernel and the runtime cost alone
    Floor,
    /// As in the server
    Weirline,
    /// Without a keepalive, as the peers are
    WeirlineNoKeepalive,
    /// Fed while there is input, flushed before it waits
    TokioTungstenite,
    /// The same with read buffers of 4 KiB, which its documentation recommends for many connections
    TokioTungstenite4k,
    /// As in its example: each message is sent
    TokioWebsockets,
    /// What is there is received first, then fed, then flushed once
    TokioWebsocketsBatched,
    Fastwebsockets,
    /// As in its README: `feed`, and reading flushes
    SockudoWs,
}

impl Library {
    /// As in their own examples: `#[tokio::main]` starts a timer, and the runtimes of the echo servers of fastwebsockets and
    /// tokio-websockets have none. Ours has its timers on another thread, as in the server. The floor is what is left without anything.
    fn has_timer(self) -> bool {
        match self {
            Self::TokioTungstenite | Self::TokioTungstenite4k | Self::SockudoWs => true,
            Self::Weirline
            | Self::WeirlineNoKeepalive
            | Self::Floor
            | Self::TokioWebsockets
            | Self::TokioWebsocketsBatched
            | Self::Fastwebsockets => false,
        }
    }
}

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A handshake, and the task of the connection that comes of it.
type Begun = Result<JoinHandle<()>>;

fn main() -> Result {
    let cli = Cli::parse();
    if let Some(core) = cli.core {
        let mut cores = rustix::thread::CpuSet::new();
        cores.set(core);
        rustix::thread::sched_setaffinity(None, &cores)?;
    }
    rlimit::increase_nofile_limit(u64::MAX)?;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_io();
    if cli.library.has_timer() {
        runtime.enable_time();
    }
    runtime.build()?.block_on(serve(cli))
}

async fn serve(cli: Cli) -> Result {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("listening on {}", listener.local_addr()?);
    match cli.library {
        Library::Floor => accept_all(listener, cli.once, raw::begin).await,
        Library::Weirline => accept_all(listener, cli.once, weirline::begin).await,
        Library::WeirlineNoKeepalive => {
            accept_all(listener, cli.once, weirline::begin_without_keepalive).await
        }
        Library::TokioTungstenite => accept_all(listener, cli.once, futures::tungstenite).await,
        Library::TokioTungstenite4k => accept_all(listener, cli.once, futures::tungstenite_4k).await,
        Library::TokioWebsockets => accept_all(listener, cli.once, futures::websockets).await,
        Library::TokioWebsocketsBatched => accept_all(listener, cli.once, futures::websockets_batched).await,
        Library::Fastwebsockets => accept_all(listener, cli.once, fast::begin).await,
        Library::SockudoWs => accept_all(listener, cli.once, sockudo::begin).await,
    }
}

/// Each handshake is a task of its own, which ends before the connection's task begins, so that no connection keeps the
/// memory of its handshake.
async fn accept_all<F>(listener: TcpListener, once: bool, begin: impl Fn(TcpStream) -> F) -> Result
where
    F: Future<Output = Begun> + Send + 'static,
{
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let handshake = spawn(begin(stream));
        if once {
            return Ok(handshake.await??.await?);
        }
    }
}

/// As the examples of the peers do.
#[expect(
    clippy::disallowed_methods,
    reason = "the ban is for code that runs in the simulator"
)]
fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(future)
}

/// The handshake of the libraries that leave it to somebody else; it is not measured. It needs no timer, since some of their
/// runtimes have none.
async fn shake_hands(mut stream: TcpStream) -> Result<TcpStream> {
    use sockudo_ws::handshake::{build_response, generate_accept_key, parse_request};
    let mut head = BytesMut::with_capacity(HEAD_BYTES);
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Err("the load left in the middle of its request".into());
        }
        if let Some((request, _)) = parse_request(&head)? {
            let answer = build_response(&generate_accept_key(request.key), None, None);
            stream.write_all(&answer).await?;
            return Ok(stream);
        }
    }
}

const HEAD_BYTES: usize = 2048;
