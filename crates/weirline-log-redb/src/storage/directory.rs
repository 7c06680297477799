//! The files in a directory.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::StorageBackend as _;
use redb::backends::FileBackend;

use super::{Half, Medium, Part, Storage};
use crate::OpenError;

/// The files `log.redb`, `journal-a` and `journal-b` in a directory, which a fourth, `lock`, keeps for one process.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    database: Arc<Plain>,
    journal: [Arc<Plain>; 2],
    /// Held as long as this value lives; the operating system lets it go with the process, however that ends.
    _lock: File,
}

impl Directory {
    /// Opens the directory, and makes it and the files if they do not exist.
    ///
    /// # Errors
    /// [`OpenError::NotADirectory`], [`OpenError::InUse`], [`OpenError::Permission`], [`OpenError::Full`],
    /// [`OpenError::Storage`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let fail = |file: &Path| {
            let file = file.display().to_string();
            move |error| OpenError::from_io(file, error)
        };
        match fs::metadata(path) {
            Ok(found) if !found.is_dir() => {
                return Err(OpenError::NotADirectory {
                    path: path.display().to_string(),
                });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_directory(path).map_err(fail(path))?;
            }
            Err(error) => return Err(fail(path)(error)),
        }
        let lock_path = path.join("lock");
        let lock = open_file(&lock_path).map_err(fail(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::InUse {
                    path: path.display().to_string(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(fail(&lock_path)(error)),
        }
        let open = |part| {
            let path = path.join(file_name(part));
            open_file(&path)
                .and_then(Plain::new)
                .map(Arc::new)
                .map_err(fail(&path))
        };
        let database = open(Part::Database)?;
        let journal = [open(Part::Journal(Half::A))?, open(Part::Journal(Half::B))?];
        // The names of the files, too, must survive a loss of power.
        sync_directory(path).map_err(fail(path))?;
        Ok(Self {
            path: path.to_owned(),
            database,
            journal,
            _lock: lock,
        })
    }
}

impl Storage for Directory {
    fn database(&self) -> Arc<dyn Medium> {
        Arc::clone(&self.database) as _
    }

    fn journal(&self, half: Half) -> Arc<dyn Medium> {
        let [a, b] = &self.journal;
        Arc::clone(if half == Half::A { a } else { b }) as _
    }

    fn name(&self, part: Part) -> String {
        self.path.join(file_name(part)).display().to_string()
    }
}

const fn file_name(part: Part) -> &'static str {
    match part {
        Part::Database => "log.redb",
        Part::Journal(Half::A) => "journal-a",
        Part::Journal(Half::B) => "journal-b",
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

/// Makes the directory and those above it, so that they survive a loss of power.
fn make_directory(path: &Path) -> io::Result<()> {
    let existing = path.ancestors().find(|above| above.is_dir());
    fs::create_dir_all(path)?;
    for above in path.ancestors().skip(1) {
        let above = if above.as_os_str().is_empty() {
            Path::new(".")
        } else {
            above
        };
        sync_directory(above)?;
        if Some(above) == existing {
            break;
        }
    }
    Ok(())
}

/// Elsewhere than on Unix a directory cannot be opened, and needs no sync.
fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(path)?.sync_all()
    } else {
        Ok(())
    }
}

/// A file, with the positional reads and writes of each platform as redb has them.
#[derive(Debug)]
struct Plain(FileBackend);

impl Plain {
    fn new(file: File) -> io::Result<Self> {
        FileBackend::new(file).map(Self).map_err(io::Error::other)
    }
}

impl Medium for Plain {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(at, out)
    }

    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write(at, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
