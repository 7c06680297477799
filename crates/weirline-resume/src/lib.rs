#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

mod backoff;
mod client;
mod close;
mod outgoing;
mod secret;
mod server;
mod session;
mod session_client;
pub mod text;
pub mod wire;

pub use backoff::{Backoff, BackoffConfig, Jitter};
pub use client::{
    AfterLoss, ClientEvent, ClientState, Dial, DialError, Failure, HandledError, OutboxEntry, PublishError,
    Revision, StoreMode, Subscribe, TextClient, TextClientConfig, Ticket,
};
pub use close::Close;
pub use outgoing::{Outgoing, Prefix};
pub use secret::Secret;
pub use server::{ReadRequest, TextServer, TextServerConfig};
pub use session::{JsonTails, Session, SessionConfig, SessionEntropy, SessionRead, Verdict};
pub use session_client::{
    SessionClient, SessionClientConfig, SessionEvent, SessionFailure, SessionState, Slot, SubscribeError,
    SubscribeOptions,
};
pub use text::PauseReason;

/// The normative description of the protocol.
#[doc = include_str!("../PROTOCOL.md")]
pub mod protocol {
    /// The rules of the multiplexed forms.
    #[doc = include_str!("../protocol/multiplexed.md")]
    pub mod multiplexed {}

    /// The messages of the multiplexed forms, and how they are written.
    #[doc = include_str!("../protocol/messages.md")]
    pub mod messages {}
}
