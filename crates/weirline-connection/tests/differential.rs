//! Beside tungstenite, an implementation of others: the same bytes give the same messages, and both refuse what must be refused.
//!
//! Where they need not agree:
//!
//! | what | tungstenite 0.30 | ours |
//! |---|---|---|
//! | a length that is not in its shortest form | takes it | 1002 (RFC 6455 §5.2: the minimal number of bytes MUST be used) |
//! | close code 1014 | refuses it | takes it: registered with IANA since |
//! | close codes that may not be sent | answers 1002 and calls it a Close | fails with 1002: told apart by its answer |
//! | a frame that has not wholly come | waits for it | judges at once what can be judged |
//! | pings in a row that wait for their pongs | answers the last | answers each, up to a bound |
//!
//! The last is why pongs are not compared.

mod common;

use std::collections::VecDeque;
use std::io::{Read, Write};

use common::*;
use proptest::prelude::*;
use tungstenite::protocol::frame::coding::CloseCode as TheirCode;
use tungstenite::protocol::{Role as TheirRole, WebSocketConfig};
use tungstenite::{Message, WebSocket};
use weirline_codec::HeaderError;
use weirline_connection::{Cause, End, MessageKind, ProtocolError};

const MESSAGE_BYTES_MAX: usize = 200;
const FRAME_BYTES_MAX: usize = 150;

/// What an implementation made of a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The stream ended, and nothing was wrong.
    Open,
    /// A Close came, with this code.
    Closed(Option<u16>),
    Refused,
}

/// A stream that brings its pieces, and keeps what is written.
#[derive(Debug, Default)]
struct Wire {
    pieces: VecDeque<Vec<u8>>,
    written: Vec<u8>,
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let Some(piece) = self.pieces.front_mut() else {
            return Ok(0);
        };
        let len = piece.len().min(into.len());
        into[..len].copy_from_slice(&piece[..len]);
        piece.drain(..len);
        if piece.is_empty() {
            self.pieces.pop_front();
        }
        Ok(len)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn tungstenite(role: Role, pieces: &[&[u8]]) -> WebSocket<Wire> {
    let wire = Wire {
        pieces: pieces
            .iter()
            .map(|piece| piece.to_vec())
            .filter(|piece| !piece.is_empty())
            .collect(),
        written: Vec::new(),
    };
    let role = match role {
        Role::Server => TheirRole::Server,
        Role::Client => TheirRole::Client,
    };
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX));
    WebSocket::from_raw_socket(wire, role, Some(config))
}

fn theirs(role: Role, pieces: &[&[u8]]) -> (Vec<Seen>, Verdict) {
    let mut socket = tungstenite(role, pieces);
    let mut seen = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => seen.push(Seen::Message(MessageKind::Text, text.as_bytes().to_vec())),
            Ok(Message::Binary(bytes)) => seen.push(Seen::Message(MessageKind::Binary, bytes.to_vec())),
            Ok(Message::Ping(bytes)) => seen.push(Seen::Ping(bytes.to_vec())),
            Ok(Message::Pong(_)) => seen.push(Seen::Pong(None)),
            Ok(Message::Close(Some(close)))
                if close.code == TheirCode::Protocol && close.reason == "Protocol violation" =>
            {
                return (seen, Verdict::Refused);
            }
            Ok(Message::Close(close)) => {
                return (seen, Verdict::Closed(close.map(|close| close.code.into())));
            }
            Ok(Message::Frame(frame)) => panic!("a bare frame: {frame}"),
            Err(tungstenite::Error::Protocol(
                tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
            )) => return (seen, Verdict::Open),
            Err(_) => return (seen, Verdict::Refused),
        }
    }
}

fn ours(role: Role, pieces: &[&[u8]]) -> (Vec<Seen>, Verdict, End) {
    let config = config(|config| {
        config.text_bytes_max = MESSAGE_BYTES_MAX as u64;
        config.binary_bytes_max = MESSAGE_BYTES_MAX as u64;
        config.frame_bytes_max = FRAME_BYTES_MAX as u64;
    });
    let now = start();
    let mut connection = connection(role, &config, now);
    let mut seen = Vec::new();
    for piece in pieces {
        feed_into(&mut connection, now, piece, &mut seen);
    }
    connection.handle_eof(now);
    drain(&mut connection, now);
    connection.handle_shutdown(now);
    let end = connection.poll_end().expect("both directions are over").clone();
    let verdict = match (&end.cause, seen.last()) {
        (Cause::Protocol(_), _) => Verdict::Refused,
        (_, Some(Seen::Close(code, _))) => Verdict::Closed(*code),
        _ => Verdict::Open,
    };
    seen.retain(|seen| !matches!(seen, Seen::Close(..)));
    (seen, verdict, end)
}

/// The payload of a frame: often text, sometimes over a limit.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..8),
        4 => ".{0,12}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 120..160),
        1 => "[a-zé€]{40,60}".prop_map(String::into_bytes),
    ]
}

/// The code and reason of a Close; 1014 is where the two differ.
fn close() -> impl Strategy<Value = Vec<u8>> {
    let code = prop_oneof![Just(1000_u16), 990_u16..1020, 2990_u16..5010, any::<u16>()];
    let code = code.prop_filter("1014 is another story", |code| *code != 1014);
    prop_oneof![
        8 => (code, payload()).prop_map(|(code, reason)| close_payload(code, &reason)),
        1 => prop::collection::vec(Just(3_u8), 0..2),
    ]
}

/// First bytes and payloads of whole frames; legal messages more often than not.
fn frames() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let message = (1_u8..3, prop::collection::vec(payload(), 1..4)).prop_map(|(opcode, parts)| {
        let last = parts.len() - 1;
        let fragment = |(index, part)| {
            let opcode = if index == 0 { opcode } else { CONTINUATION };
            (opcode | if index == last { FIN } else { 0 }, part)
        };
        parts.into_iter().enumerate().map(fragment).collect::<Vec<_>>()
    });
    let text = ("\\PC{0,20}", any::<prop::sample::Index>()).prop_map(|(text, cut)| {
        let bytes = text.into_bytes();
        let (start, end) = bytes.split_at(cut.index(bytes.len() + 1));
        vec![(TEXT, start.to_vec()), (FIN | CONTINUATION, end.to_vec())]
    });
    let control =
        (prop::sample::select(vec![FIN | PING, FIN | PONG]), payload()).prop_map(|frame| vec![frame]);
    let any_frame = (any::<u8>(), payload()).prop_map(|frame| vec![frame]);
    let close = close().prop_map(|payload| vec![(FIN | CLOSE, payload)]);
    let item = prop_oneof![4 => message, 4 => text, 3 => control, 1 => any_frame, 1 => close];
    prop::collection::vec(item, 1..7).prop_map(|items| items.concat())
}

fn pieces<'a>(wire: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
    cuts.extend([0, wire.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|cut| &wire[cut[0]..cut[1]]).collect()
}

/// Where ours may refuse although theirs does not.
fn may_be_stricter(end: &End) -> bool {
    // What has come of a frame is judged before the rest is there; theirs waits and sees the end of the stream.
    let early = |error: &ProtocolError| {
        matches!(
            error,
            ProtocolError::Header(_)
                | ProtocolError::NotMasked
                | ProtocolError::Masked
                | ProtocolError::ReservedBits
                | ProtocolError::UnexpectedContinuation
                | ProtocolError::ExpectedContinuation
                | ProtocolError::MessageTooBig { .. }
                | ProtocolError::FrameTooBig { .. }
                | ProtocolError::Utf8(_)
        )
    };
    matches!(&end.cause, Cause::Protocol(error) if early(error))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    /// Whole frames, legal or not, in any order and cut.
    #[test]
    fn whole_frames_give_the_same_messages_and_verdict(
        frames in frames(), wrong_mask in prop::option::weighted(0.05, any::<prop::sample::Index>()),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        for role in ROLES {
            let other = if role == Role::Server { Role::Client } else { Role::Server };
            let wrong = wrong_mask.as_ref().map(|index| index.index(frames.len()));
            let wire: Vec<u8> = frames.iter().enumerate().flat_map(|(index, (first, payload))| {
                frame(if wrong == Some(index) { other } else { role }, *first, payload)
            }).collect();
            let pieces = pieces(&wire, &cuts);
            let (seen, verdict, end) = ours(role, &pieces);
            let theirs = theirs(role, &pieces);
            prop_assert_eq!((seen, verdict), theirs, "{:?} {:x?}: {:?}", role, frames, end);
        }
    }

    /// Wires that are damaged or end anywhere: ours tells nothing that theirs does not, and refuses whatever theirs refuses.
    #[test]
    fn damaged_wires_are_never_taken_more_lightly(
        frames in frames(), flips in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..8), 0..3),
        keep in any::<prop::sample::Index>(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        for role in ROLES {
            let mut wire: Vec<u8> = frames.iter().flat_map(|(first, payload)| frame(role, *first, payload)).collect();
            wire.truncate(keep.index(wire.len()) + 1);
            for (at, bit) in &flips {
                let at = at.index(wire.len());
                wire[at] ^= 1 << bit;
            }
            let pieces = pieces(&wire, &cuts);
            let (seen, verdict, end) = ours(role, &pieces);
            let (their_seen, their_verdict) = theirs(role, &pieces);
            prop_assert!(their_seen.starts_with(&seen), "{:x?}: {:?} and {:?}", wire, seen, their_seen);
            match (verdict, their_verdict) {
                (Verdict::Closed(Some(1014)), Verdict::Refused) => {}
                (Verdict::Refused, Verdict::Open | Verdict::Closed(_)) => prop_assert!(may_be_stricter(&end), "{:?}", end),
                (ours, theirs) => {
                    prop_assert_eq!(ours, theirs, "{:x?}: {:?}", wire, end);
                    // Ours may have refused sooner: a length that is not minimal, and then what theirs refuses too.
                    prop_assert!(ours == Verdict::Refused || seen == their_seen);
                }
            }
        }
    }

    /// What ours sends, theirs reads, and the reverse.
    #[test]
    fn each_reads_what_the_other_sends(
        messages in prop::collection::vec((any::<bool>(), "[ -~é€😀]{0,50}"), 1..6), fragment in 126_usize..300,
    ) {
        for (role, other) in [(Role::Server, Role::Client), (Role::Client, Role::Server)] {
            let expect: Vec<Seen> = messages.iter().map(|(is_text, payload)| {
                let kind = if *is_text { MessageKind::Text } else { MessageKind::Binary };
                Seen::Message(kind, payload.as_bytes().to_vec())
            }).collect();
            let now = start();
            let config = config(|config| config.fragment_bytes = fragment);
            let mut connection = connection(role, &config, now);
            for message in &expect {
                let Seen::Message(kind, payload) = message else { continue };
                prop_assert!(connection.send(now, *kind, payload).is_ok());
            }
            connection.close(now, code(4000), "over");
            let wire = drain(&mut connection, now);
            prop_assert_eq!(theirs(other, &[&wire]), (expect.clone(), Verdict::Closed(Some(4000))));

            let mut socket = tungstenite(other, &[]);
            for (is_text, payload) in &messages {
                let message = if *is_text { Message::text(payload.as_str()) } else { Message::binary(payload.clone().into_bytes()) };
                prop_assert!(socket.write(message).is_ok());
            }
            prop_assert!(socket.flush().is_ok());
            let wire = std::mem::take(&mut socket.get_mut().written);
            let (seen, verdict, _) = ours(role, &[&wire]);
            prop_assert_eq!((seen, verdict), (expect, Verdict::Open));
        }
    }
}

/// The rows of the table above, so that a later version that changes its mind is noticed.
#[test]
fn the_known_differences_are_there() {
    let check = |wire: &[u8], expect: Verdict, their: Verdict| {
        let (_, verdict, end) = ours(Role::Client, &[wire]);
        assert_eq!(
            (verdict, theirs(Role::Client, &[wire]).1),
            (expect, their),
            "{wire:x?}: {end:?}"
        );
    };
    check(&[0x82, 126, 0, 1, 7], Verdict::Refused, Verdict::Open);
    check(
        &[0x88, 2, 0x03, 0xF6],
        Verdict::Closed(Some(1014)),
        Verdict::Refused,
    );
    check(&[0x83], Verdict::Refused, Verdict::Open);
    check(&[0x81, 3, 0xFF], Verdict::Refused, Verdict::Open);
    let (_, _, end) = ours(Role::Client, &[&[0x82, 126, 0, 1, 7]]);
    assert_eq!(
        end.cause,
        Cause::Protocol(ProtocolError::Header(HeaderError::LengthNotMinimal(1)))
    );
}
