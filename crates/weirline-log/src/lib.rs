#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

mod chain;
mod command;
mod engine;
mod entry;
mod hash;
mod ids;
mod memory;
mod numbers;
mod sessions;

pub use chain::{EPOCHS_MAX, EpochChain, EpochIds};
pub use command::{
    AckRefusal, AppendRefusal, AttachKind, AttachRefusal, Author, Command, OpenRefusal, Outcome, Proof,
};
pub use engine::{EventLog, LogError, LogReader, LogWriter, Upkeep};
pub use entry::{Bounds, Entry, PayloadKind, Position, ReadLimits, ReadOutcome};
pub use hash::{Item, RollingHash};
pub use ids::{Epoch, ParseEpochError, ParseStreamIdError, STREAM_ID_BYTES_MAX, SessionId, StreamId};
pub use memory::{ENTRY_OVERHEAD_BYTES, MemoryConfig, MemoryLog, MemoryReader, MemoryWriter};
pub use numbers::{Attach, NUMBER_MAX, Offset, OutOfRange, Seq};
pub use sessions::{
    LogClock, SessionChange, SessionLimits, SessionRecord, SessionState, SessionTable, StreamTable,
};
