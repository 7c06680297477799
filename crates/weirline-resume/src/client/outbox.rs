//! What is published and not yet acknowledged.

use std::collections::VecDeque;

use bytes::Bytes;
use weirline_log::{PayloadKind, Seq};

use super::{PublishError, Revision, TextClientConfig};

/// The client's own name for a published message: rising, never changed, and stored with the outbox.
///
/// The wire's sequence is not such a name: after a refusal the messages behind move up by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A message in the outbox.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OutboxEntry {
    /// Its name.
    pub ticket: Ticket,
    /// Text or binary.
    pub kind: PayloadKind,
    /// The message.
    pub payload: Bytes,
}

/// Entries are numbered `acked + 1`, `acked + 2`, … by their place, so that an ACK leaves exactly the numbers above it (I5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Outbox {
    pub(super) acked: Seq,
    entries: VecDeque<(OutboxEntry, Revision)>,
    bytes: usize,
    pub(super) last_ticket: Ticket,
    /// So many of the first entries were sent on the current connection, in order.
    sent: usize,
    sent_bytes: usize,
    /// So many of the first entries may have been sent under the current session.
    maybe_sent: usize,
}

impl Outbox {
    pub(super) fn restore(acked: Seq, last: Ticket, entries: Vec<OutboxEntry>, maybe_sent: bool) -> Self {
        let bytes = entries.iter().map(|entry| entry.payload.len()).sum();
        let last_ticket = entries.last().map_or(last, |entry| entry.ticket.max(last));
        let maybe_sent = if maybe_sent { entries.len() } else { 0 };
        let entries = entries
            .into_iter()
            .map(|entry| (entry, Revision::default()))
            .collect();
        Self {
            acked,
            entries,
            bytes,
            last_ticket,
            maybe_sent,
            ..Self::default()
        }
    }

    pub(super) fn entries(&self) -> impl ExactSizeIterator<Item = &OutboxEntry> {
        self.entries.iter().map(|(entry, _)| entry)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn room(&self, config: &TextClientConfig, bytes: usize) -> Result<(), PublishError> {
        let messages_fit = self.entries.len() < config.outbox_messages_max.max(1);
        let bytes_fit = self.entries.is_empty() || self.bytes + bytes <= config.outbox_bytes_max;
        if messages_fit && bytes_fit {
            return Ok(());
        }
        Err(PublishError::OutboxFull {
            messages: self.entries.len(),
            bytes: self.bytes,
        })
    }

    pub(super) fn push(&mut self, kind: PayloadKind, payload: Bytes, revision: Revision) -> Ticket {
        self.last_ticket = Ticket(self.last_ticket.0 + 1);
        self.bytes += payload.len();
        let ticket = self.last_ticket;
        self.entries.push_back((
            OutboxEntry {
                ticket,
                kind,
                payload,
            },
            revision,
        ));
        ticket
    }

    /// Another connection: nothing is sent on it yet.
    pub(super) fn rewind(&mut self) {
        self.sent = 0;
        self.sent_bytes = 0;
    }

    /// The next entry to send, if it is stored and the bounds allow.
    pub(super) fn next(&mut self, config: &TextClientConfig, stored: Revision) -> Option<(Seq, OutboxEntry)> {
        let (entry, revision) = self.entries.get(self.sent)?;
        let bytes = entry.payload.len();
        let fits = self.sent == 0
            || (self.sent < config.in_flight_messages_max
                && self.sent_bytes + bytes <= config.in_flight_bytes_max);
        if *revision > stored || !fits {
            return None;
        }
        let seq = self.acked.checked_add(self.sent as u64 + 1)?;
        let entry = entry.clone();
        self.sent += 1;
        self.sent_bytes += bytes;
        self.maybe_sent = self.maybe_sent.max(self.sent);
        Some((seq, entry))
    }

    /// `ACK:seq` on the current connection. `Err` when that was never sent.
    pub(super) fn acked(&mut self, seq: Seq) -> Result<Option<Ticket>, ()> {
        let count = usize::try_from(seq.since(self.acked)).unwrap_or(usize::MAX);
        if count > self.sent {
            return Err(());
        }
        self.acked = self.acked.max(seq);
        Ok(self.drop_first(count))
    }

    /// `RESUME_FROM:count`: what may have been sent up to it is in the log, the rest is numbered from `count + 1`.
    /// Returns the last ticket that is acknowledged thereby.
    pub(super) fn recount(&mut self, count: Seq) -> Option<Ticket> {
        let acknowledged = usize::try_from(count.since(self.acked))
            .unwrap_or(usize::MAX)
            .min(self.maybe_sent);
        self.acked = count;
        self.drop_first(acknowledged)
    }

    /// `ERROR:…:seq:…`: finds the entry; it and all behind it are to be sent again. `None` when `seq` is not in flight.
    ///
    /// Under a session nothing behind a refused number can be in the log; without one (`ordered` is false) it may be.
    pub(super) fn refused(&mut self, seq: Seq, ordered: bool) -> Option<Ticket> {
        let index = usize::try_from(seq.since(self.acked)).ok()?.checked_sub(1)?;
        if index >= self.sent {
            return None;
        }
        self.sent_bytes -= self
            .entries
            .range(index..self.sent)
            .map(|(entry, _)| entry.payload.len())
            .sum::<usize>();
        self.sent = index;
        if ordered {
            self.maybe_sent = index;
        }
        self.entries.get(index).map(|(entry, _)| entry.ticket)
    }

    /// Gives up the entry that follows those in flight: the one just refused. All behind it move up by one.
    pub(super) fn give_up_next(&mut self) {
        if let Some((entry, _)) = self.entries.remove(self.sent) {
            self.bytes -= entry.payload.len();
            if self.maybe_sent > self.sent {
                self.maybe_sent -= 1;
            }
        }
    }

    /// The session is no more: what may have been sent leaves, the rest is numbered from 1.
    pub(super) fn uncertain(&mut self) -> Option<(Ticket, Ticket)> {
        let first = self.entries.front().map(|(entry, _)| entry.ticket);
        let last = self.drop_first(self.maybe_sent);
        self.acked = Seq::ZERO;
        self.rewind();
        first.zip(last)
    }

    fn drop_first(&mut self, count: usize) -> Option<Ticket> {
        let mut last = None;
        for (entry, _) in self.entries.drain(..count) {
            self.bytes -= entry.payload.len();
            if self.sent > 0 {
                self.sent -= 1;
                self.sent_bytes -= entry.payload.len();
            }
            self.maybe_sent = self.maybe_sent.saturating_sub(1);
            last = Some(entry.ticket);
        }
        last
    }
}
