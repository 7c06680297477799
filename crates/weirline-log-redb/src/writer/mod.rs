//! The commit order of the durable engine.

mod checkpoint;
mod job;
mod open;
mod recover;

pub use job::Job;
pub(crate) use open::open;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weirline_log::{
    Attach, Bounds, Command, LogError, LogWriter, Offset, Outcome, SessionId, SessionTable, StreamId, Upkeep,
};

use crate::RedbConfig;
use crate::codec::Put as _;
use crate::effects;
use crate::journal::Journal;
use crate::run::Run;
use crate::shared::Shared;
use crate::storage::{Storage, is_full};
use crate::store::Store;
use crate::streams::Streams;
use job::{Runner, Underway};

/// The writer of a [`RedbLog`](crate::RedbLog). Its calls block on the storage.
#[derive(Debug)]
pub struct RedbWriter {
    config: RedbConfig,
    storage: Arc<dyn Storage>,
    shared: Arc<Shared>,
    journal: Journal,
    database: Database,
    sessions: SessionTable,
    streams: Streams,
    log_id: u64,
    /// The last number that was given to a commit, successful or not.
    seq: u64,
    /// The last commit that is in the database.
    applied: u64,
    pending: Pending,
    /// The checkpoint that is being written, and who writes it.
    underway: Option<Underway>,
    runner: Runner,
    /// Retention has more to remove than the last checkpoint could.
    retention_due: bool,
    /// The batch in the making, encoded, and the sessions that it changes.
    payload: Vec<u8>,
    changed: Vec<SessionId>,
}

/// The database, in better and in worse times.
#[derive(Debug, Default)]
struct Database {
    /// `None` after a failure, until it could be opened again.
    store: Option<Arc<Store>>,
    /// In that time, what the readers read from.
    reading: Option<Store>,
    /// What is in memory may not be what is in the database, so nothing is committed before that is open again.
    unknown: bool,
    /// Why the last checkpoint failed, and how many commits that need one are refused before the next is tried.
    trouble: Option<Trouble>,
}

#[derive(Debug, Clone, Copy)]
struct Trouble {
    full: bool,
    refusals: u32,
}

/// What is committed and not in the database, nor on the way there.
#[derive(Debug, Default, Clone)]
pub(crate) struct Pending {
    pub(crate) runs: BTreeMap<u32, Vec<Arc<Run>>>,
    pub(crate) streams: BTreeSet<u32>,
    /// Some perhaps more than once.
    sessions: Vec<SessionId>,
    /// The log's own time of the oldest of it.
    since_ms: Option<u64>,
}

impl Pending {
    /// It was on the way, and did not get there.
    fn put_back(&mut self, older: Arc<Self>) {
        let older = Arc::try_unwrap(older).unwrap_or_else(|shared| (*shared).clone());
        let newer = std::mem::replace(self, older);
        for (number, runs) in newer.runs {
            self.runs.entry(number).or_default().extend(runs);
        }
        self.streams.extend(newer.streams);
        self.sessions.extend(newer.sessions);
        self.since_ms = self.since_ms.or(newer.since_ms);
    }
}

/// After a failed checkpoint so many commits are refused at once: trying takes long, and room does not come back that fast.
const REFUSALS: u32 = 15;

impl LogWriter for RedbWriter {
    fn commit(&mut self, batch: &[Command], outcomes: &mut Vec<Outcome>) -> Result<(), LogError> {
        let _ = self.finish(false);
        self.look_after_database();
        if self.database.unknown {
            self.reopen()?;
        }
        let mut staged = self.apply(batch);
        match self.write(batch, &mut staged) {
            Ok(()) => {
                outcomes.append(&mut staged);
                Ok(())
            }
            Err(error) => {
                self.undo();
                Err(error)
            }
        }
    }

    fn detached(&self) -> Vec<(SessionId, Attach)> {
        self.sessions.detached().collect()
    }

    fn maintain(&mut self, now: Instant) -> Result<Upkeep, LogError> {
        let _ = self.finish(false);
        self.look_after_database();
        let time_ms = effects::millis(self.sessions.advance(now));
        // What is forgotten here need not be in the journal: after a crash it is forgotten again.
        self.pending
            .sessions
            .extend(self.sessions.changes().map(|change| change.id));
        self.sessions.accept();
        if self.database.store.is_none() {
            self.reopen()?;
        }
        if self.database.trouble.is_some() {
            self.checkpoint()
        } else if self.is_checkpoint_due(time_ms) {
            self.begin_checkpoint()
        } else {
            Ok(Upkeep::Done)
        }
    }

    fn upkeep_interval(&self) -> Option<Duration> {
        Some(UPKEEP_INTERVAL)
    }

    /// Writes a checkpoint and closes the log; the next opening has nothing to read again.
    fn close(mut self) -> Result<(), LogError> {
        self.checkpoint().map(|_| ())
    }
}

impl RedbWriter {
    /// From here on checkpoints are written by `run`; see [`RedbLog::checkpoints_on`](crate::RedbLog::checkpoints_on).
    pub(crate) fn checkpoints_on(&mut self, run: impl Fn(Job) + Send + 'static) {
        self.runner = Runner::new(run);
    }

    /// The sessions and tombstones.
    #[must_use]
    pub const fn sessions(&self) -> &SessionTable {
        &self.sessions
    }

    /// Begins another epoch of a stream with its entries up to `keep`; says what the stream holds then, or `None` if it does
    /// not exist. Sessions keep their counts.
    ///
    /// # Errors
    /// [`LogError`]: the stream is as it was.
    pub fn begin_epoch(&mut self, stream: &StreamId, keep: Offset) -> Result<Option<Bounds>, LogError> {
        let Some(number) = self.streams.number(stream) else {
            return Ok(None);
        };
        self.checkpoint()?;
        self.cut(number, keep)?;
        Ok(self.streams.get(number).map(crate::streams::Stream::bounds))
    }

    fn apply(&mut self, batch: &[Command]) -> Vec<Outcome> {
        let Self {
            sessions, streams, ..
        } = self;
        streams.begin(self.seq + 1);
        batch
            .iter()
            .map(|command| sessions.apply(streams, command))
            .collect()
    }

    fn undo(&mut self) {
        self.sessions.undo();
        self.streams.undo();
    }

    /// Makes the staged batch durable, and then visible.
    fn write(&mut self, batch: &[Command], staged: &mut Vec<Outcome>) -> Result<(), LogError> {
        if !self.encode() {
            self.sessions.accept();
            self.streams.accept();
            return Ok(());
        }
        if self.payload.len() > RECORD_BYTES_MAX {
            return Err(LogError::Storage("the batch is larger than 1 GiB".into()));
        }
        let room = self.payload.len() + self.reserve(batch);
        if !self.journal.has_room(room) && !self.journal.is_empty() {
            // A checkpoint is of what is committed, so the batch is taken back, and applied again.
            self.undo();
            let made = self.make_room();
            *staged = self.apply(batch);
            made?;
            self.encode();
        }
        self.seq += 1;
        self.journal.append(self.seq, &self.payload).map_err(explain)?;
        self.payload.clear();
        self.payload.shrink_to(PAYLOAD_KEPT);
        self.publish();
        Ok(())
    }

    /// How much room in the journal the batch has to leave, in bytes: while checkpoints fail, the last of it is for the
    /// beginnings and ends of sessions, so that clients can still come to read.
    fn reserve(&self, batch: &[Command]) -> usize {
        let spends = |command: &Command| {
            matches!(
                command,
                Command::Append { .. } | Command::Skip { .. } | Command::Ack { .. }
            )
        };
        if self.database.trouble.is_some() && batch.iter().any(spends) {
            usize::try_from(self.config.checkpoint_bytes / RESERVED).unwrap_or(usize::MAX)
        } else {
            0
        }
    }

    /// Encodes what the batch changes; whether it changes anything.
    fn encode(&mut self) -> bool {
        let time_ms = effects::millis(self.sessions.time());
        let out = &mut self.payload;
        out.clear();
        out.put_u64(time_ms);
        let nothing = out.len();
        for (number, stream) in self.streams.made() {
            effects::put_made(out, number, &stream.name, stream.chain.current());
        }
        for (&number, run) in &self.streams.batch(time_ms).runs {
            effects::put_appended(out, number, run);
        }
        self.changed.clear();
        for change in self.sessions.changes() {
            self.changed.push(change.id);
            effects::put_session(out, &change, |stream| self.streams.number(stream));
        }
        out.len() > nothing
    }

    /// Shows the committed batch to the readers, and notes what the next checkpoint has to write.
    fn publish(&mut self) {
        let time_ms = effects::millis(self.sessions.time());
        self.pending.since_ms.get_or_insert(time_ms);
        self.pending.sessions.append(&mut self.changed);
        self.sessions.accept();
        let mut published = self.shared.write();
        for (number, stream) in self.streams.made() {
            self.pending.streams.insert(number);
            published.show(number, stream);
        }
        for (number, run) in self.streams.accept() {
            let run = Arc::new(run);
            if let Some(stream) = self.streams.get(number) {
                published.append(number, stream, Arc::clone(&run));
            }
            self.pending.streams.insert(number);
            self.pending.runs.entry(number).or_default().push(run);
        }
        published.evict(self.applied, self.config.tail_bytes_max);
    }
}

/// What an error of the journal means for who waits for the commit.
fn explain(error: io::Error) -> LogError {
    if is_full(&error) {
        LogError::StorageFull(error.into())
    } else {
        LogError::Storage(error.into())
    }
}

const PAYLOAD_KEPT: usize = 1 << 20;
/// This part of a file of the journal is not for messages while checkpoints fail.
const RESERVED: u64 = 8;
/// How exact the log's own time is, and how soon it notices that there is room again.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);
/// What one commit may write. The owner of the writer keeps its batches far below that.
const RECORD_BYTES_MAX: usize = 1 << 30;
