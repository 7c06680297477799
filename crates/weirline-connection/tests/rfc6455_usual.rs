//! The usual message, small and in one frame, goes a short way, in and out. What RFC 6455 asks of any message holds there too.

mod common;

use common::*;
use weirline_connection::{Delivery, MessageKind, SendError};

/// What comes of a wire that arrives in one read.
fn outcome(role: Role, limit: u64, wire: &[u8]) -> (Vec<Seen>, Option<u16>) {
    let now = start();
    let config = config(|config| {
        config.text_bytes_max = limit;
        config.binary_bytes_max = limit;
    });
    let mut connection = connection(role, &config, now);
    let seen = feed(&mut connection, now, wire);
    (seen, close_code(&parse(role, &drain(&mut connection, now))))
}

#[test]
fn a_small_frame_that_is_masked_wrongly_is_refused() {
    // RFC 6455 §5.1: also where what stands behind it would fit a frame of the right kind.
    for role in ROLES {
        let wrong = (role == Role::Client).then_some([7, 11, 13, 17]);
        for first in [FIN | TEXT, FIN | BINARY] {
            let bad = frame_with_key(wrong, first, b"hello");
            let good = frame(role, FIN | BINARY, b"good");
            let wire = [good.clone(), bad, good.repeat(3)].concat();
            assert_eq!(
                outcome(role, 1000, &wire),
                (vec![binary(b"good")], Some(1002)),
                "{role:?}"
            );
        }
    }
}

#[test]
fn a_small_text_that_is_not_utf8_is_refused() {
    // RFC 6455 §5.6, §8.1
    for role in ROLES {
        for bad in [&b"\xff"[..], b"\xe2\x82", b"ok\xc0\xaf", b"\xed\xa0\x80"] {
            let good = frame(role, FIN | TEXT, "€".as_bytes());
            let wire = [good.clone(), frame(role, FIN | TEXT, bad), good].concat();
            assert_eq!(
                outcome(role, 1000, &wire),
                (vec![text("€")], Some(1007)),
                "{role:?}: {bad:x?}"
            );
            let as_binary = frame(role, FIN | BINARY, bad);
            assert_eq!(outcome(role, 1000, &as_binary), (vec![binary(bad)], None));
        }
    }
}

#[test]
fn a_small_message_over_a_smaller_limit_is_refused() {
    // RFC 6455 §10.4
    for role in ROLES {
        for opcode in [TEXT, BINARY] {
            for limit in [0, 1, 60, 124, 125] {
                let most = vec![b'x'; usize::try_from(limit).unwrap()];
                let over = [&most[..], b"x"].concat();
                let wire = [frame(role, FIN | opcode, &most), frame(role, FIN | opcode, &over)].concat();
                let kind = if opcode == TEXT {
                    MessageKind::Text
                } else {
                    MessageKind::Binary
                };
                let expect = (vec![Seen::Message(kind, most)], Some(1009));
                assert_eq!(outcome(role, limit, &wire), expect, "{role:?}: {limit}");
            }
        }
    }
}

#[test]
fn a_small_message_within_another_is_refused() {
    // RFC 6455 §5.4
    for role in ROLES {
        for delivery in [Delivery::Messages, Delivery::Parts] {
            let now = start();
            let config = config(|config| config.delivery = delivery);
            let mut connection = connection(role, &config, now);
            feed(&mut connection, now, &frame(role, TEXT, b"begun"));
            let within = frame(role, FIN | TEXT, b"within").repeat(2);
            assert_eq!(feed(&mut connection, now, &within), []);
            let frames = parse(role, &drain(&mut connection, now));
            assert_eq!(close_code(&frames), Some(1002), "{role:?}");
        }
    }
}

/// RFC 6455 §5.6, §6.1: also behind a message that waits, where another one of the same moment would only be put beside it.
#[test]
fn small_messages_of_ours_are_judged_behind_others_too() {
    for role in ROLES {
        let now = start();
        let mut connection = connection(role, &config(|_| {}), now);
        let _ = connection.send(now, MessageKind::Text, b"first").expect("room");
        let _ = connection.send(now, MessageKind::Text, b"second").expect("room");
        for bad in [&b"\xff"[..], b"\xe2\x82"] {
            let refused = connection.send(now, MessageKind::Text, bad);
            assert_eq!(refused, Err(SendError::NotUtf8), "{role:?}");
        }
        let _ = connection.send(now, MessageKind::Binary, b"\xff").expect("room");
        connection.close(now, code(1000), "");
        for kind in [MessageKind::Text, MessageKind::Binary] {
            assert_eq!(
                connection.send(now, kind, b"late"),
                Err(SendError::Closed),
                "{role:?}"
            );
        }
        let frames = parse(role, &drain(&mut connection, now));
        let expect = [
            (TEXT, b"first".to_vec()),
            (TEXT, b"second".to_vec()),
            (BINARY, b"\xff".to_vec()),
        ];
        assert_eq!(messages(&frames), expect);
        assert!(frames.iter().all(|frame| frame.fin), "each in one frame");
        assert_eq!(close_code(&frames), Some(1000));
    }
}

/// RFC 6455 §6.1, §7.1.3: once the peer's Close is here no data is sent, not even last words; the reason can still be told.
#[test]
fn no_last_words_behind_the_peers_close() {
    for role in ROLES {
        for peer_closes in [false, true] {
            let now = start();
            let mut connection = connection(role, &config(|_| {}), now);
            let _ = connection.send(now, MessageKind::Text, b"waits").expect("room");
            if peer_closes {
                feed(
                    &mut connection,
                    now,
                    &frame(role, FIN | CLOSE, &close_payload(1001, b"")),
                );
            }
            connection.fail_with(now, code(1011), "");
            let told = connection.farewell(Some((MessageKind::Text, b"last words")), "why");
            assert_eq!(told, Ok(()));
            let frames = parse(role, &drain(&mut connection, now));
            let opcodes: Vec<u8> = frames.iter().map(|frame| frame.opcode).collect();
            let expect = if peer_closes { &[CLOSE][..] } else { &[TEXT, CLOSE] };
            assert_eq!(opcodes, expect, "{role:?}, {peer_closes}");
            let close = &frames[frames.len() - 1].payload;
            assert_eq!(&close[2..], b"why");
        }
    }
}
