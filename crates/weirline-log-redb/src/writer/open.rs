//! Opening: the database as of the last checkpoint, and then what the journal has beyond it.

use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info};
use weirline_log::{EpochIds, LogClock, SessionId, SessionRecord, SessionState, SessionTable};

use super::{Database, Pending, RedbWriter};
use crate::codec::Damage;
use crate::effects::{Effect, SessionRow, decode, millis};
use crate::journal::{Found, Journal, Record};
use crate::reader::RedbReader;
use crate::run::Run;
use crate::shared::{Published, Shared};
use crate::storage::{Part, Storage};
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
    /// The last commit of which there is any trace.
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
        .map_err(|damage| damaged(&*storage, Part::Journal, damage.0))?;
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
            store: Some(files.store),
            ..Database::default()
        },
        sessions: state.sessions,
        streams: state.streams,
        log_id: meta.log_id,
        seq: state.seq,
        applied: meta.applied,
        pending: state.pending,
        payload: Vec::new(),
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
        created.map_err(|error| OpenError::from_io(storage.name(Part::Journal), error))?;
    }
    writer.show_all();
    Ok((writer, reader))
}

/// Opens the files, and makes an empty log if there is none, which then has this id.
fn look_into(storage: &dyn Storage, config: &RedbConfig, new_id: u64) -> Result<Files, OpenError> {
    let in_database = |error| OpenError::from_redb(storage.name(Part::Database), error);
    let store = Store::open(storage.database(), config.cache_bytes).map_err(in_database)?;
    let stored = store.meta().map_err(in_database)?;
    let meta = stored.unwrap_or(Meta {
        format: FORMAT,
        log_id: new_id,
        applied: 0,
        time_ms: 0,
    });
    if meta.format > FORMAT {
        return Err(newer(storage, Part::Database, meta.format));
    }
    let (journal, found) = Journal::open(
        storage.journal(),
        meta.log_id,
        meta.applied,
        config.checkpoint_bytes,
    )
    .map_err(|error| OpenError::from_io(storage.name(Part::Journal), error))?;
    let (mut records, is_new) = match found {
        Found::Records(records) => (records, false),
        Found::Nothing => (Vec::new(), true),
        Found::Newer(format) => return Err(newer(storage, Part::Journal, u64::from(format))),
        Found::Foreign => return Err(damaged(storage, Part::Journal, "it belongs to another log")),
        Found::Damaged => {
            return Err(damaged(
                storage,
                Part::Journal,
                "a record in the middle is not what was written",
            ));
        }
    };
    if stored.is_none() {
        store.create(&meta).map_err(in_database)?;
    }
    let loaded = store.load(meta).map_err(in_database)?;
    records.retain(|record| record.seq > meta.applied);
    let last = records.last().map_or(meta.applied, |record| record.seq);
    let follows = records
        .first()
        .is_none_or(|record| record.seq == meta.applied + 1);
    let is_lost = !follows || (is_new && meta.applied > 0);
    if is_lost {
        records.clear();
    }
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
                self.pending.sessions.insert(id);
                self.restore_session(id, session)?;
            }
            Effect::Counted { id, count } => {
                let session = self.sessions.get(id).cloned();
                let session = session.ok_or(Damage("a session is not there"))?;
                self.pending.sessions.insert(id);
                self.sessions
                    .restore(id, Some(SessionRecord { count, ..session }));
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
