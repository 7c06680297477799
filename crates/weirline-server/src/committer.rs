//! The owner of the log's writer: one commit order for all connections.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};
use weirline_log::{AttachKind, Command, LogError, LogWriter, Outcome, SessionId, StreamId, Upkeep};

use crate::clock;
use crate::hub::{CommitterMail, ConnId, Fence, Hub, Reply, Request, Submission, WorkerMail};
use crate::salvage::{self, Health};
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
    /// What the batch is made of, in order.
    parts: Vec<Part>,
    /// Of the messages in the batch.
    batch_bytes: usize,
    /// The sessions that the batch attaches: who holds them is not known before it is committed.
    attaching: BTreeSet<SessionId>,
    /// Ends of attachments that a failed commit has left open. At most one per session.
    owed: Vec<Command>,
    health: Health,
    /// When the log's own upkeep is due; `None` for an engine that needs none.
    upkeep_at: Option<Instant>,
}

impl<W: LogWriter> Committer<W> {
    pub(crate) fn new(hub: Hub, writer: W, sessions: Sessions) -> Self {
        Self {
            hub,
            writer,
            sessions,
            batch: Vec::new(),
            parts: Vec::new(),
            batch_bytes: 0,
            attaching: BTreeSet::new(),
            owed: Vec::new(),
            health: Health::default(),
            upkeep_at: None,
        }
    }

    /// Runs until the hub is closed and everything that was left there is committed. Then it closes the log.
    ///
    /// It blocks its thread while the storage is busy.
    pub(crate) async fn run(mut self) {
        let now = clock::now();
        for (session, attach) in self.writer.detached() {
            self.sessions.found(session, attach, now);
        }
        self.maintain(now);
        loop {
            let CommitterMail {
                submissions,
                requests,
                closed,
            } = self.mail().await;
            let now = clock::now();
            self.expire(now);
            for submission in submissions {
                self.take(submission);
                if self.batch.len() >= BATCH_COMMANDS_MAX || self.batch_bytes >= BATCH_BYTES_MAX {
                    self.commit();
                }
            }
            self.commit();
            self.commit_requests(requests);
            if closed {
                break;
            }
            if self.upkeep_at.is_some_and(|at| at <= now) {
                self.maintain(now);
            }
        }
        if let Err(error) = self.writer.close() {
            warn!(event = "log.close_failed", %error, "the next start takes longer; nothing is lost");
        }
    }

    /// What there is to commit; nothing when something else is due first.
    async fn mail(&self) -> CommitterMail {
        let deadline = self.sessions.deadline().into_iter().chain(self.upkeep_at).min();
        match deadline {
            None => self.hub.committer().take().await,
            Some(deadline) => clock::timeout_at(deadline, self.hub.committer().take())
                .await
                .unwrap_or_default(),
        }
    }

    fn maintain(&mut self, now: Instant) {
        let Some(interval) = self.writer.upkeep_interval() else {
            return;
        };
        let pause = match self.writer.maintain(now) {
            Ok(Upkeep::More) => UPKEEP_PAUSE.min(interval),
            Ok(_) => interval,
            // The engine has logged what is wrong, once. The next call tries again.
            Err(error) => {
                debug!(event = "log.upkeep_failed", %error, "upkeep failed");
                interval
            }
        };
        self.upkeep_at = Some(now + pause);
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
            if let Command::Append { payload, .. } = &command {
                self.batch_bytes += payload.len();
            }
            self.batch.push(command);
            if let Some((_, count)) = self.parts.last_mut() {
                *count += 1;
            }
        }
    }

    fn commit(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let parts = std::mem::take(&mut self.parts);
        if !batch.is_empty() {
            let mut outcomes = Vec::with_capacity(batch.len());
            match self.writer.commit(&batch, &mut outcomes) {
                Ok(()) => {
                    self.health.committed(&outcomes);
                    self.answer(&parts, &batch, outcomes);
                }
                Err(error) => {
                    self.health.failed(&error);
                    self.salvage(&parts, &batch, &error);
                }
            }
        }
        (self.batch, self.parts) = (batch, parts);
        self.batch.clear();
        self.parts.clear();
        self.batch_bytes = 0;
        self.attaching.clear();
    }

    /// The log cannot write the batch. Messages and acks are refused, and everything else is tried without them: first as one
    /// commit, and then what each connection wants by itself, since what changes nothing needs no room.
    fn salvage(&mut self, parts: &[Part], batch: &[Command], error: &LogError) {
        if let Ok(decided) = self.commit_needed(batch) {
            return self.answer(parts, batch, salvage::complete(batch, decided, error));
        }
        let mut rest = batch;
        for &part in parts {
            let (commands, others) = rest.split_at(part.1);
            rest = others;
            match self.commit_needed(commands) {
                Ok(decided) => {
                    let outcomes = salvage::complete(commands, decided, error);
                    self.answer(&[part], commands, outcomes);
                }
                Err(_) => self.answer_failure(part, commands, error),
            }
        }
    }

    /// Commits what no connection can go on without.
    fn commit_needed(&mut self, commands: &[Command]) -> Result<Vec<Outcome>, LogError> {
        let is_needed = |command: &&Command| !salvage::is_dispensable(command);
        let needed: Vec<Command> = commands.iter().filter(is_needed).cloned().collect();
        let mut outcomes = Vec::with_capacity(needed.len());
        if !needed.is_empty() {
            self.writer.commit(&needed, &mut outcomes)?;
        }
        Ok(outcomes)
    }

    fn answer(&mut self, parts: &[Part], batch: &[Command], outcomes: Vec<Outcome>) {
        let mut grown = BTreeSet::new();
        let mut commands = batch.iter();
        let mut outcomes = outcomes.into_iter();
        for &(from, count) in parts {
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
            self.reply(from, Reply::Committed(reply));
        }
        self.tell_growth(&grown);
    }

    fn tell_growth(&self, grown: &BTreeSet<StreamId>) {
        if !grown.is_empty() {
            for worker in self.hub.workers() {
                worker.put(|mail| mail.grown.extend(grown.iter().cloned()));
            }
        }
    }

    /// Commits what the API wants, as one batch. It holds no session beyond a request, so the table of sessions has nothing to follow.
    fn commit_requests(&mut self, requests: Vec<Request>) {
        if requests.is_empty() {
            return;
        }
        let (parts, replies): (Vec<_>, Vec<_>) = (requests
            .into_iter()
            .map(|request| (request.commands, request.reply)))
        .unzip();
        let batch = parts.concat();
        let mut outcomes = Vec::with_capacity(batch.len());
        if let Err(error) = self.writer.commit(&batch, &mut outcomes) {
            self.health.failed(&error);
            for reply in replies {
                // Who asked may have gone.
                let _ = reply.send(Reply::Failed);
            }
            return;
        }
        self.health.committed(&outcomes);
        let mut grown = BTreeSet::new();
        for (command, outcome) in batch.iter().zip(&outcomes) {
            if let (Command::Append { stream, .. }, Outcome::Appended { .. }) = (command, outcome) {
                grown.insert(stream.clone());
            }
        }
        let mut outcomes = outcomes.into_iter();
        for (part, reply) in parts.iter().zip(replies) {
            let _ = reply.send(Reply::Committed(outcomes.by_ref().take(part.len()).collect()));
        }
        self.tell_growth(&grown);
    }

    /// Nothing of one connection could be committed. What it could not do without is its attach, or a stream; that an attachment
    /// has ended is made up for.
    fn answer_failure(&mut self, (from, _): Part, commands: &[Command], error: &LogError) {
        let ends = commands.iter().filter(|command| salvage::is_end(command));
        self.owed.extend(ends.cloned());
        let is_end = |command: &Command| matches!(command, Command::Detach { .. } | Command::Expire { .. });
        let goes_on = |command: &Command| salvage::is_dispensable(command) || is_end(command);
        let reply = if commands.iter().all(goes_on) {
            Reply::Committed(salvage::complete(commands, Vec::new(), error))
        } else {
            Reply::Failed
        };
        self.reply(from, reply);
    }

    fn reply(&self, to: Option<ConnId>, reply: Reply) {
        if let Some(conn) = to {
            let worker = self.hub.worker(conn.worker);
            worker.put(|mail| mail.replies.push((conn, reply)));
        }
    }
}

/// Who sent how many of the commands that follow; `None` are the committer's own.
type Part = (Option<ConnId>, usize);

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
/// The same, in bytes of messages; the last submission may go over it by as much as one connection may have in flight.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Between two calls of an upkeep that has more to do: commits come first.
const UPKEEP_PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests;
