use std::time::{Duration, Instant};

/// How the delays between dials are drawn (R25, R37).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Jitter {
    /// `min(2^n + uniform(0, 1), cap)` seconds. From n = 5 on it is the cap exactly: a fleet that was cut at once stays in lock-step
    /// unless the server's hints spread it.
    #[default]
    Formula,
    /// `uniform(0, 1) · min(2^n, cap)` seconds.
    Full,
}

/// Settings of [`Backoff`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackoffConfig {
    /// The greatest delay that the formula gives. Default 30 s.
    pub delay_max: Duration,
    /// The greatest server hint that is honoured; a longer one is cut to this. Default 60 s.
    pub hint_max: Duration,
    /// Dials per outage. Default 10, which wait about 181–186 s in all.
    pub attempts_max: u32,
    /// How long a session must have been live before an outage counts from zero again. Default 30 s. A small value defeats
    /// the backoff against servers that accept and then close.
    pub stable_after: Duration,
    /// How delays are drawn. Default [`Jitter::Formula`].
    pub jitter: Jitter,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self {
            delay_max: Duration::from_secs(30),
            hint_max: Duration::from_secs(60),
            attempts_max: 10,
            stable_after: Duration::from_secs(30),
            jitter: Jitter::default(),
        }
    }
}

/// The delays before the dials of an outage (R25, I17).
///
/// The very first connect of a client needs no delay and does not ask. Every later dial waits for what [`Backoff::next`] gives;
/// `None` means that the attempts are used up. Attempts count from zero again only after a session that stayed live for
/// [`BackoffConfig::stable_after`], so a server that accepts and then closes uses them up as well.
#[derive(Clone, Debug)]
pub struct Backoff {
    config: BackoffConfig,
    attempts: u32,
    live_since: Option<Instant>,
}

impl Backoff {
    /// No attempt has been made.
    #[must_use]
    pub fn new(config: BackoffConfig) -> Self {
        Self {
            config,
            attempts: 0,
            live_since: None,
        }
    }

    /// The session went live: the server answered this attach.
    pub fn handle_live(&mut self, now: Instant) {
        self.live_since.get_or_insert(now);
    }

    /// The connection was lost, or a dial failed. Resets the attempts when the session had been live long enough.
    pub fn handle_lost(&mut self, now: Instant) {
        if let Some(since) = self.live_since.take()
            && now.saturating_duration_since(since) >= self.config.stable_after
        {
            self.attempts = 0;
        }
    }

    /// The delay before the next dial (RFC 6455 §7.2.3), `None` when the outage has had all its dials.
    ///
    /// `uniform` is a random number in [0, 1) (other values are clamped); `hint` is the server's wish, which never
    /// shortens the delay.
    pub fn next(&mut self, uniform: f64, hint: Option<Duration>) -> Option<Duration> {
        if self.attempts >= self.config.attempts_max {
            return None;
        }
        let base = Duration::from_secs(1u64.checked_shl(self.attempts).unwrap_or(u64::MAX));
        let uniform = if uniform.is_nan() {
            0.0
        } else {
            uniform.clamp(0.0, 1.0)
        };
        let formula = match self.config.jitter {
            Jitter::Formula => base
                .saturating_add(Duration::from_secs(1).mul_f64(uniform))
                .min(self.config.delay_max),
            Jitter::Full => base.min(self.config.delay_max).mul_f64(uniform),
        };
        self.attempts += 1;
        Some(formula.max(hint.unwrap_or_default().min(self.config.hint_max)))
    }

    /// How many dials this outage has had.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(BackoffConfig::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r25_delays_follow_the_formula_and_end_after_ten() {
        let secs = |uniform: f64| {
            let mut backoff = Backoff::default();
            std::iter::from_fn(|| backoff.next(uniform, None))
                .map(|d| d.as_secs_f64())
                .collect::<Vec<_>>()
        };
        assert_eq!(secs(0.0), [1., 2., 4., 8., 16., 30., 30., 30., 30., 30.]);
        assert_eq!(secs(0.5), [1.5, 2.5, 4.5, 8.5, 16.5, 30., 30., 30., 30., 30.]);
        assert!((secs(0.0).iter().sum::<f64>() - 181.0).abs() < 1e-9);
    }

    #[test]
    fn i17_a_hint_only_lengthens_and_is_capped() {
        let mut backoff = Backoff::default();
        assert_eq!(
            backoff.next(0.0, Some(Duration::from_millis(10))),
            Some(Duration::from_secs(1))
        );
        assert_eq!(
            backoff.next(0.0, Some(Duration::from_secs(7))),
            Some(Duration::from_secs(7))
        );
        assert_eq!(
            backoff.next(0.0, Some(Duration::from_secs(900))),
            Some(Duration::from_secs(60))
        );
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a test needs some instant to count from"
    )]
    fn i17_only_a_stable_session_resets_the_attempts() {
        let start = Instant::now();
        let mut backoff = Backoff::default();
        let mut dials = 0;
        while backoff.next(0.3, None).is_some() {
            dials += 1;
            backoff.handle_live(start);
            backoff.handle_lost(start + Duration::from_millis(29_999));
        }
        assert_eq!(dials, 10);
        backoff.handle_live(start);
        backoff.handle_live(start + Duration::from_secs(20));
        backoff.handle_lost(start + Duration::from_secs(30));
        assert_eq!(backoff.attempts(), 0);
        assert_eq!(backoff.next(0.0, None), Some(Duration::from_secs(1)));
    }

    #[test]
    fn many_attempts_do_not_overflow() {
        for jitter in [Jitter::Formula, Jitter::Full] {
            let mut backoff = Backoff::new(BackoffConfig {
                attempts_max: 200,
                jitter,
                ..BackoffConfig::default()
            });
            while let Some(delay) = backoff.next(f64::NAN, None) {
                assert!(delay <= Duration::from_secs(30));
            }
            assert_eq!(backoff.attempts(), 200);
        }
    }
}
