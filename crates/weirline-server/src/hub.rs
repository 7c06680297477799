//! Where the workers and the committer meet.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::oneshot;
use weirline_log::{Command, Outcome, StreamId};

use crate::admission::Admission;
use crate::mailbox::{Mail, Mailbox};

/// The name of a connection: its worker, its place there, and how often that place was used. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnId {
    pub(crate) worker: u16,
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl ConnId {
    pub(crate) const fn new(worker: u16, slot: u32, generation: u32) -> Self {
        Self {
            worker,
            slot,
            generation,
        }
    }
}

/// As it appears in logs: `worker.slot.generation`.
impl std::fmt::Display for ConnId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.worker, self.slot, self.generation)
    }
}

/// What the workers and the committer share. Cheap to clone.
///
/// ```text
///   worker 0 ──Submission──▶ ┌───────────┐ ──commit──▶ log
///   worker 1 ──Submission──▶ │ committer │
///                            └───────────┘ ──WorkerMail (replies, fences, grown streams)──▶ each worker
/// ```
#[derive(Debug, Clone)]
pub(crate) struct Hub(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    committer: Mailbox<CommitterMail>,
    workers: Box<[Mailbox<WorkerMail>]>,
    /// Sockets that are open, in their handshake or after it, over all workers.
    sockets: AtomicUsize,
    admission: Admission,
}

/// For the committer: what the connections want committed, in the order in which it was left here.
#[derive(Debug, Default)]
pub(crate) struct CommitterMail {
    pub(crate) submissions: Vec<Submission>,
    /// At most one for each request of the API at work.
    pub(crate) requests: Vec<Request>,
    /// All workers are done: what is here is the last.
    pub(crate) closed: bool,
}

/// Commands of one connection. It has at most one without a reply, and when it ends, a last one.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) from: ConnId,
    pub(crate) commands: Vec<Command>,
}

/// Commands of the API, committed as they stand. Attachments among them end within the same request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) commands: Vec<Command>,
    pub(crate) reply: oneshot::Sender<Reply>,
}

/// For a worker.
#[derive(Debug, Default)]
pub(crate) struct WorkerMail {
    /// At most one for each of its connections.
    pub(crate) replies: Vec<(ConnId, Reply)>,
    /// Connections that have lost their session.
    pub(crate) fenced: Vec<(ConnId, Fence)>,
    /// Streams that have grown.
    pub(crate) grown: BTreeSet<StreamId>,
}

/// To whom a connection has lost its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fence {
    /// To a higher attach.
    Superseded,
    /// To the same dial on another connection.
    Repeated,
}

/// What became of a [`Submission`].
#[derive(Debug)]
pub(crate) enum Reply {
    /// One outcome for each command, in order.
    Committed(Vec<Outcome>),
    /// The log failed, and nothing of the batch is in it.
    Failed,
}

impl Mail for CommitterMail {
    fn is_empty(&self) -> bool {
        self.submissions.is_empty() && self.requests.is_empty() && !self.closed
    }
}

impl Mail for WorkerMail {
    fn is_empty(&self) -> bool {
        self.replies.is_empty() && self.fenced.is_empty() && self.grown.is_empty()
    }
}

impl Hub {
    pub(crate) fn new(workers: u16) -> Self {
        Self(Arc::new(Shared {
            committer: Mailbox::default(),
            workers: (0..workers).map(|_| Mailbox::default()).collect(),
            sockets: AtomicUsize::new(0),
            admission: Admission::default(),
        }))
    }

    /// Leaves a connection's commands for the committer.
    pub(crate) fn submit(&self, submission: Submission) {
        self.0.committer.put(|mail| mail.submissions.push(submission));
    }

    /// Leaves commands of the API for the committer.
    pub(crate) fn request(&self, request: Request) {
        self.0.committer.put(|mail| mail.requests.push(request));
    }

    /// Says that no submission will follow.
    pub(crate) fn close(&self) {
        self.0.committer.put(|mail| mail.closed = true);
    }

    pub(crate) fn committer(&self) -> &Mailbox<CommitterMail> {
        &self.0.committer
    }

    pub(crate) fn worker(&self, worker: u16) -> &Mailbox<WorkerMail> {
        &self.0.workers[usize::from(worker)]
    }

    pub(crate) fn workers(&self) -> impl Iterator<Item = &Mailbox<WorkerMail>> {
        self.0.workers.iter()
    }

    /// The rate at which sessions are attached, over all workers.
    pub(crate) fn admission(&self) -> &Admission {
        &self.0.admission
    }

    /// Counts a socket that was accepted; the second value says how many there were before it.
    pub(crate) fn count_socket(&self) -> (SocketGuard, usize) {
        let before = self.0.sockets.fetch_add(1, Ordering::Relaxed);
        (SocketGuard(self.clone()), before)
    }
}

/// Counts a socket for as long as it lives.
#[derive(Debug)]
pub(crate) struct SocketGuard(Hub);

impl Drop for SocketGuard {
    fn drop(&mut self) {
        self.0.0.sockets.fetch_sub(1, Ordering::Relaxed);
    }
}
