//! Why a log cannot be opened, and what to do about it.

use std::io;

use crate::storage::is_full;

/// Why a log cannot be opened. Each message says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The path is that of something else.
    #[error("{path} is not a directory: give the path of a directory, or of one that is to be made")]
    NotADirectory {
        /// The path.
        path: String,
    },
    /// Another process has the log open.
    #[error("{path} is in use by another process: stop that one, or give each its own directory")]
    InUse {
        /// The directory.
        path: String,
    },
    /// The operating system refuses access.
    #[error("no permission to read and write {path}: make it belong to the user that runs this program")]
    Permission {
        /// The file or directory.
        path: String,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// There is no room.
    #[error("no room to open {path}: free some space on its filesystem")]
    Full {
        /// The file or directory.
        path: String,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// The log was written by a later version of this program.
    #[error(
        "{path} was written by a newer version (format {found}; this one reads up to {supported}): start that \
         version, or restore a backup from before the upgrade"
    )]
    Newer {
        /// The file.
        path: String,
        /// Its format.
        found: u64,
        /// The latest format that this version reads.
        supported: u64,
    },
    /// A file is not what was written.
    #[error(
        "{path} is damaged ({what}): restore the whole directory from a backup, or move it away to begin with an \
         empty log; subscribers are told that the old one is lost"
    )]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// The storage failed.
    #[error("cannot use {path}: check the disk and the system's log, and start again")]
    Storage {
        /// The file or directory.
        path: String,
        /// The failure.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl OpenError {
    pub(crate) fn from_io(path: String, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::Permission { path, source }
            }
            io::ErrorKind::NotADirectory => Self::NotADirectory { path },
            _ if is_full(&source) => Self::Full { path, source },
            _ => Self::Storage {
                path,
                source: source.into(),
            },
        }
    }

    pub(crate) fn from_redb(path: String, source: redb::Error) -> Self {
        match source {
            redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => Self::Damaged {
                path,
                what: error.to_string(),
            },
            redb::Error::Io(error) => Self::from_io(path, error),
            redb::Error::Corrupted(what) => Self::Damaged { path, what },
            redb::Error::UpgradeRequired(_)
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::TableDoesNotExist(_) => Self::Damaged {
                path,
                what: source.to_string(),
            },
            _ => Self::Storage {
                path,
                source: source.into(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_operating_system_are_told_apart() {
        type Check = fn(&OpenError) -> bool;
        let cases: [(io::ErrorKind, Check, &str); 5] = [
            (
                io::ErrorKind::PermissionDenied,
                |error| matches!(error, OpenError::Permission { .. }),
                "belong to the user",
            ),
            (
                io::ErrorKind::ReadOnlyFilesystem,
                |error| matches!(error, OpenError::Permission { .. }),
                "belong to the user",
            ),
            (
                io::ErrorKind::StorageFull,
                |error| matches!(error, OpenError::Full { .. }),
                "free some space",
            ),
            (
                io::ErrorKind::NotADirectory,
                |error| matches!(error, OpenError::NotADirectory { .. }),
                "path of a directory",
            ),
            (
                io::ErrorKind::Other,
                |error| matches!(error, OpenError::Storage { .. }),
                "check the disk",
            ),
        ];
        for (kind, check, advice) in cases {
            let as_file = OpenError::from_io("here".into(), kind.into());
            let as_database = OpenError::from_redb("here".into(), redb::Error::Io(kind.into()));
            for error in [as_file, as_database] {
                let text = error.to_string();
                assert!(
                    check(&error) && text.contains("here") && text.contains(advice),
                    "{kind}: {text}"
                );
            }
        }
    }
}
