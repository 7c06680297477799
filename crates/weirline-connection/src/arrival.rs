//! Whether a frame that has begun arrives: so many bytes of it, or its end, in each stretch of time.

use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub(crate) struct Arrival {
    /// When the stretch began; `None` between frames.
    since: Option<Instant>,
    /// What has come since then.
    bytes: usize,
}

impl Arrival {
    /// Some input was taken. `inside`: it ended inside a frame. `told`: something was complete, so that frame has only begun.
    #[inline]
    pub(crate) fn note(&mut self, now: Instant, bytes: usize, inside: bool, told: bool) {
        if !inside {
            self.since = None;
        } else if told || self.since.is_none() {
            self.begin(now);
        } else {
            self.add(bytes);
        }
    }

    /// So many bytes came inside a frame.
    #[inline]
    pub(crate) fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// The application reads again: its pause was not the peer's.
    pub(crate) fn resume(&mut self, now: Instant) {
        if self.since.is_some() {
            self.begin(now);
        }
    }

    /// When to look at it next.
    pub(crate) fn deadline(&self, timeout: Duration) -> Option<Instant> {
        self.since?.checked_add(timeout)
    }

    /// Whether less than `min` bytes came within `timeout`; else a stretch that is over is followed by the next.
    pub(crate) fn is_too_slow(&mut self, now: Instant, timeout: Duration, min: usize) -> bool {
        if self.deadline(timeout).is_none_or(|at| now < at) {
            return false;
        }
        let too_slow = self.bytes < min;
        self.begin(now);
        too_slow
    }

    fn begin(&mut self, now: Instant) {
        (self.since, self.bytes) = (Some(now), 0);
    }
}
