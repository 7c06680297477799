//! The JSON form: flat objects, taken apart without a tree.
//!
//! A message is read once by `serde_json`, which finds its fields and checks the grammar; the values that its type has are then read from
//! where they stand. Fields that it does not have are never looked at.

mod client;
mod server;
mod write;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use weirline_log::{Attach, Epoch, NUMBER_MAX, Offset, PayloadKind, Position, Seq, StreamId};

use super::choice::{Choice, Code};
use super::error::{Name, WireError, WireErrorKind as E};
use super::message::{Fault, LIST_MAX, Ping, Standing};
use super::values::{Detail, Limits, Payload, Sub, Word};

pub(super) use write::data_tail;

/// The fields of one object that this protocol knows, each as it stands in the message.
pub(super) struct Object<'a> {
    fields: Vec<(Name, &'a str)>,
    duplicate: Option<Name>,
}

impl<'a> Object<'a> {
    /// Reads a message.
    fn parse(message: &'a [u8]) -> Result<Self, WireError> {
        let text = simdutf8::basic::from_utf8(message).map_err(|_| E::NotJson.anywhere())?;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let deep = &mut false;
        let object = Fields { depth: 1, deep }
            .deserialize(&mut deserializer)
            .map_err(|_| E::NotJson.anywhere())?;
        deserializer.end().map_err(|_| E::NotJson.anywhere())?;
        if *deep {
            return Err(E::TooDeep.anywhere());
        }
        Ok(object)
    }

    fn raw(&self, field: Name) -> Option<&'a str> {
        self.fields
            .iter()
            .find(|(name, _)| *name == field)
            .map(|(_, raw)| *raw)
    }

    fn unique(&self) -> Result<(), WireError> {
        self.duplicate.map_or(Ok(()), |name| Err(E::Duplicate.at(name)))
    }

    /// Fields that may not stand here.
    fn none_of(&self, fields: &[Name]) -> Result<(), WireError> {
        match fields.iter().find(|&&field| self.raw(field).is_some()) {
            Some(&field) => Err(E::Conflict.at(field)),
            None => Ok(()),
        }
    }

    fn number(&self, field: Name, from: u64, to: u64) -> Result<Option<u64>, WireError> {
        let Some(raw) = self.raw(field) else {
            return Ok(None);
        };
        if !raw.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            return Err(E::WrongType.at(field));
        }
        // JSON has no leading zeros; what is too long for a u64 is out of range as well.
        raw.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| raw.parse().ok())
            .flatten()
            .filter(|value| (from..=to).contains(value))
            .map(Some)
            .ok_or(E::OutOfRange.at(field))
    }

    fn must_number(&self, field: Name, from: u64, to: u64) -> Result<u64, WireError> {
        self.number(field, from, to)?.ok_or(E::Missing.at(field))
    }

    fn millis(&self, field: Name, from: u64, to: u64) -> Result<Option<Duration>, WireError> {
        Ok(self.number(field, from, to)?.map(Duration::from_millis))
    }

    fn must_millis(&self, field: Name, from: u64, to: u64) -> Result<Duration, WireError> {
        self.must_number(field, from, to).map(Duration::from_millis)
    }

    fn offset(&self, field: Name, from: u64) -> Result<Offset, WireError> {
        let value = self.must_number(field, from, NUMBER_MAX)?;
        Offset::new(value).map_err(|_| E::OutOfRange.at(field))
    }

    fn seq(&self, field: Name, from: u64) -> Result<Seq, WireError> {
        let value = self.must_number(field, from, NUMBER_MAX)?;
        Seq::new(value).map_err(|_| E::OutOfRange.at(field))
    }

    fn attach(&self) -> Result<Option<Attach>, WireError> {
        let value = self.number(Name::Attach, 1, NUMBER_MAX)?;
        value
            .map(|value| Attach::new(value).map_err(|_| E::OutOfRange.at(Name::Attach)))
            .transpose()
    }

    fn must_attach(&self) -> Result<Attach, WireError> {
        self.attach()?.ok_or(E::Missing.at(Name::Attach))
    }

    fn version(&self) -> Result<(), WireError> {
        match self.must_number(Name::Version, 0, NUMBER_MAX)? {
            1 => Ok(()),
            _ => Err(E::UnsupportedVersion.at(Name::Version)),
        }
    }

    fn some_sub(&self) -> Result<Option<Sub>, WireError> {
        let value = self.number(Name::Sub, 1, u64::from(u32::MAX))?;
        Ok(value
            .and_then(|value| u32::try_from(value).ok())
            .and_then(Sub::new))
    }

    fn sub(&self) -> Result<Sub, WireError> {
        self.some_sub()?.ok_or(E::Missing.at(Name::Sub))
    }

    fn text(&self, field: Name) -> Result<Option<Cow<'a, str>>, WireError> {
        let Some(raw) = self.raw(field) else {
            return Ok(None);
        };
        if !raw.starts_with('"') {
            return Err(E::WrongType.at(field));
        }
        let mut deserializer = serde_json::Deserializer::from_str(raw);
        // What is not a string in spite of its quotes has a surrogate without its other half.
        let text = deserializer.deserialize_str(Text);
        text.map(Some).map_err(|_| E::BadValue.at(field))
    }

    fn must_text(&self, field: Name) -> Result<Cow<'a, str>, WireError> {
        self.text(field)?.ok_or(E::Missing.at(field))
    }

    fn flag(&self, field: Name) -> Result<bool, WireError> {
        match self.raw(field) {
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(_) => Err(E::WrongType.at(field)),
            None => Err(E::Missing.at(field)),
        }
    }

    fn choice<C: Choice>(&self, field: Name) -> Result<C, WireError> {
        C::from_word(&self.must_text(field)?).ok_or(E::BadValue.at(field))
    }

    /// Bytes in base64url.
    fn array<const N: usize>(&self, field: Name) -> Result<Option<[u8; N]>, WireError> {
        let Some(text) = self.text(field)? else {
            return Ok(None);
        };
        let bytes = URL_SAFE_NO_PAD.decode(text.as_bytes()).ok();
        let bytes = bytes.and_then(|bytes| <[u8; N]>::try_from(bytes).ok());
        bytes.map(Some).ok_or(E::BadValue.at(field))
    }

    fn must_array<const N: usize>(&self, field: Name) -> Result<[u8; N], WireError> {
        self.array(field)?.ok_or(E::Missing.at(field))
    }

    fn some_epoch(&self) -> Result<Option<Epoch>, WireError> {
        let text = self.text(Name::Epoch)?;
        text.map(|text| text.parse().map_err(|_| E::BadValue.at(Name::Epoch)))
            .transpose()
    }

    fn epoch(&self) -> Result<Epoch, WireError> {
        self.some_epoch()?.ok_or(E::Missing.at(Name::Epoch))
    }

    fn position(&self) -> Result<Position, WireError> {
        Ok(Position {
            epoch: self.epoch()?,
            offset: self.offset(Name::Offset, 0)?,
        })
    }

    /// First limits: what is absent is no limit.
    fn first_limits(&self) -> Result<Limits, WireError> {
        Ok(Limits {
            bytes: self
                .number(Name::Bytes, 0, NUMBER_MAX)?
                .unwrap_or(Limits::NONE.bytes),
            messages: self
                .number(Name::Messages, 0, NUMBER_MAX)?
                .unwrap_or(Limits::NONE.messages),
        })
    }

    fn limits(&self) -> Result<Limits, WireError> {
        Ok(Limits {
            bytes: self.must_number(Name::Bytes, 0, NUMBER_MAX)?,
            messages: self.must_number(Name::Messages, 0, NUMBER_MAX)?,
        })
    }

    /// Both or none.
    fn some_limits(&self) -> Result<Option<Limits>, WireError> {
        self.pair(Name::Bytes, Name::Messages)?
            .then(|| self.limits())
            .transpose()
    }

    /// Whether two fields that need each other are there.
    fn pair(&self, one: Name, other: Name) -> Result<bool, WireError> {
        match (self.raw(one).is_some(), self.raw(other).is_some()) {
            (true, false) => Err(E::Conflict.at(one)),
            (false, true) => Err(E::Conflict.at(other)),
            (both, _) => Ok(both),
        }
    }

    fn stream(&self) -> Result<StreamId, WireError> {
        StreamId::new(&self.must_text(Name::Stream)?).map_err(|_| E::BadValue.at(Name::Stream))
    }

    /// A code that is not known is `unavailable`.
    fn code(&self) -> Result<Option<Code>, WireError> {
        let Some(word) = self.text(Name::Code)? else {
            return Ok(None);
        };
        match Code::from_word(&word) {
            Some(code) => Ok(Some(code)),
            None if Word::new(&word).is_some() => Ok(Some(Code::Unavailable)),
            None => Err(E::BadValue.at(Name::Code)),
        }
    }

    fn detail(&self) -> Result<Detail<'a>, WireError> {
        let text = self.text(Name::Detail)?.unwrap_or_default();
        Detail::new(text).ok_or(E::BadValue.at(Name::Detail))
    }

    fn fault(&self) -> Result<Option<Fault<'a>>, WireError> {
        let Some(code) = self.code()? else {
            return Ok(None);
        };
        let detail = self.detail()?;
        Ok(Some(Fault { code, detail }))
    }

    fn payload(&self) -> Result<Payload<'a>, WireError> {
        match (self.raw(Name::Text), self.raw(Name::Binary)) {
            (Some(_), Some(_)) => Err(E::Conflict.at(Name::Binary)),
            (None, None) => Err(E::Missing.at(Name::Text)),
            (Some(_), None) => {
                let bytes = match self.must_text(Name::Text)? {
                    Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                    Cow::Owned(text) => Cow::Owned(text.into_bytes()),
                };
                let kind = PayloadKind::Text;
                Ok(Payload { kind, bytes })
            }
            (None, Some(_)) => {
                let text = self.must_text(Name::Binary)?;
                let bytes = URL_SAFE_NO_PAD
                    .decode(text.as_bytes())
                    .map_err(|_| E::BadValue.at(Name::Binary))?;
                let (kind, bytes) = (PayloadKind::Binary, Cow::Owned(bytes));
                Ok(Payload { kind, bytes })
            }
        }
    }

    /// The objects of a list; none when it is absent.
    fn list(&self) -> Result<Vec<Object<'a>>, WireError> {
        let Some(raw) = self.raw(Name::Subs) else {
            return Ok(Vec::new());
        };
        let mut deserializer = serde_json::Deserializer::from_str(raw);
        let list = deserializer
            .deserialize_seq(List)
            .map_err(|_| E::WrongType.at(Name::Subs))?;
        if list.len() > LIST_MAX {
            return Err(E::TooMany.at(Name::Subs));
        }
        list.iter().try_for_each(Self::unique)?;
        Ok(list)
    }

    fn ping(&self, server: bool) -> Result<Ping, WireError> {
        let echo = self.must_number(Name::Echo, 0, NUMBER_MAX)?;
        if !server {
            self.none_of(&[Name::Count])?;
        }
        let count = self
            .raw(Name::Count)
            .map(|_| self.seq(Name::Count, 0))
            .transpose()?;
        let limits = self.some_limits()?;
        let mut subs = Vec::new();
        for object in self.list()? {
            let sub = object.sub()?;
            let position = object
                .pair(Name::Epoch, Name::Offset)?
                .then(|| object.position())
                .transpose()?;
            if server {
                object.none_of(&[Name::Bytes, Name::Messages])?;
            }
            let limits = object.some_limits()?;
            subs.push(Standing {
                sub,
                position,
                limits,
            });
        }
        super::distinct(subs.iter().map(|standing| standing.sub))?;
        Ok(Ping {
            echo,
            count,
            limits,
            subs,
        })
    }
}

/// Reads an object's fields.
struct Fields<'d> {
    depth: usize,
    deep: &'d mut bool,
}

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = Object<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Object<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let mut object = Object {
            fields: Vec::new(),
            duplicate: None,
        };
        while let Some(name) = map.next_key_seed(Key)? {
            let raw = map.next_value::<&RawValue>()?.get();
            *self.deep |= self.depth + depth(raw) > DEPTH_MAX;
            let Some(name) = name else { continue };
            if object.raw(name).is_some() {
                object.duplicate.get_or_insert(name);
            } else {
                object.fields.push((name, raw));
            }
        }
        Ok(object)
    }
}

struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Option<Name>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Name>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Option<Name>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Option<Name>, E> {
        Ok(Name::parse(name))
    }
}

/// A string, borrowed where it has no escapes.
struct Text;

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text.into()))
    }
}

/// Objects; of a list that is too long, one more than it may have.
struct List;

impl<'de> Visitor<'de> for List {
    type Value = Vec<Object<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Object<'de>>, A::Error> {
        let mut objects = Vec::new();
        // Its depth was looked at with the whole message.
        let deep = &mut false;
        loop {
            let element = Fields { depth: 0, deep };
            match list.next_element_seed(element)? {
                Some(object) if objects.len() <= LIST_MAX => objects.push(object),
                Some(_) => {}
                None => return Ok(objects),
            }
        }
    }
}

/// How deep a value that is known to be JSON nests.
fn depth(raw: &str) -> usize {
    if !raw.starts_with(['{', '[']) {
        return 0;
    }
    let (mut depth, mut deepest, mut within, mut escaped) = (0usize, 0, false, false);
    for byte in raw.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = within,
            b'"' => within = !within,
            b'{' | b'[' if !within => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !within => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

const DEPTH_MAX: usize = 8;
