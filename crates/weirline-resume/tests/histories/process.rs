//! A client process with its store and what it knows of the fate of what it published.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use bytes::Bytes;
use weirline_log::{Offset, PayloadKind};
use weirline_resume::{
    ClientEvent, ClientState, Dial, StoreMode, Subscribe, TextClient, TextClientConfig, Ticket,
};

use crate::consumer::Consumer;
use crate::log::Log;
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
    pub(crate) config: TextClientConfig,
    pub(crate) client: TextClient,
    pub(crate) store: ClientState,
    pub(crate) consumer: Consumer,
    pub(crate) fates: BTreeMap<Bytes, Fate>,
    tickets: BTreeMap<Ticket, Bytes>,
    /// Payloads that were ever stored.
    stored: BTreeSet<Bytes>,
    /// Another process went on from a copy of its state, or it is such a copy.
    pub(crate) forked: bool,
    pub(crate) superseded: usize,
    pub(crate) dial: Dial,
}

impl Process {
    pub(crate) fn new(kind: u8) -> Self {
        let subscribe = match kind & 3 {
            0 => Subscribe::Head,
            1 | 2 => Subscribe::After(Offset::ZERO),
            _ => Subscribe::Nothing,
        };
        let config = TextClientConfig {
            subscribe,
            session: kind & 0x1c != 0,
            store: StoreMode::Durable,
            outbox_messages_max: OUTBOX_MAX,
            in_flight_messages_max: 1 + usize::from(kind >> 6),
            ..TextClientConfig::default()
        };
        Self::start(config, ClientState::default())
    }

    fn start(config: TextClientConfig, store: ClientState) -> Self {
        let consumer = Consumer::restore(store.position, store.position.iter().map(key).collect());
        let tickets: BTreeMap<_, _> = store
            .outbox
            .iter()
            .map(|e| (e.ticket, e.payload.clone()))
            .collect();
        let fates = tickets
            .values()
            .map(|payload| (payload.clone(), Fate::Pending))
            .collect();
        let client = TextClient::restore(config.clone(), store.clone());
        let dial = client.current_dial();
        Self {
            config,
            client,
            store,
            consumer,
            fates,
            tickets,
            stored: BTreeSet::new(),
            forked: false,
            superseded: 0,
            dial,
        }
    }

    /// A second process from a copy of the store.
    pub(crate) fn fork(&mut self) -> Self {
        self.forked = true;
        let mut other = Self::start(self.config.clone(), self.store.clone());
        other.consumer.handled.extend(&self.consumer.handled);
        other.forked = true;
        other
    }

    /// The process dies; another goes on from what it stored.
    pub(crate) fn crash(&mut self) {
        let mut other = Self::start(self.config.clone(), self.store.clone());
        other.forked = self.forked;
        other.consumer.handled.extend(&self.consumer.handled);
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

    pub(crate) fn publish(&mut self, payload: Bytes) {
        let kind = if payload.len().is_multiple_of(2) {
            PayloadKind::Text
        } else {
            PayloadKind::Binary
        };
        match self.client.publish(kind, payload.clone()) {
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
        self.stored
            .extend(self.store.outbox.iter().map(|entry| entry.payload.clone()));
        self.client.handle_stored(self.client.revision());
    }

    pub(crate) fn begin_dial(&mut self, now: Instant, entropy: [u8; 32]) -> bool {
        match self.client.dial(now, entropy) {
            Ok(dial) => {
                self.dial = dial;
                self.store();
                true
            }
            Err(_) => false,
        }
    }

    pub(crate) fn take_event(&mut self, log: &Log, marks: &mut Marks) -> bool {
        let Some(event) = self.client.poll_event() else {
            return false;
        };
        self.consumer.take(&event, &log.histories);
        let in_log = |payload: &Bytes| log.was_appended(payload);
        match event {
            ClientEvent::Acked { through } => {
                for payload in self.settle(Ticket(0), through, Fate::Acked) {
                    assert!(
                        self.forked || in_log(&payload),
                        "acknowledged, but not in the log: {payload:?}"
                    );
                }
            }
            ClientEvent::Uncertain { from, to } => {
                marks.uncertain += 1;
                self.settle(from, to, Fate::Uncertain);
            }
            ClientEvent::Refused {
                ticket,
                retried: false,
                ..
            } => {
                marks.refused += 1;
                for payload in self.settle(ticket, ticket, Fate::Refused) {
                    assert!(!in_log(&payload), "refused, but in the log: {payload:?}");
                }
            }
            ClientEvent::Refused { retried: true, .. } => marks.retried += 1,
            ClientEvent::SessionRenewed => marks.renewed += 1,
            ClientEvent::Superseded => {
                marks.superseded += 1;
                self.superseded += 1;
            }
            ClientEvent::Paused { .. } => marks.paused += 1,
            ClientEvent::Failed(failure) => panic!("{failure}"),
            ClientEvent::LostAfterAck { from, to } => {
                marks.lost_after_ack += 1;
                assert!(from <= to && log.forgot_a_number, "the log forgot no count");
            }
            ClientEvent::Gap { .. } => marks.gaps += 1,
            ClientEvent::Reset { .. } => marks.resets += 1,
            _ => {}
        }
        true
    }

    pub(crate) fn handle_one(&mut self) -> bool {
        let Some(position) = self.consumer.waiting.pop_front() else {
            return false;
        };
        self.client.handled(position).expect("it was delivered");
        self.consumer.handled.insert(key(&position));
        true
    }

    /// I5: what is neither acknowledged nor given up is exactly the outbox.
    pub(crate) fn check_outbox(&self) {
        let (messages, _) = self.client.outbox_len();
        assert!(messages <= OUTBOX_MAX, "I15");
        let state = self.client.state();
        let first = state.outbox.first().map(|entry| entry.ticket);
        for pair in state.outbox.windows(2) {
            assert!(pair[0].ticket < pair[1].ticket);
        }
        for entry in &state.outbox {
            assert!(Some(entry.ticket) >= first);
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

fn key(position: &weirline_log::Position) -> (weirline_log::Epoch, u64) {
    (position.epoch, position.offset.get())
}
