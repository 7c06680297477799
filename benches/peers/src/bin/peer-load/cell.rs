//! What is measured: kinds of load.

use serde::Serialize;

/// A kind of load: each connection sends `depth` messages at once, waits for all answers, and sends again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Cell {
    pub(crate) payload: usize,
    pub(crate) depth: usize,
    pub(crate) connections: usize,
}

/// Those of the table that the bars speak of.
pub(crate) const ALL: [Cell; 7] = [
    Cell::new(16, 1, 1),
    Cell::new(16, 64, 32),
    Cell::new(125, 1, 32),
    Cell::new(1 << 10, 16, 32),
    Cell::new(16 << 10, 1, 32),
    Cell::new(16 << 10, 16, 32),
    Cell::new(1 << 20, 1, 1),
];

impl Cell {
    pub(crate) const fn new(payload: usize, depth: usize, connections: usize) -> Self {
        Self {
            payload,
            depth,
            connections,
        }
    }

    /// The masked frames that one connection sends at once. Each message is another one, so that answers out of order are seen.
    pub(crate) fn batch(self) -> Vec<u8> {
        let mut batch = Vec::new();
        for message in 0..self.depth {
            batch.push(0x82);
            match self.payload {
                short @ 0..=125 => batch.push(0x80 | short.to_le_bytes()[0]),
                medium @ 126..=0xFFFF => {
                    batch.push(0x80 | 126);
                    batch.extend(&medium.to_be_bytes()[size_of::<usize>() - 2..]);
                }
                long => {
                    batch.push(0x80 | 127);
                    batch.extend((long as u64).to_be_bytes());
                }
            }
            let key = [0x37, 0xFA, byte(message, 0), 0x3D];
            batch.extend(key);
            batch.extend((0..self.payload).map(|position| byte(message, position) ^ key[position % 4]));
        }
        batch
    }
}

/// What stands at a position of a message.
pub(crate) fn byte(message: usize, position: usize) -> u8 {
    (position.wrapping_mul(31) ^ (position >> 8))
        .wrapping_add(message.wrapping_mul(17))
        .to_le_bytes()[0]
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.payload {
            small @ 0..=1023 => write!(f, "{small} B")?,
            medium @ 1024..=0xF_FFFF => write!(f, "{} KiB", medium >> 10)?,
            large => write!(f, "{} MiB", large >> 20)?,
        }
        write!(f, " × {} × {}", self.depth, self.connections)
    }
}
