//! What a connection allows and how long it waits.

use std::time::Duration;

use weirline_flow::{QueueLimits, RateLimit, Strategy};

use crate::MessageKind;

/// Limits and timers of a connection. The defaults are safe for a server on the open internet; share one value between
/// connections in an `Arc`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The longest binary message taken in, in bytes, over all its fragments; 1009 above it (R15). Default 16 MiB.
    /// A peer can make the connection hold up to twice this.
    pub binary_bytes_max: u64,
    /// The longest text message taken in, in bytes (R15). Default 4 MiB.
    pub text_bytes_max: u64,
    /// The longest frame taken in, in bytes; 1009 above it. Default 16 MiB.
    pub frame_bytes_max: u64,
    /// How many fragments one message may have; 1008 above it. Default 262,144.
    pub fragments_max: u32,
    /// How many empty fragments may follow each other; 1008 above it. Default 128.
    pub empty_fragments_max: u32,
    /// Whether the application gets whole messages or their parts (R12). Default: messages.
    pub delivery: Delivery,
    /// How many pings and pongs a peer may send; 1008 above it. Default: 10,000 at once, 1,000 per second after that.
    pub control_rate: RateLimit,
    /// How often a ping is sent (R6); `None` sends none. Default 30 s.
    pub ping_interval: Option<Duration>,
    /// How long the peer may be silent after a ping before it is given up (R6). Default 10 s.
    pub ping_timeout: Duration,
    /// How long the application may refuse to read before the connection ends with 1008. While it does, ping timeouts
    /// are suspended. Default 60 s.
    pub pause_max: Duration,
    /// What may wait to be sent: messages, and bytes with 40 of overhead each. A queue below two send windows takes one
    /// message of any size (where its byte bound is not above that: below one), and so does an empty one. Default 5000 messages and 1 MiB (R9).
    pub send_queue: QueueLimits,
    /// What happens when the send queue is full, and how long a message may wait in it (R16, R20). Default: break after
    /// 2 s.
    pub send_strategy: Strategy,
    /// How many bytes may wait before [`Connection::send_capacity`](crate::Connection::send_capacity) says 0. Default
    /// 64 KiB. A well-behaved producer stops there, and never meets the limits of the send queue. Answers go on to twice that while
    /// the transport takes all that it is given.
    pub send_window_bytes: usize,
    /// Messages over this length are sent in fragments of this length, so that pings and pongs can go in between
    /// (R8). Default 64 KiB; at least 126.
    pub fragment_bytes: usize,
    /// How long the socket may accept nothing although something waits, or less than
    /// [`write_progress_bytes_min`](Self::write_progress_bytes_min). Default 10 s.
    pub write_stall_timeout: Duration,
    /// How many bytes the socket must accept within [`write_stall_timeout`](Self::write_stall_timeout), or all that waits:
    /// a peer that takes a byte now and then would otherwise hold what is sent to it for ever. Default 1 KiB.
    pub write_progress_bytes_min: usize,
    /// How long a frame that has begun may bring less than [`read_progress_bytes_min`](Self::read_progress_bytes_min), and not its end; 1008 above
    /// it. Does not run while the application refuses to read. Default 60 s.
    pub read_stall_timeout: Duration,
    /// How many bytes of a frame must arrive within [`read_stall_timeout`](Self::read_stall_timeout), or the rest of it: a peer that sends a byte now and
    /// then would otherwise hold what it began for ever. Default 1 KiB.
    pub read_progress_bytes_min: usize,
    /// How long the peer may take to answer a Close. Default 5 s.
    pub close_timeout: Duration,
    /// How long the end of the peer's bytes (FIN) is waited for once both sides have closed (R23). Default 2 s.
    pub eof_timeout: Duration,
}

impl Config {
    /// The longest message of a kind, in bytes.
    #[must_use]
    pub const fn message_bytes_max(&self, kind: MessageKind) -> u64 {
        match kind {
            MessageKind::Text => self.text_bytes_max,
            MessageKind::Binary => self.binary_bytes_max,
        }
    }
}

impl Default for Config {
    /// Messages and frames have limits (RFC 6455 §10.4).
    fn default() -> Self {
        Self {
            binary_bytes_max: 16 << 20,
            text_bytes_max: 4 << 20,
            frame_bytes_max: 16 << 20,
            fragments_max: 262_144,
            empty_fragments_max: 128,
            delivery: Delivery::Messages,
            control_rate: RateLimit {
                burst: 10_000,
                per_second: 1_000,
            },
            ping_interval: Some(Duration::from_secs(30)),
            ping_timeout: Duration::from_secs(10),
            pause_max: Duration::from_secs(60),
            send_queue: QueueLimits::default(),
            send_strategy: Strategy::BREAK,
            send_window_bytes: 64 << 10,
            fragment_bytes: 64 << 10,
            write_stall_timeout: Duration::from_secs(10),
            write_progress_bytes_min: 1 << 10,
            read_stall_timeout: Duration::from_secs(60),
            read_progress_bytes_min: 1 << 10,
            close_timeout: Duration::from_secs(5),
            eof_timeout: Duration::from_secs(2),
        }
    }
}

/// How messages reach the application (R12).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// Whole: [`Event::Message`](crate::Event::Message).
    #[default]
    Messages,
    /// As they arrive: [`Event::Part`](crate::Event::Part). Nothing is assembled, so that a message may be larger than
    /// memory; its limits hold all the same. A part of a text may end inside a character, and what came in one read with
    /// a byte that is not UTF-8 may not be told.
    Parts,
}
