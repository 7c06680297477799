//! The database: blocks, streams and sessions as of the last checkpoint.

mod checkpoint;
mod rows;
mod snapshot;

pub(crate) use checkpoint::{Checkpoint, Settled};
pub(crate) use rows::{Meta, StreamRow};
pub(crate) use snapshot::Snapshot;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableHandle, WriteTransaction};
use weirline_log::{LogError, Offset, SessionId};

use crate::codec::{Damage, Take};
use crate::effects::{SessionRow, take_row};
use crate::storage::{Backend, Medium, ReadOnly, is_full};

/// The format of everything in the database and the journal. A later one is refused.
pub(crate) const FORMAT: u64 = 1;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const STREAMS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("streams");
const SESSIONS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("sessions");
const BLOCKS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("blocks");

/// The key of a block: the stream, then the offset of the last entry.
fn key(number: u32, offset: Offset) -> u128 {
    u128::from(number) << 64 | u128::from(offset.get())
}

/// An open database.
#[derive(Debug)]
pub(crate) struct Store {
    database: Database,
    /// Whether an operation failed for want of room.
    full: Arc<AtomicBool>,
}

/// Everything that is kept in memory, as it was stored.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) meta: Meta,
    /// In the order of their numbers, which have no holes.
    pub(crate) streams: Vec<StreamRow>,
    pub(crate) sessions: Vec<(SessionId, SessionRow)>,
}

impl Store {
    /// Opens the database of a medium, or makes it in an empty one.
    pub(crate) fn open(medium: Arc<dyn Medium>, cache_bytes: usize) -> Result<Self, redb::Error> {
        let full = Arc::new(AtomicBool::new(false));
        let backend = Backend::new(medium, Arc::clone(&full));
        let database = guard(|| {
            let mut builder = Database::builder();
            Ok(builder.set_cache_size(cache_bytes).create_with_backend(backend)?)
        })?;
        Ok(Self { database, full })
    }

    /// Opens the database of a medium that cannot be written.
    pub(crate) fn open_to_read(medium: Arc<dyn Medium>, cache_bytes: usize) -> Result<Self, redb::Error> {
        let database = guard(|| {
            let mut builder = Database::builder();
            Ok(builder
                .set_cache_size(cache_bytes)
                .create_with_backend(ReadOnly::new(medium))?)
        })?;
        Ok(Self {
            database,
            full: Arc::default(),
        })
    }

    /// What the database says of itself; `None` if it was not finished when it was made.
    pub(crate) fn meta(&self) -> Result<Option<Meta>, redb::Error> {
        guard(|| {
            let transaction = self.database.begin_read()?;
            match transaction.open_table(META) {
                Ok(table) => Meta::read(&table),
                Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
    }

    /// Whether it has no tables but those that are made here.
    pub(crate) fn is_ours(&self) -> Result<bool, redb::Error> {
        let ours = [META.name(), STREAMS.name(), SESSIONS.name(), BLOCKS.name()];
        let transaction = self.database.begin_read()?;
        let mut tables = transaction.list_tables()?;
        Ok(tables.all(|table| ours.contains(&table.name())))
    }

    /// Makes the tables of an empty log.
    pub(crate) fn create(&self, meta: &Meta) -> Result<(), redb::Error> {
        let transaction = self.begin()?;
        meta.write(&mut transaction.open_table(META)?)?;
        transaction.open_table(STREAMS)?;
        transaction.open_table(SESSIONS)?;
        transaction.open_table(BLOCKS)?;
        Ok(transaction.commit()?)
    }

    pub(crate) fn load(&self, meta: Meta) -> Result<Loaded, redb::Error> {
        guard(|| self.try_load(meta))
    }

    fn try_load(&self, meta: Meta) -> Result<Loaded, redb::Error> {
        let transaction = self.database.begin_read()?;
        let mut loaded = Loaded {
            meta,
            streams: Vec::new(),
            sessions: Vec::new(),
        };
        for row in transaction.open_table(STREAMS)?.iter()? {
            let (number, row) = row?;
            if number.value() as usize != loaded.streams.len() {
                return Err(damaged(Damage("the numbers of the streams have a hole")));
            }
            loaded
                .streams
                .push(StreamRow::decode(row.value()).map_err(damaged)?);
        }
        for row in transaction.open_table(SESSIONS)?.iter()? {
            let (id, row) = row?;
            let session = take_row(&mut Take(row.value())).map_err(damaged)?;
            loaded.sessions.push((SessionId(*id.value()), session));
        }
        Ok(loaded)
    }

    pub(crate) fn snapshot(&self) -> Result<Snapshot, redb::Error> {
        let transaction = self.database.begin_read()?;
        Ok(Snapshot::new(transaction.open_table(BLOCKS)?))
    }

    /// A transaction that is quickly recovered from: it is written in two phases, and with what a writer has to know of free
    /// space, so that opening after a crash reads neither the blocks nor the trees.
    fn begin(&self) -> Result<WriteTransaction, redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_quick_repair(true);
        Ok(transaction)
    }

    /// What an error of this database means for who waits for the commit.
    pub(crate) fn explain(&self, error: redb::Error) -> LogError {
        let full = match &error {
            redb::Error::Io(error) => is_full(error),
            _ => self.full.load(Ordering::Relaxed),
        };
        if full {
            LogError::StorageFull(error.into())
        } else {
            LogError::Storage(error.into())
        }
    }
}

/// Runs what may meet a damaged file: the database checks little of what it reads, and would panic.
fn guard<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, redb::Error> {
    // What a panic leaves behind is not used again: the database is closed, and opened anew.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|&text| text.to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(redb::Error::Corrupted(
            text.unwrap_or_else(|| "it makes no sense".into()),
        ))
    })
}

/// Damage that we have found ourselves, as redb would say it.
fn damaged(damage: Damage) -> redb::Error {
    redb::Error::Corrupted(damage.to_string())
}
