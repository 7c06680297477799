//! The receiving end.

use std::sync::Arc;

use tokio::time::Instant;
use weirline_connection::End;
use weirline_flow::Tally;

use super::shared::{Message, Shared, State};

/// Receives a connection's messages, in order. What is queued when the connection ends is still received (R9).
pub struct Inbox {
    shared: Arc<Shared>,
}

/// What an inbox gives.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// A message.
    Message(Message),
    /// So many messages were dropped here, with the drop-oldest strategy: the loss is exact, and never silent.
    Dropped(Tally),
}

impl Inbox {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Waits for the next delivery; `None` when the connection is over and everything was received.
    ///
    /// Cancellation: nothing is lost when the future is dropped.
    pub async fn recv(&mut self) -> Option<Delivery> {
        self.wait_for(pop).await
    }

    /// Waits for at least one delivery and appends all there are; returns how many, 0 when the connection is over and everything
    /// was received. Under load this is much cheaper than one at a time.
    ///
    /// Cancellation: nothing is lost when the future is dropped, and nothing was appended.
    pub async fn recv_batch(&mut self, batch: &mut Vec<Delivery>) -> usize {
        let before = batch.len();
        self.wait_for(|state| {
            while let Some(delivery) = pop(state) {
                batch.push(delivery);
            }
            (batch.len() > before).then_some(())
        })
        .await;
        batch.len() - before
    }

    /// How the connection ended, once it has; `None` before, and when the driver was dropped.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.shared.lock().end.clone().and_then(Result::ok)
    }

    async fn wait_for<T>(&mut self, mut take: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        loop {
            let arrived = self.shared.arrived.notified();
            {
                let mut state = self.shared.lock();
                if let Some(taken) = take(&mut state) {
                    if state.held.is_some() {
                        // There is room, and the driver can read on.
                        state.wake_driver();
                    }
                    return Some(taken);
                }
                if state.end.is_some() {
                    return None;
                }
            }
            arrived.await;
        }
    }
}

fn pop(state: &mut State) -> Option<Delivery> {
    if state.dropped.messages > 0 {
        return Some(Delivery::Dropped(std::mem::take(&mut state.dropped)));
    }
    if let Some(popped) = state.incoming.pop(Instant::now().into_std()) {
        return Some(Delivery::Message(popped.item));
    }
    // The driver brings it when it can; when it never will, it is the last.
    let held = if state.end.is_some() {
        state.held.take()
    } else {
        None
    };
    held.map(Delivery::Message)
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.inbox_alive = false;
        state.incoming.clear();
        state.dropped = Tally::default();
        state.wake_driver();
    }
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inbox(..)")
    }
}
