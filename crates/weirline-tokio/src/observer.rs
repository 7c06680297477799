//! Hooks for metrics, without a cost where nobody listens.

use std::time::Duration;

use weirline_connection::{End, MessageKind};
use weirline_flow::Tally;

/// Hears of what a connection does. All methods do nothing by default, and calls are dispatched statically: with `()` they
/// cost nothing.
pub trait Observer {
    /// Whether [`message_handled`](Self::message_handled) is told the time, which costs two looks at the clock per message.
    const TIMES_MESSAGES: bool = false;

    /// The handler has dealt with a message of so many bytes; `took` only with [`TIMES_MESSAGES`](Self::TIMES_MESSAGES).
    fn message_handled(&mut self, kind: MessageKind, bytes: usize, took: Duration) {
        let _ = (kind, bytes, took);
    }

    /// A ping or a pong came.
    fn control_received(&mut self) {}

    /// A keepalive ping was answered after this long.
    fn round_trip(&mut self, rtt: Duration) {
        let _ = rtt;
    }

    /// So many messages left the send queue, the slowest of them after this long.
    fn messages_sent(&mut self, messages: u64, longest_wait: Duration) {
        let _ = (messages, longest_wait);
    }

    /// So many messages were dropped to make room for a newer one.
    fn messages_dropped(&mut self, dropped: Tally) {
        let _ = dropped;
    }

    /// The handler kept the event loop for longer than allowed (R10).
    fn handler_slow(&mut self, took: Duration) {
        let _ = took;
    }

    /// The connection is over.
    fn ended(&mut self, end: &End) {
        let _ = end;
    }
}

impl Observer for () {}
