//! The owner of the log's writer: one commit order for all connections.

use std::collections::BTreeSet;
use std::time::Instant;

use tracing::{debug, error, info};
use weirline_log::{Command, LogError, LogWriter, Outcome, SessionId};

use crate::clock;
use crate::hub::{CommitterMail, ConnId, Hub, Reply, Submission, WorkerMail};
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
                hub.worker(loser.worker)
                    .put(|mail: &mut WorkerMail| mail.fenced.push(loser));
            }
        }
        (Command::Attach { session, attach, .. }, Outcome::AttachRefused(refusal)) => {
            info!(event = "session.refused", %session, %attach, reason = %refusal, "session refused");
        }
        (&Command::Detach { session, attach, now }, Outcome::Detached) => {
            info!(event = "session.detached", %session, %attach, "session detached");
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
            debug!(event = "append.refused", %stream, reason = %refusal, "message refused");
        }
        _ => {}
    }
}

/// One commit takes no more than this, so that no batch keeps the first of its senders waiting for all of them.
const BATCH_COMMANDS_MAX: usize = 4096;
