//! A cursor in the stream's log: what a client is sent, and what it acknowledges.

use weirline_log::{
    AckRefusal, Bounds, Command, Entry, Epoch, LogError, LogReader, Offset, Outcome, Position, ReadLimits,
    ReadOutcome,
};

use super::{Phase, TextServer};
use crate::text::{ErrorCode, GapReason, ServerMessage, Start};
use crate::{Close, Outgoing};

/// What a [`TextServer`] wants from the log's reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadRequest {
    /// The entries behind `after` → [`TextServer::handle_entries`].
    Entries {
        /// The cursor.
        after: Offset,
        /// As much as the transport takes.
        limits: ReadLimits,
    },
    /// Up to where a client's history is the present one → [`TextServer::handle_common`].
    Common {
        /// The client's position.
        position: Position,
    },
}

/// The cursor: everything up to it was sent, or covered by a GAP.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    position: Option<Position>,
    /// The client's highest ACK.
    acked: Option<Offset>,
    ack: AckState,
    /// The last read found nothing, and nothing was appended since.
    caught_up: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum AckState {
    #[default]
    Settled,
    Due,
    InFlight,
    InFlightAndDue,
    /// The log could not record it. The next one is recorded in its place, or it is at the end of the connection.
    Missed,
}

impl Delivery {
    pub(super) fn over(&mut self) {
        *self = Self::default();
    }
}

impl TextServer {
    /// What to read from the log. `capacity` is how many bytes the transport can take; with 0 nothing is read.
    ///
    /// The request is the same until it is answered.
    #[must_use]
    pub fn poll_read(&self, capacity: usize) -> Option<ReadRequest> {
        match self.phase {
            Phase::Comparing(position, _) => Some(ReadRequest::Common { position }),
            Phase::Live if capacity > 0 && !self.delivery.caught_up => {
                let after = self.delivery.position?.offset;
                let limits = ReadLimits {
                    messages: self.config.read_messages_max,
                    bytes: capacity,
                };
                Some(ReadRequest::Entries { after, limits })
            }
            _ => None,
        }
    }

    /// The answer to [`ReadRequest::Entries`]; `entries` is emptied.
    pub fn handle_entries(&mut self, outcome: Option<ReadOutcome>, entries: &mut Vec<Entry>) {
        let Some(Position { epoch, offset }) = self.delivery.position else {
            return entries.clear();
        };
        match outcome {
            Some(outcome) if outcome.bounds.epoch == epoch => {
                if entries.is_empty() && outcome.bounds.trimmed <= offset {
                    self.delivery.caught_up = true;
                }
                self.gap_to(outcome.bounds.trimmed, GapReason::Retention);
            }
            // The answer of the opening holds no longer; the next opening says RESET.
            _ => {
                entries.clear();
                return self.end(Close::new(Close::SERVICE_RESTART, "the stream's epoch changed"));
            }
        }
        for entry in entries.drain(..) {
            self.gap_to(entry.previous, GapReason::Retention);
            debug_assert!(Some(entry.offset) > self.delivery.position.map(|at| at.offset));
            self.delivery.position = Some(Position {
                epoch,
                offset: entry.offset,
            });
            self.out
                .push_back(Outgoing::numbered(entry.offset.get(), entry.kind, entry.payload));
        }
    }

    /// The answer to [`ReadRequest::Common`].
    pub fn handle_common(&mut self, common: Offset) {
        if let Phase::Comparing(position, bounds) = self.phase {
            self.reset(bounds, common.min(position.offset));
        }
    }

    /// The stream has grown: there may be something to read.
    pub fn handle_grown(&mut self) {
        self.delivery.caught_up = false;
    }

    /// Reads from `reader` what is wanted, once; `scratch` is emptied and can be shared by all connections of a worker.
    /// Returns whether there was anything to do: repeat while it is true and the transport has capacity.
    ///
    /// # Errors
    /// [`LogError`]: the engine failed; the connection has been failed with `ERROR:unavailable`.
    pub fn read_from<R: LogReader>(
        &mut self,
        reader: &R,
        capacity: usize,
        scratch: &mut Vec<Entry>,
    ) -> Result<bool, LogError> {
        scratch.clear();
        let read = match self.poll_read(capacity) {
            None => return Ok(false),
            Some(ReadRequest::Common { position }) => reader
                .common(&self.stream, position.epoch, position.offset)
                .map(|common| self.handle_common(common)),
            Some(ReadRequest::Entries { after, limits }) => reader
                .read(&self.stream, after, limits, scratch)
                .map(|outcome| self.handle_entries(outcome, scratch)),
        };
        match read {
            Ok(()) => Ok(!self.delivery.caught_up),
            Err(error) => {
                self.fail(ErrorCode::Unavailable, "the log failed");
                Err(error)
            }
        }
    }

    /// The cursor, once the opening is answered: the last offset that was sent or covered by a GAP.
    #[must_use]
    pub fn cursor(&self) -> Option<Position> {
        self.delivery.position
    }

    /// Moves the cursor forward to `to` and tells the client by a GAP (drop-oldest, R16). Does nothing for a lower offset.
    pub fn skip_to(&mut self, to: Offset, reason: GapReason) {
        if self.phase == Phase::Live {
            self.gap_to(to, reason);
        }
    }

    pub(super) fn opened(&mut self, bounds: Bounds) {
        let Phase::Locating(start) = self.phase else {
            return;
        };
        match start {
            Start::After {
                offset,
                epoch: Some(epoch),
            } if epoch != bounds.epoch => {
                self.phase = Phase::Comparing(Position { epoch, offset }, bounds);
            }
            Start::After { offset, .. } if offset > bounds.head => self.reset(bounds, Offset::ZERO),
            Start::After { offset, .. } => self.resumed(bounds, offset),
            Start::Head | Start::Nothing => self.resumed(bounds, bounds.head),
        }
    }

    fn resumed(&mut self, bounds: Bounds, offset: Offset) {
        self.send(&ServerMessage::Resumed {
            offset,
            head: bounds.head,
            epoch: bounds.epoch,
        });
        self.deliver_after(bounds.epoch, offset);
    }

    fn reset(&mut self, bounds: Bounds, common: Offset) {
        self.send(&ServerMessage::Reset {
            epoch: bounds.epoch,
            common,
        });
        self.deliver_after(bounds.epoch, common);
    }

    fn deliver_after(&mut self, epoch: Epoch, offset: Offset) {
        self.delivery.position = Some(Position { epoch, offset });
        self.phase = Phase::Live;
    }

    /// Says that everything up to `to` is not delivered, if the cursor is not there yet.
    fn gap_to(&mut self, to: Offset, reason: GapReason) {
        if let Some(position) = &mut self.delivery.position
            && to > position.offset
            && let Some(from) = position.offset.next()
        {
            position.offset = to;
            self.send(&ServerMessage::Gap { from, to, reason });
        }
    }

    pub(super) fn ack(&mut self, offset: Offset) {
        let Some(position) = self.delivery.position else {
            return self.fail(ErrorCode::BadMessage, "an ACK without a stream");
        };
        if offset > position.offset {
            let text = format!("the last offset sent is {}", position.offset);
            return self.fail(ErrorCode::AckBeyond, &text);
        }
        let is_missed = self.delivery.ack == AckState::Missed;
        if self.session.is_none()
            || self.delivery.acked > Some(offset)
            || (self.delivery.acked == Some(offset) && !is_missed)
        {
            return;
        }
        self.delivery.acked = Some(offset);
        self.delivery.ack = match self.delivery.ack {
            AckState::Settled | AckState::Due | AckState::Missed => AckState::Due,
            AckState::InFlight | AckState::InFlightAndDue => AckState::InFlightAndDue,
        };
    }

    /// The ACK to record, at most one at a time: later ones replace those that wait.
    pub(super) fn due_ack(&mut self) -> Option<Command> {
        let (session, attach) = self.session?;
        let (position, offset) = (self.delivery.position?, self.delivery.acked?);
        if self.delivery.ack != AckState::Due {
            return None;
        }
        self.delivery.ack = AckState::InFlight;
        let stream = self.stream.clone();
        Some(Command::Ack {
            session,
            attach,
            stream,
            epoch: position.epoch,
            offset,
        })
    }

    /// The last chance of an ACK that was not recorded.
    pub(super) fn last_ack(&mut self) -> Option<Command> {
        if self.delivery.ack == AckState::Missed {
            self.delivery.ack = AckState::Due;
        }
        self.due_ack()
    }

    pub(super) fn ack_decided(&mut self, outcome: &Outcome) {
        self.delivery.ack = match self.delivery.ack {
            AckState::InFlightAndDue => AckState::Due,
            _ if *outcome == Outcome::AckRefused(AckRefusal::Unavailable) => AckState::Missed,
            _ => AckState::Settled,
        };
        match outcome {
            Outcome::AckRefused(AckRefusal::Fenced) => self.handle_fenced(),
            // Not recorded, which changes nothing for delivery; an epoch that changed is found by the next read.
            Outcome::Acked { .. } | Outcome::AckRefused(_) => {}
            other => panic!("{other:?} is no outcome of an ack"),
        }
    }
}
