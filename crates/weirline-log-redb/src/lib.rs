#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

mod block;
mod codec;
mod config;
mod effects;
mod error;
mod journal;
mod log;
mod reader;
mod run;
mod shared;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod storage;
mod store;
mod streams;
mod writer;

pub use config::RedbConfig;
pub use error::OpenError;
pub use log::RedbLog;
pub use reader::RedbReader;
pub use writer::{Job, RedbWriter};
