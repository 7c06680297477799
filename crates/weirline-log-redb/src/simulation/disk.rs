//! The disk: three files, a random source, and what is wrong at the moment.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::file::SimFile;
use crate::storage::{Half, Medium, Part, Storage};

/// What a medium is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// To read.
    Read,
    /// To write, or to change its length.
    Write,
    /// To sync.
    Sync,
}

/// What is wrong with a disk. The default is nothing.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// One in so many reads fails; 0 for none.
    pub read_fails_one_in: u64,
    /// One in so many writes fails; 0 for none.
    pub write_fails_one_in: u64,
    /// One in so many syncs fails; 0 for none. Then some of what was written is on the disk, some waits, and some is lost
    /// without a trace until the power goes, as on Linux.
    pub sync_fails_one_in: u64,
    /// How much place there is for all files, in bytes; `None` for no limit.
    pub capacity_bytes: Option<u64>,
    /// The power goes at the operation after so many that write or sync; until [`SimDisk::restart`] every call fails.
    pub power_fails_after: Option<u64>,
    /// Syncs do nothing, and say that they did. No log survives this; it shows that a test can fail.
    pub syncs_are_lies: bool,
    /// What each operation takes, and how much it adds for each MiB.
    pub latency: Option<fn(Op, usize) -> Duration>,
}

/// A simulated disk. Cloning it gives another handle of the same.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    random: u64,
    faults: Faults,
    database: SimFile,
    journal: [SimFile; 2],
    /// Rises with each restart; what was opened before fails.
    life: u64,
    on: bool,
    took: Duration,
    operations: u64,
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk").finish_non_exhaustive()
    }
}

impl SimDisk {
    /// An empty disk, on which everything is drawn from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: seed,
            faults: Faults::default(),
            database: SimFile::default(),
            journal: Default::default(),
            life: 0,
            on: true,
            took: Duration::ZERO,
            operations: 0,
        })))
    }

    /// The storage, until the next [`restart`](Self::restart).
    #[must_use]
    pub fn storage(&self) -> impl Storage {
        let medium = |part| -> Arc<dyn Medium> {
            Arc::new(SimMedium {
                disk: self.clone(),
                part,
                life: self.state().life,
            })
        };
        SimStorage {
            database: medium(Part::Database),
            journal: [medium(Part::Journal(Half::A)), medium(Part::Journal(Half::B))],
        }
    }

    /// Changes what is wrong.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// The power goes, if it has not gone already, and comes back. Each sector that was not synced survives or does not, and so
    /// does a length. What was opened before fails for ever; nothing is wrong with the disk any more, but for its capacity
    /// and its lies.
    pub fn restart(&self) {
        let mut state = self.state();
        state.lose_power();
        state.on = true;
        state.life += 1;
        let Faults {
            capacity_bytes,
            syncs_are_lies,
            latency,
            ..
        } = state.faults;
        state.faults = Faults {
            capacity_bytes,
            syncs_are_lies,
            latency,
            ..Faults::default()
        };
    }

    /// The process ends, and the machine does not: nothing is lost, and what was opened before fails for ever.
    pub fn kill(&self) {
        self.state().life += 1;
    }

    /// Whether the power has gone by itself.
    #[must_use]
    pub fn is_off(&self) -> bool {
        !self.state().on
    }

    /// Everything of one file that was not really synced is lost, as a disk does that has lied.
    pub fn lose_unsynced(&self, part: Part) {
        self.state().file(part).lose_all();
    }

    /// Flips a bit of what is stored.
    pub fn damage(&self, part: Part, at: u64, bit: u32) {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        self.state().file(part).damage(at, bit);
    }

    /// Empties a file.
    pub fn remove(&self, part: Part) {
        self.state().file(part).clear();
    }

    /// The length of a file.
    #[must_use]
    pub fn len(&self, part: Part) -> u64 {
        self.state().file(part).len() as u64
    }

    /// How many operations there were that write or sync.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// How long the operations took since this was asked last, in simulated time. Who runs the log inline waits so long.
    #[must_use]
    pub fn take_latency(&self) -> Duration {
        std::mem::take(&mut self.state().took)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// `SplitMix64`.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn one_in(&mut self, n: u64) -> bool {
        n > 0 && self.draw().is_multiple_of(n)
    }

    fn file(&mut self, part: Part) -> &mut SimFile {
        match part {
            Part::Database => &mut self.database,
            Part::Journal(Half::A) => &mut self.journal[0],
            Part::Journal(Half::B) => &mut self.journal[1],
        }
    }

    fn lose_power(&mut self) {
        let mut random = self.draw();
        let mut draw = || {
            random = random
                .wrapping_mul(0x5851_f42d_4c95_7f2d)
                .wrapping_add(0x1405_7b7e_f767_814f);
            random >> 40
        };
        self.database.lose_power(&mut draw);
        for file in &mut self.journal {
            file.lose_power(&mut draw);
        }
    }

    /// Whether the operation may go on.
    fn begin(&mut self, life: u64, op: Op, bytes: usize) -> io::Result<()> {
        if !self.on || life != self.life {
            return Err(io::Error::other("the power is off"));
        }
        if let Some(latency) = self.faults.latency {
            self.took += latency(op, bytes);
        }
        let fails = match op {
            Op::Read => self.faults.read_fails_one_in,
            Op::Write => self.faults.write_fails_one_in,
            Op::Sync => self.faults.sync_fails_one_in,
        };
        if op != Op::Read {
            self.operations += 1;
            if let Some(left) = &mut self.faults.power_fails_after {
                if *left == 0 {
                    self.on = false;
                    return Err(io::Error::other("the power has gone"));
                }
                *left -= 1;
            }
        }
        if self.one_in(fails) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        Ok(())
    }

    fn write(&mut self, part: Part, at: usize, bytes: &[u8]) -> io::Result<()> {
        let capacity = self.faults.capacity_bytes.unwrap_or(u64::MAX);
        let used = self.database.place() + self.journal.iter().map(SimFile::place).sum::<usize>();
        let needs = self.file(part).needs(at, bytes.len());
        if needs > 0 && (used + needs) as u64 > capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file(part).write(at, bytes);
        Ok(())
    }

    fn sync(&mut self, part: Part) {
        if !self.faults.syncs_are_lies {
            self.file(part).sync();
        }
    }
}

#[derive(Debug)]
struct SimStorage {
    database: Arc<dyn Medium>,
    journal: [Arc<dyn Medium>; 2],
}

impl Storage for SimStorage {
    fn database(&self) -> Arc<dyn Medium> {
        Arc::clone(&self.database)
    }

    fn journal(&self, half: Half) -> Arc<dyn Medium> {
        let [a, b] = &self.journal;
        Arc::clone(if half == Half::A { a } else { b })
    }

    fn name(&self, part: Part) -> String {
        format!("the simulated {part:?}")
    }
}

#[derive(Debug)]
struct SimMedium {
    disk: SimDisk,
    part: Part,
    life: u64,
}

impl Medium for SimMedium {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        state.begin(self.life, Op::Read, 0)?;
        Ok(state.file(self.part).len() as u64)
    }

    fn read(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        state.begin(self.life, Op::Read, out.len())?;
        if state.file(self.part).read(index(at), out) {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        state.begin(self.life, Op::Write, bytes.len())?;
        state.write(self.part, index(at), bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.begin(self.life, Op::Write, 0)?;
        state.file(self.part).set_len(index(len));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        match state.begin(self.life, Op::Sync, 0) {
            Ok(()) => {
                state.sync(self.part);
                Ok(())
            }
            Err(error) if state.on && state.life == self.life => {
                let mut random = state.draw();
                let draw = || {
                    random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                    random >> 40
                };
                state.file(self.part).fail_sync(draw);
                Err(error)
            }
            Err(error) => Err(error),
        }
    }
}

fn index(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

const EIO: i32 = 5;
