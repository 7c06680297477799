//! What happened at one end of a connection, as its application saw it.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use weirline_tokio::End;

use super::Sequence;
use crate::conn::{Conn, Side};

/// What an end is run with.
#[derive(Clone)]
pub struct Context {
    /// Which end.
    pub side: Side,
    /// What it sees and does.
    pub log: Rc<EndLog>,
    /// The connection in the simulated network; none over real sockets.
    pub conn: Option<Rc<Conn>>,
    /// The time.
    pub now: Rc<dyn Fn() -> Duration>,
    /// Seeded bytes.
    pub entropy: weirline_tokio::Entropy,
    /// How long after its start the end is told to close.
    pub end_ms: u64,
}

impl Context {
    /// The time.
    #[must_use]
    pub fn now(&self) -> Duration {
        (self.now)()
    }
}

/// What an end saw and did.
#[derive(Debug, Default)]
pub struct EndLog {
    /// Its handshake is done, since then.
    pub began: Cell<Option<Duration>>,
    /// It is over, and its socket is gone.
    pub done: Cell<Option<Duration>>,
    /// What its application did.
    pub deeds: RefCell<Deeds>,
    /// Messages accepted for sending, by sequence.
    pub accepted: [Cell<u64>; 2],
    /// Messages received in order, by sequence.
    pub received: [Cell<u64>; 2],
    /// Other messages received.
    pub received_other: Cell<u64>,
    /// What it saw that must not be.
    pub wrong: RefCell<Vec<String>>,
    /// When the connection was first seen not to be open any more.
    pub closing: Cell<Option<Duration>>,
    /// When bytes had last come by then.
    pub heard: Cell<Option<Duration>>,
    /// The end of the connection.
    pub ended: RefCell<Option<Ended>>,
    /// The inbox was read to its end.
    pub drained: Cell<bool>,
    /// The most that the connection held.
    pub held_most: Cell<usize>,
    /// When a ping was answered, and how long that took.
    pub rtts: RefCell<Vec<(Duration, Duration)>>,
    /// What a peer by hand saw.
    pub raw: RefCell<RawEnd>,
}

/// What an application did, and when.
#[derive(Clone, Debug, Default)]
pub struct Deeds {
    /// Called `close` with this code; how much had been accepted by then.
    pub closed: Option<(Duration, u16, [u64; 2])>,
    /// Called `abort`.
    pub aborted: Option<Duration>,
    /// Dropped all handles.
    pub dropped_handles: Option<Duration>,
    /// Dropped the inbox.
    pub dropped_inbox: Option<Duration>,
    /// Dropped the driver.
    pub dropped_driver: Option<Duration>,
    /// Made its handler fail.
    pub failed: Option<Duration>,
    /// Did not read at once, at some time.
    pub was_slow: bool,
    /// Let a send go unfinished.
    pub cancelled_send: bool,
    /// Something accepted was not on the wire when it called `close`.
    pub closed_over_data: bool,
}

/// How a shipped end was over.
#[derive(Clone, Debug)]
pub struct Ended {
    /// What it was told; none when the driver was dropped.
    pub end: Option<End>,
    /// When.
    pub at: Duration,
    /// The error that waited on the socket.
    pub socket_error: Option<io::ErrorKind>,
}

/// What a peer by hand saw.
#[derive(Clone, Debug, Default)]
pub struct RawEnd {
    /// The labels of what came, runs of the same counted once.
    pub labels: Vec<(String, u64)>,
    /// The Close that came.
    pub close: Option<(u16, String)>,
    /// How its reading ended: at the end of the stream, or by an error.
    pub reading: Option<Result<(), io::ErrorKind>>,
    /// It left, or reset the connection.
    pub left: Option<Duration>,
    /// The error that waited on its socket when it left.
    pub socket_error: Option<io::ErrorKind>,
    /// Its writing failed.
    pub write_error: Option<io::ErrorKind>,
    /// When its pings were answered, and how long that took.
    pub rtts: Vec<(Duration, Duration)>,
}

impl EndLog {
    /// A message was received: it must be the next of its sequence, and whole.
    pub fn receive(&self, bytes: &[u8]) {
        let Some((sequence, number, len)) = super::parse(bytes) else {
            return self.received_other.set(self.received_other.get() + 1);
        };
        let received = &self.received[sequence.index()];
        if received.get() != number {
            self.is_wrong(format!(
                "received message {number} of {sequence:?} where {} is next",
                received.get()
            ));
        }
        if bytes != super::payload(sequence, number, len) {
            self.is_wrong(format!(
                "message {number} of {sequence:?} arrived with other bytes"
            ));
        }
        received.set(number + 1);
    }

    /// A message was accepted.
    pub fn accept(&self, sequence: Sequence) {
        let accepted = &self.accepted[sequence.index()];
        accepted.set(accepted.get() + 1);
        if self.deeds.borrow().closed.is_some() {
            self.is_wrong("a message was accepted after close()".to_owned());
        }
    }

    /// Remembers what must not be.
    pub fn is_wrong(&self, what: String) {
        self.wrong.borrow_mut().push(what);
    }

    /// All of them together.
    #[must_use]
    pub fn received_total(&self) -> u64 {
        self.received.iter().map(Cell::get).sum::<u64>() + self.received_other.get()
    }
}
