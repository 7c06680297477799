//! Streams in memory that break at a chosen byte, and the real server behind them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_local};
use weirline_client::Connector;
use weirline_handshake::OriginPolicy;
use weirline_log::{EventLog, MemoryConfig, MemoryLog, MemoryReader};
use weirline_server::{Config, ServeError};
use weirline_tokio::Listener;

/// How a connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Rst,
    Fin,
    /// Nothing passes any more, in either direction, and nobody is told.
    Silence,
}

/// Whose bytes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Towards the server.
    Up,
    /// Towards the client.
    Down,
}

/// After `at` bytes of `side` have passed, `fault`.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    pub side: Side,
    pub at: usize,
    pub fault: Fault,
}

/// The client's end of a connection that may be cut.
pub struct CutStream {
    inner: Option<DuplexStream>,
    cut: Option<Cut>,
    passed: [usize; 2],
    struck: Rc<Cell<usize>>,
}

impl CutStream {
    /// Bytes of `side` that may still pass; 0 when the fault is there.
    fn left(&mut self, side: Side) -> usize {
        let Some(cut) = self.cut else { return usize::MAX };
        if self.passed[cut.side as usize] >= cut.at {
            if self.passed[cut.side as usize] != usize::MAX {
                // Once, however often it is met.
                self.passed[cut.side as usize] = usize::MAX;
                self.struck.set(self.struck.get() + 1);
            }
            if cut.fault != Fault::Silence {
                self.inner = None;
            }
            return 0;
        }
        if cut.side == side {
            cut.at - self.passed[side as usize]
        } else {
            usize::MAX
        }
    }

    fn broken(&self) -> Poll<io::Error> {
        match self.cut.map(|cut| cut.fault) {
            Some(Fault::Rst) => Poll::Ready(io::ErrorKind::ConnectionReset.into()),
            Some(Fault::Fin) => Poll::Ready(io::ErrorKind::BrokenPipe.into()),
            // Whoever waits is woken by its own timers.
            _ => Poll::Pending,
        }
    }
}

impl AsyncRead for CutStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.left(Side::Down).min(buf.remaining());
        if left == 0 {
            return match self.cut.map(|cut| cut.fault) {
                Some(Fault::Fin) => Poll::Ready(Ok(())),
                _ => self.broken().map(Err),
            };
        }
        let inner = self.inner.as_mut().expect("not cut");
        let mut part = buf.take(left);
        ready!(Pin::new(inner).poll_read(task, &mut part))?;
        let n = part.filled().len();
        buf.set_filled(buf.filled().len() + n);
        self.passed[Side::Down as usize] += n;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for CutStream {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let left = self.left(Side::Up).min(bytes.len());
        if left == 0 {
            return self.broken().map(Err);
        }
        let inner = self.inner.as_mut().expect("not cut");
        let n = ready!(Pin::new(inner).poll_write(task, &bytes[..left]))?;
        self.passed[Side::Up as usize] += n;
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.left(Side::Up) {
            0 => self.broken().map(Err),
            _ => Pin::new(self.inner.as_mut().expect("not cut")).poll_shutdown(task),
        }
    }
}

/// Dials the server; the first dial gets the first cut, and so on, and those after the last cut are unharmed.
#[derive(Clone)]
pub struct CutConnector {
    streams: Rc<RefCell<mpsc::Sender<DuplexStream>>>,
    cuts: Rc<RefCell<VecDeque<Cut>>>,
    struck: Rc<Cell<usize>>,
}

impl CutConnector {
    /// How many cuts have happened.
    pub fn struck(&self) -> usize {
        self.struck.get()
    }

    /// Dials another server from here on, as if it were the same address.
    pub fn redirect(&self, server: &Server) {
        *self.streams.borrow_mut() = server.streams.clone();
    }
}

impl Connector for CutConnector {
    type Stream = CutStream;

    async fn connect(&self, _host: &str, _port: u16) -> io::Result<CutStream> {
        let (client, server) = tokio::io::duplex(64 << 10);
        let refused = |_| io::Error::from(io::ErrorKind::ConnectionRefused);
        self.streams.borrow().try_send(server).map_err(refused)?;
        let (cut, struck) = (self.cuts.borrow_mut().pop_front(), self.struck.clone());
        Ok(CutStream {
            inner: Some(client),
            cut,
            passed: [0; 2],
            struck,
        })
    }
}

struct MemoryListener(Mutex<mpsc::Receiver<DuplexStream>>);

impl Listener for MemoryListener {
    type Stream = DuplexStream;

    async fn accept(&self) -> io::Result<(DuplexStream, SocketAddr)> {
        match self.0.lock().await.recv().await {
            Some(stream) => Ok((stream, ([127, 0, 0, 1], 1).into())),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(([127, 0, 0, 1], 7070).into())
    }
}

/// A running server on a log in memory.
pub struct Server {
    streams: mpsc::Sender<DuplexStream>,
    pub log: MemoryReader,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ServeError>>,
}

impl Server {
    pub fn start(seed: u64) -> Self {
        let (streams, receiver) = mpsc::channel(64);
        let (stop, stopped) = oneshot::channel();
        let log = MemoryLog::new(MemoryConfig::default(), seed).split();
        let reader = log.1.clone();
        let origins = OriginPolicy::builder().absent(true).build().expect("a policy");
        let config = Config {
            origins,
            ..Config::default()
        };
        let task = spawn_local(weirline_server::serve(
            config,
            MemoryListener(Mutex::new(receiver)),
            log,
            super::entropy(seed),
            (),
            async {
                let _ = stopped.await;
            },
        ));
        Self {
            streams,
            log: reader,
            stop,
            task,
        }
    }

    pub fn connector(&self, cuts: impl IntoIterator<Item = Cut>) -> CutConnector {
        CutConnector {
            streams: Rc::new(RefCell::new(self.streams.clone())),
            cuts: Rc::new(RefCell::new(cuts.into_iter().collect())),
            struck: Rc::default(),
        }
    }

    /// Stops with 1001 to everybody.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        self.task.await.expect("no panic").expect("a clean stop");
    }
}
