//! The only pump between a socket and a connection (law 5).
//!
//! ```text
//!  each turn:  write what was blocked ─▶ rounds, until one changes nothing
//!  each round: handler.poll_work ─▶ read, events to the handler ─▶ one write
//!  at the end: deadlines
//! ```
//! A turn ends when the socket has nothing more to give or to take, or when its budget is used up: then the driver wakes
//! itself, and its neighbours on the same thread come first. Deadlines are judged last, when nothing moves any more or the budget is
//! used up: what arrived or was written while the thread was busy with others counts.

use std::future::Future;
use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context as TaskContext, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use weirline_connection::{Assembly, Cause, CloseCode, Connection, End, Event, Input};
use weirline_flow::Tally;

use crate::buffer::{self, ReadBuffer};
use crate::{Context, Handler, HandlerError, Observer, Timers};

/// Drives one connection over a stream until it ends.
///
/// It is a future and spawns nothing: await it, or spawn it where it should run. It answers pings, runs the timers and
/// finishes the closing handshake whatever the handler does. It works on any transport that is a byte stream and needs tokio's
/// timer, here or [elsewhere](Self::with_timers).
///
/// Cancellation: dropping it drops the stream at once, without a closing handshake, and without [`Handler::on_end`].
#[must_use = "a driver does nothing unless it is awaited"]
pub struct Driver<S, H, O = ()> {
    stream: S,
    connection: Connection,
    handler: H,
    observer: O,
    /// A message that the handler does not take yet, or whose answer would find no room. Until one stands in the way, reading
    /// goes on, so that control frames are handled (R8).
    held: Option<Box<Event<'static>>>,
    /// Input behind `held`.
    unread: BytesMut,
    timers: Timers,
    /// Set for the next deadline, or for an earlier time.
    timer: Option<Timer>,
    /// Why nothing can be written any more. What the peer said before is still read, then the connection is over.
    write_error: Option<WriteError>,
    /// What the handler wants.
    reading: bool,
    /// The last message was answered at once: the next one waits for room in the send window. What a handler sends of its own
    /// accord does not count, or two ends that both have much to say would wait for one another for ever.
    answered: bool,
    /// The connection looks at no more input: it is read and thrown away until its end, whatever the handler wants.
    draining: bool,
    eof: bool,
    /// The last read went into a long message's own buffer: the next message may be as long, and what of it is read elsewhere must be
    /// copied.
    expects_long: bool,
    handler_failed: bool,
    unflushed: bool,
}

struct Timer {
    sleep: Pin<Box<Sleep>>,
    /// Whom it wakes.
    waker: Waker,
}

#[derive(Clone, Copy)]
struct WriteError {
    kind: io::ErrorKind,
    /// How many reads may still bring what the peer said before.
    reads_left: u8,
}

impl WriteError {
    fn new(kind: io::ErrorKind) -> Self {
        Self {
            kind,
            reads_left: READS_AFTER_ERROR,
        }
    }
}

/// What one poll of the driver has done so far.
struct Turn<'t, 'w> {
    task: &'t mut TaskContext<'w>,
    /// Read from the clock at the start, behind the first round, and behind each in which anything moved.
    now: Instant,
    /// The clock was read behind a round.
    looked: bool,
    reads: usize,
    bytes_read: usize,
    events: usize,
    bytes_written: usize,
    /// The stream has nothing to give and will wake us.
    read_pending: bool,
    /// The stream takes nothing and will wake us.
    write_pending: bool,
}

impl Turn<'_, '_> {
    fn budget_is_used_up(&self) -> bool {
        self.input_is_used_up() || self.bytes_written >= BYTES_WRITTEN_PER_TURN
    }

    fn input_is_used_up(&self) -> bool {
        self.reads >= READS_PER_TURN
            || self.bytes_read >= BYTES_READ_PER_TURN
            || self.events >= EVENTS_PER_TURN
    }
}

/// Reads in one turn, and bytes, at which no further read begins: tokio's own budget would allow 128 reads, which is 32 MiB of
/// one connection before its neighbour's first.
const READS_PER_TURN: usize = 4;
const BYTES_READ_PER_TURN: usize = 256 << 10;

/// Bytes of one read into a message's own buffer.
const BYTES_READ_IN_PLACE_MAX: usize = 256 << 10;

/// Bytes of the read behind a long message.
const BYTES_READ_BEFORE_LONG: usize = 16 << 10;

/// Messages and control frames in one turn, beyond which the rest of a read must wait: one read may bring ten thousand.
const EVENTS_PER_TURN: usize = 4096;

/// Bytes written in one turn, at which no further write begins.
const BYTES_WRITTEN_PER_TURN: usize = 256 << 10;

/// Reads after a write has failed, 8 MiB of them: more than a socket holds, and not without end.
const READS_AFTER_ERROR: u8 = 32;

/// Rounds of work, read and write in one turn.
const ROUNDS_PER_TURN: usize = 8;

/// Slices in one vectored write.
const SLICES: usize = 32;

/// R10.
const SLOW_HANDLER: Duration = Duration::from_millis(50);

impl<S, H, O> Driver<S, H, O>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler + Unpin,
    O: Observer + Unpin,
{
    /// A driver for a stream whose handshake is done. `residue` is what was read behind the handshake.
    pub fn new(stream: S, connection: Connection, residue: Bytes, handler: H, observer: O) -> Self {
        Self {
            stream,
            connection,
            handler,
            observer,
            held: None,
            unread: BytesMut::from(residue),
            timers: Timers::here(),
            timer: None,
            write_error: None,
            reading: true,
            answered: false,
            draining: false,
            eof: false,
            expects_long: false,
            handler_failed: false,
            unflushed: false,
        }
    }

    /// Sets the connection's timer elsewhere than on the runtime that polls this. Before the first poll: a timer that is set stays where it
    /// is.
    pub fn with_timers(mut self, timers: Timers) -> Self {
        self.timers = timers;
        self
    }

    /// One turn, with the thread's buffer to encode into.
    fn turn(&mut self, task: &mut TaskContext<'_>) -> Poll<End> {
        let refused = self.connection.lend(buffer::take_encode_buffer());
        let result = self.rounds(task);
        if let Some(buffer) = refused.or_else(|| self.connection.reclaim()) {
            buffer::put_back_encode_buffer(buffer);
        }
        result
    }

    /// `Ready` when the connection is over.
    fn rounds(&mut self, task: &mut TaskContext<'_>) -> Poll<End> {
        let turn = &mut Turn {
            task,
            now: now(),
            looked: false,
            reads: 0,
            bytes_read: 0,
            events: 0,
            bytes_written: 0,
            read_pending: false,
            write_pending: false,
        };
        if self.connection.wants_transmit() {
            // It may be what fills the window, and its time must not run out while the socket has room.
            self.write(turn);
        }
        for _ in 0..ROUNDS_PER_TURN {
            let mut progress = self.round(turn);
            if !H::WORKS && self.is_at_rest(turn) {
                progress = false;
            }
            if self.connection.poll_end().is_some() {
                break;
            }
            progress |= self.shutdown(turn);
            if turn.budget_is_used_up() {
                break;
            }
            if !progress && !self.wait(turn) {
                return Poll::Pending;
            }
        }
        self.time_out(turn.now);
        if let Some(end) = self.connection.poll_end() {
            let end = end.clone();
            self.finish(&end);
            return Poll::Ready(end);
        }
        // The budget is used up: the neighbours' turn. Tokio wakes this task only after it has asked the kernel whose sockets are
        // ready; woken at once, it could have dozens of turns before a neighbour that becomes ready has its first.
        let mut yielding = pin!(tokio::task::yield_now());
        let _ = yielding.as_mut().poll(turn.task);
        Poll::Pending
    }

    /// Whether another round would find nothing to do.
    fn is_at_rest(&self, turn: &Turn<'_, '_>) -> bool {
        turn.read_pending
            && self.unread.is_empty()
            && self.held.is_none()
            && self.write_error.is_none()
            && self.connection.is_open()
            && !self.connection.wants_transmit()
    }

    /// Work, read, write. Says whether anything moved.
    fn round(&mut self, turn: &mut Turn<'_, '_>) -> bool {
        let unwritable = self.write_error.is_some();
        if H::WORKS {
            self.guard(turn.now, |handler, cx| handler.poll_work(cx, turn.task));
        }
        // What is thrown away: the peer gets no answer any more, and the handler wants no message.
        self.held.take_if(|_| self.draining);
        let mut progress = self.read(turn);
        if unwritable {
            self.give_up(turn);
        }
        progress |= self.write(turn);
        if progress || !turn.looked {
            self.look_at_the_clock(turn);
        }
        self.connection.handle_reading(turn.now, self.held.is_none());
        progress
    }

    /// Nothing can be written: the connection is over unless there is more to hear of what the peer said before.
    fn give_up(&mut self, turn: &Turn<'_, '_>) {
        let Some(WriteError { kind, reads_left }) = self.write_error else {
            return;
        };
        let more_comes = !self.unread.is_empty() || (!turn.read_pending && !self.eof && reads_left > 0);
        if self.held.is_some() || !more_comes {
            self.connection.handle_io_error(kind);
        }
    }

    fn look_at_the_clock(&mut self, turn: &mut Turn<'_, '_>) {
        turn.looked = true;
        let started = std::mem::replace(&mut turn.now, now());
        let took = turn.now.saturating_duration_since(started);
        if took > SLOW_HANDLER {
            let took_ms = took.as_millis();
            tracing::warn!(event = "handler.slow", conn = self.id(), took_ms, "handler slow");
            self.observer.handler_slow(took);
        }
    }

    /// Reads while there is something and no message stands in the way. Says whether anything came.
    fn read(&mut self, turn: &mut Turn<'_, '_>) -> bool {
        let mut progress = self.feed_unread(turn);
        if turn.read_pending || !self.wants_input() {
            return progress;
        }
        while self.wants_input() && !turn.input_is_used_up() {
            let read = match self.connection.take_assembly() {
                Some(assembly) => self.read_in_place(assembly, turn),
                None => self.read_to_buffer(turn),
            };
            match read {
                Poll::Pending => {
                    turn.read_pending = true;
                    break;
                }
                Poll::Ready(Ok(0)) => {
                    self.eof = true;
                    self.connection.handle_eof(turn.now);
                }
                Poll::Ready(Ok(bytes)) => {
                    turn.reads += 1;
                    turn.bytes_read += bytes;
                    if let Some(error) = &mut self.write_error {
                        error.reads_left = error.reads_left.saturating_sub(1);
                    }
                }
                Poll::Ready(Err(error)) => self.connection.handle_io_error(error.kind()),
            }
            progress = true;
        }
        progress
    }

    /// Reads into the thread's buffer, and takes what comes; says how many bytes.
    fn read_to_buffer(&mut self, turn: &mut Turn<'_, '_>) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuffer::take();
        let room = match buffer.bytes() {
            room if self.expects_long => &mut room[..BYTES_READ_BEFORE_LONG],
            room => room,
        };
        let mut read = ReadBuf::new(room);
        let result = Pin::new(&mut self.stream).poll_read(turn.task, &mut read);
        let bytes = read.filled().len();
        if bytes > 0 {
            self.expects_long = false;
            let left = self.feed(read.filled_mut(), turn);
            self.unread.extend_from_slice(&read.filled()[bytes - left..]);
        }
        buffer.put_back();
        result.map_ok(|()| bytes)
    }

    /// Reads into the message's own buffer; says how many bytes.
    fn read_in_place(&mut self, mut assembly: Assembly, turn: &mut Turn<'_, '_>) -> Poll<io::Result<usize>> {
        let result = {
            let mut room = assembly.room().limit(BYTES_READ_IN_PLACE_MAX);
            pin!(self.stream.read_buf(&mut room)).poll(turn.task)
        };
        self.expects_long = true;
        let now = turn.now;
        self.catch(now, |driver| {
            if let Some(event) = driver.connection.handle_assembly(now, assembly) {
                driver.take_event(event, turn);
            }
        });
        result
    }

    /// Looks at what had to wait.
    fn feed_unread(&mut self, turn: &mut Turn<'_, '_>) -> bool {
        let mut progress = false;
        if self.accepts_messages(turn)
            && let Some(held) = self.held.take()
        {
            // The application reads, if slowly.
            self.connection.handle_reading(turn.now, true);
            let now = turn.now;
            self.catch(now, |driver| driver.deliver(now, *held));
            progress = true;
        }
        if self.unread.is_empty() || self.held.is_some() {
            return progress;
        }
        let mut unread = std::mem::take(&mut self.unread);
        let left = self.feed(&mut unread, turn);
        if left > 0 {
            unread.advance(unread.len() - left);
            self.unread = unread;
        }
        true
    }

    /// Feeds bytes to the connection and its events to the handler; returns how many bytes must wait.
    fn feed(&mut self, bytes: &mut [u8], turn: &mut Turn<'_, '_>) -> usize {
        let now = turn.now;
        // One net under all messages of a read: spreading one for each would cost more than many a handler.
        self.catch(now, |driver| driver.feed_all(bytes, turn))
            .unwrap_or_default()
    }

    fn feed_all(&mut self, bytes: &mut [u8], turn: &mut Turn<'_, '_>) -> usize {
        let mut input = Input::new(bytes);
        while !input.is_empty() && self.held.is_none() && turn.events < EVENTS_PER_TURN {
            if let Some(event) = self.connection.handle_input(turn.now, &mut input) {
                self.take_event(event, turn);
            }
        }
        input.rest().len()
    }

    /// Hands an event on, or holds it back where the handler cannot take it.
    // With calls of this, `lengthen_run` and `merge` a small pipelined message costs 7 % more instructions.
    #[inline(always)]
    fn take_event(&mut self, event: Event<'_>, turn: &mut Turn<'_, '_>) {
        let is_data = matches!(event, Event::Message { .. } | Event::Part { .. });
        if is_data && !self.makes_room(turn) {
            self.held = Some(Box::new(event.into_owned()));
        } else {
            turn.events += 1;
            self.deliver(turn.now, event);
        }
    }

    fn deliver(&mut self, now: Instant, event: Event<'_>) {
        match event {
            Event::Message { kind, ref payload } => {
                let bytes = payload.len();
                let started = O::TIMES_MESSAGES.then(self::now);
                self.answered = self.call(now, |handler, cx| handler.on_event(cx, event));
                let took = started.map_or(Duration::ZERO, |started| {
                    self::now().saturating_duration_since(started)
                });
                self.observer.message_handled(kind, bytes, took);
                return;
            }
            Event::Ping { .. } => self.observer.control_received(),
            Event::Pong { rtt } => {
                self.observer.control_received();
                if let Some(rtt) = rtt {
                    self.observer.round_trip(rtt);
                }
            }
            _ => {}
        }
        self.call(now, |handler, cx| handler.on_event(cx, event));
    }

    /// Calls the handler; its panics and errors end this connection and nothing else. Says whether it sent anything.
    fn guard(
        &mut self,
        now: Instant,
        call: impl FnOnce(&mut H, &mut Context<'_>) -> Result<(), HandlerError>,
    ) -> bool {
        self.catch(now, |driver| driver.call(now, call))
            .unwrap_or_default()
    }

    /// Does something that calls the handler; a panic ends this connection and nothing else. The connection is as it was when the
    /// handler was called, since nothing else here panics.
    fn catch<T>(&mut self, now: Instant, what: impl FnOnce(&mut Self) -> T) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(|| what(self))) {
            Ok(done) => Some(done),
            Err(_) => {
                tracing::error!(event = "handler.panicked", conn = self.id(), "handler panicked");
                self.handler_has_failed(now);
                None
            }
        }
    }

    fn handler_has_failed(&mut self, now: Instant) {
        self.handler_failed = true;
        self.draining = true;
        self.connection
            .fail_with(now, CloseCode::INTERNAL_ERROR, "internal error");
    }

    /// Calls the handler, under [`catch`](Self::catch). Says whether it sent anything.
    fn call(
        &mut self,
        now: Instant,
        call: impl FnOnce(&mut H, &mut Context<'_>) -> Result<(), HandlerError>,
    ) -> bool {
        if self.handler_failed {
            return false;
        }
        let mut dropped = Tally::default();
        let mut cx = Context {
            connection: &mut self.connection,
            now,
            reading: &mut self.reading,
            draining: &mut self.draining,
            dropped: &mut dropped,
            sent: false,
            broken: false,
        };
        let result = call(&mut self.handler, &mut cx);
        let (sent, broken) = (cx.sent, cx.broken);
        if dropped.messages > 0 {
            self.observer.messages_dropped(dropped);
        }
        if broken {
            self.break_off(now);
        }
        if let Err(error) = result {
            tracing::error!(event = "handler.failed", conn = self.id(), %error, "handler failed");
            self.handler_has_failed(now);
        }
        sent
    }

    /// The connection was failed by a deadline or by a send, and its Close frame is queued: what is read is of no use any more, and
    /// the handler may say why.
    fn break_off(&mut self, now: Instant) {
        self.draining = true;
        let failure = self.connection.failure();
        if let Some(cause @ (Cause::Backpressure(_) | Cause::PausedTooLong)) = failure.cloned() {
            self.guard(now, |handler, cx| handler.on_break(cx, &cause));
        }
    }

    fn id(&self) -> Option<tracing::field::DisplayValue<&dyn std::fmt::Display>> {
        self.handler.id().map(tracing::field::display)
    }

    /// Whether a message can be delivered: the handler wants it, and its answer finds room. A closing connection has no
    /// answers to wait for.
    fn accepts_messages(&self, turn: &Turn<'_, '_>) -> bool {
        // What is not taken at once stays here rather than unread; the bound is the same.
        let has_room = || {
            self.connection.reply_capacity() > 0
                && (!turn.write_pending || self.connection.send_capacity() > 0)
        };
        self.draining || (self.reading && (!self.answered || has_room() || !self.connection.is_open()))
    }

    /// The same, after writing if that could help.
    fn makes_room(&mut self, turn: &mut Turn<'_, '_>) -> bool {
        self.accepts_messages(turn) || (self.reading && self.write(turn) && self.accepts_messages(turn))
    }

    fn wants_input(&self) -> bool {
        !self.eof && self.held.is_none() && self.unread.is_empty() && self.connection.poll_end().is_none()
    }

    /// Writes all that waits (RFC 6455 §6.1), as far as the socket takes it. Says whether it took anything.
    fn write(&mut self, turn: &mut Turn<'_, '_>) -> bool {
        let mut progress = false;
        while !turn.write_pending
            && self.write_error.is_none()
            && turn.bytes_written < BYTES_WRITTEN_PER_TURN
            && self.connection.wants_transmit()
        {
            match self.write_once(turn.task) {
                Poll::Pending => turn.write_pending = true,
                Poll::Ready(Ok(written)) => {
                    turn.bytes_written += written;
                    let sent = self.connection.handle_transmitted(turn.now, written);
                    if sent.messages > 0 {
                        self.observer.messages_sent(sent.messages, sent.longest_wait);
                    }
                    self.unflushed = true;
                    progress = true;
                }
                Poll::Ready(Err(error)) => {
                    self.write_error = Some(WriteError::new(error.kind()));
                    progress = true;
                }
            }
        }
        if self.unflushed && self.write_error.is_none() {
            match Pin::new(&mut self.stream).poll_flush(turn.task) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => {
                    self.write_error = Some(WriteError::new(error.kind()));
                    progress = true;
                }
                Poll::Pending => {}
            }
        }
        progress
    }

    /// One vectored write of what waits.
    fn write_once(&mut self, task: &mut TaskContext<'_>) -> Poll<io::Result<usize>> {
        let written = if let Some(slice) = self.connection.poll_transmit_one() {
            ready!(Pin::new(&mut self.stream).poll_write(task, slice))?
        } else {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = self.connection.poll_transmit(&mut slices);
            ready!(Pin::new(&mut self.stream).poll_write_vectored(task, &slices[..filled]))?
        };
        // A transport that takes nothing never will.
        Poll::Ready(if written == 0 {
            Err(io::ErrorKind::WriteZero.into())
        } else {
            Ok(written)
        })
    }

    /// Ends our direction when it is time. Says whether that was done.
    fn shutdown(&mut self, turn: &mut Turn<'_, '_>) -> bool {
        if !self.connection.poll_shutdown() {
            return false;
        }
        match Pin::new(&mut self.stream).poll_shutdown(turn.task) {
            Poll::Pending => return false,
            Poll::Ready(Ok(())) => self.connection.handle_shutdown(turn.now),
            Poll::Ready(Err(error)) => self.connection.handle_io_error(error.kind()),
        }
        true
    }

    /// Acts on deadlines that are here. Says whether there were any.
    fn time_out(&mut self, now: Instant) -> bool {
        if self.connection.poll_timeout().is_none_or(|at| now < at) {
            return false;
        }
        let open = self.connection.is_open();
        self.connection.handle_timeout(now);
        if open && !self.connection.is_open() {
            // A deadline closes a connection by failing it.
            self.break_off(now);
        }
        true
    }

    /// Waits for the next deadline; says whether one was here.
    fn wait(&mut self, turn: &mut Turn<'_, '_>) -> bool {
        let due = self.connection.poll_timeout();
        if due.is_some_and(|at| at <= turn.now) {
            return self.time_out(turn.now);
        }
        let wake = self.handler.next_wake().filter(|_| !self.handler_failed);
        let Some(at) = [due, wake].into_iter().flatten().min() else {
            return false;
        };
        let waker = turn.task.waker();
        let timer = match &mut self.timer {
            Some(timer) => {
                // A timer that is set too early costs one wake-up; setting it anew for each message would cost more.
                let early = timer.sleep.deadline().into_std() <= at && !timer.sleep.is_elapsed();
                if early && timer.waker.will_wake(waker) {
                    return false;
                }
                if !early {
                    timer.sleep.as_mut().reset(at.into());
                }
                timer
            }
            none => {
                let sleep = Box::pin(self.timers.sleep_until(at));
                none.insert(Timer {
                    sleep,
                    waker: waker.clone(),
                })
            }
        };
        timer.waker.clone_from(waker);
        // A task that has used up its budget would leave the timer unset, and it is not looked at again before its time.
        let mut sleep = pin!(tokio::task::unconstrained(timer.sleep.as_mut()));
        sleep.as_mut().poll(turn.task).is_ready()
    }

    fn finish(&mut self, end: &End) {
        self.observer.ended(end);
        tracing::debug!(
            event = "driver.ended",
            conn = self.id(),
            sent = end.sent.map(CloseCode::value),
            received = end.received.map(CloseCode::value),
            cause = %end.cause,
            "driver ended"
        );
        let handler = &mut self.handler;
        if catch_unwind(AssertUnwindSafe(|| handler.on_end(end))).is_err() {
            tracing::error!(event = "handler.panicked", conn = self.id(), "handler panicked");
        }
    }
}

impl<S, H, O> Future for Driver<S, H, O>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler + Unpin,
    O: Observer + Unpin,
{
    type Output = End;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<End> {
        self.turn(task)
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
