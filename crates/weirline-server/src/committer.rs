//! The owner of the log's writer: one commit order for all connections.

use std::collections::BTreeSet;
use std::time::Instant;

use tracing::{debug, error, info};
use weirline_log::{AttachKind, Command, LogError, LogWriter, Outcome, SessionId};

use crate::clock;
use crate::hub::{CommitterMail, ConnId, Fence, Hub, Reply, Submission, WorkerMail};
use crate::sessions::Sessions;

/// Takes the batches of all connections, commits them as one, and answers.
///
/// While a commit runs, what arrives waits in the mailbox and makes up the next batch: the slower the storage, the larger
/// the batches.
pub(crate) struct Committer<W> {
    hub: Hub,
    writer: W,
    sessions: Sessions,
    batch: Vec<Command>,
    /// Who sent how many of the batch, in order; `None` are the committer's own.
    parts: Vec<(Option<ConnId>, usize)>,
    outcomes: Vec<Outcome>,
    /// The sessions that the batch attaches: who holds them is not known before it is committed.
    attaching: BTreeSet<SessionId>,
    /// Ends of attachments that a failed commit has left open. At most one per session.
    owed: Vec<Command>,
}

impl<W: LogWriter> Committer<W> {
    pub(crate) fn new(hub: Hub, writer: W, sessions: Sessions) -> Self {
        Self {
            hub,
            writer,
            sessions,
            batch: Vec::new(),
            parts: Vec::new(),
            outcomes: Vec::new(),
            attaching: BTreeSet::new(),
            owed: Vec::new(),
        }
    }

    /// Runs until the hub is closed and everything that was left there is committed.
    pub(crate) async fn run(mut self) {
        loop {
            let mail = match self.sessions.deadline() {
                None => Some(self.hub.committer().take().await),
                Some(deadline) => clock::timeout_at(deadline, self.hub.committer().take()).await,
            };
            let CommitterMail { submissions, closed } = mail.unwrap_or_default();
            let now = clock::now();
            self.expire(now);
            for submission in submissions {
                self.take(submission);
                if self.batch.len() >= BATCH_COMMANDS_MAX {
                    self.commit();
                }
            }
            self.commit();
            if closed {
                return;
            }
        }
    }

    fn expire(&mut self, now: Instant) {
        let before = self.batch.len();
        self.batch.append(&mut self.owed);
        self.sessions.expire(now, &mut self.batch);
        self.parts.push((None, self.batch.len() - before));
    }

    fn take(&mut self, Submission { from, commands }: Submission) {
        self.parts.push((Some(from), 0));
        for command in commands {
            match command {
                Command::Attach { session, .. } => {
                    self.attaching.insert(session);
                }
                // Two connections may have come with the same attach number. The log has refused the second, and its
                // end must not detach the first. Such a command is the last of its connection, so nobody misses its
                // outcome.
                Command::Detach { session, .. } | Command::End { session, .. } => {
                    if self.attaching.contains(&session) {
                        self.commit();
                        self.parts.push((Some(from), 0));
                    }
                    if !self.sessions.is_held_by(session, from) {
                        continue;
                    }
                }
                _ => {}
            }
            self.batch.push(command);
            if let Some((_, count)) = self.parts.last_mut() {
                *count += 1;
            }
        }
    }

    fn commit(&mut self) {
        if !self.batch.is_empty() {
            self.outcomes.clear();
            match self.writer.commit(&self.batch, &mut self.outcomes) {
                Ok(()) => self.answer(),
                Err(error) => self.answer_failure(&error),
            }
        }
        self.batch.clear();
        self.parts.clear();
        self.attaching.clear();
    }

    fn answer(&mut self) {
        let mut grown = BTreeSet::new();
        let mut commands = self.batch.iter();
        let mut outcomes = self.outcomes.drain(..);
        for &(from, count) in &self.parts {
            let mut reply = Vec::with_capacity(if from.is_some() { count } else { 0 });
            for (command, outcome) in commands.by_ref().zip(outcomes.by_ref()).take(count) {
                if let (Command::Append { stream, .. }, Outcome::Appended { .. }) = (command, &outcome) {
                    grown.insert(stream.clone());
                }
                follow(&mut self.sessions, &self.hub, from, command, &outcome);
                if from.is_some() {
                    reply.push(outcome);
                }
            }
            if let Some(from) = from {
                self.hub
                    .worker(from.worker)
                    .put(|mail| mail.replies.push((from, Reply::Committed(reply))));
            }
        }
        if !grown.is_empty() {
            for worker in self.hub.workers() {
                worker.put(|mail| mail.grown.extend(grown.iter().cloned()));
            }
        }
    }

    fn answer_failure(&mut self, error: &LogError) {
        error!(event = "log.commit_failed", error = %error, commands = self.batch.len(), "the log failed");
        for &(from, _) in &self.parts {
            if let Some(from) = from {
                self.hub
                    .worker(from.worker)
                    .put(|mail| mail.replies.push((from, Reply::Failed)));
            }
        }
        let ends = |command: &Command| {
            matches!(
                command,
                Command::Detach { .. } | Command::Expire { .. } | Command::End { .. }
            )
        };
        self.owed.extend(self.batch.drain(..).filter(ends));
    }
}

/// Keeps the table of sessions in step with what was committed, and logs every change of a session (R30).
fn follow(sessions: &mut Sessions, hub: &Hub, from: Option<ConnId>, command: &Command, outcome: &Outcome) {
    match (command, outcome) {
        (
            &Command::Attach { session, attach, .. },
            Outcome::Attached {
                kind,
                count,
                previous,
                ..
            },
        ) => {
            let Some(conn) = from else { return };
            info!(event = "session.attached", %conn, %session, %attach, ?kind, %count, ?previous, "session attached");
            if let Some(loser) = sessions.attached(session, attach, conn) {
                let fence = match kind {
                    AttachKind::Repeated => Fence::Repeated,
                    _ => Fence::Superseded,
                };
                hub.worker(loser.worker)
                    .put(|mail: &mut WorkerMail| mail.fenced.push((loser, fence)));
            }
        }
        (Command::Attach { session, attach, .. }, Outcome::AttachRefused(refusal)) => {
            let conn = from.map(tracing::field::display);
            info!(event = "session.refused", conn, %session, %attach, reason = %refusal, "session refused");
        }
        (&Command::Detach { session, attach, now }, Outcome::Detached) => {
            let conn = from.map(tracing::field::display);
            info!(event = "session.detached", conn, %session, %attach, "session detached");
            sessions.detached(session, attach, now);
        }
        (&Command::Expire { session, attach, .. }, Outcome::Expired) => {
            info!(event = "session.expired", %session, %attach, "session expired");
        }
        (&Command::End { session, attach, .. }, Outcome::Ended) => {
            info!(event = "session.ended", %session, %attach, "session ended");
            sessions.ended(session, attach);
        }
        (Command::Append { stream, .. }, Outcome::AppendRefused(refusal)) => {
            let conn = from.map(tracing::field::display);
            debug!(event = "append.refused", conn, %stream, reason = %refusal, "message refused");
        }
        _ => {}
    }
}

/// One commit takes no more than this, so that no batch keeps the first of its senders waiting for all of them.
const BATCH_COMMANDS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use bytes::Bytes;
    use weirline_log::{
        Attach, AttachRefusal, Author, EventLog as _, MemoryConfig, MemoryLog, MemoryWriter, PayloadKind,
        Seq, StreamId,
    };

    const A: ConnId = ConnId::new(0, 1, 1);
    const B: ConnId = ConnId::new(1, 1, 2);
    const SESSION: SessionId = SessionId([7; 32]);
    const TTL: Duration = Duration::from_secs(300);

    /// Commits the submissions, as one batch or one by one, and returns what the two workers find in their mail.
    struct World<W> {
        committer: Committer<W>,
        now: Instant,
    }

    impl World<MemoryWriter> {
        fn new() -> Self {
            Self::over(MemoryLog::new(MemoryConfig::default(), 1).split().0)
        }
    }

    impl<W: LogWriter> World<W> {
        fn over(writer: W) -> Self {
            Self {
                committer: Committer::new(Hub::new(2), writer, Sessions::new(TTL)),
                now: clock::now(),
            }
        }

        fn batch(&mut self, submissions: Vec<(ConnId, Vec<Command>)>) -> Vec<WorkerMail> {
            self.committer.expire(self.now);
            for (from, commands) in submissions {
                self.committer.take(Submission { from, commands });
            }
            self.committer.commit();
            let hub = self.committer.hub.clone();
            hub.workers()
                .map(|worker| worker.try_take().unwrap_or_default())
                .collect()
        }

        /// The outcomes of one submission.
        fn one(&mut self, from: ConnId, command: Command) -> Vec<Outcome> {
            let mut mail = self.batch(vec![(from, vec![command])]);
            match mail[usize::from(from.worker)].replies.pop() {
                Some((to, Reply::Committed(outcomes))) if to == from => outcomes,
                other => panic!("{other:?}"),
            }
        }

        fn attach(&self, number: u64) -> Command {
            Command::Attach {
                session: SESSION,
                attach: Attach::new(number).unwrap(),
                proof: None,
                now: self.now,
            }
        }

        fn detach(&self, number: u64) -> Command {
            Command::Detach {
                session: SESSION,
                attach: Attach::new(number).unwrap(),
                now: self.now,
            }
        }

        /// Whether the attach is current and attached.
        fn can_publish(&mut self, from: ConnId, attach: u64, seq: u64) -> bool {
            let append = append(Some((attach, seq)));
            matches!(self.one(from, append)[..], [Outcome::Appended { .. }])
        }
    }

    fn append(author: Option<(u64, u64)>) -> Command {
        let author = author.map(|(attach, seq)| Author {
            session: SESSION,
            attach: Attach::new(attach).unwrap(),
            seq: Seq::new(seq).unwrap(),
            item: None,
        });
        let stream = StreamId::new("s").unwrap();
        Command::Append {
            stream,
            author,
            kind: PayloadKind::Text,
            payload: Bytes::from_static(b"x"),
        }
    }

    /// I10: two connections came with one number. The second is refused, and its end ends nothing.
    #[test]
    fn the_end_of_a_refused_attach_does_not_detach_the_holder() {
        for split in [false, true] {
            let mut world = World::new();
            world.one(A, world.attach(1));
            let (attach, detach) = (world.attach(1), world.detach(1));
            if split {
                let refused = Outcome::AttachRefused(AttachRefusal::Stale {
                    current: Attach::FIRST,
                });
                assert_eq!(world.one(B, attach), [refused]);
                world.batch(vec![(B, vec![detach])]);
            } else {
                world.batch(vec![(B, vec![attach, detach])]);
            }
            assert!(world.can_publish(A, 1, 1), "split: {split}");
        }
    }

    /// The holder may come and go within one batch: its detachment counts.
    #[test]
    fn a_short_attachment_is_detached() {
        for split in [false, true] {
            let mut world = World::new();
            let (attach, detach) = (world.attach(1), world.detach(1));
            let submissions = if split {
                vec![(A, vec![attach]), (A, vec![detach])]
            } else {
                vec![(A, vec![attach, detach])]
            };
            world.batch(submissions);
            let outcomes = world.one(B, world.attach(2));
            assert!(
                matches!(outcomes[..], [Outcome::Attached { previous: None, .. }]),
                "{outcomes:?}"
            );
        }
    }

    #[test]
    fn a_takeover_fences_the_loser_and_nobody_else() {
        let mut world = World::new();
        world.one(A, world.attach(1));
        let mail = world.batch(vec![(B, vec![world.attach(2)])]);
        assert_eq!(mail[0].fenced, [(A, Fence::Superseded)]);
        assert_eq!(mail[1].fenced, []);
        assert!(!world.can_publish(A, 1, 1) && world.can_publish(B, 2, 1));
        // The loser's end does not detach the winner.
        world.batch(vec![(A, vec![world.detach(1)])]);
        assert!(world.can_publish(B, 2, 2));
    }

    #[test]
    fn growth_is_told_to_every_worker_once() {
        let mut world = World::new();
        let mail = world.batch(vec![
            (A, vec![append(None), append(None)]),
            (B, vec![append(None)]),
        ]);
        for worker in &mail {
            assert_eq!(worker.grown.len(), 1);
            assert_eq!(worker.replies.len(), 1);
        }
        // What changes no stream wakes nobody.
        let mail = world.batch(vec![(A, vec![world.attach(1)])]);
        assert!(mail.iter().all(|worker| worker.grown.is_empty()));
    }

    #[test]
    fn an_abandoned_session_expires() {
        let mut world = World::new();
        world.batch(vec![(A, vec![world.attach(1), world.detach(1)])]);
        world.now += TTL;
        world.batch(Vec::new());
        assert_eq!(
            world.one(B, world.attach(2)),
            [Outcome::AttachRefused(AttachRefusal::Unknown)]
        );
    }

    /// Fails until it is let go.
    struct Failing(MemoryWriter, bool);

    impl LogWriter for Failing {
        fn commit(&mut self, batch: &[Command], outcomes: &mut Vec<Outcome>) -> Result<(), LogError> {
            if self.1 {
                Err(LogError::Closed)
            } else {
                self.0.commit(batch, outcomes)
            }
        }
    }

    #[test]
    fn a_failed_commit_is_told_and_detachments_are_made_up_for() {
        let mut world = World::over(Failing(
            MemoryLog::new(MemoryConfig::default(), 1).split().0,
            false,
        ));
        world.one(A, world.attach(1));
        world.committer.writer.1 = true;
        let mail = world.batch(vec![(A, vec![append(Some((1, 1))), world.detach(1)])]);
        assert!(matches!(mail[0].replies[..], [(A, Reply::Failed)]), "{mail:?}");
        world.committer.writer.1 = false;
        let outcomes = world.one(B, world.attach(2));
        let [
            Outcome::Attached {
                previous: None,
                count: Seq::ZERO,
                ..
            },
        ] = outcomes[..]
        else {
            panic!("{outcomes:?}");
        };
    }
}
