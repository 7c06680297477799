//! An input read as decisions and data.

use std::time::Instant;

/// Takes an input apart from the front. An input that is used up gives zeros, so that every prefix of an input means something.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    rest: &'a [u8],
}

impl<'a> Source<'a> {
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.rest.split_first() else {
            return 0;
        };
        self.rest = rest;
        first
    }

    /// A number below `limit`, which is from 1 to 256.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit
    }

    pub(crate) fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// Up to `max` bytes.
    pub(crate) fn take(&mut self, max: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(max.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// Everything that is left.
    pub(crate) fn remainder(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }
}

/// Cuts `bytes` into pieces of lengths that follow from `seed`: some short, some long, none empty.
pub(crate) fn pieces(seed: u8, bytes: &[u8]) -> Vec<&[u8]> {
    let mut state = u32::from(seed) | 0x0100;
    let mut rest = bytes;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        // A xorshift: the cuts of one seed are always the same.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let most = if state & 0x300 == 0 { 64 } else { 7 };
        let (piece, behind) = rest.split_at((1 + state as usize % most).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

/// An instant to count from.
#[expect(
    clippy::disallowed_methods,
    reason = "an arbitrary start; the targets move it by hand"
)]
pub(crate) fn start() -> Instant {
    Instant::now()
}
