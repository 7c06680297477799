//! A rate budget: so many at once, so many per second.

use std::time::{Duration, Instant};

/// How many at once, and how many per second after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// How many may be taken at once after a quiet time. 0 refuses everything.
    pub burst: u32,
    /// How many come back per second. 0 is taken as 1; more than 10⁹ as 10⁹.
    pub per_second: u32,
}

impl RateLimit {
    /// What one unit costs, in nanoseconds, rounded up so that the limit is never exceeded.
    const fn interval_ns(self) -> u64 {
        let per_second = if self.per_second == 0 { 1 } else { self.per_second };
        1_000_000_000_u64.div_ceil(per_second as u64)
    }

    /// What `n` units cost. At most 2³² × 10⁹ ns, which fits.
    const fn cost(self, n: u32) -> Duration {
        Duration::from_nanos(n as u64 * self.interval_ns())
    }
}

/// A token bucket kept as one instant: the time at which it will be full again.
///
/// Integer arithmetic only. In any window of `t` seconds at most `burst + t × per_second` are granted. A clock that
/// steps back grants nothing extra.
///
/// ```
/// use std::time::{Duration, Instant};
/// use weirline_flow::{RateBudget, RateLimit};
/// # #[allow(clippy::disallowed_methods)]
/// let now = Instant::now();
/// let mut budget = RateBudget::new(RateLimit { burst: 2, per_second: 10 }, now);
/// assert!(budget.try_take(now, 2));
/// assert!(!budget.try_take(now, 1));
/// assert!(budget.try_take(now + Duration::from_millis(100), 1));
/// ```
#[derive(Debug, Clone)]
pub struct RateBudget {
    full_at: Instant,
    limit: RateLimit,
}

impl RateBudget {
    /// A full bucket.
    #[must_use]
    pub const fn new(limit: RateLimit, now: Instant) -> Self {
        Self { full_at: now, limit }
    }

    /// Takes `n` units, or none: says whether they were there.
    #[must_use = "a refusal is the signal that the peer went over its rate"]
    pub fn try_take(&mut self, now: Instant, n: u32) -> bool {
        let full_at = self.full_at.max(now) + self.limit.cost(n);
        let granted = full_at.saturating_duration_since(now) <= self.limit.cost(self.limit.burst);
        if granted {
            self.full_at = full_at;
        }
        granted
    }

    /// When `n` units will be there at the earliest, if nobody takes any; `None` when `n` is over the burst.
    #[must_use]
    pub fn ready_at(&self, now: Instant, n: u32) -> Option<Instant> {
        let missing = self.limit.burst.checked_sub(n)?;
        let start = self.full_at.max(now);
        Some(
            start
                .checked_sub(self.limit.cost(missing))
                .map_or(now, |at| at.max(now)),
        )
    }

    /// The limit that was set.
    #[must_use]
    pub const fn limit(&self) -> RateLimit {
        self.limit
    }
}

// Connections hold one each: it must stay small.
const _: () = assert!(size_of::<RateBudget>() <= 24);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "an arbitrary starting point; the tests move it by hand"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_full_burst_then_the_rate() {
        for (burst, per_second, after_ms, expect) in [
            (3, 10, 0, 3),
            (3, 10, 99, 3),
            (3, 10, 100, 4),
            (3, 10, 10_000, 6),
            (1, 1, 999, 1),
            (1, 1, 1000, 2),
            (0, 5, 10_000, 0),
        ] {
            let t0 = start();
            let mut budget = RateBudget::new(RateLimit { burst, per_second }, t0);
            let mut granted = 0;
            for at in [t0, t0 + Duration::from_millis(after_ms)] {
                while budget.try_take(at, 1) {
                    granted += 1;
                }
            }
            assert_eq!(
                granted, expect,
                "burst {burst}, {per_second}/s, after {after_ms} ms"
            );
        }
    }

    #[test]
    fn extreme_limits_neither_overflow_nor_divide_by_zero() {
        let t0 = start();
        for limit in [
            RateLimit {
                burst: u32::MAX,
                per_second: 0,
            },
            RateLimit {
                burst: u32::MAX,
                per_second: u32::MAX,
            },
            RateLimit {
                burst: 1,
                per_second: u32::MAX,
            },
        ] {
            let mut budget = RateBudget::new(limit, t0);
            assert!(budget.try_take(t0, limit.burst), "{limit:?}");
            assert!(!budget.try_take(t0, 1), "{limit:?}");
        }
    }

    proptest! {
        /// In every window, at most burst + elapsed × rate are granted; and a unit is granted as soon as `ready_at` says.
        #[test]
        fn never_over_the_rate(burst in 1u32..20, per_second in 1u32..2000, steps in prop::collection::vec((0u64..300, 1u32..6), 1..80)) {
            let t0 = start();
            let mut now = t0;
            let mut budget = RateBudget::new(RateLimit { burst, per_second }, t0);
            let mut grants: Vec<(Instant, u64)> = Vec::new();
            for (wait_ms, n) in steps {
                now += Duration::from_millis(wait_ms);
                let ready = budget.ready_at(now, n);
                let granted = budget.try_take(now, n);
                prop_assert_eq!(granted, ready == Some(now));
                if granted {
                    grants.push((now, n.into()));
                }
            }
            for (first, &(from, _)) in grants.iter().enumerate() {
                let mut sum = 0;
                for &(at, n) in &grants[first..] {
                    sum += n;
                    let elapsed_ns = (at - from).as_nanos();
                    prop_assert!(u128::from(sum) * 1_000_000_000 <= u128::from(burst) * 1_000_000_000 + elapsed_ns * u128::from(per_second));
                }
            }
        }

        #[test]
        fn a_clock_that_steps_back_grants_nothing(burst in 1u32..10, back_ms in 0u64..5000) {
            let t0 = start() + Duration::from_secs(10);
            let mut budget = RateBudget::new(RateLimit { burst, per_second: 100 }, t0);
            prop_assert!(budget.try_take(t0, burst));
            prop_assert!(!budget.try_take(t0 - Duration::from_millis(back_ms), 1));
        }
    }
}
