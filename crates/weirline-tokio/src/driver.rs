//! The only pump between a socket and a connection (law 5).
//!
//! ```text
//!  each turn:  handler.poll_work ─▶ read (at most 4 times) ─▶ events to the handler ─▶ one write ─▶ timers
//! ```
//! A turn ends when the socket has nothing more to give or to take, or when its budget is used up: then the driver wakes
//! itself, and its neighbours on the same thread come first.

use std::future::Future;
use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use weirline_connection::{CloseCode, Connection, End, Event, Input};
use weirline_flow::Tally;

use crate::buffer::ReadBuffer;
use crate::{Context, Handler, HandlerError, Observer};

/// Drives one connection over a stream until it ends.
///
/// It is a future and spawns nothing: await it, or spawn it where it should run. It answers pings, runs the timers and
/// finishes the closing handshake whatever the handler does. It works on any transport that is a byte stream and needs tokio's
/// timer.
///
/// Dropping it drops the stream at once, without a closing handshake, and without [`Handler::on_end`].
#[must_use = "a driver does nothing unless it is awaited"]
pub struct Driver<S, H, O = ()> {
    stream: S,
    connection: Connection,
    handler: H,
    observer: O,
    /// Input that was read and not yet looked at, because the handler or the send window does not take more.
    unread: BytesMut,
    timer: Option<Pin<Box<Sleep>>>,
    /// What the handler wants.
    reading: bool,
    eof: bool,
    handler_failed: bool,
    unflushed: bool,
}

/// Reads in one turn: tokio's own budget would allow 128, which is 32 MiB of one connection before its neighbour's first.
const READS_PER_TURN: usize = 4;

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
            unread: BytesMut::from(residue),
            timer: None,
            reading: true,
            eof: false,
            handler_failed: false,
            unflushed: false,
        }
    }

    /// One turn. `Ready` when the connection is over.
    fn turn(&mut self, task: &mut TaskContext<'_>) -> Poll<End> {
        let mut reads = 0;
        for _ in 0..ROUNDS_PER_TURN {
            let now = now();
            self.connection.handle_timeout(now);
            self.work(now, task);
            let mut progress = self.read(task, &mut reads);
            progress |= self.write(task);
            if let Some(end) = self.connection.poll_end() {
                let end = end.clone();
                self.finish(&end);
                return Poll::Ready(end);
            }
            progress |= self.shutdown(task);
            progress |= self.wait(task);
            if !progress {
                return Poll::Pending;
            }
            if reads >= READS_PER_TURN {
                break;
            }
        }
        // The budget is used up: the neighbours' turn.
        task.waker().wake_by_ref();
        Poll::Pending
    }

    fn work(&mut self, now: Instant, task: &mut TaskContext<'_>) {
        self.guard(now, |handler, cx| handler.poll_work(cx, task));
    }

    /// Reads while there is something, the handler wants it and the answers find room. Says whether anything came.
    fn read(&mut self, task: &mut TaskContext<'_>, reads: &mut usize) -> bool {
        let mut progress = self.feed_unread(task);
        let mut buffer = None;
        while self.wants_input() && *reads < READS_PER_TURN {
            let buffer = buffer.get_or_insert_with(ReadBuffer::take);
            let mut read = ReadBuf::new(buffer.bytes());
            match Pin::new(&mut self.stream).poll_read(task, &mut read) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) if read.filled().is_empty() => {
                    self.eof = true;
                    self.connection.handle_eof(now());
                    progress = true;
                }
                Poll::Ready(Ok(())) => {
                    *reads += 1;
                    progress = true;
                    let left = self.feed(read.filled_mut(), task);
                    let filled = read.filled();
                    self.unread.extend_from_slice(&filled[filled.len() - left..]);
                }
                Poll::Ready(Err(error)) => {
                    self.connection.handle_io_error(error.kind());
                    progress = true;
                    break;
                }
            }
        }
        if let Some(buffer) = buffer {
            buffer.put_back();
        }
        let reading = self.wants_input() || self.eof;
        self.connection.handle_reading(now(), reading);
        progress
    }

    /// Looks at input that had to wait.
    fn feed_unread(&mut self, task: &mut TaskContext<'_>) -> bool {
        if self.unread.is_empty() || !self.accepts_events() {
            return false;
        }
        let mut unread = std::mem::take(&mut self.unread);
        let left = self.feed(&mut unread, task);
        let taken = unread.len() - left;
        if left > 0 {
            unread.advance(taken);
            self.unread = unread;
        }
        taken > 0
    }

    /// Feeds bytes to the connection and its events to the handler; returns how many bytes must wait.
    fn feed(&mut self, bytes: &mut [u8], task: &mut TaskContext<'_>) -> usize {
        let started = now();
        let mut input = Input::new(bytes);
        while !input.is_empty() {
            if !self.accepts_events() {
                self.write(task);
                if !self.accepts_events() {
                    break;
                }
            }
            if let Some(event) = self.connection.handle_input(started, &mut input) {
                self.deliver(started, event);
            }
        }
        let took = now().saturating_duration_since(started);
        if took > SLOW_HANDLER {
            tracing::warn!(took_ms = took.as_millis(), "handler_slow");
            self.observer.handler_slow(took);
        }
        input.rest().len()
    }

    fn deliver(&mut self, now: Instant, event: Event<'_>) {
        match event {
            Event::Message { kind, ref payload } => {
                let bytes = payload.len();
                let started = O::TIMES_MESSAGES.then(self::now);
                self.guard(now, |handler, cx| handler.on_event(cx, event));
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
        self.guard(now, |handler, cx| handler.on_event(cx, event));
    }

    /// Calls the handler; its panics and errors end this connection and nothing else.
    fn guard(
        &mut self,
        now: Instant,
        call: impl FnOnce(&mut H, &mut Context<'_>) -> Result<(), HandlerError>,
    ) {
        if self.handler_failed {
            return;
        }
        let mut dropped = Tally::default();
        let mut cx = Context {
            connection: &mut self.connection,
            now,
            reading: &mut self.reading,
            dropped: &mut dropped,
        };
        let handler = &mut self.handler;
        let result = catch_unwind(AssertUnwindSafe(|| call(handler, &mut cx)));
        if dropped.messages > 0 {
            self.observer.messages_dropped(dropped);
        }
        match result {
            Ok(Ok(())) => return,
            Ok(Err(error)) => tracing::error!(%error, "handler_failed"),
            Err(_) => tracing::error!("handler_panicked"),
        }
        self.handler_failed = true;
        self.reading = true;
        self.connection
            .fail_with(now, CloseCode::INTERNAL_ERROR, "internal error");
    }

    /// Whether events can be delivered: the handler wants them, and its answers find room. A closing connection has no
    /// answers to wait for.
    fn accepts_events(&self) -> bool {
        self.reading && (!self.connection.is_open() || self.connection.send_capacity() > 0)
    }

    fn wants_input(&self) -> bool {
        !self.eof && self.unread.is_empty() && self.accepts_events() && self.connection.poll_end().is_none()
    }

    /// Writes all that waits, as far as the socket takes it. Says whether it took anything.
    fn write(&mut self, task: &mut TaskContext<'_>) -> bool {
        let mut progress = false;
        loop {
            match self.write_once(task) {
                Poll::Ready(Ok(0)) => break,
                Poll::Ready(Ok(written)) => {
                    let sent = self.connection.handle_transmitted(now(), written);
                    if sent.messages > 0 {
                        self.observer.messages_sent(sent.messages, sent.longest_wait);
                    }
                    self.unflushed = true;
                    progress = true;
                }
                Poll::Ready(Err(error)) => {
                    self.connection.handle_io_error(error.kind());
                    return true;
                }
                Poll::Pending => break,
            }
        }
        if self.unflushed {
            match Pin::new(&mut self.stream).poll_flush(task) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => {
                    self.connection.handle_io_error(error.kind());
                    progress = true;
                }
                Poll::Pending => {}
            }
        }
        progress
    }

    /// One vectored write; `Ok(0)` when nothing waits.
    fn write_once(&mut self, task: &mut TaskContext<'_>) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let filled = self.connection.poll_transmit(&mut slices);
        if filled == 0 {
            return Poll::Ready(Ok(0));
        }
        let written = if filled == 1 {
            ready!(Pin::new(&mut self.stream).poll_write(task, &slices[0]))?
        } else {
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
    fn shutdown(&mut self, task: &mut TaskContext<'_>) -> bool {
        if !self.connection.poll_shutdown() {
            return false;
        }
        match Pin::new(&mut self.stream).poll_shutdown(task) {
            Poll::Pending => return false,
            Poll::Ready(Ok(())) => self.connection.handle_shutdown(now()),
            Poll::Ready(Err(error)) => self.connection.handle_io_error(error.kind()),
        }
        true
    }

    /// Waits for the next deadline; says whether it is here.
    fn wait(&mut self, task: &mut TaskContext<'_>) -> bool {
        let wake = self.handler.next_wake().filter(|_| !self.handler_failed);
        let Some(at) = [self.connection.poll_timeout(), wake].into_iter().flatten().min() else {
            return false;
        };
        let at = tokio::time::Instant::from_std(at);
        let timer = match &mut self.timer {
            Some(timer) => {
                // A timer that is set too early costs one wake-up; setting it anew for each message would cost more.
                if at < timer.deadline() || timer.is_elapsed() {
                    timer.as_mut().reset(at);
                }
                timer
            }
            none => none.insert(Box::pin(tokio::time::sleep_until(at))),
        };
        timer.as_mut().poll(task).is_ready()
    }

    fn finish(&mut self, end: &End) {
        self.observer.ended(end);
        tracing::debug!(
            sent = end.sent.map(CloseCode::value),
            received = end.received.map(CloseCode::value),
            cause = %end.cause,
            "connection_ended"
        );
        if !self.handler_failed {
            let handler = &mut self.handler;
            if catch_unwind(AssertUnwindSafe(|| handler.on_end(end))).is_err() {
                tracing::error!("handler_panicked");
            }
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
