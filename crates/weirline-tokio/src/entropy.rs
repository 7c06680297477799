//! Where random bytes come from: the operating system, or a seed in the simulator.

use std::sync::Arc;

/// A source of random bytes, handed to whoever needs some: keys of handshakes, masks, secrets, jitter.
///
/// Cheap to clone; clones share the source.
#[derive(Clone)]
pub struct Entropy(Arc<Fill>);

type Fill = dyn Fn(&mut [u8]) + Send + Sync;

impl Entropy {
    /// The operating system's source, fit for secrets and for masking keys (RFC 6455 §5.3).
    ///
    /// # Panics
    ///
    /// A fill panics where the operating system has no random bytes to give; nothing secure can be done then.
    #[must_use]
    pub fn os() -> Self {
        Self::from_fn(|bytes| {
            #[expect(
                clippy::disallowed_methods,
                reason = "the one place that asks the operating system"
            )]
            getrandom::fill(bytes).expect("the operating system gives random bytes");
        })
    }

    /// A source of the caller's, which fills the whole slice. With a seeded one everything is repeatable, and nothing is
    /// secret.
    #[must_use]
    pub fn from_fn(fill: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Self {
        Self(Arc::new(fill))
    }

    /// Fills `bytes`.
    pub fn fill(&self, bytes: &mut [u8]) {
        (self.0)(bytes);
    }

    /// An array of random bytes.
    #[must_use]
    pub fn array<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// A number in [0, 1), with 53 random bits.
    #[must_use]
    pub fn uniform(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64 exactly")]
        let bits = (u64::from_le_bytes(self.array()) >> 11) as f64;
        bits / (1u64 << 53) as f64
    }

    /// Masking keys for a client's connection (RFC 6455 §10.3). They are drawn in blocks, so that a small message does not
    /// cost a system call.
    #[must_use]
    pub fn mask_source(&self) -> weirline_connection::MaskSource {
        let entropy = self.clone();
        let mut block = [0u8; MASK_BLOCK_BYTES];
        let mut next = MASK_BLOCK_BYTES;
        Box::new(move || {
            if next == MASK_BLOCK_BYTES {
                entropy.fill(&mut block);
                next = 0;
            }
            let key = [block[next], block[next + 1], block[next + 2], block[next + 3]];
            next += 4;
            key
        })
    }
}

const MASK_BLOCK_BYTES: usize = 256;

impl std::fmt::Debug for Entropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entropy(..)")
    }
}
