//! The epochs of a stream, and what histories they share.

use std::collections::VecDeque;

use crate::{Epoch, Offset};

/// How many epochs of a stream are remembered. A position from an older one shares nothing.
pub const EPOCHS_MAX: usize = 64;

/// The epochs of one stream, each with the offset behind which it starts: at most [`EPOCHS_MAX`].
///
/// A new epoch keeps the entries up to its start and continues behind it; so the start of an epoch is the end of the
/// one before. Starts need not rise: an epoch may throw away more than the one before it added.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EpochChain {
    current: Epoch,
    /// Closed epochs, oldest first, each with its end. Empty for most streams, and then without an allocation.
    closed: VecDeque<(Epoch, Offset)>,
}

impl EpochChain {
    /// A stream's first epoch.
    #[must_use]
    pub const fn new(first: Epoch) -> Self {
        Self {
            current: first,
            closed: VecDeque::new(),
        }
    }

    /// The chain as it was stored: the closed epochs, oldest first, each with its end; only the last 63 are taken.
    #[must_use]
    pub fn restore(current: Epoch, closed: impl IntoIterator<Item = (Epoch, Offset)>) -> Self {
        let mut chain = Self::new(current);
        for epoch in closed {
            if chain.closed.len() == EPOCHS_MAX - 1 {
                chain.closed.pop_front();
            }
            chain.closed.push_back(epoch);
        }
        chain
    }

    /// The current epoch.
    #[must_use]
    pub const fn current(&self) -> Epoch {
        self.current
    }

    /// Begins another epoch, which shares the entries up to `keep` with the one before.
    ///
    /// # Panics
    /// When the epoch is one of the chain: ids are never reused.
    pub fn begin(&mut self, epoch: Epoch, keep: Offset) {
        assert!(!self.contains(epoch), "epoch {epoch} is used twice");
        if self.closed.len() == EPOCHS_MAX - 1 {
            self.closed.pop_front();
        }
        self.closed.push_back((self.current, keep));
        self.current = epoch;
    }

    /// The closed epochs, oldest first, each with its end: what an engine stores beside the current one.
    #[must_use]
    pub fn closed(&self) -> impl ExactSizeIterator<Item = (Epoch, Offset)> {
        self.closed.iter().copied()
    }

    /// Whether the epoch is one of the chain.
    #[must_use]
    pub fn contains(&self, epoch: Epoch) -> bool {
        self.current == epoch || self.closed.iter().any(|&(closed, _)| closed == epoch)
    }

    /// Up to where the history of (`epoch`, `offset`) is also the current one: the smallest of the offset, the end of
    /// its epoch, the ends of all later closed epochs, and the head. 0 for an unknown epoch.
    #[must_use]
    pub fn common(&self, epoch: Epoch, offset: Offset, head: Offset) -> Offset {
        let offset = offset.min(head);
        if epoch == self.current {
            return offset;
        }
        match self.closed.iter().position(|&(closed, _)| closed == epoch) {
            Some(at) => self
                .closed
                .iter()
                .skip(at)
                .fold(offset, |common, &(_, end)| common.min(end)),
            None => Offset::ZERO,
        }
    }
}

/// The ids of a log's epochs, drawn from a seed: one seed never gives an id twice.
#[derive(Debug, Clone)]
pub struct EpochIds(u64);

impl EpochIds {
    /// The ids that follow from `seed`, which must come from a good random source.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next id: `SplitMix64`, which is a bijection of a counter.
    pub fn draw(&mut self) -> Epoch {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Epoch::new(mixed ^ (mixed >> 31))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn offset(number: u64) -> Offset {
        Offset::new(number).unwrap()
    }

    #[test]
    fn a_later_rollback_shortens_every_earlier_history() {
        let mut chain = EpochChain::new(Epoch::new(1));
        chain.begin(Epoch::new(2), offset(8));
        chain.begin(Epoch::new(3), offset(5));
        for (epoch, at, expect) in [
            (1, 10, 5),
            (1, 3, 3),
            (2, 20, 5),
            (2, 4, 4),
            (3, 7, 7),
            (3, 99, 30),
            (9, 4, 0),
        ] {
            assert_eq!(
                chain.common(Epoch::new(epoch), offset(at), offset(30)),
                offset(expect),
                "{epoch} {at}"
            );
        }
    }

    #[test]
    fn the_oldest_epoch_is_forgotten() {
        let mut chain = EpochChain::new(Epoch::new(0));
        for id in 1..=64 {
            chain.begin(Epoch::new(id), offset(5));
        }
        let common = |id| chain.common(Epoch::new(id), offset(5), offset(9));
        assert_eq!(
            (common(0), common(1), common(64)),
            (Offset::ZERO, offset(5), offset(5))
        );
    }

    #[test]
    fn a_chain_is_restored_from_its_parts() {
        let mut chain = EpochChain::new(Epoch::new(0));
        for id in 1..=70 {
            chain.begin(Epoch::new(id), offset(id));
            assert_eq!(EpochChain::restore(chain.current(), chain.closed()), chain);
        }
        let longer = (0..100).map(|id| (Epoch::new(id), offset(id)));
        assert_eq!(
            EpochChain::restore(Epoch::new(100), longer).closed().len(),
            EPOCHS_MAX - 1
        );
    }

    #[test]
    #[should_panic(expected = "used twice")]
    fn an_epoch_is_never_used_twice() {
        let mut chain = EpochChain::new(Epoch::new(0));
        chain.begin(Epoch::new(1), offset(5));
        chain.begin(Epoch::new(0), offset(5));
    }

    proptest! {
        /// Against histories written out: common history is the longest common prefix, as long as every entry is
        /// distinguishable by the epoch that wrote it.
        #[test]
        fn common_is_the_common_prefix(steps in prop::collection::vec((0u64..6, 0u64..12), 1..40)) {
            let mut chain = EpochChain::new(Epoch::new(0));
            let mut history: Vec<u64> = Vec::new();
            let mut past: Vec<Vec<u64>> = Vec::new();
            for (epoch, (append, keep)) in (0..).zip(steps) {
                history.extend(std::iter::repeat_n(epoch, usize::try_from(append).unwrap()));
                past.push(history.clone());
                let keep = keep.min(history.len() as u64);
                history.truncate(usize::try_from(keep).unwrap());
                chain.begin(Epoch::new(epoch + 1), offset(keep));
            }
            let head = offset(history.len() as u64);
            for (epoch, old) in (0..).zip(&past) {
                for at in 0..=old.len() as u64 {
                    let prefix = old.iter().zip(&history).take(usize::try_from(at).unwrap()).take_while(|(a, b)| a == b).count();
                    prop_assert_eq!(chain.common(Epoch::new(epoch), offset(at), head), offset(prefix as u64));
                }
            }
        }
    }
}
