//! What the handles and the driver share: the machine, the event queue, and who waits for what.
//!
//! One mutex, held for a few operations on memory and never across an await. Whoever changes something wakes the
//! one who waits for it:
//!
//! | waiter | waits for | woken by |
//! |---|---|---|
//! | driver | publishes, room in the event queue, close | [`Shared::wake_driver`] |
//! | `Events::next` | an event, the end | `Inner::events` |
//! | `Client::publish` (one at a time, in order) | room in the outbox, the end | `Shared::room` |
//! | `Client::flush`, `Client::close` | fewer messages in the outbox, the end | `Shared::settled` |

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use tokio::sync::{Notify, Semaphore};
use weirline_handshake::Escaped;
use weirline_log::Position;
use weirline_resume::{ClientEvent, TextClient, Ticket};

use crate::error::ClientError;
use crate::event::{Event, Gap, LinkState, Message};
use crate::queue::EventQueue;

#[derive(Debug)]
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    /// Wakes the driver's outer loop.
    pub(crate) drive: Notify,
    /// Wakes the driver's saving of the state.
    pub(crate) save: Notify,
    pub(crate) room: Notify,
    pub(crate) settled: Notify,
    /// One permit: publishers take their turn in the order in which they came.
    pub(crate) turn: Semaphore,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) machine: TextClient,
    pub(crate) queue: EventQueue,
    /// The task in `Events::next`.
    pub(crate) events: Option<Waker>,
    /// The task that polls the connection.
    pub(crate) link: Option<Waker>,
    /// `Client`s and `Events` that are alive.
    pub(crate) handles: usize,
    /// `Events` is gone: nobody will take what is delivered.
    pub(crate) deaf: bool,
    /// The application wants the end.
    pub(crate) closing: bool,
    pub(crate) ended: Option<ClientError>,
    /// The first answer of the current connection has come.
    pub(crate) live: bool,
    /// Code and reason of the Close frame that came on the current connection.
    pub(crate) close: Option<(u16, String)>,
    /// Something was handled that is not stored.
    pub(crate) handled: bool,
    /// The highest ticket given out.
    pub(crate) published: Ticket,
    /// Everything up to it has left the outbox.
    pub(crate) settled: Ticket,
    /// Messages that left the outbox without an acknowledgement.
    pub(crate) given_up: u64,
    /// Why the machine has stopped, when it has.
    pub(crate) stopped: Option<ClientEvent>,
}

impl Shared {
    pub(crate) fn new(machine: TextClient, queue: EventQueue, published: Ticket) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                machine,
                queue,
                events: None,
                link: None,
                handles: 0,
                deaf: false,
                closing: false,
                ended: None,
                live: false,
                close: None,
                handled: false,
                published,
                settled: Ticket::default(),
                given_up: 0,
                stopped: None,
            }),
            drive: Notify::new(),
            save: Notify::new(),
            room: Notify::new(),
            settled: Notify::new(),
            turn: Semaphore::new(1),
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic of one holder leaves the machine as it was before or after one operation.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is something to send, to read again, or to end.
    pub(crate) fn wake_driver(&self, inner: &mut Inner) {
        if let Some(waker) = inner.link.take() {
            waker.wake();
        }
        self.drive.notify_one();
        self.save.notify_one();
    }

    /// Waits until the condition holds; an error when the client closes before.
    pub(crate) async fn until(&self, holds: impl Fn(&Inner) -> bool) -> Result<(), ClientError> {
        loop {
            {
                let inner = self.lock();
                if inner.closing {
                    return Err(ClientError::Closed);
                }
                if holds(&inner) {
                    return Ok(());
                }
            }
            // A permit is kept for whoever comes late, so that no change is missed.
            self.drive.notified().await;
        }
    }

    /// Takes over what the machine has to say. Call after every change of the machine.
    pub(crate) fn drain(&self, inner: &mut Inner) {
        while let Some(event) = inner.machine.poll_event() {
            log(&event);
            self.note(inner, &event);
            if let Some(event) = translate(event) {
                inner.push(event);
            }
        }
        if inner.machine.needs_store() {
            self.save.notify_one();
        }
    }

    /// What the handles and the driver must know of an event.
    fn note(&self, inner: &mut Inner, event: &ClientEvent) {
        match event {
            ClientEvent::Live { .. } => {
                inner.live = true;
                // The driver counts from here how long the session is stable.
                self.drive.notify_one();
                return;
            }
            ClientEvent::Superseded | ClientEvent::Failed(_) => {
                inner.stopped = Some(event.clone());
                return;
            }
            ClientEvent::Acked { through } => inner.settled = inner.settled.max(*through),
            ClientEvent::Refused { retried: false, .. } => inner.given_up += 1,
            ClientEvent::Uncertain { from, to } => {
                inner.settled = inner.settled.max(*to);
                inner.given_up += to.0 - from.0 + 1;
            }
            _ => return,
        }
        self.room.notify_waiters();
        self.settled.notify_waiters();
    }

    /// The application, or a failure, wants the end.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.closing = true;
        self.wake_driver(&mut inner);
    }

    /// The end: everything that waits is told, once.
    pub(crate) fn finish(&self, why: ClientError) {
        let mut inner = self.lock();
        if inner.ended.is_some() {
            return;
        }
        inner.ended = Some(why);
        if let Some(waker) = inner.events.take() {
            waker.wake();
        }
        self.room.notify_waiters();
        self.settled.notify_waiters();
    }

    pub(crate) fn handle_added(&self) {
        self.lock().handles += 1;
    }

    /// With the last handle, the client closes.
    pub(crate) fn handle_dropped(&self) {
        let mut inner = self.lock();
        inner.handles -= 1;
        if inner.handles == 0 {
            inner.closing = true;
            self.wake_driver(&mut inner);
        }
    }
}

impl Inner {
    /// Queues an event for the application and wakes it.
    pub(crate) fn push(&mut self, event: Event) {
        if self.deaf {
            return;
        }
        self.queue.push(event);
        if let Some(waker) = self.events.take() {
            waker.wake();
        }
    }
}

/// The application's name for what the machine says; `None` for what the driver deals with.
fn translate(event: ClientEvent) -> Option<Event> {
    Some(match event {
        ClientEvent::Live { stream } => Event::Link(LinkState::Live { stream }),
        ClientEvent::Message {
            position,
            kind,
            payload,
        } => Event::Message(Message {
            position,
            kind,
            payload,
        }),
        ClientEvent::Gap {
            epoch,
            from,
            to,
            reason,
        } => Event::Gap(Gap {
            from,
            position: Position { epoch, offset: to },
            reason,
        }),
        ClientEvent::Reset { taken, position } => Event::Reset { taken, position },
        ClientEvent::Paused { reason } => Event::Paused { reason },
        ClientEvent::Continued => Event::Continued,
        ClientEvent::Acked { through } => Event::Acked(through),
        ClientEvent::Refused {
            ticket,
            code,
            text,
            retried,
        } => Event::Refused {
            ticket,
            code,
            text,
            retried,
        },
        ClientEvent::LostAfterAck { from, to } => Event::LostAfterAck { from, to },
        ClientEvent::Uncertain { from, to } => Event::Uncertain { from, to },
        ClientEvent::SessionRenewed => Event::SessionRenewed,
        _ => return None,
    })
}

/// One line for every change of state (R27, R30); none for messages and acknowledgements.
fn log(event: &ClientEvent) {
    match event {
        ClientEvent::Live {
            stream: Some((position, head)),
        } => {
            tracing::info!(event = "client.live", epoch = %position.epoch, offset = %position.offset, %head, "live");
        }
        ClientEvent::Live { stream: None } => tracing::info!(event = "client.live", "live"),
        ClientEvent::Gap {
            epoch,
            from,
            to,
            reason,
        } => tracing::warn!(event = "client.gap", %epoch, %from, %to, %reason, "gap"),
        ClientEvent::Reset { taken, position } => {
            let taken = taken.map(|taken| taken.offset.get());
            tracing::warn!(event = "client.reset", taken, epoch = %position.epoch, common = %position.offset, "reset");
        }
        ClientEvent::Paused { reason } => tracing::info!(event = "client.paused", reason, "paused"),
        ClientEvent::Continued => tracing::info!(event = "client.continued", "continued"),
        ClientEvent::Refused {
            ticket,
            code,
            text,
            retried,
        } => {
            let text = Escaped(text);
            tracing::warn!(event = "client.refused", ticket = ticket.0, %code, %text, retried, "refused");
        }
        ClientEvent::LostAfterAck { from, to } => {
            tracing::error!(event = "client.lost_after_ack", %from, %to, "lost_after_ack");
        }
        ClientEvent::Uncertain { from, to } => {
            tracing::warn!(event = "client.uncertain", from = from.0, to = to.0, "uncertain");
        }
        ClientEvent::SessionRenewed => tracing::warn!(event = "client.session_renewed", "session_renewed"),
        _ => {}
    }
}
