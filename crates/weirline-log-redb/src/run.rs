//! Runs: the entries of one commit in one stream, in memory.

use bytes::Bytes;
use weirline_log::{Entry, Offset, PayloadKind};

use crate::block::Budget;

/// Consecutive entries of one stream that were committed together. Not empty once it is published.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first: Offset,
    /// The commit.
    pub(crate) seq: u64,
    /// The log's own time of the commit.
    pub(crate) time_ms: u64,
    pub(crate) entries: Vec<(PayloadKind, Bytes)>,
    bytes: usize,
}

impl Run {
    pub(crate) fn new(first: Offset, seq: u64, time_ms: u64) -> Self {
        Self {
            first,
            seq,
            time_ms,
            entries: Vec::new(),
            bytes: 0,
        }
    }

    pub(crate) fn push(&mut self, kind: PayloadKind, payload: Bytes) {
        self.bytes += payload.len() + size_of::<(PayloadKind, Bytes)>();
        self.entries.push((kind, payload));
    }

    /// The offset of its last entry.
    pub(crate) fn last(&self) -> Offset {
        let last = self.first.checked_add(self.entries.len() as u64);
        last.and_then(Offset::previous).unwrap_or(self.first)
    }

    /// What it costs to keep, in bytes.
    pub(crate) fn cost(&self) -> usize {
        self.bytes + RUN_OVERHEAD_BYTES
    }

    /// Adds the entries behind `after` to `out`, as far as the budget allows.
    pub(crate) fn read(&self, after: Offset, budget: &mut Budget, out: &mut Vec<Entry>) {
        let mut previous = after.max(self.first.previous().unwrap_or(Offset::ZERO));
        let skip = usize::try_from(previous.since(self.first.previous().unwrap_or(Offset::ZERO)));
        for (kind, payload) in self.entries.iter().skip(skip.unwrap_or(usize::MAX)) {
            let Some(offset) = previous.next() else { return };
            if !budget.take(payload.len()) {
                return;
            }
            out.push(Entry {
                offset,
                previous,
                kind: *kind,
                payload: payload.clone(),
            });
            previous = offset;
        }
    }
}

/// What a run costs beside its entries: itself, its reference counts, and its place in two queues.
const RUN_OVERHEAD_BYTES: usize = 128;
