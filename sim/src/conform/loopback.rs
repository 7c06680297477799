//! Real sockets on the loopback device, watched as the simulated ones are: the same moments come, and the same oracles look.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::{Case, Seen, plan, told};
use crate::conn::{Conn, Cut, Side};
use crate::net::{Net, Violation};
use crate::pairs::{PairsWorld, Wire, accepted, at_end, dialled};
use crate::trace::{Keep, What};
use crate::watch::Watch;

/// How late a busy machine may be.
const SLACK: Duration = Duration::from_secs(3);
/// How long all cases together may take.
const LIMIT: Duration = Duration::from_secs(60);
/// The kernel doubles it. Small, so that a few messages fill it.
const BUFFER_BYTES: u32 = 32 << 10;

/// Runs the cases side by side; what their ends saw, and what was broken.
pub(super) fn run(cases: &[Case]) -> Result<(Vec<Seen>, Vec<Violation>), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let local = LocalSet::new();
    let world = PairsWorld::new(plan(cases), Keep::Last);
    world.slack.set(SLACK);
    local.block_on(&runtime, async {
        let done = tokio::time::timeout(LIMIT, all(&world));
        match done.await {
            Ok(result) => result.map_err(|error| format!("loopback: {error}")),
            Err(_) => Err(format!("loopback: not all cases are over after {LIMIT:?}")),
        }
    })?;
    at_end(&world);
    Ok((told::by(&world, cases), world.net.violations()))
}

async fn all(world: &Rc<PairsWorld>) -> io::Result<()> {
    let start = Instant::now();
    let socket = TcpSocket::new_v4()?;
    small(&socket)?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let listener = socket.listen(1024)?;
    let address = listener.local_addr()?;
    tokio::task::spawn_local(serve(Rc::clone(world), listener, start));
    let dials = (0..world.plan.pairs.len()).map(|number| {
        let world = Rc::clone(world);
        tokio::task::spawn_local(async move {
            let stream = dial(address).await?;
            let local = stream.local_addr()?;
            let socket = RealSocket::new(Rc::clone(&world.net), stream, local, Side::Client, start);
            let conn = Rc::clone(&socket.conn);
            dialled(&world, number, socket, &conn).await;
            world.states[number].logs[0].done.set(Some(start.elapsed()));
            Ok::<(), io::Error>(())
        })
    });
    for dial in dials.collect::<Vec<_>>() {
        dial.await??;
    }
    while !world.is_done() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

async fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    small(&socket)?;
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn small(socket: &TcpSocket) -> io::Result<()> {
    socket.set_recv_buffer_size(BUFFER_BYTES)?;
    socket.set_send_buffer_size(BUFFER_BYTES)
}

async fn serve(world: Rc<PairsWorld>, listener: TcpListener, start: Instant) -> io::Result<()> {
    loop {
        let (stream, peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let socket = RealSocket::new(Rc::clone(&world.net), stream, peer, Side::Server, start);
        let world = Rc::clone(&world);
        let conn = Rc::clone(&socket.conn);
        tokio::task::spawn_local(async move { accepted(&world, socket, &conn).await });
    }
}

/// A socket of the operating system, watched.
struct RealSocket {
    net: Rc<Net>,
    conn: Rc<Conn>,
    inner: TcpStream,
    side: Side,
    watch: Watch,
    start: Instant,
}

impl RealSocket {
    fn new(net: Rc<Net>, inner: TcpStream, client: SocketAddr, side: Side, start: Instant) -> Self {
        net.advance(start.elapsed());
        let conn = net.conn(client);
        conn.opened[side.index()].set(Some(net.now()));
        let host = format!("{side:?}").into();
        Self {
            watch: Watch::new(Rc::clone(&net), Rc::clone(&conn), host, side),
            net,
            conn,
            inner,
            side,
            start,
        }
    }

    /// Tells the network the time, before it hears of anything.
    fn tick(&self) {
        self.net.advance(self.start.elapsed());
    }

    fn fail(&self, error: io::Error) -> io::Error {
        let failed = &self.conn.failed[self.side.index()];
        if failed.get().is_none() {
            failed.set(Some((error.kind(), self.net.now())));
            self.watch.record(What::Error, &[], &error.to_string());
        }
        error
    }
}

impl Wire for RealSocket {
    fn reset(self, drain: bool) {
        self.tick();
        self.net
            .cut(&self.conn, Cut::Rst { drain }, Some(self.side), "by an end");
        let _ = self.inner.set_zero_linger();
    }

    fn error(&self) -> Option<io::ErrorKind> {
        let error = self.inner.take_error().ok().flatten();
        error.map(|error| error.kind())
    }
}

impl AsyncRead for RealSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let result = ready!(Pin::new(&mut this.inner).poll_read(cx, buf));
        this.tick();
        match result {
            Ok(()) if buf.filled().len() == before => this.watch.end_of_stream(""),
            Ok(()) => this.watch.received(&buf.filled()[before..]),
            Err(error) => return Poll::Ready(Err(this.fail(error))),
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for RealSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let most = this.watch.allowed(bytes);
        let result = ready!(Pin::new(&mut this.inner).poll_write(cx, &bytes[..most]));
        this.tick();
        match result {
            Ok(count) => {
                this.watch.record(What::Sent, &bytes[..count], "");
                this.watch.passed(&bytes[..count]);
                Poll::Ready(Ok(count))
            }
            Err(error) => Poll::Ready(Err(this.fail(error))),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = ready!(Pin::new(&mut this.inner).poll_shutdown(cx));
        this.tick();
        match result {
            Ok(()) => this.watch.shut_down(),
            Err(error) => return Poll::Ready(Err(this.fail(error))),
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for RealSocket {
    fn drop(&mut self) {
        self.tick();
        self.conn.dropped[self.side.index()].set(Some(self.net.now()));
        self.watch.record(What::Dropped, &[], "");
        self.net.happened(&self.conn);
    }
}
