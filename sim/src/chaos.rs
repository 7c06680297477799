//! The chaos stream: a byte stream that behaves as badly as TCP may, and never worse.
//!
//! Simulated networks keep the boundaries of writes, and programs come to rely on them. Around each simulated socket
//! this wrapper cuts reads and writes short, joins what was sent apart, answers `Pending` for no reason (and wakes at
//! once), and stalls, all from a seed.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::rng::Rng;

/// How bad it gets; a share of 0 switches a trick off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChaosPlan {
    /// Percent of polls answered by `Pending` and an immediate wake.
    pub pending_percent: u64,
    /// Percent of reads cut short.
    pub short_read_percent: u64,
    /// Percent of writes cut short.
    pub short_write_percent: u64,
    /// The longest short read or write in bytes; 1 makes a dribble.
    pub short_bytes_max: u64,
    /// Percent of reads that wait for more and join it.
    pub join_percent: u64,
    /// Stalls in a thousand polls.
    pub stall_per_mille: u64,
    /// The longest stall or wait in milliseconds.
    pub stall_ms_max: u64,
}

impl ChaosPlan {
    /// Draws a plan: each trick is on or off, and every number is drawn.
    #[must_use]
    pub fn draw(rng: &mut Rng) -> Self {
        let mut share = |percent: u64, most: u64| {
            if rng.percent(percent) {
                rng.within(1..=most)
            } else {
                0
            }
        };
        let pending_percent = share(60, 50);
        let short_read_percent = share(75, 100);
        let short_write_percent = share(75, 100);
        let join_percent = share(50, 60);
        let stall_per_mille = share(30, 20);
        Self {
            pending_percent,
            short_read_percent,
            short_write_percent,
            short_bytes_max: *rng.pick(&[1, 2, 3, 7, 16, 100, 1000]),
            join_percent,
            stall_per_mille,
            stall_ms_max: rng.within(1..=40),
        }
    }
}

/// A stream with chaos in both directions.
pub struct ChaosStream<S> {
    inner: S,
    plan: ChaosPlan,
    rng: Rng,
    buffer: Vec<u8>,
    end: Option<End>,
    reading: Tricks,
    writing: Tricks,
}

#[derive(Clone, Copy)]
enum End {
    Eof,
    Failed(io::ErrorKind),
}

/// What one direction is up to.
#[derive(Default)]
struct Tricks {
    sleep: Option<Pin<Box<Sleep>>>,
    pending_run: u8,
    /// Bytes that must pass before the next wait.
    quiet: u64,
}

/// `Pending` for no reason at most so often in a row.
const PENDING_RUN_MAX: u8 = 4;
/// Bytes that pass between two waits, at most once each: waits for each byte of a dribble would make a link slower than
/// any real one, and what breaks then is only patience.
const QUIET_BYTES: u64 = 4096;
/// Bytes taken from the inner stream ahead of the reader.
const AHEAD_MAX: usize = 32 * 1024;

impl<S> ChaosStream<S> {
    /// Wraps a stream; `rng` belongs to it alone.
    pub fn new(inner: S, plan: ChaosPlan, rng: Rng) -> Self {
        Self {
            inner,
            plan,
            rng,
            buffer: Vec::new(),
            end: None,
            reading: Tricks::default(),
            writing: Tricks::default(),
        }
    }

    fn short(&mut self, most: usize, percent: u64) -> usize {
        if most > 1 && self.rng.percent(percent) {
            let limit = self.rng.within(1..=self.plan.short_bytes_max.max(1));
            most.min(usize::try_from(limit).unwrap_or(most))
        } else {
            most
        }
    }

    fn duration(&mut self) -> Duration {
        Duration::from_millis(self.rng.within(1..=self.plan.stall_ms_max.max(1)))
    }
}

impl Tricks {
    /// Ready when the direction may go on.
    fn poll(&mut self, plan: &ChaosPlan, rng: &mut Rng, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(sleep) = &mut self.sleep {
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.sleep = None;
            return Poll::Ready(());
        }
        if self.quiet == 0 && rng.below(1000) < plan.stall_per_mille {
            let time = Duration::from_millis(rng.within(1..=plan.stall_ms_max.max(1)));
            return self.stall(time, cx);
        }
        if self.pending_run < PENDING_RUN_MAX && rng.percent(plan.pending_percent) {
            self.pending_run += 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.pending_run = 0;
        Poll::Ready(())
    }

    fn passed(&mut self, bytes: usize) {
        self.quiet = self.quiet.saturating_sub(bytes as u64);
    }

    fn stall(&mut self, time: Duration, cx: &mut Context<'_>) -> Poll<()> {
        self.quiet = QUIET_BYTES;
        let sleep = self.sleep.insert(Box::pin(tokio::time::sleep(time)));
        if sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.sleep = None;
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> ChaosStream<S> {
    /// Bytes that have arrived and were not read, as many as are looked at ahead.
    pub fn arrived(&mut self) -> usize {
        self.fill(&mut Context::from_waker(std::task::Waker::noop()), true);
        self.buffer.len()
    }

    /// Takes from the inner stream what is there: one piece, or all when `join` is set.
    fn fill(&mut self, cx: &mut Context<'_>, join: bool) {
        while self.end.is_none() && self.buffer.len() < AHEAD_MAX {
            let mut piece = [0; 4096];
            let mut buf = ReadBuf::new(&mut piece);
            match Pin::new(&mut self.inner).poll_read(cx, &mut buf) {
                Poll::Pending => return,
                Poll::Ready(Err(error)) => self.end = Some(End::Failed(error.kind())),
                Poll::Ready(Ok(())) if buf.filled().is_empty() => self.end = Some(End::Eof),
                Poll::Ready(Ok(())) => {
                    self.buffer.extend_from_slice(buf.filled());
                    if !join {
                        return;
                    }
                }
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ChaosStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let waited = this.reading.sleep.is_some();
        if this.reading.poll(&this.plan, &mut this.rng, cx).is_pending() {
            return Poll::Pending;
        }
        let join = this.rng.percent(this.plan.join_percent);
        if this.buffer.is_empty() || join {
            this.fill(cx, join);
        }
        if this.buffer.is_empty() {
            return match this.end {
                None => Poll::Pending,
                Some(End::Eof) => Poll::Ready(Ok(())),
                Some(End::Failed(kind)) => Poll::Ready(Err(kind.into())),
            };
        }
        if join && !waited && this.reading.quiet == 0 && this.end.is_none() {
            let time = this.duration();
            if this.reading.stall(time, cx).is_pending() {
                return Poll::Pending;
            }
        }
        let most = this.buffer.len().min(buf.remaining());
        let count = this.short(most, this.plan.short_read_percent);
        buf.put_slice(&this.buffer[..count]);
        this.buffer.drain(..count);
        this.reading.passed(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ChaosStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.writing.poll(&this.plan, &mut this.rng, cx).is_pending() {
            return Poll::Pending;
        }
        let count = this.short(bytes.len(), this.plan.short_write_percent);
        let written = std::task::ready!(Pin::new(&mut this.inner).poll_write(cx, &bytes[..count]))?;
        this.writing.passed(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.writing.poll(&this.plan, &mut this.rng, cx).is_pending() {
            return Poll::Pending;
        }
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}
