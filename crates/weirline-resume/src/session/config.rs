use std::time::Duration;

use crate::wire::{Durability, Limits};

/// Limits of a [`Session`](crate::Session), shared by all connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionConfig {
    /// HELLO is due within this time from the connection's start. Default 10 s.
    pub opening_timeout: Duration,
    /// What WELCOME says of an acknowledgement. Default [`Durability::Durable`]: say `Memory` where the log is one.
    pub durability: Durability,
    /// What WELCOME says of the session's life without a connection. Default 300 s; whoever owns the log sees to it.
    pub ttl: Duration,
    /// The server is never silent for longer. Default 30 s; 1 s to 1 h.
    pub heartbeat: Duration,
    /// What WELCOME says of the largest message: the limit of the transport, in bytes on the wire. Default 16 MiB and 32 bytes.
    pub message_bytes_max: usize,
    /// Publishes that are taken and not decided: the credit for PUB. Default 256 messages, and 1 MiB with the overhead of each.
    pub publish_window: Limits,
    /// The largest text payload, in bytes. Default 4 MiB (R15).
    pub payload_text_bytes_max: usize,
    /// The largest binary payload, in bytes. Default 16 MiB (R15).
    pub payload_binary_bytes_max: usize,
    /// Subscriptions of a connection. Default 256; each costs about 300 bytes.
    pub subs_max: usize,
    /// Entries taken from the log in one read, whatever the capacity. Default 256; each costs about 130 bytes until it is transmitted.
    pub read_messages_max: usize,
    /// Messages that are no DATA and wait for the transport. At this number reading pauses. Default 1024.
    pub answers_max: usize,
    /// Bytes of such messages, at which reading pauses too: a PONG names as many subscriptions as its PING. Default 128 KiB.
    pub answers_bytes_max: usize,
    /// How long a subscription that breaks may have something to send and no credit. Default 2 s (R20).
    pub starved_max: Duration,
    /// The longest `retry` of a REJECT; each is drawn below it. Default 5 s, at most 60 s.
    pub retry_max: Duration,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            opening_timeout: Duration::from_secs(10),
            durability: Durability::Durable,
            ttl: Duration::from_secs(300),
            heartbeat: Duration::from_secs(30),
            message_bytes_max: (16 << 20) + 32,
            publish_window: Limits {
                bytes: 1 << 20,
                messages: 256,
            },
            payload_text_bytes_max: 4 << 20,
            payload_binary_bytes_max: 16 << 20,
            subs_max: 256,
            read_messages_max: 256,
            answers_max: 1024,
            answers_bytes_max: 128 << 10,
            starved_max: Duration::from_secs(2),
            retry_max: Duration::from_secs(5),
        }
    }
}

/// Random bytes for one connection, from a cryptographic source.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionEntropy {
    /// Names the session, if one is made.
    pub session: [u8; 32],
    /// Its token, if one is made.
    pub token: [u8; 32],
    /// Where within its range a hint lies, so that a crowd does not come back as one.
    pub spread: u32,
}

impl std::fmt::Debug for SessionEntropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionEntropy(..)")
    }
}
