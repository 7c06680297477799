//! One exchange in each multiplexed form, cut at every byte in either direction, and before every pair of messages (I22: I6, I7, I13, I16).

#![expect(
    clippy::disallowed_methods,
    reason = "a test needs some instant to count from"
)]

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use weirline_log::{
    EventLog as _, LogReader as _, LogWriter as _, MemoryConfig, MemoryLog, MemoryReader, MemoryWriter,
    Offset, PayloadKind, ReadLimits, StreamId,
};
use weirline_resume::wire::{Begin, Form, Limits};
use weirline_resume::{
    JsonTails, Session, SessionClient, SessionClientConfig, SessionConfig, SessionEntropy, SessionEvent,
    SubscribeOptions,
};

/// What is published: one of them is refused, and its number skipped.
const PAYLOADS: [&str; 5] = ["first", "second", "this one is too long", "fourth", "fifth"];
const REFUSED: usize = 2;

/// How many bytes each direction carries before it is silent; nothing more arrives, not even a close.
#[derive(Clone, Copy, Debug)]
struct Cut {
    up: u64,
    down: u64,
}

const WHOLE: Cut = Cut {
    up: u64::MAX,
    down: u64::MAX,
};

struct Exchange {
    form: Form,
    writer: MemoryWriter,
    reader: MemoryReader,
    client: SessionClient,
    received: Vec<Bytes>,
    refused: usize,
    now: Instant,
    dials: u8,
}

impl Exchange {
    fn new(form: Form) -> Self {
        let (writer, reader) = MemoryLog::new(MemoryConfig::default(), 5).split();
        let mut client = SessionClient::new(SessionClientConfig {
            form,
            ..SessionClientConfig::default()
        });
        let options = SubscribeOptions {
            begin: Begin::After {
                offset: Offset::ZERO,
                epoch: None,
            },
            window: Limits {
                bytes: 200,
                messages: 2,
            },
            ..SubscribeOptions::default()
        };
        client.subscribe(stream(), options).unwrap();
        for payload in PAYLOADS {
            client
                .publish(stream(), PayloadKind::Text, Bytes::from(payload))
                .unwrap();
        }
        Self {
            form,
            writer,
            reader,
            client,
            received: Vec::new(),
            refused: 0,
            now: Instant::now(),
            dials: 0,
        }
    }

    /// One connection, until nothing moves any more; says what is left of the cut.
    fn connect(&mut self, mut cut: Cut) -> Cut {
        self.dials += 1;
        let config = SessionConfig {
            payload_text_bytes_max: 10,
            ..SessionConfig::default()
        };
        let entropy = SessionEntropy {
            session: [self.dials; 32],
            token: [self.dials; 32],
            spread: 0,
        };
        let mut server = Session::new(Arc::new(config), self.form, "", entropy, self.now);
        let dial = self.client.dial(self.now, [self.dials; 16], None).unwrap();
        self.client.handle_connected(dial, self.now, false);
        let mut moved = true;
        while std::mem::take(&mut moved) {
            while let Some(message) = self.client.poll_transmit() {
                if carries(&mut cut.up, message.len()) {
                    moved = true;
                    server.handle_message(self.now, message.kind, &message.to_vec());
                }
            }
            self.decide(&mut server);
            let mut tails = JsonTails::default();
            while server
                .read_from(self.now, &self.reader, 1000, &mut Vec::new(), &mut tails)
                .unwrap()
            {}
            while let Some(message) = server.poll_transmit() {
                if carries(&mut cut.down, message.len()) {
                    moved = true;
                    self.client
                        .handle_message(dial, self.now, message.kind, &message.to_vec());
                }
            }
            assert_eq!(server.poll_close(), None);
            self.handle();
        }
        self.client.handle_disconnected(dial, self.now, None);
        server.handle_disconnected(self.now);
        self.decide(&mut server);
        self.handle();
        cut
    }

    fn decide(&mut self, server: &mut Session) {
        while let Some(command) = server.poll_command() {
            let mut outcomes = Vec::new();
            self.writer.commit(&[command], &mut outcomes).unwrap();
            server.handle_outcome(self.now, outcomes.remove(0));
            server.handle_grown(self.now, &stream());
        }
    }

    fn handle(&mut self) {
        while let Some(event) = self.client.poll_event() {
            match event {
                SessionEvent::Message {
                    sub,
                    position,
                    payload,
                    ..
                } => {
                    self.client.handled(sub, position).unwrap();
                    self.received.push(payload);
                }
                SessionEvent::Refused { retried: false, .. } => self.refused += 1,
                SessionEvent::Live { .. }
                | SessionEvent::Subscribed { .. }
                | SessionEvent::Acked { .. }
                | SessionEvent::Disconnected { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    #[track_caller]
    fn finish(mut self, cuts: &[Cut]) {
        self.connect(WHOLE);
        let mut expect: Vec<_> = PAYLOADS.into_iter().map(Bytes::from).collect();
        expect.remove(REFUSED);
        let limits = ReadLimits {
            messages: 100,
            bytes: 1000,
        };
        let mut entries = Vec::new();
        self.reader
            .read(&stream(), Offset::ZERO, limits, &mut entries)
            .unwrap();
        let log: Vec<_> = entries.into_iter().map(|entry| entry.payload).collect();
        assert_eq!(log, expect, "I6, I7: {:?} cut at {cuts:?}", self.form);
        assert_eq!(self.received, expect, "I16: {:?} cut at {cuts:?}", self.form);
        assert_eq!(
            (self.client.outbox_len(), self.refused),
            ((0, 0), 1),
            "I13: {:?} cut at {cuts:?}",
            self.form
        );
    }
}

/// A message arrives whole or not at all, and behind one that did not nothing does.
fn carries(left: &mut u64, len: usize) -> bool {
    let rest = left.checked_sub(len as u64);
    *left = rest.unwrap_or(0);
    rest.is_some()
}

fn stream() -> StreamId {
    StreamId::new("s").unwrap()
}

fn whole(form: Form) -> Cut {
    let rest = Exchange::new(form).connect(WHOLE);
    Cut {
        up: u64::MAX - rest.up,
        down: u64::MAX - rest.down,
    }
}

#[test]
fn i22_an_exchange_may_be_cut_at_every_byte() {
    for form in [Form::Json, Form::Binary] {
        let whole = whole(form);
        assert!(whole.up > 150 && whole.down > 150, "{whole:?}");
        let up = (0..=whole.up).map(|up| Cut { up, ..WHOLE });
        let down = (0..=whole.down).map(|down| Cut { down, ..WHOLE });
        for cut in up.chain(down) {
            let mut exchange = Exchange::new(form);
            exchange.connect(cut);
            exchange.finish(&[cut]);
        }
    }
}

/// Two cuts in a row, at every seventh byte of the shorter form.
#[test]
fn i22_and_cut_again() {
    let whole = whole(Form::Binary);
    let up = (0..=whole.up).step_by(7).map(|up| Cut { up, ..WHOLE });
    let down = (0..=whole.down).step_by(7).map(|down| Cut { down, ..WHOLE });
    let cuts: Vec<Cut> = up.chain(down).collect();
    for &first in &cuts {
        for &second in &cuts {
            let mut exchange = Exchange::new(Form::Binary);
            exchange.connect(first);
            exchange.connect(second);
            exchange.finish(&[first, second]);
        }
    }
}
