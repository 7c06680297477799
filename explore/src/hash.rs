//! A hash of 128 bits: with twenty million states, two that differ share one with a probability below 10⁻²³.

use std::hash::{BuildHasherDefault, Hasher};

/// Two lanes with multipliers of their own, each folded.
#[derive(Clone)]
pub(crate) struct Hash128 {
    a: u64,
    b: u64,
}

impl Default for Hash128 {
    fn default() -> Self {
        Self {
            a: 0x243f_6a88_85a3_08d3,
            b: 0x1319_8a2e_0370_7344,
        }
    }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "both halves are taken")]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

impl Hash128 {
    pub(crate) fn value(&self) -> u128 {
        let a = fold(self.a ^ self.b.rotate_left(32), 0x9e37_79b9_7f4a_7c15);
        let b = fold(self.b.wrapping_add(self.a), 0xc2b2_ae3d_27d4_eb4f);
        u128::from(a) << 64 | u128::from(b)
    }

    #[inline]
    fn word(&mut self, word: u64) {
        self.a = fold(self.a ^ word, 0xa076_1d64_78bd_642f).wrapping_add(word);
        self.b = fold(self.b.wrapping_add(word), 0xe703_7ed1_a0b4_28db) ^ word.rotate_left(29);
    }
}

impl Hasher for Hash128 {
    fn finish(&self) -> u64 {
        self.a
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (chunks, rest) = bytes.as_chunks::<8>();
        for chunk in chunks {
            self.word(u64::from_le_bytes(*chunk));
        }
        let last = rest.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
        self.word(last ^ (bytes.len() as u64) << 56);
    }

    #[inline]
    fn write_u8(&mut self, number: u8) {
        self.word(u64::from(number));
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.word(u64::from(number));
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.word(number);
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.word(number as u64);
    }
}

/// For keys that are hashes already.
#[derive(Default)]
pub(crate) struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes
            .iter()
            .fold(self.0, |word, &byte| word << 8 | u64::from(byte));
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    #[inline]
    fn write_u128(&mut self, number: u128) {
        self.0 = u64::try_from(number & u128::from(u64::MAX)).unwrap_or_default();
    }
}

pub(crate) type Set<K> = std::collections::HashSet<K, BuildHasherDefault<Same>>;
