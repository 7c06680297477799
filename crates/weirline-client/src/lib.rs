#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod builder;
mod driver;
mod error;
mod event;
mod events;
mod handle;
mod link;
mod payload;
mod queue;
mod shared;
mod store;

pub use builder::ClientBuilder;
pub use driver::ClientDriver;
pub use error::{BuildError, Cause, ClientError, PublishError, StoreError};
pub use event::{Event, Gap, LinkState, Message};
pub use events::Events;
pub use handle::{Client, PayloadLimits};
pub use payload::Payload;
pub use queue::{EventLimits, STATES_MAX};
pub use store::{MemoryStore, Store};

pub use weirline_log::{Attach, Epoch, Offset, PayloadKind, Position, Seq};
pub use weirline_resume::text::{ErrorCode, GapReason};
pub use weirline_resume::{
    BackoffConfig, ClientState, HandledError, Jitter, OutboxEntry, Secret, StoreMode, Subscribe, Ticket,
};
pub use weirline_tokio::{Connector, Entropy, TcpConnector};
