//! Where streams come from: the operating system's TCP, or a simulated network.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// Accepts streams.
pub trait Listener {
    /// What is accepted.
    type Stream: AsyncRead + AsyncWrite + Unpin + 'static;

    /// Waits for the next stream, and says where it comes from.
    ///
    /// Cancellation: no stream is lost when the future is dropped.
    ///
    /// # Errors
    ///
    /// Those of the operating system. Most pass (out of descriptors, a peer that is gone again): wait a little and go on.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>>;

    /// The address that is listened on.
    ///
    /// # Errors
    ///
    /// Those of the operating system.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// Opens streams.
pub trait Connector {
    /// What is opened.
    type Stream: AsyncRead + AsyncWrite + Unpin + 'static;

    /// Opens a stream to a port of a host, which is a name or an address.
    ///
    /// Cancellation: the attempt is given up with the future, and its socket is closed.
    ///
    /// # Errors
    ///
    /// The host is not known, or nobody answers.
    fn connect(&self, host: &str, port: u16) -> impl Future<Output = io::Result<Self::Stream>>;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = TcpListener::accept(self).await?;
        // Messages are batched by the driver; delaying them once more in the kernel only adds latency.
        stream.set_nodelay(true)?;
        Ok((stream, peer))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        TcpListener::local_addr(self)
    }
}

/// The operating system's TCP. Names are resolved on tokio's blocking pool, never on the event loop (R14).
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpConnector;

impl Connector for TcpConnector {
    type Stream = TcpStream;

    async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}
