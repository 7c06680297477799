//! One stream's entries, without holes: the offset of an entry follows from its place.

use std::collections::VecDeque;

use bytes::Bytes;

use super::ENTRY_OVERHEAD_BYTES;
use crate::{Bounds, Entry, Epoch, EpochChain, Offset, PayloadKind, ReadLimits, ReadOutcome};

#[derive(Debug)]
pub(super) struct StreamState {
    pub(super) chain: EpochChain,
    trimmed: Offset,
    head: Offset,
    entries: VecDeque<Stored>,
    bytes: usize,
}

#[derive(Debug)]
struct Stored {
    /// Its number among all entries of the log, in the order of the commits.
    age: u64,
    kind: PayloadKind,
    payload: Bytes,
}

impl Stored {
    fn cost(&self) -> usize {
        self.payload.len() + ENTRY_OVERHEAD_BYTES
    }
}

impl StreamState {
    pub(super) fn new(epoch: Epoch) -> Self {
        Self {
            chain: EpochChain::new(epoch),
            trimmed: Offset::ZERO,
            head: Offset::ZERO,
            entries: VecDeque::new(),
            bytes: 0,
        }
    }

    pub(super) fn bounds(&self) -> Bounds {
        Bounds {
            epoch: self.chain.current(),
            trimmed: self.trimmed,
            head: self.head,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn oldest_age(&self) -> Option<u64> {
        self.entries.front().map(|stored| stored.age)
    }

    /// Appends and says where; `None` when the offsets are used up.
    pub(super) fn append(&mut self, age: u64, kind: PayloadKind, payload: Bytes) -> Option<Offset> {
        self.head = self.head.next()?;
        let stored = Stored { age, kind, payload };
        self.bytes += stored.cost();
        self.entries.push_back(stored);
        Some(self.head)
    }

    /// Removes the oldest entry and says what it cost.
    pub(super) fn trim_oldest(&mut self) -> usize {
        let Some(stored) = self.entries.pop_front() else {
            return 0;
        };
        self.trimmed = self.trimmed.next().unwrap_or(self.head);
        self.bytes -= stored.cost();
        self.give_back_memory();
        stored.cost()
    }

    /// What a stream has lost to the bound of the whole log must not stay with it as empty table.
    fn give_back_memory(&mut self) {
        let capacity = self.entries.capacity();
        if capacity > CAPACITY_KEPT && self.entries.len() < capacity / 4 {
            self.entries.shrink_to(capacity / 2);
        }
    }

    /// Begins another epoch with the entries up to `keep`, and says what was freed.
    pub(super) fn begin_epoch(&mut self, epoch: Epoch, keep: Offset) -> usize {
        let keep = keep.min(self.head);
        let before = self.bytes;
        while self.head > keep {
            match self.entries.pop_back() {
                Some(stored) => {
                    self.bytes -= stored.cost();
                    self.head = self.head.previous().unwrap_or(keep);
                }
                // What retention has removed cannot be kept: the numbering goes back without entries.
                None => (self.head, self.trimmed) = (keep, keep),
            }
        }
        self.give_back_memory();
        self.chain.begin(epoch, keep);
        before - self.bytes
    }

    pub(super) fn read(&self, after: Offset, limits: ReadLimits, out: &mut Vec<Entry>) -> ReadOutcome {
        let mut previous = after.max(self.trimmed);
        let skip = usize::try_from(previous.since(self.trimmed)).unwrap_or(usize::MAX);
        let (mut entries, mut bytes) = (0, 0);
        for stored in self.entries.iter().skip(skip).take(limits.messages.max(1)) {
            let Some(offset) = previous.next() else { break };
            if entries > 0 && bytes + stored.payload.len() > limits.bytes {
                break;
            }
            bytes += stored.payload.len();
            entries += 1;
            out.push(Entry {
                offset,
                previous,
                kind: stored.kind,
                payload: stored.payload.clone(),
            });
            previous = offset;
        }
        ReadOutcome::new(self.bounds(), entries)
    }
}

/// Tables up to this size are not worth giving back.
const CAPACITY_KEPT: usize = 64;

// With the entry's record doubled for a half-empty table and 16 bytes for the allocator, this is what is charged.
const _: () = assert!(2 * size_of::<Stored>() + 16 <= ENTRY_OVERHEAD_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_shrinks_with_its_stream() {
        let mut stream = StreamState::new(Epoch::new(1));
        for age in 0..10_000 {
            stream.append(age, PayloadKind::Text, Bytes::new());
        }
        while stream.len() > 1 {
            stream.trim_oldest();
            assert!(
                stream.entries.capacity() <= (4 * stream.len()).max(CAPACITY_KEPT),
                "{}",
                stream.len()
            );
        }
    }
}
