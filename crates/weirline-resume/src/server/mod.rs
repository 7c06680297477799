//! The server's side of a connection in the text form.
//!
//! ```text
//!             RESUME_FROM                Attached        Opened            (another epoch) handle_common
//!  Opening ───────────────▶ Attaching ─────────▶ Locating ──────▶ Comparing ─────────────▶ Live
//!     │     without SESSION      │       ▲          │  └──────────────────────────────────▶  │
//!     │            └─────────────│───────┘          └── RESUME_FROM:none: at once ────────▶  │
//!     └── timeout, ERROR ────────┴── refused ───────────── ERROR, fenced, disconnected ──────┴─▶ Over
//! ```

mod config;
mod delivery;
mod publishing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use weirline_log::{Attach, AttachRefusal, Bounds, Command, Outcome, PayloadKind, Seq, SessionId, StreamId};

use crate::text::{ClientMessage, ErrorCode, ErrorText, PauseReason, ServerMessage, Start};
use crate::{Close, Outgoing};

pub use config::TextServerConfig;
pub use delivery::ReadRequest;

use delivery::Delivery;
use publishing::{Publishing, Work};

/// The server's side of one connection: a state machine without I/O.
///
/// The caller hands in what the network, the log and the clock bring (`handle_*`), and after any call drains what must go out:
///
/// ```text
/// loop {
///     commands:  while poll_command()        → one batch at a time to the committer; its outcomes, in order → handle_outcome
///     reads:     while poll_read(capacity)   → the log                                                      → handle_entries, handle_common
///     messages:  while poll_transmit()       → the transport
///     close:     poll_close()                → the transport, behind the messages
///     timer:     poll_timeout()              → handle_timeout when it is due
///     reading:   wants_input()               → the transport reads, or pauses
/// }
/// ```
///
/// Nothing is held for a lagging subscriber: the cursor is one offset, and entries pass through only as far as the transport has
/// capacity. The log's wake-up is [`handle_grown`](Self::handle_grown); whoever wakes must be registered before the read that finds
/// nothing. An idle subscriber costs `size_of::<TextServer>()`, below 300 bytes, and no allocation.
#[derive(Debug)]
pub struct TextServer {
    config: Arc<TextServerConfig>,
    stream: StreamId,
    session: Option<(SessionId, Attach)>,
    phase: Phase,
    delivery: Delivery,
    publishing: Publishing,
    /// Commands not yet decided. Absent while there are none.
    work: Option<Box<Work>>,
    out: VecDeque<Outgoing>,
    close: Option<Box<Close>>,
    paused: bool,
    /// The first message, which answers the opening, has left for the transport.
    spoke: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// `RESUME_FROM` is due at this time.
    Opening(Instant),
    /// The attach is on its way through the commit order.
    Attaching(Start),
    /// The stream is being opened.
    Locating(Start),
    /// The client's position belongs to another epoch; the log is asked for the common history.
    Comparing(weirline_log::Position, Bounds),
    /// Everything is answered.
    Live,
    /// Closed, fenced or disconnected: what comes in is ignored.
    Over,
}

impl TextServer {
    /// A connection to `stream` has begun; `RESUME_FROM` is due [`TextServerConfig::opening_timeout`] after `now`.
    #[must_use]
    pub fn new(config: Arc<TextServerConfig>, stream: StreamId, now: Instant) -> Self {
        let due = now + config.opening_timeout;
        Self {
            config,
            stream,
            session: None,
            phase: Phase::Opening(due),
            delivery: Delivery::default(),
            publishing: Publishing::default(),
            work: None,
            out: VecDeque::new(),
            close: None,
            paused: false,
            spoke: false,
        }
    }

    /// A whole message arrived. The payload of a PUB is copied.
    pub fn handle_message(&mut self, now: Instant, kind: PayloadKind, message: &[u8]) {
        self.take_message(now, kind, message, Bytes::copy_from_slice);
    }

    /// A whole message arrived, and may be kept: the payload of a PUB is a slice of it.
    pub fn handle_message_bytes(&mut self, now: Instant, kind: PayloadKind, message: &Bytes) {
        self.take_message(now, kind, message, |payload| message.slice_ref(payload));
    }

    /// What became of the oldest command that [`poll_command`](Self::poll_command) gave and that has no outcome yet.
    ///
    /// # Panics
    /// When there is no such command, or the outcome is not one of its kind: the caller mixed up its batches.
    pub fn handle_outcome(&mut self, now: Instant, outcome: Outcome) {
        let Some(work) = &mut self.work else {
            panic!("an outcome without a command: {outcome:?}")
        };
        let command = work.decided();
        if work.is_empty() {
            self.work = None;
        }
        if self.phase == Phase::Over {
            return;
        }
        match (command, outcome) {
            (publishing::Pending::Attach, Outcome::Attached { count, .. }) => self.attached(count),
            (publishing::Pending::Attach, Outcome::AttachRefused(refusal)) => self.attach_refused(refusal),
            (publishing::Pending::Open, Outcome::Opened(bounds)) => self.opened(bounds),
            (publishing::Pending::Open, Outcome::OpenRefused(_)) => {
                self.fail(ErrorCode::Unavailable, "too many streams");
            }
            (publishing::Pending::Append { seq, .. }, outcome) => self.append_decided(seq, &outcome),
            (publishing::Pending::Ack, outcome) => self.ack_decided(&outcome),
            (publishing::Pending::Detach, _) => {}
            (command, outcome) => panic!("{outcome:?} is no outcome of {command:?} (at {now:?})"),
        }
    }

    /// The batch that held this connection's commands failed as a whole, or the log cannot be read: `ERROR:unavailable`.
    ///
    /// The commands have no outcomes: none is expected any more.
    pub fn handle_log_failed(&mut self) {
        self.work = None;
        self.fail(ErrorCode::Unavailable, "the log failed");
    }

    /// Another connection attached to the session with a higher number: this one is closed with 4409.
    pub fn handle_fenced(&mut self) {
        if self.phase != Phase::Over {
            self.out.clear();
            self.end(Close::new(Close::SUPERSEDED, "superseded"));
        }
    }

    /// The clock reached [`poll_timeout`](Self::poll_timeout).
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Phase::Opening(due) = self.phase
            && now >= due
        {
            self.fail(ErrorCode::BadMessage, "RESUME_FROM is overdue");
        }
    }

    /// The connection is gone. What was taken in is still to be committed, then comes a `Detach`: drain
    /// [`poll_command`](Self::poll_command) once more.
    pub fn handle_disconnected(&mut self, now: Instant) {
        if let Some(ack) = self.last_ack() {
            self.work
                .get_or_insert_default()
                .push(publishing::Pending::Ack, ack);
        }
        self.over();
        self.out = VecDeque::new();
        self.close = None;
        if let Some((session, attach)) = self.session.take() {
            let detach = Command::Detach { session, attach, now };
            self.work
                .get_or_insert_default()
                .push(publishing::Pending::Detach, detach);
        }
    }

    /// The next message for the transport.
    pub fn poll_transmit(&mut self) -> Option<Outgoing> {
        if let Some(outgoing) = self.out.pop_front() {
            self.spoke = true;
            return Some(outgoing);
        }
        if self.out.capacity() > 0 {
            self.out = VecDeque::new();
        }
        self.publishing.take_ack()
    }

    /// The close for the transport, once, when [`poll_transmit`](Self::poll_transmit) is empty.
    pub fn poll_close(&mut self) -> Option<Close> {
        self.close.take().map(|close| *close)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Opening(due) => Some(due),
            _ => None,
        }
    }

    /// Whether the transport should read on. While this is false it must not hand in more than what it has read already.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        match self.phase {
            Phase::Attaching(_) => false,
            Phase::Over => true,
            _ => {
                self.has_room_for_answers()
                    && self.work.as_ref().is_none_or(|work| work.has_room(&self.config))
            }
        }
    }

    /// What one read of the log brings is always room enough, so that a subscriber that lags does not stop its own publishing. More
    /// than that are answers: refusals, which a peer can ask for without end and not take.
    fn has_room_for_answers(&self) -> bool {
        self.out.len() < self.config.read_messages_max + self.config.in_flight_messages_max
    }

    /// The session and attach of this connection, from its `SESSION` on: by these a hub finds the connection to fence.
    #[must_use]
    pub fn session(&self) -> Option<(SessionId, Attach)> {
        self.session
    }

    /// The stream of this connection.
    #[must_use]
    pub fn stream(&self) -> &StreamId {
        &self.stream
    }

    /// Whether the opening is answered and the connection not over.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }

    /// Asks the client to publish no more: `PAUSE:reason`. Does nothing while paused.
    pub fn pause(&mut self, reason: PauseReason<'_>) {
        if !self.paused && self.is_answered() {
            self.paused = true;
            self.send(&ServerMessage::Pause(reason));
        }
    }

    /// Takes back [`pause`](Self::pause): `CONTINUE`.
    pub fn resume(&mut self) {
        if std::mem::take(&mut self.paused) && self.phase != Phase::Over {
            self.send(&ServerMessage::Continue);
        }
    }

    /// Breaks the connection for back-pressure (R19, R20): what was not yet polled is given up; `PAUSE` follows if there was none and the
    /// answer to the opening was polled, then close 1008 with a reason that says when to come back. `after` is at most 60 s.
    pub fn break_off(&mut self, reason: PauseReason<'_>, after: Duration) {
        if self.phase != Phase::Over {
            self.out.clear();
            if self.spoke {
                self.pause(reason);
            }
            self.end(Close::backpressure(after));
        }
    }

    fn take_message(
        &mut self,
        now: Instant,
        kind: PayloadKind,
        message: &[u8],
        keep: impl FnOnce(&[u8]) -> Bytes,
    ) {
        if self.phase == Phase::Over {
            return;
        }
        match ClientMessage::parse(kind, message) {
            Ok(ClientMessage::Publish { seq, kind, payload }) if self.is_answered() => {
                self.publish(seq, kind, payload, keep);
            }
            Ok(ClientMessage::Ack(offset)) => self.ack(offset),
            Ok(ClientMessage::Session { secret, attach }) => match self.phase {
                Phase::Opening(_) if self.session.is_none() => {
                    self.session = Some((secret.session_id(), attach));
                }
                _ => self.fail(ErrorCode::BadMessage, "SESSION must be the first message"),
            },
            Ok(ClientMessage::ResumeFrom(start)) => match self.phase {
                Phase::Opening(_) => self.open(now, start),
                _ => self.fail(ErrorCode::BadMessage, "a second RESUME_FROM"),
            },
            Ok(ClientMessage::Publish { .. }) => {
                self.fail(
                    ErrorCode::BadMessage,
                    "a message before the answer to RESUME_FROM",
                );
            }
            Err(error) => {
                let text = error.to_string();
                self.fail(ErrorCode::BadMessage, &text);
            }
        }
    }

    fn open(&mut self, now: Instant, start: Start) {
        match self.session {
            Some((session, attach)) => {
                self.phase = Phase::Attaching(start);
                let command = Command::Attach {
                    session,
                    attach,
                    proof: None,
                    now,
                };
                self.work
                    .get_or_insert_default()
                    .push(publishing::Pending::Attach, command);
            }
            None => self.answer(start, Seq::ZERO),
        }
        if start != Start::Nothing {
            let command = Command::Open {
                stream: self.stream.clone(),
            };
            self.work
                .get_or_insert_default()
                .push(publishing::Pending::Open, command);
        }
    }

    /// The takeover is committed: only from here on there is a count to tell.
    fn attached(&mut self, count: Seq) {
        if let Phase::Attaching(start) = self.phase {
            self.answer(start, count);
        }
    }

    fn attach_refused(&mut self, refusal: AttachRefusal) {
        // Nothing was attached, so nothing is to be detached.
        self.session = None;
        match refusal {
            AttachRefusal::Stale { current } => {
                let text = format!("the session is at attach {current}");
                self.fail(ErrorCode::StaleAttach, &text);
            }
            AttachRefusal::Unknown => self.fail(ErrorCode::SessionUnknown, "begin a session with attach 1"),
            AttachRefusal::Jump => self.fail(ErrorCode::BadSequence, "the attach number jumps too far"),
            _ => self.fail(ErrorCode::Unavailable, "too many sessions"),
        }
    }

    fn answer(&mut self, start: Start, count: Seq) {
        self.publishing.begin(count);
        self.send(&ServerMessage::ResumeFrom(count));
        self.phase = match start {
            Start::Nothing => Phase::Live,
            _ => Phase::Locating(start),
        };
    }

    fn is_answered(&self) -> bool {
        !matches!(self.phase, Phase::Opening(_) | Phase::Attaching(_) | Phase::Over)
    }

    fn send(&mut self, message: &ServerMessage<'_>) {
        self.out.push_back(Outgoing::control(message.control()));
    }

    /// `ERROR:code:text`, then close 1008.
    fn fail(&mut self, code: ErrorCode, text: &str) {
        if self.phase == Phase::Over {
            return;
        }
        self.flush_ack();
        let text = ErrorText::new(text).unwrap_or(ErrorText::FALLBACK);
        self.send(&ServerMessage::Error { code, text });
        self.end(Close::new(Close::POLICY, code.as_str()));
    }

    fn end(&mut self, close: Close) {
        self.over();
        self.close = Some(Box::new(close));
    }

    fn over(&mut self) {
        self.phase = Phase::Over;
        self.publishing.over();
        self.delivery.over();
    }
}
