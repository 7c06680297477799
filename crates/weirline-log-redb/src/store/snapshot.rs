//! The blocks at one moment.

use redb::{ReadOnlyTable, ReadableTable};
use weirline_log::{Entry, LogError, Offset};

use super::{damaged, guard, key};
use crate::block::{Block, Budget};
use crate::codec::Damage;

/// The blocks as of a checkpoint; what is removed later stays readable here.
pub(crate) struct Snapshot {
    blocks: ReadOnlyTable<u128, &'static [u8]>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").finish_non_exhaustive()
    }
}

impl Snapshot {
    pub(super) fn new(blocks: ReadOnlyTable<u128, &'static [u8]>) -> Self {
        Self { blocks }
    }

    /// Adds the entries in `(after, head]` of a stream to `out`, as far as the budget allows. There are no holes between.
    pub(crate) fn read(
        &self,
        number: u32,
        (after, head): (Offset, Offset),
        budget: &mut Budget,
        out: &mut Vec<Entry>,
    ) -> Result<(), LogError> {
        guard(|| self.try_read(number, (after, head), budget, out)).map_err(|error| match error {
            redb::Error::DatabaseClosed => LogError::Closed,
            error => LogError::Storage(error.into()),
        })
    }

    fn try_read(
        &self,
        number: u32,
        (after, head): (Offset, Offset),
        budget: &mut Budget,
        out: &mut Vec<Entry>,
    ) -> Result<(), redb::Error> {
        let mut at = after;
        let first = after.next().unwrap_or(after);
        for item in ReadableTable::range(&self.blocks, key(number, first)..=key(number, Offset::MAX))? {
            let (block_key, block) = item?;
            let block = Block::parse(block.value()).map_err(damaged)?;
            if block.first() > head || budget.messages() == 0 {
                break;
            }
            if at.next().is_none_or(|next| block.first() > next) {
                break;
            }
            if block.last().map(|last| key(number, last)) != Some(block_key.value()) {
                return Err(damaged(Damage("a block is not where it belongs")));
            }
            block.read(at, head, budget, out).map_err(damaged)?;
            at = out.last().map_or(at, |entry| entry.offset.max(at));
        }
        if at < head && budget.messages() > 0 {
            return Err(damaged(Damage("entries are missing")));
        }
        Ok(())
    }
}
