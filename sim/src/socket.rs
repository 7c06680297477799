//! A simulated socket: turmoil's stream, chaos around it, a bounded window, cuts, and the recorder on top.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use turmoil::net::{TcpListener, TcpStream};
use weirline_tokio::{Connector, Listener};

use crate::chaos::ChaosStream;
use crate::conn::{Conn, Cut, Op, Side};
use crate::net::Net;
use crate::rng::Rng;
use crate::trace::What;
use crate::watch::Watch;

/// One end of a simulated connection.
pub struct Socket {
    net: Rc<Net>,
    conn: Rc<Conn>,
    side: Side,
    /// None when a cut took it away.
    inner: Option<ChaosStream<TcpStream>>,
    watch: Watch,
    ended: bool,
    /// Until what is held may be read, or the rate allows more.
    waiting: Option<Pin<Box<Sleep>>>,
    /// When the rate allows the next read.
    busy_until: Duration,
    /// The dial that this is the end of, on the client's side.
    dial: Option<DialGuard>,
}

/// Says that a dial is over, when it is dropped.
struct DialGuard {
    net: Rc<Net>,
    dial: usize,
}

impl Drop for DialGuard {
    fn drop(&mut self) {
        self.net.dial_ended(self.dial);
    }
}

impl Socket {
    fn new(net: Rc<Net>, stream: TcpStream, client: SocketAddr, host: Rc<str>, side: Side) -> Self {
        let conn = net.conn(client);
        let chaos = if side == Side::Client {
            net.plan.client_chaos
        } else {
            net.plan.server_chaos
        };
        let rng = net.rng(conn.id, side);
        conn.opened[side.index()].set(Some(net.now()));
        net.record(&host, conn.id, What::Open, &[], client.to_string());
        Self {
            inner: Some(ChaosStream::new(stream, chaos, rng)),
            watch: Watch::new(Rc::clone(&net), Rc::clone(&conn), host, side),
            ended: false,
            waiting: None,
            busy_until: Duration::ZERO,
            dial: None,
            net,
            conn,
            side,
        }
    }

    /// The connection that this is an end of.
    #[must_use]
    pub fn conn(&self) -> &Rc<Conn> {
        &self.conn
    }

    /// Resets the connection: what is under way to the other end is lost, or with `drain` still read there first.
    pub fn reset(self, drain: bool) {
        self.net
            .cut(&self.conn, Cut::Rst { drain }, Some(self.side), "by an end");
    }

    fn fail<T>(&mut self, kind: io::ErrorKind, what: &str) -> Poll<io::Result<T>> {
        if !self.ended {
            self.ended = true;
            self.conn.failed[self.side.index()].set(Some((kind, self.net.now())));
            self.watch.record(What::Error, &[], &format!("{what}: {kind:?}"));
        }
        Poll::Ready(Err(kind.into()))
    }

    /// What a cut does to this end: `Some` when the operation ends here.
    fn reading_cut(&mut self) -> Option<io::Result<()>> {
        let (cut, by) = self.conn.cut.get()?;
        let near = by != Some(self.side.other());
        match cut {
            Cut::Rst { drain } if near || !drain => {
                self.inner = None;
                Some(Err(io::ErrorKind::ConnectionReset.into()))
            }
            Cut::Fin if near => {
                self.inner = None;
                Some(Ok(()))
            }
            Cut::Rst { .. } | Cut::Fin | Cut::Silence => None,
        }
    }

    fn is_silent(&self) -> bool {
        matches!(self.conn.cut.get(), Some((Cut::Silence, _)))
    }

    /// Waits while what comes is held, or comes faster than it may.
    fn poll_allowed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = self.net.now();
            let held = self.conn.held_until[self.side.receives().index()].get();
            let busy_until = self.busy_until.saturating_sub(RATE_SLACK);
            let until = held.unwrap_or_default().max(busy_until);
            if until <= now {
                self.waiting = None;
                return Poll::Ready(());
            }
            let sleep = self
                .waiting
                .insert(Box::pin(tokio::time::sleep(until.saturating_sub(now))));
            ready!(sleep.as_mut().poll(cx));
        }
    }

    /// The most that may be read at once, by the rate.
    fn read_max(&self) -> usize {
        let rate = self.conn.rate[self.side.receives().index()].get();
        rate.map_or(usize::MAX, |rate| {
            usize::try_from((rate / READS_PER_SECOND).max(1)).unwrap_or(usize::MAX)
        })
    }

    fn received(&mut self, bytes: &[u8]) {
        if let Some(rate) = self.conn.rate[self.side.receives().index()].get() {
            let took = Duration::from_micros(bytes.len() as u64 * 1_000_000 / rate.max(1));
            let idle_since = self.net.now().saturating_sub(RATE_SLACK);
            self.busy_until = idle_since.max(self.busy_until) + took;
        }
        self.watch.received(bytes);
    }
}

/// How often a reader with a rate reads: its pieces are small enough to be smooth, and not bytes.
const READS_PER_SECOND: u64 = 200;
/// How far a reader with a rate may be ahead, so that timers of whole milliseconds do not make it slower.
const RATE_SLACK: Duration = Duration::from_millis(5);

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.conn.wait(this.side, Op::Read, cx.waker());
        match this.reading_cut() {
            Some(Err(error)) => return this.fail(error.kind(), "read"),
            Some(Ok(())) => {
                this.watch.end_of_stream("cut");
                return Poll::Ready(Ok(()));
            }
            None if this.is_silent() => return Poll::Pending,
            None => {}
        }
        ready!(this.poll_allowed(cx));
        let most = this.read_max();
        let Some(inner) = &mut this.inner else {
            return this.fail(io::ErrorKind::ConnectionReset, "read");
        };
        let wanted = buf.remaining().min(most);
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(wanted));
        let result = ready!(Pin::new(inner).poll_read(cx, &mut part));
        let filled = part.filled().len();
        match result {
            Ok(()) if filled == 0 && wanted > 0 => {
                if let Some((Cut::Rst { .. }, _)) = this.conn.cut.get() {
                    this.inner = None;
                    return this.fail(io::ErrorKind::ConnectionReset, "read");
                }
                this.watch.end_of_stream("");
                Poll::Ready(Ok(()))
            }
            Ok(()) => {
                buf.advance(filled);
                this.received(&buf.filled()[buf.filled().len() - filled..]);
                Poll::Ready(Ok(()))
            }
            Err(error) => this.fail(error.kind(), "read"),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        this.conn.wait(this.side, Op::Write, cx.waker());
        if let Some(end) = this.reading_cut() {
            let kind = end.err().map_or(io::ErrorKind::BrokenPipe, |error| error.kind());
            return this.fail(kind, "write");
        }
        let index = this.side.sends().index();
        let room = this.conn.window.saturating_sub(this.conn.under_way[index].get());
        if room == 0 {
            this.net.case("window-full");
            this.conn.is_full(index, this.net.now());
            return Poll::Pending;
        }
        let most = this.watch.allowed(&bytes[..bytes.len().min(room)]);
        let count = if this.is_silent() {
            most
        } else {
            let Some(inner) = &mut this.inner else {
                return this.fail(io::ErrorKind::BrokenPipe, "write");
            };
            match ready!(Pin::new(inner).poll_write(cx, &bytes[..most])) {
                Ok(count) => count,
                Err(error) => return this.fail(error.kind(), "write"),
            }
        };
        let under_way = &this.conn.under_way[index];
        under_way.set(under_way.get() + count);
        this.watch.record(What::Sent, &bytes[..count], "");
        this.watch.passed(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut gathered = Vec::new();
        for slice in slices {
            gathered.extend_from_slice(slice);
            if gathered.len() >= GATHER_MAX {
                break;
            }
        }
        self.poll_write(cx, &gathered)
    }

    fn is_write_vectored(&self) -> bool {
        self.net.plan.vectored
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.reading_cut() {
            Some(Err(_)) => return this.fail(io::ErrorKind::NotConnected, "shutdown"),
            Some(Ok(())) => return Poll::Ready(Ok(())),
            None if this.is_silent() => {
                this.watch.shut_down();
                return Poll::Ready(Ok(()));
            }
            None => {}
        }
        let Some(inner) = &mut this.inner else {
            return this.fail(io::ErrorKind::NotConnected, "shutdown");
        };
        match ready!(Pin::new(inner).poll_shutdown(cx)) {
            Ok(()) => {
                this.watch.shut_down();
                Poll::Ready(Ok(()))
            }
            Err(error) => this.fail(error.kind(), "shutdown"),
        }
    }
}

/// Bytes of a gather list that are offered at once.
const GATHER_MAX: usize = 64 * 1024;

impl Drop for Socket {
    fn drop(&mut self) {
        let now = self.net.now();
        self.conn.dropped[self.side.index()].set(Some(now));
        // It waits for room no more; the other end may go on doing so.
        self.conn.has_room(self.side.sends().index(), now);
        let receives = self.side.receives().index();
        if self.conn.full_since[receives].get().is_some() {
            self.conn.is_full(receives, now);
        }
        let unread = self.inner.as_mut().map_or(0, ChaosStream::arrived);
        let note = if unread > 0 {
            format!("{unread} B unread")
        } else {
            String::new()
        };
        self.watch.record(What::Dropped, &[], &note);
        if unread > 0 && self.conn.cut.get().is_none() {
            // The kernel answers a close over unread data by RST, which loses what is under way to the peer.
            let drain = self.net.rng(self.conn.id, self.side).percent(30);
            let disturbed = self.conn.disturbed.get();
            self.conn.reset_by_drop.set(Some(self.side));
            self.conn.cut(now, Cut::Rst { drain }, Some(self.side));
            self.conn.disturbed.set(disturbed);
        }
        self.conn.wake(self.side.other(), Op::Write);
        self.net.happened(&self.conn);
    }
}

/// The server's listening socket.
pub struct SimListener {
    net: Rc<Net>,
    inner: TcpListener,
    host: Rc<str>,
}

impl SimListener {
    /// Binds `port` on the current host, which is called `host` in the trace.
    ///
    /// # Errors
    ///
    /// When the port is taken.
    pub async fn bind(net: Rc<Net>, host: &str, port: u16) -> io::Result<Self> {
        let inner = TcpListener::bind(("0.0.0.0", port)).await?;
        Ok(Self {
            net,
            inner,
            host: host.into(),
        })
    }
}

impl Listener for SimListener {
    type Stream = Socket;

    async fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
        let (stream, peer) = self.inner.accept().await?;
        let socket = Socket::new(
            Rc::clone(&self.net),
            stream,
            peer,
            Rc::clone(&self.host),
            Side::Server,
        );
        Ok((socket, peer))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// What a client dials with.
#[derive(Clone)]
pub struct SimConnector {
    net: Rc<Net>,
    host: Rc<str>,
    client: usize,
    process: u32,
}

impl SimConnector {
    /// For a process of the client of this number, on the host of this name.
    #[must_use]
    pub fn new(net: Rc<Net>, host: &str, client: usize, process: u32) -> Self {
        Self {
            net,
            host: host.into(),
            client,
            process,
        }
    }
}

impl Connector for SimConnector {
    type Stream = Socket;

    /// Some of the attempts that nobody answers hang, as real ones do.
    async fn connect(&self, host: &str, port: u16) -> io::Result<Socket> {
        let dialed = self.net.now();
        let dial = self.net.dial(self.client, self.process);
        let guard = DialGuard {
            net: Rc::clone(&self.net),
            dial,
        };
        self.net.record(
            &self.host,
            0,
            What::Dial,
            &[],
            format!("{host}:{port} by process {}", self.process),
        );
        match TcpStream::connect((host, port)).await {
            Ok(stream) => {
                let local = stream.local_addr()?;
                let host = Rc::clone(&self.host);
                let mut socket = Socket::new(Rc::clone(&self.net), stream, local, host, Side::Client);
                self.net.dial_opened(dial);
                socket.dial = Some(guard);
                self.net.arm(&socket.conn, self.client, self.process, dialed);
                Ok(socket)
            }
            Err(error) => {
                self.net
                    .record(&self.host, 0, What::DialFailed, &[], error.kind().to_string());
                let mut rng = Rng::derive(self.net.seed, "hang", dial as u64);
                if rng.percent(self.net.plan.hang_percent) {
                    std::future::pending::<()>().await;
                }
                Err(error)
            }
        }
    }
}
