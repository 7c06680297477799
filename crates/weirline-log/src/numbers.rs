//! The numbers of the protocol: offsets, client sequences, attach numbers.

use std::fmt;

/// The largest number the protocol uses: 2⁵³ − 1, the largest integer that JavaScript keeps exact. Beyond it numbers
/// are refused, never wrapped and never rounded.
pub const NUMBER_MAX: u64 = (1 << 53) - 1;

/// A number above [`NUMBER_MAX`], or a zero where counting starts from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is out of range (at most 2^53 - 1)")]
pub struct OutOfRange(pub u64);

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// 0: before the first.
            pub const ZERO: Self = Self(0);
            /// 1: the first.
            pub const FIRST: Self = Self(1);
            /// 2⁵³ − 1: the last.
            pub const MAX: Self = Self(NUMBER_MAX);

            /// The checked constructor.
            ///
            /// # Errors
            /// [`OutOfRange`] above [`NUMBER_MAX`].
            pub const fn new(number: u64) -> Result<Self, OutOfRange> {
                if number > NUMBER_MAX { Err(OutOfRange(number)) } else { Ok(Self(number)) }
            }

            /// The number itself.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The one after this; `None` at [`NUMBER_MAX`].
            #[must_use]
            pub const fn next(self) -> Option<Self> {
                self.checked_add(1)
            }

            /// The one before this; `None` at 0.
            #[must_use]
            pub const fn previous(self) -> Option<Self> {
                match self.0.checked_sub(1) {
                    Some(number) => Some(Self(number)),
                    None => None,
                }
            }

            /// This one and `n` more; `None` beyond [`NUMBER_MAX`].
            #[must_use]
            pub const fn checked_add(self, n: u64) -> Option<Self> {
                match self.0.checked_add(n) {
                    Some(number) if number <= NUMBER_MAX => Some(Self(number)),
                    _ => None,
                }
            }

            /// How many numbers lie in `(earlier, self]`; 0 when `earlier` is not earlier.
            #[must_use]
            pub const fn since(self, earlier: Self) -> u64 {
                self.0.saturating_sub(earlier.0)
            }

            /// Whether this is 0.
            #[must_use]
            pub const fn is_zero(self) -> bool {
                self.0 == 0
            }
        }

        impl TryFrom<u64> for $name {
            type Error = OutOfRange;

            fn try_from(number: u64) -> Result<Self, OutOfRange> {
                Self::new(number)
            }
        }

        impl From<$name> for u64 {
            fn from(number: $name) -> u64 {
                number.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

number! {
    /// A place in a stream: entries have offsets from 1, and 0 is the place before the first.
    Offset
}

number! {
    /// A session's own number for what it publishes, from 1; as a count, how many of them are in the log.
    Seq
}

number! {
    /// A client's number for an attachment of its session, from 1, strictly increasing; the highest is the current one.
    Attach
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_refused_beyond_the_exact_integers_of_javascript() {
        for (number, expect) in [
            (0, true),
            (1, true),
            (NUMBER_MAX, true),
            (NUMBER_MAX + 1, false),
            (u64::MAX, false),
        ] {
            assert_eq!(Offset::new(number).is_ok(), expect, "{number}");
            assert_eq!(
                Seq::try_from(number).map(u64::from).ok(),
                expect.then_some(number)
            );
        }
        assert_eq!(Offset::MAX.next(), None);
        assert_eq!(Offset::ZERO.checked_add(u64::MAX), None);
        assert_eq!(Attach::ZERO.next(), Some(Attach::FIRST));
        assert_eq!(
            (Seq::ZERO.previous(), Seq::FIRST.previous()),
            (None, Some(Seq::ZERO))
        );
        assert_eq!(
            (Offset::FIRST.since(Offset::MAX), Offset::MAX.since(Offset::FIRST)),
            (0, NUMBER_MAX - 1)
        );
    }

    #[test]
    fn numbers_are_shown_in_decimal() {
        assert_eq!(
            (Offset::MAX.to_string(), format!("{:?}", Seq::FIRST)),
            ("9007199254740991".into(), "Seq(1)".into())
        );
    }
}
