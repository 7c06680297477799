//! The closing handshake (RFC 6455 §7): who has said Close, what is still owed, how long to wait.
//!
//! ```text
//!  Open ──close(), Close received, failure, EOF──▶ Flushing ──all sent──▶ AwaitClose ──Close received──▶ AwaitEof ──▶ ended
//!                                                     └──── all sent, and the peer's Close is here or does not matter ─────▲
//! ```
//! In `AwaitEof` the side that must end the stream first (the server, RFC 6455 §7.1.1, or whoever fails the connection)
//! shuts its direction down and reads on until the peer's end arrives: closing a socket with unread bytes would send a
//! reset, which destroys the Close frame on its way (R23).

use std::time::{Duration, Instant};

use weirline_codec::CloseCode;

use crate::{Cause, Config, End};

#[derive(Debug)]
pub(crate) struct Closing {
    stage: Stage,
    /// The code of the Close that is queued or sent; the inner `None` is a Close without a code.
    sent: Option<Option<CloseCode>>,
    /// The code of the peer's Close.
    received: Option<Option<CloseCode>>,
    sent_first: bool,
    transmitted: bool,
    eof: bool,
    shut_down: bool,
    failure: Option<Box<Cause>>,
    deadline: Option<Instant>,
    end: Option<Box<End>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Open,
    Flushing,
    AwaitClose,
    AwaitEof,
}

/// How long a peer that was too slow may take to read its Close frame.
const BREAK_GRACE: Duration = Duration::from_secs(1);

impl Closing {
    pub(crate) fn new() -> Self {
        Self {
            stage: Stage::Open,
            sent: None,
            received: None,
            sent_first: false,
            transmitted: false,
            eof: false,
            shut_down: false,
            failure: None,
            deadline: None,
            end: None,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.stage == Stage::Open && self.sent.is_none() && self.end.is_none()
    }

    /// Whether a Close frame is queued or sent: nothing may follow it (RFC 6455 §5.5.1).
    pub(crate) fn close_sent(&self) -> bool {
        self.sent.is_some()
    }

    /// Whether input is still looked at (RFC 6455 §7.1.7: not after a failure; §1.4: nothing follows a Close).
    pub(crate) fn ignores_input(&self) -> bool {
        self.received.is_some() || self.failure.is_some() || self.eof || self.end.is_some()
    }

    pub(crate) fn send_close(&mut self, code: Option<CloseCode>) {
        debug_assert!(self.sent.is_none(), "at most one Close each way");
        self.sent = Some(code);
        self.sent_first = self.received.is_none();
    }

    pub(crate) fn receive_close(&mut self, code: Option<CloseCode>) {
        self.received = Some(code);
    }

    /// Whether the peer's Close is here.
    pub(crate) fn close_received(&self) -> bool {
        self.received.is_some()
    }

    pub(crate) fn receive_eof(&mut self) {
        self.eof = true;
    }

    pub(crate) fn fail(&mut self, cause: Cause) {
        if self.received.is_some() && self.transmitted {
            // The closing handshake is complete: nothing is left to fail.
            return;
        }
        self.failure.get_or_insert_with(|| Box::new(cause));
    }

    /// Why this side has failed the connection, if it has.
    pub(crate) fn failure(&self) -> Option<&Cause> {
        self.failure.as_deref()
    }

    /// The code of the Close that is queued or sent.
    pub(crate) fn code(&self) -> Option<CloseCode> {
        self.sent.flatten()
    }

    pub(crate) fn shut_down(&mut self) {
        self.shut_down = true;
    }

    /// Moves on as far as what happened allows: a closing handshake that is complete, or a failure, closes the stream (RFC 6455
    /// §5.5.1, §7.1.7). `flushed` says that nothing waits to be sent, the Close frame included.
    pub(crate) fn settle(&mut self, now: Instant, flushed: bool, config: &Config) {
        if self.end.is_some() || (self.sent.is_none() && !self.eof) {
            return;
        }
        let stage = if !flushed {
            Stage::Flushing
        } else if self.received.is_none() && self.failure.is_none() && !self.eof {
            Stage::AwaitClose
        } else {
            Stage::AwaitEof
        };
        self.transmitted = flushed && self.sent.is_some();
        if stage != self.stage {
            self.stage = stage;
            self.deadline = self
                .patience(config)
                .and_then(|patience| now.checked_add(patience));
        } else if self.deadline.is_none() {
            // A failure or the end of the stream may have set a limit to the flushing.
            self.deadline = self
                .patience(config)
                .and_then(|patience| now.checked_add(patience));
        }
        if self.stage == Stage::AwaitEof && self.shut_down && self.eof {
            self.finish(self.cause());
        }
    }

    /// How long the stage may last.
    fn patience(&self, config: &Config) -> Option<Duration> {
        match (self.stage, self.failure.as_deref()) {
            (Stage::Open, _) => None,
            (Stage::Flushing, Some(Cause::Backpressure(_) | Cause::PausedTooLong)) => {
                Some(config.close_timeout.min(BREAK_GRACE))
            }
            // Otherwise the write-stall timer is the limit: what was accepted is sent before the Close.
            (Stage::Flushing, None) if !self.eof => None,
            (Stage::Flushing | Stage::AwaitClose, _) => Some(config.close_timeout),
            (Stage::AwaitEof, _) => Some(config.eof_timeout),
        }
    }

    /// Whether to end our direction of the stream: the server does so at once (RFC 6455 §5.5.1), a client leaves it to the server
    /// (§7.1.1) unless it fails the connection (§7.1.7).
    pub(crate) fn wants_shutdown(&self, is_server: bool) -> bool {
        self.end.is_none()
            && self.stage == Stage::AwaitEof
            && !self.shut_down
            && (is_server || self.failure.is_some() || self.eof)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline.filter(|_| self.end.is_none())
    }

    pub(crate) fn handle_deadline(&mut self) {
        let cause = if self.stage == Stage::AwaitClose {
            Cause::CloseTimeout
        } else {
            self.cause()
        };
        self.finish(cause);
    }

    /// The transport takes nothing. Why the connection was failed before that stays its cause.
    pub(crate) fn handle_stall(&mut self) {
        let failure = self.failure.as_deref().cloned();
        self.finish(failure.unwrap_or(Cause::WriteStalled));
    }

    /// The transport is gone.
    pub(crate) fn handle_io_error(&mut self, kind: std::io::ErrorKind) {
        let complete = self.stage == Stage::AwaitEof || self.failure.is_some();
        let cause = if complete { self.cause() } else { Cause::Io(kind) };
        self.finish(cause);
    }

    pub(crate) fn finish(&mut self, cause: Cause) {
        let sent = self.sent.flatten().filter(|_| self.transmitted);
        self.end.get_or_insert_with(|| {
            Box::new(End {
                sent,
                received: self.received.flatten(),
                close_received: self.received.is_some(),
                cause,
            })
        });
        self.deadline = None;
    }

    pub(crate) fn end(&self) -> Option<&End> {
        self.end.as_deref()
    }

    fn cause(&self) -> Cause {
        match (&self.failure, self.received, self.sent_first) {
            (Some(failure), ..) => (**failure).clone(),
            (None, None, _) => Cause::EndOfStream,
            (None, Some(_), true) => Cause::ClosedLocally,
            (None, Some(_), false) => Cause::ClosedByPeer,
        }
    }
}
