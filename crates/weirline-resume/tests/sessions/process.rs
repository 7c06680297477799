//! A client process with its store and what it knows of the fate of what it published.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use bytes::Bytes;
use weirline_log::{Epoch, Offset, PayloadKind, Position, SessionId};
use weirline_resume::wire::{Begin, Form, Limits, Policy};
use weirline_resume::{
    Dial, SessionClient, SessionClientConfig, SessionEvent, SessionState, Slot, StoreMode, SubscribeOptions,
    Ticket,
};

use crate::consumer::Consumer;
use crate::log::{Log, stream};
use crate::world::Marks;

pub(crate) const OUTBOX_MAX: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Pending,
    Acked,
    Refused,
    Uncertain,
    /// The process crashed before it was stored, so it must never be in the log.
    Forgotten,
}

pub(crate) struct Process {
    pub(crate) config: SessionClientConfig,
    pub(crate) client: SessionClient,
    pub(crate) store: SessionState,
    pub(crate) consumers: Vec<Consumer>,
    pub(crate) fates: BTreeMap<Bytes, Fate>,
    tickets: BTreeMap<Ticket, Bytes>,
    /// Payloads that were ever stored.
    stored: BTreeSet<Bytes>,
    /// Another process went on from a copy of its state, or it is such a copy.
    pub(crate) forked: bool,
    pub(crate) superseded: usize,
    pub(crate) dial: Dial,
}

const START: Begin = Begin::After {
    offset: Offset::ZERO,
    epoch: None,
};

impl Process {
    pub(crate) fn new(kind: u8) -> Self {
        let config = SessionClientConfig {
            form: if kind & 1 == 0 { Form::Json } else { Form::Binary },
            store: StoreMode::Durable,
            outbox_messages_max: OUTBOX_MAX,
            ..SessionClientConfig::default()
        };
        let wants = |index: usize| kind >> (1 + index) & 1 == 0;
        let begin = if kind & 8 == 0 { START } else { Begin::Head };
        let policy = match kind >> 4 & 3 {
            0 => Policy::DropOldest { keep: 5 },
            1 => Policy::Break,
            _ => Policy::Pause,
        };
        let consumers = (0..2).filter(|&index| wants(index));
        let consumers = consumers.map(|index| Consumer::new(stream(index), begin, policy));
        let consumers = consumers.collect();
        Self::start(config, SessionState::default(), consumers)
    }

    fn start(config: SessionClientConfig, store: SessionState, consumers: Vec<Consumer>) -> Self {
        let messages = store.outbox.iter().filter_map(|slot| match slot {
            Slot::Message { ticket, payload, .. } => Some((*ticket, payload.clone())),
            _ => None,
        });
        let tickets: BTreeMap<_, _> = messages.collect();
        let fates = tickets
            .values()
            .map(|payload| (payload.clone(), Fate::Pending))
            .collect();
        let client = SessionClient::restore(config.clone(), store.clone());
        let dial = client.current_dial();
        let mut process = Self {
            config,
            client,
            store,
            consumers,
            fates,
            tickets,
            stored: BTreeSet::new(),
            forked: false,
            superseded: 0,
            dial,
        };
        for index in 0..process.consumers.len() {
            let consumer = &mut process.consumers[index];
            let known = process.store.positions.iter();
            let position = known
                .filter(|(stream, _)| *stream == consumer.stream)
                .map(|(_, position)| *position)
                .next();
            consumer.begin_again(position);
            consumer.handled.extend(position.iter().map(key));
            process.subscribe(index, None);
        }
        process
    }

    fn subscribe(&mut self, index: usize, position: Option<Position>) {
        let consumer = &mut self.consumers[index];
        let options = SubscribeOptions {
            begin: consumer.begin,
            position,
            policy: consumer.policy,
            window: Limits {
                bytes: 400,
                messages: 3,
            },
        };
        consumer.sub = self.client.subscribe(consumer.stream.clone(), options).ok();
    }

    /// A second process from a copy of the store.
    pub(crate) fn fork(&mut self) -> Self {
        self.forked = true;
        let mut other = Self::start(self.config.clone(), self.store.clone(), self.consumers.clone());
        other.forked = true;
        other
    }

    /// The process dies; another goes on from what it stored.
    pub(crate) fn crash(&mut self) {
        let mut other = Self::start(self.config.clone(), self.store.clone(), self.consumers.clone());
        other.forked = self.forked;
        for (payload, fate) in &self.fates {
            // What left a stored outbox had its event, which died with the process.
            let fate = match fate {
                Fate::Pending if self.stored.contains(payload) => Fate::Uncertain,
                Fate::Pending => Fate::Forgotten,
                fate => *fate,
            };
            other.fates.entry(payload.clone()).or_insert(fate);
        }
        other.stored = std::mem::take(&mut self.stored);
        *self = other;
    }

    /// Even lengths are texts; the first digit says to which stream.
    pub(crate) fn publish(&mut self, to: usize, payload: Bytes) {
        let kind = if payload.len().is_multiple_of(2) {
            PayloadKind::Text
        } else {
            PayloadKind::Binary
        };
        match self.client.publish(stream(to), kind, payload.clone()) {
            Ok(ticket) => {
                self.tickets.insert(ticket, payload.clone());
                self.fates.insert(payload, Fate::Pending);
            }
            Err(_) => assert!(
                self.client.is_stopped() || self.client.outbox_len().0 == OUTBOX_MAX,
                "I15"
            ),
        }
    }

    pub(crate) fn store(&mut self) {
        self.store = self.client.state();
        let messages = self.store.outbox.iter().filter_map(|slot| match slot {
            Slot::Message { payload, .. } => Some(payload.clone()),
            _ => None,
        });
        self.stored.extend(messages);
        self.client.handle_stored(self.client.revision());
    }

    pub(crate) fn begin_dial(&mut self, now: Instant, nonce: [u8; 16]) -> bool {
        match self.client.dial(now, nonce, None) {
            Ok(dial) => {
                self.dial = dial;
                self.store();
                true
            }
            Err(_) => false,
        }
    }

    /// Whether it holds this session, and has handled this position of the stream.
    pub(crate) fn handled(
        &self,
        session: SessionId,
        stream: &weirline_log::StreamId,
        at: Position,
    ) -> Option<bool> {
        (self.client.session() == Some(session)).then(|| {
            let consumer = self.consumers.iter().find(|consumer| consumer.stream == *stream);
            consumer.is_some_and(|it| it.at.is_none() || it.handled.contains(&key(&at)))
        })
    }

    pub(crate) fn leave(&mut self, index: usize) {
        if let Some(sub) = self
            .consumers
            .get(index)
            .and_then(|consumer| consumer.sub)
            .filter(|_| !self.client.is_stopped())
        {
            self.client.unsubscribe(sub);
        }
    }

    pub(crate) fn take_event(&mut self, log: &Log, marks: &mut Marks) -> bool {
        let Some(event) = self.client.poll_event() else {
            return false;
        };
        let of = match &event {
            SessionEvent::Subscribed { sub, .. }
            | SessionEvent::Message { sub, .. }
            | SessionEvent::Gap { sub, .. }
            | SessionEvent::Reset { sub, .. }
            | SessionEvent::Unsubscribed { sub, .. } => self
                .consumers
                .iter()
                .position(|consumer| consumer.sub == Some(*sub)),
            _ => None,
        };
        if let Some(index) = of {
            self.consumers[index].take(&event, &log.histories);
        }
        match event {
            SessionEvent::Unsubscribed { fault, .. } => {
                let index = of.expect("a subscription of this process");
                marks.unsubscribed += 1;
                marks.given_up += u64::from(fault.is_some());
                self.begin_again(index, fault.is_some());
            }
            SessionEvent::Gap { .. } => marks.gaps += 1,
            SessionEvent::Reset { .. } => marks.resets += 1,
            event => self.take_fate(event, log, marks),
        }
        true
    }

    /// After a failure it goes on where it was, after leaving by itself where its acks are.
    fn begin_again(&mut self, index: usize, failed: bool) {
        let consumer = &mut self.consumers[index];
        let position = consumer.last.filter(|_| failed);
        consumer.begin = if failed {
            consumer.begin
        } else {
            Begin::AckedOrStart
        };
        consumer.begin_again(position);
        if !self.client.is_stopped() {
            self.subscribe(index, position);
        }
    }

    fn take_fate(&mut self, event: SessionEvent, log: &Log, marks: &mut Marks) {
        let in_log = |payload: &Bytes| log.was_appended(payload);
        match event {
            SessionEvent::Acked { through } => {
                for payload in self.settle(Ticket(0), through, Fate::Acked) {
                    assert!(in_log(&payload), "acknowledged, but not in the log: {payload:?}");
                }
            }
            SessionEvent::Uncertain { from, to } => {
                marks.uncertain += 1;
                self.settle(from, to, Fate::Uncertain);
            }
            SessionEvent::NotPublished { from, to } => {
                marks.not_published += 1;
                assert!(
                    self.forked || log.forgot_a_number,
                    "nobody else held the session, and nothing was lost"
                );
                self.settle(from, to, Fate::Uncertain);
            }
            SessionEvent::Refused {
                ticket,
                retried: false,
                ..
            } => {
                marks.refused += 1;
                for payload in self.settle(ticket, ticket, Fate::Refused) {
                    assert!(!in_log(&payload), "refused, but in the log: {payload:?}");
                }
            }
            SessionEvent::Refused { retried: true, .. } => marks.retried += 1,
            SessionEvent::SessionRenewed => marks.renewed += 1,
            SessionEvent::Superseded => {
                marks.superseded += 1;
                self.superseded += 1;
            }
            SessionEvent::Paused { .. } => marks.paused += 1,
            SessionEvent::Failed(failure) => panic!("{failure}"),
            SessionEvent::LostAfterAck { from, to } => {
                marks.lost_after_ack += 1;
                assert!(from <= to && log.forgot_a_number, "the log forgot no count");
            }
            _ => {}
        }
    }

    pub(crate) fn handle_one(&mut self, index: usize) -> bool {
        let Some(consumer) = self.consumers.get_mut(index) else {
            return false;
        };
        let (Some(position), Some(sub)) = (consumer.waiting.pop_front(), consumer.sub) else {
            return false;
        };
        match self.client.handled(sub, position) {
            Ok(()) => {
                consumer.handled.insert(key(&position));
                consumer.last = Some(position);
            }
            Err(error) => assert!(self.client.taken(sub).is_none(), "{error}"),
        }
        true
    }

    /// I5, I15.
    pub(crate) fn check_outbox(&self) {
        let (messages, _) = self.client.outbox_len();
        assert!(messages <= OUTBOX_MAX, "I15");
        let state = self.client.state();
        let tickets = state.outbox.iter().filter_map(|slot| match slot {
            Slot::Message { ticket, .. } => Some(*ticket),
            _ => None,
        });
        let tickets: Vec<_> = tickets.collect();
        assert!(tickets.is_sorted() && tickets.len() == messages, "I5");
        for consumer in &self.consumers {
            // What is taken in and unhandled is within the window, and one message.
            let messages = consumer.waiting.len();
            assert!(messages <= 4 + consumer.gaps + 8, "I15: {messages} wait");
        }
    }

    fn settle(&mut self, from: Ticket, to: Ticket, fate: Fate) -> Vec<Bytes> {
        let settled: Vec<_> = self
            .tickets
            .range(from..=to)
            .map(|(t, p)| (*t, p.clone()))
            .collect();
        for (ticket, payload) in &settled {
            self.tickets.remove(ticket);
            self.fates.insert(payload.clone(), fate);
        }
        settled.into_iter().map(|(_, payload)| payload).collect()
    }

    pub(crate) fn pending(&self) -> usize {
        self.tickets.len()
    }
}

fn key(position: &Position) -> (Epoch, u64) {
    (position.epoch, position.offset.get())
}
