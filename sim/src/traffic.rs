//! One direction of a connection: what its sender's socket took, and what its reader was given.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::wire::Seen;

/// What went one way.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Bytes that the sender's socket took.
    pub sent: u64,
    /// Bytes that the reader was given.
    pub read: u64,
    /// When the sender's socket last took some.
    pub sent_at: Option<Duration>,
    /// When the reader was last given some.
    pub read_at: Option<Duration>,
    /// The Close frame.
    pub close: Option<Close>,
    /// When the sender ended the direction.
    pub fin_at: Option<Duration>,
    /// When the reader was given that end.
    pub fin_read_at: Option<Duration>,
    /// What the sender is in the middle of, and how many bytes of it are taken.
    pub inside: (&'static str, u64),
    /// Data messages that the sender's socket took whole.
    pub messages_sent: u64,
    /// Data messages that the reader was given whole.
    pub messages_read: u64,
    counts_sent: BTreeMap<&'static str, u64>,
    counts_read: BTreeMap<&'static str, u64>,
    /// What is not read yet: where it ends, and what it is.
    under_way: VecDeque<(u64, &'static str, bool)>,
}

/// A Close frame on its way.
#[derive(Clone, Debug)]
pub struct Close {
    /// Its code, 1005 for none.
    pub code: u16,
    /// Its reason.
    pub reason: String,
    /// When the sender's socket had taken it.
    pub at: Duration,
    /// When the reader had been given it.
    pub read_at: Option<Duration>,
}

impl Traffic {
    /// The sender's socket took bytes.
    pub fn took(&mut self, now: Duration, bytes: usize) {
        self.sent += bytes as u64;
        self.sent_at = Some(now);
    }

    /// The last byte taken made this whole.
    pub fn saw(&mut self, now: Duration, seen: &Seen) {
        let message = matches!(seen, Seen::Message { .. });
        self.messages_sent += u64::from(message);
        *self.counts_sent.entry(seen.label()).or_default() += 1;
        self.under_way.push_back((self.sent, seen.label(), message));
        if let Seen::Close { code, reason } = seen
            && self.close.is_none()
        {
            self.close = Some(Close {
                code: *code,
                reason: reason.clone(),
                at: now,
                read_at: None,
            });
        }
    }

    /// The reader was given bytes.
    pub fn gave(&mut self, now: Duration, bytes: usize) {
        self.read += bytes as u64;
        self.read_at = Some(now);
        while let Some((_, label, message)) = self.under_way.pop_front_if(|(end, ..)| *end <= self.read) {
            *self.counts_read.entry(label).or_default() += 1;
            self.messages_read += u64::from(message);
            if let Some(close) = self.close.as_mut().filter(|_| label == "CLOSE") {
                close.read_at.get_or_insert(now);
            }
        }
    }

    /// When the Close was sent.
    #[must_use]
    pub fn close_at(&self) -> Option<Duration> {
        self.close.as_ref().map(|close| close.at)
    }

    /// When the Close was read.
    #[must_use]
    pub fn close_read_at(&self) -> Option<Duration> {
        self.close.as_ref().and_then(|close| close.read_at)
    }

    /// How many things of this label were sent whole.
    #[must_use]
    pub fn count_sent(&self, label: &str) -> u64 {
        self.counts_sent.get(label).copied().unwrap_or(0)
    }

    /// How many were read whole.
    #[must_use]
    pub fn count_read(&self, label: &str) -> u64 {
        self.counts_read.get(label).copied().unwrap_or(0)
    }
}
