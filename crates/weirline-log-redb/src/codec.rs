//! Numbers and bytes, one after another, little-endian; and a checksum.

/// Stored bytes that are not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stored bytes are damaged: {0}")]
pub(crate) struct Damage(pub(crate) &'static str);

/// Reads what [`Put`] wrote.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Take<'a>(pub(crate) &'a [u8]);

impl<'a> Take<'a> {
    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Damage> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(Damage("cut short"))?;
        self.0 = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Damage("cut short"))?;
        self.0 = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Damage> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Damage> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Damage> {
        self.array().map(u64::from_le_bytes)
    }

    /// A number of the protocol.
    pub(crate) fn number<N: TryFrom<u64>>(&mut self) -> Result<N, Damage> {
        N::try_from(self.u64()?).map_err(|_| Damage("a number is out of range"))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Appends to a buffer.
pub(crate) trait Put {
    fn put(&mut self, bytes: &[u8]);

    fn put_u8(&mut self, byte: u8) {
        self.put(&[byte]);
    }

    fn put_u32(&mut self, number: u32) {
        self.put(&number.to_le_bytes());
    }

    fn put_u64(&mut self, number: u64) {
        self.put(&number.to_le_bytes());
    }
}

impl Put for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// A count that is known to be small, as it is stored.
pub(crate) fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// 64 bits that change with any damage but for one in 2⁶⁴; no defence against somebody who wants to.
///
/// Four lanes of multiplications, so that the processor does several at once. Each step is a bijection of its lane.
pub(crate) fn checksum(seed: u64, bytes: &[u8]) -> u64 {
    let mut lanes = [seed, seed ^ ODD[1], seed ^ ODD[2], seed ^ ODD[3]];
    let (chunks, rest) = bytes.as_chunks::<32>();
    for chunk in chunks {
        let (words, _) = chunk.as_chunks::<8>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane = (lane.rotate_left(29) ^ u64::from_le_bytes(*word)).wrapping_mul(ODD[0]);
        }
    }
    let mut sum = lanes
        .iter()
        .fold(bytes.len() as u64, |sum, &lane| mix(sum ^ lane));
    for word in rest.chunks(8) {
        let mut padded = [0; 8];
        padded[..word.len()].copy_from_slice(word);
        sum = mix(sum ^ u64::from_le_bytes(padded));
    }
    sum
}

fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 32)).wrapping_mul(ODD[1]);
    word = (word ^ (word >> 29)).wrapping_mul(ODD[2]);
    word ^ (word >> 32)
}

/// Odd numbers without a pattern: the fractions of the square roots of 2, 3, 5 and 7.
const ODD: [u64; 4] = [
    0x6a09_e667_f3bc_c909,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_flipped_bit_changes_the_checksum(mut bytes in prop::collection::vec(any::<u8>(), 1..200), at in any::<prop::sample::Index>(), bit in 0u8..8, seed in any::<u64>()) {
            let before = checksum(seed, &bytes);
            prop_assert_eq!(before, checksum(seed, &bytes));
            prop_assert_ne!(before, checksum(seed ^ 1, &bytes));
            let at = at.index(bytes.len());
            bytes[at] ^= 1u8 << bit;
            prop_assert_ne!(before, checksum(seed, &bytes));
            bytes.push(0);
            bytes[at] ^= 1u8 << bit;
            prop_assert_ne!(before, checksum(seed, &bytes), "a zero more");
        }
    }

    #[test]
    fn what_is_cut_short_is_damage() {
        let mut bytes = Vec::new();
        bytes.put_u8(7);
        bytes.put_u32(8);
        bytes.put_u64(9);
        let mut take = Take(&bytes);
        assert_eq!((take.u8(), take.u32(), take.u64()), (Ok(7), Ok(8), Ok(9)));
        assert!(take.is_empty() && take.u8().is_err() && take.bytes(1).is_err());
    }
}
