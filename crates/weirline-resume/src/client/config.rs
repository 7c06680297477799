use std::time::Duration;

use weirline_log::{Offset, Position};

/// From where a client that has no position yet wants its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Subscribe {
    /// Behind an offset whose epoch is not known; 0 asks for everything that is kept.
    After(Offset),
    /// Behind a position that an earlier process handled.
    At(Position),
    /// Only what is published after the first answer.
    #[default]
    Head,
    /// Nothing: publish only.
    Nothing,
}

/// Whether the client's state outlives its process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreMode {
    /// It does not: nothing waits for a store.
    #[default]
    Volatile,
    /// It does: whatever another process would have to know is withheld until
    /// [`TextClient::handle_stored`](crate::TextClient::handle_stored) says that it is stored.
    Durable,
}

/// Settings of a [`TextClient`](crate::TextClient).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextClientConfig {
    /// From where, when there is no stored position. Default [`Subscribe::Head`].
    pub subscribe: Subscribe,
    /// Whether to publish under a session, so that each message is in the log exactly once and acks are recorded. Default true.
    /// Without it, what was sent and not acknowledged before a cut is [`Uncertain`](crate::ClientEvent::Uncertain).
    pub session: bool,
    /// Whether the state is stored. Default [`StoreMode::Volatile`].
    pub store: StoreMode,
    /// Messages in the outbox, sent or not. Default 5000.
    pub outbox_messages_max: usize,
    /// Their payload bytes; an empty outbox takes one message of any size. Default 1 MiB.
    pub outbox_bytes_max: usize,
    /// Messages sent and not acknowledged. Default 1024.
    pub in_flight_messages_max: usize,
    /// Their payload bytes; one message of any size may always be in flight. Default 1 MiB.
    pub in_flight_bytes_max: usize,
    /// From a dial to its first answer. Default 10 s.
    pub answer_timeout: Duration,
    /// The wait after a publish was refused as `unavailable`. Default 1 s.
    pub refused_wait: Duration,
}

impl Default for TextClientConfig {
    fn default() -> Self {
        Self {
            subscribe: Subscribe::default(),
            session: true,
            store: StoreMode::default(),
            outbox_messages_max: 5000,
            outbox_bytes_max: 1 << 20,
            in_flight_messages_max: 1024,
            in_flight_bytes_max: 1 << 20,
            answer_timeout: Duration::from_secs(10),
            refused_wait: Duration::from_secs(1),
        }
    }
}
