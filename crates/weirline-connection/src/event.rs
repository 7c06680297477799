//! What a connection tells the application, and the bytes it is fed.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use weirline_codec::CloseCode;

/// The kind of a data message (RFC 6455 §5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// UTF-8 text.
    Text,
    /// Any bytes.
    Binary,
}

/// Something the application may want to know.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'b> {
    /// A whole message.
    Message {
        /// Text is valid UTF-8.
        kind: MessageKind,
        /// Its bytes, unmasked.
        payload: Payload<'b>,
    },
    /// Some bytes of a message, with [`Delivery::Parts`](crate::Delivery::Parts).
    Part {
        /// The kind of the message that the part belongs to.
        kind: MessageKind,
        /// The next bytes, unmasked; may be empty in the last part.
        payload: Payload<'b>,
        /// Whether a message begins here.
        first: bool,
        /// Whether the message ends here.
        last: bool,
    },
    /// A ping came, and its pong is queued already, unless our Close goes out before anything else.
    Ping {
        /// At most 125 bytes.
        payload: Payload<'b>,
    },
    /// A pong came.
    Pong {
        /// The round trip, where the pong answers the latest ping of the keepalive.
        rtt: Option<Duration>,
    },
    /// The peer's Close came, and the answer is queued already. No message follows.
    CloseReceived {
        /// `None` where the frame had no code.
        code: Option<CloseCode>,
        /// At most 123 bytes. It comes from the peer: escape it before it goes into a log.
        reason: String,
    },
}

impl Event<'_> {
    /// The same event, to keep: bytes that are lent from the input are copied.
    #[must_use]
    pub fn into_owned(self) -> Event<'static> {
        match self {
            Self::Message { kind, payload } => Event::Message {
                kind,
                payload: payload.into_owned(),
            },
            Self::Part {
                kind,
                payload,
                first,
                last,
            } => Event::Part {
                kind,
                payload: payload.into_owned(),
                first,
                last,
            },
            Self::Ping { payload } => Event::Ping {
                payload: payload.into_owned(),
            },
            Self::Pong { rtt } => Event::Pong { rtt },
            Self::CloseReceived { code, reason } => Event::CloseReceived { code, reason },
        }
    }
}

/// The bytes of a message: lent from the input where they could stay there, owned where they were assembled.
#[derive(Debug)]
pub struct Payload<'b>(Repr<'b>);

#[derive(Debug)]
enum Repr<'b> {
    Lent(&'b mut [u8]),
    Owned(BytesMut),
}

impl<'b> Payload<'b> {
    pub(crate) fn lent(bytes: &'b mut [u8]) -> Self {
        Self(Repr::Lent(bytes))
    }

    pub(crate) fn owned(bytes: BytesMut) -> Self {
        Self(Repr::Owned(bytes))
    }

    fn into_owned(self) -> Payload<'static> {
        Payload(Repr::Owned(match self.0 {
            Repr::Lent(bytes) => BytesMut::from(&*bytes),
            Repr::Owned(bytes) => bytes,
        }))
    }

    /// The bytes to keep: copied where they are lent, handed over where they are owned.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Repr::Lent(bytes) => Bytes::copy_from_slice(bytes),
            Repr::Owned(bytes) => bytes.freeze(),
        }
    }
}

impl std::ops::Deref for Payload<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Lent(bytes) => bytes,
            Repr::Owned(bytes) => bytes,
        }
    }
}

/// Bytes from the network on their way into a connection, which unmasks them in place.
#[derive(Debug)]
pub struct Input<'b>(&'b mut [u8]);

impl<'b> Input<'b> {
    /// The bytes of one read. How the stream was cut into reads makes no difference.
    pub fn new(bytes: &'b mut [u8]) -> Self {
        Self(bytes)
    }

    /// Whether everything was taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was not taken, as it came from the network: to be fed later, before anything that is read after it.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        self.0
    }

    pub(crate) fn rest_mut(&mut self) -> &mut [u8] {
        self.0
    }

    /// Takes up to `max` bytes.
    pub(crate) fn take(&mut self, max: u64) -> &'b mut [u8] {
        let len = usize::try_from(max).map_or(self.0.len(), |max| max.min(self.0.len()));
        let (taken, rest) = std::mem::take(&mut self.0).split_at_mut(len);
        self.0 = rest;
        taken
    }
}
