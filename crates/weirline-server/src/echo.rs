//! `/echo`: every message goes back to its sender.

use std::fmt;

use tracing::info;
use weirline_log::StreamId;
use weirline_tokio::{CloseCode, Context, End, Event, Handler, HandlerError, SendError};

use crate::clock;
use crate::registry::{Place, Stage};

/// Sends everything back. It holds nothing but its place in the registry.
#[derive(Debug)]
pub(crate) struct EchoHandler {
    place: Place,
}

impl EchoHandler {
    pub(crate) fn new(place: Place) -> Self {
        Self { place }
    }
}

impl Handler for EchoHandler {
    fn on_event(&mut self, cx: &mut Context<'_>, event: Event<'_>) -> Result<(), HandlerError> {
        let Event::Message { kind, payload } = event else {
            return Ok(());
        };
        let sent = if payload.len() < SHARED_BYTES_MIN {
            cx.send(kind, &payload)
        } else {
            cx.send_shared(kind, &[], payload.into_bytes())
        };
        match sent {
            // The connection is closing already, and knows why.
            Ok(()) | Err(SendError::Closed | SendError::Broken) => Ok(()),
            Err(error) => Err(HandlerError::new(error)),
        }
    }

    fn poll_work(
        &mut self,
        cx: &mut Context<'_>,
        task: &mut std::task::Context<'_>,
    ) -> Result<(), HandlerError> {
        leave(cx, self.place.check_in(task.waker()));
        Ok(())
    }

    fn id(&self) -> Option<&dyn fmt::Display> {
        Some(self.place.id_ref())
    }

    fn on_end(&mut self, end: &End) {
        log_end(&self.place, None, end);
    }
}

/// Does what the shutdown asks for.
pub(crate) fn leave(cx: &mut Context<'_>, stage: Stage) {
    match stage {
        Stage::Running => {}
        Stage::Closing => cx.close(CloseCode::GOING_AWAY, "the server is going away"),
        Stage::Aborting => cx.abort(),
    }
}

pub(crate) fn log_end(place: &Place, stream: Option<&StreamId>, end: &End) {
    info!(
        event = "connection.closed",
        conn = %place.id(),
        stream = stream.map(tracing::field::display),
        sent = end.sent.map(CloseCode::value),
        received = end.received.map(CloseCode::value),
        cause = %end.cause,
        lasted_ms = place.age(clock::now()).as_millis(),
        "connection closed"
    );
}

/// From this length on it is cheaper to hand an assembled message on than to copy it.
const SHARED_BYTES_MIN: usize = 64 << 10;
