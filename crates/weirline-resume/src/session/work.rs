//! Commands on their way through the commit order.

use std::collections::VecDeque;

use weirline_log::{Command, Seq, StreamId};

use crate::wire::{Code, Sub};

/// Commands without an outcome, and refusals that wait for their turn among them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Work {
    /// Not yet given to the caller.
    commands: VecDeque<Command>,
    /// In the order of the commands.
    pending: VecDeque<Pending>,
    /// How many commands were given out and have no outcome.
    given: usize,
}

/// What a command was for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Pending {
    Attach,
    Open(Sub, Instance),
    /// The session's numbers `from` … `to`.
    Numbers {
        from: Seq,
        to: Seq,
        bytes: u64,
        messages: u64,
    },
    /// No command: a number that is refused once all before it are decided.
    Refusal(Seq, Code, Box<str>),
    Ack(Sub, Instance, StreamId),
    End,
    Detach,
}

/// Tells the subscriptions of one number apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Instance(pub(super) u64);

impl Work {
    pub(super) fn push(&mut self, pending: Pending, command: Command) {
        self.pending.push_back(pending);
        self.commands.push_back(command);
    }

    pub(super) fn push_refusal(&mut self, seq: Seq, code: Code, detail: &str) {
        self.pending.push_back(Pending::Refusal(seq, code, detail.into()));
    }

    pub(super) fn poll(&mut self) -> Option<Command> {
        let command = self.commands.pop_front()?;
        self.given += 1;
        Some(command)
    }

    /// The oldest command has its outcome.
    pub(super) fn decided(&mut self) -> Pending {
        assert!(
            self.given > 0,
            "an outcome for a command that was never given out"
        );
        self.given -= 1;
        match self.pending.pop_front() {
            None | Some(Pending::Refusal(..)) => unreachable!("refusals are taken when they are first"),
            Some(pending) => pending,
        }
    }

    /// A refusal whose turn it is.
    pub(super) fn take_refusal(&mut self) -> Option<(Seq, Code, Box<str>)> {
        if !matches!(self.pending.front(), Some(Pending::Refusal(..))) {
            return None;
        }
        match self.pending.pop_front() {
            Some(Pending::Refusal(seq, code, detail)) => Some((seq, code, detail)),
            _ => None,
        }
    }

    /// Nobody is told any more.
    pub(super) fn forget_refusals(&mut self) {
        self.pending
            .retain(|pending| !matches!(pending, Pending::Refusal(..)));
    }

    /// How many publishes and skips are undecided.
    pub(super) fn numbers(&self) -> usize {
        let numbers = |pending: &&Pending| matches!(pending, Pending::Numbers { .. } | Pending::Refusal(..));
        self.pending.iter().filter(numbers).count()
    }

    /// Whether something was given out that has no outcome.
    pub(super) fn is_waiting(&self) -> bool {
        self.given > 0
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Gives back the memory of a burst.
    pub(super) fn rest(&mut self) {
        if self.pending.is_empty() && self.pending.capacity() > 0 {
            *self = Self::default();
        }
    }
}
