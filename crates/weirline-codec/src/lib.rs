#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod close;
mod header;
mod mask;
mod utf8;

pub use close::{
    CLOSE_REASON_BYTES_MAX, CloseCode, CloseFrame, ClosePayload, ClosePayloadError, InvalidCloseCode,
};
pub use header::{
    CONTROL_PAYLOAD_BYTES_MAX, EncodedHeader, FrameHeader, HEADER_BYTES_MAX, HeaderError, OpCode, Rsv,
};
pub use mask::{MaskKey, apply_mask};
pub use utf8::{InvalidUtf8, Utf8Validator};
