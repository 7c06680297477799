//! A simulated socket: turmoil's stream, chaos around it, a bounded window, cuts, and the recorder on top.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};
use weirline_tokio::{Connector, Listener};

use crate::chaos::ChaosStream;
use crate::conn::{Conn, Cut, Fuse, Op, Side, Trigger};
use crate::net::Net;
use crate::rng::Rng;
use crate::sometimes;
use crate::trace::What;
use crate::wire::{Scanner, Seen};

/// One end of a simulated connection.
pub struct Socket {
    net: Rc<Net>,
    conn: Rc<Conn>,
    host: Rc<str>,
    side: Side,
    /// None when a cut took it away.
    inner: Option<ChaosStream<TcpStream>>,
    scanner: Scanner,
    /// The scanner has met something that is not WebSocket, and reported it.
    scanner_failed: bool,
    label_count: u64,
    ended: bool,
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
            scanner: Scanner::new(side.sends()),
            scanner_failed: false,
            label_count: 0,
            ended: false,
            dial: None,
            net,
            conn,
            host,
            side,
        }
    }

    fn record(&self, what: What, bytes: &[u8], note: &str) {
        self.net
            .record(&self.host, self.conn.id, what, bytes, note.to_owned());
    }

    fn fail<T>(&mut self, kind: io::ErrorKind, what: &str) -> Poll<io::Result<T>> {
        if !self.ended {
            self.ended = true;
            self.record(What::Error, &[], &format!("{what}: {kind:?}"));
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

    /// How much of `bytes` may pass now, so that a planned cut falls exactly where it should.
    fn allowed(&self, bytes: &[u8]) -> usize {
        let fuse = self.conn.fuse.borrow();
        let Some(Fuse {
            direction, trigger, ..
        }) = fuse.as_ref()
        else {
            return bytes.len();
        };
        if *direction != self.side.sends() || self.conn.cut.get().is_some() {
            return bytes.len();
        }
        match trigger {
            Trigger::Bytes(at) => {
                let left = at.saturating_sub(self.conn.sent[direction.index()].get()).max(1);
                bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX))
            }
            Trigger::Message { .. } => self
                .scanner
                .clone()
                .advance(bytes)
                .map_or(bytes.len(), |(used, _)| used),
        }
    }

    /// After bytes were accepted: watch them, and cut when it is time.
    fn passed(&mut self, bytes: &[u8]) {
        let direction = self.side.sends();
        let sent = &self.conn.sent[direction.index()];
        sent.set(sent.get() + bytes.len() as u64);
        let mut rest = bytes;
        while !rest.is_empty() && !self.scanner_failed {
            match self.scanner.advance(rest) {
                Ok((used, seen)) => {
                    rest = &rest[used..];
                    if let Some(seen) = seen {
                        self.saw(&seen);
                    }
                }
                Err(what) => {
                    self.scanner_failed = true;
                    let text = format!("#{} {} sent {what}", self.conn.id, self.host);
                    self.net.violate("W1", text);
                }
            }
        }
        self.cut_if_due();
    }

    fn saw(&mut self, seen: &Seen) {
        let index = self.side.sends().index();
        if let Seen::Close { code, reason } = seen {
            self.conn.close_sent[index].set(Some(self.net.now()));
            self.conn.close[index].replace((*code, reason.clone()));
            let both = self.conn.close_sent.iter().all(|at| at.get().is_some());
            if both {
                self.net.case("close-handshake");
            }
            self.record(What::App, &[], &format!("Close {code} {reason}"));
        } else if let Seen::Head { status: 101 } = seen {
            self.conn.upgraded.set(true);
        } else if let Seen::Message { preview, len, .. } = seen {
            self.follow_numbers(preview);
            if self.conn.close_sent[1 - index].get().is_some() {
                self.net.case("close-crossing");
            }
            let preview = String::from_utf8_lossy(&preview[..preview.len().min(24)]).into_owned();
            if OUR_FAULTS.iter().any(|fault| preview.starts_with(fault)) {
                let text = format!("#{}: our own ends disagree: {preview}", self.conn.id);
                self.net.violate("W4", text);
            }
            self.record(What::App, &[], &format!("{} {preview:?} ({len} B)", seen.label()));
        }
        if let Some(Fuse {
            trigger: Trigger::Message { label, .. },
            direction,
            ..
        }) = &*self.conn.fuse.borrow()
            && *direction == self.side.sends()
            && *label == seen.label()
        {
            self.label_count += 1;
        }
    }

    fn follow_numbers(&self, preview: &[u8]) {
        if self.side == Side::Server {
            self.conn.numbering.server_said(preview);
            return;
        }
        self.conn.used.set(true);
        if self.conn.by_hand.get() {
            return;
        }
        match self.conn.numbering.client_said(preview) {
            Ok(resumed) => sometimes!(self.net, "numbered-on", resumed),
            Err(text) => self.net.violate("I5", format!("#{}: {text}", self.conn.id)),
        }
    }

    fn cut_if_due(&mut self) {
        let direction = self.side.sends();
        let due = match &*self.conn.fuse.borrow() {
            Some(fuse) if fuse.direction == direction => match &fuse.trigger {
                Trigger::Bytes(at) => self.conn.sent[direction.index()].get() >= *at,
                Trigger::Message { nth, .. } => self.label_count >= *nth,
            },
            _ => false,
        };
        if !due {
            return;
        }
        let Some(fuse) = self.conn.fuse.take() else { return };
        match &fuse.trigger {
            Trigger::Message { label, .. } => {
                self.net.case("lost-message");
                self.net
                    .cut(&self.conn, fuse.cut, Some(self.side), &format!("losing {label}"));
            }
            Trigger::Bytes(at) => {
                if self.scanner.inside() {
                    self.net.case("cut-inside-frame");
                }
                self.net
                    .cut(&self.conn, fuse.cut, Some(self.side), &format!("after byte {at}"));
            }
        }
    }

    fn note_received(&self, bytes: &[u8]) {
        let under_way = &self.conn.under_way[self.side.receives().index()];
        under_way.set(under_way.get().saturating_sub(bytes.len()));
        self.conn.has_room(self.side.receives().index(), self.net.now());
        self.conn.wake(self.side.other(), Op::Write);
        self.record(What::Received, bytes, "");
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.conn.wait(this.side, Op::Read, cx.waker());
        match this.reading_cut() {
            Some(Err(error)) => return this.fail(error.kind(), "read"),
            Some(Ok(())) => {
                this.record(What::Eof, &[], "cut");
                return Poll::Ready(Ok(()));
            }
            None if this.is_silent() => return Poll::Pending,
            None => {}
        }
        let Some(inner) = &mut this.inner else {
            return this.fail(io::ErrorKind::ConnectionReset, "read");
        };
        let before = buf.filled().len();
        match ready!(Pin::new(inner).poll_read(cx, buf)) {
            Ok(()) if buf.filled().len() == before && buf.remaining() > 0 => {
                if let Some((Cut::Rst { .. }, _)) = this.conn.cut.get() {
                    this.inner = None;
                    return this.fail(io::ErrorKind::ConnectionReset, "read");
                }
                this.record(What::Eof, &[], "");
                Poll::Ready(Ok(()))
            }
            Ok(()) => {
                this.note_received(&buf.filled()[before..]);
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
        let most = this.allowed(&bytes[..bytes.len().min(room)]);
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
        this.record(What::Sent, &bytes[..count], "");
        this.passed(&bytes[..count]);
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
            None if this.is_silent() => return Poll::Ready(Ok(())),
            None => {}
        }
        let Some(inner) = &mut this.inner else {
            return this.fail(io::ErrorKind::NotConnected, "shutdown");
        };
        match ready!(Pin::new(inner).poll_shutdown(cx)) {
            Ok(()) => {
                this.record(What::Shutdown, &[], "");
                Poll::Ready(Ok(()))
            }
            Err(error) => this.fail(error.kind(), "shutdown"),
        }
    }
}

/// Errors of the text form that only a defect of one of our ends brings about.
const OUR_FAULTS: [&str; 3] = ["ERROR:bad-message", "ERROR:bad-sequence", "ERROR:ack-beyond"];
/// Bytes of a gather list that are offered at once.
const GATHER_MAX: usize = 64 * 1024;

impl Drop for Socket {
    fn drop(&mut self) {
        let now = self.net.now();
        self.conn.dropped[self.side.index()].set(Some(now));
        for index in 0..2 {
            if self.conn.full_since[index].get().is_some() {
                self.conn.is_full(index, now);
            }
        }
        let unread = self.inner.as_ref().map_or(0, ChaosStream::unread);
        self.record(
            What::Dropped,
            &[],
            &if unread > 0 {
                format!("{unread} B unread")
            } else {
                String::new()
            },
        );
        if unread > 0 && self.conn.cut.get().is_none() {
            // The kernel answers a close over unread data by RST, which loses what is under way to the peer.
            let drain = self.net.rng(self.conn.id, self.side).percent(30);
            let disturbed = self.conn.disturbed.get();
            self.conn.reset_by_drop.set(Some(self.side));
            self.conn.cut(Cut::Rst { drain }, Some(self.side));
            self.conn.disturbed.set(disturbed);
        }
        self.conn.wake(self.side.other(), Op::Write);
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
                self.net.arm(&socket.conn, self.client, self.process);
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
