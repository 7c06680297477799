//! Deadlines: keepalive (R6), refusing to read, stalled writes, closing; and that each one that comes is acted on.

mod common;

use std::time::{Duration, Instant};

use common::*;
use weirline_connection::{Cause, CloseCode, Config, Connection, Delivery, MessageKind, ProtocolError};
use weirline_flow::{BreakCause, Strategy};

fn server(edit: impl FnOnce(&mut Config)) -> (Connection, Instant) {
    let now = start();
    (connection(Role::Server, &config(edit), now), now)
}

/// The only ping on the wire.
fn sent_ping(role: Role, wire: &[u8]) -> Vec<u8> {
    let frames = parse(role, wire);
    assert_eq!((frames.len(), frames[0].opcode), (1, PING));
    frames[0].payload.clone()
}

fn cause(connection: &Connection) -> Option<Cause> {
    connection.poll_end().map(|end| end.cause.clone())
}

#[test]
fn keepalive_pings_and_measures() {
    for role in ROLES {
        let start = start();
        let mut connection = connection(role, &config(|_| {}), start);
        for round in 0..3u32 {
            let due = connection.poll_timeout().unwrap();
            assert_eq!(
                due,
                start + 30 * SECOND * (round + 1),
                "one ping every 30 s, whenever the pong came"
            );
            connection.handle_timeout(due - SECOND / 1000);
            assert!(!connection.wants_transmit(), "calling it early does nothing");
            connection.handle_timeout(due);
            let ping = sent_ping(role, &drain(&mut connection, due));
            assert_eq!(connection.poll_timeout(), Some(due + 10 * SECOND));
            let pong = frame(role, FIN | PONG, &ping);
            let later = due + SECOND;
            assert_eq!(
                feed(&mut connection, later, &pong),
                [Seen::Pong(Some(SECOND))],
                "the round trip is measured"
            );
            assert_eq!(
                feed(&mut connection, later, &pong),
                [Seen::Pong(None)],
                "once for each ping"
            );
        }
    }
}

#[test]
fn a_silent_peer_is_given_up_after_the_ping_timeout() {
    for role in ROLES {
        let start = start();
        let mut connection = connection(role, &config(|_| {}), start);
        let due = start + 30 * SECOND;
        connection.handle_timeout(due);
        drain(&mut connection, due);
        connection.handle_timeout(due + 9 * SECOND);
        assert!(connection.is_open());
        connection.handle_timeout(due + 10 * SECOND);
        let frames = parse(role, &drain(&mut connection, due + 10 * SECOND));
        assert_eq!(close_code(&frames), Some(1011));
        wait_for_end(&mut connection);
        assert_eq!(cause(&connection), Some(Cause::PingTimeout));
    }
}

#[test]
fn anything_heard_puts_the_verdict_off_but_an_empty_read_does_not() {
    let ping_at = |connection: &mut Connection, start: Instant| {
        connection.handle_timeout(start + 30 * SECOND);
        drain(connection, start + 30 * SECOND);
    };
    let (mut connection, start) = server(|_| {});
    ping_at(&mut connection, start);
    feed(&mut connection, start + 39 * SECOND, &[FIN | TEXT]);
    assert_eq!(connection.poll_timeout(), Some(start + 49 * SECOND));
    let (mut connection, start) = server(|_| {});
    ping_at(&mut connection, start);
    let mut nothing = weirline_connection::Input::new(&mut []);
    assert!(
        connection
            .handle_input(start + 39 * SECOND, &mut nothing)
            .is_none()
    );
    assert_eq!(connection.poll_timeout(), Some(start + 40 * SECOND));
}

#[test]
fn keepalive_can_be_off() {
    let (connection, _) = server(|config| config.ping_interval = None);
    assert_eq!(connection.poll_timeout(), None);
}

#[test]
fn refusing_to_read_suspends_ping_timeouts_for_a_while() {
    let (mut connection, start) = server(|_| {});
    connection.handle_timeout(start + 30 * SECOND);
    drain(&mut connection, start + 30 * SECOND);
    connection.handle_reading(start + 35 * SECOND, false);
    connection.handle_reading(start + 40 * SECOND, false);
    assert_eq!(
        connection.poll_timeout(),
        Some(start + 95 * SECOND),
        "pause_max counts from the first refusal"
    );
    connection.handle_timeout(start + 90 * SECOND);
    assert!(connection.is_open(), "the pong may be among what was not read");
    connection.handle_reading(start + 90 * SECOND, true);
    assert_eq!(
        connection.poll_timeout(),
        Some(start + 100 * SECOND),
        "the whole ping timeout again"
    );
    connection.handle_timeout(start + 100 * SECOND);
    assert!(!connection.is_open());
}

#[test]
fn refusing_to_read_for_too_long_is_1008() {
    let (mut connection, start) = server(|config| config.pause_max = 5 * SECOND);
    connection.handle_reading(start, false);
    connection.handle_timeout(start + 5 * SECOND);
    let frames = parse(Role::Server, &drain(&mut connection, start + 5 * SECOND));
    assert_eq!(close_code(&frames), Some(1008));
    wait_for_end(&mut connection);
    assert_eq!(cause(&connection), Some(Cause::PausedTooLong));
}

/// A frame that has begun brings 1 KiB in each 60 s, or its end; a pause of the application's own does not count.
#[test]
fn a_frame_that_does_not_arrive_is_1008() {
    let begin = |len: usize| {
        let mut bytes = frame(Role::Server, FIN | BINARY, &vec![7; len]);
        bytes.truncate(10);
        bytes
    };
    // What comes after 59 s, and whether the connection is open after 60 s, and after 119 s.
    let cases: [(&str, &[u8], bool, bool); 5] = [
        ("nothing", &[], false, false),
        ("a byte less than it must", &[0; 1023], false, false),
        ("as much as it must, once", &[0; 1024], true, true),
        ("its end", &[0; 4000 - 2], true, true),
        ("its end and a header's beginning", &[0; 4000 - 1], true, true),
    ];
    for (name, rest, after_a_minute, after_two) in cases {
        for in_bytes in [false, true] {
            let (mut connection, start) = server(|config| config.ping_interval = None);
            assert_eq!(connection.poll_timeout(), None, "{name}: nothing has begun");
            feed(&mut connection, start, &begin(4000));
            assert_eq!(connection.poll_timeout(), Some(start + 60 * SECOND), "{name}");
            let late = start + 59 * SECOND;
            for piece in rest.chunks(if in_bytes { 1 } else { 4096 }) {
                feed(&mut connection, late, piece);
            }
            connection.handle_timeout(start + 60 * SECOND);
            assert_eq!(connection.is_open(), after_a_minute, "{name}");
            if !after_a_minute {
                let frames = parse(Role::Server, &drain(&mut connection, start + 60 * SECOND));
                assert_eq!(close_code(&frames), Some(1008), "{name}");
                wait_for_end(&mut connection);
                let expect = Cause::Protocol(ProtocolError::FrameTooSlow);
                assert_eq!(cause(&connection), Some(expect), "{name}");
            }
            connection.handle_timeout(start + 118 * SECOND);
            assert_eq!(connection.is_open(), after_two, "{name}");
        }
    }
}

/// Parts that are handed on are no progress by themselves, nor is what came before a pause.
#[test]
fn a_frame_that_drips_is_1008_in_parts_and_behind_a_pause_too() {
    let whole = frame(Role::Server, FIN | BINARY, &[7; 4000]);
    let (mut connection, start) = server(|config| {
        config.ping_interval = None;
        config.delivery = Delivery::Parts;
    });
    for (second, byte) in whole[..60].chunks(1).enumerate() {
        feed(
            &mut connection,
            start + SECOND * u32::try_from(second).unwrap(),
            byte,
        );
    }
    connection.handle_timeout(start + 62 * SECOND);
    assert!(!connection.is_open());

    let (mut connection, start) = server(|config| {
        config.ping_interval = None;
        config.pause_max = 600 * SECOND;
    });
    feed(&mut connection, start, &whole[..10]);
    feed(&mut connection, start + SECOND, &whole[10..2000]);
    connection.handle_reading(start + 2 * SECOND, false);
    connection.handle_reading(start + 500 * SECOND, true);
    connection.handle_timeout(start + 560 * SECOND);
    assert!(!connection.is_open());
}

#[test]
fn a_frame_may_wait_while_the_application_does_not_read() {
    let (mut connection, start) = server(|config| {
        config.ping_interval = None;
        config.pause_max = 600 * SECOND;
    });
    feed(
        &mut connection,
        start,
        &frame(Role::Server, FIN | BINARY, &[7; 4000])[..10],
    );
    connection.handle_reading(start + 59 * SECOND, false);
    connection.handle_timeout(start + 500 * SECOND);
    assert!(connection.is_open());
    connection.handle_reading(start + 500 * SECOND, true);
    assert_eq!(connection.poll_timeout(), Some(start + 560 * SECOND));
    connection.handle_timeout(start + 560 * SECOND);
    assert!(!connection.is_open());
}

/// A stream of fragments may pause between them for as long as it likes.
#[test]
fn a_message_may_take_its_time_between_frames() {
    let (mut connection, start) = server(|config| config.ping_interval = None);
    for (at, opcode) in [(0, BINARY), (100, 0), (300, 0)] {
        feed(
            &mut connection,
            start + at * SECOND,
            &frame(Role::Server, opcode, &[7; 10]),
        );
        assert_eq!(connection.poll_timeout(), None);
    }
}

#[test]
fn a_transport_that_takes_nothing_is_given_up() {
    let (mut connection, start) = server(|config| {
        config.send_strategy = Strategy::Pause;
        config.write_progress_bytes_min = 1;
    });
    let _ = connection
        .send(start + SECOND, MessageKind::Text, b"stuck")
        .unwrap();
    assert_eq!(connection.poll_timeout(), Some(start + 11 * SECOND));
    // One byte is progress; an attempt that took none is not.
    take(&mut connection, start + 8 * SECOND, 1);
    let _ = connection.handle_transmitted(start + 9 * SECOND, 0);
    let _ = connection
        .send(start + 12 * SECOND, MessageKind::Text, b"more")
        .unwrap();
    assert_eq!(connection.poll_timeout(), Some(start + 18 * SECOND));
    connection.handle_timeout(start + 18 * SECOND);
    assert_eq!(cause(&connection), Some(Cause::WriteStalled));
}

#[test]
fn an_empty_output_never_stalls() {
    let (mut connection, start) = server(|config| config.ping_interval = None);
    let _ = connection.send(start, MessageKind::Text, b"gone").unwrap();
    drain(&mut connection, start);
    assert_eq!(connection.poll_timeout(), None);
    let later = start + 1000 * SECOND;
    let _ = connection.send(later, MessageKind::Text, b"again").unwrap();
    assert_eq!(
        connection.poll_timeout(),
        Some(later + 2 * SECOND),
        "queued just then"
    );
}

#[test]
fn closing_has_deadlines() {
    let (mut connection, start) = server(|_| {});
    connection.close(start, CloseCode::NORMAL, "");
    drain(&mut connection, start + SECOND);
    assert_eq!(
        connection.poll_timeout(),
        Some(start + 6 * SECOND),
        "close_timeout, once it is sent"
    );
    feed(
        &mut connection,
        start + 5 * SECOND,
        &frame(Role::Server, FIN | CLOSE, b""),
    );
    assert_eq!(connection.poll_timeout(), Some(start + 7 * SECOND), "eof_timeout");
    connection.handle_timeout(start + 7 * SECOND);
    assert_eq!(cause(&connection), Some(Cause::ClosedLocally));
}

#[test]
fn a_peer_too_slow_gets_a_second_to_read_why() {
    let (mut connection, start) = server(|_| {});
    let _ = connection.send(start, MessageKind::Text, b"waits").unwrap();
    let late = start + 2 * SECOND;
    assert_eq!(connection.poll_timeout(), Some(late));
    connection.handle_timeout(late);
    assert_eq!(connection.poll_timeout(), Some(late + SECOND));
    connection.handle_timeout(late + SECOND);
    assert_eq!(cause(&connection), Some(Cause::Backpressure(BreakCause::Late)));
}

#[test]
fn the_longest_durations_mean_never() {
    for role in ROLES {
        let now = start();
        let forever = config(|config| {
            config.ping_interval = Some(Duration::MAX);
            config.ping_timeout = Duration::MAX;
            config.pause_max = Duration::MAX;
            config.write_stall_timeout = Duration::MAX;
            config.close_timeout = Duration::MAX;
            config.eof_timeout = Duration::MAX;
            config.send_strategy = Strategy::Break {
                max_latency: Duration::MAX,
            };
        });
        let mut connection = connection(role, &forever, now);
        let _ = connection.send(now, MessageKind::Text, b"x").unwrap();
        connection.handle_reading(now, false);
        connection.handle_timeout(now + SECOND);
        assert_eq!(connection.poll_timeout(), None);
        connection.close(now, CloseCode::NORMAL, "");
        drain(&mut connection, now);
        connection.handle_timeout(now + SECOND);
        assert_eq!(connection.poll_timeout(), None);
        feed(&mut connection, now, &frame(role, FIN | CLOSE, b""));
        connection.handle_timeout(now + SECOND);
        assert_eq!((connection.poll_timeout(), connection.poll_end()), (None, None));
    }
    let (mut connection, start) = server(|config| {
        config.ping_interval = Some(SECOND);
        config.ping_timeout = Duration::MAX;
    });
    connection.handle_timeout(start + SECOND);
    drain(&mut connection, start + SECOND);
    assert_eq!(connection.poll_timeout(), None);
}

/// A peer that takes a byte now and then must not hold what waits for it for ever, open or closing.
#[test]
fn a_transport_that_only_drips_is_given_up() {
    for close in [false, true] {
        let (mut connection, start) = server(|config| {
            config.ping_interval = None;
            config.send_strategy = Strategy::Pause;
        });
        let _ = connection
            .send(start, MessageKind::Binary, &[7; 1 << 20])
            .unwrap();
        if close {
            connection.close(start, CloseCode::GOING_AWAY, "");
        }
        let mut now = start;
        while connection.poll_end().is_none() {
            now += 3 * SECOND;
            assert!(now < start + 60 * SECOND, "closing: {close}");
            advance_to(&mut connection, now);
            let _ = take(&mut connection, now, 1);
        }
        assert_eq!(cause(&connection), Some(Cause::WriteStalled), "closing: {close}");
    }
}

/// Why a connection was failed is not forgotten because its Close frame does not get through either.
#[test]
fn a_failure_stays_the_cause_when_the_transport_stalls() {
    let slow = Strategy::Break {
        max_latency: 9 * SECOND + SECOND / 2,
    };
    for (strategy, ping_interval, expected) in [
        (slow, None, Cause::Backpressure(BreakCause::Late)),
        (Strategy::Pause, Some(6 * SECOND), Cause::PingTimeout),
    ] {
        let (mut connection, start) = server(|config| {
            config.send_strategy = strategy;
            config.ping_interval = ping_interval;
            config.ping_timeout = 3 * SECOND;
        });
        let _ = connection.send(start, MessageKind::Text, b"stuck").unwrap();
        while connection.is_open() {
            let due = connection.poll_timeout().unwrap();
            assert!(due < start + 10 * SECOND, "the write stall is not due yet");
            connection.handle_timeout(due);
        }
        let failed = connection.failure().cloned();
        assert_eq!(failed.as_ref(), Some(&expected));
        assert_eq!(connection.poll_timeout(), Some(start + 10 * SECOND));
        connection.handle_timeout(start + 10 * SECOND);
        assert_eq!(cause(&connection), failed);
    }
}

/// What is slow but moves is not given up: 1 KiB per 10 s is the least.
#[test]
fn a_slow_transport_that_moves_is_kept() {
    let (mut connection, start) = server(|config| {
        config.ping_interval = None;
        config.send_strategy = Strategy::Pause;
    });
    let _ = connection
        .send(start, MessageKind::Binary, &[7; 64 << 10])
        .unwrap();
    let mut now = start;
    while connection.wants_transmit() {
        now += 9 * SECOND;
        advance_to(&mut connection, now);
        assert_eq!(connection.poll_end(), None);
        let _ = take(&mut connection, now, 1024);
    }
}

/// A ping stands behind what the kernel holds. That a blocked transport takes more proves that the peer acknowledges.
#[test]
fn a_slow_reader_of_bulk_data_is_not_called_dead() {
    let (mut connection, start) = server(|config| config.send_strategy = Strategy::Pause);
    let _ = connection
        .send(start, MessageKind::Binary, &[7; 8 << 20])
        .unwrap();
    let mut now = start;
    while now < start + 80 * SECOND {
        now += SECOND;
        advance_to(&mut connection, now);
        assert_eq!(connection.poll_end(), None, "after {:?}", now - start);
        let _ = take(&mut connection, now, 64 << 10);
    }
    // When it stops taking anything, it is found dead all the same.
    advance_to(&mut connection, now + 11 * SECOND);
    assert!(connection.poll_end().is_some() || !connection.is_open());
}
