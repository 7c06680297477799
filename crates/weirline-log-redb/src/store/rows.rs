//! Rows of the tables.

use redb::{ReadableTable, Table};
use weirline_log::{Epoch, EpochChain, StreamId};

use crate::block::BlockMeta;
use crate::codec::{Damage, Put, Take, small};
use crate::effects::{put_name, take_name};
use crate::streams::{Stored, Stream};

/// What the database says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) format: u64,
    /// Ties the journal to the database.
    pub(crate) log_id: u64,
    /// The last commit that is in the database.
    pub(crate) applied: u64,
    /// The log's own time, in ms.
    pub(crate) time_ms: u64,
}

impl Meta {
    pub(super) fn read(table: &impl ReadableTable<&'static str, u64>) -> Result<Option<Self>, redb::Error> {
        let field = |name| -> Result<_, redb::Error> { Ok(table.get(name)?.map(|value| value.value())) };
        let fields = (
            field("format")?,
            field("log_id")?,
            field("applied")?,
            field("time_ms")?,
        );
        let (Some(format), Some(log_id), Some(applied), Some(time_ms)) = fields else {
            return Ok(None);
        };
        Ok(Some(Self {
            format,
            log_id,
            applied,
            time_ms,
        }))
    }

    pub(super) fn write(&self, table: &mut Table<'_, &'static str, u64>) -> Result<(), redb::Error> {
        table.insert("format", self.format)?;
        table.insert("log_id", self.log_id)?;
        table.insert("applied", self.applied)?;
        table.insert("time_ms", self.time_ms)?;
        Ok(())
    }
}

/// A stream as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamRow {
    pub(crate) name: StreamId,
    pub(crate) chain: EpochChain,
    pub(crate) trimmed: weirline_log::Offset,
    pub(crate) head: weirline_log::Offset,
    pub(crate) stored: Stored,
}

impl StreamRow {
    pub(super) fn encode(stream: &Stream) -> Vec<u8> {
        let mut out = Vec::new();
        put_name(&mut out, &stream.name);
        out.put_u64(stream.trimmed.get());
        out.put_u64(stream.head.get());
        out.put_u64(stream.stored.bytes);
        match stream.stored.oldest {
            None => out.put_u8(0),
            Some(oldest) => {
                out.put_u8(1);
                out.put_u64(oldest.last.get());
                out.put_u64(oldest.bytes);
                out.put_u64(oldest.seq);
                out.put_u64(oldest.time_ms);
            }
        }
        out.put_u64(stream.chain.current().get());
        out.put_u32(small(stream.chain.closed().len()));
        for (epoch, end) in stream.chain.closed() {
            out.put_u64(epoch.get());
            out.put_u64(end.get());
        }
        out
    }

    pub(super) fn decode(row: &[u8]) -> Result<Self, Damage> {
        let mut take = Take(row);
        let name = take_name(&mut take)?;
        let (trimmed, head, bytes) = (take.number()?, take.number()?, take.u64()?);
        let oldest = match take.u8()? {
            0 => None,
            _ => Some(BlockMeta {
                last: take.number()?,
                bytes: take.u64()?,
                seq: take.u64()?,
                time_ms: take.u64()?,
            }),
        };
        let current = Epoch::new(take.u64()?);
        let mut closed = Vec::new();
        for _ in 0..take.u32()? {
            closed.push((Epoch::new(take.u64()?), take.number()?));
        }
        Ok(Self {
            name,
            chain: EpochChain::restore(current, closed),
            trimmed,
            head,
            stored: Stored { bytes, oldest },
        })
    }
}

impl From<StreamRow> for Stream {
    fn from(row: StreamRow) -> Self {
        Self {
            name: row.name,
            chain: row.chain,
            trimmed: row.trimmed,
            head: row.head,
            stored: row.stored,
        }
    }
}
