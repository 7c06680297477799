//! `/v1/ws`: a session with many streams over one connection, in the JSON or the binary form.

mod credentials;
mod told;

use std::cell::RefCell;
use std::fmt;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, error, info};
use weirline_log::{Command, Entry, LogReader};
use weirline_resume::wire::Form;
use weirline_resume::{Close, JsonTails, Outgoing, Session, SessionConfig, SessionEntropy};
use weirline_tokio::{Cause, CloseCode, Context, End, Entropy, Event, Handler, HandlerError, SendError};

use crate::admission::share;
use crate::config::Judge;
use crate::echo::{leave, log_end};
use crate::hub::{Fence, Hub, Reply, Submission};
use crate::registry::{News, Place, Stage};
use crate::routes::Asked;
use crate::stream::{message_kind, payload_kind};
use crate::{Config, clock};
use credentials::Credentials;
use told::Told;

/// What the connections of one worker share to serve sessions.
pub(crate) struct Sessions<R> {
    hub: Hub,
    reader: R,
    entropy: Entropy,
    json: Arc<SessionConfig>,
    binary: Arc<SessionConfig>,
    attach_rate: Option<NonZeroU32>,
    judge: Option<Judge>,
    break_after_max: Duration,
    drain_over: Duration,
    drain_deadline: Duration,
    /// Entries on their way from the log to a connection (empty between turns), and the latest of them as JSON.
    scratch: RefCell<(Vec<Entry>, JsonTails)>,
}

impl<R> Sessions<R> {
    pub(crate) fn new(config: &Config, hub: Hub, reader: R, entropy: Entropy) -> Self {
        // A client is told the limit of its transport, and how long the committer lets a session live.
        let of = |connection: &weirline_connection::Config, form: Form| {
            let size = connection.message_bytes_max(message_kind(form.kind()));
            Arc::new(SessionConfig {
                message_bytes_max: usize::try_from(size).unwrap_or(usize::MAX),
                ttl: config.session_ttl,
                ..SessionConfig::clone(&config.session)
            })
        };
        // What is left of the time behind the deadline is for the closing handshakes.
        let left = config.shutdown_timeout.saturating_sub(config.drain_over);
        Self {
            json: of(&config.json_connection, Form::Json),
            binary: of(&config.binary_connection, Form::Binary),
            attach_rate: config.attach_rate,
            judge: config.credentials.clone(),
            break_after_max: config.break_after_max,
            drain_over: config.drain_over.min(config.shutdown_timeout),
            drain_deadline: config.shutdown_timeout.saturating_sub(left / 2),
            scratch: RefCell::default(),
            hub,
            reader,
            entropy,
        }
    }

    /// The session of a connection, with what the upgrade request has said already.
    fn open(&self, asked: &Asked, now: Instant) -> Session {
        let config = match asked.form {
            Form::Json => &self.json,
            Form::Binary => &self.binary,
        };
        let entropy = SessionEntropy {
            session: self.entropy.array(),
            token: self.entropy.array(),
            spread: self.hub.admission().spread(),
        };
        let mut session = Session::new(Arc::clone(config), asked.form, "", entropy, now);
        if !asked.hellos.is_empty() && !self.hub.admission().admit(now, self.attach_rate) {
            session.turn_away();
        }
        for hello in &asked.hellos {
            session.handle_upgrade(now, hello);
        }
        session
    }
}

/// Moves bytes between the connection, the [`Session`], the committer and the log. One pointer: an idle driver stays as small as that
/// of the text form.
#[derive(Debug)]
pub(crate) struct SessionHandler<R>(Box<Inner<R>>);

struct Inner<R> {
    place: Place,
    shared: Rc<Sessions<R>>,
    session: Session,
    form: Form,
    credentials: Credentials,
    told: Told,
    /// The HELLO is counted in the rate at which sessions are attached.
    admitted: bool,
    /// A submission is with the committer.
    in_flight: bool,
    /// The client was asked to leave.
    draining: bool,
    /// Taken from the session, and waiting for room in the connection.
    waiting: Option<Outgoing>,
}

/// The session has a token in it until it is attached.
impl<R> fmt::Debug for Inner<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (place, form) = (&self.place, self.form);
        f.debug_struct("Session")
            .field("place", place)
            .field("form", &form)
            .finish_non_exhaustive()
    }
}

impl<R: LogReader> SessionHandler<R> {
    pub(crate) fn new(place: Place, shared: Rc<Sessions<R>>, asked: &Asked) -> Self {
        Self(Box::new(Inner {
            session: shared.open(asked, clock::now()),
            place,
            shared,
            form: asked.form,
            credentials: Credentials::default(),
            told: Told::default(),
            admitted: !asked.hellos.is_empty(),
            in_flight: false,
            draining: false,
            waiting: None,
        }))
    }
}

impl<R: LogReader> Inner<R> {
    /// Until there is a HELLO, whatever comes counts as one: the rate cannot be got round by something that is ignored.
    fn admit(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.admitted, true)
            && !self.shared.hub.admission().admit(now, self.shared.attach_rate)
        {
            self.session.turn_away();
        }
    }

    fn take_news(&mut self, now: Instant, news: News) {
        match news.reply {
            None => {}
            Some(Reply::Committed(outcomes)) => {
                self.in_flight = false;
                for outcome in outcomes {
                    self.session.handle_outcome(now, outcome);
                }
            }
            Some(Reply::Failed) => {
                self.in_flight = false;
                self.session.handle_log_failed();
            }
        }
        if let Some(fence) = news.fenced {
            self.waiting = None;
            self.session.handle_fenced(fence == Fence::Repeated);
        }
        for stream in &news.streams {
            self.session.handle_grown(now, stream);
        }
        if self.session.poll_timeout().is_some_and(|at| at <= now) {
            self.session.handle_timeout(now);
        }
        let judge = self.shared.judge.as_ref();
        self.credentials
            .handle(now, judge, &mut self.session, &self.place);
    }

    /// Gives the committer what there is, unless it has something already: one submission at a time bounds its mailbox.
    fn submit(&mut self) {
        if !self.in_flight {
            self.in_flight = self.submit_all();
        }
    }

    fn submit_all(&mut self) -> bool {
        let commands: Vec<Command> = std::iter::from_fn(|| self.session.poll_command()).collect();
        let some = !commands.is_empty();
        if some {
            self.shared.hub.submit(Submission {
                from: self.place.id(),
                commands,
            });
        }
        some
    }

    /// From here on growth is news of exactly what is subscribed, so that nothing can be appended unseen between the last read and the
    /// next.
    fn watch(&self) {
        let conn = self.place.id();
        self.place.watch(self.session.streams(), |stream, comes| {
            if comes {
                debug!(event = "session.subscribed", %conn, %stream, "stream subscribed");
            } else {
                debug!(event = "session.unsubscribed", %conn, %stream, "stream no longer subscribed");
            }
        });
    }

    fn deliver(&mut self, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        let mut more = true;
        while self.transmit(cx)? && more {
            let (scratch, tails) = &mut *self.shared.scratch.borrow_mut();
            let (now, capacity) = (cx.now(), cx.send_capacity());
            let read = self
                .session
                .read_from(now, &self.shared.reader, capacity, scratch, tails);
            more = read.unwrap_or_else(|error| {
                error!(event = "log.read_failed", conn = %self.place.id(), %error, "the log failed");
                // Its subscription has ended with a word, and the others go on.
                true
            });
        }
        Ok(())
    }

    /// Sends what the session has, as far as the window allows; says whether there is room for more.
    fn transmit(&mut self, cx: &mut Context<'_>) -> Result<bool, HandlerError> {
        while cx.send_capacity() > 0 {
            let waiting = self.waiting.take();
            let Some(outgoing) = waiting.or_else(|| self.session.poll_transmit()) else {
                self.close(cx);
                return Ok(cx.is_open());
            };
            if !cx.connection().has_room(outgoing.len()) {
                self.waiting = Some(outgoing);
                return Ok(false);
            }
            self.told.log(&self.place, self.form, &outgoing);
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
        let Some(close) = self.session.poll_close() else {
            return;
        };
        info!(event = "connection.closing", conn = %self.place.id(), code = close.code, reason = %close.reason, "closing");
        let code = CloseCode::try_from(close.code).unwrap_or(CloseCode::INTERNAL_ERROR);
        if matches!(close.code, Close::SUPERSEDED | Close::REPEATED) {
            // The client has another connection: what waits here is of no use to it.
            cx.fail(code, &close.reason);
        } else {
            cx.close(code, &close.reason);
        }
    }

    /// What the shutdown asks for. A client that is attached is told to leave, each at a time of its own; what is about to be decided
    /// is decided first.
    fn leave(&mut self, cx: &mut Context<'_>, stage: Stage) {
        match stage {
            Stage::Closing if self.draining => {}
            Stage::Closing if self.session.is_live() => {
                self.draining = true;
                let after = share(self.shared.hub.admission().spread(), self.shared.drain_over);
                let deadline = self.shared.drain_deadline.max(after);
                info!(event = "session.draining", conn = %self.place.id(), after_ms = after.as_millis(), "asked to leave");
                self.session.drain(cx.now(), after, deadline, None);
            }
            Stage::Closing if self.session.identity().is_some() => {}
            _ => leave(cx, stage),
        }
    }

    fn break_off(&mut self, cx: &mut Context<'_>, cause: &Cause) -> Result<(), HandlerError> {
        let after = self.shared.break_after_max.mul_f64(self.shared.entropy.uniform());
        self.waiting = None;
        self.session.break_off(after);
        let flow = self.session.poll_transmit();
        let Some(close) = self.session.poll_close() else {
            return Ok(());
        };
        info!(event = "connection.breaking", conn = %self.place.id(), %cause, reason = %close.reason, "breaking");
        let flow = flow.map(|flow| (message_kind(flow.kind), flow.to_vec()));
        // A FLOW must not come before WELCOME, which may be among what is given up.
        let flow = flow.filter(|_| cx.connection().send_counters().popped.messages > 0);
        let last = flow.as_ref().map(|(kind, flow)| (*kind, &flow[..]));
        cx.farewell(last, &close.reason).map_err(HandlerError::new)
    }
}

impl<R: LogReader> Handler for SessionHandler<R> {
    fn on_event(&mut self, cx: &mut Context<'_>, event: Event<'_>) -> Result<(), HandlerError> {
        if let Event::Message { kind, payload } = event {
            let inner = &mut *self.0;
            inner.admit(cx.now());
            // The payload is copied: it stays in the log for long, and must cost there what it is long.
            inner
                .session
                .handle_message(cx.now(), payload_kind(kind), &payload);
            cx.set_reading(inner.session.wants_input());
        }
        Ok(())
    }

    fn poll_work(
        &mut self,
        cx: &mut Context<'_>,
        task: &mut std::task::Context<'_>,
    ) -> Result<(), HandlerError> {
        let inner = &mut *self.0;
        let stage = inner.place.check_in(task.waker());
        inner.take_news(cx.now(), inner.place.news());
        inner.leave(cx, stage);
        inner.submit();
        inner.watch();
        inner.deliver(cx)?;
        // Reading may have given the session something to commit: an ACK that was due.
        inner.submit();
        cx.set_reading(inner.session.wants_input());
        Ok(())
    }

    fn on_break(&mut self, cx: &mut Context<'_>, cause: &Cause) -> Result<(), HandlerError> {
        self.0.break_off(cx, cause)
    }

    fn id(&self) -> Option<&dyn fmt::Display> {
        Some(self.0.place.id_ref())
    }

    fn next_wake(&self) -> Option<Instant> {
        let timers = [self.0.session.poll_timeout(), self.0.credentials.deadline()];
        timers.into_iter().flatten().min()
    }

    fn on_end(&mut self, end: &End) {
        log_end(&self.0.place, None, end);
    }
}

/// However the connection ends, what was taken in is committed, and then the session is detached.
impl<R> Drop for Inner<R> {
    fn drop(&mut self) {
        self.session.handle_disconnected(clock::now());
        let commands: Vec<Command> = std::iter::from_fn(|| self.session.poll_command()).collect();
        if !commands.is_empty() {
            self.shared.hub.submit(Submission {
                from: self.place.id(),
                commands,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weirline_log::MemoryReader;

    /// What an idle session has beside its driver, before its first subscription.
    #[test]
    fn idle_sessions_stay_small() {
        let inner = size_of::<Inner<MemoryReader>>();
        assert!(inner <= 896, "{inner}");
    }
}
