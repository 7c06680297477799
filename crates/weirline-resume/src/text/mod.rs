//! The messages of the text form: parsing and formatting, strict in both directions.
//!
//! `PROTOCOL.md` has the grammar. Parsing accepts exactly what formatting produces: numbers are decimal without leading zeros and
//! at most 2^53 − 1, epochs are 16 lowercase hexadecimal digits, nothing may stand behind the last field. A binary message is
//! always `number:payload`.

mod client_message;
mod error;
mod scan;
mod server_message;

pub use client_message::{ClientMessage, Start};
pub use error::{ErrorCode, ErrorText, GapReason, PauseReason, TextError};
pub use server_message::ServerMessage;
