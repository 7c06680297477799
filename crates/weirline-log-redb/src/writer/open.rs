//! Opening: the database as of the last checkpoint, and then what the journal has beyond it.

use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info};
use weirline_log::{EpochIds, LogClock, SessionId, SessionRecord, SessionState, SessionTable};

use super::job::Runner;
use super::{Database, Pending, RedbWriter};
use crate::codec::Damage;
use crate::effects::{Effect, SessionRow, decode, millis};
use crate::journal::{Found, Journal, Record};
use crate::reader::RedbReader;
use crate::run::Run;
use crate::shared::{Published, Shared};
use crate::storage::{Half, Medium, Part, Storage};
use crate::store::{FORMAT, Loaded, Meta, Store};
use crate::streams::{Stream, Streams};
use crate::{OpenError, RedbConfig};

/// Everything that is kept in memory.
#[derive(Debug)]
pub(super) struct State {
    pub(super) sessions: SessionTable,
    pub(super) streams: Streams,
    pub(super) pending: Pending,
    pub(super) seq: u64,
}

/// The two files, looked into.
struct Files {
    store: Store,
    loaded: Loaded,
    journal: Journal,
    /// What the journal has beyond the database.
    records: Vec<Record>,
    /// If something is lost, the last commit of which there is any trace.
    last: u64,
    /// There is no journal yet.
    is_new: bool,
    /// The journal does not follow the database: something that was confirmed is gone.
    is_lost: bool,
}

pub(crate) fn open(
    storage: Arc<dyn Storage>,
    config: RedbConfig,
    seed: u64,
) -> Result<(RedbWriter, RedbReader), OpenError> {
    let mut epochs = EpochIds::new(seed);
    let files = look_into(&*storage, &config, epochs.draw().get())?;
    let meta = files.loaded.meta;
    let clock = LogClock::resume(Duration::from_millis(meta.time_ms));
    let state = build(&config, clock, epochs, files.loaded, &files.records)
        .map_err(|damage| damaged(&*storage, Part::Journal(Half::A), damage.0))?;
    info!(
        event = "log.opened",
        applied = meta.applied,
        replayed = files.records.len(),
        streams = state.streams.next_number(),
        sessions = state.sessions.len(),
        "log opened"
    );
    let shared = Arc::new(Shared::default());
    let reader = RedbReader::new(Arc::clone(&shared));
    let mut writer = RedbWriter {
        config,
        storage: Arc::clone(&storage),
        shared,
        journal: files.journal,
        database: Database {
            store: Some(Arc::new(files.store)),
            ..Database::default()
        },
        sessions: state.sessions,
        streams: state.streams,
        log_id: meta.log_id,
        seq: state.seq,
        applied: meta.applied,
        pending: state.pending,
        underway: None,
        runner: Runner::default(),
        retention_due: false,
        payload: Vec::new(),
        changed: Vec::new(),
    };
    if files.is_lost {
        error!(
            event = "log.state_lost",
            "the journal does not follow the database: new epochs begin"
        );
        writer.seq = files.last + 1;
        writer.begin_all_epochs();
        writer.checkpoint_loss().map_err(|error| OpenError::Storage {
            path: storage.name(Part::Database),
            source: error.into(),
        })?;
    }
    if files.is_new {
        let created = writer.journal.create();
        created.map_err(|(half, error)| OpenError::from_io(storage.name(Part::Journal(half)), error))?;
    }
    writer.retention_due = writer.is_over_limits();
    writer.show_all();
    Ok((writer, reader))
}

/// Opens the files, and makes an empty log if there is none, which then has this id.
fn look_into(storage: &dyn Storage, config: &RedbConfig, new_id: u64) -> Result<Files, OpenError> {
    let in_database = |error| OpenError::from_redb(storage.name(Part::Database), error);
    let in_journal = |(half, error)| OpenError::from_io(storage.name(Part::Journal(half)), error);
    let is_new = !Journal::is_made(storage).map_err(in_journal)?;
    if is_new {
        erase_unborn(&*storage.database())
            .map_err(|error| OpenError::from_io(storage.name(Part::Database), error))?;
    }
    let store = Store::open(storage.database(), config.cache_bytes).map_err(in_database)?;
    let (store, meta) = match store.meta().map_err(in_database)? {
        Some(meta) if meta.format > FORMAT => return Err(newer(storage, Part::Database, meta.format)),
        // The journal is made last. Without it nothing has been confirmed, and after errors in between nobody knows what the
        // disk has of the database.
        None if is_new => make_database(storage, config, store, new_id).map_err(in_database)?,
        Some(meta) if is_new && meta.applied == 0 => {
            make_database(storage, config, store, new_id).map_err(in_database)?
        }
        Some(meta) => (store, meta),
        None => {
            return Err(damaged(
                storage,
                Part::Database,
                "it is empty, and the journal is not",
            ));
        }
    };
    let opened = Journal::open(storage, meta.log_id, meta.applied, config.checkpoint_bytes);
    let (journal, found) = opened.map_err(in_journal)?;
    let (records, ahead) = match found {
        Found::Records(records) => (records, None),
        Found::Nothing if is_new => (Vec::new(), None),
        // The first file has been written, and the second is not there.
        Found::Nothing => return Err(damaged(storage, Part::Journal(Half::B), "it is missing")),
        Found::Ahead(last) => (Vec::new(), Some(last)),
        Found::Newer(half, format) => {
            return Err(newer(storage, Part::Journal(half), u64::from(format)));
        }
        Found::Foreign(half) => {
            return Err(damaged(storage, Part::Journal(half), "it belongs to another log"));
        }
        Found::Damaged(half) => {
            return Err(damaged(
                storage,
                Part::Journal(half),
                "it is missing, or a record in the middle is not what was written",
            ));
        }
    };
    let loaded = store.load(meta).map_err(in_database)?;
    let is_lost = ahead.is_some() || (is_new && meta.applied > 0);
    let last = ahead.unwrap_or(meta.applied);
    Ok(Files {
        store,
        loaded,
        journal,
        records,
        last,
        is_new,
        is_lost,
    })
}

/// The database begins with zeros until it is whole for the first time. It is not opened like that, but made again.
fn erase_unborn(medium: &dyn Medium) -> std::io::Result<()> {
    let mut magic = [0; 9];
    if medium.len()? >= magic.len() as u64 {
        medium.read(0, &mut magic)?;
        if magic == [0; 9] {
            medium.set_len(0)?;
        }
    }
    Ok(())
}

/// Makes the database of an empty log in the place of one that was not finished.
fn make_database(
    storage: &dyn Storage,
    config: &RedbConfig,
    unfinished: Store,
    log_id: u64,
) -> Result<(Store, Meta), redb::Error> {
    if !unfinished.is_ours()? {
        return Err(redb::Error::Corrupted(
            "it is the database of another program".into(),
        ));
    }
    drop(unfinished);
    let medium = storage.database();
    let meta = Meta {
        format: FORMAT,
        log_id,
        applied: 0,
        time_ms: 0,
    };
    let make = || {
        medium.set_len(0)?;
        let store = Store::open(Arc::clone(&medium), config.cache_bytes)?;
        store.create(&meta)?;
        Ok(store)
    };
    match make() {
        Ok(store) => Ok((store, meta)),
        Err(error) => {
            let _ = medium.set_len(0);
            Err(error)
        }
    }
}

fn newer(storage: &dyn Storage, part: Part, found: u64) -> OpenError {
    OpenError::Newer {
        path: storage.name(part),
        found,
        supported: FORMAT,
    }
}

fn damaged(storage: &dyn Storage, part: Part, what: &str) -> OpenError {
    OpenError::Damaged {
        path: storage.name(part),
        what: what.into(),
    }
}

/// The state of the database, and then the records that follow it.
pub(super) fn build(
    config: &RedbConfig,
    clock: LogClock,
    epochs: EpochIds,
    loaded: Loaded,
    records: &[Record],
) -> Result<State, Damage> {
    let mut decoded = Vec::new();
    let mut time_ms = millis(clock.time());
    for record in records {
        let (record_ms, effects) = decode(record.seq, &record.payload)?;
        time_ms = time_ms.max(record_ms);
        decoded.extend(effects);
    }
    let clock = LogClock::resume(Duration::from_millis(time_ms));
    let mut state = State {
        sessions: SessionTable::new(config.sessions.clone(), clock).track_changes(),
        streams: Streams::new(config, epochs),
        pending: Pending::default(),
        seq: records.last().map_or(loaded.meta.applied, |record| record.seq),
    };
    for row in loaded.streams {
        state.streams.restore(Stream::from(row));
    }
    for (id, row) in loaded.sessions {
        state.restore_session(id, Some(row))?;
    }
    if !decoded.is_empty() {
        state.pending.since_ms = Some(time_ms);
    }
    for effect in decoded {
        state.apply(effect)?;
    }
    Ok(state)
}

impl State {
    fn apply(&mut self, effect: Effect) -> Result<(), Damage> {
        match effect {
            Effect::Made { number, name, epoch } => {
                if number != self.streams.next_number() {
                    return Err(Damage("the numbers of the streams have a hole"));
                }
                self.streams.restore(Stream::new(name, epoch));
                self.pending.streams.insert(number);
            }
            Effect::Appended { number, run } => {
                if !self.streams.restore_run(number, &run) {
                    return Err(Damage("entries do not follow those before"));
                }
                self.pending.streams.insert(number);
                self.pending.runs.entry(number).or_default().push(Arc::new(run));
            }
            Effect::Session { id, session } => {
                self.pending.sessions.push(id);
                self.restore_session(id, session)?;
            }
            Effect::Counted { id, count, hash } => {
                let session = self.sessions.get(id).cloned();
                let session = session.ok_or(Damage("a session is not there"))?;
                self.pending.sessions.push(id);
                self.sessions.restore(
                    id,
                    Some(SessionRecord {
                        count,
                        hash,
                        ..session
                    }),
                );
            }
        }
        Ok(())
    }

    fn restore_session(&mut self, id: SessionId, row: Option<SessionRow>) -> Result<(), Damage> {
        let Some(row) = row else {
            self.sessions.restore(id, None);
            return Ok(());
        };
        let mut acked = Vec::with_capacity(row.acked.len());
        for (number, position) in row.acked {
            let stream = self.streams.get(number).ok_or(Damage("a stream is not there"))?;
            acked.push((stream.name.clone(), position));
        }
        let state = match row.until_ms {
            None => SessionState::Detached,
            Some(until_ms) => SessionState::Tombstone {
                until: Duration::from_millis(until_ms),
            },
        };
        let record = SessionRecord {
            attach: row.attach,
            count: row.count,
            hash: row.hash,
            proof: row.proof,
            state,
            acked,
        };
        self.sessions.restore(id, Some(record));
        Ok(())
    }
}

impl RedbWriter {
    /// Gives every stream a new epoch with all it has.
    pub(super) fn begin_all_epochs(&mut self) {
        let numbers: Vec<_> = self.streams.iter().map(|(number, _)| number).collect();
        for number in numbers {
            let Some(mut chain) = self.streams.get(number).map(|stream| stream.chain.clone()) else {
                continue;
            };
            let epoch = self.streams.draw_epoch(&chain);
            if let Some(stream) = self.streams.get_mut(number) {
                chain.begin(epoch, stream.head);
                stream.chain = chain;
            }
            self.pending.streams.insert(number);
        }
    }

    /// Whether there is more than may be: the limits may be others than before.
    fn is_over_limits(&self) -> bool {
        let config = &self.config;
        let over = |stream: &Stream| {
            let blocks = stream.stored.oldest.filter(|oldest| oldest.last < stream.head);
            let over = stream.stored.bytes > config.stream_bytes_max
                || blocks.is_some_and(|oldest| oldest.last <= stream.trimmed);
            blocks.is_some() && over
        };
        let total: u64 = self.streams.iter().map(|(_, stream)| stream.stored.bytes).sum();
        total > config.bytes_max || self.streams.iter().any(|(_, stream)| over(stream))
    }

    /// Shows the readers everything as it is.
    pub(super) fn show_all(&mut self) {
        let mut published = Published::default();
        published.generation = self.shared.read().generation;
        for (number, stream) in self.streams.iter() {
            published.show(number, stream);
            for run in self.pending.runs.get(&number).into_iter().flatten() {
                published.append(number, stream, Arc::<Run>::clone(run));
            }
        }
        *self.shared.write() = published;
        self.publish_snapshot(std::iter::empty());
    }
}

#[cfg(all(test, feature = "simulation"))]
mod tests {
    use super::*;
    use crate::simulation::SimDisk;

    #[test]
    fn a_newer_format_is_refused_and_left_alone() {
        let disk = SimDisk::new(1);
        let open = |storage| open(Arc::new(storage), RedbConfig::default(), 2);
        drop(open(disk.storage()).unwrap());
        let rewrite = |format| {
            let store = Store::open(disk.storage().database(), 1 << 20).unwrap();
            let meta = store.meta().unwrap().unwrap();
            store.create(&Meta { format, ..meta }).unwrap();
        };
        rewrite(FORMAT + 1);
        for _ in 0..2 {
            let refused = open(disk.storage()).map(|_| ()).unwrap_err();
            assert!(
                matches!(
                    refused,
                    OpenError::Newer {
                        found: 2,
                        supported: FORMAT,
                        ..
                    }
                ),
                "{refused}"
            );
        }
        rewrite(FORMAT);
        drop(open(disk.storage()).unwrap());
    }
}
