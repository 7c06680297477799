use std::time::Duration;

use weirline_log::Position;

use crate::StoreMode;
use crate::wire::{Begin, Form, Limits, Policy};

/// Settings of a [`SessionClient`](crate::SessionClient).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionClientConfig {
    /// Which form the transport speaks. Default binary.
    pub form: Form,
    /// Whether the state is stored. Default [`StoreMode::Volatile`].
    pub store: StoreMode,
    /// Messages in the outbox, sent or not. Default 5000.
    pub outbox_messages_max: usize,
    /// Their payload bytes; an empty outbox takes one message of any size. Default 1 MiB.
    pub outbox_bytes_max: usize,
    /// Subscriptions. Default 256, as many as a server allows by default.
    pub subs_max: usize,
    /// From a dial to WELCOME. Default 10 s.
    pub answer_timeout: Duration,
    /// The wait after a publish was refused as `unavailable` without a hint. Default 1 s.
    pub refused_wait: Duration,
    /// How long the dials of an outage may take: a session that lives shorter is worth an event. Default 286 s, ten dials of the default backoff
    /// and of 10 s each.
    pub horizon: Duration,
}

impl Default for SessionClientConfig {
    fn default() -> Self {
        Self {
            form: Form::Binary,
            store: StoreMode::default(),
            outbox_messages_max: 5000,
            outbox_bytes_max: 1 << 20,
            subs_max: 256,
            answer_timeout: Duration::from_secs(10),
            refused_wait: Duration::from_secs(1),
            horizon: Duration::from_secs(286),
        }
    }
}

/// What a client wants of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubscribeOptions {
    /// From where, as long as there is no position. Default [`Begin::Head`].
    pub begin: Begin,
    /// What an earlier process handled last: it precedes `begin`.
    pub position: Option<Position>,
    /// What the server does when this consumer is slow. Default [`Policy::Pause`].
    pub policy: Policy,
    /// How much may be taken in and not handled: the credit. Default 1 MiB, with 32 bytes for each message, and 5000 messages.
    pub window: Limits,
}

impl Default for SubscribeOptions {
    fn default() -> Self {
        Self {
            begin: Begin::Head,
            position: None,
            policy: Policy::Pause,
            window: Limits {
                bytes: 1 << 20,
                messages: 5000,
            },
        }
    }
}
