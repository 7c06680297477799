//! Why a server stops by itself.

use std::io;
use std::net::SocketAddr;

use weirline_log_redb::OpenError;

/// The server cannot start, or cannot go on. Nothing a peer does leads here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Another process listens on the address.
    #[error(
        "{address} is in use: stop what listens there, or choose another address (port 0 takes a free one)"
    )]
    AddressInUse {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// The HTTP API knows nobody's identity, so only this machine may reach it.
    #[error(
        "the API listens on loopback only, and {address} is not: take 127.0.0.1, and a proxy that authenticates"
    )]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// A worker's runtime or thread could not be started.
    #[error("cannot start a worker: {0}")]
    Start(#[source] io::Error),
    /// The log cannot be opened. The message says what to do.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// The settings ask the log for what it does not have.
    #[error("retention by age needs a durable log: the one in memory keeps by number and size only")]
    AgeInMemory,
    /// A worker or the committer ended in a panic.
    #[error("a part of the server ended in a panic: {0}")]
    Panicked(&'static str),
}
