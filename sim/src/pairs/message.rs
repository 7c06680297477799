//! Messages that say whose they are, which one, and how long: a reader needs nothing else to see that none is missing.

/// The sequences of messages of one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequence {
    /// Those of its steps.
    Steps,
    /// Those that a rule told it to send.
    Orders,
}

impl Sequence {
    /// 0 or 1.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self == Self::Orders)
    }

    fn letter(self) -> u8 {
        match self {
            Self::Steps => b's',
            Self::Orders => b'o',
        }
    }
}

/// Text or binary.
#[must_use]
pub fn is_text(number: u64) -> bool {
    !number.is_multiple_of(3)
}

/// The payload of message `number` of a sequence, at least as long as its own head.
#[must_use]
pub fn payload(sequence: Sequence, number: u64, bytes: u64) -> Vec<u8> {
    let mut payload = vec![sequence.letter()];
    payload.extend(format!("{number}:{bytes}.").bytes());
    let len = usize::try_from(bytes).unwrap_or(usize::MAX).max(payload.len());
    let start = usize::try_from(number % 26).unwrap_or(0);
    let letters = (start..).map(|at| b'a' + u8::try_from(at % 26).unwrap_or(0));
    let missing = len - payload.len();
    payload.extend(letters.take(missing));
    payload
}

/// The sequence, the number and the length by the head of a payload.
#[must_use]
pub fn parse(payload: &[u8]) -> Option<(Sequence, u64, u64)> {
    let (&letter, rest) = payload.split_first()?;
    let sequence = [Sequence::Steps, Sequence::Orders]
        .into_iter()
        .find(|sequence| sequence.letter() == letter)?;
    let dot = rest.iter().position(|byte| *byte == b'.')?;
    let (number, bytes) = std::str::from_utf8(&rest[..dot]).ok()?.split_once(':')?;
    Some((sequence, number.parse().ok()?, bytes.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_what_it_is() {
        for (sequence, number, bytes) in [(Sequence::Steps, 0, 0), (Sequence::Orders, 71, 5000)] {
            let payload = payload(sequence, number, bytes);
            assert_eq!(parse(&payload), Some((sequence, number, bytes)));
            assert!(payload.len() as u64 >= bytes && payload.is_ascii());
        }
        assert_eq!(parse(b"hello"), None);
        assert_ne!(payload(Sequence::Steps, 1, 90), payload(Sequence::Steps, 2, 90));
    }
}
