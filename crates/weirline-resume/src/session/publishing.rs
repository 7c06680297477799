//! What a client publishes and gives up, on its way through the commit order.

use std::time::Instant;

use bytes::Bytes;
use weirline_log::{AppendRefusal, Author, Command, Item, Outcome, PayloadKind, Seq};

use super::meter::{Meter, add, cost};
use super::work::Pending;
use super::{Session, fault};
use crate::Close;
use crate::wire::{Code, Credit, Limits, PubAck, Publish, Refused, ServerMessage, Skip};

/// The numbers of a connection's publishing: `count ≤ submitted`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Publishing {
    /// Everything up to it is in the log, or skipped.
    count: Seq,
    /// Everything up to it was given to the log, or is counted.
    submitted: Seq,
    /// The number behind `submitted` was refused: everything above it is ignored until it comes again.
    refused: bool,
    /// How many of the pending numbers are above a refused one, and so certain to be refused too.
    doomed: usize,
    ack_due: bool,
    /// What the client may publish, and did.
    meter: Meter,
    window: Limits,
    /// Taken, and not decided.
    undecided: Limits,
}

impl Publishing {
    pub(super) fn new(window: Limits) -> Self {
        Self {
            count: Seq::ZERO,
            submitted: Seq::ZERO,
            refused: false,
            doomed: 0,
            ack_due: false,
            meter: Meter::new(window),
            window,
            undecided: Limits {
                bytes: 0,
                messages: 0,
            },
        }
    }

    pub(super) fn begin(&mut self, count: Seq) {
        self.count = count;
        self.submitted = count;
    }

    pub(super) fn over(&mut self) {
        self.ack_due = false;
    }

    pub(super) fn count(&self) -> Seq {
        self.count
    }

    /// The limits that the client was told.
    pub(super) fn limits(&self) -> Limits {
        self.meter.limits()
    }

    /// A message is decided, and makes room for another.
    pub(super) fn settle(&mut self, bytes: u64, messages: u64) {
        self.undecided.bytes -= bytes;
        self.undecided.messages -= messages;
    }

    /// Further limits, when they are worth a message: half a window above the last.
    fn grant(&mut self) -> Option<Limits> {
        let spent = self.meter.spent();
        let limits = Limits {
            bytes: add(spent.bytes - self.undecided.bytes, self.window.bytes),
            messages: add(spent.messages - self.undecided.messages, self.window.messages),
        };
        let told = self.meter.limits();
        let worth = limits.bytes >= told.bytes + self.window.bytes.div_ceil(2)
            || limits.messages >= told.messages + self.window.messages.div_ceil(2);
        worth.then(|| {
            self.meter.raise(limits);
            self.meter.limits()
        })
    }
}

impl Session {
    pub(super) fn publish(&mut self, publish: Publish<'_>, keep: impl FnOnce(&[u8]) -> Bytes) {
        let Publish { seq, stream, payload } = publish;
        let len = payload.bytes.len();
        if !self.publishing.meter.has_credit() {
            return self.reject(Code::CreditExceeded, "a PUB without credit", false);
        }
        self.publishing.meter.spend(len);
        if !self.is_next(seq, seq) {
            return;
        }
        let limit = match payload.kind {
            PayloadKind::Text => self.config.payload_text_bytes_max,
            PayloadKind::Binary => self.config.payload_binary_bytes_max,
        };
        if len > limit {
            return self.refuse_in_turn(seq, Code::TooLarge, &format!("at most {limit} bytes"));
        }
        let item = Item::publish(&stream, payload.kind, &payload.bytes);
        let Some(author) = self.author(seq, item) else {
            return;
        };
        let payload_kind = payload.kind;
        let payload = match payload.bytes {
            std::borrow::Cow::Borrowed(bytes) => keep(bytes),
            std::borrow::Cow::Owned(bytes) => Bytes::from(bytes),
        };
        let command = Command::Append {
            stream,
            author: Some(author),
            kind: payload_kind,
            payload,
        };
        self.submit(seq, seq, cost(len), 1, command);
    }

    pub(super) fn skip(&mut self, Skip { from, to }: Skip) {
        if self.is_next(from, to)
            && let Some(author) = self.author(to, Item::skip(from, to))
        {
            self.submit(from, to, 0, 0, Command::Skip { author, from });
        }
    }

    fn author(&self, seq: Seq, item: Item) -> Option<Author> {
        let (session, attach) = self.identity?;
        Some(Author {
            session,
            attach,
            seq,
            item: Some(item),
        })
    }

    /// Whether these numbers are to be taken. If not, they are taken already, are ignored, or end the connection.
    fn is_next(&mut self, from: Seq, to: Seq) -> bool {
        let publishing = &mut self.publishing;
        if to <= publishing.submitted {
            // An answer may have been lost on the client's side.
            publishing.ack_due |= to <= publishing.count;
            return false;
        }
        if Some(from) == publishing.submitted.next() {
            return true;
        }
        if from <= publishing.submitted || !publishing.refused {
            self.reject(Code::BadSequence, "a number was skipped", false);
        }
        false
    }

    fn submit(&mut self, from: Seq, to: Seq, bytes: u64, messages: u64, command: Command) {
        if self.work.len() >= WORK_MAX {
            return self.reject_later("too many messages in flight");
        }
        self.publishing.refused = false;
        self.publishing.submitted = to;
        self.publishing.undecided.bytes += bytes;
        self.publishing.undecided.messages += messages;
        let pending = Pending::Numbers {
            from,
            to,
            bytes,
            messages,
        };
        self.work.push(pending, command);
    }

    pub(super) fn numbers_decided(&mut self, now: Instant, from: Seq, to: Seq, outcome: &Outcome) {
        let doomed = self.publishing.doomed > 0;
        self.publishing.doomed = self.publishing.doomed.saturating_sub(1);
        match outcome {
            Outcome::Appended { .. } | Outcome::Duplicate { .. } | Outcome::Skipped { .. } => {
                self.publishing.count = self.publishing.count.max(to);
                // A number that was taken again before the client could see its refusal.
                self.publishing.submitted = self.publishing.submitted.max(to);
                self.publishing.ack_due = true;
            }
            Outcome::AppendRefused(AppendRefusal::Fenced) => self.orphan(now),
            Outcome::AppendRefused(_) if doomed => {}
            Outcome::AppendRefused(AppendRefusal::Gap { .. }) => {
                // The count was given at the attach, so it is the log that changed; the next attach gives another.
                self.end(Close::new(Close::SERVICE_RESTART, "the session's count changed"));
            }
            Outcome::AppendRefused(AppendRefusal::TooLarge { limit }) => {
                self.refuse(from, Code::TooLarge, &format!("at most {limit} bytes"));
            }
            Outcome::AppendRefused(refusal) => {
                self.refuse(from, Code::Unavailable, &refusal.to_string());
            }
            other => panic!("{other:?} is no outcome of a PUB or SKIP"),
        }
    }

    /// The log could not write.
    pub(super) fn number_failed(&mut self, from: Seq) {
        let doomed = self.publishing.doomed > 0;
        self.publishing.doomed = self.publishing.doomed.saturating_sub(1);
        if !doomed {
            self.refuse(from, Code::Unavailable, "the log failed");
        }
    }

    /// A refusal of this side's own is said when everything before the number is decided: until then the count is not there.
    fn refuse_in_turn(&mut self, seq: Seq, code: Code, detail: &str) {
        self.publishing.refused = true;
        if self.work.numbers() == 0 {
            return self.refuse(seq, code, detail);
        }
        if self.work.len() >= WORK_MAX {
            return self.reject_later("too many messages in flight");
        }
        self.work.push_refusal(seq, code, detail);
    }

    /// Refusals whose turn has come.
    pub(super) fn settle_refusals(&mut self) {
        while let Some((seq, code, detail)) = self.work.take_refusal() {
            let doomed = self.publishing.doomed > 0;
            self.publishing.doomed = self.publishing.doomed.saturating_sub(1);
            if !doomed && matches!(self.phase, super::Phase::Live | super::Phase::Ending) {
                self.refuse(seq, code, &detail);
            }
        }
    }

    /// PUBACK with a code. The count stays below the number, and so does `submitted`.
    fn refuse(&mut self, seq: Seq, code: Code, detail: &str) {
        if self.orphaned.is_some() {
            // What stood before it was not decided here.
            return;
        }
        debug_assert_eq!(self.publishing.count.next(), Some(seq));
        self.publishing.ack_due = false;
        let refused = Some(Refused {
            fault: fault(code, detail),
            retry: None,
        });
        self.send(&ServerMessage::PubAck(PubAck {
            seq: self.publishing.count,
            refused,
        }));
        // Everything that was taken above it will be refused as well.
        if self.publishing.submitted >= seq {
            self.publishing.submitted = seq.previous().unwrap_or(Seq::ZERO);
            self.publishing.doomed = self.work.numbers();
        }
        self.publishing.refused = true;
    }

    /// Puts a due PUBACK in its place before what is sent next.
    pub(super) fn flush_puback(&mut self) {
        if std::mem::take(&mut self.publishing.ack_due) {
            let seq = self.publishing.count;
            self.send(&ServerMessage::PubAck(PubAck { seq, refused: None }));
        }
    }

    /// Further credit for PUB, if it is worth a message.
    pub(super) fn grant(&mut self) {
        if self.is_live()
            && let Some(limits) = self.publishing.grant()
        {
            self.send(&ServerMessage::Credit(Credit { sub: None, limits }));
        }
    }
}

/// Over this the connection is over: a transport that respects `wants_input` never comes near.
const WORK_MAX: usize = 65_536;
