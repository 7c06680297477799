//! A log of numbers on a simulated disk.

use std::time::{Duration, Instant};

use weirline_log::{EventLog as _, LogError, LogWriter as _, Upkeep};
use weirline_log_redb::simulation::SimDisk;
use weirline_log_redb::{RedbConfig, RedbLog, RedbReader, RedbWriter};

use crate::common::append;

pub(crate) struct Log {
    pub(crate) writer: RedbWriter,
    pub(crate) reader: RedbReader,
    pub(crate) now: Instant,
}

impl Log {
    pub(crate) fn open(disk: &SimDisk, config: RedbConfig) -> Self {
        let (writer, reader) = RedbLog::open_storage(disk.storage(), config, 11).unwrap().split();
        #[expect(clippy::disallowed_methods, reason = "an arbitrary starting point")]
        let now = Instant::now();
        let mut log = Self { writer, reader, now };
        log.writer.maintain(now).unwrap();
        log
    }

    /// Publishes `count` messages of about 100 bytes from `number` on, in one batch.
    pub(crate) fn publish(&mut self, number: u64, count: u64) -> Result<(), LogError> {
        let batch: Vec<_> = (number..number + count).map(|n| append(n, 100)).collect();
        self.writer.commit(&batch, &mut Vec::new())
    }

    /// Upkeep after so long that a checkpoint is due.
    pub(crate) fn try_checkpoint(&mut self) -> Result<Upkeep, LogError> {
        self.now += Duration::from_secs(61);
        self.writer.maintain(self.now)
    }

    pub(crate) fn checkpoint(&mut self) {
        while self.try_checkpoint().unwrap() == Upkeep::More {}
    }
}
