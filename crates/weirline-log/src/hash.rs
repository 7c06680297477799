//! The rolling hash of what a session published: it tells whose messages stand under a session's numbers.

use std::fmt;

use crate::{PayloadKind, Seq, StreamId};
use sha2::{Digest as _, Sha256};

/// What one number of a session stands for: the digest of a PUB, or of a SKIP.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Item(pub [u8; 16]);

impl Item {
    /// The item of a PUB.
    #[must_use]
    pub fn publish(stream: &StreamId, kind: PayloadKind, payload: &[u8]) -> Self {
        let kind = match kind {
            PayloadKind::Text => 1,
            PayloadKind::Binary => 2,
        };
        let name = stream.as_str().as_bytes();
        // A stream's name has at most 128 bytes.
        let len = u8::try_from(name.len()).unwrap_or(u8::MAX);
        let digest = Sha256::new()
            .chain_update([kind, len])
            .chain_update(name)
            .chain_update(payload);
        Self(truncate(digest))
    }

    /// The item of a SKIP.
    #[must_use]
    pub fn skip(from: Seq, to: Seq) -> Self {
        let digest = Sha256::new()
            .chain_update([0])
            .chain_update(from.get().to_be_bytes())
            .chain_update(to.get().to_be_bytes());
        Self(truncate(digest))
    }
}

/// The hash over all items of a session up to a number.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct RollingHash(pub [u8; 16]);

impl RollingHash {
    /// At number 0.
    pub const ZERO: Self = Self([0; 16]);

    /// Behind one more item.
    #[must_use]
    pub fn then(self, item: Item) -> Self {
        Self(truncate(Sha256::new().chain_update(self.0).chain_update(item.0)))
    }
}

fn truncate(digest: Sha256) -> [u8; 16] {
    let digest: [u8; 32] = digest.finalize().into();
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    first
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Item({:032x})", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for RollingHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RollingHash({:032x})", u128::from_be_bytes(self.0))
    }
}
