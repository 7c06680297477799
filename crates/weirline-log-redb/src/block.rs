//! Blocks: how entries lie in the database.
//!
//! A block holds consecutive entries of one stream, those of one or more commits. Its key is the stream and the offset of
//! its last entry, so the first block at or behind a key holds the entry that is looked for.
//!
//! ```text
//! format u8 │ 0 u8 ×3 │ count u32 │ first offset u64 │ seq u64 │ time u64 │ count × (end u32, kind and checksum u32) │ payloads
//! ```
//!
//! `end` is where a payload ends behind the table, `seq` the commit of the first entry, `time` (in ms) that of the last.

use bytes::Bytes;
use weirline_log::{Entry, Offset, PayloadKind};

use crate::codec::{Damage, Put, Take, checksum, small};

const FORMAT: u8 = 1;
const HEADER_BYTES: usize = 32;
const SLOT_BYTES: usize = 8;
const BINARY: u32 = 1 << 31;

/// What retention has to know of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockMeta {
    /// The offset of its last entry.
    pub(crate) last: Offset,
    /// Its size in the database.
    pub(crate) bytes: u64,
    /// The commit that its first entry came with.
    pub(crate) seq: u64,
    /// The log's own time at which its last entry came, in ms.
    pub(crate) time_ms: u64,
}

/// A block in the making.
#[derive(Debug)]
pub(crate) struct BlockBuilder {
    first: Offset,
    seq: u64,
    time_ms: u64,
    table: Vec<u8>,
    payloads: Vec<u8>,
    count: u32,
}

impl BlockBuilder {
    pub(crate) fn new(first: Offset, seq: u64) -> Self {
        Self {
            first,
            seq,
            time_ms: 0,
            table: Vec::new(),
            payloads: Vec::new(),
            count: 0,
        }
    }

    /// Whether another payload would make the block larger than `limit`.
    pub(crate) fn is_full(&self, payload: usize, limit: usize) -> bool {
        self.count > 0 && HEADER_BYTES + self.table.len() + SLOT_BYTES + self.payloads.len() + payload > limit
    }

    pub(crate) fn push(&mut self, kind: PayloadKind, payload: &[u8], time_ms: u64) {
        let offset = self.first.get() + u64::from(self.count);
        self.payloads.put(payload);
        self.table.put_u32(small(self.payloads.len()));
        self.table.put_u32(slot(offset, kind, payload));
        self.count += 1;
        self.time_ms = time_ms;
    }

    /// The block; `None` if it is empty.
    pub(crate) fn finish(self) -> Option<(BlockMeta, Vec<u8>)> {
        let last = self
            .first
            .checked_add(u64::from(self.count))
            .and_then(Offset::previous);
        let last = last.filter(|_| self.count > 0)?;
        let mut block = Vec::with_capacity(HEADER_BYTES + self.table.len() + self.payloads.len());
        block.put(&[FORMAT, 0, 0, 0]);
        block.put_u32(self.count);
        block.put_u64(self.first.get());
        block.put_u64(self.seq);
        block.put_u64(self.time_ms);
        block.put(&self.table);
        block.put(&self.payloads);
        let meta = BlockMeta {
            last,
            bytes: block.len() as u64,
            seq: self.seq,
            time_ms: self.time_ms,
        };
        Some((meta, block))
    }
}

/// The kind, and 31 bits of checksum over the place, the kind and the payload.
fn slot(offset: u64, kind: PayloadKind, payload: &[u8]) -> u32 {
    let flag = match kind {
        PayloadKind::Text => 0,
        PayloadKind::Binary => BINARY,
    };
    let [a, b, c, d, ..] = checksum(offset ^ u64::from(flag) << 32, payload).to_le_bytes();
    u32::from_le_bytes([a, b, c, d]) & !BINARY | flag
}

/// A block as it is stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block<'a> {
    first: Offset,
    seq: u64,
    time_ms: u64,
    table: &'a [[u8; SLOT_BYTES]],
    payloads: &'a [u8],
    bytes: u64,
}

impl<'a> Block<'a> {
    pub(crate) fn parse(block: &'a [u8]) -> Result<Self, Damage> {
        let mut take = Take(block);
        if take.u32()? != u32::from(FORMAT) {
            return Err(Damage("a block of an unknown format"));
        }
        let count = take.u32()? as usize;
        let (first, seq, time_ms) = (take.number()?, take.u64()?, take.u64()?);
        let table = count
            .checked_mul(SLOT_BYTES)
            .ok_or(Damage("a block's table is too long"))?;
        let (table, _) = take.bytes(table)?.as_chunks();
        if table.is_empty() {
            return Err(Damage("a block is empty"));
        }
        Ok(Self {
            first,
            seq,
            time_ms,
            table,
            payloads: take.0,
            bytes: block.len() as u64,
        })
    }

    pub(crate) fn first(&self) -> Offset {
        self.first
    }

    /// The offset of its last entry, by what it says itself.
    pub(crate) fn last(&self) -> Option<Offset> {
        self.first.checked_add(self.table.len() as u64)?.previous()
    }

    pub(crate) fn meta(&self, last: Offset) -> BlockMeta {
        BlockMeta {
            last,
            bytes: self.bytes,
            seq: self.seq,
            time_ms: self.time_ms,
        }
    }

    /// Where the payload of the entry at `index` begins and ends, and what its slot says.
    fn bounds(&self, index: usize) -> Option<(usize, usize, u32)> {
        let end_of =
            |slot: &[u8; SLOT_BYTES]| u32::from_le_bytes([slot[0], slot[1], slot[2], slot[3]]) as usize;
        let slot = self.table.get(index)?;
        let start = index
            .checked_sub(1)
            .map_or(0, |before| end_of(&self.table[before]));
        Some((
            start,
            end_of(slot),
            u32::from_le_bytes([slot[4], slot[5], slot[6], slot[7]]),
        ))
    }

    /// The same block, without what is behind `keep`, which it holds.
    pub(crate) fn up_to(&self, keep: Offset) -> Result<Option<(BlockMeta, Vec<u8>)>, Damage> {
        let mut builder = BlockBuilder::new(self.first, self.seq);
        let mut entries = Vec::new();
        let mut budget = Budget::new(weirline_log::ReadLimits {
            messages: usize::MAX,
            bytes: usize::MAX,
        });
        let before = self.first.previous().unwrap_or(Offset::ZERO);
        self.read(before, keep, &mut budget, &mut entries)?;
        for entry in entries {
            builder.push(entry.kind, &entry.payload, self.time_ms);
        }
        Ok(builder.finish())
    }

    /// Adds the entries in `(after, head]` to `out` as far as the budget allows. Their payloads share one copy.
    pub(crate) fn read(
        &self,
        after: Offset,
        head: Offset,
        budget: &mut Budget,
        out: &mut Vec<Entry>,
    ) -> Result<(), Damage> {
        let skip = usize::try_from(after.next().map_or(0, |next| next.since(self.first)))
            .map_err(|_| Damage("a block begins too early"))?;
        let mut previous = after.max(self.first.previous().unwrap_or(Offset::ZERO));
        let Some((base, ..)) = self.bounds(skip) else {
            return Ok(());
        };
        let mut taken = 0;
        let mut end = base;
        while let Some((start, stop, _)) = self.bounds(skip + taken)
            && previous
                .checked_add(taken as u64 + 1)
                .is_some_and(|offset| offset <= head)
            && budget.take(
                stop.checked_sub(start)
                    .ok_or(Damage("a block's table is out of order"))?,
            )
        {
            (end, taken) = (stop, taken + 1);
        }
        let payloads = self
            .payloads
            .get(base..end)
            .ok_or(Damage("a block is cut short"))?;
        let shared = Bytes::copy_from_slice(payloads);
        for index in skip..skip + taken {
            let (Some((start, stop, slot_stored)), Some(offset)) = (self.bounds(index), previous.next())
            else {
                return Err(Damage("a block's table is out of order"));
            };
            let kind = if slot_stored & BINARY == 0 {
                PayloadKind::Text
            } else {
                PayloadKind::Binary
            };
            let payload = shared.slice(start - base..stop - base);
            if slot(offset.get(), kind, &payload) != slot_stored {
                return Err(Damage("the checksum of an entry does not match"));
            }
            out.push(Entry {
                offset,
                previous,
                kind,
                payload,
            });
            previous = offset;
        }
        Ok(())
    }
}

/// How much more a read may return.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    messages: usize,
    bytes: usize,
    any: bool,
}

impl Budget {
    pub(crate) fn new(limits: weirline_log::ReadLimits) -> Self {
        Self {
            messages: limits.messages.max(1),
            bytes: limits.bytes,
            any: false,
        }
    }

    /// Whether an entry with a payload of this size may be added; the first one always.
    pub(crate) fn take(&mut self, payload: usize) -> bool {
        if self.messages == 0 || (self.any && payload > self.bytes) {
            self.messages = 0;
            return false;
        }
        self.messages -= 1;
        self.bytes = self.bytes.saturating_sub(payload);
        self.any = true;
        true
    }

    /// How many more entries there may be.
    pub(crate) fn messages(&self) -> usize {
        self.messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use weirline_log::ReadLimits;

    fn block(sizes: &[usize]) -> (BlockMeta, Vec<u8>) {
        let mut builder = BlockBuilder::new(Offset::new(10).unwrap(), 3);
        for (nth, &size) in sizes.iter().enumerate() {
            let kind = if nth % 2 == 0 {
                PayloadKind::Text
            } else {
                PayloadKind::Binary
            };
            builder.push(
                kind,
                &vec![b'a' + u8::try_from(nth % 26).unwrap(); size],
                nth as u64,
            );
        }
        builder.finish().unwrap()
    }

    fn read(block: &[u8], after: u64, head: u64, messages: usize) -> Result<Vec<Entry>, Damage> {
        let mut out = Vec::new();
        let mut budget = Budget::new(ReadLimits {
            messages,
            bytes: usize::MAX,
        });
        let (after, head) = (Offset::new(after).unwrap(), Offset::new(head).unwrap());
        Block::parse(block)?.read(after, head, &mut budget, &mut out)?;
        Ok(out)
    }

    proptest! {
        #[test]
        fn every_part_of_a_block_reads_as_written(sizes in prop::collection::vec(0usize..40, 1..30), after in 0u64..45, head in 8u64..45, messages in 1usize..40) {
            let (meta, bytes) = block(&sizes);
            prop_assert_eq!((meta.last.get(), meta.bytes), (9 + sizes.len() as u64, bytes.len() as u64));
            prop_assert_eq!(Block::parse(&bytes).unwrap().meta(meta.last), meta);
            let entries = read(&bytes, after, head, messages).unwrap();
            let from = after.max(9) + 1;
            let expect: Vec<_> = (10u64..).zip(&sizes).filter(|&(n, _)| n >= from && n <= head).take(messages).collect();
            prop_assert_eq!(entries.len(), expect.len());
            for (entry, (offset, &size)) in entries.iter().zip(expect) {
                let letter = b'a' + u8::try_from((offset - 10) % 26).unwrap();
                prop_assert_eq!((entry.offset.get(), entry.previous.get()), (offset, offset - 1));
                prop_assert_eq!(&entry.payload[..], &vec![letter; size][..]);
                prop_assert_eq!(entry.kind == PayloadKind::Text, offset % 2 == 0);
            }
        }

        #[test]
        fn damage_is_noticed_and_never_panics(sizes in prop::collection::vec(0usize..40, 1..10), at in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<prop::sample::Index>()) {
            let (_, bytes) = block(&sizes);
            let whole = read(&bytes, 0, 100, 100).unwrap();
            let mut flipped = bytes.clone();
            let at = at.index(bytes.len());
            flipped[at] ^= 1u8 << bit;
            // The bytes 16..32 are the commit and the time, which no entry depends on.
            if !(16..32).contains(&at) && let Ok(entries) = read(&flipped, 0, 100, 100) {
                prop_assert!(entries.len() < whole.len() && whole.starts_with(&entries), "{}", at);
            }
            let _ = read(&bytes[..cut.index(bytes.len())], 0, 100, 100);
        }
    }
}
