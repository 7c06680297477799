//! The only source of chance in a world: a small generator whose numbers never change between versions.
//!
//! A seed kept in a bug report must give the same plan years later, which rules out generators whose library may
//! change its algorithm.

use std::ops::RangeInclusive;

/// A seeded generator (SplitMix64); one per purpose, so that a draw more here changes nothing there.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// A generator for `purpose` number `index` of the run with this `seed`.
    #[must_use]
    pub fn derive(seed: u64, purpose: &str, index: u64) -> Self {
        let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
        for byte in purpose.bytes() {
            state = mix(state ^ u64::from(byte));
        }
        Self {
            state: mix(state ^ mix(index.wrapping_add(1))),
        }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// Uniform in `0..bound` (0 when `bound` is 0); the bias is far below what a run could notice.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// Uniform in the range, ends included.
    pub fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        let span = range.end().saturating_sub(*range.start()).saturating_add(1);
        range.start() + self.below(span)
    }

    /// Uniform in `0..bound` as an index.
    pub fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap_or(0)
    }

    /// True with a chance of `percent` in 100.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of the items.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        assert!(!items.is_empty(), "nothing to pick from");
        &items[self.index(items.len())]
    }

    /// Log-uniform in the range: each order of magnitude is as likely as the next.
    pub fn magnitude(&mut self, range: RangeInclusive<u64>) -> u64 {
        let (low, high) = (*range.start(), *range.end());
        let bits = self.within(u64::from(low.max(1).ilog2())..=u64::from(high.max(1).ilog2()));
        let top = (2_u64 << bits).saturating_sub(1).min(high);
        self.within(low.max(1 << bits).min(top)..=top)
    }

    /// Fills the bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn the_numbers_of_a_seed_are_fixed_forever() {
        let mut rng = Rng::derive(7, "plan", 0);
        let mut again = Rng::derive(7, "plan", 0);
        let mut other = Rng::derive(7, "plan", 1);
        let first: Vec<u64> = (0..4).map(|_| rng.next_u64()).collect();
        assert_eq!(first, (0..4).map(|_| again.next_u64()).collect::<Vec<_>>());
        assert_ne!(first, (0..4).map(|_| other.next_u64()).collect::<Vec<_>>());
    }

    #[test]
    fn ranges_are_kept() {
        let mut rng = Rng::derive(1, "ranges", 0);
        for _ in 0..10_000 {
            assert!((3..=9).contains(&rng.within(3..=9)));
            assert!((5..=70_000).contains(&rng.magnitude(5..=70_000)));
            assert!(rng.index(3) < 3);
        }
        assert_eq!(rng.below(0), 0);
    }
}
