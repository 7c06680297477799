use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use weirline_log::Position;
use weirline_resume::HandledError;

use crate::error::ClientError;
use crate::event::Event;
use crate::shared::Shared;

/// What happened, in order. The receiving half of a client.
///
/// Taking events is what lets the client read on: when [`EventLimits`](crate::EventLimits) are reached, it stops reading
/// the socket. When this is dropped, what is delivered afterwards is thrown away.
#[derive(Debug)]
pub struct Events {
    shared: Arc<Shared>,
}

impl Events {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        shared.handle_added();
        Self { shared }
    }

    /// The next event; `None` when the client is over and everything was taken.
    ///
    /// Cancellation: nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Event> {
        let mut event = None;
        self.take(1, |taken| event = Some(taken)).await;
        event
    }

    /// Waits for an event, appends it and up to `max` − 1 more that are there to `out`, and says how many it appended; 0
    /// means that the client is over and everything was taken.
    ///
    /// Cancellation: nothing is lost when the future is dropped, and nothing was appended.
    pub async fn next_batch(&mut self, out: &mut Vec<Event>, max: usize) -> usize {
        self.take(max.max(1), |event| out.push(event)).await
    }

    /// Says that everything up to this position is handled: it is stored with the next save and acknowledged to the
    /// server (R24). Cumulative, gaps and resets included; an earlier position than the last one does nothing.
    ///
    /// # Errors
    /// [`HandledError`] when the position was never delivered: the caller's mistake, nothing is changed.
    pub fn handled(&self, position: Position) -> Result<(), HandledError> {
        let mut inner = self.shared.lock();
        inner.machine.handled(position)?;
        inner.handled = true;
        self.shared.wake_driver(&mut inner);
        Ok(())
    }

    /// Events that wait to be taken, and the bytes they are charged with. Link states and acknowledgements are not
    /// counted.
    #[must_use]
    pub fn depth(&self) -> (usize, usize) {
        self.shared.lock().queue.depth()
    }

    /// Why the client is over; `None` while it runs. There may still be events to take.
    #[must_use]
    pub fn ended(&self) -> Option<ClientError> {
        self.shared.lock().ended.clone()
    }

    async fn take(&mut self, max: usize, mut each: impl FnMut(Event)) -> usize {
        poll_fn(|task| {
            let mut inner = self.shared.lock();
            let was_short = !inner.queue.has_room();
            let mut taken = 0;
            while taken < max
                && let Some(event) = inner.queue.pop()
            {
                each(event);
                taken += 1;
            }
            if taken == 0 && inner.ended.is_none() {
                inner.events = Some(task.waker().clone());
                return Poll::Pending;
            }
            if was_short && inner.queue.has_room() {
                self.shared.wake_driver(&mut inner);
            }
            Poll::Ready(taken)
        })
        .await
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let mut inner = self.shared.lock();
        inner.deaf = true;
        inner.queue.clear();
        self.shared.wake_driver(&mut inner);
        drop(inner);
        self.shared.handle_dropped();
    }
}
