//! Masking (RFC 6455 §5.3).

use multiversion::multiversion;

/// The four bytes that a client exclusive-ors over a frame's payload (RFC 6455 §5.3).
///
/// A client must draw a fresh, unpredictable key for each frame (RFC 6455 §10.3); where it comes from is the caller's
/// business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaskKey([u8; 4]);

impl MaskKey {
    /// A key of these four bytes, in the order in which they stand on the wire.
    #[must_use]
    pub const fn new(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    /// The four bytes, in the order in which they stand on the wire.
    #[must_use]
    pub const fn bytes(self) -> [u8; 4] {
        self.0
    }
}

/// Masks or unmasks `data` in place: the operation is its own inverse (RFC 6455 §5.3).
///
/// `offset` is the position of `data[0]` in the frame's payload, in bytes, so that a payload may be treated in pieces.
#[inline]
pub fn apply_mask(key: MaskKey, offset: u64, data: &mut [u8]) {
    // On a little-endian view, moving the key on by a byte is a rotation to the right.
    let narrow = u32::from_le_bytes(key.0).rotate_right((offset % 4) as u32 * 8);
    let wide = u64::from(narrow) << 32 | u64::from(narrow);
    if data.len() < SHORT_BYTES {
        mask_short(narrow, wide, data);
    } else {
        mask_long(narrow, wide, data);
    }
}

/// Below this length the vectorised loop costs more to enter than it saves.
const SHORT_BYTES: usize = 128;

/// Words of eight bytes are what the auto-vectoriser turns into the widest loads of the machine.
#[multiversion(targets("x86_64+avx2"))]
fn mask_long(narrow: u32, wide: u64, data: &mut [u8]) {
    let (words, tail) = data.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_le_bytes(*word) ^ wide).to_le_bytes();
    }
    mask_short(narrow, wide, tail);
}

#[inline]
fn mask_short(narrow: u32, wide: u64, data: &mut [u8]) {
    let mut at = 0;
    while let Some(word) = data[at..].first_chunk_mut::<8>() {
        *word = (u64::from_le_bytes(*word) ^ wide).to_le_bytes();
        at += 8;
    }
    if let Some(word) = data[at..].first_chunk_mut::<4>() {
        *word = (u32::from_le_bytes(*word) ^ narrow).to_le_bytes();
        at += 4;
    }
    for (byte, key) in data[at..].iter_mut().zip(narrow.to_le_bytes()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 6455 §5.3, word for word: `transformed-octet-i = original-octet-i XOR masking-key-octet-(i MOD 4)`.
    fn reference(key: [u8; 4], data: &[u8]) -> Vec<u8> {
        data.iter()
            .enumerate()
            .map(|(i, byte)| byte ^ key[i % 4])
            .collect()
    }

    proptest! {
        #[test]
        fn masks_as_the_rfc_says_in_any_split(
            key: [u8; 4],
            data in proptest::collection::vec(any::<u8>(), 0..200),
            split in 0usize..200,
        ) {
            let split = split.min(data.len());
            let mut masked = data.clone();
            let (head, tail) = masked.split_at_mut(split);
            apply_mask(MaskKey::new(key), 0, head);
            apply_mask(MaskKey::new(key), split as u64, tail);
            prop_assert_eq!(&masked, &reference(key, &data));
            apply_mask(MaskKey::new(key), 0, &mut masked);
            prop_assert_eq!(masked, data);
        }
    }

    #[test]
    fn offset_counts_modulo_four_up_to_the_largest_payload() {
        let mut data = [0u8; 3];
        apply_mask(MaskKey::new([1, 2, 3, 4]), u64::MAX, &mut data);
        assert_eq!(data, [4, 1, 2]);
    }
}
