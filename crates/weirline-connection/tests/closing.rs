//! The closing handshake (R23, RFC 6455 §7): what is on the wire, what is asked of the transport, and the `End`, for every
//! order in which two sides can close.

mod common;

use std::io::ErrorKind;
use std::time::Instant;

use common::*;
use weirline_connection::{Cause, CloseCode, Connection, MessageKind, ProtocolError, SendError};

/// What happens to a connection, one after the other.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A message of ours is queued, which fits into no single write of these tests.
    Queue,
    Close(u16),
    Fail(u16),
    Abort,
    /// The peer's Close comes, with this code.
    PeerClose(Option<u16>),
    /// The peer breaks the protocol.
    PeerError,
    /// The transport takes everything.
    Flush,
    /// The transport takes one byte.
    Drip,
    Eof,
    Reset,
    /// Our direction is ended, as was asked for.
    Shutdown,
    /// The next deadline comes.
    Deadline,
}
use Step::*;

#[derive(Debug, PartialEq, Eq)]
struct Ended {
    sent: Option<u16>,
    received: Option<u16>,
    close_received: bool,
    cause: Cause,
}

fn step(connection: &mut Connection, role: Role, now: &mut Instant, step: Step) -> Vec<u8> {
    match step {
        Queue => {
            let _ = connection
                .send(*now, MessageKind::Binary, b"queued")
                .expect("there is room");
        }
        Close(number) => connection.close(*now, code(number), "bye"),
        Fail(number) => connection.fail_with(*now, code(number), "no"),
        Abort => connection.abort(),
        PeerClose(number) => {
            let payload = number.map_or(Vec::new(), |number| close_payload(number, b"peer"));
            feed(connection, *now, &frame(role, FIN | CLOSE, &payload));
        }
        PeerError => {
            feed(connection, *now, &[FIN | 0xF]);
        }
        Flush => {
            let wire = drain(connection, *now);
            assert!(!wire.is_empty(), "something was to be sent");
            return wire;
        }
        Drip => return take(connection, *now, 1),
        Eof => connection.handle_eof(*now),
        Reset => connection.handle_io_error(ErrorKind::ConnectionReset),
        Shutdown => {
            assert!(
                connection.poll_shutdown(),
                "the end of our direction is asked for"
            );
            connection.handle_shutdown(*now);
        }
        Deadline => {
            *now = connection.poll_timeout().expect("a deadline");
            connection.handle_timeout(*now);
        }
    }
    Vec::new()
}

/// `wire` are the opcodes that go out; the last step must be the one that ends the connection.
fn check(roles: &[Role], steps: &[Step], wire: &[u8], expect: &Ended) {
    for &role in roles {
        let mut now = start();
        let mut connection = connection(role, &config(|config| config.ping_interval = None), now);
        let mut sent = Vec::new();
        for (i, &next) in steps.iter().enumerate() {
            assert_eq!(
                connection.poll_end(),
                None,
                "{role:?} {steps:?}: ended before step {i}"
            );
            sent.extend(step(&mut connection, role, &mut now, next));
        }
        let end = connection
            .poll_end()
            .unwrap_or_else(|| panic!("{role:?} {steps:?}: no end"));
        let value = |code: Option<CloseCode>| code.map(CloseCode::value);
        let ended = Ended {
            sent: value(end.sent),
            received: value(end.received),
            close_received: end.close_received,
            cause: end.cause.clone(),
        };
        assert_eq!(&ended, expect, "{role:?} {steps:?}");
        let frames = parse_prefix(role, &sent).0;
        let opcodes: Vec<u8> = frames.iter().map(|frame| frame.opcode).collect();
        assert_eq!(opcodes, wire, "{role:?} {steps:?}");
        is_dead(connection, role, now);
    }
}

fn is_dead(mut connection: Connection, role: Role, now: Instant) {
    let end = connection.poll_end().cloned();
    assert_eq!(connection.poll_timeout(), None);
    assert!(!connection.wants_transmit() && !connection.poll_shutdown() && !connection.is_open());
    assert_eq!(connection.send_capacity(), 0);
    assert_eq!(
        connection.send(now, MessageKind::Text, b""),
        Err(SendError::Closed)
    );
    assert_eq!(feed(&mut connection, now, &frame(role, FIN | TEXT, b"late")), []);
    connection.close(now, CloseCode::NORMAL, "");
    connection.fail_with(now, CloseCode::NORMAL, "");
    connection.abort();
    connection.handle_eof(now);
    connection.handle_io_error(ErrorKind::BrokenPipe);
    connection.handle_reading(now, false);
    connection.handle_timeout(now + 1000 * SECOND);
    assert_eq!(connection.poll_end().cloned(), end, "an end is final");
    assert!(!connection.wants_transmit() && connection.poll_timeout().is_none());
}

fn ended(sent: Option<u16>, received: Option<u16>, close_received: bool, cause: Cause) -> Ended {
    Ended {
        sent,
        received,
        close_received,
        cause,
    }
}

const SERVER: &[Role] = &[Role::Server];
const CLIENT: &[Role] = &[Role::Client];

#[test]
fn the_peer_begins() {
    let by_peer = |code| ended(code, code, true, Cause::ClosedByPeer);
    let close = PeerClose(Some(1001));
    // RFC 6455 §7.1.1: the server ends the stream first, the client waits for it.
    check(
        SERVER,
        &[close, Flush, Shutdown, Eof],
        &[CLOSE],
        &by_peer(Some(1001)),
    );
    check(
        SERVER,
        &[close, Flush, Eof, Shutdown],
        &[CLOSE],
        &by_peer(Some(1001)),
    );
    check(
        SERVER,
        &[close, Eof, Flush, Shutdown],
        &[CLOSE],
        &by_peer(Some(1001)),
    );
    check(
        CLIENT,
        &[close, Flush, Eof, Shutdown],
        &[CLOSE],
        &by_peer(Some(1001)),
    );
    check(
        CLIENT,
        &[close, Eof, Flush, Shutdown],
        &[CLOSE],
        &by_peer(Some(1001)),
    );
    // The peer's end never comes.
    check(SERVER, &[close, Flush, Deadline], &[CLOSE], &by_peer(Some(1001)));
    check(
        SERVER,
        &[close, Flush, Shutdown, Deadline],
        &[CLOSE],
        &by_peer(Some(1001)),
    );
    check(CLIENT, &[close, Flush, Deadline], &[CLOSE], &by_peer(Some(1001)));
    // A reset once both Close frames are through is no news.
    check(&ROLES, &[close, Flush, Reset], &[CLOSE], &by_peer(Some(1001)));
    // Nor is the application's second thought.
    check(
        SERVER,
        &[close, Flush, Fail(1011), Shutdown, Eof],
        &[CLOSE],
        &by_peer(Some(1001)),
    );
    // Without a code there is none to send.
    check(
        SERVER,
        &[PeerClose(None), Flush, Shutdown, Eof],
        &[CLOSE],
        &by_peer(None),
    );
}

#[test]
fn the_answer_does_not_get_through() {
    let close = PeerClose(Some(4000));
    check(
        &ROLES,
        &[close, Reset],
        &[],
        &ended(None, Some(4000), true, Cause::Io(ErrorKind::ConnectionReset)),
    );
    check(
        &ROLES,
        &[close, Drip, Reset],
        &[],
        &ended(None, Some(4000), true, Cause::Io(ErrorKind::ConnectionReset)),
    );
    check(
        &ROLES,
        &[close, Deadline],
        &[],
        &ended(None, Some(4000), true, Cause::WriteStalled),
    );
}

#[test]
fn this_side_begins() {
    let local = ended(Some(1000), Some(1000), true, Cause::ClosedLocally);
    let answer = PeerClose(Some(1000));
    check(
        SERVER,
        &[Close(1000), Flush, answer, Shutdown, Eof],
        &[CLOSE],
        &local,
    );
    check(
        CLIENT,
        &[Close(1000), Flush, answer, Eof, Shutdown],
        &[CLOSE],
        &local,
    );
    check(CLIENT, &[Close(1000), Flush, answer, Deadline], &[CLOSE], &local);
    // A second close, by whatever way, says nothing more.
    check(
        SERVER,
        &[
            Close(1000),
            Close(1001),
            Flush,
            answer,
            Close(1002),
            Shutdown,
            Eof,
        ],
        &[CLOSE],
        &local,
    );
    check(
        SERVER,
        &[Close(1000), Flush, answer, Fail(1011), Shutdown, Eof],
        &[CLOSE],
        &local,
    );
    // No answer, an end instead of one, a reset instead of one.
    check(
        &ROLES,
        &[Close(1000), Flush, Deadline],
        &[CLOSE],
        &ended(Some(1000), None, false, Cause::CloseTimeout),
    );
    check(
        &ROLES,
        &[Close(1000), Flush, Eof, Shutdown],
        &[CLOSE],
        &ended(Some(1000), None, false, Cause::EndOfStream),
    );
    check(
        &ROLES,
        &[Close(1000), Flush, Reset],
        &[CLOSE],
        &ended(Some(1000), None, false, Cause::Io(ErrorKind::ConnectionReset)),
    );
    check(
        &ROLES,
        &[Close(1000), Deadline],
        &[],
        &ended(None, None, false, Cause::WriteStalled),
    );
}

#[test]
fn both_begin() {
    // Each side's Close crosses the other's: one Close each, and no answer to either.
    for early in [
        &[Close(1000), PeerClose(Some(4001)), Flush][..],
        &[Close(1000), Drip, PeerClose(Some(4001)), Flush],
        &[Close(1000), Flush, PeerClose(Some(4001))],
    ] {
        let steps = [early, &[Eof, Shutdown]].concat();
        check(
            &ROLES,
            &steps,
            &[CLOSE],
            &ended(Some(1000), Some(4001), true, Cause::ClosedLocally),
        );
    }
}

#[test]
fn the_close_goes_behind_what_is_queued() {
    let local = ended(Some(1000), Some(1000), true, Cause::ClosedLocally);
    let wire = &[BINARY, BINARY, CLOSE];
    check(
        SERVER,
        &[
            Queue,
            Queue,
            Close(1000),
            Flush,
            PeerClose(Some(1000)),
            Shutdown,
            Eof,
        ],
        wire,
        &local,
    );
    check(
        SERVER,
        &[Queue, Queue, PeerClose(Some(1000)), Flush, Shutdown, Eof],
        wire,
        &ended(Some(1000), Some(1000), true, Cause::ClosedByPeer),
    );
    // A failure gives up what is queued, but not the frame in hand.
    check(
        &ROLES,
        &[Queue, Queue, Fail(1011), Flush, Shutdown, Eof],
        &[CLOSE],
        &ended(Some(1011), None, false, Cause::ClosedLocally),
    );
    check(
        &ROLES,
        &[Queue, Queue, Drip, Fail(1011), Flush, Shutdown, Eof],
        &[BINARY, CLOSE],
        &ended(Some(1011), None, false, Cause::ClosedLocally),
    );
}

#[test]
fn the_stream_ends_without_a_close() {
    let cut = ended(None, None, false, Cause::EndOfStream);
    check(&ROLES, &[Eof, Shutdown], &[], &cut);
    check(&ROLES, &[Queue, Eof, Flush, Shutdown], &[BINARY], &cut);
    check(&ROLES, &[Queue, Eof, Deadline], &[], &cut);
    check(&ROLES, &[Eof, Deadline], &[], &cut);
    check(
        &ROLES,
        &[Reset],
        &[],
        &ended(None, None, false, Cause::Io(ErrorKind::ConnectionReset)),
    );
    check(
        &ROLES,
        &[Queue, Eof, Reset],
        &[],
        &ended(None, None, false, Cause::Io(ErrorKind::ConnectionReset)),
    );
}

#[test]
fn a_client_leaves_the_end_of_the_stream_to_the_server() {
    // RFC 6455 §7.1.1
    for (role, first) in [(Role::Server, true), (Role::Client, false)] {
        for steps in [
            &[PeerClose(None), Flush][..],
            &[Close(1000), Flush, PeerClose(None)],
        ] {
            let mut now = start();
            let mut connection = connection(role, &config(|_| {}), now);
            for next in steps {
                assert!(!connection.poll_shutdown(), "the closing handshake goes before");
                step(&mut connection, role, &mut now, *next);
            }
            assert_eq!(connection.poll_shutdown(), first, "{role:?} {steps:?}");
            connection.handle_eof(now);
            assert!(connection.poll_shutdown());
        }
    }
}

#[test]
fn flushing_has_a_limit_once_nobody_listens() {
    // `close_timeout` is shorter than the write-stall timer, which would say something else.
    check(
        &ROLES,
        &[Queue, Close(1000), Eof, Deadline],
        &[],
        &ended(None, None, false, Cause::EndOfStream),
    );
    let cause = weirline_codec::HeaderError::ReservedOpCode(0xF);
    check(
        &ROLES,
        &[Queue, Drip, Close(1000), PeerError, Deadline],
        &[],
        &ended(None, None, false, Cause::Protocol(ProtocolError::Header(cause))),
    );
}

#[test]
fn failures_say_so_and_outlast_what_comes_after() {
    let protocol = |sent| {
        let cause = weirline_codec::HeaderError::ReservedOpCode(0xF);
        ended(sent, None, false, Cause::Protocol(ProtocolError::Header(cause)))
    };
    // Both sides end the stream after a failure.
    check(
        &ROLES,
        &[PeerError, Flush, Shutdown, Eof],
        &[CLOSE],
        &protocol(Some(1002)),
    );
    check(
        &ROLES,
        &[PeerError, Flush, Shutdown, Deadline],
        &[CLOSE],
        &protocol(Some(1002)),
    );
    check(&ROLES, &[PeerError, Deadline], &[], &protocol(None));
    check(&ROLES, &[PeerError, Reset], &[], &protocol(None));
    check(
        &ROLES,
        &[PeerError, Flush, Reset],
        &[CLOSE],
        &protocol(Some(1002)),
    );
    check(
        &ROLES,
        &[PeerError, Eof, Flush, Shutdown],
        &[CLOSE],
        &protocol(Some(1002)),
    );
    // The first failure counts, and a Close behind it is not looked at.
    check(
        &ROLES,
        &[PeerError, Fail(1011), PeerClose(Some(1000)), Flush, Shutdown, Eof],
        &[CLOSE],
        &protocol(Some(1002)),
    );
    // An error instead of the answer: the Close that was sent stays the only one.
    check(
        &ROLES,
        &[Close(1000), Flush, PeerError, Shutdown, Eof],
        &[CLOSE],
        &protocol(Some(1000)),
    );
    check(
        &ROLES,
        &[Queue, Close(1000), PeerError, Flush, Shutdown, Eof],
        &[BINARY, CLOSE],
        &protocol(Some(1000)),
    );
}

#[test]
fn abort_ends_at_once_in_every_state() {
    let before: [(&[Step], &[u8], Ended); 5] = [
        (&[], &[], ended(None, None, false, Cause::Aborted)),
        (&[Queue, Drip], &[], ended(None, None, false, Cause::Aborted)),
        (
            &[Close(1000), Drip],
            &[],
            ended(None, None, false, Cause::Aborted),
        ),
        (
            &[Close(1000), Flush],
            &[CLOSE],
            ended(Some(1000), None, false, Cause::Aborted),
        ),
        (&[Eof], &[], ended(None, None, false, Cause::Aborted)),
    ];
    for (steps, wire, expect) in before {
        check(&ROLES, &[steps, &[Abort]].concat(), wire, &expect);
    }
}
