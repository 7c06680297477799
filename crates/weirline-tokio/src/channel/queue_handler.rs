//! The driver's end: moves messages between the connection and the queues.

use std::sync::Arc;
use std::time::Instant;

use weirline_connection::{CloseCode, End, Event, SendError};
use weirline_flow::Push;

use super::shared::{CloseRequest, DriverGone, Message, Shared, State};
use crate::{Context, Handler, HandlerError};

/// The [`Handler`] of a connection that is used through [`Handle`](super::Handle) and [`Inbox`](super::Inbox).
pub struct QueueHandler {
    shared: Arc<Shared>,
    /// A message that found the inbox full: reading stops until it fits.
    held: Option<Message>,
    late_at: Option<Instant>,
}

/// What a queued message costs besides its bytes.
const MESSAGE_OVERHEAD_BYTES: usize = 64;

impl QueueHandler {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            held: None,
            late_at: None,
        }
    }

    fn deliver(&mut self, state: &mut State, cx: &mut Context<'_>, message: Message) {
        if !state.inbox_alive {
            return;
        }
        let cost = message.payload.len() + MESSAGE_OVERHEAD_BYTES;
        match state.incoming.push(cx.now(), message, cost) {
            Push::Queued => {}
            Push::Dropped(dropped) => {
                state.dropped.messages += dropped.messages;
                state.dropped.bytes += dropped.bytes;
            }
            Push::Full(message) => {
                self.held = Some(message);
                cx.set_reading(false);
            }
            _ => cx.fail(CloseCode::POLICY_VIOLATION, "Backpressure: handler saturated"),
        }
        self.late_at = state.incoming.deadline();
    }

    fn send(state: &mut State, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        while cx.send_capacity() > 0
            && let Some((message, permit)) = state.outgoing.pop_front()
        {
            drop(permit);
            match cx.send_shared(message.kind, &[], message.payload) {
                Ok(()) | Err(SendError::Closed | SendError::Broken) => {}
                Err(error) => return Err(HandlerError::new(error)),
            }
        }
        Ok(())
    }
}

impl Handler for QueueHandler {
    fn on_event(&mut self, cx: &mut Context<'_>, event: Event<'_>) -> Result<(), HandlerError> {
        if let Event::Message { kind, payload } = event {
            let shared = self.shared.clone();
            let message = Message {
                kind,
                payload: payload.into_bytes(),
            };
            self.deliver(&mut shared.lock(), cx, message);
            shared.arrived.notify_waiters();
        }
        Ok(())
    }

    fn poll_work(
        &mut self,
        cx: &mut Context<'_>,
        task: &mut std::task::Context<'_>,
    ) -> Result<(), HandlerError> {
        let shared = self.shared.clone();
        let mut state = shared.lock();
        if !state
            .driver
            .as_ref()
            .is_some_and(|waker| waker.will_wake(task.waker()))
        {
            state.driver = Some(task.waker().clone());
        }
        if let Some(message) = self.held.take() {
            cx.set_reading(true);
            self.deliver(&mut state, cx, message);
            shared.arrived.notify_waiters();
        }
        self.late_at = state.incoming.deadline();
        if state.incoming.is_late(cx.now()) {
            cx.fail(CloseCode::POLICY_VIOLATION, "Backpressure: handler saturated");
        }
        Self::send(&mut state, cx)?;
        if state.outgoing.is_empty() {
            match state.close.as_ref() {
                Some(CloseRequest::Graceful(code, reason)) => cx.close(*code, reason),
                None if state.handles == 0 && !state.inbox_alive => cx.close(CloseCode::NORMAL, ""),
                _ => {}
            }
        }
        if matches!(state.close, Some(CloseRequest::Abort)) {
            cx.abort();
        }
        Ok(())
    }

    fn next_wake(&self) -> Option<Instant> {
        self.late_at
    }

    fn on_end(&mut self, end: &End) {
        if let Some(message) = self.held.take() {
            // Received before the end, so the worker gets it (R9): the inbox is full, and takes this one more.
            self.shared.lock().last = Some(message);
        }
        self.shared.finish(Ok(end.clone()));
    }
}

impl Drop for QueueHandler {
    fn drop(&mut self) {
        self.shared.finish(Err(DriverGone));
    }
}

impl std::fmt::Debug for QueueHandler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("QueueHandler(..)")
    }
}
