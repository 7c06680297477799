//! Fields of a message, taken from the front.

use weirline_log::{Attach, Epoch, NUMBER_MAX, Offset, Seq};

use super::TextError;

/// Splits `number:payload`. `Ok(None)` when the message does not begin with a digit.
pub(super) fn numbered(message: &[u8]) -> Result<Option<(u64, &[u8])>, TextError> {
    if !message.first().is_some_and(u8::is_ascii_digit) {
        return Ok(None);
    }
    // 16 digits are enough for 2^53 − 1, so the search for the colon is short whatever the payload.
    let head = &message[..message.len().min(17)];
    let colon = head
        .iter()
        .position(|&byte| byte == b':')
        .ok_or(TextError::BadNumber)?;
    let value = digits(&message[..colon])?;
    if value == 0 {
        return Err(TextError::BadNumber);
    }
    Ok(Some((value, &message[colon + 1..])))
}

/// A decimal number without sign or leading zero, at most 2^53 − 1.
pub(super) fn number(field: &str) -> Result<u64, TextError> {
    digits(field.as_bytes())
}

fn digits(field: &[u8]) -> Result<u64, TextError> {
    let canonical = !field.is_empty() && field.len() <= 16 && (field[0] != b'0' || field.len() == 1);
    if !canonical || !field.iter().all(u8::is_ascii_digit) {
        return Err(TextError::BadNumber);
    }
    let value = field
        .iter()
        .fold(0u64, |sum, byte| sum * 10 + u64::from(byte - b'0'));
    if value > NUMBER_MAX {
        return Err(TextError::BadNumber);
    }
    Ok(value)
}

pub(super) fn offset(field: &str) -> Result<Offset, TextError> {
    to_offset(number(field)?)
}

pub(super) fn to_offset(value: u64) -> Result<Offset, TextError> {
    Offset::new(value).map_err(|_| TextError::BadNumber)
}

pub(super) fn seq(field: &str) -> Result<Seq, TextError> {
    to_seq(number(field)?)
}

pub(super) fn to_seq(value: u64) -> Result<Seq, TextError> {
    Seq::new(value).map_err(|_| TextError::BadNumber)
}

pub(super) fn attach(field: &str) -> Result<Attach, TextError> {
    match number(field)? {
        0 => Err(TextError::BadNumber),
        value => Attach::new(value).map_err(|_| TextError::BadNumber),
    }
}

/// 16 lowercase hexadecimal digits.
pub(super) fn epoch(field: &str) -> Result<Epoch, TextError> {
    field.parse().map_err(|_| TextError::BadEpoch)
}

/// Exactly `N` fields between colons.
pub(super) fn fields<const N: usize>(rest: Option<&str>) -> Result<[&str; N], TextError> {
    let mut fields = [""; N];
    let mut parts = rest.ok_or(TextError::WrongFields)?.split(':');
    for field in &mut fields {
        *field = parts.next().ok_or(TextError::WrongFields)?;
    }
    match parts.next() {
        None => Ok(fields),
        Some(_) => Err(TextError::WrongFields),
    }
}
