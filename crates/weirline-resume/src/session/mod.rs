//! The server's side of a connection in the multiplexed forms.
//!
//! ```text
//!             HELLO            handle_credential          Attached                   BYE           Ended
//!  Opening ───────────▶ Judging ───────────────▶ Attaching ───────▶ Live ──────────────▶ Ending ────────▶ BYE, 1000
//!     │       └─────── without a credential ────────▲ │              │                      │
//!     └── overdue ─────────── refused ────────────────┴── REJECT, fenced, disconnected ─────┴──▶ Over
//! ```

mod attach;
mod config;
mod delivery;
pub(crate) mod meter;
mod publishing;
mod subscription;
mod tails;
mod work;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use weirline_log::{Attach, Command, Outcome, PayloadKind, Position, SessionId, StreamId};

use crate::wire::{
    ClientMessage, Code, Detail, Drain, Fault, Flow, Form, Limits, Ping, Reject, ServerMessage, Sub, Url,
    Word,
};
use crate::{Close, Outgoing, Prefix};

pub use attach::Verdict;
pub use config::{SessionConfig, SessionEntropy};
pub use delivery::SessionRead;
pub use tails::JsonTails;

use attach::Waiting;
use meter::Meter;
use publishing::Publishing;
use subscription::Subscription;
use work::{Instance, Pending, Work};

/// The server's side of one connection with many subscriptions: a state machine without I/O.
///
/// The caller hands in what the network, the log and the clock bring (`handle_*`), and after any call drains what must go out:
///
/// ```text
/// loop {
///     credential: poll_credential()        → whoever judges it; by default refuse               → handle_credential
///     commands:   while poll_command()     → one batch at a time to the committer; its outcomes, in order → handle_outcome
///     reads:      while read_from(…)       → the log, as long as the transport has capacity
///     messages:   while poll_transmit()    → the transport
///     close:      poll_close()             → the transport, behind the messages
///     timer:      poll_timeout()           → handle_timeout when it is due
///     reading:    wants_input()            → the transport reads, or pauses
/// }
/// ```
///
/// Nothing is held for a lagging subscription: its cursor is one offset. Growth of a stream is told by
/// [`handle_grown`](Self::handle_grown); whoever tells it must watch the streams of [`streams`](Self::streams) before the read
/// that finds nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    config: Arc<SessionConfig>,
    form: Form,
    phase: Phase,
    /// Whom the transport says the client is; part of what proves a session.
    principal: Box<str>,
    spread: u32,
    identity: Option<(SessionId, Attach)>,
    /// With whoever judges it, or on its way there.
    credential: Option<Judged>,
    subs: BTreeMap<Sub, Box<Subscription>>,
    streams: BTreeMap<StreamId, Sub>,
    /// What the session has acknowledged, as the log recorded it.
    acked: BTreeMap<StreamId, Position>,
    instances: Instance,
    /// Subscriptions that may have something to read; each at most once.
    ready: VecDeque<Sub>,
    /// Subscriptions with an ACK to record; each at most once.
    due_acks: VecDeque<Sub>,
    /// Subscriptions that break when they have had no credit until then.
    starving: BTreeSet<(Instant, Sub)>,
    /// The connection's credit for DATA.
    meter: Meter,
    /// The client asked to hold all subscriptions.
    held: bool,
    publishing: Publishing,
    work: Work,
    out: VecDeque<Outgoing>,
    /// What is in `out` that is no DATA, in bytes.
    answers_bytes: usize,
    close: Option<Box<Close>>,
    /// FLOW has asked the client to publish no more.
    paused: bool,
    /// The first message, which answers the HELLO, has left for the transport.
    spoke: bool,
    /// At the next tick of the heartbeat a PING is due, unless something was sent since the last.
    quiet: bool,
    heartbeat: Option<Instant>,
    drained: Option<Instant>,
    /// The log has refused what came from here: whoever has the session will be told of by then.
    orphaned: Option<Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// HELLO is due at this time.
    Opening(Instant, Box<SessionEntropy>),
    /// The credential of the HELLO is being judged.
    Judging(Box<Waiting>),
    /// The attach is on its way through the commit order.
    Attaching(Box<Waiting>),
    Live,
    /// The end of the session is on its way through the commit order.
    Ending,
    /// Closed, fenced or disconnected: what comes in is ignored.
    Over,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Judged {
    Waiting(Box<str>),
    Given,
}

impl Session {
    /// A connection has begun; HELLO is due [`SessionConfig::opening_timeout`] after `now`. `principal` is whom the transport says the
    /// client is, empty if nobody says: a session can be attached only by the principal that made it.
    #[must_use]
    pub fn new(
        config: Arc<SessionConfig>,
        form: Form,
        principal: &str,
        entropy: SessionEntropy,
        now: Instant,
    ) -> Self {
        let due = now + config.opening_timeout;
        Self {
            publishing: Publishing::new(config.publish_window),
            config,
            form,
            phase: Phase::Opening(due, Box::new(entropy)),
            principal: principal.into(),
            spread: entropy.spread,
            identity: None,
            credential: None,
            subs: BTreeMap::new(),
            streams: BTreeMap::new(),
            acked: BTreeMap::new(),
            instances: Instance::default(),
            ready: VecDeque::new(),
            due_acks: VecDeque::new(),
            starving: BTreeSet::new(),
            meter: Meter::new(Limits::NONE),
            held: false,
            work: Work::default(),
            out: VecDeque::new(),
            answers_bytes: 0,
            close: None,
            paused: false,
            spoke: false,
            quiet: false,
            heartbeat: None,
            drained: None,
            orphaned: None,
        }
    }

    /// A whole message arrived. The payload of a PUB is copied.
    pub fn handle_message(&mut self, now: Instant, kind: PayloadKind, message: &[u8]) {
        self.take_message(now, kind, message, Bytes::copy_from_slice);
    }

    /// A whole message arrived, and may be kept: the payload of a PUB is a slice of it where it stands there literally.
    pub fn handle_message_bytes(&mut self, now: Instant, kind: PayloadKind, message: &Bytes) {
        self.take_message(now, kind, message, |payload| message.slice_ref(payload));
    }

    /// What became of the oldest command that [`poll_command`](Self::poll_command) gave and that has no outcome yet.
    ///
    /// # Panics
    /// When there is no such command, or the outcome is not one of its kind: the caller mixed up its batches.
    pub fn handle_outcome(&mut self, now: Instant, outcome: Outcome) {
        let pending = self.work.decided();
        if !matches!(self.phase, Phase::Over) {
            match (pending, outcome) {
                (Pending::Attach, outcome) => self.attach_decided(now, outcome),
                (Pending::Open(sub, instance), outcome) => self.open_decided(sub, instance, &outcome),
                (
                    Pending::Numbers {
                        from,
                        to,
                        bytes,
                        messages,
                    },
                    outcome,
                ) => {
                    self.publishing.settle(bytes, messages);
                    self.numbers_decided(now, from, to, &outcome);
                }
                (Pending::Ack(sub, instance, stream), outcome) => {
                    self.ack_decided(now, sub, instance, stream, &outcome);
                }
                (Pending::End, _) => self.ended(),
                (Pending::Detach | Pending::Refusal(..), _) => {}
            }
        }
        self.settle_refusals();
        self.work.rest();
    }

    /// The batch that held this connection's commands failed as a whole: none of those given out has an outcome. Publishing is refused,
    /// what is open stays open.
    pub fn handle_log_failed(&mut self) {
        while self.work.is_waiting() {
            let pending = self.work.decided();
            if matches!(self.phase, Phase::Over) {
                continue;
            }
            match pending {
                Pending::Attach | Pending::End => {
                    if matches!(pending, Pending::Attach) {
                        self.identity = None;
                    }
                    self.reject_later("the log failed");
                }
                Pending::Open(sub, instance) => {
                    self.open_refused(sub, instance, "the log failed");
                }
                Pending::Numbers {
                    from,
                    bytes,
                    messages,
                    ..
                } => {
                    self.publishing.settle(bytes, messages);
                    self.number_failed(from);
                }
                Pending::Ack(sub, instance, _) => self.ack_failed(sub, instance),
                Pending::Detach | Pending::Refusal(..) => {}
            }
            self.settle_refusals();
        }
        self.work.rest();
    }

    /// Another connection attached to the session. `repeated`: by the same dial, so that the client is told to dial again (4410) and
    /// not that it is superseded (4409).
    pub fn handle_fenced(&mut self, repeated: bool) {
        if !matches!(self.phase, Phase::Over) {
            self.give_up_waiting();
            self.end(if repeated {
                Close::new(Close::REPEATED, "repeated")
            } else {
                Close::new(Close::SUPERSEDED, "superseded")
            });
        }
    }

    /// The clock reached [`poll_timeout`](Self::poll_timeout).
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Phase::Opening(due, _) = &self.phase
            && now >= *due
        {
            self.reject(Code::Overdue, "HELLO is overdue", true);
        }
        if self.drained.is_some_and(|deadline| now >= deadline) {
            self.end(Close::new(Close::SERVICE_RESTART, "drained"));
        }
        if self.orphaned.is_some_and(|due| now >= due) {
            self.handle_fenced(true);
        }
        if let Some(&(due, sub)) = self.starving.first()
            && now >= due
        {
            self.break_subscription(sub);
        }
        if let Some(tick) = self.heartbeat
            && now >= tick
        {
            self.heartbeat = Some(now + self.config.heartbeat / 2);
            if std::mem::replace(&mut self.quiet, true) && self.out.is_empty() {
                let ping = Ping {
                    count: Some(self.publishing.count()),
                    limits: Some(self.publishing.limits()),
                    ..Ping::default()
                };
                self.send(&ServerMessage::Ping(ping));
            }
        }
    }

    /// The connection is gone. What was taken in is still to be committed, then comes a `Detach`: drain
    /// [`poll_command`](Self::poll_command) once more.
    pub fn handle_disconnected(&mut self, now: Instant) {
        while let Some((pending, ack)) = self.take_due_ack() {
            self.work.push(pending, ack);
        }
        let ending = matches!(self.phase, Phase::Ending);
        self.over();
        self.give_up_waiting();
        self.close = None;
        if let Some((session, attach)) = self.identity.take()
            && !ending
        {
            let detach = Command::Detach { session, attach, now };
            self.work.push(Pending::Detach, detach);
        }
    }

    /// The next command for the commit order. Its outcome comes back by [`handle_outcome`](Self::handle_outcome), in order.
    pub fn poll_command(&mut self) -> Option<Command> {
        if let Some(command) = self.work.poll() {
            return Some(command);
        }
        let (pending, ack) = self.take_due_ack()?;
        self.work.push(pending, ack);
        self.work.poll()
    }

    /// The next message for the transport.
    pub fn poll_transmit(&mut self) -> Option<Outgoing> {
        if self.out.is_empty() {
            self.out = VecDeque::new();
            self.flush_puback();
            self.grant();
        }
        let outgoing = self.out.pop_front()?;
        if is_answer(&outgoing) {
            self.answers_bytes -= outgoing.len();
        }
        self.spoke = true;
        self.quiet = false;
        Some(outgoing)
    }

    /// The close for the transport, once, when [`poll_transmit`](Self::poll_transmit) is empty.
    pub fn poll_close(&mut self) -> Option<Close> {
        self.close.take().map(|close| *close)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let opening = match &self.phase {
            Phase::Opening(due, _) => Some(*due),
            _ => None,
        };
        let starving = self.starving.first().map(|(due, _)| *due);
        let timers = [opening, self.drained, self.orphaned, starving, self.heartbeat];
        timers.into_iter().flatten().min()
    }

    /// Whether the transport should read on. While this is false it must not hand in more than what it has read already.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        match self.phase {
            Phase::Judging(_) | Phase::Attaching(_) | Phase::Ending => false,
            Phase::Over => true,
            Phase::Opening(..) | Phase::Live => {
                self.out.len() < self.config.read_messages_max + self.config.answers_max
                    && self.answers_bytes < self.config.answers_bytes_max
                    && self.work.len() < self.work_max()
            }
        }
    }

    /// As many commands as publishes may be undecided, and one each for every subscription.
    fn work_max(&self) -> usize {
        let window = usize::try_from(self.config.publish_window.messages).unwrap_or(usize::MAX);
        window.saturating_add(2 * self.config.subs_max)
    }

    /// The session and attach of this connection, from its HELLO on: by these a hub finds the connection to fence.
    #[must_use]
    pub fn identity(&self) -> Option<(SessionId, Attach)> {
        self.identity
    }

    /// Whether WELCOME was said and the connection is not over.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live)
    }

    /// The streams that are subscribed or about to be, in order.
    pub fn streams(&self) -> impl Iterator<Item = &StreamId> + Clone {
        self.streams.keys()
    }

    /// Asks the client to publish no more: FLOW. Does nothing while that is in force, and before WELCOME.
    pub fn pause(&mut self) {
        if self.is_live() && !std::mem::replace(&mut self.paused, true) {
            self.flow(None, Some(Word::PUBLISHING));
        }
    }

    /// Takes back [`pause`](Self::pause).
    pub fn resume(&mut self) {
        if self.is_live() && std::mem::take(&mut self.paused) {
            self.flow(None, None);
        }
    }

    /// Breaks the connection for back-pressure (R19, R20): what was not yet polled is given up; FLOW follows if there was none and WELCOME
    /// was polled, then close 1008 with a reason that says when to come back. `after` is at most 60 s.
    pub fn break_off(&mut self, after: Duration) {
        self.break_with(None, Word::PUBLISHING, after);
    }

    /// Asks the client to leave: DRAIN. It should dial `url`, or where it dialled before, in `after`, at most 60 s; the connection is closed with
    /// 1012 in `deadline`, at most 1 h. Does nothing before WELCOME.
    pub fn drain(&mut self, now: Instant, after: Duration, deadline: Duration, url: Option<Url<'_>>) {
        if self.is_live() {
            let after = after.min(Duration::from_secs(60));
            let deadline = deadline.max(after).min(Duration::from_secs(3600));
            self.drained = Some(now + deadline);
            self.send(&ServerMessage::Drain(Drain { after, deadline, url }));
        }
    }

    /// Turns a connection away before its HELLO is answered: too many come at once. REJECT `unavailable`, with a hint.
    pub fn turn_away(&mut self) {
        if matches!(self.phase, Phase::Opening(..) | Phase::Judging(_)) {
            self.reject_later("too many at once");
        }
    }

    /// The operator has ended the session in the commit order: BYE `ended`.
    pub fn say_ended(&mut self, detail: &str) {
        if self.is_live() {
            self.flush_puback();
            let fault = fault(Code::Ended, detail);
            self.send(&ServerMessage::Bye(Some(fault)));
            self.end(Close::new(Close::NORMAL, ""));
            self.identity = None;
        }
    }

    fn take_message(
        &mut self,
        now: Instant,
        kind: PayloadKind,
        message: &[u8],
        keep: impl FnOnce(&[u8]) -> Bytes,
    ) {
        match self.phase {
            Phase::Over | Phase::Ending => return,
            Phase::Opening(..) if message.len() > HELLO_BYTES_MAX => {
                return self.reject(Code::TooLarge, "a HELLO is at most 65536 bytes", false);
            }
            _ => {}
        }
        match ClientMessage::decode(self.form, kind, message) {
            Ok(None) => {}
            Ok(Some(message)) => self.dispatch(now, message, keep),
            Err(error) => self.reject(error.code(), &error.to_string(), false),
        }
    }

    fn dispatch(&mut self, now: Instant, message: ClientMessage<'_>, keep: impl FnOnce(&[u8]) -> Bytes) {
        use ClientMessage as M;
        match (&self.phase, message) {
            (Phase::Opening(..), M::Hello(hello)) => self.hello(now, hello),
            (Phase::Live, M::Hello(_)) => self.reject(Code::BadMessage, "a second HELLO", false),
            (Phase::Live, M::Subscribe(subscribe)) => self.subscribe(subscribe),
            (Phase::Live, M::Unsubscribe(sub)) => self.unsubscribe(sub),
            (Phase::Live, M::Ack(ack)) => self.ack(ack.sub, ack.position),
            (Phase::Live, M::Credit(credit)) => self.credit(now, credit.sub, credit.limits),
            (Phase::Live, M::Flow(flow)) => self.hold(now, flow.sub, flow.pause.is_some()),
            (Phase::Live, M::Publish(publish)) => self.publish(publish, keep),
            (Phase::Live, M::Skip(skip)) => self.skip(skip),
            (Phase::Live, M::Ping(ping)) => self.pinged(now, ping),
            (Phase::Live, M::Pong(pong)) => self.stand(now, &pong),
            (Phase::Live, M::Auth(credential)) => self.offered(credential.as_str()),
            (Phase::Live, M::Bye) => self.bye(now),
            (_, _) => self.reject(Code::BadMessage, "a message before WELCOME", false),
        }
    }

    /// A PONG, with what the PING asked for.
    fn pinged(&mut self, now: Instant, ping: Ping) {
        self.stand(now, &ping);
        if self.is_live() {
            let standing = |standing: &crate::wire::Standing| self.standing(standing.sub);
            let pong = Ping {
                echo: ping.echo,
                count: Some(self.publishing.count()),
                limits: Some(self.publishing.limits()),
                subs: ping.subs.iter().filter_map(standing).collect(),
            };
            self.send(&ServerMessage::Pong(pong));
        }
    }

    /// What a PING or PONG repeats.
    fn stand(&mut self, now: Instant, ping: &Ping) {
        if let Some(limits) = ping.limits {
            self.credit(now, None, limits);
        }
        for standing in &ping.subs {
            if let Some(position) = standing.position {
                self.ack(standing.sub, position);
            }
            if let Some(limits) = standing.limits {
                self.credit(now, Some(standing.sub), limits);
            }
        }
    }

    /// The log refused something of this connection, since another has the session. Which of the two closes it is, the hub knows: its
    /// notice comes with the outcome or soon after it. Without one the client is to dial again, and learns it there.
    fn orphan(&mut self, now: Instant) {
        self.orphaned.get_or_insert(now + ORPHANED_MAX);
    }

    fn flow(&mut self, sub: Option<Sub>, pause: Option<Word>) {
        self.send(&ServerMessage::Flow(Flow { sub, pause }));
    }

    fn break_with(&mut self, sub: Option<Sub>, reason: Word, after: Duration) {
        if matches!(self.phase, Phase::Over) {
            return;
        }
        self.give_up_waiting();
        if self.spoke && self.is_live() && !self.paused {
            self.flow(sub, Some(reason));
        }
        self.end(Close::backpressure(after));
    }

    fn send(&mut self, message: &ServerMessage<'_>) {
        let mut written = Vec::new();
        message.encode(self.form, &mut written);
        // The first byte stands apart: what is all payload is taken for text that may be logged, and here may be a token.
        let mut prefix = Prefix::EMPTY;
        prefix.push(&written[..1]);
        let kind = self.form.kind();
        let payload = Bytes::from(written).slice(1..);
        let outgoing = Outgoing {
            kind,
            prefix,
            payload,
        };
        self.answers_bytes += outgoing.len();
        self.out.push_back(outgoing);
    }

    fn give_up_waiting(&mut self) {
        self.out = VecDeque::new();
        self.answers_bytes = 0;
    }

    /// REJECT, then close 1008.
    fn reject(&mut self, code: Code, detail: &str, resumable: bool) {
        self.reject_with(Reject {
            fault: fault(code, detail),
            resumable,
            retry: None,
            attach: None,
        });
    }

    /// REJECT `unavailable`, with a hint that is this connection's own.
    fn reject_later(&mut self, detail: &str) {
        let retry = Some(self.hint());
        self.reject_with(Reject {
            fault: fault(Code::Unavailable, detail),
            resumable: true,
            retry,
            attach: None,
        });
    }

    /// When to come back: this connection's own place in the range.
    fn hint(&self) -> Duration {
        let longest = self.config.retry_max.min(Duration::from_secs(60));
        longest.mul_f64(f64::from(self.spread) / f64::from(u32::MAX))
    }

    fn reject_with(&mut self, reject: Reject<'_>) {
        if matches!(self.phase, Phase::Over) {
            return;
        }
        self.flush_puback();
        let reason = reject.fault.code.as_str();
        self.send(&ServerMessage::Reject(reject));
        self.end(Close::new(Close::POLICY, reason));
    }

    fn end(&mut self, close: Close) {
        if !matches!(self.phase, Phase::Over) {
            self.over();
            self.close = Some(Box::new(close));
        }
    }

    fn over(&mut self) {
        self.phase = Phase::Over;
        self.publishing.over();
        self.work.forget_refusals();
        self.credential = None;
        self.subs.clear();
        self.streams.clear();
        self.acked.clear();
        self.ready.clear();
        self.due_acks.clear();
        self.starving.clear();
        self.heartbeat = None;
        self.drained = None;
        self.orphaned = None;
    }
}

/// All but DATA, whose bytes are bounded by what is read: it alone has more than one byte before its payload.
fn is_answer(outgoing: &Outgoing) -> bool {
    outgoing.prefix.len() == 1
}

fn fault<'a>(code: Code, detail: &'a str) -> Fault<'a> {
    let detail = Detail::lossy(detail);
    Fault { code, detail }
}

/// How long the notice of a takeover may be behind the first outcome that it had.
const ORPHANED_MAX: Duration = Duration::from_secs(1);

/// The longest HELLO as a message.
const HELLO_BYTES_MAX: usize = 65_536;
