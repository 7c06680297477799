//! The table of sessions and tombstones, with the rules of fencing and deduplication.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::{LogClock, SessionLimits, SessionRecord, SessionState};
use crate::{
    AckRefusal, AppendRefusal, Attach, AttachKind, AttachRefusal, Author, Bounds, Offset, Outcome, Position,
    Proof, RollingHash, Seq, SessionId, StreamId,
};

/// By how much an attach number may rise at once.
const ATTACH_JUMP_MAX: u64 = 1 << 20;
/// How many tombstones one command forgets at most; what is overdue beyond them counts a little longer.
const FORGET_MAX: usize = 1024;

/// All sessions and tombstones of a log, and the rules by which commands change them.
///
/// An engine that stores them elsewhere asks for the changes of a batch ([`track_changes`](Self::track_changes),
/// [`changes`](Self::changes)), and takes them back when it could not store them ([`undo`](Self::undo)).
#[derive(Debug, Clone, Default)]
pub struct SessionTable {
    limits: SessionLimits,
    clock: LogClock,
    all: BTreeMap<SessionId, SessionRecord>,
    /// Exactly the sessions that are tombstones, by the end of their time.
    tombstones: BTreeSet<(Duration, SessionId)>,
    /// How many sessions have a count above 0, tombstones included.
    publishers: usize,
    /// What the sessions were that changed since the last [`accept`](Self::accept), if that is asked for.
    before: Option<BTreeMap<SessionId, Option<SessionRecord>>>,
}

/// What became of one session in a batch.
#[derive(Debug, Clone, Copy)]
pub struct SessionChange<'a> {
    /// The session.
    pub id: SessionId,
    /// What it was; `None` if it did not exist.
    pub before: Option<&'a SessionRecord>,
    /// What it is; `None` if it is no more.
    pub after: Option<&'a SessionRecord>,
}

/// What a message of a session may do.
pub(super) enum Admission {
    /// It is the next one, and would make this the count.
    Next(Seq),
    /// It is in the log already.
    Duplicate(Seq),
}

impl SessionTable {
    /// An empty table that follows `clock`.
    #[must_use]
    pub fn new(limits: SessionLimits, clock: LogClock) -> Self {
        Self {
            limits,
            clock,
            ..Self::default()
        }
    }

    /// From here on remembers what changes.
    #[must_use]
    pub fn track_changes(mut self) -> Self {
        self.before = Some(BTreeMap::new());
        self
    }

    /// Takes in a session as it was stored; `None` takes it out again. Nobody holds it: whoever did was a connection of an
    /// earlier life.
    ///
    /// This is no change in the sense of [`changes`](Self::changes).
    pub fn restore(&mut self, id: SessionId, mut record: Option<SessionRecord>) {
        if let Some(record) = &mut record
            && record.state == SessionState::Attached
        {
            record.state = SessionState::Detached;
        }
        self.put(id, record);
    }

    /// The sessions that wait for their next connection, in order, each with its attach.
    pub fn detached(&self) -> impl Iterator<Item = (SessionId, Attach)> {
        self.iter()
            .filter(|(_, record)| record.state == SessionState::Detached)
            .map(|(id, record)| (id, record.attach))
    }

    /// The sessions and tombstones, in order.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &SessionRecord)> {
        self.all.iter().map(|(&id, record)| (id, record))
    }

    /// The session or tombstone, if there is one.
    #[must_use]
    pub fn get(&self, id: SessionId) -> Option<&SessionRecord> {
        self.all.get(&id)
    }

    /// How many sessions and tombstones there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The log's own time, as far as it was told.
    #[must_use]
    pub const fn time(&self) -> Duration {
        self.clock.time()
    }

    /// Moves the log's own time to `now`, forgets up to 1024 tombstones whose time is over, and says the time.
    pub fn advance(&mut self, now: Instant) -> Duration {
        let time = self.clock.advance(now);
        for _ in 0..FORGET_MAX {
            match self.tombstones.first() {
                Some(&(until, id)) if until <= time => self.change(id, None),
                _ => break,
            }
        }
        time
    }

    /// The sessions that changed since the last [`accept`](Self::accept) in what has to be stored, in order.
    pub fn changes(&self) -> impl Iterator<Item = SessionChange<'_>> {
        self.before.iter().flatten().filter_map(|(&id, before)| {
            let (before, after) = (before.as_ref(), self.all.get(&id));
            let same = match (before, after) {
                (Some(before), Some(after)) => after.is_durably(before),
                (None, None) => true,
                _ => false,
            };
            (!same).then_some(SessionChange { id, before, after })
        })
    }

    /// The changes are stored.
    pub fn accept(&mut self) {
        if let Some(before) = &mut self.before {
            before.clear();
        }
    }

    /// The changes could not be stored: everything but the time is as it was at the last [`accept`](Self::accept).
    pub fn undo(&mut self) {
        let before = self.before.as_mut().map(std::mem::take).unwrap_or_default();
        for (id, record) in before {
            self.put(id, record);
        }
    }

    /// Replaces a record, and keeps the index of tombstones and the number of publishers in step.
    fn put(&mut self, id: SessionId, record: Option<SessionRecord>) {
        if let Some(old) = self.all.remove(&id) {
            self.publishers -= usize::from(!old.count.is_zero());
            if let SessionState::Tombstone { until } = old.state {
                self.tombstones.remove(&(until, id));
            }
        }
        if let Some(new) = record {
            self.publishers += usize::from(!new.count.is_zero());
            if let SessionState::Tombstone { until } = new.state {
                self.tombstones.insert((until, id));
            }
            self.all.insert(id, new);
        }
    }

    /// Remembers what the session was, unless that is known.
    fn note(&mut self, id: SessionId) {
        if let Some(before) = &mut self.before
            && !before.contains_key(&id)
        {
            before.insert(id, self.all.get(&id).cloned());
        }
    }

    fn change(&mut self, id: SessionId, record: Option<SessionRecord>) {
        self.note(id);
        self.put(id, record);
    }

    /// The session, if this attach may change it.
    fn peek(&self, id: SessionId, attach: Attach) -> Option<&SessionRecord> {
        self.all.get(&id).filter(|session| session.is_held_by(attach))
    }

    /// The session to change, if this attach may. The indexes do not follow: a tombstone is made by
    /// [`change`](Self::change).
    fn current(&mut self, id: SessionId, attach: Attach) -> Option<&mut SessionRecord> {
        let session = self
            .all
            .get_mut(&id)
            .filter(|session| session.is_held_by(attach))?;
        if let Some(before) = &mut self.before {
            before.entry(id).or_insert_with(|| Some(session.clone()));
        }
        Some(session)
    }

    pub(super) fn attach(
        &mut self,
        id: SessionId,
        attach: Attach,
        proof: Option<Proof>,
        now: Instant,
    ) -> Result<Outcome, AttachRefusal> {
        let time = self.advance(now);
        let overdue = |record: &SessionRecord| matches!(record.state, SessionState::Tombstone { until } if until <= time);
        if self.all.get(&id).is_some_and(overdue) {
            self.change(id, None);
        }
        let room = self.all.len() - self.tombstones.len() < self.limits.sessions_max;
        let Some(session) = self.all.get(&id) else {
            return match (attach, room) {
                (Attach::FIRST, true) => Ok(self.create(id, proof)),
                (Attach::FIRST, false) => Err(AttachRefusal::Full),
                _ => Err(AttachRefusal::Unknown),
            };
        };
        // Who may not know the session is told nothing about its numbers.
        let owner = match (&session.proof, &proof) {
            (None, None) => true,
            (Some(known), Some(shown)) => known.is_owner(shown),
            _ => false,
        };
        if !owner {
            return Err(AttachRefusal::Owner);
        }
        let same_dial = attach == session.attach && proof.is_some() && proof == session.proof;
        if attach <= session.attach && !same_dial {
            return Err(AttachRefusal::Stale {
                current: session.attach,
            });
        }
        if attach.since(session.attach) > ATTACH_JUMP_MAX {
            return Err(AttachRefusal::Jump);
        }
        let (kind, previous) = match session.state {
            SessionState::Attached if same_dial => (AttachKind::Repeated, Some(session.attach)),
            SessionState::Attached => (AttachKind::Resumed, Some(session.attach)),
            SessionState::Detached => (AttachKind::Resumed, None),
            SessionState::Tombstone { .. } if !room => return Err(AttachRefusal::Full),
            SessionState::Tombstone { .. } => (AttachKind::Revived, None),
        };
        let mut session = session.clone();
        session.attach = attach;
        session.proof = proof;
        session.state = SessionState::Attached;
        let outcome = Outcome::Attached {
            kind,
            count: session.count,
            hash: session.hash,
            previous,
            acked: session.acked.clone(),
        };
        self.change(id, Some(session));
        Ok(outcome)
    }

    fn create(&mut self, id: SessionId, proof: Option<Proof>) -> Outcome {
        let session = SessionRecord {
            attach: Attach::FIRST,
            count: Seq::ZERO,
            hash: RollingHash::ZERO,
            proof,
            state: SessionState::Attached,
            acked: Vec::new(),
        };
        self.change(id, Some(session));
        Outcome::Attached {
            kind: AttachKind::New,
            count: Seq::ZERO,
            hash: RollingHash::ZERO,
            previous: None,
            acked: Vec::new(),
        }
    }

    /// Whether the numbers `from` to the author's may be counted. Duplicates come first: what is in the log is never refused.
    pub(super) fn admit(&self, author: Author, from: Seq) -> Result<Admission, AppendRefusal> {
        let session = self
            .peek(author.session, author.attach)
            .ok_or(AppendRefusal::Fenced)?;
        if author.seq <= session.count {
            return Ok(Admission::Duplicate(session.count));
        }
        let next = session.count.next().ok_or(AppendRefusal::Exhausted)?;
        if from != next {
            return Err(AppendRefusal::Gap { expected: next });
        }
        if session.count.is_zero() && self.publishers >= self.limits.publishers_max {
            return Err(AppendRefusal::PublishersFull);
        }
        Ok(Admission::Next(next))
    }

    /// Counts what was admitted, and a message of it is in the log.
    pub(super) fn count(&mut self, author: Author) {
        let Some(session) = self.current(author.session, author.attach) else {
            return;
        };
        let first = session.count.is_zero();
        session.count = author.seq;
        if let Some(item) = author.item {
            session.hash = session.hash.then(item);
        }
        self.publishers += usize::from(first);
    }

    /// Records an ack; `bounds` are those of the stream, if it exists.
    pub(super) fn ack(
        &mut self,
        (id, attach): (SessionId, Attach),
        stream: &StreamId,
        position: Position,
        bounds: Option<Bounds>,
    ) -> Result<Position, AckRefusal> {
        let acks_max = self.limits.acks_per_session_max;
        let session = self.current(id, attach).ok_or(AckRefusal::Fenced)?;
        let bounds = bounds.ok_or(AckRefusal::Beyond { head: Offset::ZERO })?;
        if position.epoch != bounds.epoch {
            return Err(AckRefusal::Epoch {
                current: bounds.epoch,
            });
        }
        if position.offset > bounds.head {
            return Err(AckRefusal::Beyond { head: bounds.head });
        }
        let room = session.acked.len() < acks_max;
        match session.acked.iter_mut().find(|(acked, _)| acked == stream) {
            Some((_, recorded)) => {
                let lower = recorded.epoch == position.epoch && position.offset <= recorded.offset;
                if !lower {
                    *recorded = position;
                }
                Ok(*recorded)
            }
            None if !room => Err(AckRefusal::TooManyStreams),
            None => {
                session.acked.push((stream.clone(), position));
                Ok(position)
            }
        }
    }

    pub(super) fn detach(&mut self, id: SessionId, attach: Attach, now: Instant) -> Outcome {
        self.advance(now);
        let Some(session) = self.current(id, attach) else {
            return Outcome::Ignored;
        };
        session.state = SessionState::Detached;
        Outcome::Detached
    }

    pub(super) fn expire(&mut self, id: SessionId, attach: Attach, now: Instant) -> Outcome {
        self.advance(now);
        let due =
            |session: &SessionRecord| session.state == SessionState::Detached && session.attach == attach;
        if !self.all.get(&id).is_some_and(due) {
            return Outcome::Ignored;
        }
        self.bury(id);
        Outcome::Expired
    }

    pub(super) fn end(&mut self, id: SessionId, attach: Attach, now: Instant) -> Outcome {
        self.advance(now);
        if self.peek(id, attach).is_none() {
            return Outcome::Ignored;
        }
        self.bury(id);
        Outcome::Ended
    }

    fn bury(&mut self, id: SessionId) {
        let until = self.clock.time().saturating_add(self.limits.tombstone_ttl);
        let published = self.all.get(&id).filter(|session| !session.count.is_zero());
        let tombstone = published.map(|session| SessionRecord {
            attach: session.attach,
            count: session.count,
            hash: session.hash,
            proof: session.proof,
            state: SessionState::Tombstone { until },
            acked: Vec::new(),
        });
        self.change(id, tombstone);
    }
}
