//! A connection under test, and what is seen of it from both sides.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Instant;

use weirline_codec::{CloseCode, CloseFrame, FrameHeader, MaskKey, OpCode, apply_mask};
use weirline_connection::{Config, Connection, Event, Input, MessageKind};

/// The side that is under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Server,
    Client,
}

/// A connection of this side; a client's masking keys are all different.
pub(crate) fn connection(role: Role, config: &Arc<Config>, now: Instant) -> Connection {
    match role {
        Role::Server => Connection::server(Arc::clone(config), now),
        Role::Client => {
            let mut key = 0x0102_0304_u32;
            let mask = move || {
                key = key.wrapping_mul(0x9E37_79B1).wrapping_add(7);
                key.to_be_bytes()
            };
            Connection::client(Arc::clone(config), Box::new(mask), now)
        }
    }
}

/// An event to keep. Parts are told in a form that does not depend on where the reads were cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Message(MessageKind, Vec<u8>),
    PartsBegin(MessageKind),
    PartsData(Vec<u8>),
    PartsEnd,
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>, String),
}

/// Notes one event, and holds it to what its kind promises.
pub(crate) fn note(event: Event<'_>, seen: &mut Vec<Seen>) {
    match event {
        Event::Message { kind, payload } => {
            assert!(kind == MessageKind::Binary || std::str::from_utf8(&payload).is_ok());
            seen.push(Seen::Message(kind, payload.to_vec()));
        }
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
        Event::Ping { payload } => {
            assert!(payload.len() <= 125);
            seen.push(Seen::Ping(payload.to_vec()));
        }
        Event::Pong { .. } => seen.push(Seen::Pong),
        Event::CloseReceived { code, reason } => {
            assert!(reason.len() <= 123 && (code.is_some() || reason.is_empty()));
            seen.push(Seen::Close(code.map(CloseCode::value), reason));
        }
        other => panic!("an event that the targets do not know: {other:?}"),
    }
}

/// Messages out of parts; a control frame between parts comes before the message, whose end comes later. A message whose end never
/// came is none.
pub(crate) fn put_together(parts: Vec<Seen>) -> Vec<Seen> {
    let (mut whole, mut open) = (Vec::new(), None);
    for seen in parts {
        match (seen, &mut open) {
            (Seen::PartsBegin(kind), None) => open = Some((kind, Vec::new())),
            (Seen::PartsData(data), Some((_, bytes))) => bytes.extend(data),
            (Seen::PartsEnd, Some((kind, bytes))) => {
                whole.push(Seen::Message(*kind, std::mem::take(bytes)));
                open = None;
            }
            (part @ (Seen::PartsBegin(_) | Seen::PartsData(_) | Seen::PartsEnd), open) => {
                panic!("{part:?} with {open:?}")
            }
            (other, _) => whole.push(other),
        }
    }
    whole
}

/// Lets the transport take up to `max` bytes, offered in up to `N` slices.
pub(crate) fn transmit<const N: usize>(connection: &mut Connection, now: Instant, max: usize) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); N];
    let filled = connection.poll_transmit(&mut slices);
    assert_eq!(
        filled > 0,
        connection.wants_transmit(),
        "wants_transmit and poll_transmit agree"
    );
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
        wire.extend(transmit::<3>(connection, now, usize::MAX));
    }
    wire
}

/// Feeds `bytes` as one read; `after` sees the connection after each event.
pub(crate) fn feed(
    connection: &mut Connection,
    now: Instant,
    bytes: &[u8],
    seen: &mut Vec<Seen>,
    mut after: impl FnMut(&mut Connection),
) {
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
        after(connection);
    }
}

/// One frame that a connection sent, unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) fin: bool,
    pub(crate) opcode: OpCode,
    pub(crate) payload: Vec<u8>,
}

/// Reads what a connection of `role` sent with the decoder, and asserts what RFC 6455 §5 asks of every sender. Nothing may be cut.
pub(crate) fn parse_output(role: Role, mut wire: &[u8]) -> Vec<Frame> {
    let (mut frames, mut in_message, mut closed) = (Vec::new(), false, false);
    while !wire.is_empty() {
        assert!(!closed, "something stands behind the Close");
        let decoded = FrameHeader::decode(wire).expect("legal headers are sent");
        let (header, len) = decoded.expect("whole headers are sent");
        assert_eq!(
            header.mask.is_some(),
            role == Role::Client,
            "masked exactly by a client (RFC 6455 §5.1)"
        );
        assert!(header.rsv.is_none());
        let end = len + usize::try_from(header.payload_len).expect("sizes in memory");
        let mut payload = wire.get(len..end).expect("whole frames are sent").to_vec();
        if let Some(key) = header.mask {
            apply_mask(key, 0, &mut payload);
        }
        wire = &wire[end..];
        match header.opcode {
            OpCode::Close => {
                let close = CloseFrame::parse(&payload).expect("a legal Close is sent");
                assert!(close.reason.len() <= 123);
                closed = true;
            }
            OpCode::Ping | OpCode::Pong => {}
            data => {
                assert_eq!(data == OpCode::Continuation, in_message, "fragments in order");
                in_message = !header.fin;
            }
        }
        frames.push(Frame {
            fin: header.fin,
            opcode: header.opcode,
            payload,
        });
    }
    frames
}

/// The bytes of one frame as the peer of `role` sends it: masked for a server. `first` is the whole first byte, `declared` the
/// length that the header says.
pub(crate) fn put_frame(wire: &mut Vec<u8>, masked: bool, first: u8, payload: &[u8], declared: u64) {
    let key = [0xA5, 0x17, 0x00, 0xC3];
    let mask_bit = if masked { 0x80 } else { 0 };
    wire.push(first);
    match declared {
        0..=125 => wire.push(mask_bit | declared.to_be_bytes()[7]),
        126..=0xFFFF => {
            wire.push(mask_bit | 126);
            wire.extend_from_slice(&declared.to_be_bytes()[6..]);
        }
        _ => {
            wire.push(mask_bit | 127);
            wire.extend_from_slice(&declared.to_be_bytes());
        }
    }
    let mut payload = payload.to_vec();
    if masked {
        wire.extend_from_slice(&key);
        apply_mask(MaskKey::new(key), 0, &mut payload);
    }
    wire.extend(payload);
}
