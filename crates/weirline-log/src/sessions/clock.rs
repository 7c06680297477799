//! The log's own time.

use std::time::{Duration, Instant};

/// For how long the log has been in use, over all the times it was open.
///
/// It rests while the log is closed, so what is kept for seven days is kept for at least seven days. It never goes back,
/// reads no clock by itself, and has nothing to do with the calendar.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogClock {
    time: Duration,
    last: Option<Instant>,
}

impl LogClock {
    /// A clock that goes on from `time`. Its first [`advance`](Self::advance) only sets the starting point.
    #[must_use]
    pub const fn resume(time: Duration) -> Self {
        Self { time, last: None }
    }

    /// Moves the clock to `now`, if that is later than what it was told before, and says the log's time.
    pub fn advance(&mut self, now: Instant) -> Duration {
        match self.last {
            None => self.last = Some(now),
            Some(last) if now > last => {
                self.time = self.time.saturating_add(now.duration_since(last));
                self.last = Some(now);
            }
            Some(_) => {}
        }
        self.time
    }

    /// The log's time when it was last advanced.
    #[must_use]
    pub const fn time(&self) -> Duration {
        self.time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_only_what_it_sees_and_never_goes_back() {
        let second = Duration::from_secs(1);
        #[expect(clippy::disallowed_methods, reason = "an arbitrary starting point")]
        let start = Instant::now();
        let mut clock = LogClock::resume(second * 100);
        for (now, expect) in [(5, 100), (7, 102), (6, 102), (7, 102), (9, 104)] {
            assert_eq!(clock.advance(start + second * now), second * expect, "{now}");
        }
        assert_eq!(clock.time(), second * 104);
    }
}
