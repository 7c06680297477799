//! The sending end.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, TryAcquireError};
use weirline_connection::{CloseCode, End};

use super::shared::{CloseRequest, DriverGone, Message, Shared};

/// Sends messages to a connection and closes it. Cheap to clone; concurrent use is fine.
pub struct Handle {
    shared: Arc<Shared>,
}

/// Why a message was not sent; here it is back.
#[derive(Debug, thiserror::Error)]
#[error("the connection is closing or closed")]
pub struct HandleSendError(pub Message);

/// Why a message was not sent at once; here it is back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrySendError {
    /// Ten sends (or as many as were set) are under way: wait with [`Handle::send`].
    #[error("too many sends are under way")]
    Full(Message),
    /// The connection is closing or closed.
    #[error("the connection is closing or closed")]
    Closed(Message),
}

impl Handle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        shared.lock().handles += 1;
        Self { shared }
    }

    /// Sends a message, after waiting for one of the connection's permits (10 by default, R18). It is accepted when this
    /// returns: it will be sent before any later Close of this side. What the driver has not yet taken is given up when the
    /// connection ends, and when the peer's Close comes.
    ///
    /// Cancellation: when the future is dropped the message was not sent, and its permit goes to the next who waits.
    ///
    /// # Errors
    ///
    /// The connection is closing or closed; the message comes back.
    pub async fn send(&self, message: Message) -> Result<(), HandleSendError> {
        let Ok(permit) = self.shared.permits.clone().acquire_owned().await else {
            return Err(HandleSendError(message));
        };
        self.queue(message, permit)
    }

    /// Sends a message if a permit is free.
    ///
    /// # Errors
    ///
    /// No permit is free, or the connection is closing or closed; the message comes back.
    pub fn try_send(&self, message: Message) -> Result<(), TrySendError> {
        match self.shared.permits.clone().try_acquire_owned() {
            Ok(permit) => self
                .queue(message, permit)
                .map_err(|HandleSendError(message)| TrySendError::Closed(message)),
            Err(TryAcquireError::NoPermits) => Err(TrySendError::Full(message)),
            Err(TryAcquireError::Closed) => Err(TrySendError::Closed(message)),
        }
    }

    fn queue(&self, message: Message, permit: OwnedSemaphorePermit) -> Result<(), HandleSendError> {
        let mut state = self.shared.lock();
        if state.end.is_some() || state.close.is_some() {
            return Err(HandleSendError(message));
        }
        state.outgoing.push_back((message, permit));
        state.wake_driver();
        Ok(())
    }

    /// Begins the closing handshake behind everything that was sent. Later sends fail; a second call does nothing.
    ///
    /// The peer's answer stands behind the messages that it had sent before: while the inbox is full it cannot be seen, and the
    /// handshake ends with [`Cause::CloseTimeout`](crate::Cause::CloseTimeout) unless the inbox is drained or dropped.
    pub fn close(&self, code: CloseCode, reason: &str) {
        let mut state = self.shared.lock();
        if state.close.is_none() {
            state.close = Some(CloseRequest::Graceful(code, reason.to_owned()));
            state.wake_driver();
        }
    }

    /// Ends the connection at once, without a closing handshake.
    pub fn abort(&self) {
        let mut state = self.shared.lock();
        state.close = Some(CloseRequest::Abort);
        state.wake_driver();
    }

    /// Waits for the end of the connection, and tells it to each caller.
    ///
    /// Cancellation: nothing is lost when the future is dropped.
    ///
    /// # Errors
    ///
    /// The driver was dropped before the connection ended.
    pub async fn closed(&self) -> Result<End, DriverGone> {
        loop {
            let ended = self.shared.ended.notified();
            if let Some(end) = &self.shared.lock().end {
                return end.clone();
            }
            ended.await;
        }
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        Self::new(self.shared.clone())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.handles -= 1;
        if state.handles == 0 {
            state.wake_driver();
        }
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handle(..)")
    }
}
