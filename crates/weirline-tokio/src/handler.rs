//! What an application gives the driver: a synchronous handler.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;
use weirline_connection::{Cause, CloseCode, Connection, End, Event, MessageKind, SendError, Sent};
use weirline_flow::Tally;

/// Receives what happens on one connection, inline in its driver.
///
/// Methods are synchronous and must return at once: they take, queue or reply. Work that waits or computes belongs behind
/// a queue, see [`channel`](crate::channel). A method that panics or returns an error ends its own connection with 1011,
/// and nobody else's.
pub trait Handler {
    /// Whether [`poll_work`](Self::poll_work) does anything. A handler that leaves it as it is says `false`, and saves the driver a round
    /// in each turn; it is not called then. Such a handler leaves [`next_wake`](Self::next_wake) as it is, too.
    const WORKS: bool = true;

    /// Something arrived.
    ///
    /// # Errors
    ///
    /// Any error ends the connection with 1011.
    fn on_event(&mut self, cx: &mut Context<'_>, event: Event<'_>) -> Result<(), HandlerError>;

    /// Called in each turn of the driver before it writes: to send what became available elsewhere, as much as
    /// [`Context::send_capacity`] says. Whoever makes something available wakes `task.waker()`.
    ///
    /// # Errors
    ///
    /// Any error ends the connection with 1011.
    fn poll_work(
        &mut self,
        cx: &mut Context<'_>,
        task: &mut std::task::Context<'_>,
    ) -> Result<(), HandlerError> {
        let _ = (cx, task);
        Ok(())
    }

    /// This side breaks the connection because of back-pressure: [`Cause::Backpressure`] or [`Cause::PausedTooLong`]. What was
    /// queued is given up; [`Context::farewell`] may say one thing before the Close frame (R19).
    ///
    /// # Errors
    ///
    /// Any error is logged; the connection ends as it would without.
    fn on_break(&mut self, cx: &mut Context<'_>, cause: &Cause) -> Result<(), HandlerError> {
        let _ = (cx, cause);
        Ok(())
    }

    /// What log lines about this connection call it: their field `conn`.
    fn id(&self) -> Option<&dyn fmt::Display> {
        None
    }

    /// When [`poll_work`](Self::poll_work) must be called at the latest, whatever else happens. Each call of it must move a
    /// time that has come, or the driver spins.
    fn next_wake(&self) -> Option<Instant> {
        None
    }

    /// The connection is over. Called once, also when another method has panicked or returned an error, and nothing follows.
    /// Not called when the driver is dropped before the end.
    fn on_end(&mut self, end: &End) {
        let _ = end;
    }
}

/// Why a handler gave up its connection.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct HandlerError(Box<dyn std::error::Error + Send + Sync>);

impl HandlerError {
    /// From any error, or from a text.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

/// What a handler can do with its connection.
#[derive(Debug)]
pub struct Context<'a> {
    pub(crate) connection: &'a mut Connection,
    pub(crate) now: Instant,
    pub(crate) reading: &'a mut bool,
    pub(crate) draining: &'a mut bool,
    pub(crate) dropped: &'a mut Tally,
    pub(crate) sent: bool,
    pub(crate) broken: bool,
}

impl Context<'_> {
    /// Queues a message; its bytes are copied. It leaves with everything else that this turn produces, in one write.
    ///
    /// # Errors
    ///
    /// See [`SendError`]; the message was not taken.
    pub fn send(&mut self, kind: MessageKind, payload: &[u8]) -> Result<(), SendError> {
        let sent = self.connection.send(self.now, kind, payload);
        self.account(sent)
    }

    /// Queues a message of `prefix` and `payload`; a server does not copy a large payload.
    ///
    /// # Errors
    ///
    /// See [`SendError`]; the message was not taken.
    pub fn send_shared(&mut self, kind: MessageKind, prefix: &[u8], payload: Bytes) -> Result<(), SendError> {
        let sent = self.connection.send_shared(self.now, kind, prefix, payload);
        self.account(sent)
    }

    /// Begins the closing handshake; the Close frame follows everything that was sent before.
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        self.connection.close(self.now, code, reason);
    }

    /// Fails the connection: what waits to be sent is given up, the Close frame follows the frame in hand.
    pub fn fail(&mut self, code: CloseCode, reason: &str) {
        self.connection.fail_with(self.now, code, reason);
        *self.draining = true;
    }

    /// On a connection that this side has failed: says one short message before the Close frame, and another reason in it. See
    /// [`Connection::farewell`].
    ///
    /// # Errors
    ///
    /// See [`Connection::farewell`].
    pub fn farewell(&mut self, message: Option<(MessageKind, &[u8])>, reason: &str) -> Result<(), SendError> {
        self.connection.farewell(message, reason)
    }

    /// Ends the connection at once, without a closing handshake.
    pub fn abort(&mut self) {
        self.connection.abort();
    }

    /// How many bytes may be sent before the window is full; produce no more than this in a turn. Each message costs 40
    /// bytes besides its own.
    #[must_use]
    pub fn send_capacity(&self) -> usize {
        self.connection.send_capacity()
    }

    /// Whether messages can be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.connection.is_open()
    }

    /// Whether to go on taking messages. With `false` none comes, also of what was read already, until it is set to `true`
    /// again; the peer is slowed down by TCP. Control frames are handled until a message stands in their way. That may stay so
    /// for [`Config::pause_max`](crate::Config::pause_max), or, once a Close was sent, for
    /// [`Config::close_timeout`](crate::Config::close_timeout): the peer's answer stands behind what is not read.
    pub fn set_reading(&mut self, reading: bool) {
        *self.reading = reading;
    }

    /// The time of this turn.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The connection, to look at.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        self.connection
    }

    fn account(&mut self, sent: Result<Sent, SendError>) -> Result<(), SendError> {
        self.broken |= sent == Err(SendError::Broken);
        let Tally { messages, bytes } = sent?.dropped;
        self.sent = true;
        self.dropped.messages += messages;
        self.dropped.bytes += bytes;
        Ok(())
    }
}
