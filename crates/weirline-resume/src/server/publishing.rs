//! What a client publishes, on its way through the commit order.

use std::collections::VecDeque;

use bytes::Bytes;
use weirline_log::{AppendRefusal, Author, Command, Outcome, PayloadKind, Seq};

use super::{Phase, TextServer, TextServerConfig};
use crate::text::{ErrorCode, ErrorText, ServerMessage};
use crate::{Close, Outgoing};

/// The numbers of a connection's publishing: `acked ≤ count ≤ submitted`.
#[derive(Debug, Default)]
pub(super) struct Publishing {
    /// Everything up to it is in the log.
    count: Seq,
    /// Everything up to it was given to the log, or is in it.
    submitted: Seq,
    /// This number was refused: everything above it is ignored until it comes again.
    refused: bool,
    /// How many of the pending appends are above a refused number, and so certain to be refused too.
    doomed: usize,
    ack_due: bool,
}

impl Publishing {
    pub(super) fn begin(&mut self, count: Seq) {
        *self = Self {
            count,
            submitted: count,
            ..Self::default()
        };
    }

    pub(super) fn over(&mut self) {
        self.ack_due = false;
    }

    pub(super) fn take_ack(&mut self) -> Option<Outgoing> {
        std::mem::take(&mut self.ack_due).then(|| Outgoing::ack(self.count.get()))
    }
}

/// Commands that have no outcome yet.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Not yet given to the caller.
    commands: VecDeque<Command>,
    /// One for each command without outcome, given or not, in order.
    pending: VecDeque<Pending>,
    bytes: usize,
}

/// What a command was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pending {
    Attach,
    Open,
    Append { seq: Seq, bytes: usize },
    Ack,
    Detach,
}

impl Work {
    pub(super) fn push(&mut self, pending: Pending, command: Command) {
        if let Pending::Append { bytes, .. } = pending {
            self.bytes += bytes;
        }
        self.pending.push_back(pending);
        self.commands.push_back(command);
    }

    /// The oldest command has its outcome.
    pub(super) fn decided(&mut self) -> Pending {
        assert!(
            self.pending.len() > self.commands.len(),
            "an outcome for a command that was never given out"
        );
        let pending = self.pending.pop_front();
        if let Some(Pending::Append { bytes, .. }) = pending {
            self.bytes -= bytes;
        }
        pending.unwrap_or(Pending::Detach)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn has_room(&self, config: &TextServerConfig) -> bool {
        self.pending.len() < config.in_flight_messages_max && self.bytes < config.in_flight_bytes_max
    }

    fn appends(&self) -> usize {
        self.pending
            .iter()
            .filter(|pending| matches!(pending, Pending::Append { .. }))
            .count()
    }
}

impl TextServer {
    /// The next command for the commit order. Its outcome comes back by [`handle_outcome`](Self::handle_outcome), in order.
    pub fn poll_command(&mut self) -> Option<Command> {
        if let Some(command) = self.work.as_mut().and_then(|work| work.commands.pop_front()) {
            return Some(command);
        }
        let ack = self.due_ack()?;
        let work = self.work.get_or_insert_default();
        work.push(Pending::Ack, ack);
        work.commands.pop_front()
    }

    pub(super) fn publish(
        &mut self,
        seq: Seq,
        kind: PayloadKind,
        payload: &[u8],
        keep: impl FnOnce(&[u8]) -> Bytes,
    ) {
        if seq <= self.publishing.submitted {
            // Taken before, so never appended again; an ACK may have been lost on the client's side.
            self.publishing.ack_due |= seq <= self.publishing.count;
            return;
        }
        if Some(seq) != self.publishing.submitted.next() {
            if !self.publishing.refused {
                self.fail(ErrorCode::BadSequence, "a number was skipped");
            }
            return;
        }
        let limit = match kind {
            PayloadKind::Text => self.config.payload_text_bytes_max,
            PayloadKind::Binary => self.config.payload_binary_bytes_max,
        };
        if payload.len() > limit {
            return self.refuse(seq, ErrorCode::TooLarge, &format!("at most {limit} bytes"));
        }
        if self
            .work
            .as_ref()
            .is_some_and(|work| work.pending.len() >= PENDING_MAX)
        {
            return self.refuse(seq, ErrorCode::Unavailable, "too many messages in flight");
        }
        self.publishing.refused = false;
        self.publishing.submitted = seq;
        let author = self.session.map(|(session, attach)| Author {
            session,
            attach,
            seq,
            item: None,
        });
        let (stream, payload) = (self.stream.clone(), keep(payload));
        let pending = Pending::Append {
            seq,
            bytes: payload.len(),
        };
        let command = Command::Append {
            stream,
            author,
            kind,
            payload,
        };
        self.work.get_or_insert_default().push(pending, command);
    }

    pub(super) fn append_decided(&mut self, seq: Seq, outcome: &Outcome) {
        let doomed = self.publishing.doomed > 0;
        self.publishing.doomed = self.publishing.doomed.saturating_sub(1);
        match outcome {
            Outcome::Appended { .. } | Outcome::Duplicate { .. } => {
                self.publishing.count = self.publishing.count.max(seq);
                self.publishing.ack_due = true;
            }
            Outcome::AppendRefused(AppendRefusal::Fenced) => self.handle_fenced(),
            Outcome::AppendRefused(_) if doomed => {}
            Outcome::AppendRefused(AppendRefusal::TooLarge { limit }) => {
                self.refuse(seq, ErrorCode::TooLarge, &format!("at most {limit} bytes"));
            }
            Outcome::AppendRefused(AppendRefusal::Gap { .. }) => {
                // The count was given at the attach, so it is the log that changed; the next attach gives another.
                self.end(Close::new(Close::SERVICE_RESTART, "the session's count changed"));
            }
            Outcome::AppendRefused(refusal) => {
                self.refuse(seq, ErrorCode::Unavailable, &refusal.to_string());
            }
            other => panic!("{other:?} is no outcome of an append"),
        }
    }

    /// `ERROR:code:n:text`. The count stays below n, and so does `submitted`.
    fn refuse(&mut self, seq: Seq, code: ErrorCode, text: &str) {
        self.flush_ack();
        let text = ErrorText::new(text).unwrap_or(ErrorText::FALLBACK);
        self.send(&ServerMessage::Refused { seq, code, text });
        let appends = self.work.as_ref().map_or(0, |work| work.appends());
        if self.session.is_none() && seq <= self.publishing.submitted && appends > 0 {
            // Without a session the log knows no order of numbers: what is above may already be appended.
            return self.end(Close::new(Close::POLICY, code.as_str()));
        }
        if seq <= self.publishing.submitted {
            self.publishing.submitted = seq.previous().unwrap_or(Seq::ZERO);
            self.publishing.doomed = appends;
        }
        self.publishing.refused = true;
    }

    /// Puts a due ACK in its place before what is sent next.
    pub(super) fn flush_ack(&mut self) {
        if self.phase != Phase::Over
            && let Some(ack) = self.publishing.take_ack()
        {
            self.out.push_back(ack);
        }
    }
}

/// Over this, publishes are refused: a transport that respects `wants_input` never comes near.
const PENDING_MAX: usize = 65_536;
