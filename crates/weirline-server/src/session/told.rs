//! What a client is told besides its messages, for the log: facts, never the message, which may hold a token.

use tracing::{enabled, info};
use weirline_resume::Outgoing;
use weirline_resume::wire::{Fault, Form, ServerMessage, Sub};

use crate::registry::Place;

/// How many lines a connection has had. A client that subscribes and unsubscribes without end does not fill the log.
#[derive(Debug, Default)]
pub(super) struct Told(u32);

impl Told {
    /// One line for what changes something. What comes with every message (DATA, PUBACK, CREDIT, PONG) is not worth one.
    pub(super) fn log(&mut self, place: &Place, form: Form, outgoing: &Outgoing) {
        if self.0 > LINES_MAX || !is_rare(form, outgoing) || !enabled!(tracing::Level::INFO) {
            return;
        }
        self.0 += 1;
        if self.0 > LINES_MAX {
            info!(event = "session.told_much", conn = %place.id(), "what else it is told is not logged");
        } else {
            write(place, form, outgoing);
        }
    }
}

/// So many lines of a connection.
const LINES_MAX: u32 = 2000;

fn write(place: &Place, form: Form, outgoing: &Outgoing) {
    let message = outgoing.to_vec();
    let Ok(Some(message)) = ServerMessage::decode(form, outgoing.kind, &message) else {
        return;
    };
    let conn = place.id();
    match message {
        ServerMessage::Welcome(told) => {
            let (session, attach, count) = (told.session, told.attach, told.count);
            let outcome = told.outcome;
            info!(event = "session.welcome", %conn, %session, %attach, ?outcome, %count, "told");
        }
        ServerMessage::Subscribed(told) => {
            let (sub, state, head) = (told.sub.get(), told.state, told.head);
            let (epoch, offset) = (told.position.epoch, told.position.offset);
            info!(event = "session.subok", %conn, sub, %epoch, %offset, %head, ?state, "told");
        }
        ServerMessage::Unsubscribed { sub, fault } => {
            let code = fault.map(|Fault { code, .. }| code);
            info!(event = "session.unsub", %conn, sub = sub.get(), ?code, "told");
        }
        ServerMessage::Gap(told) => {
            let (sub, from, to, reason) = (told.sub.get(), told.from, told.to, told.reason);
            info!(event = "session.gap", %conn, sub, %from, %to, %reason, "told");
        }
        ServerMessage::Reset(told) => {
            let (sub, epoch, common) = (told.sub.get(), told.epoch, told.common);
            info!(event = "session.reset", %conn, sub, %epoch, %common, "told");
        }
        ServerMessage::Flow(told) => {
            let sub = told.sub.map(Sub::get);
            let paused = told.pause.is_some();
            info!(event = "session.flow", %conn, sub, paused, "told");
        }
        ServerMessage::Reject(told) => {
            let (code, resumable) = (told.fault.code, told.resumable);
            let retry_ms = told.retry.map(|retry| retry.as_millis());
            info!(event = "session.reject", %conn, %code, resumable, retry_ms, "told");
        }
        ServerMessage::Bye(fault) => {
            let code = fault.map(|Fault { code, .. }| code);
            info!(event = "session.bye", %conn, ?code, "told");
        }
        _ => {}
    }
}

/// By its first bytes, so that the others are not read. Our encoder writes the type first.
fn is_rare(form: Form, outgoing: &Outgoing) -> bool {
    match form {
        Form::Binary => outgoing
            .prefix
            .first()
            .is_some_and(|first| RARE_BYTES.contains(first)),
        Form::Json => {
            let word = outgoing.payload.strip_prefix(br#""t":""#);
            outgoing.prefix[..] == *b"{"
                && word.is_some_and(|word| RARE_WORDS.iter().any(|rare| word.starts_with(rare.as_bytes())))
        }
    }
}

const RARE_BYTES: [u8; 8] = [0x02, 0x04, 0x05, 0x09, 0x0a, 0x0b, 0x13, 0x14];
const RARE_WORDS: [&str; 8] = [
    "welcome\"",
    "subok\"",
    "unsub\"",
    "flow\"",
    "gap\"",
    "reset\"",
    "reject\"",
    "bye\"",
];
