//! What the writer shows the readers.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use weirline_log::{Bounds, EpochChain, StreamId};

use crate::run::Run;
use crate::store::Snapshot;
use crate::streams::Stream;

/// Shared by the writer and all readers.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    published: RwLock<Published>,
    /// Held by the writer while it opens the database again.
    reopening: Mutex<()>,
    /// A reader has found that the database fails.
    suspect: AtomicBool,
}

/// One consistent state: a snapshot of the database, and all streams with what is not in it.
///
/// The lock is held for lookups and reference counts, never for I/O.
#[derive(Debug, Default)]
pub(crate) struct Published {
    pub(crate) snapshot: Option<Arc<Snapshot>>,
    /// How many snapshots there have been.
    pub(crate) generation: u64,
    pub(crate) views: HashMap<StreamId, View>,
    /// The names of the views, in order.
    names: BTreeSet<StreamId>,
    /// The runs of all views, in the order of their commits.
    order: VecDeque<(StreamId, u64, usize)>,
    bytes: usize,
}

/// One stream, as the readers see it.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) number: u32,
    pub(crate) bounds: Bounds,
    pub(crate) chain: EpochChain,
    /// The newest entries up to the head: at least all that the snapshot does not have.
    pub(crate) runs: VecDeque<Arc<Run>>,
}

impl Shared {
    // Nothing that is done under these locks can panic in the middle of a change, so poisoning is not passed on.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Published> {
        self.published.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Published> {
        self.published.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn reopening(&self) -> MutexGuard<'_, ()> {
        self.reopening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn suspect(&self) {
        self.suspect.store(true, Ordering::Release);
    }

    /// Whether a reader has found a failure since this was asked last.
    pub(crate) fn take_suspicion(&self) -> bool {
        self.suspect.swap(false, Ordering::AcqRel)
    }
}

impl Published {
    /// Brings a stream's view up to date, without its entries. With another history, all of them are in the snapshot.
    pub(crate) fn show(&mut self, number: u32, stream: &Stream) -> &mut View {
        let names = &mut self.names;
        let view = self.views.entry(stream.name.clone()).or_insert_with(|| {
            names.insert(stream.name.clone());
            View {
                number,
                bounds: stream.bounds(),
                chain: stream.chain.clone(),
                runs: VecDeque::new(),
            }
        });
        view.bounds = stream.bounds();
        if view.chain != stream.chain {
            view.chain = stream.chain.clone();
            view.runs.clear();
        }
        view
    }

    /// Brings a stream's view up to date, and adds a run to it.
    pub(crate) fn append(&mut self, number: u32, stream: &Stream, run: Arc<Run>) {
        let cost = run.cost();
        self.order.push_back((stream.name.clone(), run.seq, cost));
        self.bytes += cost;
        self.show(number, stream).runs.push_back(run);
    }

    /// Adds at most `limit` streams behind `after`, in order.
    pub(crate) fn list(&self, after: Option<&StreamId>, limit: usize, out: &mut Vec<(StreamId, Bounds)>) {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let names = self.names.range::<StreamId, _>((start, Bound::Unbounded));
        let bounds = |name| self.views.get(name).map(|view| view.bounds);
        out.extend(
            names
                .take(limit)
                .filter_map(|name| Some((name.clone(), bounds(name)?))),
        );
    }

    /// Lets go of the oldest runs over the limit that the snapshot has, which holds the commits up to `applied`.
    pub(crate) fn evict(&mut self, applied: u64, bytes_max: usize) {
        while self.bytes > bytes_max
            && let Some((stream, seq, cost)) = self.order.pop_front_if(|&mut (_, seq, _)| seq <= applied)
        {
            self.bytes -= cost;
            let runs = self.views.get_mut(&stream).map(|view| &mut view.runs);
            // The run may be gone with the history that it belonged to.
            if let Some(runs) = runs
                && runs.front().is_some_and(|run| run.seq == seq)
            {
                runs.pop_front();
            }
        }
    }
}
