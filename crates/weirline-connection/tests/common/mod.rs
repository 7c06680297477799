//! A peer made by hand: frames are built and read here by RFC 6455 alone, without the codec under test.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weirline_connection::{CloseCode, Config, Connection, Event, Input, MessageKind};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;
pub(crate) const FIN: u8 = 0x80;

/// The side that is under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Server,
    Client,
}

pub(crate) const ROLES: [Role; 2] = [Role::Server, Role::Client];

#[expect(
    clippy::disallowed_methods,
    reason = "an arbitrary start; the tests move it by hand"
)]
pub(crate) fn start() -> Instant {
    Instant::now()
}

pub(crate) fn config(edit: impl FnOnce(&mut Config)) -> Arc<Config> {
    let mut config = Config::default();
    edit(&mut config);
    Arc::new(config)
}

/// A connection whose masking keys, if it has any, are all different.
pub(crate) fn connection(role: Role, config: &Arc<Config>, now: Instant) -> Connection {
    match role {
        Role::Server => Connection::server(config.clone(), now),
        Role::Client => {
            let mut n = 0x0102_0304_u32;
            let mask = move || {
                n = n.wrapping_mul(0x9E37_79B1).wrapping_add(7);
                n.to_be_bytes()
            };
            Connection::client(config.clone(), Box::new(mask), now)
        }
    }
}

/// A frame as the peer of `role` sends it: masked for a server. `first` is the whole first byte.
pub(crate) fn frame(role: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    frame_with_key(
        (role == Role::Server).then_some([0xA5, 0x17, 0x00, 0xC3]),
        first,
        payload,
    )
}

pub(crate) fn frame_with_key(key: Option<[u8; 4]>, first: u8, payload: &[u8]) -> Vec<u8> {
    let mut wire = header(first, key, payload.len() as u64);
    let body = wire.len();
    wire.extend_from_slice(payload);
    if let Some(key) = key {
        for (i, byte) in wire[body..].iter_mut().enumerate() {
            *byte ^= key[i % 4];
        }
    }
    wire
}

/// A header alone, with the shortest form of the length.
pub(crate) fn header(first: u8, key: Option<[u8; 4]>, len: u64) -> Vec<u8> {
    let mask = if key.is_some() { 0x80 } else { 0 };
    let mut wire = vec![first];
    match len {
        0..=125 => wire.push(mask | u8::try_from(len).unwrap()),
        126..=0xFFFF => {
            wire.push(mask | 126);
            wire.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
        _ => {
            wire.push(mask | 127);
            wire.extend(len.to_be_bytes());
        }
    }
    wire.extend(key.iter().flatten());
    wire
}

pub(crate) fn close_payload(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason].concat()
}

pub(crate) fn code(code: u16) -> CloseCode {
    CloseCode::try_from(code).unwrap()
}

/// An event to keep. Parts are told in a form that does not depend on where the reads were cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Message(MessageKind, Vec<u8>),
    PartsBegin(MessageKind),
    PartsData(Vec<u8>),
    PartsEnd,
    Ping(Vec<u8>),
    Pong(Option<Duration>),
    Close(Option<u16>, String),
}

pub(crate) fn text(text: &str) -> Seen {
    Seen::Message(MessageKind::Text, text.as_bytes().to_vec())
}

pub(crate) fn binary(bytes: &[u8]) -> Seen {
    Seen::Message(MessageKind::Binary, bytes.to_vec())
}

/// Feeds `bytes` as one read.
pub(crate) fn feed(connection: &mut Connection, now: Instant, bytes: &[u8]) -> Vec<Seen> {
    let mut seen = Vec::new();
    feed_into(connection, now, bytes, &mut seen);
    seen
}

pub(crate) fn feed_into(connection: &mut Connection, now: Instant, bytes: &[u8], seen: &mut Vec<Seen>) {
    let mut bytes = bytes.to_vec();
    let mut input = Input::new(&mut bytes);
    while !input.is_empty() {
        match connection.handle_input(now, &mut input) {
            Some(event) => note(event, seen),
            None => assert!(
                input.is_empty(),
                "input is left although there is nothing to tell"
            ),
        }
    }
}

fn note(event: Event<'_>, seen: &mut Vec<Seen>) {
    match event {
        Event::Message { kind, payload } => seen.push(Seen::Message(kind, payload.to_vec())),
        Event::Part {
            kind,
            payload,
            first,
            last,
        } => {
            if first {
                seen.push(Seen::PartsBegin(kind));
            }
            match seen.last_mut() {
                Some(Seen::PartsData(data)) => data.extend_from_slice(&payload),
                _ if payload.is_empty() => {}
                _ => seen.push(Seen::PartsData(payload.to_vec())),
            }
            if last {
                seen.push(Seen::PartsEnd);
            }
        }
        Event::Ping { payload } => seen.push(Seen::Ping(payload.to_vec())),
        Event::Pong { rtt } => seen.push(Seen::Pong(rtt)),
        Event::CloseReceived { code, reason } => seen.push(Seen::Close(code.map(CloseCode::value), reason)),
        other => panic!("an event that the tests do not know: {other:?}"),
    }
}

/// Lets the transport take up to `max` bytes, offered in up to eight slices.
pub(crate) fn take(connection: &mut Connection, now: Instant, max: usize) -> Vec<u8> {
    take_slices::<8>(connection, now, max)
}

pub(crate) fn take_slices<const N: usize>(connection: &mut Connection, now: Instant, max: usize) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); N];
    let filled = connection.poll_transmit(&mut slices);
    assert_eq!(
        filled > 0,
        connection.wants_transmit(),
        "wants_transmit and poll_transmit agree"
    );
    if let Some(one) = connection.poll_transmit_one() {
        assert!(filled == 1 && *slices[0] == *one, "both ways give the same");
    }
    let mut wire = Vec::new();
    for slice in &slices[..filled] {
        assert!(!slice.is_empty(), "an empty slice");
        wire.extend_from_slice(&slice[..slice.len().min(max - wire.len())]);
    }
    if !wire.is_empty() {
        let _ = connection.handle_transmitted(now, wire.len());
    }
    wire
}

/// Lets the transport take everything.
pub(crate) fn drain(connection: &mut Connection, now: Instant) -> Vec<u8> {
    let mut wire = Vec::new();
    while connection.wants_transmit() {
        wire.extend(take(connection, now, usize::MAX - wire.len()));
    }
    wire
}

/// One frame that the connection sent, unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) fin: bool,
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
    /// Where the frame ends on the wire.
    pub(crate) end: usize,
}

/// Reads what a connection of `role` sent, and asserts what RFC 6455 §5 asks of every sender. Returns the whole frames and
/// how many bytes of a further one stand behind them.
pub(crate) fn parse_prefix(role: Role, wire: &[u8]) -> (Vec<Frame>, usize) {
    let (mut frames, mut at, mut in_message, mut closed) = (Vec::new(), 0, false, false);
    while let Some((frame, len)) = parse_frame(role, &wire[at..]) {
        assert!(!closed, "a frame behind the Close: {frame:?}");
        at += len;
        if frame.opcode & 0x8 != 0 {
            assert!(
                frame.fin && frame.payload.len() <= 125,
                "an illegal control frame"
            );
            closed = frame.opcode == CLOSE;
        } else {
            assert_eq!(frame.opcode == CONTINUATION, in_message, "fragments out of order");
            in_message = !frame.fin;
        }
        frames.push(Frame { end: at, ..frame });
    }
    assert!(!closed || at == wire.len(), "bytes behind the Close");
    (frames, wire.len() - at)
}

/// Like [`parse_prefix`], where nothing may be cut.
pub(crate) fn parse(role: Role, wire: &[u8]) -> Vec<Frame> {
    let (frames, rest) = parse_prefix(role, wire);
    assert_eq!(rest, 0, "the wire ends inside a frame: {wire:x?}");
    frames
}

fn parse_frame(role: Role, wire: &[u8]) -> Option<(Frame, usize)> {
    let (&first, &second) = (wire.first()?, wire.get(1)?);
    assert_eq!(first & 0x70, 0, "reserved bits");
    assert!(
        matches!(first & 0xF, 0..=2 | 8..=10),
        "reserved opcode: {first:#x}"
    );
    assert_eq!(
        second & 0x80 != 0,
        role == Role::Client,
        "masked exactly by a client (RFC 6455 §5.1)"
    );
    let (len, mut at) = match second & 0x7F {
        126 => (u64::from(u16::from_be_bytes(*wire[2..].first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*wire[2..].first_chunk()?), 10),
        short => (u64::from(short), 2),
    };
    let shortest = match len {
        0..=125 => 2,
        126..=0xFFFF => 4,
        _ => 10,
    };
    assert_eq!(at, shortest, "the shortest form of the length (RFC 6455 §5.2)");
    let key = if second & 0x80 == 0 {
        [0; 4]
    } else {
        at += 4;
        *wire[at - 4..].first_chunk()?
    };
    let end = at + usize::try_from(len).unwrap();
    let payload = wire.get(at..end)?;
    let frame = Frame {
        fin: first & 0x80 != 0,
        opcode: first & 0xF,
        payload: payload
            .iter()
            .zip(key.iter().cycle())
            .map(|(b, k)| b ^ k)
            .collect(),
        end,
    };
    Some((frame, end))
}

/// The code of the Close on the wire: `None` without a Close, 1005 for an empty one.
pub(crate) fn close_code(frames: &[Frame]) -> Option<u16> {
    let close = frames.iter().find(|frame| frame.opcode == CLOSE)?;
    Some(
        close
            .payload
            .first_chunk()
            .map_or(1005, |code| u16::from_be_bytes(*code)),
    )
}

/// Whole data messages among frames.
pub(crate) fn messages(frames: &[Frame]) -> Vec<(u8, Vec<u8>)> {
    let (mut whole, mut open) = (Vec::new(), None);
    for frame in frames.iter().filter(|frame| frame.opcode & 0x8 == 0) {
        let (_, payload): &mut (u8, Vec<u8>) = open.get_or_insert((frame.opcode, Vec::new()));
        payload.extend_from_slice(&frame.payload);
        if frame.fin {
            whole.extend(open.take());
        }
    }
    whole
}

/// `get` of the latest end, by letting every deadline come. Panics where that takes too many.
pub(crate) fn wait_for_end(connection: &mut Connection) -> Duration {
    let mut first = None;
    for _ in 0..100 {
        let Some(at) = connection.poll_timeout() else {
            break;
        };
        let first = *first.get_or_insert(at);
        connection.handle_timeout(at);
        if connection.poll_end().is_some() {
            return at - first;
        }
    }
    panic!("no end in sight: {connection:?}")
}

/// Sets `now` forward and acts on every deadline in between; each must move something.
pub(crate) fn advance_to(connection: &mut Connection, to: Instant) {
    while let Some(at) = connection.poll_timeout().filter(|at| *at <= to) {
        connection.handle_timeout(at);
        assert!(
            connection.poll_timeout().is_none_or(|next| next > at),
            "a deadline that came is still there: {connection:?}"
        );
    }
}
