//! One connection: carries messages between the socket and the machine.

use std::sync::Arc;

use weirline_codec::CloseCode;
use weirline_connection::{Event as WireEvent, MessageKind};
use weirline_log::PayloadKind;
use weirline_resume::{Dial, Outgoing, TextClient};
use weirline_tokio::{Context, Handler, HandlerError};

use crate::shared::{Inner, Shared};

/// Payloads from this length on are kept as they came; shorter ones are copied out of the read buffer.
const SHARED_BYTES_MIN: usize = 4 << 10;

/// The inline handler of the connection of one dial. What it hears bears that dial, so that nothing late from an older
/// connection can change the session (I10).
#[derive(Debug)]
pub(crate) struct Link {
    shared: Arc<Shared>,
    dial: Dial,
    /// Taken from the machine, and too large for the room that the connection has.
    waiting: Option<Outgoing>,
    /// Reading has stopped because the application is slow.
    paused: bool,
    closed: bool,
}

impl Link {
    pub(crate) fn new(shared: Arc<Shared>, dial: Dial) -> Self {
        Self {
            shared,
            dial,
            waiting: None,
            paused: false,
            closed: false,
        }
    }

    /// Sends what the machine has, as far as the connection has room.
    fn transmit(&mut self, cx: &mut Context<'_>, inner: &mut Inner) {
        while cx.send_capacity() > 0 && cx.is_open() {
            let Some(message) = self.waiting.take().or_else(|| inner.machine.poll_transmit()) else {
                return;
            };
            if !cx.connection().has_room(message.len()) {
                self.waiting = Some(message);
                return;
            }
            let kind = match message.kind {
                PayloadKind::Text => MessageKind::Text,
                PayloadKind::Binary => MessageKind::Binary,
            };
            // Only a connection that is ending refuses: what was not sent is sent on the next one.
            if cx.send_shared(kind, &message.prefix, message.payload).is_err() {
                return;
            }
        }
    }

    fn close(&mut self, cx: &mut Context<'_>, inner: &mut Inner) {
        if self.closed {
            return;
        }
        let machine = &mut inner.machine;
        let (code, reason) = if let Some(close) = machine.poll_close() {
            (
                CloseCode::try_from(close.code).unwrap_or(CloseCode::NORMAL),
                close.reason,
            )
        } else if inner.closing || is_over(machine) {
            (CloseCode::NORMAL, "".into())
        } else {
            return;
        };
        self.closed = true;
        cx.close(code, &reason);
        // The closing handshake needs the peer's answer, however slow the application is.
        cx.set_reading(true);
    }
}

impl Handler for Link {
    fn on_event(&mut self, cx: &mut Context<'_>, event: WireEvent<'_>) -> Result<(), HandlerError> {
        let shared = self.shared.clone();
        let mut inner = shared.lock();
        match event {
            // What comes behind our Close is not taken in: it would pass a queue that may be full.
            WireEvent::Message { .. } if self.closed => {}
            WireEvent::Message { kind, payload } => {
                let kind = match kind {
                    MessageKind::Text => PayloadKind::Text,
                    MessageKind::Binary => PayloadKind::Binary,
                };
                if payload.len() < SHARED_BYTES_MIN {
                    inner.machine.handle_message(self.dial, cx.now(), kind, &payload);
                } else {
                    let payload = payload.into_bytes();
                    inner
                        .machine
                        .handle_message_bytes(self.dial, cx.now(), kind, &payload);
                }
                shared.drain(&mut inner);
                if !self.paused && inner.queue.is_full() {
                    tracing::debug!(
                        event = "client.reading_stopped",
                        "the application is slow: reading stops"
                    );
                    self.paused = true;
                    cx.set_reading(false);
                }
            }
            WireEvent::CloseReceived { code, reason } => {
                // RFC 6455 §7.1.5: a Close frame without a code counts as 1005.
                inner.close = Some((code.map_or(1005, u16::from), reason));
            }
            WireEvent::Pong { rtt: Some(rtt) } => tracing::trace!(?rtt, "pong"),
            _ => {}
        }
        Ok(())
    }

    fn poll_work(
        &mut self,
        cx: &mut Context<'_>,
        task: &mut std::task::Context<'_>,
    ) -> Result<(), HandlerError> {
        let shared = self.shared.clone();
        let mut inner = shared.lock();
        inner.link = Some(task.waker().clone());
        if self.paused && !self.closed && inner.queue.has_room() {
            tracing::debug!(
                event = "client.reading",
                "the application has caught up: reading goes on"
            );
            self.paused = false;
            cx.set_reading(true);
        }
        self.transmit(cx, &mut inner);
        self.close(cx, &mut inner);
        Ok(())
    }
}

/// The machine wants nothing more from this connection, and no timer of its own ends it.
fn is_over(machine: &TextClient) -> bool {
    machine.is_stopped() || (!machine.is_live() && machine.poll_timeout().is_none())
}
