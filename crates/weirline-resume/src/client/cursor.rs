//! What was taken in, and what is handled.

use std::collections::VecDeque;

use weirline_log::{Epoch, Offset, Position};

use super::HandledError;

/// How many changes of epoch may lie between what is handled and what is taken in.
const SEGMENTS_MAX: usize = 64;

/// Positions change only as pairs (I9).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Cursor {
    /// The last position whose message, GAP or RESET the application has handled.
    handled: Option<Position>,
    /// The last position taken in.
    taken: Option<Position>,
    /// Ends of the epochs that were left and are perhaps not handled yet, oldest first.
    left: VecDeque<Position>,
    /// An ACK of `handled` is to be sent. Each answer of an opening decides it afresh.
    ack_due: bool,
}

impl Cursor {
    /// A process that begins has taken in exactly what it has handled.
    pub(crate) fn restore(handled: Option<Position>) -> Self {
        Self {
            handled,
            taken: handled,
            ..Self::default()
        }
    }

    pub(crate) fn taken(&self) -> Option<Position> {
        self.taken
    }

    pub(crate) fn handled_position(&self) -> Option<Position> {
        self.handled
    }

    /// RESUMED. The first one gives a position to a client that had none.
    pub(crate) fn resumed(&mut self, position: Position) {
        if self.taken.is_none() {
            *self = Self::restore(Some(position));
        } else {
            // The first ACK of a connection repeats the handled position.
            self.ack_due = self
                .handled
                .is_some_and(|handled| handled.epoch == position.epoch);
        }
    }

    /// RESET.
    pub(crate) fn reset(&mut self, position: Position) {
        self.ack_due = false;
        let taken = self.taken.replace(position);
        match taken {
            // The offset was beyond the head: what is handled in this epoch could not be told from what comes.
            Some(taken) if taken.epoch == position.epoch => *self = Self::restore(Some(position)),
            Some(taken) => {
                if self.left.len() == SEGMENTS_MAX {
                    self.left.pop_front();
                }
                self.left.push_back(taken);
            }
            None => {}
        }
    }

    /// Data or a GAP that ends at `offset`.
    pub(crate) fn take(&mut self, offset: Offset) -> Option<Position> {
        let taken = self.taken.as_mut().filter(|taken| offset > taken.offset)?;
        taken.offset = offset;
        Some(*taken)
    }

    /// The application has handled everything up to `position`.
    pub(crate) fn handled(&mut self, position: Position) -> Result<(), HandledError> {
        let taken = self.taken.ok_or(HandledError::NeverDelivered)?;
        let current = position.epoch == taken.epoch;
        let (end, passed) = if current {
            (taken, self.left.len())
        } else {
            let passed = self.left.iter().position(|left| left.epoch == position.epoch);
            let passed = passed.ok_or(HandledError::NeverDelivered)?;
            (self.left[passed], passed)
        };
        if position.offset > end.offset {
            return Err(HandledError::NeverDelivered);
        }
        self.left.drain(..passed);
        let repeated =
            |handled: Position| handled.epoch == position.epoch && handled.offset >= position.offset;
        if !self.handled.is_some_and(repeated) {
            self.handled = Some(position);
            // None for an earlier epoch.
            self.ack_due = current;
        }
        Ok(())
    }

    /// The position to acknowledge, once.
    pub(crate) fn take_ack_position(&mut self) -> Option<Position> {
        std::mem::take(&mut self.ack_due).then_some(self.handled)?
    }

    /// Whether something of this epoch may be unhandled.
    pub(crate) fn knows(&self, epoch: Epoch) -> bool {
        let current = self.taken.is_some_and(|taken| taken.epoch == epoch);
        current || self.left.iter().any(|left| left.epoch == epoch)
    }

    /// The offset to acknowledge, once.
    pub(crate) fn take_ack(&mut self) -> Option<Offset> {
        if !std::mem::take(&mut self.ack_due) {
            return None;
        }
        self.handled.map(|handled| handled.offset)
    }
}
