#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

mod admission;
mod alarm;
mod clock;
mod committer;
mod config;
mod echo;
mod error;
mod hub;
mod mailbox;
mod registry;
mod routes;
pub mod runtime;
mod serve;
mod session;
mod sessions;
mod stream;
mod worker;

pub use config::{Config, Judge, Validation};
pub use error::ServeError;
pub use serve::serve;
