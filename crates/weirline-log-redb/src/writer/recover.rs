//! After an I/O error: the database answers every call with an error until it is opened again.

use std::sync::Arc;

use tracing::{debug, error, info, warn};
use weirline_log::{LogClock, LogError};

use super::open::build;
use super::{Pending, RedbWriter};
use crate::store::{Loaded, Store};
use crate::streams::Stream;

impl RedbWriter {
    /// Opens the database again if a reader has found that it fails.
    pub(super) fn look_after_database(&mut self) {
        if self.shared.take_suspicion() {
            let _ = self.reopen();
        }
    }

    /// Opens the database again. If that fails, it is opened to be read at least.
    pub(super) fn reopen(&mut self) -> Result<(), LogError> {
        // Whoever writes a checkpoint has the database, too.
        let _ = self.collect(true);
        let shared = Arc::clone(&self.shared);
        let is_known = self.database.trouble.is_some();
        let _readers_wait = shared.reopening();
        self.database.store = None;
        match self.try_reopen() {
            Ok(()) => {
                self.database.unknown = false;
                let applied = self.applied;
                if is_known {
                    debug!(event = "log.reopened", applied, "once more");
                } else {
                    info!(event = "log.reopened", applied, "the database is open again");
                }
                self.database.reading = None;
                Ok(())
            }
            Err(error) => {
                if is_known {
                    debug!(event = "log.reopen_failed", error = %error, "still not");
                } else {
                    warn!(event = "log.reopen_failed", error = %error, "the database cannot be opened to be written");
                }
                self.read_at_least();
                Err(error)
            }
        }
    }

    fn try_reopen(&mut self) -> Result<(), LogError> {
        let storage = |error: redb::Error| LogError::Storage(error.into());
        let store = Store::open(self.storage.database(), self.config.cache_bytes).map_err(storage)?;
        let load = || match store.meta()? {
            Some(meta) => store.load(meta),
            None => Err(redb::Error::Corrupted("it is empty".into())),
        };
        let loaded = load().map_err(|error| store.explain(error))?;
        if loaded.meta.log_id != self.log_id {
            return Err(LogError::Storage(
                "the file has been replaced by that of another log".into(),
            ));
        }
        self.database.store = Some(Arc::new(store));
        if loaded.meta.applied < self.applied {
            return self.take_loss(loaded);
        }
        self.follow(loaded);
        Ok(())
    }

    /// The last checkpoint was written, or it was not: whichever, memory follows the database.
    fn follow(&mut self, loaded: Loaded) {
        self.applied = loaded.meta.applied;
        for (number, row) in (0..).zip(loaded.streams) {
            if let Some(stream) = self.streams.get_mut(number) {
                // An epoch began, and nothing was committed since.
                if stream.chain != row.chain {
                    *stream = Stream::from(row);
                    continue;
                }
                stream.stored = row.stored;
                stream.trimmed = stream.trimmed.max(row.trimmed);
            }
        }
        for runs in self.pending.runs.values_mut() {
            runs.retain(|run| run.seq > self.applied);
        }
        if self.applied == self.seq {
            self.pending = Pending::default();
            self.database.trouble = None;
        }
        self.journal.settle(self.applied);
        let all: Vec<_> = self.streams.iter().map(|(number, _)| number).collect();
        self.publish_snapshot(all.into_iter());
    }

    /// The storage has lost what it had confirmed. What is left begins new epochs, so that nobody takes it for what was.
    fn take_loss(&mut self, loaded: Loaded) -> Result<(), LogError> {
        error!(
            event = "log.state_lost",
            confirmed = self.applied,
            found = loaded.meta.applied,
            "the storage has lost what it had confirmed: new epochs begin"
        );
        let clock = LogClock::resume(self.sessions.time());
        let state = build(&self.config, clock, self.streams.epochs(), loaded, &[]);
        let state = state.map_err(|damage| LogError::Storage(damage.into()))?;
        (self.sessions, self.streams, self.pending) = (state.sessions, state.streams, state.pending);
        self.seq += 1;
        self.begin_all_epochs();
        self.checkpoint_loss()?;
        self.show_all();
        Ok(())
    }

    /// Stores the new epochs before anybody sees them.
    pub(super) fn checkpoint_loss(&mut self) -> Result<(), LogError> {
        let Some(store) = self.database.store.clone() else {
            return Err(LogError::Closed);
        };
        let input = self.freeze();
        match store.checkpoint(&input) {
            Ok(settled) => {
                self.settle(input.meta.applied, settled);
                Ok(())
            }
            Err(error) => {
                let error = store.explain(error);
                // What is in memory is of no use until its epochs are stored: it is built again from the database.
                self.database.store = None;
                self.database.unknown = true;
                Err(error)
            }
        }
    }

    /// Opens what there is to be read, so that consumers go on.
    fn read_at_least(&mut self) {
        let opened = Store::open_to_read(self.storage.database(), self.config.cache_bytes);
        match opened {
            Ok(store) => {
                self.database.reading = Some(store);
                self.publish_snapshot(std::iter::empty());
            }
            Err(error) => warn!(event = "log.unreadable", error = %error, "the database cannot even be read"),
        }
    }
}
