//! The send queue: its strategies (R16), lateness (R20), and how messages of any size go out whole and in order.

mod common;

use std::time::{Duration, Instant};

use common::*;
use weirline_connection::{Cause, Config, Connection, MessageKind, SendError, Sent};
use weirline_flow::{BreakCause, QueueLimits, Strategy};

fn server(edit: impl FnOnce(&mut Config)) -> (Connection, Instant) {
    let now = start();
    (connection(Role::Server, &config(edit), now), now)
}

fn limited(messages: usize, bytes: usize, strategy: Strategy) -> (Connection, Instant) {
    server(|config| {
        config.send_queue = QueueLimits { messages, bytes };
        config.send_strategy = strategy;
    })
}

fn send(connection: &mut Connection, now: Instant, payload: &[u8]) -> Result<Sent, SendError> {
    connection.send(now, MessageKind::Binary, payload)
}

fn payloads(role: Role, wire: &[u8]) -> Vec<Vec<u8>> {
    messages(&parse(role, wire))
        .into_iter()
        .map(|(_, payload)| payload)
        .collect()
}

fn balanced(connection: &Connection) {
    let counters = connection.send_counters();
    assert!(counters.popped.messages + counters.dropped.messages <= counters.pushed.messages);
    if !connection.wants_transmit() {
        assert_eq!(
            counters.popped.messages + counters.dropped.messages,
            counters.pushed.messages
        );
        assert_eq!(
            counters.popped.bytes + counters.dropped.bytes,
            counters.pushed.bytes
        );
    }
}

#[test]
fn drop_oldest_drops_exactly_the_oldest() {
    // (bytes that the transport has taken before, which messages are left)
    let begun = [0, 1, 2, 4, 5];
    for taken in begun {
        let (mut connection, now) = limited(3, 1 << 20, Strategy::DropOldest);
        let mut dropped = 0;
        let mut wire = Vec::new();
        for n in 0..10u8 {
            let sent = send(&mut connection, now, &[n; 3]).unwrap();
            dropped += sent.dropped.messages;
            if n == 0 {
                wire.extend(take(&mut connection, now, taken));
            }
        }
        wire.extend(drain(&mut connection, now));
        let mut expect: Vec<Vec<u8>> = vec![vec![7; 3], vec![8; 3], vec![9; 3]];
        if taken > 0 {
            expect.insert(0, vec![0; 3]);
        }
        assert_eq!(
            payloads(Role::Server, &wire),
            expect,
            "{taken} bytes were taken before"
        );
        assert_eq!(dropped, if taken > 0 { 6 } else { 7 });
        assert_eq!(connection.send_counters().dropped.messages, dropped);
        balanced(&connection);
    }
}

#[test]
fn drop_oldest_among_large_and_small_messages() {
    let large = |n: u8| vec![n; 20_000];
    for taken in [0, 1, 7, 19_999, 20_003] {
        let (mut connection, now) = server(|config| {
            config.send_queue = QueueLimits {
                messages: 3,
                bytes: 1 << 20,
            };
            config.send_strategy = Strategy::DropOldest;
            config.fragment_bytes = 6000;
        });
        let mut wire = Vec::new();
        let _ = send(&mut connection, now, &large(0)).unwrap();
        wire.extend(take(&mut connection, now, taken));
        for n in 1..6u8 {
            let payload = if n % 2 == 0 { large(n) } else { vec![n; 5] };
            let _ = send(&mut connection, now, &payload).unwrap();
        }
        wire.extend(drain(&mut connection, now));
        let mut expect = vec![vec![3; 5], large(4), vec![5; 5]];
        if taken > 0 {
            expect.insert(0, large(0));
        }
        assert_eq!(payloads(Role::Server, &wire), expect, "{taken} taken before");
        balanced(&connection);
    }
}

#[test]
fn drop_oldest_by_bytes_says_how_many() {
    // 10 bytes cost 10 + 2 + 40.
    let (mut connection, now) = limited(100, 4 * 52, Strategy::DropOldest);
    for n in 0..4 {
        assert_eq!(
            send(&mut connection, now, &[n; 10]).unwrap().dropped.messages,
            0,
            "exact at the edge"
        );
    }
    let sent = send(&mut connection, now, &[4; 11]).unwrap();
    assert_eq!((sent.dropped.messages, sent.dropped.bytes), (2, 104));
    let sent = send(&mut connection, now, &[5; 10_000]).unwrap();
    assert_eq!(sent.dropped.messages, 3, "an empty queue takes any size");
    assert_eq!(
        payloads(Role::Server, &drain(&mut connection, now)),
        [vec![5; 10_000]]
    );
}

#[test]
fn pause_gives_the_message_back() {
    let (mut connection, now) = limited(2, 1 << 20, Strategy::Pause);
    let (one, two, three) = (b"one", b"two", b"three");
    let _ = send(&mut connection, now, one).unwrap();
    assert!(connection.has_room(10));
    let _ = send(&mut connection, now, two).unwrap();
    assert!(!connection.has_room(0));
    assert_eq!(connection.send_capacity(), 0);
    assert_eq!(send(&mut connection, now, three), Err(SendError::Full));
    assert_eq!(connection.send_counters().refused.messages, 1, "counted (R16)");
    assert!(connection.is_open());
    // A message that is begun has left the queue.
    let mut wire = take(&mut connection, now + 60 * SECOND, 1);
    let _ = send(&mut connection, now, three).unwrap();
    wire.extend(drain(&mut connection, now));
    assert_eq!(
        payloads(Role::Server, &wire),
        [&b"one"[..], &b"two"[..], &b"three"[..]]
    );
    assert!(
        connection.has_room(usize::MAX),
        "an empty queue takes one message of any size"
    );
}

#[test]
fn has_room_is_exact() {
    for role in ROLES {
        for (fragment, len) in [
            (1 << 16, 100),
            (1 << 16, 125),
            (1 << 16, 126),
            (1 << 16, 200_000),
            (126, 5_000),
            (126, 8_192),
            (1000, 65_536),
            (usize::MAX, 300_000),
        ] {
            // What is free beside one small message, so that the queue is not empty.
            let room_for = |free: usize| {
                let now = start();
                let config = config(|config| {
                    config.send_queue = QueueLimits {
                        messages: 10,
                        bytes: free,
                    };
                    config.send_strategy = Strategy::Pause;
                    config.fragment_bytes = fragment;
                    // Without a window the byte bound rules alone.
                    config.send_window_bytes = 0;
                });
                let mut connection = connection(role, &config, now);
                let _ = send(&mut connection, now, b"x").unwrap();
                let room = connection.has_room(len);
                let sent = send(&mut connection, now, &vec![7; len]);
                assert_eq!(sent.is_ok(), room, "has_room tells what send does");
                room.then(|| (drain(&mut connection, now), connection.send_counters()))
            };
            let wire_len = room_for(2 * len + 1000).expect("enough").0.len();
            let exact = wire_len + 2 * 40;
            let (_, counters) = room_for(exact).expect("room at the edge");
            assert_eq!(counters.popped.bytes, exact as u64);
            assert!(
                room_for(exact - 1).is_none(),
                "{role:?}: {len} in {fragment}: one byte too few"
            );
        }
    }
}

#[test]
fn break_when_full_says_why_and_ends() {
    for (messages, bytes) in [(2, 1 << 20), (100, 120)] {
        let (mut connection, now) = limited(messages, bytes, Strategy::BREAK);
        let _ = send(&mut connection, now, b"begun").unwrap();
        let mut wire = take(&mut connection, now, 3);
        for _ in 0..2 {
            let _ = send(&mut connection, now, b"queued").unwrap();
        }
        assert_eq!(
            send(&mut connection, now, &[0; 100]),
            Err(SendError::Broken),
            "R16"
        );
        assert_eq!(connection.send_counters().refused.messages, 1);
        assert_eq!(
            send(&mut connection, now, b""),
            Err(SendError::Closed),
            "broken once"
        );
        wire.extend(drain(&mut connection, now));
        let frames = parse(Role::Server, &wire);
        assert_eq!(frames.len(), 2, "the frame in hand, then the Close");
        assert_eq!(
            frames[1].payload,
            close_payload(1008, b"Backpressure: downstream saturated"),
            "R20"
        );
        assert_eq!(connection.send_counters().dropped.messages, 2);
        balanced(&connection);
        connection.handle_shutdown(now);
        connection.handle_eof(now);
        assert_eq!(
            connection.poll_end().unwrap().cause,
            Cause::Backpressure(BreakCause::Full)
        );
    }
}

#[test]
fn late_counts_from_entering_the_queue_and_an_empty_queue_is_never_late() {
    // R20
    let (mut connection, start) = server(|config| config.ping_interval = None);
    let late = |seconds: u32| start + seconds * SECOND;
    assert_eq!(connection.poll_timeout(), None, "empty");
    connection.handle_timeout(late(100));
    assert!(connection.is_open());
    let _ = send(&mut connection, late(100), b"a").unwrap();
    let _ = send(&mut connection, late(101), b"b").unwrap();
    assert_eq!(connection.poll_timeout(), Some(late(102)));
    // The first is begun: the second is the oldest that waits.
    take(&mut connection, late(101), 1);
    assert_eq!(connection.poll_timeout(), Some(late(103)));
    connection.handle_timeout(late(103) - Duration::from_nanos(1));
    assert!(connection.is_open());
    connection.handle_timeout(late(103));
    assert!(!connection.is_open());
    let (mut connection, now) = server(|_| {});
    let _ = send(&mut connection, now, b"a").unwrap();
    assert_eq!(
        send(&mut connection, now + 2 * SECOND, b"b"),
        Err(SendError::Broken),
        "a send notices too"
    );
}

#[test]
fn the_wait_of_what_left_is_told() {
    let (mut connection, now) = server(|_| {});
    let _ = send(&mut connection, now, b"a").unwrap();
    let _ = send(&mut connection, now + SECOND, b"b").unwrap();
    let transmitted = connection.handle_transmitted(now + SECOND, 1);
    assert_eq!((transmitted.messages, transmitted.longest_wait), (1, SECOND));
    let transmitted = connection.handle_transmitted(now + SECOND, 5);
    assert_eq!(
        (transmitted.messages, transmitted.longest_wait),
        (1, Duration::ZERO)
    );
}

#[test]
fn capacity_follows_what_waits() {
    let (mut connection, now) = server(|config| config.send_window_bytes = 1000);
    assert_eq!(connection.send_capacity(), 1000);
    let _ = send(&mut connection, now, &[0; 100]).unwrap();
    assert_eq!(
        connection.send_capacity(),
        1000 - 142,
        "each costs 40 and its header"
    );
    let _ = send(&mut connection, now, &[0; 20_000]).unwrap();
    assert_eq!(connection.send_capacity(), 0);
    // All but 500 bytes of the large message.
    take(&mut connection, now, 102 + 4 + 19_500);
    assert_eq!(connection.send_capacity(), 500);
    drain(&mut connection, now);
    assert_eq!(connection.send_capacity(), 1000);
    connection.close(now, code(1000), "");
    assert_eq!(connection.send_capacity(), 0);
}

/// A large message goes out in fragments, at every partial write, with what else is to be sent in its place.
#[test]
fn large_messages_let_control_frames_through() {
    for role in ROLES {
        for shared in [false, true] {
            for step in [1, 3, 125, 126, 131, 500, 10_000] {
                large_with_pings(role, shared, step);
            }
        }
    }
}

fn large_with_pings(role: Role, shared: bool, step: usize) {
    let now = start();
    let config = config(|config| config.fragment_bytes = 126);
    let mut connection = connection(role, &config, now);
    let payload: Vec<u8> = (0..1000u32).map(|n| n.to_le_bytes()[0]).collect();
    let sent = if shared {
        connection.send_shared(
            now,
            MessageKind::Binary,
            &payload[..20],
            payload[20..].to_vec().into(),
        )
    } else {
        connection.send(now, MessageKind::Binary, &payload)
    };
    assert_eq!(sent.unwrap().dropped.messages, 0);
    let _ = connection
        .send(now, MessageKind::Text, b"small, behind it")
        .unwrap();
    let (mut wire, mut pings) = (Vec::new(), 0u8);
    while connection.wants_transmit() {
        if wire.len() < 900 && wire.len() >= usize::from(pings) * 60 {
            let before = wire.len();
            feed(&mut connection, now, &frame(role, FIN | PING, &[pings]));
            pings += 1;
            assert!(
                before == 0 || connection.held_bytes() > 0,
                "the pong is queued at once"
            );
        }
        wire.extend(take_slices::<2>(&mut connection, now, step));
    }
    let frames = parse(role, &wire);
    assert_eq!(
        messages(&frames),
        [(BINARY, payload.clone()), (TEXT, b"small, behind it".to_vec())]
    );
    let pongs: Vec<_> = frames
        .iter()
        .filter(|frame| frame.opcode == PONG)
        .map(|frame| frame.payload[0])
        .collect();
    assert_eq!(pongs, (0..pings).collect::<Vec<_>>());
    if step < 126 {
        let last_pong = frames.iter().rposition(|frame| frame.opcode == PONG).unwrap();
        let last_fragment = frames
            .iter()
            .rposition(|frame| frame.opcode == CONTINUATION)
            .unwrap();
        assert!(
            last_pong < last_fragment,
            "pongs do not wait for the message (R8)"
        );
    }
    assert_eq!(connection.held_bytes(), 0);
}

#[test]
fn a_failure_in_a_large_message_ends_at_its_frame() {
    for role in ROLES {
        for taken in (0..300).chain([1000, 1500]) {
            let now = start();
            let config = config(|config| config.fragment_bytes = 126);
            let mut connection = connection(role, &config, now);
            let _ = connection.send(now, MessageKind::Binary, &[7; 1000]).unwrap();
            let mut wire = take_slices::<30>(&mut connection, now, taken);
            connection.fail_with(now, code(1011), "");
            let before = wire.len();
            wire.extend(drain(&mut connection, now));
            let frames = parse(role, &wire);
            assert_eq!(close_code(&frames), Some(1011));
            assert!(
                wire.len() - before <= 126 + 8 + 8,
                "only the frame in hand is finished"
            );
        }
    }
}

/// R19: a message and a reason can be said at the end of a failed connection, and never within another message (RFC 6455 §5.4).
#[test]
fn a_farewell_stands_before_the_close_and_in_no_message() {
    let last = Some((MessageKind::Text, &b"PAUSE"[..]));
    for role in ROLES {
        for taken in (0..300).chain([1000]) {
            let now = start();
            let config = config(|config| config.fragment_bytes = 126);
            let mut connection = connection(role, &config, now);
            assert_eq!(connection.farewell(last, "open"), Err(SendError::Closed));
            let _ = send(&mut connection, now, &[7; 500]).unwrap();
            let _ = send(&mut connection, now, b"never sent").unwrap();
            let mut wire = take_slices::<30>(&mut connection, now, taken);
            connection.fail_with(now, code(1008), "at first");
            let not_utf8 = Some((MessageKind::Text, &b"\xFF"[..]));
            assert_eq!(connection.farewell(not_utf8, ""), Err(SendError::NotUtf8));
            connection.farewell(None, "replaced").unwrap();
            connection.farewell(last, "at last").unwrap();
            wire.extend(drain(&mut connection, now));
            assert_eq!(connection.farewell(last, "sent"), Err(SendError::Closed));
            // `parse` refuses a message that begins within another.
            let frames = parse(role, &wire);
            let close = frames.last().unwrap();
            assert_eq!(close.payload, close_payload(1008, b"at last"), "{taken}");
            let begun = frames.first().is_some_and(|frame| !frame.fin);
            let whole = messages(&frames);
            let told = whole.last().is_some_and(|(_, payload)| payload == b"PAUSE");
            let finished = whole.iter().any(|(_, payload)| payload.len() == 500);
            assert_eq!(told, !begun || finished, "{taken} {frames:?}");
        }
    }
}

#[test]
fn a_prefix_of_any_length_belongs_to_the_message() {
    for role in ROLES {
        for fragment in [0, 126, 1000] {
            for prefix in [0, 1, 125, 126, 127, 252, 1000, 9000] {
                for payload in [0, 1, 126, 1000, 9000] {
                    let now = start();
                    let config = config(|config| config.fragment_bytes = fragment);
                    let mut connection = connection(role, &config, now);
                    let (prefix, payload) = (vec![1; prefix], vec![2; payload]);
                    let whole = [&prefix[..], &payload].concat();
                    let _ = connection
                        .send_shared(now, MessageKind::Binary, &prefix, payload.into())
                        .unwrap();
                    assert_eq!(payloads(role, &drain(&mut connection, now)), [whole]);
                }
            }
        }
    }
}

#[test]
fn clients_draw_a_key_for_each_frame() {
    let now = start();
    let config = config(|config| config.fragment_bytes = 126);
    let mut connection = connection(Role::Client, &config, now);
    let _ = connection.send(now, MessageKind::Binary, &[0; 400]).unwrap();
    let _ = connection.send(now, MessageKind::Binary, &[0; 4]).unwrap();
    let wire = drain(&mut connection, now);
    let frames = parse(Role::Client, &wire);
    let mut keys: Vec<&[u8]> = frames
        .iter()
        .map(|frame| &wire[frame.end - frame.payload.len() - 4..][..4])
        .collect();
    assert_eq!(keys.len(), 5);
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 5, "RFC 6455 §5.3: a fresh key for each frame");
}

#[test]
fn pings_are_answered_while_the_close_waits_for_messages() {
    // RFC 6455 §5.5.2: a pong is owed until a Close is received.
    for role in ROLES {
        let now = start();
        let mut connection = connection(role, &config(|_| {}), now);
        let _ = connection.send(now, MessageKind::Binary, &[7; 200_000]).unwrap();
        connection.close(now, code(1000), "");
        let mut wire = take(&mut connection, now, 1000);
        assert_eq!(
            feed(&mut connection, now, &frame(role, FIN | PING, b"still there?")).len(),
            1
        );
        let rest = connection.held_bytes() - 4;
        wire.extend(take(&mut connection, now, rest.min(150_000)));
        wire.extend(drain_but(&mut connection, now, 1));
        // Now the Close is begun: nothing may come before its rest.
        feed(&mut connection, now, &frame(role, FIN | PING, b"too late"));
        wire.extend(drain(&mut connection, now));
        let frames = parse(role, &wire);
        let pongs: Vec<_> = frames.iter().filter(|frame| frame.opcode == PONG).collect();
        assert_eq!(pongs.len(), 1);
        assert_eq!(pongs[0].payload, b"still there?");
        assert_eq!(messages(&frames).len(), 1);
        assert_eq!(frames.last().unwrap().opcode, CLOSE);
    }
}

/// Lets the transport take everything but the last `keep` bytes.
fn drain_but(connection: &mut Connection, now: Instant, keep: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    while connection.held_bytes() > keep {
        let max = connection.held_bytes() - keep;
        wire.extend(take(connection, now, max));
    }
    wire
}

#[test]
fn the_headers_of_all_fragments_are_part_of_what_a_message_costs() {
    for strategy in [Strategy::DropOldest, Strategy::Pause, Strategy::BREAK] {
        let (mut connection, now) = server(|config| {
            config.send_queue.bytes = 200 + 41 + 1300 + 40;
            config.send_strategy = strategy;
            config.fragment_bytes = 126;
        });
        let _ = send(&mut connection, now, &[1; 190]).unwrap();
        let second = send(&mut connection, now, &[2; 1290]);
        match strategy {
            Strategy::DropOldest => assert_eq!(second.unwrap().dropped.messages, 1),
            Strategy::Pause => assert_eq!(second, Err(SendError::Full)),
            _ => assert_eq!(second, Err(SendError::Broken)),
        }
    }
}

/// A producer that respects the send window never meets the byte bound, whatever the size of its messages.
#[test]
fn below_the_window_one_message_of_any_size_is_taken() {
    for strategy in [Strategy::BREAK, Strategy::Pause, Strategy::DropOldest] {
        let config = config(|config| config.send_strategy = strategy);
        let now = start();
        let mut connection = connection(Role::Server, &config, now);
        for payload in [&[1; 16][..], &[2; 8 << 20]] {
            assert!(connection.send_capacity() > 0);
            let sent = connection.send(now, MessageKind::Binary, payload).unwrap();
            assert_eq!(sent.dropped.messages, 0, "{strategy:?}");
        }
        assert_eq!(connection.send_capacity(), 0);
        assert!(!connection.has_room(1));
    }
}
