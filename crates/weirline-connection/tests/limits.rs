//! Limits of what a peer may make a connection take in and hold (R15, THREATS): exact at the edge, and nothing allocated
//! for what has not arrived.

mod common;

use std::sync::Arc;

use common::*;
use weirline_connection::{Cause, Config, Connection, Delivery, MessageKind, ProtocolError};
use weirline_flow::RateLimit;

const DELIVERIES: [Delivery; 2] = [Delivery::Messages, Delivery::Parts];

/// Feeds a server and returns the code it closed with.
fn closes_with(config: &Arc<Config>, wire: &[u8]) -> Option<u16> {
    let now = start();
    let mut connection = connection(Role::Server, config, now);
    feed(&mut connection, now, wire);
    close_code(&parse(Role::Server, &drain(&mut connection, now)))
}

fn client_header(first: u8, len: u64) -> Vec<u8> {
    header(first, Some([0; 4]), len)
}

fn fragments(opcode: u8, lens: &[usize]) -> Vec<u8> {
    let mut wire = Vec::new();
    for (i, len) in lens.iter().enumerate() {
        let opcode = if i == 0 { opcode } else { CONTINUATION };
        let fin = if i + 1 == lens.len() { FIN } else { 0 };
        wire.extend(frame(Role::Server, fin | opcode, &vec![b'x'; *len]));
    }
    wire
}

#[test]
fn message_and_frame_limits_are_exact() {
    let limits = |delivery| {
        config(|config| {
            config.delivery = delivery;
            config.text_bytes_max = 300;
            config.binary_bytes_max = 1000;
            config.frame_bytes_max = 600;
        })
    };
    let cases: [(u8, &[usize], Option<u16>); 12] = [
        (TEXT, &[300], None),
        (TEXT, &[301], Some(1009)),
        (TEXT, &[100, 100, 100], None),
        (TEXT, &[100, 100, 101], Some(1009)),
        (TEXT, &[300, 0], None),
        (TEXT, &[300, 1], Some(1009)),
        (BINARY, &[301], None),
        (BINARY, &[600], None),
        (BINARY, &[601], Some(1009)),
        (BINARY, &[600, 400], None),
        (BINARY, &[600, 401], Some(1009)),
        (BINARY, &[1, 601], Some(1009)),
    ];
    for delivery in DELIVERIES {
        for (opcode, lens, expect) in cases {
            let closed = closes_with(&limits(delivery), &fragments(opcode, lens));
            assert_eq!(closed, expect, "{delivery:?} {opcode} {lens:?}");
        }
    }
}

#[test]
fn the_default_limits_are_those_of_the_requirements() {
    // R15
    let edges = [(TEXT, 4u64 << 20), (BINARY, 16 << 20)];
    for (opcode, max) in edges {
        for (len, expect) in [(max, None), (max + 1, Some(1009))] {
            let closed = closes_with(&config(|_| {}), &client_header(FIN | opcode, len));
            assert_eq!(closed, expect, "{opcode}: {len}");
        }
    }
}

#[test]
fn a_declared_length_costs_nothing() {
    for delivery in DELIVERIES {
        for (len, closes) in [((1 << 63) - 1, true), (1 << 40, true), (16 << 20, false)] {
            for first in [FIN | BINARY, BINARY] {
                let (config, now) = (config(|config| config.delivery = delivery), start());
                let mut connection = connection(Role::Server, &config, now);
                feed(&mut connection, now, &client_header(first, len));
                assert!(connection.held_bytes() < 1024, "{}", connection.held_bytes());
                assert_eq!(!connection.is_open(), closes, "refused before any payload: {len}");
                feed(&mut connection, now, b"some payload");
                assert!(connection.held_bytes() < 1024, "{}", connection.held_bytes());
            }
        }
    }
}

#[test]
fn lengths_that_add_up_past_the_integers_are_too_big() {
    let config = config(|config| {
        config.binary_bytes_max = u64::MAX - 1;
        config.frame_bytes_max = u64::MAX;
        config.delivery = Delivery::Parts;
    });
    let first = frame(Role::Server, BINARY, b"abc");
    let wire = [first, client_header(CONTINUATION, (1 << 63) - 1)].concat();
    assert_eq!(closes_with(&config, &wire), None, "2^63 + 2 are below the limit");
}

#[test]
fn fragments_are_counted() {
    let limits = |max| config(|config| config.fragments_max = max);
    for (max, count, expect) in [(3, 3, None), (3, 4, Some(1008)), (1, 1, None), (1, 2, Some(1008))] {
        let closed = closes_with(&limits(max), &fragments(BINARY, &vec![1; count]));
        assert_eq!(closed, expect, "{count} of {max}");
    }
    // Autobahn 9.3.1 and 9.4.1: 4 MiB in fragments of 64 bytes.
    let closed = closes_with(&config(|_| {}), &fragments(TEXT, &vec![64; 65_536]));
    assert_eq!(closed, None);
    for (count, expect) in [(262_144, None), (262_145, Some(1008))] {
        let closed = closes_with(&config(|_| {}), &fragments(BINARY, &vec![1; count]));
        assert_eq!(closed, expect, "{count} by default");
    }
}

#[test]
fn the_129th_empty_fragment_in_a_row_is_refused() {
    let cases: [(usize, bool, Option<u16>); 4] = [
        (128, false, None),
        (129, false, Some(1008)),
        (127, true, None),
        (128, true, Some(1008)),
    ];
    for (empties, first_empty, expect) in cases {
        for delivery in DELIVERIES {
            let mut lens = vec![0; empties];
            lens.insert(0, usize::from(!first_empty));
            lens.push(1);
            let config = config(|config| config.delivery = delivery);
            let closed = closes_with(&config, &fragments(BINARY, &lens));
            assert_eq!(closed, expect, "{empties} {first_empty} {delivery:?}");
        }
    }
    let interrupted = [vec![1], vec![0; 128], vec![1], vec![0; 128], vec![1]].concat();
    assert_eq!(
        closes_with(&config(|_| {}), &fragments(BINARY, &interrupted)),
        None
    );
}

#[test]
fn an_empty_message_is_no_fragment() {
    for delivery in DELIVERIES {
        let config = config(|config| {
            config.delivery = delivery;
            config.empty_fragments_max = 0;
        });
        let empty = frame(Role::Server, FIN | TEXT, b"");
        assert_eq!(closes_with(&config, &empty.repeat(300)), None, "{delivery:?}");
        assert_eq!(
            closes_with(&config, &fragments(TEXT, &[0, 1])),
            Some(1008),
            "{delivery:?}"
        );
    }
}

#[test]
fn two_million_empty_fragments_are_refused() {
    let now = start();
    let mut connection = connection(Role::Server, &config(|_| {}), now);
    feed(&mut connection, now, &frame(Role::Server, TEXT, b""));
    let many = frame(Role::Server, CONTINUATION, b"").repeat(10_000);
    for _ in 0..200 {
        feed(&mut connection, now, &many);
        assert!(connection.held_bytes() < 1024);
    }
    assert!(!connection.is_open());
    assert_eq!(
        close_code(&parse(Role::Server, &drain(&mut connection, now))),
        Some(1008)
    );
}

#[test]
fn at_most_twice_what_arrived_is_held() {
    // (read, fragment): how the bytes of one message come
    for (read, fragment) in [
        (1, 1 << 16),
        (7, 3),
        (1 << 16, 1 << 20),
        (1500, 1 << 20),
        (64, 64),
        (1 << 16, 1),
    ] {
        let now = start();
        let mut connection = connection(Role::Server, &config(|_| {}), now);
        let total = if read < 100 { 20_000 } else { 2 << 20 };
        let frames = (total / fragment).clamp(1, 100_000);
        let mut wire = Vec::new();
        for i in 0..frames {
            let opcode = if i == 0 { BINARY } else { CONTINUATION };
            wire.extend(frame(Role::Server, opcode, &vec![b'x'; fragment.min(total)]));
        }
        let mut received = 0;
        for piece in wire.chunks(read) {
            feed(&mut connection, now, piece);
            received += piece.len();
            let held = connection.held_bytes();
            assert!(
                held <= 2 * received + 256,
                "{held} held, {received} received in reads of {read}, fragments of {fragment}"
            );
        }
        assert!(connection.is_open());
        feed(
            &mut connection,
            now,
            &frame(Role::Server, FIN | CONTINUATION, b""),
        );
        assert_eq!(connection.held_bytes(), 0, "idle costs nothing");
    }
}

type After = fn(&mut Connection, std::time::Instant);

#[test]
fn what_was_assembled_is_given_back_when_it_is_of_no_use() {
    let after: [(&str, After); 4] = [
        ("a failure", |connection, now| {
            feed(
                connection,
                now,
                &frame(Role::Server, FIN | TEXT, b"inside another"),
            );
        }),
        ("a Close", |connection, now| {
            feed(connection, now, &frame(Role::Server, FIN | CLOSE, b""));
        }),
        ("the end of the stream", |connection, now| {
            connection.handle_eof(now);
        }),
        ("giving up", |connection, now| {
            connection.fail_with(now, code(1011), "");
        }),
    ];
    for (name, after) in after {
        let now = start();
        let mut connection = connection(Role::Server, &config(|_| {}), now);
        feed(
            &mut connection,
            now,
            &frame(Role::Server, BINARY, &vec![0; 1 << 20]),
        );
        assert!(connection.held_bytes() >= 1 << 20);
        after(&mut connection, now);
        assert!(
            connection.held_bytes() < 1024,
            "{} held after {name}",
            connection.held_bytes()
        );
    }
}

#[test]
fn a_flood_of_control_frames_is_refused() {
    let limit = RateLimit {
        burst: 5,
        per_second: 10,
    };
    for first in [FIN | PING, FIN | PONG] {
        let now = start();
        let config = config(|config| config.control_rate = limit);
        let mut connection = connection(Role::Server, &config, now);
        let control = frame(Role::Server, first, b"x");
        assert_eq!(feed(&mut connection, now, &control.repeat(5)).len(), 5);
        let later = now + SECOND / 10;
        assert_eq!(
            feed(&mut connection, later, &control.repeat(2)).len(),
            1,
            "the frame over the budget is not told"
        );
        let frames = parse(Role::Server, &drain(&mut connection, later));
        assert_eq!(close_code(&frames), Some(1008));
        connection.handle_eof(later);
        connection.handle_shutdown(later);
        assert_eq!(
            connection.poll_end().unwrap().cause,
            Cause::Protocol(ProtocolError::ControlFlood)
        );
    }
}

#[test]
fn a_million_pings_unread_cost_a_constant() {
    for (payload, rounds) in [(&b""[..], 100), (&[b'x'; 125], 2)] {
        let now = start();
        let config = config(|config| {
            config.control_rate = RateLimit {
                burst: u32::MAX,
                per_second: 1,
            };
        });
        let mut connection = connection(Role::Server, &config, now);
        let many = frame(Role::Server, FIN | PING, payload).repeat(9_999);
        for _ in 0..rounds {
            feed(&mut connection, now, &many);
            feed(&mut connection, now, &frame(Role::Server, FIN | PING, b"latest"));
            assert!(
                connection.held_bytes() <= (8 << 10) + 200,
                "{}",
                connection.held_bytes()
            );
        }
        let frames = parse(Role::Server, &drain(&mut connection, now));
        assert_eq!(frames.len(), 64);
        assert_eq!(
            frames.last().unwrap().payload,
            b"latest",
            "the latest replaces older ones"
        );
        assert_eq!(connection.held_bytes(), 0);
    }
}

#[test]
fn a_pong_that_is_partly_sent_is_not_replaced() {
    for taken in [1, 126, 127, 128, 63 * 127 + 1] {
        let now = start();
        let mut connection = connection(Role::Server, &config(|_| {}), now);
        let ping = |n: u8| frame(Role::Server, FIN | PING, &[n; 125]);
        for n in 0..64 {
            feed(&mut connection, now, &ping(n));
        }
        let mut wire = take(&mut connection, now, taken);
        for n in 64..200 {
            feed(&mut connection, now, &ping(n));
        }
        wire.extend(drain(&mut connection, now));
        let pongs: Vec<u8> = parse(Role::Server, &wire)
            .iter()
            .map(|frame| frame.payload[0])
            .collect();
        assert!(pongs.is_sorted());
        // What was begun goes out in its place, and the last ping has its answer.
        let begun = u8::try_from(taken.div_ceil(127)).unwrap();
        assert!((0..begun).all(|n| pongs.contains(&n)), "{taken}: {pongs:?}");
        assert_eq!(pongs.last(), Some(&199));
    }
}

#[test]
fn a_peer_that_reads_drop_by_drop_and_guesses_our_pings_costs_a_constant() {
    let mut now = start();
    let config = config(|config| {
        config.write_stall_timeout = 100 * SECOND;
        config.write_progress_bytes_min = 1;
    });
    let mut connection = connection(Role::Server, &config, now);
    let ping = frame(Role::Server, FIN | PING, &[b'x'; 125]);
    feed(&mut connection, now, &ping.repeat(64));
    for number in 1..500u64 {
        // Our ping comes due, and the peer answers it although it cannot have read it.
        now = connection.poll_timeout().expect("a ping is due");
        connection.handle_timeout(now);
        take(&mut connection, now, 1);
        feed(
            &mut connection,
            now,
            &frame(Role::Server, FIN | PONG, &number.to_be_bytes()),
        );
        feed(&mut connection, now, &ping);
        assert!(
            connection.held_bytes() <= (8 << 10) + 500,
            "{} held after {number} rounds",
            connection.held_bytes()
        );
    }
}

#[test]
fn whole_messages_are_lent_and_hold_nothing() {
    let now = start();
    let mut connection = connection(Role::Server, &config(|_| {}), now);
    let large = vec![1; 1 << 20];
    let wire = frame(Role::Server, FIN | BINARY, &large);
    assert_eq!(
        feed(&mut connection, now, &wire),
        [Seen::Message(MessageKind::Binary, large)]
    );
    assert_eq!(connection.held_bytes(), 0);
}
