//! A disk for tests and simulators: it loses what was not synced, fails, fills up, and takes its time.
//!
//! Everything follows from a seed. The files are in memory, so they should stay small.

mod disk;
mod file;

pub use disk::{Faults, Op, SimDisk};
