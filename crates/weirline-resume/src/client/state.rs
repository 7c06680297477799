use bytes::Bytes;
use weirline_log::{Attach, Position, Seq};

use super::outbox::{OutboxEntry, Ticket};
use crate::Secret;

/// Counts the changes of a [`ClientState`] that must be stored before anything that depends on them leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub(crate) u64);

/// What another process needs in order to go on where this one was.
///
/// It has a secret and payloads in it: store it where only the application can read it. Two processes must not go on
/// from copies of one state: one would be superseded, and its outbox could not be told from the other's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientState {
    /// Names the session; `None` before the first dial, and without a session.
    pub secret: Option<Secret>,
    /// The number of the last dial; 0 before the first.
    pub attach: Attach,
    /// Whether a dial was ever answered under the secret. If not, nothing was published under it.
    pub answered: bool,
    /// Everything up to it was acknowledged; the outbox is numbered from the next.
    pub acked: Seq,
    /// The last position that was handled, epoch and offset as one value (I9).
    pub position: Option<Position>,
    /// The last ticket that was given out.
    pub last_ticket: Ticket,
    /// What is not acknowledged, in order.
    pub outbox: Vec<OutboxEntry>,
}

/// The session as the client knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Session {
    pub(super) secret: Option<Secret>,
    pub(super) attach: Attach,
    pub(super) answered: bool,
}

impl Session {
    /// The numbers of the next dial. A secret under which no dial was answered is replaced: the server may or may not know it,
    /// and nothing was published under it.
    pub(super) fn dial(&mut self, entropy: [u8; 32]) -> Option<()> {
        if self.answered && self.secret.is_some() {
            self.attach = self.attach.next()?;
        } else {
            self.secret = Some(Secret::from_entropy(entropy));
            self.attach = Attach::FIRST;
        }
        Some(())
    }

    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// A payload that is to be kept: borrowed from a buffer, or already shared.
pub(super) enum Incoming<'a> {
    Borrowed,
    Shared(&'a Bytes),
}

impl Incoming<'_> {
    pub(super) fn keep(&self, payload: &[u8]) -> Bytes {
        match self {
            Self::Borrowed => Bytes::copy_from_slice(payload),
            Self::Shared(message) => message.slice_ref(payload),
        }
    }
}
