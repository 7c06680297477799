//! What RFC 6455 asks of a receiver: each MUST with the bytes that break it, on both sides, whole and byte by byte.

mod common;

use common::*;
use weirline_connection::{Connection, MessageKind};

/// What came out of feeding: events, and the close code on the wire.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    seen: Vec<Seen>,
    close: Option<u16>,
}

fn outcome(role: Role, pieces: impl Iterator<Item = Vec<u8>>) -> Outcome {
    let (config, now) = (config(|_| {}), start());
    let mut connection = connection(role, &config, now);
    let mut seen = Vec::new();
    for piece in pieces {
        feed_into(&mut connection, now, &piece, &mut seen);
    }
    let frames = parse(role, &drain(&mut connection, now));
    let close = close_code(&frames);
    if let Some(close) = close.filter(|_| !seen.iter().any(|seen| matches!(seen, Seen::Close(..)))) {
        ends_as_failed(connection, now, close);
    }
    Outcome { seen, close }
}

/// RFC 6455 §7.1.7: a failed connection looks at no more input, ends its direction, and is over with the stream.
fn ends_as_failed(mut connection: Connection, now: std::time::Instant, close: u16) {
    assert!(!connection.is_open());
    assert_eq!(feed(&mut connection, now, b"\x81\x01a\x8a\x00"), []);
    assert!(connection.poll_shutdown());
    connection.handle_shutdown(now);
    connection.handle_eof(now);
    let end = connection.poll_end().expect("both directions are over");
    assert_eq!(end.sent.map(weirline_connection::CloseCode::value), Some(close));
    assert_eq!((end.received, end.close_received), (None, false));
}

/// `wire(role)` is what the peer sends.
fn check(name: &str, wire: impl Fn(Role) -> Vec<u8>, seen: &[Seen], close: Option<u16>) {
    for role in ROLES {
        let wire = wire(role);
        let expect = Outcome {
            seen: seen.to_vec(),
            close,
        };
        assert_eq!(
            outcome(role, [wire.clone()].into_iter()),
            expect,
            "{name}, {role:?}, whole"
        );
        assert_eq!(
            outcome(role, wire.iter().map(|byte| vec![*byte])),
            expect,
            "{name}, {role:?}, byte by byte"
        );
    }
}

fn frames(role: Role, frames: &[(u8, &[u8])]) -> Vec<u8> {
    frames
        .iter()
        .flat_map(|(first, payload)| frame(role, *first, payload))
        .collect()
}

#[test]
fn masked_by_clients_only() {
    // RFC 6455 §5.1
    let wrong = |role| match role {
        Role::Server => frame_with_key(None, FIN | TEXT, b"a"),
        Role::Client => frame_with_key(Some([1, 2, 3, 4]), FIN | TEXT, b"a"),
    };
    check("wrong masking", wrong, &[], Some(1002));
    let wrong_control = |role| match role {
        Role::Server => frame_with_key(None, FIN | PING, b""),
        Role::Client => frame_with_key(Some([0; 4]), FIN | PING, b""),
    };
    check("wrong masking of a control frame", wrong_control, &[], Some(1002));
    let second_fragment = |role| {
        let wrong = (role == Role::Client).then_some([9; 4]);
        [
            frame(role, BINARY, b"a"),
            frame_with_key(wrong, FIN | CONTINUATION, b"b"),
        ]
        .concat()
    };
    check("wrong masking of a fragment", second_fragment, &[], Some(1002));
}

#[test]
fn reserved_bits_and_opcodes() {
    // RFC 6455 §5.2
    for rsv in [0x10, 0x20, 0x40, 0x50, 0x70] {
        for opcode in [TEXT, BINARY, PING, PONG, CLOSE] {
            let wire = |role| frames(role, &[(FIN | TEXT, b"ok"), (FIN | rsv | opcode, b"")]);
            check("reserved bits", wire, &[text("ok")], Some(1002));
        }
    }
    for opcode in (3..8).chain(11..16) {
        for fin in [0, FIN] {
            let wire = |role| frames(role, &[(FIN | TEXT, b"ok"), (fin | opcode, b"")]);
            check("reserved opcode", wire, &[text("ok")], Some(1002));
        }
    }
}

#[test]
fn control_frames_are_short_and_whole() {
    // RFC 6455 §5.5
    for opcode in [PING, PONG, CLOSE] {
        let fragmented = |role| frame(role, opcode, b"");
        check("fragmented control frame", fragmented, &[], Some(1002));
        let long = |role| frame(role, FIN | opcode, &[b'x'; 126]);
        check("long control frame", long, &[], Some(1002));
    }
    let longest = [b'x'; 125];
    let wire = |role| frames(role, &[(FIN | PING, &longest), (FIN | PONG, &longest)]);
    check(
        "longest control frames",
        wire,
        &[Seen::Ping(longest.to_vec()), Seen::Pong(None)],
        None,
    );
}

#[test]
fn lengths_have_one_form() {
    // RFC 6455 §5.2: the shortest form alone, and nothing from 2^63 on.
    let cases: [&[u8]; 7] = [
        &[126, 0, 0],
        &[126, 0, 125],
        &[127, 0, 0, 0, 0, 0, 0, 0, 0],
        &[127, 0, 0, 0, 0, 0, 0, 0, 125],
        &[127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF],
        &[127, 0x80, 0, 0, 0, 0, 0, 0, 0],
        &[127, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
    ];
    for length in cases {
        let wire = |role: Role| {
            let mut wire = vec![FIN | BINARY];
            wire.extend_from_slice(length);
            if role == Role::Server {
                wire[1] |= 0x80;
                wire.extend([0; 4]);
            }
            wire.extend([0; 130]);
            wire
        };
        check("length form", wire, &[], Some(1002));
    }
    for len in [0, 1, 125, 126, 127, 65_535, 65_536] {
        let payload = vec![7; len];
        let wire = |role| frame(role, FIN | BINARY, &payload);
        check("lengths that are right", wire, &[binary(&payload)], None);
    }
}

#[test]
fn fragments_follow_each_other() {
    // RFC 6455 §5.4
    check(
        "continuation of nothing",
        |role| frame(role, FIN | CONTINUATION, b"a"),
        &[],
        Some(1002),
    );
    check(
        "unfinished continuation of nothing",
        |role| frame(role, CONTINUATION, b""),
        &[],
        Some(1002),
    );
    check(
        "continuation behind a whole message",
        |role| frames(role, &[(FIN | TEXT, b"a"), (FIN | CONTINUATION, b"b")]),
        &[text("a")],
        Some(1002),
    );
    for second in [TEXT, BINARY, FIN | TEXT, FIN | BINARY] {
        let wire = |role| frames(role, &[(TEXT, b"a"), (second, b"b")]);
        check("a message inside a message", wire, &[], Some(1002));
    }
    let wire = |role| {
        frames(
            role,
            &[
                (TEXT, b""),
                (CONTINUATION, b"a"),
                (CONTINUATION, b""),
                (FIN | CONTINUATION, b""),
                (FIN | BINARY, b""),
            ],
        )
    };
    check("empty fragments", wire, &[text("a"), binary(b"")], None);
}

#[test]
fn fragments_are_one_message_of_the_first_ones_kind_in_their_order() {
    // RFC 6455 §5.4, §6.2
    for (opcode, kind) in [(TEXT, MessageKind::Text), (BINARY, MessageKind::Binary)] {
        let wire = |role| {
            frames(
                role,
                &[
                    (opcode, b"one, "),
                    (CONTINUATION, b"two, "),
                    (CONTINUATION, b"three, "),
                    (FIN | CONTINUATION, b"four"),
                    (FIN | opcode, b"the next"),
                    (opcode, b"and "),
                    (FIN | CONTINUATION, b"another"),
                ],
            )
        };
        let seen = [&b"one, two, three, four"[..], b"the next", b"and another"]
            .map(|payload| Seen::Message(kind, payload.to_vec()));
        check("in order", wire, &seen, None);
    }
}

#[test]
fn control_frames_stand_between_fragments() {
    // RFC 6455 §5.4, §5.5
    let wire = |role| {
        frames(
            role,
            &[
                (TEXT, b"\xe2\x82"),
                (FIN | PING, b"p"),
                (CONTINUATION, b""),
                (FIN | PONG, b""),
                (FIN | CONTINUATION, b"\xac"),
            ],
        )
    };
    check(
        "between",
        wire,
        &[Seen::Ping(b"p".to_vec()), Seen::Pong(None), text("€")],
        None,
    );
    let close_inside = |role| {
        frames(
            role,
            &[
                (BINARY, b"a"),
                (FIN | CLOSE, &close_payload(1000, b"")),
                (FIN | CONTINUATION, b"b"),
            ],
        )
    };
    check(
        "a Close inside a message",
        close_inside,
        &[Seen::Close(Some(1000), String::new())],
        Some(1000),
    );
}

#[test]
fn text_is_utf8_at_every_byte() {
    // RFC 6455 §8.1. (fragments, which byte of the text is wrong; `None`: it must not end here)
    type Case<'a> = (&'a [&'a [u8]], Option<usize>);
    let cases: [Case<'_>; 11] = [
        (&[b"\xff"], Some(0)),
        (&[b"abc\x80def"], Some(3)),
        (
            &[b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"],
            Some(12),
        ),
        (&[b"\xf4", b"\x90\x80\x80"], Some(1)),
        (&[b"\xf0\x9f", b"", b"\x98", b"a"], Some(3)),
        (&[b"\xe2\x82"], None),
        (&[b"\xe2\x82", b""], None),
        (&[b"ok", b"\xc0\xaf"], Some(2)),
        (&[b"\xed", b"\xbf\xbf"], Some(1)),
        (&[b"\xc3", b"\xa9\xc3"], None),
        (&[&[b'x'; 300], b"\xfe"], Some(300)),
    ];
    for (fragments, wrong) in cases {
        for role in ROLES {
            let (mut wire, mut places) = (Vec::new(), Vec::new());
            for (i, fragment) in fragments.iter().enumerate() {
                let opcode = if i == 0 { TEXT } else { CONTINUATION };
                let fin = if i + 1 == fragments.len() { FIN } else { 0 };
                wire.extend(frame(role, fin | opcode, fragment));
                places.extend(wire.len() - fragment.len()..wire.len());
            }
            let fails_with = wrong.map_or(wire.len(), |wrong| places[wrong] + 1);
            for len in [fails_with - 1, fails_with, wire.len()] {
                let expect = (len >= fails_with).then_some(1007);
                let whole = outcome(role, [wire[..len].to_vec()].into_iter());
                let bytewise = outcome(role, wire[..len].iter().map(|byte| vec![*byte]));
                assert_eq!(
                    (whole.seen.len(), whole.close),
                    (0, expect),
                    "{fragments:x?}, {len}"
                );
                assert_eq!(bytewise, whole, "{fragments:x?}, {len}");
            }
        }
    }
}

#[test]
fn close_frames_have_a_legal_payload() {
    // RFC 6455 §5.5.1, §7.4
    check(
        "one byte",
        |role| frame(role, FIN | CLOSE, b"\x03"),
        &[],
        Some(1002),
    );
    for legal in [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999,
    ] {
        let wire = |role| frame(role, FIN | CLOSE, &close_payload(legal, b"why"));
        check(
            "legal code",
            wire,
            &[Seen::Close(Some(legal), "why".into())],
            Some(legal),
        );
    }
    for illegal in [
        0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
    ] {
        let wire = |role| frame(role, FIN | CLOSE, &close_payload(illegal, b""));
        check("illegal code", wire, &[], Some(1002));
    }
    let wire = |role| frame(role, FIN | CLOSE, &close_payload(1000, b"bad \xff"));
    check("reason that is not UTF-8", wire, &[], Some(1007));
    let cut = |role| frame(role, FIN | CLOSE, &close_payload(1000, b"\xe2\x82"));
    check("reason that ends in a character", cut, &[], Some(1007));
    let longest = "é".repeat(61) + "x";
    let wire = |role| frame(role, FIN | CLOSE, &close_payload(4001, longest.as_bytes()));
    check(
        "longest reason",
        wire,
        &[Seen::Close(Some(4001), longest.clone())],
        Some(4001),
    );
}

#[test]
fn an_empty_close_is_answered_by_an_empty_close() {
    for role in ROLES {
        let (config, now) = (config(|_| {}), start());
        let mut connection = connection(role, &config, now);
        assert_eq!(
            feed(&mut connection, now, &frame(role, FIN | CLOSE, b"")),
            [Seen::Close(None, String::new())]
        );
        let frames = parse(role, &drain(&mut connection, now));
        assert_eq!((frames.len(), close_code(&frames)), (1, Some(1005)));
    }
}

#[test]
fn nothing_is_looked_at_behind_a_close() {
    let behind: [(u8, &[u8]); 4] = [
        (FIN | TEXT, b"late"),
        (FIN | PING, b"late"),
        (FIN | CLOSE, b"\x03\xe9"),
        (FIN | 0x70 | 0xF, b"illegal"),
    ];
    for (first, payload) in behind {
        let wire = |role| {
            frames(
                role,
                &[
                    (FIN | TEXT, b"early"),
                    (FIN | CLOSE, b"\x03\xe8"),
                    (first, payload),
                ],
            )
        };
        check(
            "behind a Close",
            wire,
            &[text("early"), Seen::Close(Some(1000), String::new())],
            Some(1000),
        );
    }
}

#[test]
fn pings_are_answered_with_their_bytes_in_order() {
    // RFC 6455 §5.5.3
    for role in ROLES {
        let (config, now) = (config(|_| {}), start());
        let mut connection = connection(role, &config, now);
        let pings: Vec<Vec<u8>> = (0..64).map(|n| vec![n; usize::from(n)]).collect();
        for ping in &pings {
            feed(&mut connection, now, &frame(role, FIN | PING, ping));
        }
        let frames = parse(role, &drain(&mut connection, now));
        assert!(frames.iter().all(|frame| frame.opcode == PONG));
        let pongs: Vec<_> = frames.into_iter().map(|frame| frame.payload).collect();
        assert_eq!(pongs, pings);
    }
}

#[test]
fn our_own_messages_are_legal_utf8_or_refused() {
    // RFC 6455 §5.6
    for role in ROLES {
        let (config, now) = (config(|_| {}), start());
        let mut connection = connection(role, &config, now);
        for bad in [&b"\xff"[..], b"\xe2\x82", b"a\xed\xa0\x80"] {
            let refused = connection.send(now, MessageKind::Text, bad);
            assert_eq!(refused, Err(weirline_connection::SendError::NotUtf8));
        }
        let split = connection.send_shared(now, MessageKind::Text, b"\xe2", (&b"\x82\xac"[..]).into());
        assert!(
            split.is_ok(),
            "a character may straddle the prefix and the payload"
        );
        let frames = parse(role, &drain(&mut connection, now));
        assert_eq!(messages(&frames), [(TEXT, "€".as_bytes().to_vec())]);
    }
}

#[test]
fn the_reason_goes_out_and_is_cut_to_fit() {
    for (reason, expect) in [("", ""), ("going", "going")] {
        let now = start();
        let mut connection = connection(Role::Server, &config(|_| {}), now);
        connection.close(now, code(1001), reason);
        let frames = parse(Role::Server, &drain(&mut connection, now));
        assert_eq!(frames[0].payload, close_payload(1001, expect.as_bytes()));
    }
    let now = start();
    let mut connection = connection(Role::Client, &config(|_| {}), now);
    connection.fail_with(now, code(4000), &"€".repeat(1000));
    let frames = parse(Role::Client, &drain(&mut connection, now));
    assert_eq!(frames[0].payload, close_payload(4000, "€".repeat(41).as_bytes()));
}
