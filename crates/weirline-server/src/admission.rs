//! How fast sessions are attached: a fleet that comes back at once is admitted at a capped rate, and told to come back spread.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::clock;

/// A rate that all workers share, without a lock.
///
/// It holds one number: when the next attach would be due if all came evenly (the generic cell rate algorithm). Whoever comes
/// more than [`BURST`] before that is turned away, and changes nothing.
#[derive(Debug)]
pub(crate) struct Admission {
    since: Instant,
    /// In nanoseconds behind `since`.
    due: AtomicU64,
    /// How many hints were given.
    hints: AtomicU32,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            since: clock::now(),
            due: AtomicU64::new(0),
            hints: AtomicU32::new(0),
        }
    }
}

impl Admission {
    /// Whether one more may attach. `rate` is per second, over any time that is long beside [`BURST`]; `None` admits all.
    pub(crate) fn admit(&self, now: Instant, rate: Option<NonZeroU32>) -> bool {
        let Some(rate) = rate else { return true };
        let now = nanos(now.saturating_duration_since(self.since));
        let apart = NANOS_PER_SECOND / u64::from(rate.get());
        let admit = |due: u64| {
            let begins = due.max(now);
            (begins - now <= nanos(BURST)).then(|| begins.saturating_add(apart))
        };
        self.due
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, admit)
            .is_ok()
    }

    /// Where within its range a hint lies. Any number of them in a row is spread evenly, whatever the number: each next one
    /// falls into the widest gap that the others left (multiples of the golden ratio).
    pub(crate) fn spread(&self) -> u32 {
        let hint = self.hints.fetch_add(1, Ordering::Relaxed);
        hint.wrapping_mul(GOLDEN)
    }
}

/// Of a range, as [`Admission::spread`] says.
pub(crate) fn share(spread: u32, of: Duration) -> Duration {
    of.mul_f64(f64::from(spread) / f64::from(u32::MAX))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// How much earlier than evenly somebody may come.
const BURST: Duration = Duration::from_millis(100);
const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// 2^32 divided by the golden ratio, made odd.
const GOLDEN: u32 = 0x9E37_79B9;

#[cfg(test)]
mod tests {
    use super::*;

    /// I18: however many come, and however they come, no second admits more than the rate and one burst.
    #[test]
    fn the_rate_is_kept_and_comes_back() {
        for rate in [1_u32, 7, 500, 100_000] {
            let admission = Admission::default();
            let limit = NonZeroU32::new(rate);
            let mut now = admission.since + Duration::from_secs(1000);
            for _ in 0..3 {
                let mut admitted = 0_u32;
                for _ in 0..1000 {
                    for _ in 0..=rate / 100 {
                        admitted += u32::from(admission.admit(now, limit));
                    }
                    now += Duration::from_millis(1);
                }
                let most = rate + rate / 10 + 1;
                assert!((rate..=most).contains(&admitted), "{admitted} of {rate}");
                now += Duration::from_secs(3600);
            }
        }
        let open = Admission::default();
        assert!((0..100_000).all(|_| open.admit(open.since, None)));
    }

    /// I18: of any number of hints in a row, each tenth of the range has a tenth, give or take three.
    #[test]
    fn hints_are_spread_evenly() {
        let admission = Admission::default();
        for count in [10_usize, 37, 1000, 12_345] {
            let mut slots = [0_usize; 10];
            for _ in 0..count {
                let at = share(admission.spread(), Duration::from_millis(9999));
                slots[at.as_millis() as usize / 1000] += 1;
            }
            let even = (count / 10).saturating_sub(2)..=count / 10 + 3;
            assert!(
                slots.iter().all(|slot| even.contains(slot)),
                "{slots:?} of {count}"
            );
        }
    }
}
