//! Checkpoints: what was committed since the last one goes into the database, and what retention has given up goes out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use redb::{ReadableTable, Table, WriteTransaction};
use weirline_log::{EpochChain, Offset, SessionId};

use super::{BLOCKS, META, Meta, SESSIONS, STREAMS, Store, StreamRow, damaged, guard, key};
use crate::RedbConfig;
use crate::block::{Block, BlockBuilder, BlockMeta};
use crate::codec::Damage;
use crate::streams::{Stored, Stream};
use crate::writer::Pending;

type Blocks<'t> = Table<'t, u128, &'static [u8]>;

/// The largest block, unless one entry alone is larger. With the database's overhead it fills a page of 64 KiB.
const BLOCK_BYTES_MAX: usize = (64 << 10) - 256;
/// How many blocks one checkpoint removes, beside as many as it adds.
const REMOVE_MAX: usize = 256;

/// What a checkpoint writes, whole: it may be written on another thread.
pub(crate) struct Checkpoint {
    pub(crate) config: RedbConfig,
    pub(crate) meta: Meta,
    /// All streams, by their numbers.
    pub(crate) streams: Vec<Stream>,
    pub(crate) pending: Arc<Pending>,
    /// The rows of the sessions that have changed; `None` for those that are no more.
    pub(crate) sessions: Vec<(SessionId, Option<Vec<u8>>)>,
}

impl Checkpoint {
    fn numbers(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.streams.len()).unwrap_or(u32::MAX)
    }
}

/// What the streams are after a checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    pub(crate) streams: BTreeMap<u32, (Offset, Stored)>,
    /// Retention has more to remove than one checkpoint may.
    pub(crate) more: bool,
}

/// A checkpoint in the making.
struct Work<'a, 't> {
    input: &'a Checkpoint,
    blocks: Blocks<'t>,
    settled: Settled,
    removals: usize,
}

impl Store {
    /// Writes a checkpoint. After an error it may or may not have been written, and the database has to be opened again.
    pub(crate) fn checkpoint(&self, input: &Checkpoint) -> Result<Settled, redb::Error> {
        guard(|| self.try_checkpoint(input))
    }

    fn try_checkpoint(&self, input: &Checkpoint) -> Result<Settled, redb::Error> {
        let transaction = self.begin()?;
        let settled = {
            let mut work = Work {
                input,
                blocks: transaction.open_table(BLOCKS)?,
                settled: Settled::default(),
                removals: REMOVE_MAX,
            };
            for &number in &input.pending.streams {
                work.append(number)?;
            }
            for number in input.numbers() {
                work.retain(number)?;
            }
            work.retain_all()?;
            work.settled
        };
        write_streams(&transaction, input, &settled)?;
        write_sessions(&transaction, input)?;
        input.meta.write(&mut transaction.open_table(META)?)?;
        transaction.commit()?;
        Ok(settled)
    }

    /// Begins another epoch of a stream with its entries up to `keep`, and says what the stream is then.
    pub(crate) fn begin_epoch(
        &self,
        (number, stream): (u32, &Stream),
        keep: Offset,
        chain: EpochChain,
        meta: &Meta,
    ) -> Result<Stream, redb::Error> {
        let transaction = self.begin()?;
        let mut stream = stream.clone();
        stream.chain = chain;
        stream.head = keep;
        stream.trimmed = stream.trimmed.min(keep);
        {
            let mut blocks = transaction.open_table(BLOCKS)?;
            let cut = cut_blocks(&mut blocks, number, keep, stream.trimmed)?;
            stream.stored.bytes =
                stream.stored.bytes.saturating_sub(cut.removed) + cut.kept.map_or(0, |kept| kept.bytes);
            stream.stored.oldest = match stream.stored.oldest {
                Some(oldest) if oldest.last > keep => cut.kept,
                other => other,
            };
        }
        let row = StreamRow::encode(&stream);
        transaction.open_table(STREAMS)?.insert(number, &row[..])?;
        meta.write(&mut transaction.open_table(META)?)?;
        transaction.commit()?;
        Ok(stream)
    }
}

impl Work<'_, '_> {
    /// What the stream is, with what this checkpoint has done so far.
    fn state(&self, number: u32) -> Option<(Offset, Offset, Stored)> {
        let stream = self.input.streams.get(number as usize)?;
        let settled = self.settled.streams.get(&number).copied();
        let (trimmed, stored) = settled.unwrap_or((stream.trimmed, stream.stored));
        Some((stream.head, trimmed, stored))
    }

    /// Writes the stream's runs as blocks.
    fn append(&mut self, number: u32) -> Result<(), redb::Error> {
        let Some((_, trimmed, stored)) = self.state(number) else {
            return Ok(());
        };
        self.settled.streams.insert(number, (trimmed, stored));
        let mut builder: Option<BlockBuilder> = None;
        for run in self.input.pending.runs.get(&number).into_iter().flatten() {
            for (nth, (kind, payload)) in (0..).zip(&run.entries) {
                let Some(offset) = run.first.checked_add(nth).filter(|&offset| offset > trimmed) else {
                    continue;
                };
                if builder
                    .as_ref()
                    .is_some_and(|block| block.is_full(payload.len(), BLOCK_BYTES_MAX))
                {
                    self.insert(number, builder.take())?;
                }
                builder
                    .get_or_insert_with(|| BlockBuilder::new(offset, run.seq))
                    .push(*kind, payload, run.time_ms);
            }
        }
        self.insert(number, builder)
    }

    fn insert(&mut self, number: u32, builder: Option<BlockBuilder>) -> Result<(), redb::Error> {
        let Some((meta, block)) = builder.and_then(BlockBuilder::finish) else {
            return Ok(());
        };
        self.blocks.insert(key(number, meta.last), &block[..])?;
        if let Some((_, stored)) = self.settled.streams.get_mut(&number) {
            stored.bytes += meta.bytes;
            stored.oldest.get_or_insert(meta);
        }
        self.removals += 1;
        Ok(())
    }

    /// Removes the stream's oldest blocks that are beyond a limit of its own.
    fn retain(&mut self, number: u32) -> Result<(), redb::Error> {
        let config = &self.input.config;
        let age_max = config.stream_age_max.map(crate::effects::millis);
        while let Some((head, trimmed, stored)) = self.state(number)
            && let Some(oldest) = stored.oldest
        {
            let age = self.input.meta.time_ms.saturating_sub(oldest.time_ms);
            let old = oldest.last <= trimmed || age_max.is_some_and(|age_max| age > age_max);
            let over = stored.bytes > config.stream_bytes_max && oldest.last < head;
            if !old && !over {
                break;
            }
            if !self.remove_oldest(number)? {
                break;
            }
        }
        Ok(())
    }

    /// Removes the oldest blocks of the whole log until it fits.
    fn retain_all(&mut self) -> Result<(), redb::Error> {
        let states = |work: &Self| -> Vec<_> {
            let numbers = work.input.numbers();
            numbers
                .filter_map(|number| Some((number, work.state(number)?)))
                .collect()
        };
        let mut total: u64 = states(self).iter().map(|(_, (_, _, stored))| stored.bytes).sum();
        if total <= self.input.config.bytes_max {
            return Ok(());
        }
        let age_of = |(number, (head, _, stored)): (u32, (Offset, Offset, Stored))| {
            let oldest = stored.oldest.filter(|oldest| oldest.last < head)?;
            Some((oldest.seq, number))
        };
        let mut by_age: BTreeSet<_> = states(self).into_iter().filter_map(age_of).collect();
        while total > self.input.config.bytes_max
            && let Some((_, number)) = by_age.pop_first()
        {
            let before = self.state(number).map_or(0, |(_, _, stored)| stored.bytes);
            if !self.remove_oldest(number)? {
                break;
            }
            let Some(state) = self.state(number) else { break };
            total -= before - state.2.bytes;
            by_age.extend(age_of((number, state)));
        }
        Ok(())
    }

    /// Removes a stream's oldest block, if this checkpoint may remove another.
    fn remove_oldest(&mut self, number: u32) -> Result<bool, redb::Error> {
        let Some((_, trimmed, mut stored)) = self.state(number) else {
            return Ok(false);
        };
        let Some(oldest) = stored.oldest else {
            return Ok(false);
        };
        if self.removals == 0 {
            self.settled.more = true;
            return Ok(false);
        }
        self.removals -= 1;
        self.blocks.remove(key(number, oldest.last))?;
        stored.bytes = stored.bytes.saturating_sub(oldest.bytes);
        stored.oldest = first_block(&self.blocks, number)?;
        self.settled
            .streams
            .insert(number, (trimmed.max(oldest.last), stored));
        Ok(true)
    }
}

/// The oldest block of a stream.
fn first_block(blocks: &Blocks<'_>, number: u32) -> Result<Option<BlockMeta>, redb::Error> {
    let mut range = blocks.range(key(number, Offset::ZERO)..=key(number, Offset::MAX))?;
    let Some(first) = range.next() else {
        return Ok(None);
    };
    let (_, block) = first?;
    let block = Block::parse(block.value()).map_err(damaged)?;
    let last = block
        .last()
        .ok_or(damaged(Damage("a block's offsets are out of range")))?;
    Ok(Some(block.meta(last)))
}

/// What cutting a stream has done to its blocks.
#[derive(Default)]
struct Cut {
    removed: u64,
    /// The block that was cut in two, as far as it is kept.
    kept: Option<BlockMeta>,
}

/// Removes everything behind `keep`.
fn cut_blocks(
    blocks: &mut Blocks<'_>,
    number: u32,
    keep: Offset,
    trimmed: Offset,
) -> Result<Cut, redb::Error> {
    let mut cut = Cut::default();
    let Some(from) = keep.next() else {
        return Ok(cut);
    };
    let mut head: Option<(BlockMeta, Vec<u8>)> = None;
    loop {
        let key = {
            let mut range = blocks.range(key(number, from)..=key(number, Offset::MAX))?;
            let Some(item) = range.next() else { break };
            let (key, value) = item?;
            let block = Block::parse(value.value()).map_err(damaged)?;
            if block.first() <= keep && keep > trimmed {
                head = block.up_to(keep).map_err(damaged)?;
            }
            cut.removed += value.value().len() as u64;
            key.value()
        };
        blocks.remove(key)?;
    }
    if let Some((meta, block)) = head {
        blocks.insert(key(number, meta.last), &block[..])?;
        cut.kept = Some(meta);
    }
    Ok(cut)
}

fn write_streams(
    transaction: &WriteTransaction,
    input: &Checkpoint,
    settled: &Settled,
) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(STREAMS)?;
    for (&number, &(trimmed, stored)) in &settled.streams {
        let Some(stream) = input.streams.get(number as usize) else {
            continue;
        };
        let mut stream = stream.clone();
        (stream.trimmed, stream.stored) = (trimmed, stored);
        table.insert(number, &StreamRow::encode(&stream)[..])?;
    }
    Ok(())
}

fn write_sessions(transaction: &WriteTransaction, input: &Checkpoint) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(SESSIONS)?;
    for (id, row) in &input.sessions {
        match row {
            None => {
                table.remove(&id.0)?;
            }
            Some(row) => {
                table.insert(&id.0, &row[..])?;
            }
        }
    }
    Ok(())
}
