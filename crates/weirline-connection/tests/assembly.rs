//! Bytes that are read straight into a message are the same as bytes that are fed.

mod common;

use std::sync::Arc;

use bytes::BufMut as _;
use common::*;
use proptest::prelude::*;
use weirline_connection::{Cause, Config, Connection, Delivery, End, Event, MessageKind};

const KIB: usize = 1 << 10;

/// A message as the peer may send it: how long, where it is cut into frames, what stands between those.
#[derive(Clone, Debug)]
struct Message {
    is_text: bool,
    len: usize,
    cuts: Vec<prop::sample::Index>,
    control: Option<u8>,
    /// Where a byte stands that is not UTF-8.
    broken_at: Option<prop::sample::Index>,
}

fn len() -> impl Strategy<Value = usize> {
    prop_oneof![
        1 => 0usize..300,
        2 => 64 * KIB - 3..64 * KIB + 4,
        4 => 128 * KIB - 20..128 * KIB + 20,
        3 => 100 * KIB..400 * KIB,
        1 => 900 * KIB..1024 * KIB,
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let index = any::<prop::sample::Index>;
    (
        any::<bool>(),
        len(),
        prop_oneof![
            3 => Just(Vec::new()),
            1 => prop::collection::vec(index(), 1..4),
        ],
        prop::option::of(prop::sample::select(vec![PING, PONG])),
        prop::option::weighted(0.05, index()),
    )
        .prop_map(|(is_text, len, cuts, control, broken_at)| Message {
            is_text,
            len,
            cuts,
            control,
            broken_at,
        })
}

impl Message {
    /// Text whose characters have all lengths, so that every cut may be inside one.
    fn payload(&self) -> Vec<u8> {
        let mut payload: Vec<u8> = "aé€😀ß".bytes().cycle().take(self.len).collect();
        if self.is_text {
            let whole = String::from_utf8_lossy(&payload)
                .trim_end_matches('\u{FFFD}')
                .len();
            payload[whole..].fill(b'!');
        }
        if let Some(at) = self.broken_at.filter(|_| self.len > 0) {
            payload[at.index(self.len)] = 0xFF;
        }
        payload
    }

    fn encode(&self, role: Role, wire: &mut Vec<u8>) {
        let payload = self.payload();
        let mut cuts: Vec<usize> = self.cuts.iter().map(|cut| cut.index(self.len + 1)).collect();
        cuts.extend([0, self.len]);
        cuts.sort_unstable();
        let frames = cuts.len() - 1;
        for (number, cut) in cuts.windows(2).enumerate() {
            let opcode = match (number, self.is_text) {
                (0, true) => TEXT,
                (0, false) => BINARY,
                _ => CONTINUATION,
            };
            let fin = if number + 1 == frames { FIN } else { 0 };
            wire.extend(frame(role, fin | opcode, &payload[cut[0]..cut[1]]));
            if let Some(control) = self.control {
                wire.extend(frame(role, FIN | control, b"between"));
            }
        }
    }
}

/// What a driver may do with the bytes that are there: at each step so many, whether they are fed or read in place.
struct Steps {
    sizes: Vec<usize>,
    next: usize,
}

impl Steps {
    fn next(&mut self) -> usize {
        self.next += 1;
        self.sizes[self.next % self.sizes.len()]
    }
}

fn steps() -> impl Strategy<Value = Vec<usize>> {
    let size = prop_oneof![
        // Nothing, where a read in place is pending.
        2 => Just(0),
        1 => 1usize..4,
        1 => 1usize..2000,
        4 => 20_000usize..70_000,
        2 => 60_000usize..300_000,
        2 => Just(usize::MAX),
    ];
    prop::collection::vec(size, 1..12)
        .prop_filter("something must move", |sizes| sizes.iter().any(|size| *size > 3))
}

/// What came of it: events, output, end, and how many bytes were read in place.
type Run = (Vec<Seen>, Vec<u8>, End, usize);

fn finish(
    role: Role,
    mut connection: Connection,
    now: std::time::Instant,
    seen: Vec<Seen>,
    direct: usize,
) -> Run {
    connection.handle_eof(now);
    let wire = drain(&mut connection, now);
    parse(role, &wire);
    connection.handle_shutdown(now);
    let end = connection.poll_end().expect("both directions are over").clone();
    (seen, wire, end, direct)
}

fn fed_whole(role: Role, config: &Arc<Config>, wire: &[u8]) -> Run {
    let now = start();
    let mut connection = connection(role, config, now);
    let mut seen = Vec::new();
    feed_into(&mut connection, now, wire, &mut seen);
    finish(role, connection, now, seen, 0)
}

fn read_in_place(role: Role, config: &Arc<Config>, wire: &[u8], mut steps: Steps) -> Run {
    let now = start();
    let mut connection = connection(role, config, now);
    let (mut seen, mut left, mut direct) = (Vec::new(), wire, 0);
    while !left.is_empty() {
        let Some(mut assembly) = connection.take_assembly() else {
            let (piece, rest) = left.split_at(steps.next().clamp(1, 256 * KIB).min(left.len()));
            left = rest;
            feed_into(&mut connection, now, piece, &mut seen);
            continue;
        };
        let room = assembly.room().remaining_mut();
        assert!(room > 0, "a read would look like the end of the stream");
        let (piece, rest) = left.split_at(steps.next().min(room).min(left.len()));
        left = rest;
        direct += piece.len();
        // As several reads may: each asks for the room that is left.
        let (first, second) = piece.split_at(piece.len() / 2);
        assembly.room().put_slice(first);
        assert_eq!(assembly.room().remaining_mut(), room - first.len());
        assembly.room().put_slice(second);
        match connection.handle_assembly(now, assembly) {
            Some(Event::Message { kind, payload }) => seen.push(Seen::Message(kind, payload.to_vec())),
            Some(other) => panic!("{other:?}"),
            None => {}
        }
    }
    finish(role, connection, now, seen, direct)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_read_in_place_is_what_is_fed(
        messages in prop::collection::vec(message(), 1..4),
        sizes in steps(),
        limit in prop::option::weighted(0.3, 60 * KIB..1024 * KIB),
        frame_limit in prop::option::weighted(0.1, 60 * KIB..1024 * KIB),
        keep in prop::option::weighted(0.2, any::<prop::sample::Index>()),
        closes: bool,
    ) {
        for role in ROLES {
            let mut wire = Vec::new();
            messages.iter().for_each(|message| message.encode(role, &mut wire));
            if closes {
                wire.extend(frame(role, FIN | CLOSE, &close_payload(1000, b"done")));
                wire.extend(frame(role, FIN | TEXT, b"behind the end"));
            }
            if let Some(keep) = keep {
                wire.truncate(keep.index(wire.len()) + 1);
            }
            let config = config(|config| {
                if let Some(limit) = limit {
                    (config.text_bytes_max, config.binary_bytes_max) = (limit as u64 / 2, limit as u64);
                }
                if let Some(limit) = frame_limit {
                    config.frame_bytes_max = limit as u64;
                }
            });
            let (seen, sent, end, _) = fed_whole(role, &config, &wire);
            let steps = Steps { sizes: sizes.clone(), next: 0 };
            let (seen_in_place, sent_in_place, end_in_place, _) = read_in_place(role, &config, &wire, steps);
            prop_assert!(seen_in_place == seen, "{:?}", end);
            prop_assert_eq!((sent_in_place, end_in_place), (sent, end));
        }
    }
}

/// Bytes that make room: a message of 1 MiB is read in place but for its beginning, and for its end where that is short.
#[test]
fn a_long_frame_is_read_in_place() {
    for role in ROLES {
        // The length of a read, and at most how much of the message is fed.
        for (read, fed_max) in [(256 * KIB, 320 * KIB), (64 * KIB, 192 * KIB), (1460, 140 * KIB)] {
            for is_text in [false, true] {
                let message = Message {
                    is_text,
                    len: 1024 * KIB,
                    cuts: Vec::new(),
                    control: None,
                    broken_at: None,
                };
                let mut wire = Vec::new();
                message.encode(role, &mut wire);
                let steps = Steps {
                    sizes: vec![read],
                    next: 0,
                };
                let (seen, _, end, direct) = read_in_place(role, &config(|_| {}), &wire, steps);
                let kind = if is_text {
                    MessageKind::Text
                } else {
                    MessageKind::Binary
                };
                assert!(seen == [Seen::Message(kind, message.payload())]);
                assert_eq!(end.cause, Cause::EndOfStream);
                assert!(direct + fed_max >= message.len, "{role:?} {read} {direct}");
            }
        }
    }
}

/// Feeds the header of a binary frame and the first `bytes` of its payload.
fn begin(connection: &mut Connection, now: std::time::Instant, len: usize, bytes: usize) {
    let wire = frame(Role::Server, FIN | BINARY, &vec![7; len]);
    let header = wire.len() - len;
    assert!(feed(connection, now, &wire[..header + bytes]).is_empty());
}

/// Where nothing is gained, and where nothing is assembled.
#[test]
fn there_is_nothing_to_read_into() {
    // (length, of which have arrived, whether it is long enough).
    for (len, arrived, long) in [
        (128 * KIB, 64 * KIB, true),
        (128 * KIB, 64 * KIB - 1, false),
        (128 * KIB - 1, 64 * KIB, false),
        (1024 * KIB, 0, false),
        (1024 * KIB, 64 * KIB, true),
        (1024 * KIB, 960 * KIB, true),
        (1024 * KIB, 960 * KIB + 1, false),
    ] {
        for delivery in [Delivery::Messages, Delivery::Parts] {
            let now = start();
            let config = config(|config| config.delivery = delivery);
            let mut connection = connection(Role::Server, &config, now);
            assert!(connection.take_assembly().is_none(), "between messages");
            let wire = frame(Role::Server, FIN | BINARY, &vec![7; len]);
            let header = wire.len() - len;
            let _ = feed(&mut connection, now, &wire[..header + arrived]);
            let taken = connection.take_assembly();
            assert_eq!(
                taken.is_some(),
                long && delivery == Delivery::Messages,
                "{len} {arrived} {delivery:?}"
            );
            if let Some(taken) = taken {
                assert_eq!(connection.handle_assembly(now, taken).map(drop), None);
            }
            let rest = feed(&mut connection, now, &wire[header + arrived..]);
            assert_eq!(
                rest.last(),
                Some(&if delivery == Delivery::Messages {
                    binary(&vec![7; len])
                } else {
                    Seen::PartsEnd
                })
            );
        }
    }
}

/// A ping stands between two long fragments, and its payload was cut: it is not read into the message.
#[test]
fn a_cut_control_frame_is_not_read_into_the_message() {
    let now = start();
    let mut connection = connection(Role::Server, &config(|_| {}), now);
    let half = vec![7; 100 * KIB];
    let _ = feed(&mut connection, now, &frame(Role::Server, BINARY, &half));
    assert!(connection.take_assembly().is_none(), "between frames");
    let ping = frame(Role::Server, FIN | PING, &[b'p'; 125]);
    let (first, second) = ping.split_at(20);
    assert_eq!(feed(&mut connection, now, first), []);
    assert!(connection.take_assembly().is_none(), "inside a ping");
    assert_eq!(feed(&mut connection, now, second), [Seen::Ping(vec![b'p'; 125])]);
    let last = frame(Role::Server, FIN | CONTINUATION, &half);
    assert_eq!(feed(&mut connection, now, &last), [binary(&[7; 200 * KIB])]);
}

/// The keepalive hears of bytes wherever they went, and of nothing where there were none.
#[test]
fn bytes_in_place_are_a_sign_of_life() {
    let after = |in_place: bool, bytes: usize| {
        let begun = start();
        let mut connection = connection(Role::Server, &config(|_| {}), begun);
        begin(&mut connection, begun, 1024 * KIB, 100 * KIB);
        advance_to(&mut connection, begun + 30 * SECOND);
        let ping = parse(Role::Server, &drain(&mut connection, begun + 30 * SECOND));
        assert_eq!((ping.len(), ping[0].opcode), (1, PING));
        let later = begun + 35 * SECOND;
        let wire = vec![1; bytes];
        if in_place {
            let mut assembly = connection.take_assembly().expect("the rest is long");
            assembly.room().put_slice(&wire);
            assert_eq!(connection.handle_assembly(later, assembly).map(drop), None);
        } else {
            assert_eq!(feed(&mut connection, later, &wire), []);
        }
        connection.poll_timeout().expect("a ping or the end") - begun
    };
    for bytes in [0, 1, 5000] {
        assert_eq!(after(true, bytes), after(false, bytes), "{bytes}");
    }
    assert_eq!(after(true, 0), 40 * SECOND, "the end");
    assert!(after(true, 1) > 40 * SECOND);
}

/// Whatever becomes of the connection while its message is away, the bytes that come back are of no use any more.
#[test]
fn an_assembly_may_come_back_to_a_connection_that_has_ended() {
    type Ends = fn(&mut Connection, std::time::Instant);
    let ends: [(&str, Ends); 4] = [
        ("abort", |connection, _| connection.abort()),
        ("error", |connection, _| {
            connection.handle_io_error(std::io::ErrorKind::ConnectionReset);
        }),
        ("fail", |connection, now| {
            connection.fail_with(now, code(1008), "enough");
        }),
        ("timeout", |connection, _| {
            let _ = wait_for_end(connection);
        }),
    ];
    for (name, ends) in ends {
        let now = start();
        let mut connection = connection(Role::Server, &config(|_| {}), now);
        begin(&mut connection, now, 130 * KIB, 66 * KIB);
        let mut assembly = connection.take_assembly().expect("the rest is long");
        ends(&mut connection, now);
        assembly.room().put_bytes(7, 64 * KIB);
        assert_eq!(
            connection.handle_assembly(now, assembly).map(drop),
            None,
            "{name}"
        );
        assert!(connection.take_assembly().is_none());
        let _ = drain(&mut connection, now);
        // A Close frame that could not be sent any more may be left.
        assert!(connection.held_bytes() < 100, "{name}");
    }
}
