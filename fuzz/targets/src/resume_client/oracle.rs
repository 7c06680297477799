//! What a client may send on one connection, and what becomes of what it publishes.

use std::collections::BTreeMap;

use bytes::Bytes;
use weirline_log::{Attach, PayloadKind, Position, Seq};
use weirline_resume::text::{ClientMessage, ServerMessage, Start};
use weirline_resume::{ClientEvent, ClientState, Revision, StoreMode, Subscribe, TextClientConfig, Ticket};

/// A message that is in the outbox.
#[derive(Clone, Debug)]
struct Waiting {
    kind: PayloadKind,
    payload: Bytes,
    revision: Revision,
}

#[derive(Clone, Debug)]
pub(super) struct Oracle {
    session: bool,
    durable: bool,
    subscribe: Subscribe,
    waiting: BTreeMap<Ticket, Waiting>,
    last_ticket: u64,
    /// The connection: what was said on it.
    stage: Stage,
    /// The greatest attach number under the secret of this text.
    attach: Option<(String, Attach)>,
    dialed: Revision,
    stored: Revision,
    /// The number and the ticket of the last PUB on this connection.
    last: Option<(Seq, Ticket)>,
    /// A refusal came: what follows goes back to this number.
    back_to: Option<Seq>,
    count: Option<Seq>,
    taken: Option<Position>,
    /// Every position that was told, in order, the latest last.
    told: Vec<Position>,
    handled: Option<Position>,
    acked_on_link: Option<u64>,
    live: bool,
    stopped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Stage {
    /// Nothing was said.
    Silent,
    Session,
    Asked,
}

impl Oracle {
    pub(super) fn new(config: &TextClientConfig) -> Self {
        let taken = match config.subscribe {
            Subscribe::At(position) => Some(position),
            _ => None,
        };
        Self {
            session: config.session,
            durable: config.store == StoreMode::Durable,
            subscribe: config.subscribe,
            waiting: BTreeMap::new(),
            last_ticket: 0,
            stage: Stage::Silent,
            attach: None,
            dialed: Revision::default(),
            stored: Revision::default(),
            last: None,
            back_to: None,
            count: None,
            taken,
            told: Vec::new(),
            handled: taken,
            acked_on_link: None,
            live: false,
            stopped: false,
        }
    }

    pub(super) fn dialed(&mut self, revision: Revision) {
        self.dialed = revision;
        (self.stage, self.last, self.back_to, self.count) = (Stage::Silent, None, None, None);
        (self.acked_on_link, self.live) = (None, false);
    }

    pub(super) fn stored(&mut self, revision: Revision) {
        self.stored = revision;
    }

    pub(super) fn next_payload(&self) -> Vec<u8> {
        format!("{}:", self.last_ticket + 1).into_bytes()
    }

    pub(super) fn published(
        &mut self,
        ticket: Ticket,
        kind: PayloadKind,
        payload: Bytes,
        revision: Revision,
    ) {
        self.last_ticket += 1;
        assert_eq!(ticket, Ticket(self.last_ticket), "tickets count");
        self.waiting.insert(
            ticket,
            Waiting {
                kind,
                payload,
                revision,
            },
        );
    }

    /// Messages in the outbox, and their bytes.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let bytes = self.waiting.values().map(|waiting| waiting.payload.len());
        (self.waiting.len(), bytes.sum())
    }

    pub(super) fn taken(&self) -> Option<Position> {
        self.taken
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    pub(super) fn delivered(&self, back: usize) -> Option<Position> {
        self.told.iter().rev().nth(back).copied()
    }

    pub(super) fn handled(&mut self, position: Position) {
        let before = self.handled.filter(|handled| handled.epoch == position.epoch);
        if before.is_none_or(|before| before.offset < position.offset) {
            self.handled = Some(position);
        }
    }

    pub(super) fn server_says(&mut self, kind: PayloadKind, message: &[u8]) {
        match ServerMessage::parse(kind, message) {
            Ok(ServerMessage::ResumeFrom(count)) if self.stage == Stage::Asked => {
                self.count.get_or_insert(count);
            }
            Ok(ServerMessage::Refused { seq, .. }) if self.last.is_some_and(|(last, _)| seq <= last) => {
                self.back_to = Some(seq);
            }
            _ => {}
        }
    }

    pub(super) fn client_says(&mut self, kind: PayloadKind, message: &[u8]) {
        let parsed = ClientMessage::parse(kind, message).expect("what a client sends can be read");
        let mut again = Vec::new();
        assert_eq!((parsed.encode(&mut again), &again[..]), (kind, message));
        assert!(!self.stopped);
        assert!(
            !self.durable || self.stored >= self.dialed,
            "said before the dial was stored"
        );
        match parsed {
            ClientMessage::Session { secret, attach } => {
                assert!(self.session && self.stage == Stage::Silent);
                self.stage = Stage::Session;
                let secret = secret.as_str().to_owned();
                match &self.attach {
                    Some((same, before)) if *same == secret => assert!(attach > *before),
                    _ => assert_eq!(attach, Attach::FIRST),
                }
                self.attach = Some((secret, attach));
            }
            ClientMessage::ResumeFrom(start) => self.asks(start),
            ClientMessage::Ack(offset) => {
                assert!(self.session && self.live && self.subscribe != Subscribe::Nothing);
                let handled = self.handled.expect("an ACK of what is handled");
                assert_eq!(offset, handled.offset);
                assert_eq!(Some(handled.epoch), self.taken.map(|taken| taken.epoch));
                assert!(self.acked_on_link.is_none_or(|before| before < offset.get()));
                self.acked_on_link = Some(offset.get());
            }
            ClientMessage::Publish { seq, kind, payload } => self.publishes(seq, kind, payload),
            other => panic!("{other:?} is no message of this form"),
        }
    }

    fn asks(&mut self, start: Start) {
        assert!(self.stage < Stage::Asked && (self.stage == Stage::Session) == self.session);
        self.stage = Stage::Asked;
        let expect = match (self.subscribe, self.taken) {
            (Subscribe::Nothing, _) => Start::Nothing,
            (_, Some(Position { epoch, offset })) => Start::After {
                offset,
                epoch: Some(epoch),
            },
            (Subscribe::After(offset), None) => Start::After { offset, epoch: None },
            _ => Start::Head,
        };
        assert_eq!(start, expect, "what was taken in is not asked for again");
    }

    fn publishes(&mut self, seq: Seq, kind: PayloadKind, payload: &[u8]) {
        let count = self.count.expect("no PUB before the answer");
        let text = String::from_utf8_lossy(payload);
        let number = text.split(':').next().and_then(|text| text.parse().ok());
        let ticket = Ticket(number.expect("payloads begin with their ticket"));
        let waiting = self.waiting.get(&ticket).expect("what is in the outbox is sent");
        assert!(waiting.kind == kind && waiting.payload == payload);
        assert!(
            !self.durable || self.stored >= waiting.revision,
            "sent before it was stored"
        );
        match (self.back_to.take(), self.last) {
            (Some(back), _) => assert_eq!(seq, back, "what was refused, or the next, comes again"),
            (None, Some((last, before))) => {
                assert_eq!(Some(seq), last.next(), "numbers rise by one");
                assert!(ticket > before, "in order");
            }
            (None, None) => assert_eq!(Some(seq), count.next(), "from the count on"),
        }
        self.last = Some((seq, ticket));
    }

    pub(super) fn event(&mut self, event: &ClientEvent) {
        assert!(
            !self.stopped || matches!(event, ClientEvent::Disconnected { .. }),
            "{event:?} behind the end"
        );
        match event {
            ClientEvent::Live { stream } => {
                self.live = true;
                assert_eq!(stream.is_none(), self.subscribe == Subscribe::Nothing);
                if let Some((position, _)) = stream {
                    assert!(self.taken.is_none_or(|taken| taken == *position));
                    self.taken = Some(*position);
                    self.handled.get_or_insert(*position);
                }
            }
            ClientEvent::Message { position, .. } => self.moved(*position),
            ClientEvent::Gap { epoch, from, to, .. } => {
                assert!(from <= to);
                self.moved(Position {
                    epoch: *epoch,
                    offset: *to,
                });
            }
            ClientEvent::Reset { taken, position } => {
                assert_eq!(*taken, self.taken);
                if taken.is_some_and(|taken| taken.epoch == position.epoch) || taken.is_none() {
                    // Nothing of this epoch can be told from what comes, or nothing was taken at all.
                    self.handled = taken.is_some().then_some(*position).or(self.handled);
                    self.told.clear();
                }
                self.taken = Some(*position);
                self.told.push(*position);
            }
            ClientEvent::Acked { through } => {
                assert!(self.waiting.keys().next().is_some_and(|first| first <= through));
                self.waiting.retain(|ticket, _| ticket > through);
            }
            ClientEvent::Refused { ticket, retried, .. } => {
                assert!(self.waiting.contains_key(ticket));
                if !retried {
                    self.waiting.remove(ticket);
                }
            }
            ClientEvent::Uncertain { from, to } => {
                let before = self.waiting.len();
                assert!(self.waiting.contains_key(from) && self.waiting.contains_key(to));
                self.waiting.retain(|ticket, _| ticket < from || ticket > to);
                assert!(self.waiting.len() < before);
                assert!(self.waiting.keys().all(|left| left > to), "the oldest leave");
            }
            ClientEvent::LostAfterAck { from, to } => assert!(from <= to),
            ClientEvent::Superseded | ClientEvent::Failed(_) => self.stopped = true,
            ClientEvent::Disconnected { hint } => {
                assert!(hint.is_none_or(|hint| hint.as_secs() <= 60));
            }
            _ => {}
        }
    }

    fn moved(&mut self, position: Position) {
        let taken = self.taken.expect("a message has a place");
        assert!(self.live && position.epoch == taken.epoch && position.offset > taken.offset);
        self.taken = Some(position);
        self.told.push(position);
    }

    /// A process begins from this state, which was taken when this account was.
    pub(super) fn begin_again(&mut self, state: &ClientState) {
        self.taken = state.position.or(match self.subscribe {
            Subscribe::At(position) => Some(position),
            _ => None,
        });
        self.handled = self.taken;
        self.told.clear();
        self.dialed(Revision::default());
        self.stored = Revision::default();
        self.stopped = false;
        for waiting in self.waiting.values_mut() {
            waiting.revision = Revision::default();
        }
    }
}
