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
    /// When the oldest message in the inbox will have waited too long, with the break strategy.
    late_at: Option<Instant>,
    /// Something was put into the inbox, and its holder is not told yet: once per turn is enough.
    untold: bool,
}

/// What a queued message costs besides its bytes.
const MESSAGE_OVERHEAD_BYTES: usize = 64;

impl QueueHandler {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            late_at: None,
            untold: false,
        }
    }

    fn deliver(state: &mut State, cx: &mut Context<'_>, message: Message) {
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
                state.held = Some(message);
                cx.set_reading(false);
            }
            _ => cx.fail(CloseCode::POLICY_VIOLATION, SATURATED),
        }
    }

    /// Hands on what the handles sent, as far as there is room. What does not fit stays, and its sender's permit with it.
    fn send(state: &mut State, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        while cx.send_capacity() > 0
            && state
                .outgoing
                .front()
                .is_some_and(|(message, _)| cx.connection().has_room(message.payload.len()))
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

const SATURATED: &str = "Backpressure: handler saturated";

impl Handler for QueueHandler {
    fn on_event(&mut self, cx: &mut Context<'_>, event: Event<'_>) -> Result<(), HandlerError> {
        match event {
            Event::Message { kind, payload } => {
                let message = Message {
                    kind,
                    payload: payload.into_bytes(),
                };
                Self::deliver(&mut self.shared.lock(), cx, message);
                self.untold = true;
                Ok(())
            }
            Event::Part { .. } => Err(HandlerError::new("a channel takes whole messages, not parts")),
            _ => Ok(()),
        }
    }

    fn poll_work(
        &mut self,
        cx: &mut Context<'_>,
        task: &mut std::task::Context<'_>,
    ) -> Result<(), HandlerError> {
        let mut state = self.shared.lock();
        let state = &mut *state;
        match &mut state.driver {
            Some(waker) => waker.clone_from(task.waker()),
            none => *none = Some(task.waker().clone()),
        }
        if let Some(message) = state.held.take() {
            cx.set_reading(true);
            Self::deliver(state, cx, message);
            self.untold |= state.held.is_none();
        }
        if cx.is_open() && state.incoming.is_late(cx.now()) {
            cx.fail(CloseCode::POLICY_VIOLATION, SATURATED);
        }
        // Once the connection is closing nothing is late any more.
        self.late_at = state.incoming.deadline().filter(|_| cx.is_open());
        if std::mem::take(&mut self.untold) {
            self.shared.arrived.notify_waiters();
        }
        Self::send(state, cx)?;
        if !cx.is_open() {
            // Nothing can be sent any more, and nobody should wait for that.
            state.outgoing.clear();
            self.shared.permits.close();
        }
        match &state.close {
            Some(CloseRequest::Abort) => cx.abort(),
            // A Close behind the end of the peer's stream would hide that messages were given up.
            _ if !cx.is_open() || !state.outgoing.is_empty() => {}
            Some(CloseRequest::Graceful(code, reason)) => cx.close(*code, reason),
            None if state.handles == 0 && !state.inbox_alive => cx.close(CloseCode::NORMAL, ""),
            None => {}
        }
        Ok(())
    }

    fn next_wake(&self) -> Option<Instant> {
        self.late_at
    }

    fn on_end(&mut self, end: &End) {
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
