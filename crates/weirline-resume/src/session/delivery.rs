//! Reading the log for the subscriptions in turn.

use std::time::Instant;

use weirline_log::{Entry, LogError, LogReader, Offset, Position, ReadLimits, ReadOutcome, StreamId};

use super::Session;
use super::subscription::Stage;
use super::tails::JsonTails;
use super::work::Instance;
use crate::Outgoing;
use crate::wire::{
    Code, Form, Gap, GapReason, Policy, Reset, ServerMessage, Sub, data_prefix_binary, data_prefix_json,
};

/// What a [`Session`] wants from the log's reader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionRead {
    /// The entries behind `after` → [`Session::handle_entries`].
    Entries {
        /// The stream.
        stream: StreamId,
        /// The cursor.
        after: Offset,
        /// As much as credit and transport take.
        limits: ReadLimits,
    },
    /// Up to where the history of a position is the present one → [`Session::handle_common`].
    Common {
        /// The stream.
        stream: StreamId,
        /// The position.
        position: Position,
    },
}

impl Session {
    /// What to read from the log next. `capacity` is how many bytes the transport can take; with 0 nothing is read. Subscriptions come in turn.
    ///
    /// The request is the same until it is answered; nothing else may be handed in in between.
    pub fn poll_read(&mut self, capacity: usize) -> Option<SessionRead> {
        if !self.is_live() {
            return None;
        }
        let blocked = self.held || capacity == 0 || !self.meter.has_credit();
        for _ in 0..self.ready.len() {
            let sub = self.ready.pop_front()?;
            let Some(subscription) = self.subs.get_mut(&sub) else {
                continue;
            };
            match subscription.stage {
                Stage::Comparing { position, .. } => {
                    let stream = subscription.stream.clone();
                    self.ready.push_front(sub);
                    return Some(SessionRead::Common { stream, position });
                }
                Stage::Open(_) if subscription.is_hungry() && subscription.meter.has_credit() => {
                    if blocked {
                        self.ready.push_back(sub);
                        continue;
                    }
                    self.ready.push_front(sub);
                    return self.entries_of(sub, capacity);
                }
                _ => subscription.queued = false,
            }
        }
        None
    }

    fn entries_of(&self, sub: Sub, capacity: usize) -> Option<SessionRead> {
        let subscription = self.subs.get(&sub)?;
        let (one, all) = (subscription.meter.left(), self.meter.left());
        let fits = |credit: u64| usize::try_from(credit).unwrap_or(usize::MAX);
        Some(SessionRead::Entries {
            stream: subscription.stream.clone(),
            after: subscription.cursor()?.offset,
            limits: ReadLimits {
                messages: self
                    .config
                    .read_messages_max
                    .min(fits(one.messages.min(all.messages))),
                bytes: capacity.min(fits(one.bytes.min(all.bytes))),
            },
        })
    }

    /// Reads from `reader` what is wanted, once; `scratch` is emptied, and with `tails` can be shared by all connections of a worker.
    /// Returns whether there was anything to do: repeat while it is true and the transport has capacity.
    ///
    /// # Errors
    /// [`LogError`]: the engine failed; the subscription that wanted it has ended with UNSUB `unavailable`.
    pub fn read_from<R: LogReader>(
        &mut self,
        now: Instant,
        reader: &R,
        capacity: usize,
        scratch: &mut Vec<Entry>,
        tails: &mut JsonTails,
    ) -> Result<bool, LogError> {
        scratch.clear();
        let read = match self.poll_read(capacity) {
            None => return Ok(false),
            Some(SessionRead::Common { stream, position }) => reader
                .common(&stream, position.epoch, position.offset)
                .map(|common| self.handle_common(common)),
            Some(SessionRead::Entries {
                stream,
                after,
                limits,
            }) => reader
                .read(&stream, after, limits, scratch)
                .map(|outcome| self.handle_entries(now, outcome, scratch, tails)),
        };
        if let Err(error) = read {
            self.handle_read_failed();
            return Err(error);
        }
        Ok(true)
    }

    /// The answer to [`SessionRead::Entries`]; `entries` is emptied.
    pub fn handle_entries(
        &mut self,
        now: Instant,
        outcome: Option<ReadOutcome>,
        entries: &mut Vec<Entry>,
        tails: &mut JsonTails,
    ) {
        let Some((sub, instance)) = self.take_asked() else {
            return entries.clear();
        };
        let Some(outcome) = outcome else {
            entries.clear();
            return self.give_up(sub, Code::Unavailable, "the stream is gone");
        };
        let Some((cursor, policy)) = self
            .find(sub, instance)
            .and_then(|subscription| Some((subscription.cursor()?, subscription.policy)))
        else {
            return entries.clear();
        };
        let bounds = outcome.bounds;
        if bounds.epoch != cursor.epoch {
            entries.clear();
            if let Some(subscription) = self.subs.get_mut(&sub) {
                subscription.forget_acks();
                subscription.stage = Stage::Comparing {
                    position: cursor,
                    bounds,
                    first: false,
                };
            }
            return self.queue(sub);
        }
        let found = !entries.is_empty();
        self.gap_to(sub, bounds.trimmed, GapReason::Retention);
        if let Policy::DropOldest { keep } = policy
            && let Ok(kept) = Offset::new(bounds.head.get().saturating_sub(keep))
        {
            self.gap_to(sub, kept, GapReason::Dropped);
        }
        for entry in entries.drain(..) {
            if !self.deliver(sub, &entry, tails) {
                break;
            }
        }
        if let Some(subscription) = self.subs.get_mut(&sub)
            && let Some(cursor) = subscription.cursor()
        {
            subscription.caught_up = cursor.offset >= bounds.head || !found;
        }
        self.queue(sub);
        self.watch(now, sub);
        if !self.meter.has_credit() {
            self.watch_all(now);
        }
    }

    /// The answer to [`SessionRead::Common`].
    pub fn handle_common(&mut self, common: Offset) {
        let Some((sub, _)) = self.take_asked() else {
            return;
        };
        let Some(subscription) = self.subs.get_mut(&sub) else {
            return;
        };
        let Stage::Comparing {
            position,
            bounds,
            first,
        } = subscription.stage
        else {
            return;
        };
        let common = common.min(position.offset).min(bounds.head);
        if first {
            return self.opened(sub, bounds, common, true);
        }
        subscription.reset = true;
        let epoch = bounds.epoch;
        self.send(&ServerMessage::Reset(Reset { sub, epoch, common }));
        let position = Position {
            epoch,
            offset: common,
        };
        self.deliver_after(sub, position, bounds.trimmed);
    }

    /// The log could not be read: the subscription that wanted it ends.
    pub fn handle_read_failed(&mut self) {
        if let Some((sub, _)) = self.take_asked() {
            self.give_up(sub, Code::Unavailable, "the log failed");
        }
    }

    /// A stream has grown: there may be something to read.
    pub fn handle_grown(&mut self, now: Instant, stream: &StreamId) {
        let Some(&sub) = self.streams.get(stream) else {
            return;
        };
        if let Some(subscription) = self.subs.get_mut(&sub) {
            subscription.caught_up = false;
            self.queue(sub);
            self.watch(now, sub);
        }
    }

    /// The subscription whose turn it was.
    fn take_asked(&mut self) -> Option<(Sub, Instance)> {
        let sub = self.ready.pop_front()?;
        let subscription = self.subs.get_mut(&sub)?;
        subscription.queued = false;
        Some((sub, subscription.instance))
    }

    /// Puts a subscription behind the others, if there may be something to read for it.
    pub(super) fn queue(&mut self, sub: Sub) {
        let Some(subscription) = self.subs.get_mut(&sub) else {
            return;
        };
        let wants = match subscription.stage {
            Stage::Opening(_) => false,
            Stage::Comparing { .. } => true,
            Stage::Open(_) => subscription.is_hungry() && subscription.meter.has_credit(),
        };
        if wants && !std::mem::replace(&mut subscription.queued, true) {
            self.ready.push_back(sub);
        }
    }

    /// From here on delivery goes on behind a position; what retention has taken behind it is said at once.
    pub(super) fn deliver_after(&mut self, sub: Sub, position: Position, trimmed: Offset) {
        if let Some(subscription) = self.subs.get_mut(&sub) {
            subscription.stage = Stage::Open(position);
            // The first read tells: whoever says what grows watches the stream only from here on.
            subscription.caught_up = false;
        }
        self.gap_to(sub, trimmed, GapReason::Retention);
        self.queue(sub);
    }

    /// Says that everything up to `to` is not delivered, if the cursor is not there yet.
    fn gap_to(&mut self, sub: Sub, to: Offset, reason: GapReason) {
        if let Some(subscription) = self.subs.get_mut(&sub)
            && let Stage::Open(cursor) = &mut subscription.stage
            && to > cursor.offset
            && let Some(from) = cursor.offset.next()
        {
            cursor.offset = to;
            self.send(&ServerMessage::Gap(Gap {
                sub,
                from,
                to,
                reason,
            }));
        }
    }

    /// DATA, if there is credit for it.
    fn deliver(&mut self, sub: Sub, entry: &Entry, tails: &mut JsonTails) -> bool {
        let Some(cursor) = self.subs.get(&sub).and_then(|subscription| subscription.cursor()) else {
            return false;
        };
        if entry.offset <= cursor.offset {
            return true;
        }
        let Some(subscription) = self.subs.get_mut(&sub) else {
            return false;
        };
        if !subscription.meter.has_credit() || !self.meter.has_credit() {
            return false;
        }
        subscription.meter.spend(entry.payload.len());
        self.meter.spend(entry.payload.len());
        self.gap_to(sub, entry.previous, GapReason::Retention);
        let Some(subscription) = self.subs.get_mut(&sub) else {
            return false;
        };
        subscription.stage = Stage::Open(Position {
            epoch: cursor.epoch,
            offset: entry.offset,
        });
        let kind = self.form.kind();
        let (prefix, payload) = match self.form {
            Form::Binary => (
                data_prefix_binary(sub, entry.offset, entry.previous, entry.kind),
                entry.payload.clone(),
            ),
            Form::Json => (
                data_prefix_json(sub),
                tails.tail(&subscription.stream, cursor.epoch, entry),
            ),
        };
        self.out.push_back(Outgoing {
            kind,
            prefix,
            payload,
        });
        true
    }
}
