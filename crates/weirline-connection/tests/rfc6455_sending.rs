//! What RFC 6455 asks of a sender: each MUST over everything that a connection puts on the wire, on both sides.

mod common;

use std::time::Instant;

use common::*;
use weirline_connection::{Connection, MessageKind, SendError};

/// The opcodes of a wire that has every kind of frame that a connection can send.
const EVERY_KIND: [u8; 7] = [TEXT, BINARY, CONTINUATION, CONTINUATION, PONG, PING, CLOSE];

/// Makes a connection send every kind of frame, and returns the wire.
fn every_kind(role: Role) -> Vec<u8> {
    let now = start();
    let config = config(|config| config.fragment_bytes = 126);
    let mut connection = connection(role, &config, now);
    let _ = connection.send(now, MessageKind::Text, b"text").expect("room");
    let _ = connection
        .send(now, MessageKind::Binary, &[7; 300])
        .expect("room");
    let mut wire = drain(&mut connection, now);
    feed(&mut connection, now, &frame(role, FIN | PING, b"answer this"));
    wire.extend(drain(&mut connection, now));
    let due = connection.poll_timeout().expect("a ping is due");
    connection.handle_timeout(due);
    wire.extend(drain(&mut connection, due));
    connection.close(due, code(4000), "over");
    wire.extend(drain(&mut connection, due));
    wire
}

/// The first two bytes of each frame, read without the rules that the tests' parser takes for granted.
fn heads(mut wire: &[u8]) -> Vec<(u8, u8)> {
    let mut heads = Vec::new();
    while let [first, second, rest @ ..] = wire {
        heads.push((*first, *second));
        let (len, extended) = match second & 0x7F {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), 2),
            127 => panic!("no frame of these tests is as long"),
            short => (usize::from(short), 0),
        };
        let key = if second & 0x80 == 0 { 0 } else { 4 };
        wire = &rest[extended + key + len..];
    }
    heads
}

#[test]
fn every_frame_of_a_client_is_masked_and_none_of_a_server() {
    // RFC 6455 §5.1, §5.3, §6.1
    for role in ROLES {
        let wire = every_kind(role);
        let heads = heads(&wire);
        let opcodes: Vec<u8> = heads.iter().map(|(first, _)| first & 0xF).collect();
        assert_eq!(opcodes, EVERY_KIND, "{role:?}");
        let masked = heads.iter().filter(|(_, second)| second & 0x80 != 0).count();
        let expect = if role == Role::Client { heads.len() } else { 0 };
        assert_eq!(masked, expect, "{role:?}");
        // What is masked is the payload, with the key in front of it.
        let frames = parse(role, &wire);
        assert_eq!(
            messages(&frames),
            [(TEXT, b"text".to_vec()), (BINARY, vec![7; 300])]
        );
        assert_eq!(frames[4].payload, b"answer this");
        assert_eq!(frames[6].payload, close_payload(4000, b"over"));
    }
}

#[test]
fn no_frame_has_a_reserved_bit_or_opcode() {
    // RFC 6455 §5.2, §9.1: no extension is negotiated, so that nothing gives them a meaning.
    for role in ROLES {
        for (first, _) in heads(&every_kind(role)) {
            assert_eq!(first & 0x70, 0, "{role:?}: {first:#x}");
            assert!(
                matches!(first & 0xF, 0..=2 | 8..=10),
                "{role:?}: reserved opcode {first:#x}"
            );
        }
    }
}

#[test]
fn messages_go_out_whole_one_behind_the_other() {
    // RFC 6455 §5.4, §6.1: the kind in the first frame, FIN in the last one alone, no fragment of another message between.
    let lens = [0, 1, 125, 126, 127, 252, 253, 9000, 70_000, 3];
    for role in ROLES {
        let now = start();
        let config = config(|config| config.fragment_bytes = 126);
        let mut connection = connection(role, &config, now);
        let mut sent = Vec::new();
        let mut wire = Vec::new();
        for (n, len) in (0u8..).zip(lens) {
            let (kind, opcode) = if n % 2 == 0 {
                (MessageKind::Text, TEXT)
            } else {
                (MessageKind::Binary, BINARY)
            };
            let payload: Vec<u8> = (0..len).map(|i: u32| b'0' + (i % 75) as u8).collect();
            let _ = connection.send(now, kind, &payload).expect("room");
            sent.push((opcode, payload));
            // The transport takes a little in between, so that a message is under way when the next one comes.
            wire.extend(take(&mut connection, now, 50));
        }
        wire.extend(drain(&mut connection, now));
        let frames = parse(role, &wire);
        assert_eq!(messages(&frames), sent, "{role:?}");
        let fins = frames.iter().filter(|frame| frame.fin).count();
        assert_eq!(fins, lens.len(), "one last frame for each message, {role:?}");
        let firsts = frames.iter().filter(|frame| frame.opcode != CONTINUATION).count();
        assert_eq!(firsts, lens.len(), "one first frame for each message, {role:?}");
    }
}

type Event = fn(&mut Connection, Role, Instant);

/// RFC 6455 §5.5.1, §6.1: data is sent in the open state alone, and nothing goes behind our Close.
#[test]
fn no_data_is_sent_once_the_closing_handshake_is_started() {
    let events: [(&str, u16, Event); 4] = [
        ("we close", 1000, |connection, _, now| {
            connection.close(now, code(1000), "");
        }),
        ("the peer closes", 1001, |connection, role, now| {
            feed(
                connection,
                now,
                &frame(role, FIN | CLOSE, &close_payload(1001, b"")),
            );
        }),
        ("we fail the connection", 1011, |connection, _, now| {
            connection.fail_with(now, code(1011), "");
        }),
        ("the peer breaks the protocol", 1002, |connection, role, now| {
            feed(connection, now, &frame(role, FIN | 0xF, b""));
        }),
    ];
    for role in ROLES {
        for (name, close, event) in events {
            let now = start();
            let mut connection = connection(role, &config(|_| {}), now);
            event(&mut connection, role, now);
            let refuse = |connection: &mut Connection| {
                for kind in [MessageKind::Text, MessageKind::Binary] {
                    let refused = connection.send(now, kind, b"late");
                    assert_eq!(refused, Err(SendError::Closed), "{name}, {role:?}");
                }
            };
            refuse(&mut connection);
            let frames = parse(role, &drain(&mut connection, now));
            assert_eq!((frames.len(), close_code(&frames)), (1, Some(close)), "{name}");
            refuse(&mut connection);
            feed(&mut connection, now, &frame(role, FIN | PING, b"late"));
            connection.close(now, code(1000), "once more");
            assert!(
                !connection.wants_transmit(),
                "something goes behind the Close: {name}, {role:?}"
            );
        }
    }
}

/// RFC 6455 §6.1: what is queued when the connection fails is not sent any more, whatever its size; what is under way ends at
/// its frame.
#[test]
fn a_failure_stops_what_is_being_sent() {
    for role in ROLES {
        for len in [10, 100_000] {
            for begun in [0, 1] {
                let now = start();
                let mut connection = connection(role, &config(|_| {}), now);
                for _ in 0..3 {
                    let _ = connection
                        .send(now, MessageKind::Binary, &vec![7; len])
                        .expect("room");
                }
                let mut wire = take(&mut connection, now, begun);
                connection.fail_with(now, code(1011), "");
                wire.extend(drain(&mut connection, now));
                let opcodes: Vec<u8> = parse_prefix(role, &wire)
                    .0
                    .iter()
                    .map(|frame| frame.opcode)
                    .collect();
                let expect = [&[BINARY][..begun], &[CLOSE]].concat();
                assert_eq!(opcodes, expect, "{role:?}, {len} bytes, {begun} begun");
            }
        }
    }
}
