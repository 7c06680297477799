//! What is published and not yet acknowledged, and numbers that are given up.

use std::collections::VecDeque;

use bytes::Bytes;
use weirline_log::{Item, PayloadKind, RollingHash, Seq, StreamId};

use super::SessionClientConfig;
use crate::{PublishError, Revision, Ticket};

/// What stands under a number of the session, or under several.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Slot {
    /// A message.
    Message {
        /// Its name.
        ticket: Ticket,
        /// Where to.
        stream: StreamId,
        /// Text or binary.
        kind: PayloadKind,
        /// The message.
        payload: Bytes,
    },
    /// So many numbers that are given up: sent in their place at each attach until they are acknowledged.
    Skip {
        /// How many; at least 1.
        numbers: u64,
    },
}

impl Slot {
    fn numbers(&self) -> u64 {
        match self {
            Self::Message { .. } => 1,
            Self::Skip { numbers } => *numbers,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Message { payload, .. } => payload.len(),
            Self::Skip { .. } => 0,
        }
    }

    fn ticket(&self) -> Option<Ticket> {
        match self {
            Self::Message { ticket, .. } => Some(*ticket),
            Self::Skip { .. } => None,
        }
    }

    fn item(&self, from: Seq, to: Seq) -> Item {
        match self {
            Self::Message {
                stream,
                kind,
                payload,
                ..
            } => Item::publish(stream, *kind, payload),
            Self::Skip { .. } => Item::skip(from, to),
        }
    }
}

/// What WELCOME's count meant for the outbox.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Recount {
    /// The last ticket that is acknowledged by it.
    pub(super) acked: Option<Ticket>,
    /// The tickets that end as not published.
    pub(super) not_published: Option<(Ticket, Ticket)>,
    /// The numbers that were acknowledged and are lost.
    pub(super) lost: Option<(Seq, Seq)>,
}

/// Slots are numbered from `acked + 1` by their place, so that an acknowledgement leaves exactly the numbers above it (I5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Outbox {
    pub(super) acked: Seq,
    /// The rolling hash at `acked`.
    pub(super) hash: RollingHash,
    pub(super) last_ticket: Ticket,
    slots: VecDeque<(Slot, Revision)>,
    messages: usize,
    bytes: usize,
    /// So many of the first slots were sent on the current connection, in order; `sent_to` is the last number of them.
    sent: usize,
    sent_to: Seq,
    /// So many of the first slots may have been sent under the current session.
    maybe_sent: usize,
}

impl Outbox {
    /// `answered`: there is a session, under which any of the slots may have been sent.
    pub(super) fn restore(state: (Seq, RollingHash, Ticket), slots: Vec<Slot>, answered: bool) -> Self {
        let (acked, hash, last) = state;
        let mut outbox = Self {
            acked,
            hash,
            sent_to: acked,
            maybe_sent: if answered { slots.len() } else { 0 },
            last_ticket: last,
            ..Self::default()
        };
        for slot in slots {
            outbox.last_ticket = outbox.last_ticket.max(slot.ticket().unwrap_or_default());
            outbox.messages += usize::from(slot.ticket().is_some());
            outbox.bytes += slot.bytes();
            outbox.slots.push_back((slot, Revision::default()));
        }
        outbox
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().map(|(slot, _)| slot)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Messages and their payload bytes.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.messages, self.bytes)
    }

    pub(super) fn room(&self, config: &SessionClientConfig, bytes: usize) -> Result<(), PublishError> {
        let messages_fit = self.messages < config.outbox_messages_max.max(1);
        let bytes_fit = self.messages == 0 || self.bytes + bytes <= config.outbox_bytes_max;
        if messages_fit && bytes_fit {
            return Ok(());
        }
        Err(PublishError::OutboxFull {
            messages: self.messages,
            bytes: self.bytes,
        })
    }

    pub(super) fn push(
        &mut self,
        stream: StreamId,
        kind: PayloadKind,
        payload: Bytes,
        revision: Revision,
    ) -> Ticket {
        self.last_ticket = Ticket(self.last_ticket.0 + 1);
        self.messages += 1;
        self.bytes += payload.len();
        let ticket = self.last_ticket;
        let slot = Slot::Message {
            ticket,
            stream,
            kind,
            payload,
        };
        self.slots.push_back((slot, revision));
        ticket
    }

    /// Nothing is sent on the connection to come, or everything is to be sent again.
    pub(super) fn rewind(&mut self) {
        self.sent = 0;
        self.sent_to = self.acked;
    }

    /// The next slot to send with its first and last number, if it is stored.
    pub(super) fn peek(&self, stored: Revision) -> Option<(&Slot, Seq, Seq)> {
        let (slot, revision) = self.slots.get(self.sent)?;
        if *revision > stored {
            return None;
        }
        let from = self.sent_to.next()?;
        let to = self.sent_to.checked_add(slot.numbers())?;
        Some((slot, from, to))
    }

    /// What [`peek`](Self::peek) gave is sent.
    pub(super) fn sent(&mut self) {
        if let Some((slot, _)) = self.slots.get(self.sent) {
            self.sent_to = self.sent_to.checked_add(slot.numbers()).unwrap_or(Seq::MAX);
            self.sent += 1;
            self.maybe_sent = self.maybe_sent.max(self.sent);
        }
    }

    /// PUBACK on the current connection. `Err` when that was never sent.
    pub(super) fn acked(&mut self, seq: Seq) -> Result<Option<Ticket>, ()> {
        if seq > self.sent_to {
            return Err(());
        }
        let mut last = None;
        while self.acked < seq {
            let numbers = self.slots.front().map_or(0, |(slot, _)| slot.numbers());
            let to = self
                .acked
                .checked_add(numbers)
                .filter(|&to| numbers > 0 && to <= seq);
            let to = to.ok_or(())?;
            last = self.pop(to).or(last);
        }
        Ok(last)
    }

    /// The first slot is acknowledged, up to this number.
    fn pop(&mut self, to: Seq) -> Option<Ticket> {
        let from = self.acked.next()?;
        let (slot, _) = self.slots.pop_front()?;
        self.hash = self.hash.then(slot.item(from, to));
        self.acked = to;
        self.forget(&slot);
        slot.ticket()
    }

    fn forget(&mut self, slot: &Slot) {
        self.messages -= usize::from(slot.ticket().is_some());
        self.bytes -= slot.bytes();
        self.sent = self.sent.saturating_sub(1);
        self.maybe_sent = self.maybe_sent.saturating_sub(1);
        self.sent_to = self.sent_to.max(self.acked);
    }

    /// WELCOME: the session's numbers up to `count` are in the log, and `hash` says which.
    pub(super) fn recount(&mut self, count: Seq, hash: RollingHash) -> Recount {
        let mut recount = Recount::default();
        self.rewind();
        if count < self.acked {
            let numbers = self.acked.since(count);
            recount.lost = count.next().map(|from| (from, self.acked));
            self.slots
                .push_front((Slot::Skip { numbers }, Revision::default()));
            self.maybe_sent += 1;
        } else if self.hash_at(count) == Some(hash) {
            // What was sent and counted is this client's own.
            self.sent_to = count;
            recount.acked = self.acked(count).unwrap_or_default();
        } else {
            recount.not_published = self.give_up_to(count);
        }
        self.acked = count;
        self.hash = hash;
        self.rewind();
        recount
    }

    /// The rolling hash at a number, over what may have been sent; `None` if no slot ends there.
    fn hash_at(&self, seq: Seq) -> Option<RollingHash> {
        let (mut at, mut hash) = (self.acked, self.hash);
        let mut slots = self.slots.iter().take(self.maybe_sent);
        while at < seq {
            let (slot, _) = slots.next()?;
            let (from, to) = (at.next()?, at.checked_add(slot.numbers())?);
            hash = hash.then(slot.item(from, to));
            at = to;
        }
        (at == seq).then_some(hash)
    }

    /// What may have been sent with a number up to `count` leaves, and what was not is numbered behind it.
    fn give_up_to(&mut self, count: Seq) -> Option<(Ticket, Ticket)> {
        let mut tickets: Option<(Ticket, Ticket)> = None;
        while self.acked < count && self.maybe_sent > 0 {
            let numbers = self.slots.front().map_or(1, |(slot, _)| slot.numbers());
            let to = self.acked.checked_add(numbers).unwrap_or(Seq::MAX);
            if let Some(ticket) = self.pop(to) {
                tickets = Some(tickets.map_or((ticket, ticket), |(first, _)| (first, ticket)));
            }
        }
        tickets
    }

    /// The first slot, whose number was refused.
    pub(super) fn refused(&self) -> Option<Ticket> {
        self.slots.front().and_then(|(slot, _)| slot.ticket())
    }

    /// The slot that is next to send is given up: a SKIP takes its place.
    pub(super) fn skip_next(&mut self) {
        if let Some((slot, _)) = self.slots.get_mut(self.sent) {
            self.messages -= usize::from(slot.ticket().is_some());
            self.bytes -= slot.bytes();
            *slot = Slot::Skip {
                numbers: slot.numbers(),
            };
        }
    }

    /// How many slots are sent on this connection and not acknowledged.
    pub(super) fn in_flight(&self) -> usize {
        self.sent
    }

    /// The session is no more: what may have been sent leaves, the rest is numbered from 1.
    pub(super) fn uncertain(&mut self) -> Option<(Ticket, Ticket)> {
        let mut tickets: Option<(Ticket, Ticket)> = None;
        for _ in 0..self.maybe_sent {
            let Some((slot, _)) = self.slots.pop_front() else {
                break;
            };
            self.messages -= usize::from(slot.ticket().is_some());
            self.bytes -= slot.bytes();
            if let Some(ticket) = slot.ticket() {
                tickets = Some(tickets.map_or((ticket, ticket), |(first, _)| (first, ticket)));
            }
        }
        // Numbers to be skipped are those of the session that is no more.
        self.slots.retain(|(slot, _)| slot.ticket().is_some());
        self.maybe_sent = 0;
        self.acked = Seq::ZERO;
        self.hash = RollingHash::ZERO;
        self.rewind();
        tickets
    }
}
