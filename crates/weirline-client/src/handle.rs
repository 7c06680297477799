use std::sync::Arc;

use weirline_log::PayloadKind;
use weirline_resume::Ticket;

use crate::driver::stopped;
use crate::error::{ClientError, PublishError};
use crate::payload::Payload;
use crate::shared::{Inner, Shared};

/// Publishes to the stream, and ends the client. Cheap to clone.
#[derive(Debug)]
pub struct Client {
    shared: Arc<Shared>,
    limits: PayloadLimits,
}

/// The longest payloads published, in bytes: what the server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadLimits {
    /// As text; default 4 MiB (R15).
    pub text_bytes_max: usize,
    /// As binary; default 16 MiB (R15).
    pub binary_bytes_max: usize,
}

impl Default for PayloadLimits {
    fn default() -> Self {
        Self {
            text_bytes_max: 4 << 20,
            binary_bytes_max: 16 << 20,
        }
    }
}

impl Client {
    pub(crate) fn new(shared: Arc<Shared>, limits: PayloadLimits) -> Self {
        shared.handle_added();
        Self { shared, limits }
    }

    /// Puts a message into the outbox, connected or not, and waits until there is room for it; those who wait are served in
    /// the order in which they came. The ticket is the message's name in events, and is never changed.
    ///
    /// It is sent until it is acknowledged, and is in the log once, over any number of connections.
    ///
    /// # Errors
    /// [`PublishError`] says why the message can never be taken; never [`PublishError::Full`].
    ///
    /// Cancellation: when the future is dropped before it is ready, the message was not taken, and its turn goes to the next.
    pub async fn publish(&self, payload: impl Into<Payload>) -> Result<Ticket, PublishError> {
        let payload = payload.into();
        let Ok(_turn) = self.shared.turn.acquire().await else {
            return Err(ClientError::DriverDropped.into());
        };
        loop {
            let mut room = std::pin::pin!(self.shared.room.notified());
            // Before the attempt, so that room made in between is not missed.
            room.as_mut().enable();
            match self.put(&payload) {
                Err(PublishError::Full) => room.await,
                other => return other,
            }
        }
    }

    /// Puts a message into the outbox, or says at once that it is full.
    ///
    /// # Errors
    /// [`PublishError`]; with [`PublishError::Full`] the same message may be taken later. While others wait in
    /// [`publish`](Self::publish), it is full for this one.
    pub fn try_publish(&self, payload: impl Into<Payload>) -> Result<Ticket, PublishError> {
        let Ok(_turn) = self.shared.turn.try_acquire() else {
            return Err(PublishError::Full);
        };
        self.put(&payload.into())
    }

    fn put(&self, payload: &Payload) -> Result<Ticket, PublishError> {
        let (kind, bytes) = (payload.kind(), payload.bytes().clone());
        let limit = match kind {
            PayloadKind::Text => self.limits.text_bytes_max,
            PayloadKind::Binary => self.limits.binary_bytes_max,
        };
        if bytes.len() > limit {
            return Err(PublishError::TooLarge {
                bytes: bytes.len(),
                limit,
            });
        }
        let mut inner = self.shared.lock();
        inner.check()?;
        let ticket = inner.machine.publish(kind, bytes).map_err(|error| match error {
            weirline_resume::PublishError::OutboxFull { .. } => PublishError::Full,
            // The driver says so later; a payload is valid by construction.
            _ => PublishError::Ended(stopped(inner.stopped.as_ref())),
        })?;
        inner.published = ticket;
        self.shared.wake_driver(&mut inner);
        Ok(ticket)
    }

    /// Waits until everything published before the call is settled: acknowledged, or named by
    /// [`Event::Refused`](crate::Event::Refused) or [`Event::Uncertain`](crate::Event::Uncertain), which
    /// [`given_up`](Self::given_up) counts.
    ///
    /// # Errors
    /// [`ClientError`] when the client ends before.
    ///
    /// Cancellation: nothing is lost when the future is dropped.
    pub async fn flush(&self) -> Result<(), ClientError> {
        let through = self.shared.lock().published;
        loop {
            let mut settled = std::pin::pin!(self.shared.settled.notified());
            settled.as_mut().enable();
            {
                let inner = self.shared.lock();
                if inner.settled >= through || inner.machine.outbox_len().0 == 0 {
                    return Ok(());
                }
                if let Some(ended) = &inner.ended {
                    return Err(ended.clone());
                }
            }
            settled.await;
        }
    }

    /// Messages that left the outbox without an acknowledgement: refused for good, or uncertain.
    #[must_use]
    pub fn given_up(&self) -> u64 {
        self.shared.lock().given_up
    }

    /// Messages and payload bytes in the outbox: published, and not settled.
    #[must_use]
    pub fn outbox(&self) -> (usize, usize) {
        self.shared.lock().machine.outbox_len()
    }

    /// Whether messages flow: the server has answered on the present connection.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.shared.lock().live
    }

    /// Closes the connection properly (1000) and waits until the driver has ended; says how it ended.
    ///
    /// What is not acknowledged stays in the store: call [`flush`](Self::flush) before, to wait for it. The session
    /// lives on at the server.
    ///
    /// Cancellation: from its first poll on, the client closes also when the future is dropped.
    pub async fn close(&self) -> ClientError {
        self.shared.close();
        self.ended().await
    }

    /// Waits until the client is over, and says why.
    ///
    /// Cancellation: nothing is lost when the future is dropped.
    pub async fn ended(&self) -> ClientError {
        loop {
            let mut settled = std::pin::pin!(self.shared.settled.notified());
            settled.as_mut().enable();
            if let Some(ended) = &self.shared.lock().ended {
                return ended.clone();
            }
            settled.await;
        }
    }
}

impl Inner {
    fn check(&self) -> Result<(), ClientError> {
        match &self.ended {
            Some(ended) => Err(ended.clone()),
            None if self.closing => Err(ClientError::Closed),
            None => Ok(()),
        }
    }
}

impl Clone for Client {
    fn clone(&self) -> Self {
        Self::new(self.shared.clone(), self.limits)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.handle_dropped();
    }
}
