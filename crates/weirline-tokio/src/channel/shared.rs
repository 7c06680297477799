//! What handles, inbox and driver share.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use weirline_connection::{CloseCode, End, MessageKind};
use weirline_flow::{BoundedQueue, QueueLimits, Strategy, Tally};

/// A whole message. Its `Debug` form shows at most 32 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Text or binary.
    pub kind: MessageKind,
    /// Its bytes. Of a text they are UTF-8; sending others ends the connection with 1011.
    pub payload: Bytes,
}

impl Message {
    /// A text message.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            kind: MessageKind::Text,
            payload: Bytes::from(text.into()),
        }
    }

    /// A binary message.
    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        Self {
            kind: MessageKind::Binary,
            payload: bytes.into(),
        }
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("kind", &self.kind)
            .field("len", &self.payload.len())
            .field("payload", &self.payload.slice(..self.payload.len().min(32)))
            .finish()
    }
}

/// Bounds of what waits for the application, and of its concurrent sends.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct InboxLimits {
    /// Messages, and bytes with 64 of overhead each. Default 5000 and 1 MiB; an empty inbox takes one message of any size.
    pub queue: QueueLimits,
    /// What happens when the inbox is full (R16). Default: pause, which slows the peer down by TCP.
    pub strategy: Strategy,
    /// How many sends may be under way at once (R18). Default 10.
    pub concurrent_sends: usize,
}

impl Default for InboxLimits {
    fn default() -> Self {
        Self {
            queue: QueueLimits::default(),
            strategy: Strategy::Pause,
            concurrent_sends: 10,
        }
    }
}

pub(super) struct Shared {
    state: Mutex<State>,
    /// One permit covers one message from a handle until the driver has taken it (R18).
    pub(super) permits: Arc<Semaphore>,
    /// Something came for the inbox, or the connection ended.
    pub(super) arrived: Notify,
    /// The connection ended.
    pub(super) ended: Notify,
}

pub(super) struct State {
    pub(super) outgoing: VecDeque<(Message, OwnedSemaphorePermit)>,
    pub(super) incoming: BoundedQueue<Message>,
    /// A message that found the inbox full, behind those in `incoming`: reading stops until it fits. When the connection ends
    /// it is received all the same (R9).
    pub(super) held: Option<Message>,
    /// Lost for drop-oldest and not yet told.
    pub(super) dropped: Tally,
    pub(super) close: Option<CloseRequest>,
    pub(super) driver: Option<Waker>,
    pub(super) end: Option<Result<End, DriverGone>>,
    pub(super) handles: usize,
    pub(super) inbox_alive: bool,
}

/// The driver was dropped before the connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the driver was dropped: the connection is gone without a closing handshake")]
pub struct DriverGone;

pub(super) enum CloseRequest {
    /// Behind everything that was sent.
    Graceful(CloseCode, String),
    Abort,
}

impl Shared {
    pub(super) fn new(limits: InboxLimits) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                outgoing: VecDeque::new(),
                incoming: BoundedQueue::new(limits.queue, limits.strategy),
                held: None,
                dropped: Tally::default(),
                close: None,
                driver: None,
                end: None,
                handles: 0,
                inbox_alive: true,
            }),
            permits: Arc::new(Semaphore::new(
                limits.concurrent_sends.clamp(1, Semaphore::MAX_PERMITS),
            )),
            arrived: Notify::new(),
            ended: Notify::new(),
        })
    }

    /// No code that can panic runs under this lock, so that a poisoned one is as good as any.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection is over, one way or another: everybody who waits is told.
    pub(super) fn finish(&self, end: Result<End, DriverGone>) {
        let mut state = self.lock();
        if state.end.is_none() {
            state.end = Some(end);
            state.outgoing.clear();
        }
        drop(state);
        self.permits.close();
        self.arrived.notify_waiters();
        self.ended.notify_waiters();
    }
}

impl State {
    pub(super) fn wake_driver(&self) {
        if let Some(driver) = &self.driver {
            driver.wake_by_ref();
        }
    }
}
