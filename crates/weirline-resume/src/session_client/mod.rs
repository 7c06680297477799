//! The client's side of a session in the multiplexed forms.
//!
//! ```text
//!          dial               handle_connected          WELCOME
//!  Idle ─────────▶ Dialing ──────────────────▶ Asking ─────────▶ Live
//!   ▲  ▲              │ timeout                   │                │
//!   │  └──────────────┴──────── handle_disconnected, a further dial ┤
//!   └──────────────────────────── 4409, a final REJECT, BYE → Stopped ┘
//! ```

mod config;
mod event;
mod incoming;
mod outbox;
mod state;
mod subscription;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use weirline_log::{Attach, PayloadKind, Position, RollingHash, SessionId, StreamId};

use crate::session::meter::Meter;
use crate::wire::{
    Ack, AttachValue, ClientMessage, Credential, Credit, Hello, LIST_MAX, Limits, Nonce, Payload, Publish,
    Skip, Sub, Subscribe, Token,
};
use crate::{
    AfterLoss, Close, Dial, DialError, HandledError, Outgoing, Prefix, PublishError, Revision, StoreMode,
    Ticket,
};

pub use config::{SessionClientConfig, SubscribeOptions};
pub use event::{SessionEvent, SessionFailure, SubscribeError};
pub use outbox::Slot;
pub use state::SessionState;

use outbox::Outbox;
use subscription::{ClientSub, Stage};

/// The client's side of a session with many subscriptions, over all its connections: a state machine without I/O.
///
/// Each dial has a [`Dial`], and whatever is handed in names the dial it belongs to: what comes from older ones is ignored, so that a
/// connection may be made before the former is broken. The caller's loop:
///
/// ```text
/// let dial = client.dial(now, entropy);  store client.state();  client.handle_stored(revision);   // before connecting
/// connect, with client.upgrade_value()   client.handle_connected(dial, now, whether it was sent);
/// messages in:  client.handle_message(dial, now, …)      after any call, until empty:
/// lost:         client.handle_disconnected(dial, now, …)     poll_event(), poll_transmit(), poll_close(), poll_timeout()
/// ```
///
/// What an application publishes waits in a bounded outbox until it is acknowledged ([`publish`](Self::publish)); what it receives it
/// confirms by [`handled`](Self::handled), which is what gives the server further credit. The backoff between dials is
/// [`Backoff`](crate::Backoff)'s.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionClient {
    config: SessionClientConfig,
    identity: Option<(SessionId, Token)>,
    attach: Attach,
    subs: BTreeMap<Sub, ClientSub>,
    /// Positions of streams that an earlier process handled, and nobody has subscribed yet.
    positions: BTreeMap<StreamId, Position>,
    next_sub: u32,
    outbox: Outbox,
    dial: Dial,
    phase: Phase,
    /// The HELLO of this dial.
    hello: Option<Box<Hello<'static>>>,
    out: VecDeque<ClientMessage<'static>>,
    events: VecDeque<SessionEvent>,
    close: Option<Close>,
    paused: bool,
    /// The server's credit for PUB on this connection.
    meter: Meter,
    /// The largest message that the server takes.
    size: u64,
    heartbeat: Duration,
    /// When something was last received.
    heard: Option<Instant>,
    /// An AUTH has no answer yet.
    offered: bool,
    /// BYE is to be said when the outbox is empty.
    leaving: bool,
    /// BYE was said on this connection.
    said_bye: bool,
    /// When the server's REJECT wants the next dial.
    retry_hint: Option<Duration>,
    /// No publish leaves before this time: one was refused as `unavailable`.
    wait_until: Option<Instant>,
    revision: Revision,
    stored: Revision,
    /// Nothing is said on the current connection before this revision is stored.
    dialed: Revision,
    /// Nothing is published before this revision is stored.
    publish_from: Revision,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Idle,
    /// WELCOME is due at this time, and the connection is not made.
    Dialing(Instant),
    /// WELCOME is due at this time.
    Asking(Instant),
    Live,
    /// This side ended the connection and waits for its end.
    Closing,
    Stopped,
}

impl SessionClient {
    /// A client without history.
    #[must_use]
    pub fn new(config: SessionClientConfig) -> Self {
        Self::restore(config, SessionState::default())
    }

    /// A client that goes on from a stored state. Its positions serve the subscriptions of their streams, whatever those ask for.
    #[must_use]
    pub fn restore(config: SessionClientConfig, state: SessionState) -> Self {
        let SessionState {
            session,
            attach,
            acked,
            hash,
            positions,
            last_ticket,
            outbox,
        } = state;
        Self {
            config,
            identity: session,
            attach,
            subs: BTreeMap::new(),
            positions: positions.into_iter().collect(),
            next_sub: 1,
            outbox: Outbox::restore((acked, hash, last_ticket), outbox, session.is_some()),
            dial: Dial::default(),
            phase: Phase::Idle,
            hello: None,
            out: VecDeque::new(),
            events: VecDeque::new(),
            close: None,
            paused: false,
            meter: Meter::new(Limits::NONE),
            size: u64::MAX,
            heartbeat: Duration::ZERO,
            heard: None,
            offered: false,
            leaving: false,
            said_bye: false,
            retry_hint: None,
            wait_until: None,
            revision: Revision::default(),
            stored: Revision::default(),
            dialed: Revision::default(),
            publish_from: Revision::default(),
        }
    }

    /// Begins a dial: from here on, everything from earlier connections is ignored, and the positions are frozen. `nonce` is random, another for
    /// each dial. A credential goes into the HELLO.
    ///
    /// With [`StoreMode::Durable`] the state must be stored before the connection is made.
    ///
    /// # Errors
    /// [`DialError`]: there is nothing more to dial for.
    pub fn dial(
        &mut self,
        now: Instant,
        nonce: [u8; 16],
        credential: Option<Credential<'static>>,
    ) -> Result<Dial, DialError> {
        if self.phase == Phase::Stopped {
            return Err(DialError::Stopped);
        }
        self.leave_connection();
        self.retry_hint = None;
        self.attach = match self.identity {
            Some(_) => self.attach.next().ok_or(DialError::Exhausted)?,
            // Nothing was published, and whatever was made has no other name.
            None => Attach::FIRST,
        };
        let subs = self.ask_all();
        self.hello = Some(Box::new(Hello {
            session: self.identity,
            attach: self.attach,
            nonce: Nonce(nonce),
            credential,
            limits: Limits::NONE,
            subs,
        }));
        self.changed();
        self.dialed = self.revision;
        self.dial = Dial(self.dial.0 + 1);
        self.phase = Phase::Dialing(now + self.config.answer_timeout);
        Ok(self.dial)
    }

    /// As many subscriptions as a HELLO has room for; the others are asked for behind WELCOME.
    fn ask_all(&mut self) -> Vec<Subscribe> {
        let mut room = HELLO_SUBS_BYTES_MAX;
        let mut subs = Vec::new();
        for (sub, it) in &mut self.subs {
            room = room.saturating_sub(it.stream.as_str().len() + SUB_BYTES_MAX);
            if room == 0 || subs.len() == LIST_MAX {
                break;
            }
            subs.push(it.ask(*sub));
        }
        subs
    }

    /// The HELLO of the current dial for the upgrade request: the value of the header field `Weirline-Attach`, or what stands behind
    /// `weirline.attach.` in an offered subprotocol. `None` when it is too long, the state is not stored, or the
    /// connection is made: then it is the first message.
    #[must_use]
    pub fn upgrade_value(&self) -> Option<String> {
        let can = matches!(self.phase, Phase::Dialing(_)) && self.stored() >= self.dialed;
        let hello = self.hello.as_ref().filter(|_| can)?;
        AttachValue::encode(self.config.form, Hello::clone(hello))
    }

    /// The transport of this dial is ready for messages; `said`: the upgrade request had [`upgrade_value`](Self::upgrade_value).
    pub fn handle_connected(&mut self, dial: Dial, now: Instant, said: bool) {
        let Phase::Dialing(due) = self.phase else { return };
        if dial != self.dial {
            return;
        }
        self.phase = Phase::Asking(due);
        self.heard = Some(now);
        if said {
            self.hello = None;
        }
    }

    /// A whole message arrived on the connection of this dial. A payload is copied.
    pub fn handle_message(&mut self, dial: Dial, now: Instant, kind: PayloadKind, message: &[u8]) {
        if dial == self.dial {
            self.take_message(now, kind, message, Bytes::copy_from_slice);
        }
    }

    /// A whole message arrived on the connection of this dial, and may be kept: a payload is a slice of it where it stands there literally.
    pub fn handle_message_bytes(&mut self, dial: Dial, now: Instant, kind: PayloadKind, message: &Bytes) {
        if dial == self.dial {
            self.take_message(now, kind, message, |payload| message.slice_ref(payload));
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
            self.stop(SessionEvent::Superseded);
            return AfterLoss::Stopped;
        }
        self.leave_connection();
        let hint = close.and_then(|(_, reason)| crate::close::hint(reason));
        let hint = hint.max(self.retry_hint.take());
        self.events.push_back(SessionEvent::Disconnected { hint });
        AfterLoss::Redial { hint }
    }

    /// The clock reached [`poll_timeout`](Self::poll_timeout).
    pub fn handle_timeout(&mut self, now: Instant) {
        let overdue = match self.phase {
            Phase::Dialing(due) | Phase::Asking(due) => now >= due,
            Phase::Live => self.silent_at().is_some_and(|due| now >= due),
            _ => false,
        };
        if overdue {
            self.give_up_connection("no answer in time");
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
        let message = match self.phase {
            Phase::Asking(_) if self.stored() >= self.dialed => ClientMessage::Hello(*self.hello.take()?),
            // Nothing is said behind BYE.
            Phase::Live if self.said_bye => return None,
            Phase::Live => match self.out.pop_front() {
                Some(message) => message,
                None => return self.poll_due(),
            },
            _ => return None,
        };
        Some(self.written(&message))
    }

    /// What follows from the state: subscriptions, ACKs, credit, publishes, and in the end BYE.
    fn poll_due(&mut self) -> Option<Outgoing> {
        for (sub, it) in &mut self.subs {
            let message = match it.stage {
                Stage::Wanted => ClientMessage::Subscribe(it.ask(*sub)),
                Stage::Leaving => {
                    it.stage = Stage::Left;
                    ClientMessage::Unsubscribe(*sub)
                }
                Stage::Open => {
                    if let Some(position) = it.cursor.take_ack_position() {
                        ClientMessage::Ack(Ack { sub: *sub, position })
                    } else if let Some(limits) = it.grant() {
                        let sub = Some(*sub);
                        ClientMessage::Credit(Credit { sub, limits })
                    } else {
                        continue;
                    }
                }
                Stage::Asked(_) | Stage::Left => continue,
            };
            return Some(self.written(&message));
        }
        if let Some(publish) = self.poll_publish() {
            return Some(publish);
        }
        if self.leaving && self.outbox.is_empty() && !std::mem::replace(&mut self.said_bye, true) {
            return Some(self.written(&ClientMessage::Bye));
        }
        None
    }

    fn poll_publish(&mut self) -> Option<Outgoing> {
        let stored = self.stored();
        if self.paused || self.said_bye || self.wait_until.is_some() || self.publish_from > stored {
            return None;
        }
        let (slot, from, to) = self.outbox.peek(stored)?;
        let (message, len, ticket) = match slot {
            Slot::Skip { .. } => (ClientMessage::Skip(Skip { from, to }), None, None),
            Slot::Message { .. } if !self.meter.has_credit() => return None,
            Slot::Message {
                ticket,
                stream,
                kind,
                payload,
            } => {
                let publish = Publish {
                    seq: from,
                    stream: stream.clone(),
                    payload: Payload {
                        kind: *kind,
                        bytes: payload[..].into(),
                    },
                };
                (
                    ClientMessage::Publish(publish),
                    Some(payload.len()),
                    Some(*ticket),
                )
            }
        };
        let outgoing = self.written(&message);
        if outgoing.len() as u64 > self.size {
            self.refuse_own(ticket);
            return self.poll_publish();
        }
        if let Some(len) = len {
            self.meter.spend(len);
        }
        self.outbox.sent();
        Some(outgoing)
    }

    fn written(&self, message: &ClientMessage<'_>) -> Outgoing {
        let mut written = Vec::new();
        message.encode(self.config.form, &mut written);
        // The first byte stands apart: what is all payload is taken for text that may be logged, and here may be a token.
        let mut prefix = Prefix::EMPTY;
        prefix.push(&written[..1]);
        let kind = self.config.form.kind();
        let payload = Bytes::from(written).slice(1..);
        Outgoing {
            kind,
            prefix,
            payload,
        }
    }

    /// The next event for the application.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
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
            Phase::Dialing(due) | Phase::Asking(due) => Some(due),
            Phase::Live => self.silent_at(),
            _ => None,
        };
        answer.into_iter().chain(self.wait_until).min()
    }

    fn silent_at(&self) -> Option<Instant> {
        Some(self.heard? + self.heartbeat + HEARTBEAT_GRACE)
    }

    /// Subscribes to a stream, connected or not: it is asked for at each dial until [`unsubscribe`](Self::unsubscribe).
    ///
    /// # Errors
    /// [`SubscribeError`]: nothing was changed.
    pub fn subscribe(&mut self, stream: StreamId, options: SubscribeOptions) -> Result<Sub, SubscribeError> {
        if self.phase == Phase::Stopped || self.leaving {
            return Err(SubscribeError::Stopped);
        }
        if self.subs.values().any(|it| it.stream == stream) {
            return Err(SubscribeError::Subscribed);
        }
        if self.subs.len() >= self.config.subs_max {
            return Err(SubscribeError::TooMany);
        }
        let mut options = options;
        options.position = self.positions.remove(&stream).or(options.position);
        loop {
            let number = self.next_sub;
            self.next_sub = self.next_sub.checked_add(1).unwrap_or(1);
            if let Some(sub) = Sub::new(number).filter(|sub| !self.subs.contains_key(sub)) {
                self.subs.insert(sub, ClientSub::new(stream, options));
                return Ok(sub);
            }
        }
    }

    /// Ends a subscription: `Unsubscribed` follows, at once if the server knows nothing of it. Its position is forgotten.
    pub fn unsubscribe(&mut self, sub: Sub) {
        let Some(it) = self.subs.get_mut(&sub) else {
            return;
        };
        match it.stage {
            Stage::Asked(_) | Stage::Open if self.phase == Phase::Live => it.stage = Stage::Leaving,
            Stage::Leaving | Stage::Left => {}
            // A HELLO that asks for it may be under way: it ends when that is answered.
            Stage::Asked(_) if self.phase != Phase::Idle => it.stage = Stage::Leaving,
            _ => {
                self.subs.remove(&sub);
                self.events
                    .push_back(SessionEvent::Unsubscribed { sub, fault: None });
            }
        }
    }

    /// Puts a message into the outbox, connected or not. It leaves when it is acknowledged.
    ///
    /// # Errors
    /// [`PublishError`]: the outbox is full, or the message can never be sent; nothing was taken.
    pub fn publish(
        &mut self,
        stream: StreamId,
        kind: PayloadKind,
        payload: Bytes,
    ) -> Result<Ticket, PublishError> {
        if self.phase == Phase::Stopped || self.leaving {
            return Err(PublishError::Stopped);
        }
        if kind == PayloadKind::Text && str::from_utf8(&payload).is_err() {
            return Err(PublishError::NotUtf8);
        }
        self.outbox.room(&self.config, payload.len())?;
        self.changed();
        Ok(self.outbox.push(stream, kind, payload, self.revision))
    }

    /// Everything of a subscription up to the position of this `Message`, `Gap` or `Reset` is handled. Cumulative; repeating it is harmless.
    ///
    /// # Errors
    /// [`HandledError`]: no event had this position.
    pub fn handled(&mut self, sub: Sub, position: Position) -> Result<(), HandledError> {
        self.subs
            .get_mut(&sub)
            .ok_or(HandledError::NeverDelivered)?
            .handled(position)
    }

    /// Offers a fresh credential on the live connection; `Credential` follows. False when there is no connection, or an offer has no answer yet:
    /// then it is not sent.
    pub fn offer(&mut self, credential: Credential<'static>) -> bool {
        let can = self.phase == Phase::Live && !self.offered;
        if can {
            self.offered = true;
            self.out.push_back(ClientMessage::Auth(credential));
        }
        can
    }

    /// Asks the server where it stands: PING, with what is handled and the limits. If its answer shows that something was lost on the
    /// way, the connection is given up, and the next dial asks for it. Does nothing without a connection.
    pub fn check(&mut self, echo: u32) {
        if self.phase == Phase::Live {
            let ping = self.standings(u64::from(echo));
            self.out.push_back(ClientMessage::Ping(ping));
        }
    }

    /// Ends the session when everything that is in the outbox is acknowledged: `Ended` follows, and the client stops. Nothing more is
    /// taken into the outbox or subscribed.
    pub fn end(&mut self) {
        self.leaving = true;
    }

    /// What another process would have to know.
    #[must_use]
    pub fn state(&self) -> SessionState {
        let mut positions = self.positions.clone();
        let open = self.subs.values();
        positions.extend(open.filter_map(|it| Some((it.stream.clone(), it.cursor.handled_position()?))));
        SessionState {
            session: self.identity,
            attach: self.attach,
            acked: self.outbox.acked,
            hash: self.outbox.hash,
            positions: positions.into_iter().collect(),
            last_ticket: self.outbox.last_ticket,
            outbox: self.outbox.slots().cloned().collect(),
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
        self.stored() < self.revision
    }

    fn stored(&self) -> Revision {
        match self.config.store {
            StoreMode::Volatile => self.revision,
            StoreMode::Durable => self.stored,
        }
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

    /// Whether the client has stopped for good.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.phase == Phase::Stopped
    }

    /// Messages and payload bytes in the outbox.
    #[must_use]
    pub fn outbox_len(&self) -> (usize, usize) {
        self.outbox.len()
    }

    /// The last position taken in of a subscription: what the next dial asks for.
    #[must_use]
    pub fn taken(&self, sub: Sub) -> Option<Position> {
        self.subs.get(&sub)?.cursor.taken()
    }

    /// The session that is attached, once there was a WELCOME.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        self.identity.map(|(session, _)| session)
    }

    /// The rolling hash at the highest acknowledged number.
    #[must_use]
    pub fn hash(&self) -> RollingHash {
        self.outbox.hash
    }
}

/// What the subscriptions of a HELLO may have of its 65,536 bytes, and what one has beside its stream's name at most.
const HELLO_SUBS_BYTES_MAX: usize = 56_000;
const SUB_BYTES_MAX: usize = 220;

/// How much longer than the heartbeat a server may be silent.
const HEARTBEAT_GRACE: Duration = Duration::from_secs(10);
