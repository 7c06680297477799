//! The epochs of a stream, and what histories they share.

use std::collections::VecDeque;

use crate::{Epoch, Offset};

/// How many epochs of a stream are remembered. A position from an older one shares nothing.
pub const EPOCHS_MAX: usize = 64;

/// The epochs of one stream, each with the offset behind which it starts: at most [`EPOCHS_MAX`].
///
/// A new epoch keeps the entries up to its start and continues behind it; so the start of an epoch is the end of the
/// one before. Starts need not rise: an epoch may throw away more than the one before it added.
#[derive(Debug, Clone, PartialEq, Eq)]
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
        let known = self.current == epoch || self.closed.iter().any(|&(closed, _)| closed == epoch);
        assert!(!known, "epoch {epoch} is used twice");
        if self.closed.len() == EPOCHS_MAX - 1 {
            self.closed.pop_front();
        }
        self.closed.push_back((self.current, keep));
        self.current = epoch;
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
