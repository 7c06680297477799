//! Which log the server opens, and the thread that writes its checkpoints.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use weirline_log::{MemoryConfig, MemoryLog};
use weirline_log_redb::{Job, RedbConfig, RedbLog};
use weirline_resume::wire::Durability;
use weirline_tokio::Entropy;

use crate::ServeError;

/// Where streams and sessions are kept, and for how long.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// What an acknowledgement means. Default [`Durability::Durable`]: synced to the disk, so it survives the process and a loss
    /// of power. With [`Durability::Memory`] nothing is stored, and a restart begins other epochs.
    pub durability: Durability,
    /// The directory of the durable log, which is made if it is missing. Default `weirline-data`, in the working directory. One
    /// server at a time can use it.
    pub data_dir: PathBuf,
    /// What is kept of the messages.
    pub retention: Retention,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            durability: Durability::Durable,
            data_dir: PathBuf::from("weirline-data"),
            retention: Retention::default(),
        }
    }
}

/// What is kept of the messages: the oldest beyond any of these limits go first. `None` is the log's own default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention {
    /// Per stream, by age in the time that the log is open. Default unlimited. Durable logs only.
    pub age: Option<Duration>,
    /// Per stream, in bytes. Default 1 GiB; in memory 64 MiB.
    pub bytes: Option<u64>,
    /// Per stream, in messages. Default unlimited; in memory 1,000,000.
    pub count: Option<u64>,
    /// Of all streams together, in bytes. Default 16 GiB; in memory 1 GiB.
    pub total_bytes: Option<u64>,
}

/// A log that is open.
pub(crate) enum Log {
    Memory(Box<MemoryLog>),
    Durable(Box<RedbLog>),
}

impl Log {
    /// Opens what the settings name. It blocks on the disk.
    pub(crate) fn open(settings: &LogSettings, entropy: &Entropy) -> Result<Self, ServeError> {
        let seed = u64::from_le_bytes(entropy.array());
        if settings.durability == Durability::Memory {
            let config = settings.retention.in_memory()?;
            return Ok(Self::Memory(Box::new(MemoryLog::new(config, seed))));
        }
        let log = RedbLog::open(&settings.data_dir, settings.retention.durable(), seed)?;
        Ok(Self::Durable(Box::new(log)))
    }
}

impl Retention {
    fn in_memory(&self) -> Result<MemoryConfig, ServeError> {
        if self.age.is_some() {
            return Err(ServeError::AgeInMemory);
        }
        let clamped = |value: Option<u64>, default: usize| {
            value.map_or(default, |value| usize::try_from(value).unwrap_or(usize::MAX))
        };
        let default = MemoryConfig::default();
        Ok(MemoryConfig {
            stream_bytes_max: clamped(self.bytes, default.stream_bytes_max),
            stream_messages_max: clamped(self.count, default.stream_messages_max),
            bytes_max: clamped(self.total_bytes, default.bytes_max),
            ..default
        })
    }

    fn durable(&self) -> RedbConfig {
        let default = RedbConfig::default();
        RedbConfig {
            stream_age_max: self.age,
            stream_bytes_max: self.bytes.unwrap_or(default.stream_bytes_max),
            stream_messages_max: self.count.unwrap_or(default.stream_messages_max),
            bytes_max: self.total_bytes.unwrap_or(default.bytes_max),
            ..default
        }
    }
}

/// The way to the thread that writes checkpoints. There is at most one at a time, so its place is always free; if the thread is
/// gone, the job is dropped, which the log takes for a checkpoint that failed.
pub(crate) fn checkpoints() -> (impl Fn(Job) + Send + 'static, Receiver<Job>) {
    let (jobs, waiting): (SyncSender<Job>, _) = sync_channel(1);
    let hand_over = move |job| {
        let _ = jobs.try_send(job);
    };
    (hand_over, waiting)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_reaches_its_log() {
        let retention = Retention {
            age: None,
            bytes: Some(1),
            count: Some(2),
            total_bytes: Some(3),
        };
        let memory = retention.in_memory().unwrap();
        assert_eq!(
            (
                memory.stream_bytes_max,
                memory.stream_messages_max,
                memory.bytes_max
            ),
            (1, 2, 3)
        );
        let aged = Retention {
            age: Some(Duration::from_secs(4)),
            ..retention
        };
        let durable = aged.durable();
        assert_eq!((durable.stream_bytes_max, durable.stream_messages_max), (1, 2));
        assert_eq!((durable.bytes_max, durable.stream_age_max), (3, aged.age));
        assert!(matches!(aged.in_memory(), Err(ServeError::AgeInMemory)));
    }
}
