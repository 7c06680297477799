use weirline_log::{Attach, Position, RollingHash, Seq, SessionId, StreamId};

use super::outbox::Slot;
use crate::Ticket;
use crate::wire::Token;

/// What another process needs in order to go on where this one was.
///
/// It has a token and payloads in it: store it where only the application can read it. Two processes must not go on from copies of one
/// state: one would be superseded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SessionState {
    /// The session and its token; `None` before the first WELCOME.
    pub session: Option<(SessionId, Token)>,
    /// The number of the last dial to it; 0 before the first.
    pub attach: Attach,
    /// Everything up to it was acknowledged; the outbox is numbered from the next.
    pub acked: Seq,
    /// The rolling hash at `acked`.
    pub hash: RollingHash,
    /// The last position of each stream that was handled, epoch and offset as one value (I9); in the order of the names.
    pub positions: Vec<(StreamId, Position)>,
    /// The last ticket that was given out.
    pub last_ticket: Ticket,
    /// What is not acknowledged, in order.
    pub outbox: Vec<Slot>,
}
