//! A whole connection, of either side, fed arbitrary bytes: in any split the events, the output and the end are those of the whole.
//!
//! The first byte chooses side, delivery, limits and when the output is taken; the second the cuts; the rest is the wire.

use std::sync::Arc;
use std::time::Instant;

use weirline_connection::{Cause, Config, Connection, Delivery, End, ProtocolError};

use crate::peer::{Role, Seen, connection, drain, feed, parse_output, put_together};
use crate::source::{Source, pieces, start};

pub(crate) fn run(input: &[u8]) {
    let mut source = Source::new(input);
    let (flags, seed) = (source.byte(), source.byte());
    let role = if flags & 1 == 0 {
        Role::Server
    } else {
        Role::Client
    };
    let small = flags & 2 != 0;
    let drain_often = flags & 4 != 0;
    let wire = source.remainder();
    let mut told = Vec::new();
    for delivery in [Delivery::Messages, Delivery::Parts] {
        let world = World {
            role,
            config: config(small, delivery),
            drain_often,
            now: start(),
        };
        let whole = world.run(&[wire]);
        assert_eq!(world.run(&pieces(seed, wire)), whole, "cut by {seed}: {wire:x?}");
        let bytewise: Vec<&[u8]> = wire.chunks(1).collect();
        assert_eq!(world.run(&bytewise), whole, "byte by byte: {wire:x?}");
        told.push(whole);
    }
    let [messages, parts] = told.try_into().expect("two ways of delivery");
    assert_eq!(
        (put_together(parts.0), parts.1, parts.2),
        messages,
        "parts put together are the messages: {wire:x?}"
    );
}

/// With small limits they are met; the default ones are those of production.
fn config(small: bool, delivery: Delivery) -> Arc<Config> {
    let mut config = Config::default();
    config.delivery = delivery;
    if small {
        config.text_bytes_max = 100;
        config.binary_bytes_max = 200;
        config.frame_bytes_max = 150;
        config.fragments_max = 4;
        config.empty_fragments_max = 1;
        config.control_rate.burst = 6;
    }
    Arc::new(config)
}

struct World {
    role: Role,
    config: Arc<Config>,
    drain_often: bool,
    now: Instant,
}

impl World {
    /// Feeds the pieces, then the end of the stream.
    fn run(&self, pieces: &[&[u8]]) -> (Vec<Seen>, Vec<u8>, End) {
        let mut connection = connection(self.role, &self.config, self.now);
        let (mut seen, mut wire, mut fed) = (Vec::new(), Vec::new(), 0);
        for piece in pieces {
            fed += piece.len();
            feed(&mut connection, self.now, piece, &mut seen, |connection| {
                self.bounds(connection, fed);
                if self.drain_often {
                    wire.extend(drain(connection, self.now));
                }
            });
        }
        connection.handle_eof(self.now);
        wire.extend(drain(&mut connection, self.now));
        assert!(connection.poll_shutdown(), "everything is said: {connection:?}");
        connection.handle_shutdown(self.now);
        let end = connection.poll_end().expect("both directions are over").clone();
        assert_eq!(connection.poll_timeout(), None, "an end waits for nothing");
        parse_output(self.role, &wire);
        if matches!(end.cause, Cause::Protocol(ProtocolError::Utf8(_))) {
            // How much is told of a text that turns out to be none depends on the reads.
            while matches!(seen.last(), Some(Seen::PartsBegin(_) | Seen::PartsData(_))) {
                seen.pop();
            }
        }
        (seen, wire, end)
    }

    /// A peer pays for what is held for it: at most twice what it sent, and an answer of some dozen bytes for each control frame.
    fn bounds(&self, connection: &Connection, fed: usize) {
        let held = connection.held_bytes();
        assert!(held <= 2 * fed + HELD_FIXED, "{held} bytes held for {fed}");
        let longest = self.config.binary_bytes_max.max(self.config.text_bytes_max);
        let longest = usize::try_from(longest).unwrap_or(usize::MAX);
        assert!(held <= 2 * longest + OUTPUT_MAX + HELD_FIXED, "{held} bytes held");
    }
}

/// The record of an open message, room for a control frame's payload, the masks of pongs, and a Close.
const HELD_FIXED: usize = 1024;

/// What may wait to be sent where nothing was asked to be sent: pongs and a Close.
const OUTPUT_MAX: usize = (8 << 10) + 131;
