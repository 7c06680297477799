use weirline_log::NUMBER_MAX;

use crate::wire::Limits;

/// Absolute credit: what was spent since the attach, against limits that only rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Meter {
    limits: Limits,
    spent: Limits,
}

impl Meter {
    pub(crate) const fn new(limits: Limits) -> Self {
        let spent = Limits {
            bytes: 0,
            messages: 0,
        };
        Self { limits, spent }
    }

    /// A message may start while any credit is left.
    pub(crate) const fn has_credit(&self) -> bool {
        self.spent.bytes < self.limits.bytes && self.spent.messages < self.limits.messages
    }

    /// A message starts.
    pub(crate) fn spend(&mut self, payload_bytes: usize) {
        self.spent.bytes = add(self.spent.bytes, cost(payload_bytes));
        self.spent.messages = add(self.spent.messages, 1);
    }

    /// A grant: what is below the limits in force is ignored, field by field.
    pub(crate) fn raise(&mut self, limits: Limits) {
        self.limits = Limits {
            bytes: self.limits.bytes.max(limits.bytes),
            messages: self.limits.messages.max(limits.messages),
        };
    }

    pub(crate) const fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) const fn spent(&self) -> Limits {
        self.spent
    }

    /// What may still be spent.
    pub(crate) const fn left(&self) -> Limits {
        Limits {
            bytes: self.limits.bytes.saturating_sub(self.spent.bytes),
            messages: self.limits.messages.saturating_sub(self.spent.messages),
        }
    }
}

/// What a message costs.
pub(crate) fn cost(payload_bytes: usize) -> u64 {
    payload_bytes as u64 + Limits::OVERHEAD_BYTES
}

/// At 2^53 − 1 there is no limit any more, and nothing to count.
pub(crate) fn add(a: u64, b: u64) -> u64 {
    a.saturating_add(b).min(NUMBER_MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(bytes: u64, messages: u64) -> Limits {
        Limits { bytes, messages }
    }

    #[test]
    fn i14_the_overshoot_is_one_message() {
        let mut meter = Meter::new(limits(33, 10));
        assert!(meter.has_credit());
        meter.spend(0);
        assert!(meter.has_credit(), "a byte is left");
        meter.spend(1000);
        assert_eq!((meter.has_credit(), meter.left()), (false, limits(0, 8)));
        meter.raise(limits(20, 9));
        assert_eq!(meter.limits(), limits(33, 10), "limits never decrease");
        meter.raise(limits(1065, 2));
        assert_eq!((meter.limits(), meter.has_credit()), (limits(1065, 10), true));
    }

    #[test]
    fn without_a_limit_there_is_always_credit() {
        let mut meter = Meter::new(Limits::NONE);
        meter.spent = limits(NUMBER_MAX - 1, NUMBER_MAX - 1);
        meter.spend(usize::MAX / 2);
        assert!(meter.has_credit());
        assert!(!Meter::new(limits(0, 5)).has_credit());
        assert!(!Meter::new(limits(5, 0)).has_credit());
    }
}
