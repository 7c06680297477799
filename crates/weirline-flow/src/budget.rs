//! A budget of bytes: what is charged on the way in is released on the way out.

/// A budget of bytes with an exact account of what is in use.
///
/// The unit is whatever the caller charges; by convention bytes held for a peer, object overhead included.
///
/// ```
/// use weirline_flow::Budget;
/// let mut budget = Budget::new(100);
/// assert!(budget.try_charge(60).is_ok());
/// assert!(budget.try_charge(60).is_err(), "40 are left");
/// budget.release(60);
/// assert_eq!((budget.used(), budget.peak()), (0, 60));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    limit: usize,
    used: usize,
    peak: usize,
}

/// A charge that a [`Budget`] refused; nothing was charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{wanted} bytes wanted, {available} of {limit} left")]
#[non_exhaustive]
pub struct Exceeded {
    /// What the refused charge asked for, in bytes.
    pub wanted: usize,
    /// What was left at that moment, in bytes.
    pub available: usize,
    /// The whole budget, in bytes.
    pub limit: usize,
}

impl Budget {
    /// A budget of `limit` bytes, all of it available.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            used: 0,
            peak: 0,
        }
    }

    /// Charges `bytes`, or nothing at all.
    ///
    /// # Errors
    /// [`Exceeded`] when fewer than `bytes` are available.
    pub const fn try_charge(&mut self, bytes: usize) -> Result<(), Exceeded> {
        let available = self.available();
        if bytes > available {
            return Err(Exceeded {
                wanted: bytes,
                available,
                limit: self.limit,
            });
        }
        self.used += bytes;
        if self.used > self.peak {
            self.peak = self.used;
        }
        Ok(())
    }

    /// Gives back `bytes` that were charged.
    ///
    /// # Panics
    /// When more is released than is in use: then the caller's account is wrong, and every later answer would be too.
    pub const fn release(&mut self, bytes: usize) {
        assert!(bytes <= self.used, "released more than was charged");
        self.used -= bytes;
    }

    /// The whole budget, in bytes.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// What is charged and not yet released, in bytes.
    #[must_use]
    pub const fn used(&self) -> usize {
        self.used
    }

    /// What can still be charged, in bytes.
    #[must_use]
    pub const fn available(&self) -> usize {
        self.limit - self.used
    }

    /// The highest [`used`](Self::used) so far, in bytes.
    #[must_use]
    pub const fn peak(&self) -> usize {
        self.peak
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_refused_charge_changes_nothing() {
        let mut budget = Budget::new(10);
        budget.try_charge(7).unwrap();
        let before = budget.clone();
        let refused = budget.try_charge(4).unwrap_err();
        assert_eq!(
            refused,
            Exceeded {
                wanted: 4,
                available: 3,
                limit: 10
            }
        );
        assert_eq!(budget, before);
        budget.try_charge(3).unwrap();
        assert_eq!(budget.available(), 0);
        assert!(budget.try_charge(usize::MAX).is_err(), "no overflow");
    }

    #[test]
    #[should_panic(expected = "released more than was charged")]
    fn releasing_more_than_was_charged_panics() {
        let mut budget = Budget::new(10);
        budget.try_charge(1).unwrap();
        budget.release(2);
    }

    proptest! {
        #[test]
        fn used_is_the_sum_of_open_charges(limit in 0usize..200, steps in prop::collection::vec((any::<bool>(), 0usize..80), 0..60)) {
            let mut budget = Budget::new(limit);
            let mut open: Vec<usize> = Vec::new();
            let mut peak = 0;
            for (charge, bytes) in steps {
                if charge {
                    let fits = open.iter().sum::<usize>() + bytes <= limit;
                    prop_assert_eq!(budget.try_charge(bytes).is_ok(), fits);
                    if fits {
                        open.push(bytes);
                    }
                } else if let Some(bytes) = open.pop() {
                    budget.release(bytes);
                }
                let used: usize = open.iter().sum();
                peak = peak.max(used);
                prop_assert_eq!((budget.used(), budget.available(), budget.peak()), (used, limit - used, peak));
            }
        }
    }
}
