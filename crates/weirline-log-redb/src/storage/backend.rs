//! A [`Medium`] as redb wants it.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Medium;

/// A medium for one opening of the database. It remembers whether room was the matter, since redb forgets it: after any
/// error it says no more than that there was one.
#[derive(Debug)]
pub(crate) struct Backend {
    medium: Arc<dyn Medium>,
    full: Arc<AtomicBool>,
}

impl Backend {
    pub(crate) fn new(medium: Arc<dyn Medium>, full: Arc<AtomicBool>) -> Self {
        Self { medium, full }
    }

    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && is_full(error)
        {
            self.full.store(true, Ordering::Relaxed);
        }
        result
    }
}

/// Whether the error says that there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

// The storage is locked as a whole before redb sees it, so there are no locks here.
impl redb::StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.medium.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.medium.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.note(self.medium.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.note(self.medium.sync())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.note(self.medium.write(offset, data))
    }
}

/// Reads a medium that refuses to be written, for as long as that lasts.
///
/// redb notes in the header that the database is open, and can do no more without a transaction; so the little that is
/// written here stays in memory, over what is read.
#[derive(Debug)]
pub(crate) struct ReadOnly {
    medium: Arc<dyn Medium>,
    written: Mutex<BTreeMap<u64, Vec<u8>>>,
}

impl ReadOnly {
    pub(crate) fn new(medium: Arc<dyn Medium>) -> Self {
        Self {
            medium,
            written: Mutex::default(),
        }
    }

    fn written(&self) -> MutexGuard<'_, BTreeMap<u64, Vec<u8>>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl redb::StorageBackend for ReadOnly {
    fn len(&self) -> io::Result<u64> {
        self.medium.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.medium.read(offset, out)?;
        let end = offset + out.len() as u64;
        for (&at, bytes) in self.written().range(..end) {
            let (from, to) = (at.max(offset), (at + bytes.len() as u64).min(end));
            if from < to {
                let source = &bytes[index(from - at)..index(to - at)];
                out[index(from - offset)..index(to - offset)].copy_from_slice(source);
            }
        }
        Ok(())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        // Only the header is expected, again and again at one place.
        if written.len() >= WRITES_MAX && !written.contains_key(&offset) {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        written.insert(offset, data.to_vec());
        Ok(())
    }
}

/// An index into a buffer, which is never longer than memory.
fn index(distance: u64) -> usize {
    usize::try_from(distance).unwrap_or(usize::MAX)
}

const WRITES_MAX: usize = 64;
