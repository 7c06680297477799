//! When a checkpoint is written, and what follows from it.

use std::sync::Arc;

use tracing::{debug, info, warn};
use weirline_log::{LogError, Offset, SessionId, Upkeep};

use super::job::Underway;
use super::{REFUSALS, RedbWriter, Trouble};
use crate::effects::{millis, put_row};
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

    /// Makes room in the journal for a commit: in the other file, if the database has what is there.
    pub(super) fn make_room(&mut self) -> Result<(), LogError> {
        let _ = self.finish(true);
        if self.journal.is_other_free(self.applied) {
            self.journal.switch();
            if self.database.trouble.is_none() && self.start().is_ok() {
                let _ = self.finish(false);
            }
            return Ok(());
        }
        // After a failure not every commit tries again.
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

    /// Begins a checkpoint in the time of upkeep.
    pub(super) fn begin_checkpoint(&mut self) -> Result<Upkeep, LogError> {
        if self.underway.is_some() {
            return Ok(Upkeep::Done);
        }
        if !self.journal.is_empty() && self.journal.is_other_free(self.applied) {
            self.journal.switch();
        }
        self.start()?;
        self.finish(false)
    }

    /// Brings the database up to the last commit, applies retention, and waits for it.
    pub(super) fn checkpoint(&mut self) -> Result<Upkeep, LogError> {
        let _ = self.finish(true);
        self.start()?;
        self.finish(true)
    }

    /// Has a checkpoint written of everything up to here.
    fn start(&mut self) -> Result<(), LogError> {
        debug_assert!(self.underway.is_none(), "one checkpoint at a time");
        if self.database.store.is_none() {
            self.reopen()?;
        }
        let Some(store) = self.database.store.clone() else {
            return Err(LogError::Closed);
        };
        let input = self.freeze();
        let pending = Arc::clone(&input.pending);
        self.underway = Some(Underway::start(&self.runner, store, input, pending));
        Ok(())
    }

    /// Takes notice of the checkpoint that is under way, if it is done, or when it is.
    pub(super) fn finish(&mut self, wait: bool) -> Result<Upkeep, LogError> {
        match self.collect(wait) {
            None => Ok(Upkeep::Done),
            Some((_, Ok(upkeep))) => Ok(upkeep),
            Some((target, Err(error))) => self.fail(error, target),
        }
    }

    /// The result of the checkpoint that was under way. If it failed, everything is pending again.
    pub(super) fn collect(&mut self, wait: bool) -> Option<(u64, Result<Upkeep, LogError>)> {
        let underway = self.underway.take_if(|underway| wait || underway.is_done())?;
        let result = match underway.wait() {
            Ok(settled) => Ok(self.settle(underway.target, settled)),
            Err(error) => {
                self.pending.put_back(underway.pending);
                Err(error)
            }
        };
        Some((underway.target, result))
    }

    /// What a checkpoint has to write; from here on it is not pending any more.
    pub(super) fn freeze(&mut self) -> Checkpoint {
        let mut pending = std::mem::take(&mut self.pending);
        pending.sessions.sort_unstable();
        pending.sessions.dedup();
        let row = |&id: &SessionId| {
            let row = self.sessions.get(id).map(|session| {
                let mut row = Vec::new();
                put_row(&mut row, session, |stream| self.streams.number(stream));
                row
            });
            (id, row)
        };
        Checkpoint {
            config: self.config.clone(),
            meta: self.meta(),
            streams: self.streams.to_vec(),
            sessions: pending.sessions.iter().map(row).collect(),
            pending: Arc::new(pending),
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

    /// The database has everything up to `target`.
    pub(super) fn settle(&mut self, target: u64, settled: Settled) -> Upkeep {
        debug!(
            event = "log.checkpoint",
            seq = target,
            streams = settled.streams.len(),
            "checkpoint written"
        );
        self.applied = target;
        if self.database.trouble.take().is_some() {
            info!(
                event = "log.checkpoint_recovered",
                seq = target,
                "checkpoints are written again"
            );
        }
        self.journal.settle(target);
        for (&number, &(trimmed, stored)) in &settled.streams {
            if let Some(stream) = self.streams.get_mut(number) {
                stream.trimmed = stream.trimmed.max(trimmed);
                stream.stored = stored;
            }
        }
        self.publish_snapshot(settled.streams.keys().copied());
        self.retention_due = settled.more;
        if settled.more { Upkeep::More } else { Upkeep::Done }
    }

    /// Shows the readers the database as it is, and with it the bounds of these streams.
    pub(super) fn publish_snapshot(&mut self, streams: impl Iterator<Item = u32>) {
        let store = self.database.store.as_deref().or(self.database.reading.as_ref());
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

    /// The database has failed to take the commits up to `target`. It is opened again at once, for the readers; and it may
    /// turn out that it has taken them.
    fn fail(&mut self, error: LogError, target: u64) -> Result<Upkeep, LogError> {
        if self.database.trouble.is_some() {
            debug!(event = "log.checkpoint_failed", error = %error, "still not");
        } else {
            warn!(event = "log.checkpoint_failed", error = %error, "the checkpoint could not be written");
        }
        let full = matches!(error, LogError::StorageFull(_));
        let _ = self.reopen();
        if self.database.store.is_some() && self.applied >= target {
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
                self.journal.settle(self.applied);
                if let Some(stream) = self.streams.get_mut(number) {
                    *stream = cut;
                }
                self.publish_snapshot([number].into_iter());
                Ok(())
            }
            Err(error) => {
                let error = store.explain(error);
                self.database.unknown = true;
                self.fail(error, self.seq).map(|_| ())
            }
        }
    }
}

/// So many changes of sessions are written even if nothing else is.
const SESSIONS_MAX: usize = 500_000;
