//! Writing objects: `t` first, then the fields in the order of the page.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use weirline_log::{NUMBER_MAX, Offset, PayloadKind, Position};

use super::super::choice::Choice;
use super::super::error::Name;
use super::super::message::{Fault, Ping, Standing};
use super::super::values::{Limits, Payload, Sub};

/// An object that is being written.
pub(super) struct Json<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl<'o> Json<'o> {
    pub(super) fn new(out: &'o mut Vec<u8>, message: &str) -> Self {
        let mut json = Self::open(out);
        json.text(Name::Type, message);
        json
    }

    fn open(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    pub(super) fn close(self) {
        self.out.push(b'}');
    }

    fn name(&mut self, name: Name) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_str().as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    pub(super) fn number(&mut self, name: Name, value: u64) {
        self.name(name);
        write_number(self.out, value);
    }

    pub(super) fn millis(&mut self, name: Name, duration: Duration) {
        self.number(name, super::super::millis(duration));
    }

    pub(super) fn text(&mut self, name: Name, text: &str) {
        self.name(name);
        write_text(self.out, text);
    }

    pub(super) fn flag(&mut self, name: Name, value: bool) {
        self.name(name);
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    pub(super) fn choice(&mut self, name: Name, choice: impl Choice) {
        self.text(name, choice.word());
    }

    pub(super) fn bytes(&mut self, name: Name, bytes: &[u8]) {
        self.name(name);
        write_bytes(self.out, bytes);
    }

    pub(super) fn sub(&mut self, sub: Sub) {
        self.number(Name::Sub, u64::from(sub.get()));
    }

    pub(super) fn some_sub(&mut self, sub: Option<Sub>) {
        if let Some(sub) = sub {
            self.sub(sub);
        }
    }

    pub(super) fn position(&mut self, position: Position) {
        self.text(Name::Epoch, &position.epoch.to_string());
        self.number(Name::Offset, position.offset.get());
    }

    pub(super) fn first_limits(&mut self, limits: Limits) {
        for (name, value) in [(Name::Bytes, limits.bytes), (Name::Messages, limits.messages)] {
            if value < NUMBER_MAX {
                self.number(name, value);
            }
        }
    }

    pub(super) fn limits(&mut self, limits: Limits) {
        self.number(Name::Bytes, limits.bytes);
        self.number(Name::Messages, limits.messages);
    }

    pub(super) fn fault(&mut self, fault: Option<&Fault<'_>>) {
        if let Some(Fault { code, detail }) = fault {
            self.choice(Name::Code, *code);
            if !detail.as_str().is_empty() {
                self.text(Name::Detail, detail.as_str());
            }
        }
    }

    pub(super) fn payload(&mut self, payload: &Payload<'_>) {
        self.name(payload_name(payload.kind));
        write_payload(self.out, payload.kind, &payload.bytes);
    }

    pub(super) fn list<T>(&mut self, items: &[T], write: impl Fn(&mut Json<'_>, &T)) {
        if items.is_empty() {
            return;
        }
        self.name(Name::Subs);
        self.out.push(b'[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            let mut object = Json::open(self.out);
            write(&mut object, item);
            object.close();
        }
        self.out.push(b']');
    }

    pub(super) fn ping(&mut self, ping: &Ping) {
        self.number(Name::Echo, ping.echo);
        if let Some(count) = ping.count {
            self.number(Name::Count, count.get());
        }
        if let Some(limits) = ping.limits {
            self.limits(limits);
        }
        self.list(&ping.subs, |object, standing: &Standing| {
            object.sub(standing.sub);
            if let Some(position) = standing.position {
                object.position(position);
            }
            if let Some(limits) = standing.limits {
                object.limits(limits);
            }
        });
    }
}

/// What stands behind the `sub` of a DATA, the closing brace included: the same for all subscribers.
pub(in super::super) fn data_tail(
    out: &mut Vec<u8>,
    offset: Offset,
    previous: Offset,
    kind: PayloadKind,
    payload: &[u8],
) {
    let mut json = Json { out, first: false };
    json.number(Name::Offset, offset.get());
    json.number(Name::Prev, previous.get());
    json.name(payload_name(kind));
    write_payload(json.out, kind, payload);
    json.close();
}

fn payload_name(kind: PayloadKind) -> Name {
    match kind {
        PayloadKind::Text => Name::Text,
        PayloadKind::Binary => Name::Binary,
    }
}

fn write_payload(out: &mut Vec<u8>, kind: PayloadKind, payload: &[u8]) {
    match kind {
        // A text payload is UTF-8; were it not, the receiver should get what can be read of it.
        PayloadKind::Text => write_text(out, &String::from_utf8_lossy(payload)),
        PayloadKind::Binary => write_bytes(out, payload),
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    // Writing a string to memory cannot fail.
    let _ = serde_json::to_writer(&mut *out, text);
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len() + 1;
    let len = bytes.len().div_ceil(3) * 4;
    out.resize(start + len, b'"');
    let written = URL_SAFE_NO_PAD.encode_slice(bytes, &mut out[start..]);
    out.truncate(start + written.unwrap_or_default());
    out.push(b'"');
}

fn write_number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&crate::Prefix::decimal(value));
}
