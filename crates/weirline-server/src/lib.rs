#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

mod admission;
mod alarm;
mod api;
mod clock;
mod committer;
mod config;
mod echo;
mod error;
mod hub;
mod log;
mod mailbox;
mod registry;
mod routes;
pub mod runtime;
mod salvage;
mod serve;
mod session;
mod sessions;
mod stream;
mod worker;

pub use api::ApiConfig;
pub use config::{Config, Judge, Validation};
pub use error::ServeError;
pub use log::{LogSettings, Retention};
pub use serve::serve;
/// Why a durable log cannot be opened.
pub use weirline_log_redb::OpenError;
/// What a publisher's acknowledgement means.
pub use weirline_resume::wire::Durability;
