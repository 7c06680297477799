//! The client's side of a session in the text form.
//!
//! ```text
//!          dial               handle_connected           RESUME_FROM:m               RESUMED, RESET
//!  Idle ─────────▶ Dialing ──────────────────▶ Counting ───────────────▶ Positioning ────────────▶ Live
//!   ▲  ▲              │ timeout                   │  RESUME_FROM:none: at once ─────────────────▶  │
//!   │  └──────────────┴──────── handle_disconnected, a further dial ──────────────────────────────┤
//!   └─────────────────────────────────────────────────── 4409, stale-attach, fatal ERROR → Stopped ┘
//! ```

mod config;
pub(crate) mod cursor;
mod event;
mod incoming;
mod outbox;
mod state;

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use weirline_log::{PayloadKind, Position, Seq};

use crate::text::{ClientMessage, Start};
use crate::{Close, Outgoing};

pub use config::{StoreMode, Subscribe, TextClientConfig};
pub use event::{AfterLoss, ClientEvent, Failure};
pub use outbox::{OutboxEntry, Ticket};
pub use state::{ClientState, Revision};

use cursor::Cursor;
use outbox::Outbox;
use state::{Incoming, Session};

/// The client's side of a session, over all its connections: a state machine without I/O.
///
/// Each dial has a [`Dial`], and whatever is handed in names the dial it belongs to: what comes from older ones is ignored, so that a
/// connection may be made before the former is broken. The caller's loop:
///
/// ```text
/// let dial = client.dial(now, entropy);  store client.state();  client.handle_stored(revision);   // before connecting
/// connect …                              client.handle_connected(dial, now);
/// messages in:  client.handle_message(dial, now, …)      after any call, until empty:
/// lost:         client.handle_disconnected(dial, now, …)     poll_event(), poll_transmit(), poll_close(), poll_timeout()
/// ```
///
/// What an application publishes waits in a bounded outbox until it is acknowledged ([`publish`](Self::publish)); what it receives it
/// confirms by [`handled`](Self::handled). The backoff between dials is [`Backoff`](crate::Backoff)'s.
#[derive(Debug)]
pub struct TextClient {
    config: TextClientConfig,
    session: Session,
    cursor: Cursor,
    outbox: Outbox,
    dial: Dial,
    phase: Phase,
    /// From where the current connection was asked to deliver.
    asked: Start,
    opening: VecDeque<Outgoing>,
    events: VecDeque<ClientEvent>,
    close: Option<Close>,
    paused: bool,
    /// No publish leaves before this time: one was refused as `unavailable`.
    wait_until: Option<Instant>,
    revision: Revision,
    stored: Revision,
    /// Nothing is said on the current connection before this revision is stored.
    dialed: Revision,
    /// Nothing is published before this revision is stored.
    publish_from: Revision,
}

/// Names one dial of one [`TextClient`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dial(pub(crate) u64);

/// Why a client does not dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The client has stopped; an event said why.
    #[error("the client has stopped")]
    Stopped,
    /// The attach numbers of this session are used up.
    #[error("the attach numbers of the session are used up")]
    Exhausted,
}

/// Why a message was not taken into the outbox. The caller is at fault, or must wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// It would exceed the outbox's bounds.
    #[error("the outbox is full: {messages} messages, {bytes} bytes")]
    OutboxFull {
        /// Messages in it.
        messages: usize,
        /// Their payload bytes.
        bytes: usize,
    },
    /// A text payload that is not UTF-8.
    #[error("a text payload must be UTF-8")]
    NotUtf8,
    /// The client has stopped; an event said why.
    #[error("the client has stopped")]
    Stopped,
}

/// Why a position cannot be handled. The caller is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandledError {
    /// No event had such a position, or a later epoch has been handled.
    #[error("no event had this position")]
    NeverDelivered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    /// The answer is due at this time.
    Dialing(Instant),
    /// `RESUME_FROM:m` is due at this time.
    Counting(Instant),
    /// `RESUMED` or `RESET` is due at this time.
    Positioning(Instant),
    Live,
    /// This side ended the connection and waits for its end.
    Closing,
    Stopped,
}

impl TextClient {
    /// A client without history.
    #[must_use]
    pub fn new(config: TextClientConfig) -> Self {
        Self::restore(config, ClientState::default())
    }

    /// A client that goes on from a stored state. Its position, if it has one, precedes [`TextClientConfig::subscribe`].
    #[must_use]
    pub fn restore(config: TextClientConfig, state: ClientState) -> Self {
        let position = match (state.position, config.subscribe) {
            (None, Subscribe::At(position)) => Some(position),
            (position, _) => position,
        };
        let ClientState {
            secret,
            attach,
            answered,
            acked,
            last_ticket,
            outbox,
            ..
        } = state;
        Self {
            config,
            session: Session {
                secret,
                attach,
                answered,
            },
            cursor: Cursor::restore(position),
            outbox: Outbox::restore(acked, last_ticket, outbox, answered),
            dial: Dial::default(),
            phase: Phase::Idle,
            asked: Start::Nothing,
            opening: VecDeque::new(),
            events: VecDeque::new(),
            close: None,
            paused: false,
            wait_until: None,
            revision: Revision::default(),
            stored: Revision::default(),
            dialed: Revision::default(),
            publish_from: Revision::default(),
        }
    }

    /// Begins a dial: from here on, everything from earlier connections is ignored. `entropy` must come from a cryptographic source; it
    /// is used when a new secret is needed.
    ///
    /// With [`StoreMode::Durable`] the state must be stored before the connection is made.
    ///
    /// # Errors
    /// [`DialError`]: there is nothing more to dial for.
    pub fn dial(&mut self, now: Instant, entropy: [u8; 32]) -> Result<Dial, DialError> {
        if self.phase == Phase::Stopped {
            return Err(DialError::Stopped);
        }
        self.leave_connection();
        if self.config.session {
            self.session.dial(entropy).ok_or(DialError::Exhausted)?;
        }
        self.changed();
        self.dialed = self.revision;
        self.dial = Dial(self.dial.0 + 1);
        self.phase = Phase::Dialing(now + self.config.answer_timeout);
        Ok(self.dial)
    }

    /// The transport of this dial is ready for messages.
    pub fn handle_connected(&mut self, dial: Dial, _now: Instant) {
        let Phase::Dialing(due) = self.phase else { return };
        if dial != self.dial {
            return;
        }
        self.phase = Phase::Counting(due);
        if self.config.session
            && let Some(secret) = self.session.secret.clone()
        {
            let session = ClientMessage::Session {
                secret,
                attach: self.session.attach,
            };
            self.opening.push_back(Outgoing::control(session.control()));
        }
        self.asked = match (self.config.subscribe, self.cursor.taken()) {
            (Subscribe::Nothing, _) => Start::Nothing,
            (_, Some(Position { epoch, offset })) => Start::After {
                offset,
                epoch: Some(epoch),
            },
            (Subscribe::After(offset), None) => Start::After { offset, epoch: None },
            (Subscribe::Head | Subscribe::At(_), None) => Start::Head,
        };
        self.opening
            .push_back(Outgoing::control(ClientMessage::ResumeFrom(self.asked).control()));
    }

    /// A whole message arrived on the connection of this dial. A payload is copied.
    pub fn handle_message(&mut self, dial: Dial, now: Instant, kind: PayloadKind, message: &[u8]) {
        if dial == self.dial {
            self.take_message(now, kind, message, &Incoming::Borrowed);
        }
    }

    /// A whole message arrived on the connection of this dial, and may be kept: a payload is a slice of it.
    pub fn handle_message_bytes(&mut self, dial: Dial, now: Instant, kind: PayloadKind, message: &Bytes) {
        if dial == self.dial {
            self.take_message(now, kind, message, &Incoming::Shared(message));
        }
    }

    /// The connection of this dial is over, or it could not be made. `close` is the code and reason of the peer's close frame, if
    /// there was one.
    pub fn handle_disconnected(
        &mut self,
        dial: Dial,
        _now: Instant,
        close: Option<(u16, &str)>,
    ) -> AfterLoss {
        match self.phase {
            Phase::Stopped => return AfterLoss::Stopped,
            Phase::Idle => return AfterLoss::Ignored,
            _ if dial != self.dial => return AfterLoss::Ignored,
            _ => {}
        }
        if let Some((Close::SUPERSEDED, _)) = close {
            self.stop(ClientEvent::Superseded);
            return AfterLoss::Stopped;
        }
        self.leave_connection();
        let hint = close.and_then(|(_, reason)| crate::close::hint(reason));
        self.events.push_back(ClientEvent::Disconnected { hint });
        AfterLoss::Redial { hint }
    }

    /// The clock reached [`poll_timeout`](Self::poll_timeout).
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.phase {
            Phase::Dialing(due) | Phase::Counting(due) | Phase::Positioning(due) if now >= due => {
                self.phase = Phase::Closing;
                self.opening.clear();
                self.close = Some(Close::new(Close::POLICY, "no answer in time"));
            }
            _ => {}
        }
        if self.wait_until.is_some_and(|until| now >= until) {
            self.wait_until = None;
        }
    }

    /// The state of the caller's store: everything up to `revision`, as [`revision`](Self::revision) said it when the
    /// stored [`state`](Self::state) was taken.
    pub fn handle_stored(&mut self, revision: Revision) {
        self.stored = self.stored.max(revision);
    }

    /// The next message for the connection of the current dial.
    pub fn poll_transmit(&mut self) -> Option<Outgoing> {
        let stored = match self.config.store {
            StoreMode::Volatile => self.revision,
            StoreMode::Durable => self.stored,
        };
        match self.phase {
            Phase::Counting(_) if stored >= self.dialed => self.opening.pop_front(),
            Phase::Positioning(_) | Phase::Live => {
                if let Some(offset) = self.due_ack() {
                    return Some(Outgoing::ack(offset));
                }
                if self.paused || self.wait_until.is_some() || self.publish_from > stored {
                    return None;
                }
                let (seq, entry) = self.outbox.next(&self.config, stored)?;
                Some(Outgoing::numbered(seq.get(), entry.kind, entry.payload))
            }
            _ => None,
        }
    }

    /// The next event for the application.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// The close for the connection of the current dial, once. Then the caller waits for its end, for a bounded time, and calls
    /// [`handle_disconnected`](Self::handle_disconnected); a connection that is not made yet is abandoned.
    pub fn poll_close(&mut self) -> Option<Close> {
        self.close.take()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let answer = match self.phase {
            Phase::Dialing(due) | Phase::Counting(due) | Phase::Positioning(due) => Some(due),
            _ => None,
        };
        answer.into_iter().chain(self.wait_until).min()
    }

    /// Puts a message into the outbox, connected or not. It leaves when it is acknowledged.
    ///
    /// # Errors
    /// [`PublishError`]: the outbox is full, or the message can never be sent; nothing was taken.
    pub fn publish(&mut self, kind: PayloadKind, payload: Bytes) -> Result<Ticket, PublishError> {
        if self.phase == Phase::Stopped {
            return Err(PublishError::Stopped);
        }
        if kind == PayloadKind::Text && str::from_utf8(&payload).is_err() {
            return Err(PublishError::NotUtf8);
        }
        self.outbox.room(&self.config, payload.len())?;
        self.changed();
        Ok(self.outbox.push(kind, payload, self.revision))
    }

    /// Everything up to the position of this `Message`, `Gap` or `Reset` is handled. Cumulative; repeating it is harmless.
    ///
    /// # Errors
    /// [`HandledError`]: no event had this position.
    pub fn handled(&mut self, position: Position) -> Result<(), HandledError> {
        self.cursor.handled(position)
    }

    /// What another process would have to know.
    #[must_use]
    pub fn state(&self) -> ClientState {
        ClientState {
            secret: self.session.secret.clone(),
            attach: self.session.attach,
            answered: self.session.answered,
            acked: self.outbox.acked,
            position: self.cursor.handled_position(),
            last_ticket: self.outbox.last_ticket,
            outbox: self.outbox.entries().cloned().collect(),
        }
    }

    /// The revision of [`state`](Self::state). Acknowledgements and handled positions do not count: storing them late only
    /// repeats deliveries to a later process.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Whether something is withheld until the state is stored. Never with [`StoreMode::Volatile`].
    #[must_use]
    pub fn needs_store(&self) -> bool {
        self.config.store == StoreMode::Durable && self.stored < self.revision
    }

    /// The current dial, [`Dial::default`] before the first.
    #[must_use]
    pub fn current_dial(&self) -> Dial {
        self.dial
    }

    /// Whether the current dial is answered.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }

    /// Whether the client has stopped for good: superseded or failed.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.phase == Phase::Stopped
    }

    /// Messages and payload bytes in the outbox.
    #[must_use]
    pub fn outbox_len(&self) -> (usize, usize) {
        (self.outbox.len(), self.outbox.bytes())
    }

    /// Whether a message of `bytes` would fit into the outbox.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.outbox.room(&self.config, bytes).is_ok()
    }

    /// The last position taken in: what the next dial asks for.
    #[must_use]
    pub fn taken(&self) -> Option<Position> {
        self.cursor.taken()
    }

    /// The highest acknowledged number of the session.
    #[must_use]
    pub fn acked(&self) -> Seq {
        self.outbox.acked
    }
}
