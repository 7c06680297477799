//! What can go wrong on a connection, who is at fault, and how it ended.

use weirline_codec::{CloseCode, ClosePayloadError, HeaderError, InvalidUtf8};
use weirline_flow::BreakCause;

/// The peer broke a rule or a limit. The connection fails with [`ProtocolError::close_code`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// RFC 6455 §5.2, §5.5.
    #[error("illegal frame header: {0}")]
    Header(#[from] HeaderError),
    /// RFC 6455 §5.1: a server must close the connection upon a frame that is not masked.
    #[error("a client's frame is not masked")]
    NotMasked,
    /// RFC 6455 §5.1: a client must close the connection upon a masked frame.
    #[error("a server's frame is masked")]
    Masked,
    /// RFC 6455 §5.2: reserved bits without an extension that gives them a meaning.
    #[error("reserved bits are set although no extension was negotiated")]
    ReservedBits,
    /// RFC 6455 §5.4.
    #[error("a continuation frame without a message to continue")]
    UnexpectedContinuation,
    /// RFC 6455 §5.4: the fragments of one message must not be interleaved with those of another.
    #[error("a message begins inside another")]
    ExpectedContinuation,
    /// RFC 6455 §5.5.1.
    #[error("illegal Close frame: {0}")]
    Close(#[from] ClosePayloadError),
    /// RFC 6455 §8.1.
    #[error("a text message: {0}")]
    Utf8(#[from] InvalidUtf8),
    /// R15.
    #[error("a message of at least {bytes} bytes; at most {max} are allowed")]
    MessageTooBig {
        /// What the message would have with the frame that was refused.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// R15.
    #[error("a frame of {bytes} bytes; at most {max} are allowed")]
    FrameTooBig {
        /// What the header declares.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// Too many fragments in one message.
    #[error("a message of more than {max} fragments")]
    TooManyFragments {
        /// The limit.
        max: u32,
    },
    /// Too many empty fragments in a row.
    #[error("more than {max} empty fragments in a row")]
    TooManyEmptyFragments {
        /// The limit.
        max: u32,
    },
    /// A frame that began does not arrive: fewer bytes than [`Config::read_progress_bytes_min`](crate::Config::read_progress_bytes_min) in
    /// [`Config::read_stall_timeout`](crate::Config::read_stall_timeout).
    #[error("a frame that does not arrive")]
    FrameTooSlow,
    /// More pings and pongs than the rate budget allows.
    #[error("a flood of control frames")]
    ControlFlood,
}

impl ProtocolError {
    /// The code of the Close frame that answers it (RFC 6455 §7.1.7, §7.4.1, §10.7).
    #[must_use]
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::Header(_)
            | Self::NotMasked
            | Self::Masked
            | Self::ReservedBits
            | Self::UnexpectedContinuation
            | Self::ExpectedContinuation
            | Self::Close(ClosePayloadError::OneByte | ClosePayloadError::Code(_)) => {
                CloseCode::PROTOCOL_ERROR
            }
            // `ClosePayloadError` is non-exhaustive: what it may grow is still an illegal payload of a Close frame.
            Self::Close(_) | Self::Utf8(_) => CloseCode::INVALID_PAYLOAD,
            Self::MessageTooBig { .. } | Self::FrameTooBig { .. } => CloseCode::MESSAGE_TOO_BIG,
            Self::TooManyFragments { .. }
            | Self::TooManyEmptyFragments { .. }
            | Self::FrameTooSlow
            | Self::ControlFlood => CloseCode::POLICY_VIOLATION,
        }
    }
}

/// Why a message was not taken for sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The caller's: a Close was sent or received, or the connection ended; nothing can be sent any more.
    #[error("the connection is closing or closed")]
    Closed,
    /// The send queue is full, with the pause strategy: send again when there is room.
    #[error("the send queue is full: wait until there is room")]
    Full,
    /// The send queue is full or its oldest message too old, with the break strategy: the connection now ends with 1008.
    #[error("the peer is too slow: the connection is closed with 1008")]
    Broken,
    /// The caller's: a text message must be UTF-8 (RFC 6455 §5.6).
    #[error("a text message that is not UTF-8: send it as binary")]
    NotUtf8,
}

/// Why a connection ended, as seen from this side.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// A closing handshake that the peer began (RFC 6455 §7.1.2).
    #[error("closed by the peer")]
    ClosedByPeer,
    /// A closing handshake that this side began.
    #[error("closed by this side")]
    ClosedLocally,
    /// The application gave up at once: no closing handshake.
    #[error("aborted by this side")]
    Aborted,
    /// The peer broke the protocol or a limit.
    #[error("the peer broke the protocol: {0}")]
    Protocol(#[from] ProtocolError),
    /// The peer's bytes ended without a Close frame.
    #[error("the stream ended without a Close frame")]
    EndOfStream,
    /// The transport failed.
    #[error("the transport failed: {0}")]
    Io(std::io::ErrorKind),
    /// Nothing was heard after a ping (R6).
    #[error("no answer to a ping")]
    PingTimeout,
    /// The transport accepted nothing for too long.
    #[error("the peer does not read: nothing could be written for too long")]
    WriteStalled,
    /// The peer did not answer a Close in time.
    #[error("no answer to a Close frame")]
    CloseTimeout,
    /// The peer was too slow for the break strategy (R16, R20).
    #[error("the peer is too slow: {0:?}")]
    Backpressure(BreakCause),
    /// The application did not read for longer than allowed.
    #[error("the application did not read for too long")]
    PausedTooLong,
}

/// How a connection ended: the codes of both sides and the local cause, apart (R27, R28).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct End {
    /// The code in the Close frame that was handed to the transport, if one was.
    pub sent: Option<CloseCode>,
    /// The code in the peer's Close frame, if one came with a code.
    pub received: Option<CloseCode>,
    /// Whether a Close frame came at all: without one the connection ended abnormally (1006, RFC 6455 §7.1.5).
    pub close_received: bool,
    /// Why.
    pub cause: Cause,
}
