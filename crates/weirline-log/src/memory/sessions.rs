//! Sessions and tombstones.
//!
//! ```text
//!                 Attach 1                    Detach
//!   (unknown) ──────────────▶  attached  ◀──────────────▶  detached
//!       ▲                       │    ▲        Attach          │
//!       │                   End │    │ Attach (revived)       │ Expire
//!       │ 7 days                ▼    │                        │
//!       └───────────────────  tombstone  ◀────────────────────┘     only if it published; else (unknown) at once
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::MemoryConfig;
use crate::{
    AckRefusal, AppendRefusal, Attach, AttachKind, AttachRefusal, Author, Bounds, Offset, Outcome, Position,
    Seq, SessionId, StreamId,
};

/// By how much an attach number may rise at once.
const ATTACH_JUMP_MAX: u64 = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Sessions {
    all: BTreeMap<SessionId, Session>,
    /// Exactly the sessions that are tombstones, by the end of their time.
    tombstones: BTreeSet<(Instant, SessionId)>,
    /// How many sessions have a count above 0, tombstones included.
    publishers: usize,
}

#[derive(Debug)]
struct Session {
    attach: Attach,
    count: Seq,
    state: State,
    acked: Vec<(StreamId, Position)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Attached,
    Detached,
    Tombstone { until: Instant },
}

/// What a message of a session may do.
pub(super) enum Admission {
    /// It is the next one, and would make this the count.
    Next(Seq),
    /// It is in the log already.
    Duplicate(Seq),
}

impl Sessions {
    pub(super) fn attach(
        &mut self,
        config: &MemoryConfig,
        id: SessionId,
        attach: Attach,
        now: Instant,
    ) -> Result<Outcome, AttachRefusal> {
        self.forget_old_tombstones(now);
        let room = self.all.len() - self.tombstones.len() < config.sessions_max;
        let Some(session) = self.all.get_mut(&id) else {
            return match (attach, room) {
                (Attach::FIRST, true) => Ok(self.create(id)),
                (Attach::FIRST, false) => Err(AttachRefusal::Full),
                _ => Err(AttachRefusal::Unknown),
            };
        };
        if attach <= session.attach {
            return Err(AttachRefusal::Stale {
                current: session.attach,
            });
        }
        if attach.since(session.attach) > ATTACH_JUMP_MAX {
            return Err(AttachRefusal::Jump);
        }
        let (kind, previous) = match session.state {
            State::Attached => (AttachKind::Resumed, Some(session.attach)),
            State::Detached => (AttachKind::Resumed, None),
            State::Tombstone { .. } if !room => return Err(AttachRefusal::Full),
            State::Tombstone { until } => {
                self.tombstones.remove(&(until, id));
                (AttachKind::Revived, None)
            }
        };
        session.attach = attach;
        session.state = State::Attached;
        Ok(Outcome::Attached {
            kind,
            count: session.count,
            previous,
            acked: session.acked.clone(),
        })
    }

    fn create(&mut self, id: SessionId) -> Outcome {
        let session = Session {
            attach: Attach::FIRST,
            count: Seq::ZERO,
            state: State::Attached,
            acked: Vec::new(),
        };
        self.all.insert(id, session);
        Outcome::Attached {
            kind: AttachKind::New,
            count: Seq::ZERO,
            previous: None,
            acked: Vec::new(),
        }
    }

    /// The session, if this attach may change it.
    fn current(&mut self, id: SessionId, attach: Attach) -> Option<&mut Session> {
        self.all
            .get_mut(&id)
            .filter(|session| session.state == State::Attached && session.attach == attach)
    }

    /// Whether a message may be appended. Duplicates come first: what is in the log is never refused.
    pub(super) fn admit(
        &mut self,
        config: &MemoryConfig,
        author: Author,
    ) -> Result<Admission, AppendRefusal> {
        let publishers_full = self.publishers >= config.publishers_max;
        let session = self
            .current(author.session, author.attach)
            .ok_or(AppendRefusal::Fenced)?;
        if author.seq <= session.count {
            return Ok(Admission::Duplicate(session.count));
        }
        let next = session.count.next().ok_or(AppendRefusal::Exhausted)?;
        if author.seq != next {
            return Err(AppendRefusal::Gap { expected: next });
        }
        if session.count.is_zero() && publishers_full {
            return Err(AppendRefusal::PublishersFull);
        }
        Ok(Admission::Next(next))
    }

    /// Counts a message that was admitted and is in the log.
    pub(super) fn count(&mut self, author: Author) {
        let Some(session) = self.current(author.session, author.attach) else {
            return;
        };
        let first = session.count.is_zero();
        session.count = author.seq;
        self.publishers += usize::from(first);
    }

    /// Records an ack; `bounds` are those of the stream, if it exists.
    pub(super) fn ack(
        &mut self,
        config: &MemoryConfig,
        (id, attach): (SessionId, Attach),
        stream: &StreamId,
        position: Position,
        bounds: Option<Bounds>,
    ) -> Result<Position, AckRefusal> {
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
        let room = session.acked.len() < config.acks_per_session_max;
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
        self.forget_old_tombstones(now);
        let Some(session) = self.current(id, attach) else {
            return Outcome::Ignored;
        };
        session.state = State::Detached;
        Outcome::Detached
    }

    pub(super) fn expire(
        &mut self,
        config: &MemoryConfig,
        id: SessionId,
        attach: Attach,
        now: Instant,
    ) -> Outcome {
        self.forget_old_tombstones(now);
        let due = |session: &Session| session.state == State::Detached && session.attach == attach;
        if !self.all.get(&id).is_some_and(due) {
            return Outcome::Ignored;
        }
        self.bury(config, id, now);
        Outcome::Expired
    }

    pub(super) fn end(
        &mut self,
        config: &MemoryConfig,
        id: SessionId,
        attach: Attach,
        now: Instant,
    ) -> Outcome {
        self.forget_old_tombstones(now);
        if self.current(id, attach).is_none() {
            return Outcome::Ignored;
        }
        self.bury(config, id, now);
        Outcome::Ended
    }

    fn bury(&mut self, config: &MemoryConfig, id: SessionId, now: Instant) {
        let Some(session) = self.all.get_mut(&id) else {
            return;
        };
        if session.count.is_zero() {
            self.all.remove(&id);
            return;
        }
        // A time beyond what the clock can express is as good as any that far away.
        let until = now.checked_add(config.tombstone_ttl).unwrap_or(now + CENTURY);
        session.state = State::Tombstone { until };
        session.acked = Vec::new();
        self.tombstones.insert((until, id));
    }

    fn forget_old_tombstones(&mut self, now: Instant) {
        while let Some(&(until, id)) = self.tombstones.first()
            && until <= now
        {
            self.tombstones.pop_first();
            self.all.remove(&id);
            self.publishers -= 1;
        }
    }
}

const CENTURY: std::time::Duration = std::time::Duration::from_secs(100 * 365 * 86_400);
