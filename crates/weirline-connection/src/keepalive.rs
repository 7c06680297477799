//! Pings that find a dead peer, and measure the round trip (R6, R36).
//!
//! ```text
//!          interval over: send Ping(n)            pong n: round trip
//!  Idle ───────────────────────────────▶ Waiting ──────────────────▶ Idle
//!                                           │ nothing heard for `timeout`
//!                                           ▼
//!                                         dead
//! ```

use std::time::{Duration, Instant};

#[derive(Debug)]
pub(crate) struct Keepalive {
    interval: Option<Duration>,
    timeout: Duration,
    /// `None`: never. An interval beyond what the clock can express is none.
    next_ping: Option<Instant>,
    /// The latest ping that is not answered, and when it was sent.
    waiting: Option<Instant>,
    /// Names the latest ping; its payload.
    number: u64,
    last_heard: Instant,
}

/// What a look at the clock showed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tick {
    Nothing,
    SendPing([u8; 8]),
    Dead,
}

impl Keepalive {
    pub(crate) fn new(interval: Option<Duration>, timeout: Duration, now: Instant) -> Self {
        Self {
            interval,
            timeout,
            next_ping: interval.and_then(|interval| now.checked_add(interval)),
            waiting: None,
            number: 0,
            last_heard: now,
        }
    }

    /// Bytes came: the peer lives, also when its pong stands behind a long message.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.last_heard = now;
    }

    /// A pong came; returns the round trip if it answers the latest ping.
    pub(crate) fn pong(&mut self, now: Instant, payload: &[u8]) -> Option<Duration> {
        if payload != self.number.to_be_bytes() {
            return None;
        }
        self.waiting
            .take()
            .map(|sent| now.saturating_duration_since(sent))
    }

    /// When to look at the clock next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.waiting {
            None => self.next_ping,
            Some(sent) => sent.max(self.last_heard).checked_add(self.timeout),
        }
    }

    pub(crate) fn tick(&mut self, now: Instant) -> Tick {
        if self.deadline().is_none_or(|at| now < at) {
            return Tick::Nothing;
        }
        if self.waiting.is_some() {
            return Tick::Dead;
        }
        self.number += 1;
        self.waiting = Some(now);
        self.next_ping = self.interval.and_then(|interval| now.checked_add(interval));
        Tick::SendPing(self.number.to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[expect(
        clippy::disallowed_methods,
        reason = "an arbitrary start; the tests move it by hand"
    )]
    fn keepalive() -> (Keepalive, Instant) {
        let now = Instant::now();
        (Keepalive::new(Some(30 * SECOND), 10 * SECOND, now), now)
    }

    #[test]
    fn a_silent_peer_is_dead_after_interval_and_timeout() {
        let (mut keepalive, start) = keepalive();
        assert_eq!(keepalive.tick(start + 29 * SECOND), Tick::Nothing);
        assert_eq!(keepalive.deadline(), Some(start + 30 * SECOND));
        assert_eq!(
            keepalive.tick(start + 30 * SECOND),
            Tick::SendPing(1u64.to_be_bytes())
        );
        assert_eq!(keepalive.deadline(), Some(start + 40 * SECOND));
        assert_eq!(keepalive.tick(start + 39 * SECOND), Tick::Nothing);
        assert_eq!(keepalive.tick(start + 40 * SECOND), Tick::Dead);
    }

    #[test]
    fn bytes_after_the_ping_put_the_verdict_off() {
        let (mut keepalive, start) = keepalive();
        keepalive.tick(start + 30 * SECOND);
        keepalive.heard(start + 39 * SECOND);
        assert_eq!(keepalive.tick(start + 48 * SECOND), Tick::Nothing);
        assert_eq!(keepalive.tick(start + 49 * SECOND), Tick::Dead);
    }

    #[test]
    fn only_the_pong_of_the_latest_ping_is_a_round_trip() {
        let (mut keepalive, start) = keepalive();
        assert_eq!(keepalive.pong(start, b"unsolicited"), None);
        keepalive.tick(start + 30 * SECOND);
        assert_eq!(keepalive.pong(start + 31 * SECOND, &0u64.to_be_bytes()), None);
        assert_eq!(
            keepalive.pong(start + 32 * SECOND, &1u64.to_be_bytes()),
            Some(2 * SECOND)
        );
        assert_eq!(
            keepalive.pong(start + 32 * SECOND, &1u64.to_be_bytes()),
            None,
            "answered once"
        );
        assert_eq!(keepalive.deadline(), Some(start + 60 * SECOND));
    }
}
