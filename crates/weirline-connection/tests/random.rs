//! Any order of input, application verbs, time and partial writes: nothing panics, and what goes out is right by an oracle
//! that reads the wire.

mod common;

use std::time::{Duration, Instant};

use common::*;
use proptest::prelude::*;
use weirline_connection::{CloseCode, Config, Connection, MessageKind, SendError};
use weirline_flow::{QueueLimits, Strategy as Full};

#[derive(Clone, Debug)]
enum Op {
    Send {
        kind: MessageKind,
        prefix: usize,
        len: usize,
        shared: bool,
    },
    Close(bool),
    Fail,
    Abort,
    PeerMessage(u8, Vec<usize>),
    PeerPing(usize),
    /// A pong for our ping of this number, or for none.
    PeerPong(u64),
    PeerClose(Option<u16>),
    PeerBytes(Vec<u8>),
    /// The transport takes up to so many bytes.
    Transmit(usize),
    TransmitAll,
    Wait(u64),
    Reading(bool),
    Eof,
    Reset,
    Shutdown,
}

fn op() -> impl Strategy<Value = Op> {
    let kind = || prop_oneof![Just(MessageKind::Text), Just(MessageKind::Binary)];
    let small = 0usize..40;
    let large = prop_oneof![
        Just(125usize),
        Just(126),
        300usize..700,
        Just(8192),
        8193usize..9000
    ];
    prop_oneof![
        8 => (kind(), 0usize..20, small, any::<bool>())
            .prop_map(|(kind, prefix, len, shared)| Op::Send { kind, prefix, len, shared }),
        4 => (kind(), 0usize..200, large, any::<bool>())
            .prop_map(|(kind, prefix, len, shared)| Op::Send { kind, prefix, len, shared }),
        1 => any::<bool>().prop_map(Op::Close),
        3 => (1u8..3, prop::collection::vec(0usize..60, 1..4)).prop_map(|(opcode, lens)| Op::PeerMessage(opcode, lens)),
        6 => (0usize..120).prop_map(Op::PeerPing),
        2 => (0u64..4).prop_map(Op::PeerPong),
        12 => (1usize..300).prop_map(Op::Transmit),
        3 => Just(Op::TransmitAll),
        4 => (0u64..3000).prop_map(Op::Wait),
        1 => (0u64..40_000).prop_map(Op::Wait),
        1 => any::<bool>().prop_map(Op::Reading),
        2 => Just(Op::Shutdown),
    ]
}

/// What ends a connection; rare, so that much happens before.
fn last_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        Just(Op::Fail),
        Just(Op::Abort),
        Just(Op::Eof),
        Just(Op::Reset),
        Just(Op::Close(true)),
        prop::option::of(3000u16..5000).prop_map(Op::PeerClose),
        prop::collection::vec(any::<u8>(), 1..30).prop_map(Op::PeerBytes),
    ]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let block = || prop::collection::vec(op(), 0..40);
    (
        block(),
        last_op(),
        block(),
        last_op(),
        prop::collection::vec(op(), 0..10),
    )
        .prop_map(|(mut ops, last, middle, very_last, end)| {
            ops.push(last);
            ops.extend(middle);
            ops.push(very_last);
            ops.extend(end);
            ops
        })
}

/// The connection with what the oracle knows of it.
struct World {
    connection: Connection,
    role: Role,
    now: Instant,
    wire: Vec<u8>,
    /// Every message that was accepted, in order; each begins with its number, or is too short for one.
    accepted: Vec<(u8, Vec<u8>)>,
    dropped: u64,
    /// Payloads of the pings that were told, as long as an answer was owed.
    owed_pongs: Vec<Vec<u8>>,
    pings: u32,
    /// Something went wrong, after which the queue may have been given up.
    failed: bool,
    reading: bool,
}

impl World {
    fn new(role: Role, strategy: Full, fragment: usize) -> Self {
        let now = start();
        let config = config(|config: &mut Config| {
            config.fragment_bytes = fragment;
            config.send_strategy = strategy;
            config.send_queue = QueueLimits {
                messages: 6,
                bytes: 12_000,
            };
            config.pause_max = 20 * SECOND;
        });
        Self {
            connection: connection(role, &config, now),
            role,
            now,
            wire: Vec::new(),
            accepted: Vec::new(),
            dropped: 0,
            owed_pongs: Vec::new(),
            pings: 0,
            failed: false,
            reading: true,
        }
    }

    fn apply(&mut self, op: &Op) {
        let (role, now) = (self.role, self.now);
        match op {
            Op::Send {
                kind,
                prefix,
                len,
                shared,
            } => self.send(*kind, *prefix, *len, *shared),
            Op::Close(normal) => {
                let code = code(if *normal { 1000 } else { 4000 });
                self.connection.close(now, code, "closing");
                assert!(!self.connection.is_open());
            }
            Op::Fail => {
                self.connection.fail_with(now, code(1011), "failing");
                self.failed = true;
            }
            Op::Abort => self.connection.abort(),
            Op::PeerMessage(opcode, lens) => {
                for (i, len) in lens.iter().enumerate() {
                    let opcode = if i == 0 { *opcode } else { CONTINUATION };
                    let fin = if i + 1 == lens.len() { FIN } else { 0 };
                    self.peer(&frame(role, fin | opcode, &vec![b'm'; *len]));
                }
            }
            Op::PeerPing(len) => {
                self.pings += 1;
                let mut payload = self.pings.to_be_bytes().to_vec();
                payload.resize(4 + len, b'p');
                self.peer(&frame(role, FIN | PING, &payload));
            }
            Op::PeerPong(number) => self.peer(&frame(role, FIN | PONG, &number.to_be_bytes())),
            Op::PeerClose(number) => {
                let payload = number.map_or(Vec::new(), |number| close_payload(number, b"over"));
                self.peer(&frame(role, FIN | CLOSE, &payload));
            }
            Op::PeerBytes(bytes) => {
                self.peer(bytes);
                self.failed = true;
            }
            Op::Transmit(max) => self
                .wire
                .extend(take_slices::<3>(&mut self.connection, now, *max)),
            Op::TransmitAll => self.wire.extend(drain(&mut self.connection, now)),
            Op::Wait(millis) => {
                self.now += Duration::from_millis(*millis);
                advance_to(&mut self.connection, self.now);
            }
            Op::Reading(reading) => {
                self.reading = *reading;
                self.connection.handle_reading(now, *reading);
            }
            Op::Eof => self.connection.handle_eof(now),
            Op::Reset => self
                .connection
                .handle_io_error(std::io::ErrorKind::ConnectionReset),
            Op::Shutdown if self.connection.poll_shutdown() => {
                assert!(!self.connection.wants_transmit(), "everything was written before");
                self.connection.handle_shutdown(now);
            }
            Op::Shutdown => {}
        }
        self.bounds();
    }

    fn send(&mut self, kind: MessageKind, prefix: usize, len: usize, shared: bool) {
        let number = format!("{:08}", self.accepted.len());
        let mut whole: Vec<u8> = number.bytes().cycle().take(prefix + len).collect();
        whole.truncate(prefix + len);
        let (open, room) = (self.connection.is_open(), self.connection.has_room(whole.len()));
        let sent = if shared {
            let payload = whole[prefix..].to_vec().into();
            self.connection
                .send_shared(self.now, kind, &whole[..prefix], payload)
        } else {
            self.connection.send(self.now, kind, &whole)
        };
        match sent {
            Ok(sent) => {
                assert!(open && (room || sent.dropped.messages > 0), "{sent:?}");
                self.dropped += sent.dropped.messages;
                let opcode = if kind == MessageKind::Text { TEXT } else { BINARY };
                self.accepted.push((opcode, whole));
            }
            Err(SendError::Closed) => assert!(!open),
            Err(SendError::Full) => assert!(!room),
            Err(_) => assert!(open && !self.connection.is_open(), "broken"),
        }
    }

    fn peer(&mut self, bytes: &[u8]) {
        let open = self.connection.is_open();
        for seen in feed(&mut self.connection, self.now, bytes) {
            assert!(self.connection.poll_end().is_none(), "an end, and then {seen:?}");
            match seen {
                Seen::Ping(payload) if open => self.owed_pongs.push(payload),
                Seen::Ping(_) => {}
                Seen::Close(..) => assert!(!self.connection.is_open()),
                Seen::Message(..) | Seen::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn bounds(&self) {
        let connection = &self.connection;
        // The queue, what is in hand, the control lane, and what is assembled of the peer's.
        assert!(
            connection.held_bytes() < 12_000 + 2 * 10_000 + 9_000,
            "{connection:?}"
        );
        assert!(connection.send_capacity() <= connection.config().send_window_bytes);
        let counters = connection.send_counters();
        assert_eq!(counters.pushed.messages, self.accepted.len() as u64);
        assert!(counters.popped.messages + counters.dropped.messages <= counters.pushed.messages);
        if let Some(end) = connection.poll_end() {
            assert!(!connection.wants_transmit() && connection.poll_timeout().is_none());
            let frames = parse_prefix(self.role, &self.wire).0;
            let on_wire = close_code(&frames).filter(|code| *code != 1005);
            assert_eq!(
                end.sent.map(CloseCode::value),
                on_wire,
                "sent is what was handed over"
            );
        }
    }

    /// Lets everything go out and every deadline come; then judges the wire.
    fn finish(mut self) {
        let whole = self.connection.poll_end().is_none();
        self.wire.extend(drain(&mut self.connection, self.now));
        self.bounds();
        self.judge(whole);
        self.connection.handle_reading(self.now, true);
        self.connection.close(self.now, code(1000), "");
        self.wire.extend(drain(&mut self.connection, self.now));
        wait_for_end_if_none(&mut self.connection);
        self.bounds();
        let (_, rest) = parse_prefix(self.role, &self.wire);
        assert!(!whole || rest == 0);
    }

    fn judge(&self, whole: bool) {
        let (frames, rest) = parse_prefix(self.role, &self.wire);
        assert!(!whole || rest == 0, "the wire ends inside a frame");
        let sent = messages(&frames);
        // In order, none twice: they are a subsequence of what was accepted.
        let mut accepted = self.accepted.iter();
        for message in &sent {
            assert!(
                accepted.any(|candidate| candidate == message),
                "{} bytes were never accepted, or are out of order",
                message.1.len()
            );
        }
        let counters = self.connection.send_counters();
        assert!(counters.dropped.messages >= self.dropped);
        let cut = counters.popped.messages - sent.len() as u64;
        assert!(cut <= 1, "popped, and not on the wire: {cut}");
        if whole {
            assert_eq!(
                counters.popped.messages + counters.dropped.messages,
                counters.pushed.messages
            );
        }
        if whole && close_code(&frames).is_none_or(|code| code == 1000 || code == 4000) && !self.failed {
            assert_eq!(
                counters.dropped.messages, self.dropped,
                "each sent, or told as dropped"
            );
            assert_eq!(cut, 0);
        }
        let pongs: Vec<&Vec<u8>> = frames
            .iter()
            .filter(|frame| frame.opcode == PONG)
            .map(|frame| &frame.payload)
            .collect();
        let numbers: Vec<&[u8]> = pongs.iter().map(|payload| &payload[..4]).collect();
        assert!(numbers.is_sorted(), "pongs in the order of the pings");
        if whole && self.pings <= 60 {
            let owed: Vec<&Vec<u8>> = self.owed_pongs.iter().collect();
            assert!(
                pongs.starts_with(&owed),
                "{} pongs for {} pings",
                pongs.len(),
                owed.len()
            );
        }
    }
}

fn wait_for_end_if_none(connection: &mut Connection) {
    if connection.poll_end().is_none() {
        wait_for_end(connection);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_wire_is_right_whatever_happens(
        ops in ops(),
        client: bool,
        strategy in prop::sample::select(vec![Full::DropOldest, Full::Pause, Full::BREAK]),
        fragment in prop::sample::select(vec![126usize, 200, 1000, 65_536]),
    ) {
        let role = if client { Role::Client } else { Role::Server };
        let mut world = World::new(role, strategy, fragment);
        for op in &ops {
            world.apply(op);
        }
        world.finish();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Two connections that talk to each other through any cuts: what one accepts, the other tells, and both end well.
    #[test]
    fn two_sides_understand_each_other(
        sends in prop::collection::vec((any::<bool>(), any::<bool>(), 0usize..3000), 0..12),
        steps in prop::collection::vec(1usize..500, 1..20),
        fragment in prop::sample::select(vec![126usize, 1000, 65_536]),
        client_closes: bool,
    ) {
        let now = start();
        let config = config(|config| config.fragment_bytes = fragment);
        let mut sides = ROLES.map(|role| connection(role, &config, now));
        let mut sent: [Vec<Seen>; 2] = Default::default();
        for (from_client, is_text, len) in sends {
            let from = usize::from(from_client);
            let payload: Vec<u8> = (b'a'..=b'z').cycle().take(len).collect();
            let kind = if is_text { MessageKind::Text } else { MessageKind::Binary };
            prop_assert!(sides[from].send(now, kind, &payload).is_ok());
            sent[from].push(Seen::Message(kind, payload));
        }
        sides[usize::from(client_closes)].close(now, code(1000), "done");
        let mut seen: [Vec<Seen>; 2] = Default::default();
        let mut shut = [false; 2];
        for step in steps.iter().cycle().take(100_000) {
            for from in [0, 1] {
                let wire = take(&mut sides[from], now, *step);
                feed_into(&mut sides[1 - from], now, &wire, &mut seen[1 - from]);
                if sides[from].poll_shutdown() && !shut[from] {
                    shut[from] = true;
                    sides[from].handle_shutdown(now);
                    sides[1 - from].handle_eof(now);
                }
            }
            if sides.iter().all(|side| side.poll_end().is_some()) {
                break;
            }
        }
        for (side, closed_first) in [(0, !client_closes), (1, client_closes)] {
            let reason = if closed_first { "done" } else { "" };
            sent[side].push(Seen::Close(Some(1000), reason.into()));
            let end = sides[side].poll_end().expect("both end without waiting for a deadline");
            prop_assert_eq!((end.sent, end.received), (Some(code(1000)), Some(code(1000))));
        }
        let [from_server, from_client] = sent;
        let [server_saw, client_saw] = seen;
        prop_assert_eq!(client_saw, from_server);
        prop_assert_eq!(server_saw, from_client);
    }
}
