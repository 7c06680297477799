//! Fields with a few values: a word in JSON, a byte in binary.

use std::fmt;

use crate::text::GapReason;

macro_rules! choices {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $number:literal $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[$vmeta])* $variant = $number,)* }

        impl $name {
            /// Every value, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word of the JSON form.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The byte of the binary form.
            #[must_use]
            pub const fn number(self) -> u8 {
                self as u8
            }
        }

        impl Choice for $name {
            fn word(self) -> &'static str {
                self.as_str()
            }

            fn byte(self) -> u8 {
                self as u8
            }

            fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }

            fn from_byte(byte: u8) -> Option<Self> {
                match byte { $($number => Some(Self::$variant),)* _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(super) trait Choice: Copy {
    fn word(self) -> &'static str;
    fn byte(self) -> u8;
    fn from_word(word: &str) -> Option<Self>;
    fn from_byte(byte: u8) -> Option<Self>;
}

choices! {
    /// The code of a REJECT, an UNSUB, a PUBACK, an AUTH or a BYE. A code that is not known is read as [`Code::Unavailable`].
    Code {
        /// Malformed, or not allowed at this point.
        BadMessage = 1 "bad-message",
        /// A PUB or SKIP that is neither the next, nor taken, nor behind a refused one.
        BadSequence = 2 "bad-sequence",
        /// An ACK beyond what was sent.
        AckBeyond = 3 "ack-beyond",
        /// There is no such session.
        SessionUnknown = 4 "session-unknown",
        /// A higher or equal attach number has been seen.
        StaleAttach = 5 "stale-attach",
        /// A payload, or a HELLO, over its limit.
        TooLarge = 6 "too-large",
        /// No permission.
        Forbidden = 7 "forbidden",
        /// Not at this time.
        Unavailable = 8 "unavailable",
        /// The session is another one's.
        BadToken = 9 "bad-token",
        /// An attach number too far ahead.
        AttachJump = 10 "attach-jump",
        /// A PUB with no credit left.
        CreditExceeded = 11 "credit-exceeded",
        /// The stream is subscribed already on this connection.
        Conflict = 12 "conflict",
        /// There are as many subscriptions as may be.
        TooMany = 13 "too-many",
        /// The consumer of a subscription was too slow.
        SlowConsumer = 14 "slow-consumer",
        /// An ACK of an epoch that the subscription never had.
        UnknownEpoch = 15 "unknown-epoch",
        /// Another version of the protocol.
        Unsupported = 16 "unsupported",
        /// The credential was not accepted.
        AuthRefused = 17 "auth-refused",
        /// The credential has run out.
        AuthExpired = 18 "auth-expired",
        /// The HELLO did not come in time.
        Overdue = 19 "overdue",
        /// The session was ended by the server's operator.
        Ended = 20 "ended",
    }
}

choices! {
    /// What an attach found.
    Attached {
        /// The session was made.
        New = 0 "new",
        /// The session existed.
        Resumed = 1 "resumed",
        /// The session had expired: its recorded acks are gone, numbering goes on.
        Expired = 2 "expired",
    }
}

choices! {
    /// What an acknowledgement means.
    Durability {
        /// It survives a crash of the server.
        Durable = 0 "durable",
        /// It does not.
        Memory = 1 "memory",
    }
}

choices! {
    /// What a SUBOK says of the client's history.
    SubState {
        /// Nothing is missing and nothing waits.
        Live = 0 "live",
        /// Nothing is missing, and something waits.
        Resumed = 1 "resumed",
        /// A GAP follows at once.
        Gap = 2 "gap",
        /// The history is another one.
        Reset = 3 "reset",
    }
}

impl Choice for GapReason {
    fn word(self) -> &'static str {
        self.as_str()
    }

    fn byte(self) -> u8 {
        match self {
            Self::Retention => 0,
            Self::Dropped => 1,
            Self::Conflated => 2,
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::parse(word).ok()
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_codes_are_those_of_the_page() {
        for (at, code) in (1..).zip(Code::ALL) {
            assert_eq!((code.byte(), Code::from_word(code.word())), (at, Some(*code)));
        }
        assert_eq!(Code::ALL.len(), 20);
    }

    #[test]
    fn every_reason_of_a_gap_has_its_byte() {
        for (at, reason) in (0..).zip(GapReason::ALL) {
            assert_eq!((reason.byte(), GapReason::from_byte(at)), (at, Some(*reason)));
        }
    }
}
