//! A client process: the shipped client, its store, and what its application was told.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use weirline_log::{Epoch, PayloadKind, Position, SessionId, StreamId};
use weirline_resume::wire::{Begin, Limits, Sub};
use weirline_resume::{
    Dial, SessionClient, SessionClientConfig, SessionEvent, SessionState, Slot, StoreMode, SubscribeOptions,
    Ticket,
};

use crate::log::{Log, offset};

/// What is wrong.
pub(crate) type Fault = String;

pub(crate) const WINDOW: u64 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fate {
    Pending,
    Acked,
    Refused,
    Uncertain,
    /// The process crashed before it was stored, so it must never be in the log.
    Forgotten,
}

/// Messages differ in their first byte; the second, if there is one, makes the log refuse them.
pub(crate) fn payload_of(id: u8) -> Bytes {
    static BYTES: [u8; 64] = {
        let mut bytes = [0; 64];
        let mut at = 0;
        while at < 64 {
            bytes[at] = at.to_le_bytes()[0];
            at += 1;
        }
        bytes
    };
    Bytes::from_static(&BYTES[usize::from(id)..=usize::from(id)])
}

#[derive(Clone, Hash)]
pub(crate) struct Process {
    pub(crate) client: SessionClient,
    pub(crate) store: SessionState,
    sub: Option<Sub>,
    /// The last position delivered: where the next message must follow.
    pub(crate) at: Option<Position>,
    /// Delivered and not handled yet.
    /// Each with whether it is a message, and so within the window.
    pub(crate) waiting: VecDeque<(Position, bool)>,
    /// How far this process or one that it continues has handled each epoch.
    handled: BTreeMap<Epoch, u64>,
    pub(crate) fates: Vec<(u8, Fate)>,
    tickets: Vec<(Ticket, u8)>,
    /// Payloads that were ever stored, as bits.
    stored: u64,
    pub(crate) forked: bool,
    pub(crate) superseded: bool,
    pub(crate) dial: Dial,
}

impl Process {
    pub(crate) fn new(log: &Log) -> Self {
        Self::start(SessionState::default(), log.name())
    }

    fn start(store: SessionState, stream: &StreamId) -> Self {
        let config = SessionClientConfig {
            store: StoreMode::Durable,
            outbox_messages_max: 4,
            ..SessionClientConfig::default()
        };
        let mut client = SessionClient::restore(config, store.clone());
        let position = store.positions.first().map(|(_, position)| *position);
        let options = SubscribeOptions {
            begin: Begin::After {
                offset: offset(0),
                epoch: None,
            },
            window: Limits {
                bytes: 1 << 16,
                messages: WINDOW,
            },
            ..SubscribeOptions::default()
        };
        let sub = client.subscribe(stream.clone(), options).ok();
        let messages = store.outbox.iter().filter_map(|slot| match slot {
            Slot::Message { ticket, payload, .. } => Some((*ticket, payload[0])),
            _ => None,
        });
        let tickets: Vec<_> = messages.collect();
        let dial = client.current_dial();
        Self {
            client,
            store,
            sub,
            at: position,
            waiting: VecDeque::new(),
            handled: position.iter().map(|at| (at.epoch, at.offset.get())).collect(),
            fates: tickets.iter().map(|&(_, id)| (id, Fate::Pending)).collect(),
            tickets,
            stored: 0,
            forked: false,
            superseded: false,
            dial,
        }
    }

    /// A second process from a copy of the store.
    pub(crate) fn fork(&mut self, log: &mut Log) -> Self {
        self.forked = true;
        let mut other = Self::start(self.store.clone(), log.name());
        other.forked = true;
        other.handled.clone_from(&self.handled);
        other.fates.iter().for_each(|(id, _)| log.copied |= 1 << id);
        other
    }

    /// The process dies; another goes on from what it stored.
    pub(crate) fn crash(&mut self, log: &Log) {
        let mut other = Self::start(self.store.clone(), log.name());
        other.forked = self.forked;
        other.stored = self.stored;
        other.handled.clone_from(&self.handled);
        for &(id, fate) in &self.fates {
            // What left a stored outbox had its event, which died with the process.
            let fate = match fate {
                Fate::Pending if self.stored >> id & 1 != 0 => Fate::Uncertain,
                Fate::Pending => Fate::Forgotten,
                fate => fate,
            };
            if other.fates.iter().all(|(known, _)| *known != id) {
                other.fates.push((id, fate));
            }
        }
        other.fates.sort_unstable_by_key(|(id, _)| *id);
        *self = other;
    }

    /// `long`: the log will refuse it for good.
    pub(crate) fn publish(&mut self, id: u8, long: bool, log: &Log) {
        let payload = if long {
            Bytes::copy_from_slice(&[id, 0])
        } else {
            payload_of(id)
        };
        if let Ok(ticket) = self
            .client
            .publish(log.name().clone(), PayloadKind::Binary, payload)
        {
            self.tickets.push((ticket, id));
            self.fates.push((id, Fate::Pending));
        }
    }

    /// Whether a store would change what may come: how far deliveries are handled counts for a later process alone.
    pub(crate) fn wants_store(&self, may_crash: bool) -> bool {
        self.client.needs_store() || may_crash && self.client.state().positions != self.store.positions
    }

    pub(crate) fn store(&mut self) {
        self.store = self.client.state();
        for slot in &self.store.outbox {
            if let Slot::Message { payload, .. } = slot {
                self.stored |= 1 << payload[0];
            }
        }
        self.client.handle_stored(self.client.revision());
    }

    pub(crate) fn begin_dial(&mut self, now: Instant, nonce: u8) -> bool {
        let Ok(dial) = self.client.dial(now, [nonce; 16], None) else {
            return false;
        };
        self.dial = dial;
        self.store();
        true
    }

    /// Whether it holds this session, and has handled this position.
    pub(crate) fn has_handled(&self, session: SessionId, at: Position) -> Option<bool> {
        let held = self.client.session() == Some(session);
        held.then(|| {
            let known = self.handled.get(&at.epoch);
            known.is_some_and(|&to| at.offset.get() <= to)
        })
    }

    pub(crate) fn handle_one(&mut self) -> Result<(), Fault> {
        let (Some((position, _)), Some(sub)) = (self.waiting.pop_front(), self.sub) else {
            return Ok(());
        };
        self.client
            .handled(sub, position)
            .map_err(|error| format!("{position:?}: {error}"))?;
        self.note_handled(position);
        Ok(())
    }

    fn note_handled(&mut self, position: Position) {
        let to = self.handled.entry(position.epoch).or_default();
        *to = position.offset.get().max(*to);
    }

    /// Every event goes to the application at once.
    pub(crate) fn take_events(&mut self, log: &Log) -> Result<(), Fault> {
        while let Some(event) = self.client.poll_event() {
            self.take(&event, log)?;
            self.take_fate(&event, log)?;
        }
        // What is taken in and unhandled is within the window; GAPs and RESETs cost nothing.
        let messages = self.waiting.iter().filter(|(_, message)| *message).count();
        if messages as u64 > WINDOW {
            return Err(format!("I15: {messages} messages wait, the window is {WINDOW}"));
        }
        Ok(())
    }

    fn take(&mut self, event: &SessionEvent, log: &Log) -> Result<(), Fault> {
        match event {
            SessionEvent::Subscribed { position, .. } => match self.at {
                None => {
                    self.at = Some(*position);
                    self.note_handled(*position);
                }
                Some(at) if at != *position => {
                    return Err(format!("I16: delivery stood at {at:?}, goes on at {position:?}"));
                }
                Some(_) => {}
            },
            SessionEvent::Message {
                position, payload, ..
            } => {
                self.follow(*position, position.offset.get(), true)?;
                let history = log.histories.get(&position.epoch);
                let truth = history.and_then(|history| history.get(&position.offset.get()));
                if truth != payload.first() {
                    return Err(format!("I3: {position:?} was never committed so"));
                }
            }
            SessionEvent::Gap { epoch, from, to, .. } => {
                let end = Position {
                    epoch: *epoch,
                    offset: *to,
                };
                self.follow(end, from.get(), false)?;
            }
            SessionEvent::Reset { taken, position, .. } => self.reset(*taken, *position, log)?,
            SessionEvent::Unsubscribed { fault, .. } => {
                return Err(format!("a subscription ended by itself: {fault:?}"));
            }
            _ => {}
        }
        Ok(())
    }

    fn reset(&mut self, taken: Option<Position>, position: Position, log: &Log) -> Result<(), Fault> {
        if taken != self.at {
            return Err(format!("I9: RESET of {taken:?}, delivery stood at {:?}", self.at));
        }
        if let Some(taken) = taken {
            let common = position.offset.get();
            let (old, new) = (
                log.histories.get(&taken.epoch),
                log.histories.get(&position.epoch),
            );
            let (Some(old), Some(new)) = (old, new) else {
                return Err("I9: RESET to an epoch that never was".into());
            };
            if position.offset > taken.offset || !old.range(..=common).eq(new.range(..=common)) {
                return Err(format!(
                    "I8: history up to {position:?} is not common with {taken:?}"
                ));
            }
        }
        self.at = Some(position);
        self.waiting.push_back((position, false));
        Ok(())
    }

    /// I1, I16: the log has no holes, so each delivery begins right behind the last.
    fn follow(&mut self, end: Position, from: u64, message: bool) -> Result<(), Fault> {
        let at = self.at.ok_or("I16: a delivery before the first answer")?;
        if at.epoch != end.epoch {
            return Err(format!("I9: {end:?} behind {at:?} without RESET"));
        }
        if at.offset.get() + 1 != from || end.offset.get() < from {
            return Err(format!("I1, I16: behind {at:?} came {from}"));
        }
        self.at = Some(end);
        self.waiting.push_back((end, message));
        Ok(())
    }

    fn take_fate(&mut self, event: &SessionEvent, log: &Log) -> Result<(), Fault> {
        match event {
            SessionEvent::Acked { through } => {
                for id in self.settle(Ticket(0), *through, Fate::Acked) {
                    if !log.was_appended(id) {
                        return Err(format!("I8: message {id} is acknowledged and not in the log"));
                    }
                }
            }
            SessionEvent::Uncertain { from, to } => {
                let published = self.fates.iter().any(|(id, _)| log.appended.contains(id));
                if published && !log.forgot && !self.forked {
                    return Err("I6: a session that published is forgotten".into());
                }
                self.settle(*from, *to, Fate::Uncertain);
            }
            SessionEvent::NotPublished { from, to } => {
                if !self.forked && !log.forgot {
                    return Err("NotPublished, but nobody else held the session".into());
                }
                self.settle(*from, *to, Fate::Uncertain);
            }
            SessionEvent::Refused {
                ticket,
                retried: false,
                ..
            } => {
                for id in self.settle(*ticket, *ticket, Fate::Refused) {
                    if log.was_appended(id) {
                        return Err(format!("message {id} is refused and in the log"));
                    }
                }
            }
            SessionEvent::Superseded => self.superseded = true,
            SessionEvent::Failed(failure) => return Err(format!("the client failed: {failure}")),
            SessionEvent::LostAfterAck { .. } if !log.forgot => {
                return Err("LostAfterAck, but the log forgot no count".into());
            }
            _ => {}
        }
        Ok(())
    }

    fn settle(&mut self, from: Ticket, to: Ticket, fate: Fate) -> Vec<u8> {
        let inside = |ticket: &Ticket| (from..=to).contains(ticket);
        let settled: Vec<u8> = self
            .tickets
            .iter()
            .filter(|(ticket, _)| inside(ticket))
            .map(|(_, id)| *id)
            .collect();
        self.tickets.retain(|(ticket, _)| !inside(ticket));
        for (id, of) in &mut self.fates {
            if settled.contains(id) {
                *of = fate;
            }
        }
        settled
    }

    /// I5: exactly what is pending is in the outbox, in order.
    pub(crate) fn check_outbox(&self) -> Result<(), Fault> {
        if self.client.outbox_len().0 != self.tickets.len() && !self.client.is_stopped() {
            return Err(format!(
                "I5: {} messages are in the outbox, {} are pending",
                self.client.outbox_len().0,
                self.tickets.len()
            ));
        }
        Ok(())
    }

    /// At rest.
    pub(crate) fn check_at_rest(&self, log: &Log) -> Result<(), Fault> {
        for &(id, fate) in &self.fates {
            let known = log.was_appended(id);
            let wrong = match fate {
                Fate::Refused | Fate::Forgotten => known && !self.forked,
                Fate::Acked => !known,
                Fate::Pending => !self.client.is_stopped(),
                Fate::Uncertain => false,
            };
            if wrong {
                return Err(format!("message {id} is {fate:?}, in the log: {known}"));
            }
        }
        if self.client.is_stopped() {
            if self.forked && self.superseded {
                return Ok(());
            }
            return Err("I12: superseded by nobody".into());
        }
        if !self.client.is_live() {
            return Err("I13: not attachable".into());
        }
        if self.at != Some(log.stream.end()) || !self.waiting.is_empty() {
            return Err(format!(
                "I14, I19: lag at rest: {:?} of {:?}",
                self.at,
                log.stream.end()
            ));
        }
        let ids = self.fates.iter().map(|(id, _)| *id);
        let order: Vec<u8> = log
            .appended
            .iter()
            .copied()
            .filter(|id| ids.clone().any(|own| own == *id))
            .collect();
        if !self.forked && !order.is_sorted() {
            return Err(format!("I7: the log has {order:?}"));
        }
        Ok(())
    }
}
