//! A checkpoint under way, here or on another thread.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use weirline_log::LogError;

use super::Pending;
use crate::store::{Checkpoint, Settled, Store};

/// A checkpoint that is to be written: it blocks on the storage.
pub type Job = Box<dyn FnOnce() + Send>;

/// Who writes checkpoints.
pub(super) struct Runner(Box<dyn Fn(Job) + Send>);

impl Runner {
    pub(super) fn new(run: impl Fn(Job) + Send + 'static) -> Self {
        Self(Box::new(run))
    }
}

/// Whoever calls: the commit or the upkeep that needs the checkpoint.
impl Default for Runner {
    fn default() -> Self {
        Self::new(|job| job())
    }
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").finish_non_exhaustive()
    }
}

/// A checkpoint that somebody writes.
#[derive(Debug)]
pub(super) struct Underway {
    /// The last commit that it takes in.
    pub(super) target: u64,
    pub(super) pending: Arc<Pending>,
    slot: Arc<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    result: Mutex<Option<Result<Settled, LogError>>>,
    done: Condvar,
}

/// Says that the checkpoint will not be written, unless it says something else before it goes.
struct Report(Arc<Slot>);

impl Report {
    fn set(&self, result: Result<Settled, LogError>) {
        let mut slot = self.0.result.lock().unwrap_or_else(PoisonError::into_inner);
        slot.get_or_insert(result);
        self.0.done.notify_all();
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.set(Err(LogError::Closed));
    }
}

impl Underway {
    pub(super) fn start(
        runner: &Runner,
        store: Arc<Store>,
        input: Checkpoint,
        pending: Arc<Pending>,
    ) -> Self {
        let slot = Arc::new(Slot::default());
        let (report, target) = (Report(Arc::clone(&slot)), input.meta.applied);
        (runner.0)(Box::new(move || {
            let result = store.checkpoint(&input).map_err(|error| store.explain(error));
            // Whoever hears of it may close the database and open it again, and must be the only one to have it.
            drop((store, input));
            report.set(result);
        }));
        Self {
            target,
            pending,
            slot,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        let slot = self.slot.result.lock().unwrap_or_else(PoisonError::into_inner);
        slot.is_some()
    }

    /// Waits until it is written, or is known not to be.
    pub(super) fn wait(&self) -> Result<Settled, LogError> {
        let mut slot = self.slot.result.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match slot.take() {
                Some(result) => return result,
                None => slot = self.slot.done.wait(slot).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}
