//! The binary form: a type byte, then the fields in order.

mod client;
mod server;

use std::borrow::Cow;
use std::time::Duration;

use weirline_log::{Attach, Epoch, NUMBER_MAX, Offset, PayloadKind, Position, Seq, StreamId};

use super::choice::{Choice, Code};
use super::error::{Name, WireError, WireErrorKind as E};
use super::message::{Fault, LIST_MAX, Ping, Standing};
use super::values::{Detail, Limits, Payload, Sub, Word};

/// Type bytes; the same in both directions.
pub(super) mod types {
    pub(crate) const HELLO: u8 = 0x01;
    pub(crate) const WELCOME: u8 = 0x02;
    pub(crate) const SUB: u8 = 0x03;
    pub(crate) const SUBOK: u8 = 0x04;
    pub(crate) const UNSUB: u8 = 0x05;
    pub(crate) const DATA: u8 = 0x06;
    pub(crate) const ACK: u8 = 0x07;
    pub(crate) const CREDIT: u8 = 0x08;
    pub(crate) const FLOW: u8 = 0x09;
    pub(crate) const GAP: u8 = 0x0a;
    pub(crate) const RESET: u8 = 0x0b;
    pub(crate) const PUB: u8 = 0x0c;
    pub(crate) const PUBACK: u8 = 0x0d;
    pub(crate) const SKIP: u8 = 0x0e;
    pub(crate) const PING: u8 = 0x0f;
    pub(crate) const PONG: u8 = 0x10;
    pub(crate) const AUTH: u8 = 0x11;
    pub(crate) const DRAIN: u8 = 0x12;
    pub(crate) const REJECT: u8 = 0x13;
    pub(crate) const BYE: u8 = 0x14;
    /// From here on unknown types are ignored.
    pub(crate) const EXTENSIONS: u8 = 0x80;
}

/// Takes a message apart from the front.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    pub(super) fn byte(&mut self, field: Name) -> Result<u8, WireError> {
        let (&first, rest) = self.rest.split_first().ok_or(E::Truncated.at(field))?;
        self.rest = rest;
        Ok(first)
    }

    fn take(&mut self, len: usize, field: Name) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(E::Truncated.at(field))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: Name) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(E::Truncated.at(field))?;
        self.rest = rest;
        Ok(*taken)
    }

    fn number(&mut self, field: Name) -> Result<u64, WireError> {
        let mut value = 0;
        for place in 0..VARINT_BYTES_MAX {
            let byte = self.byte(field)?;
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                if byte == 0 && place > 0 {
                    return Err(E::NotCanonical.at(field));
                }
                return if value > NUMBER_MAX {
                    Err(E::OutOfRange.at(field))
                } else {
                    Ok(value)
                };
            }
        }
        Err(E::OutOfRange.at(field))
    }

    fn ranged(&mut self, field: Name, from: u64, to: u64) -> Result<u64, WireError> {
        let value = self.number(field)?;
        if (from..=to).contains(&value) {
            Ok(value)
        } else {
            Err(E::OutOfRange.at(field))
        }
    }

    fn millis(&mut self, field: Name, from: u64, to: u64) -> Result<Duration, WireError> {
        self.ranged(field, from, to).map(Duration::from_millis)
    }

    fn offset(&mut self, field: Name) -> Result<Offset, WireError> {
        let value = self.number(field)?;
        Offset::new(value).map_err(|_| E::OutOfRange.at(field))
    }

    fn offset_from(&mut self, field: Name, from: u64) -> Result<Offset, WireError> {
        let value = self.ranged(field, from, NUMBER_MAX)?;
        Offset::new(value).map_err(|_| E::OutOfRange.at(field))
    }

    fn seq_from(&mut self, field: Name, from: u64) -> Result<Seq, WireError> {
        let value = self.ranged(field, from, NUMBER_MAX)?;
        Seq::new(value).map_err(|_| E::OutOfRange.at(field))
    }

    fn attach(&mut self) -> Result<Attach, WireError> {
        let value = self.ranged(Name::Attach, 1, NUMBER_MAX)?;
        Attach::new(value).map_err(|_| E::OutOfRange.at(Name::Attach))
    }

    fn version(&mut self) -> Result<(), WireError> {
        match self.number(Name::Version)? {
            1 => Ok(()),
            _ => Err(E::UnsupportedVersion.at(Name::Version)),
        }
    }

    fn sub(&mut self) -> Result<Sub, WireError> {
        self.some_sub()?.ok_or(E::OutOfRange.at(Name::Sub))
    }

    /// 0 is none.
    fn some_sub(&mut self) -> Result<Option<Sub>, WireError> {
        let value = self.number(Name::Sub)?;
        let value = u32::try_from(value).map_err(|_| E::OutOfRange.at(Name::Sub))?;
        Ok(Sub::new(value))
    }

    fn epoch(&mut self) -> Result<Epoch, WireError> {
        self.array(Name::Epoch)
            .map(|bytes| Epoch::new(u64::from_be_bytes(bytes)))
    }

    fn position(&mut self) -> Result<Position, WireError> {
        Ok(Position {
            epoch: self.epoch()?,
            offset: self.offset(Name::Offset)?,
        })
    }

    fn limits(&mut self) -> Result<Limits, WireError> {
        Ok(Limits {
            bytes: self.number(Name::Bytes)?,
            messages: self.number(Name::Messages)?,
        })
    }

    fn choice<C: Choice>(&mut self, field: Name) -> Result<C, WireError> {
        C::from_byte(self.byte(field)?).ok_or(E::BadValue.at(field))
    }

    /// Flags, of which only those in `known` have a meaning.
    fn flags(&mut self, known: u8) -> Result<u8, WireError> {
        let flags = self.byte(Name::Flags)?;
        if flags & !known == 0 {
            Ok(flags)
        } else {
            Err(E::BadValue.at(Name::Flags))
        }
    }

    fn text(&mut self, field: Name, len_max: usize) -> Result<&'a str, WireError> {
        let len = self.number(field)?;
        let len = usize::try_from(len)
            .ok()
            .filter(|&len| len <= len_max)
            .ok_or(E::BadValue.at(field))?;
        str::from_utf8(self.take(len, field)?).map_err(|_| E::BadValue.at(field))
    }

    fn stream(&mut self) -> Result<StreamId, WireError> {
        let name = self.text(Name::Stream, weirline_log::STREAM_ID_BYTES_MAX)?;
        StreamId::new(name).map_err(|_| E::BadValue.at(Name::Stream))
    }

    fn word(&mut self, field: Name) -> Result<Word, WireError> {
        Word::new(self.text(field, Word::LEN_MAX)?).ok_or(E::BadValue.at(field))
    }

    fn detail(&mut self) -> Result<Detail<'a>, WireError> {
        Detail::new(self.text(Name::Detail, Detail::LEN_MAX)?).ok_or(E::BadValue.at(Name::Detail))
    }

    /// 0 is none; a number that is not known is `unavailable`.
    fn code(&mut self) -> Result<Option<Code>, WireError> {
        let byte = self.byte(Name::Code)?;
        Ok((byte != 0).then(|| Code::from_byte(byte).unwrap_or(Code::Unavailable)))
    }

    fn fault(&mut self) -> Result<Option<Fault<'a>>, WireError> {
        let Some(code) = self.code()? else {
            return Ok(None);
        };
        let detail = self.detail()?;
        Ok(Some(Fault { code, detail }))
    }

    fn kind(&mut self) -> Result<PayloadKind, WireError> {
        match self.byte(Name::Kind)? {
            0 => Ok(PayloadKind::Text),
            1 => Ok(PayloadKind::Binary),
            _ => Err(E::BadValue.at(Name::Kind)),
        }
    }

    /// Everything that is left.
    fn payload(&mut self, kind: PayloadKind) -> Result<Payload<'a>, WireError> {
        let bytes = std::mem::take(&mut self.rest);
        if kind == PayloadKind::Text && simdutf8::basic::from_utf8(bytes).is_err() {
            return Err(E::BadValue.at(Name::Text));
        }
        let bytes = Cow::Borrowed(bytes);
        Ok(Payload { kind, bytes })
    }

    fn list_len(&mut self) -> Result<usize, WireError> {
        let len = self.number(Name::Subs)?;
        usize::try_from(len)
            .ok()
            .filter(|&len| len <= LIST_MAX)
            .ok_or(E::TooMany.at(Name::Subs))
    }

    fn ping(&mut self, side: Side) -> Result<Ping, WireError> {
        let echo = self.number(Name::Echo)?;
        let flags = self.flags(match side {
            Side::Client => 2,
            Side::Server => 3,
        })?;
        let count = (flags & 1 != 0)
            .then(|| self.seq_from(Name::Count, 0))
            .transpose()?;
        let limits = (flags & 2 != 0).then(|| self.limits()).transpose()?;
        let mut subs = Vec::new();
        for _ in 0..self.list_len()? {
            subs.push(self.standing(side)?);
        }
        super::distinct(subs.iter().map(|standing| standing.sub))?;
        Ok(Ping {
            echo,
            count,
            limits,
            subs,
        })
    }

    fn standing(&mut self, side: Side) -> Result<Standing, WireError> {
        let sub = self.sub()?;
        let flags = self.flags(match side {
            Side::Client => 3,
            Side::Server => 1,
        })?;
        let position = (flags & 1 != 0).then(|| self.position()).transpose()?;
        let limits = (flags & 2 != 0).then(|| self.limits()).transpose()?;
        Ok(Standing {
            sub,
            position,
            limits,
        })
    }

    /// Nothing may be left.
    fn end<T>(self, message: T) -> Result<Option<T>, WireError> {
        if self.rest.is_empty() {
            Ok(Some(message))
        } else {
            Err(E::Trailing.anywhere())
        }
    }
}

/// Who sends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

const VARINT_BYTES_MAX: usize = 8;

/// Puts a message together.
pub(super) trait Writer {
    fn byte(&mut self, byte: u8);
    fn bytes(&mut self, bytes: &[u8]);

    fn number(&mut self, value: u64) {
        let mut rest = value;
        loop {
            // The lowest seven bits.
            let low = (rest & 0x7f) as u8;
            rest >>= 7;
            if rest == 0 {
                return self.byte(low);
            }
            self.byte(low | 0x80);
        }
    }

    fn millis(&mut self, duration: Duration) {
        self.number(super::millis(duration));
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.bytes(text.as_bytes());
    }

    fn sub(&mut self, sub: Option<Sub>) {
        self.number(sub.map_or(0, |sub| u64::from(sub.get())));
    }

    fn position(&mut self, position: Position) {
        self.bytes(&position.epoch.get().to_be_bytes());
        self.number(position.offset.get());
    }

    fn limits(&mut self, limits: Limits) {
        self.number(limits.bytes);
        self.number(limits.messages);
    }

    fn fault(&mut self, fault: Option<&Fault<'_>>) {
        match fault {
            None => self.byte(0),
            Some(Fault { code, detail }) => {
                self.byte(code.byte());
                self.text(detail.as_str());
            }
        }
    }

    fn kind(&mut self, kind: PayloadKind) {
        self.byte(u8::from(kind == PayloadKind::Binary));
    }

    fn ping(&mut self, ping: &Ping) {
        let Ping {
            echo,
            count,
            limits,
            subs,
        } = ping;
        self.number(*echo);
        self.byte(u8::from(count.is_some()) | u8::from(limits.is_some()) << 1);
        if let Some(count) = count {
            self.number(count.get());
        }
        if let Some(limits) = limits {
            self.limits(*limits);
        }
        self.number(subs.len() as u64);
        for Standing {
            sub,
            position,
            limits,
        } in subs
        {
            self.sub(Some(*sub));
            self.byte(u8::from(position.is_some()) | u8::from(limits.is_some()) << 1);
            if let Some(position) = position {
                self.position(*position);
            }
            if let Some(limits) = limits {
                self.limits(*limits);
            }
        }
    }
}

impl Writer for Vec<u8> {
    fn byte(&mut self, byte: u8) {
        self.push(byte);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Writer for crate::Prefix {
    fn byte(&mut self, byte: u8) {
        self.push(&[byte]);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.push(bytes);
    }
}

/// Everything of a DATA that stands before its payload.
pub(super) fn data_prefix(sub: Sub, offset: Offset, previous: Offset, kind: PayloadKind) -> crate::Prefix {
    let mut prefix = crate::Prefix::EMPTY;
    server::data_head(&mut prefix, sub, offset, previous, kind);
    prefix
}
