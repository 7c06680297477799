#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

mod alarm;
mod api;
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
mod sessions;
mod stream;
mod worker;

pub use api::ApiConfig;
pub use config::{Config, Validation};
pub use error::ServeError;
pub use serve::serve;
