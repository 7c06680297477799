//! Which connection holds which session, and when those without one expire.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use weirline_log::{Attach, Command, SessionId};

use crate::hub::ConnId;

/// The committer's view of the live sessions. It follows the outcomes of the commit order, so that it is never ahead of
/// the log or behind it.
#[derive(Debug)]
pub(crate) struct Sessions {
    ttl: Duration,
    live: BTreeMap<SessionId, Live>,
    /// Exactly the sessions without a connection, by the end of their time.
    expiring: BTreeSet<(Instant, SessionId)>,
}

#[derive(Debug)]
struct Live {
    attach: Attach,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    HeldBy(ConnId),
    Until(Instant),
}

impl Sessions {
    pub(crate) fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            live: BTreeMap::new(),
            expiring: BTreeSet::new(),
        }
    }

    /// The attach is committed. Returns the connection that has lost the session, if one had it.
    pub(crate) fn attached(&mut self, session: SessionId, attach: Attach, conn: ConnId) -> Option<ConnId> {
        let live = Live {
            attach,
            state: State::HeldBy(conn),
        };
        match self.live.insert(session, live)?.state {
            State::HeldBy(previous) => Some(previous).filter(|&previous| previous != conn),
            State::Until(until) => {
                self.expiring.remove(&(until, session));
                None
            }
        }
    }

    /// A session that was there when the log was opened: nobody holds it, and its time begins.
    pub(crate) fn found(&mut self, session: SessionId, attach: Attach, now: Instant) {
        let until = now + self.ttl;
        let state = State::Until(until);
        self.live.insert(session, Live { attach, state });
        self.expiring.insert((until, session));
    }

    /// Whether `conn` holds the session. A connection whose attach is still undecided does not, and its end must not end
    /// the attachment of another connection that has the same number.
    pub(crate) fn is_held_by(&self, session: SessionId, conn: ConnId) -> bool {
        self.live
            .get(&session)
            .is_some_and(|live| live.state == State::HeldBy(conn))
    }

    /// The detachment is committed: the session's time runs.
    pub(crate) fn detached(&mut self, session: SessionId, attach: Attach, now: Instant) {
        let Some(live) = self.live.get_mut(&session).filter(|live| live.attach == attach) else {
            return;
        };
        let until = now + self.ttl;
        live.state = State::Until(until);
        self.expiring.insert((until, session));
    }

    /// The session has ended or expired.
    pub(crate) fn ended(&mut self, session: SessionId, attach: Attach) {
        let current = self.live.get(&session).is_some_and(|live| live.attach == attach);
        if let Some(Live {
            state: State::Until(until),
            ..
        }) = current.then(|| self.live.remove(&session)).flatten()
        {
            self.expiring.remove(&(until, session));
        }
    }

    /// When the next session expires.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.expiring.first().map(|&(until, _)| until)
    }

    /// Adds the expiries that are due. Each is given once; its outcome does not matter, since a session that was attached
    /// in the meantime is current with another attach.
    pub(crate) fn expire(&mut self, now: Instant, commands: &mut Vec<Command>) {
        while let Some(&(until, session)) = self.expiring.first()
            && until <= now
        {
            self.expiring.pop_first();
            if let Some(Live { attach, .. }) = self.live.remove(&session) {
                commands.push(Command::Expire { session, attach, now });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(300);

    fn attach(number: u64) -> Attach {
        Attach::new(number).unwrap()
    }

    fn expired(sessions: &mut Sessions, now: Instant) -> Vec<u64> {
        let mut commands = Vec::new();
        sessions.expire(now, &mut commands);
        let attach_of = |command| match command {
            Command::Expire { attach, .. } => attach.get(),
            other => panic!("{other:?}"),
        };
        commands.into_iter().map(attach_of).collect()
    }

    #[test]
    fn a_session_expires_once_and_only_while_nobody_holds_it() {
        #[expect(clippy::disallowed_methods, reason = "an arbitrary starting point")]
        let t0 = Instant::now();
        let id = SessionId([1; 32]);
        let (a, b) = (ConnId::new(0, 1, 1), ConnId::new(1, 1, 1));
        let mut sessions = Sessions::new(TTL);

        assert_eq!(sessions.attached(id, attach(1), a), None);
        assert_eq!(expired(&mut sessions, t0 + TTL * 9), [0; 0], "held");
        assert_eq!(sessions.attached(id, attach(2), b), Some(a), "taken over");
        assert!(sessions.is_held_by(id, b) && !sessions.is_held_by(id, a));
        sessions.detached(id, attach(1), t0);
        assert_eq!(sessions.deadline(), None, "the old holder's end means nothing");

        sessions.detached(id, attach(2), t0);
        assert_eq!(sessions.deadline(), Some(t0 + TTL));
        assert_eq!(sessions.attached(id, attach(3), a), None);
        assert_eq!(sessions.deadline(), None, "its time stopped");

        sessions.detached(id, attach(3), t0 + TTL);
        assert_eq!(
            expired(&mut sessions, t0 + TTL * 2 - Duration::from_nanos(1)),
            [0; 0]
        );
        assert_eq!(expired(&mut sessions, t0 + TTL * 2), [3]);
        assert_eq!(expired(&mut sessions, t0 + TTL * 9), [0; 0]);
        assert!(sessions.live.is_empty() && sessions.expiring.is_empty());

        // After a restart.
        sessions.found(id, attach(3), t0);
        assert!(!sessions.is_held_by(id, a));
        assert_eq!(sessions.deadline(), Some(t0 + TTL));
        assert_eq!(sessions.attached(id, attach(4), a), None);
        assert_eq!(sessions.deadline(), None, "resumed in time");
        sessions.detached(id, attach(4), t0);
        sessions.ended(id, attach(4));
        sessions.found(id, attach(4), t0);
        assert_eq!(expired(&mut sessions, t0 + TTL), [4]);
    }
}
