#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod arrival;
mod assembly;
mod closing;
mod config;
mod connection;
mod error;
mod event;
mod keepalive;
mod large;
mod output;
mod receive;

pub use assembly::Assembly;
pub use config::{Config, Delivery};
pub use connection::{Connection, MaskSource, Sent, Transmitted};
pub use error::{Cause, End, ProtocolError, SendError};
pub use event::{Event, Input, MessageKind, Payload};
pub use weirline_codec::CloseCode;
