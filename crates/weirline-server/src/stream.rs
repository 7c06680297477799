//! `/v1/streams/{stream}`: the text form of the resume protocol over one connection.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tracing::{error, info};
use weirline_log::{Command, Entry, LogReader, PayloadKind};
use weirline_resume::{Close, Outgoing, PauseReason, TextServer};
use weirline_tokio::{
    Cause, CloseCode, Context, End, Entropy, Event, Handler, HandlerError, MessageKind, SendError,
};

use crate::clock;
use crate::echo::{leave, log_end};
use crate::hub::{Hub, Reply, Submission};
use crate::registry::{News, Place};

/// What the connections of one worker share to serve streams.
#[derive(Debug)]
pub(crate) struct Streams<R> {
    pub(crate) hub: Hub,
    pub(crate) reader: R,
    /// Entries on their way from the log to a connection; empty between turns.
    pub(crate) scratch: RefCell<Vec<Entry>>,
    pub(crate) entropy: Entropy,
    pub(crate) break_after_max: Duration,
}

/// Moves bytes between the connection, the [`TextServer`], the committer and the log.
///
/// Publishing and delivering meet nowhere but in the log: what this connection sends is what it reads there.
#[derive(Debug)]
pub(crate) struct StreamHandler<R> {
    place: Place,
    streams: Rc<Streams<R>>,
    server: TextServer,
    /// A submission is with the committer.
    in_flight: bool,
    subscribed: bool,
    /// Taken from the server, and waiting for room in the connection.
    waiting: Option<Box<Outgoing>>,
}

impl<R: LogReader> StreamHandler<R> {
    pub(crate) fn new(place: Place, streams: Rc<Streams<R>>, server: TextServer) -> Self {
        Self {
            place,
            streams,
            server,
            in_flight: false,
            subscribed: false,
            waiting: None,
        }
    }

    fn take_news(&mut self, now: Instant, news: News) {
        match news.reply {
            None => {}
            Some(Reply::Committed(outcomes)) => {
                self.in_flight = false;
                for outcome in outcomes {
                    self.server.handle_outcome(now, outcome);
                }
            }
            Some(Reply::Failed) => {
                self.in_flight = false;
                self.server.handle_log_failed();
            }
        }
        if news.fenced.is_some() {
            self.server.handle_fenced();
        }
        if news.grown {
            self.server.handle_grown();
        }
        if self.server.poll_timeout().is_some_and(|at| at <= now) {
            self.server.handle_timeout(now);
        }
    }

    /// Gives the committer what there is, unless it has something already: one submission at a time bounds its mailbox.
    fn submit(&mut self) {
        if self.in_flight {
            return;
        }
        let commands: Vec<Command> = std::iter::from_fn(|| self.server.poll_command()).collect();
        if !commands.is_empty() {
            self.in_flight = true;
            self.streams.hub.submit(Submission {
                from: self.place.id(),
                commands,
            });
        }
    }

    fn deliver(&mut self, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        // From here on growth is news, so that nothing can be appended unseen between the last read and the next.
        if !self.subscribed && self.server.cursor().is_some() {
            self.place.subscribe(self.server.stream());
            self.subscribed = true;
        }
        let mut more = true;
        while self.transmit(cx)? && more {
            let mut scratch = self.streams.scratch.borrow_mut();
            more = match self
                .server
                .read_from(&self.streams.reader, cx.send_capacity(), &mut scratch)
            {
                Ok(more) => more,
                Err(error) => {
                    error!(event = "log.read_failed", conn = %self.place.id(), %error, "the log failed");
                    false
                }
            };
        }
        Ok(())
    }

    /// Sends what the server has, as far as the window allows; says whether there is room for more.
    fn transmit(&mut self, cx: &mut Context<'_>) -> Result<bool, HandlerError> {
        while cx.send_capacity() > 0 {
            let waiting = self.waiting.take().map(|waiting| *waiting);
            let Some(outgoing) = waiting.or_else(|| self.server.poll_transmit()) else {
                self.close(cx);
                return Ok(cx.is_open());
            };
            if !cx.connection().has_room(outgoing.len()) {
                self.waiting = Some(Box::new(outgoing));
                return Ok(false);
            }
            // What a client is told besides its messages: where it stands, and what it will never get.
            if let Some(said) = outgoing.control_text() {
                info!(event = "stream.told", conn = %self.place.id(), stream = %self.server.stream(), said, "told");
            }
            let Outgoing {
                kind,
                prefix,
                payload,
            } = outgoing;
            match cx.send_shared(message_kind(kind), &prefix, payload) {
                Ok(()) => {}
                Err(SendError::Closed | SendError::Broken) => return Ok(false),
                Err(error) => return Err(HandlerError::new(error)),
            }
        }
        Ok(false)
    }

    fn close(&mut self, cx: &mut Context<'_>) {
        let Some(close) = self.server.poll_close() else {
            return;
        };
        info!(event = "connection.closing", conn = %self.place.id(), code = close.code, reason = %close.reason, "closing");
        let code = CloseCode::try_from(close.code).unwrap_or(CloseCode::INTERNAL_ERROR);
        if close.code == Close::SUPERSEDED {
            // The client has another connection: what waits here is of no use to it.
            cx.fail(code, &close.reason);
        } else {
            cx.close(code, &close.reason);
        }
    }
}

impl<R: LogReader> Handler for StreamHandler<R> {
    fn on_event(&mut self, cx: &mut Context<'_>, event: Event<'_>) -> Result<(), HandlerError> {
        if let Event::Message { kind, payload } = event {
            // The payload is copied: it stays in the log for long, and must cost there what it is long.
            self.server.handle_message(cx.now(), payload_kind(kind), &payload);
            cx.set_reading(self.server.wants_input());
        }
        Ok(())
    }

    fn poll_work(
        &mut self,
        cx: &mut Context<'_>,
        task: &mut std::task::Context<'_>,
    ) -> Result<(), HandlerError> {
        let stage = self.place.check_in(task.waker());
        self.take_news(cx.now(), self.place.news());
        self.submit();
        self.deliver(cx)?;
        // Reading may have given the server something to commit: an ACK that was due.
        self.submit();
        cx.set_reading(self.server.wants_input());
        leave(cx, stage);
        Ok(())
    }

    fn on_break(&mut self, cx: &mut Context<'_>, cause: &Cause) -> Result<(), HandlerError> {
        let reason = match cause {
            Cause::PausedTooLong => PauseReason::PUBLISHING,
            _ => PauseReason::SLOW_CONSUMER,
        };
        let after = self
            .streams
            .break_after_max
            .mul_f64(self.streams.entropy.uniform());
        self.waiting = None;
        self.server.break_off(reason, after);
        let pause = self.server.poll_transmit();
        let Some(close) = self.server.poll_close() else {
            return Ok(());
        };
        info!(event = "connection.breaking", conn = %self.place.id(), %cause, reason = %close.reason, "breaking");
        let pause = pause.map(|pause| (message_kind(pause.kind), pause.to_vec()));
        // A PAUSE must not come before the answer to the opening, which may be among what is given up.
        let pause = pause.filter(|_| cx.connection().send_counters().popped.messages > 0);
        let last = pause.as_ref().map(|(kind, pause)| (*kind, &pause[..]));
        cx.farewell(last, &close.reason).map_err(HandlerError::new)
    }

    fn id(&self) -> Option<&dyn fmt::Display> {
        Some(self.place.id_ref())
    }

    fn next_wake(&self) -> Option<Instant> {
        self.server.poll_timeout()
    }

    fn on_end(&mut self, end: &End) {
        log_end(&self.place, Some(self.server.stream()), end);
    }
}

/// However the connection ends, what was taken in is committed, and then the session is detached.
impl<R> Drop for StreamHandler<R> {
    fn drop(&mut self) {
        self.server.handle_disconnected(clock::now());
        let commands: Vec<Command> = std::iter::from_fn(|| self.server.poll_command()).collect();
        if !commands.is_empty() {
            self.streams.hub.submit(Submission {
                from: self.place.id(),
                commands,
            });
        }
    }
}

pub(crate) fn message_kind(kind: PayloadKind) -> MessageKind {
    match kind {
        PayloadKind::Text => MessageKind::Text,
        PayloadKind::Binary => MessageKind::Binary,
    }
}

pub(crate) fn payload_kind(kind: MessageKind) -> PayloadKind {
    match kind {
        MessageKind::Text => PayloadKind::Text,
        MessageKind::Binary => PayloadKind::Binary,
    }
}
