//! When a checkpoint is written, and what follows from it.

use tracing::{debug, warn};
use weirline_log::{LogError, Offset, Upkeep};

use super::{Pending, REFUSALS, RedbWriter, Trouble};
use crate::effects::millis;
use crate::store::{Checkpoint, FORMAT, Meta, Settled};

impl RedbWriter {
    pub(super) fn is_checkpoint_due(&self, time_ms: u64) -> bool {
        let after_ms = millis(self.config.checkpoint_after);
        let waits = |since_ms| time_ms.saturating_sub(since_ms) >= after_ms;
        if self.retention_due
            || self.pending.since_ms.is_some_and(waits)
            || self.pending.sessions.len() >= SESSIONS_MAX
        {
            return true;
        }
        let Some(age_max) = self.config.stream_age_max.map(millis) else {
            return false;
        };
        // Within the log's granularity, so that a steady stream does not make a checkpoint of each of its blocks.
        let slack = age_max / 64;
        let over = |oldest_ms: u64| time_ms.saturating_sub(oldest_ms) > age_max + slack;
        let mut oldest = self.streams.iter().filter_map(|(_, stream)| stream.stored.oldest);
        oldest.any(|block| over(block.time_ms))
    }

    /// A checkpoint for a commit that cannot do without; after a failure not every commit tries.
    pub(super) fn checkpoint_or_refuse(&mut self) -> Result<(), LogError> {
        if let Some(Trouble { full, refusals }) = &mut self.database.trouble
            && *refusals > 0
        {
            *refusals -= 1;
            let why = "the last checkpoint failed, and the next is not due yet".into();
            return Err(if *full {
                LogError::StorageFull(why)
            } else {
                LogError::Storage(why)
            });
        }
        self.checkpoint().map(|_| ())
    }

    /// Brings the database up to the last commit, and applies retention.
    pub(super) fn checkpoint(&mut self) -> Result<Upkeep, LogError> {
        if self.database.store.is_none() {
            self.reopen()?;
        }
        self.pending.sessions.sort_unstable();
        self.pending.sessions.dedup();
        let Some(store) = &self.database.store else {
            return Err(LogError::Closed);
        };
        match store.checkpoint(&self.checkpoint_input()) {
            Ok(settled) => Ok(self.settle(settled)),
            Err(error) => {
                let error = store.explain(error);
                self.fail(error)
            }
        }
    }

    pub(super) fn checkpoint_input(&self) -> Checkpoint<'_> {
        Checkpoint {
            config: &self.config,
            meta: self.meta(),
            streams: &self.streams,
            changed: &self.pending.streams,
            runs: &self.pending.runs,
            sessions: &self.sessions,
            changed_sessions: &self.pending.sessions,
        }
    }

    fn meta(&self) -> Meta {
        Meta {
            format: FORMAT,
            log_id: self.log_id,
            applied: self.seq,
            time_ms: millis(self.sessions.time()),
        }
    }

    /// The database has everything.
    pub(super) fn settle(&mut self, settled: Settled) -> Upkeep {
        debug!(
            event = "log.checkpoint",
            seq = self.seq,
            streams = settled.streams.len(),
            "checkpoint written"
        );
        self.applied = self.seq;
        self.pending = Pending::default();
        self.database.trouble = None;
        self.journal.reset(self.applied);
        for (&number, &(trimmed, stored)) in &settled.streams {
            if let Some(stream) = self.streams.get_mut(number) {
                (stream.trimmed, stream.stored) = (trimmed, stored);
            }
        }
        self.publish_snapshot(settled.streams.keys().copied());
        self.retention_due = settled.more;
        if settled.more { Upkeep::More } else { Upkeep::Done }
    }

    /// Shows the readers the database as it is, and with it the bounds of these streams.
    pub(super) fn publish_snapshot(&mut self, streams: impl Iterator<Item = u32>) {
        let store = self.database.store.as_ref().or(self.database.reading.as_ref());
        let Some(snapshot) = store.and_then(|store| store.snapshot().ok()) else {
            // They go on with the one they have; the next call opens the database again.
            self.shared.suspect();
            return;
        };
        let mut published = self.shared.write();
        published.snapshot = Some(snapshot.into());
        published.generation += 1;
        for number in streams {
            if let Some(stream) = self.streams.get(number) {
                published.show(number, stream);
            }
        }
        published.evict(self.applied, self.config.tail_bytes_max);
    }

    /// The database has failed to take all commits. It is opened again at once, for the readers; and it may turn out that
    /// it has taken them.
    fn fail(&mut self, error: LogError) -> Result<Upkeep, LogError> {
        warn!(event = "log.checkpoint_failed", error = %error, "the checkpoint could not be written");
        let full = matches!(error, LogError::StorageFull(_));
        let _ = self.reopen();
        if self.database.store.is_some() && self.applied == self.seq {
            return Ok(Upkeep::More);
        }
        self.database.trouble = Some(Trouble {
            full,
            refusals: REFUSALS,
        });
        Err(error)
    }

    /// Begins another epoch of a stream, of which everything is in the database.
    pub(super) fn cut(&mut self, number: u32, keep: Offset) -> Result<(), LogError> {
        let (Some(store), Some(stream)) = (&self.database.store, self.streams.get(number).cloned()) else {
            return Err(LogError::Closed);
        };
        let keep = keep.min(stream.head);
        let mut chain = stream.chain.clone();
        chain.begin(self.streams.draw_epoch(&stream.chain), keep);
        self.seq += 1;
        match store.begin_epoch((number, &stream), keep, chain, &self.meta()) {
            Ok(cut) => {
                self.applied = self.seq;
                self.journal.reset(self.applied);
                if let Some(stream) = self.streams.get_mut(number) {
                    *stream = cut;
                }
                self.publish_snapshot([number].into_iter());
                Ok(())
            }
            Err(error) => {
                let error = store.explain(error);
                self.database.unknown = true;
                self.fail(error).map(|_| ())
            }
        }
    }
}

/// So many changes of sessions are written even if nothing else is.
const SESSIONS_MAX: usize = 500_000;
