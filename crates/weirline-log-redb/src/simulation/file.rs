//! One file, as the programs see it and as the disk has it.

use std::collections::BTreeSet;

/// What a disk writes as a whole.
pub(super) const SECTOR: usize = 512;

#[derive(Debug, Clone, Default)]
pub(super) struct SimFile {
    /// What is read: the page cache.
    cache: Vec<u8>,
    /// What survives a loss of power.
    disk: Vec<u8>,
    /// The sectors whose cache waits to be written.
    dirty: BTreeSet<usize>,
    /// The shortest it was since the last sync, if it was cut.
    cut: Option<usize>,
    /// The pages of 4 KiB that have their place.
    allocated: BTreeSet<usize>,
}

const PAGE: usize = 4096;

impl SimFile {
    pub(super) fn len(&self) -> usize {
        self.cache.len()
    }

    pub(super) fn read(&self, at: usize, out: &mut [u8]) -> bool {
        match at.checked_add(out.len()).and_then(|end| self.cache.get(at..end)) {
            Some(bytes) => {
                out.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }

    /// How many bytes of place a write would take that the file has not.
    pub(super) fn needs(&self, at: usize, len: usize) -> usize {
        let pages = at / PAGE..(at + len).div_ceil(PAGE);
        pages.filter(|page| !self.allocated.contains(page)).count() * PAGE
    }

    pub(super) fn place(&self) -> usize {
        self.allocated.len() * PAGE
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        if end > self.cache.len() {
            self.cache.resize(end, 0);
        }
        self.cache[at..end].copy_from_slice(bytes);
        self.dirty.extend(at / SECTOR..end.div_ceil(SECTOR));
        self.allocated.extend(at / PAGE..end.div_ceil(PAGE));
    }

    pub(super) fn set_len(&mut self, len: usize) {
        if len < self.cache.len() {
            self.cut = Some(self.cut.map_or(len, |cut| cut.min(len)));
        }
        self.cache.resize(len, 0);
        self.allocated.split_off(&len.div_ceil(PAGE));
    }

    /// Everything survives from here on.
    pub(super) fn sync(&mut self) {
        self.flush_len();
        for sector in std::mem::take(&mut self.dirty) {
            self.flush(sector);
        }
    }

    fn flush_len(&mut self) {
        if let Some(cut) = self.cut.take() {
            self.disk.truncate(cut);
        }
        self.disk.resize(self.cache.len(), 0);
    }

    /// A sync that fails: of the dirty sectors some are written, some are not and wait, and some are not, though the cache
    /// believes it.
    pub(super) fn fail_sync(&mut self, mut draw: impl FnMut() -> u64) {
        for sector in std::mem::take(&mut self.dirty) {
            match draw() % 3 {
                0 => self.flush(sector),
                1 => {
                    self.dirty.insert(sector);
                }
                _ => {}
            }
        }
    }

    /// The power goes, and comes back: of what was not synced any part survives, and of a length that was not, either.
    pub(super) fn lose_power(&mut self, mut draw: impl FnMut() -> u64) {
        if draw().is_multiple_of(2) {
            self.flush_len();
        }
        self.cut = None;
        for sector in std::mem::take(&mut self.dirty) {
            if draw().is_multiple_of(2) {
                self.flush(sector);
            }
        }
        self.cache.clone_from(&self.disk);
        self.allocated.split_off(&self.cache.len().div_ceil(PAGE));
    }

    /// Nothing that was not synced survives.
    pub(super) fn lose_all(&mut self) {
        self.dirty.clear();
        self.cut = None;
        self.cache.clone_from(&self.disk);
    }

    /// Writes a sector from the cache to the disk, as far as both have it.
    fn flush(&mut self, sector: usize) {
        let from = sector * SECTOR;
        let to = (from + SECTOR).min(self.cache.len()).min(self.disk.len());
        if from < to {
            self.disk[from..to].copy_from_slice(&self.cache[from..to]);
        }
    }

    /// Flips a bit of what is stored.
    pub(super) fn damage(&mut self, at: usize, bit: u32) {
        for bytes in [&mut self.cache, &mut self.disk] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
