//! Reads of the durable engine.

use std::sync::Arc;

use weirline_log::{Bounds, Entry, Epoch, LogError, LogReader, Offset, ReadLimits, ReadOutcome, StreamId};

use crate::block::Budget;
use crate::run::Run;
use crate::shared::Shared;
use crate::store::Snapshot;

/// A reader of a [`RedbLog`](crate::RedbLog). Cloning it is one reference count; it may be used from any thread.
///
/// Near the head it reads from memory, elsewhere from the file, which may block. It waits for the writer only while that
/// opens the database again after an I/O error.
#[derive(Debug, Clone)]
pub struct RedbReader {
    shared: Arc<Shared>,
}

/// What one read has to do, found out under the lock.
struct Plan {
    number: u32,
    bounds: Bounds,
    /// Reading begins behind this.
    start: Offset,
    /// The part up to this is to be read from the snapshot, if any is.
    stored: Option<(Arc<Snapshot>, Offset)>,
    runs: Vec<Arc<Run>>,
    generation: u64,
}

impl RedbReader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn plan(&self, stream: &StreamId, after: Offset, limits: ReadLimits) -> Result<Option<Plan>, LogError> {
        let published = self.shared.read();
        let Some(view) = published.views.get(stream) else {
            return Ok(None);
        };
        let bounds = view.bounds;
        let start = after.max(bounds.trimmed);
        let before_tail = match view.runs.front() {
            Some(run) => run.first.previous().unwrap_or(Offset::ZERO),
            None => bounds.head,
        };
        let messages = limits.messages.max(1) as u64;
        let missing = before_tail.since(start);
        let stored = match &published.snapshot {
            _ if missing == 0 => None,
            Some(snapshot) => Some((Arc::clone(snapshot), before_tail)),
            None => return Err(LogError::Closed),
        };
        let mut runs = Vec::new();
        let mut planned = missing;
        let from = view.runs.partition_point(|run| run.last() <= start);
        for run in view.runs.iter().skip(from) {
            if planned >= messages {
                break;
            }
            planned += run
                .last()
                .since(start.max(run.first.previous().unwrap_or(Offset::ZERO)));
            runs.push(Arc::clone(run));
        }
        Ok(Some(Plan {
            number: view.number,
            bounds,
            start,
            stored,
            runs,
            generation: published.generation,
        }))
    }

    fn carry_out(plan: &Plan, limits: ReadLimits, out: &mut Vec<Entry>) -> Result<(), LogError> {
        let mut budget = Budget::new(limits);
        let before = out.len();
        if let Some((snapshot, head)) = &plan.stored {
            snapshot.read(plan.number, (plan.start, *head), &mut budget, out)?;
        }
        for run in &plan.runs {
            if budget.messages() == 0 {
                break;
            }
            let after = out[before..].last().map_or(plan.start, |entry| entry.offset);
            run.read(after, &mut budget, out);
        }
        Ok(())
    }

    /// Whether there is another snapshot than when the plan was made; waits while the writer makes one.
    fn is_renewed(&self, generation: u64) -> bool {
        drop(self.shared.reopening());
        self.shared.read().generation != generation
    }
}

impl LogReader for RedbReader {
    fn bounds(&self, stream: &StreamId) -> Result<Option<Bounds>, LogError> {
        Ok(self.shared.read().views.get(stream).map(|view| view.bounds))
    }

    fn streams(
        &self,
        after: Option<&StreamId>,
        limit: usize,
        out: &mut Vec<(StreamId, Bounds)>,
    ) -> Result<(), LogError> {
        self.shared.read().list(after, limit, out);
        Ok(())
    }

    fn read(
        &self,
        stream: &StreamId,
        after: Offset,
        limits: ReadLimits,
        out: &mut Vec<Entry>,
    ) -> Result<Option<ReadOutcome>, LogError> {
        let before = out.len();
        let mut retried = false;
        loop {
            let Some(plan) = self.plan(stream, after, limits)? else {
                return Ok(None);
            };
            match Self::carry_out(&plan, limits, out) {
                Ok(()) => return Ok(Some(ReadOutcome::new(plan.bounds, out.len() - before))),
                Err(error) => {
                    out.truncate(before);
                    if retried || !self.is_renewed(plan.generation) {
                        self.shared.suspect();
                        return Err(error);
                    }
                    retried = true;
                }
            }
        }
    }

    fn common(&self, stream: &StreamId, epoch: Epoch, offset: Offset) -> Result<Offset, LogError> {
        let published = self.shared.read();
        let view = published.views.get(stream);
        Ok(view.map_or(Offset::ZERO, |view| {
            view.chain.common(epoch, offset, view.bounds.head)
        }))
    }
}
