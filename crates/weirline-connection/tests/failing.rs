//! A peer that breaks the protocol still gets the answers to what it sent before: they stand before the Close frame, as they do in
//! an orderly end. What the application fails by itself is given up (see `closing.rs`).

mod common;

use common::*;
use weirline_connection::{Cause, MessageKind};

/// Whole frames that no peer may send, as the first byte and the payload.
const VIOLATIONS: [(u8, &[u8], u16); 6] = [
    (FIN | 0x40 | TEXT, b"a reserved bit", 1002),
    (FIN | 0x3, b"a reserved opcode", 1002),
    (FIN | 0xB, b"a reserved control opcode", 1002),
    (FIN | CONTINUATION, b"nothing to continue", 1002),
    (PING, b"a control frame in fragments", 1002),
    (FIN | TEXT, b"not UTF-8: \xFF", 1007),
];

#[test]
fn what_was_queued_before_a_violation_goes_out_before_the_close() {
    for role in ROLES {
        // One frame, several, and a message in fragments of which the transport has taken a part.
        for (lens, taken) in [
            (&[5][..], 0),
            (&[5, 0, 7], 3),
            (&[50_000, 9], 0),
            (&[50_000, 9], 30_000),
        ] {
            for (first, payload, close) in VIOLATIONS {
                let now = start();
                let config = config(|config| config.fragment_bytes = 1000);
                let mut connection = connection(role, &config, now);
                let answers: Vec<Vec<u8>> = lens.iter().map(|len| vec![b'a'; *len]).collect();
                for answer in &answers {
                    let _ = connection.send(now, MessageKind::Binary, answer).unwrap();
                }
                let mut wire = take_slices::<32>(&mut connection, now, taken);
                let ping = frame(role, FIN | PING, b"before");
                let behind = frame(role, FIN | TEXT, b"not looked at");
                let input = [ping, frame(role, first, payload), behind].concat();
                assert_eq!(
                    feed(&mut connection, now, &input),
                    [Seen::Ping(b"before".to_vec())]
                );
                assert!(!connection.is_open());
                wire.extend(drain(&mut connection, now));

                let frames = parse(role, &wire);
                let sent: Vec<Vec<u8>> = messages(&frames).into_iter().map(|(_, bytes)| bytes).collect();
                assert_eq!(sent, answers, "{role:?} {payload:?}");
                assert_eq!(close_code(&frames), Some(close), "{role:?} {payload:?}");
                let pong = frames.iter().find(|frame| frame.opcode == PONG).unwrap();
                assert_eq!(pong.payload, b"before");
            }
        }
    }
}

/// The answers are owed for as long as a Close frame is, and no longer.
#[test]
fn a_peer_that_breaks_the_protocol_and_reads_nothing_holds_them_for_the_close_timeout() {
    for role in ROLES {
        let now = start();
        let config = config(|config| config.write_stall_timeout = 1000 * SECOND);
        let mut connection = connection(role, &config, now);
        let _ = connection.send(now, MessageKind::Binary, &[7; 100_000]).unwrap();
        feed(&mut connection, now, &frame(role, FIN | 0x3, b""));
        assert_eq!(connection.poll_timeout(), Some(now + config.close_timeout));
        connection.handle_timeout(now + config.close_timeout);
        let end = connection.poll_end().expect("its time is over");
        assert!(matches!(end.cause, Cause::Protocol(_)), "{end:?}");
        assert_eq!(end.sent, None, "the Close frame was not sent");
    }
}
