//! One recorded exchange, cut before each of its messages, and at every pair of them (I13, I6, I16).

#![expect(
    clippy::disallowed_methods,
    reason = "a test needs some instant to count from"
)]

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use weirline_log::{
    Entry, EventLog as _, LogReader as _, LogWriter as _, MemoryConfig, MemoryLog, MemoryReader,
    MemoryWriter, Offset, PayloadKind, ReadLimits, StreamId,
};
use weirline_resume::{ClientEvent, Subscribe, TextClient, TextClientConfig, TextServer, TextServerConfig};

const MESSAGES: u64 = 5;

struct Exchange {
    writer: MemoryWriter,
    reader: MemoryReader,
    client: TextClient,
    received: Vec<Bytes>,
    now: Instant,
    dials: u8,
}

impl Exchange {
    fn new() -> Self {
        let (writer, reader) = MemoryLog::new(MemoryConfig::default(), 5).split();
        let config = TextClientConfig {
            subscribe: Subscribe::After(Offset::ZERO),
            ..TextClientConfig::default()
        };
        let mut client = TextClient::new(config);
        for n in 0..MESSAGES {
            client
                .publish(PayloadKind::Text, Bytes::from(format!("message {n}")))
                .unwrap();
        }
        Self {
            writer,
            reader,
            client,
            received: Vec::new(),
            now: Instant::now(),
            dials: 0,
        }
    }

    /// One connection that is cut when `budget` messages were delivered; returns how many were left of it.
    fn connect(&mut self, mut budget: u64) -> u64 {
        self.dials += 1;
        let stream = StreamId::new("s").unwrap();
        let mut server = TextServer::new(Arc::new(TextServerConfig::default()), stream, self.now);
        let dial = self.client.dial(self.now, [self.dials; 32]).unwrap();
        self.client.handle_connected(dial, self.now);
        let mut moved = true;
        while std::mem::take(&mut moved) && budget > 0 {
            while let Some(message) = self.client.poll_transmit() {
                if budget > 0 {
                    budget -= 1;
                    moved = true;
                    server.handle_message(self.now, message.kind, &message.to_vec());
                }
            }
            self.decide(&mut server);
            while server.read_from(&self.reader, 1000, &mut Vec::new()).unwrap() {}
            while let Some(message) = server.poll_transmit() {
                if budget > 0 {
                    budget -= 1;
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
        budget
    }

    fn decide(&mut self, server: &mut TextServer) {
        while let Some(command) = server.poll_command() {
            let mut outcomes = Vec::new();
            self.writer.commit(&[command], &mut outcomes).unwrap();
            server.handle_outcome(self.now, outcomes.remove(0));
            server.handle_grown();
        }
    }

    fn handle(&mut self) {
        while let Some(event) = self.client.poll_event() {
            match event {
                ClientEvent::Message {
                    position, payload, ..
                } => {
                    self.client.handled(position).unwrap();
                    self.received.push(payload);
                }
                ClientEvent::Live { .. } | ClientEvent::Acked { .. } | ClientEvent::Disconnected { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    #[track_caller]
    fn finish(mut self, cuts: &[u64]) {
        assert!(self.connect(u64::MAX) > 0);
        let expect: Vec<_> = (0..MESSAGES)
            .map(|n| Bytes::from(format!("message {n}")))
            .collect();
        let mut entries: Vec<Entry> = Vec::new();
        let limits = ReadLimits {
            messages: 100,
            bytes: 1000,
        };
        self.reader
            .read(&StreamId::new("s").unwrap(), Offset::ZERO, limits, &mut entries)
            .unwrap();
        let log: Vec<_> = entries.into_iter().map(|entry| entry.payload).collect();
        assert_eq!(log, expect, "I6, I7: cut at {cuts:?}");
        assert_eq!(self.received, expect, "I16: cut at {cuts:?}");
        assert_eq!(self.client.outbox_len(), (0, 0), "I13: cut at {cuts:?}");
    }
}

#[test]
fn i13_the_loss_of_any_message_leaves_the_session_attachable() {
    let whole = u64::MAX - Exchange::new().connect(u64::MAX);
    assert!(whole > 3 * MESSAGES, "the exchange has only {whole} messages");
    for first in 0..=whole {
        let mut exchange = Exchange::new();
        exchange.connect(first);
        exchange.finish(&[first]);
        for second in 0..=whole {
            let mut exchange = Exchange::new();
            exchange.connect(first);
            exchange.connect(second);
            exchange.finish(&[first, second]);
        }
    }
}
