//! Any split of an input gives the same events, output and end as the whole.

mod common;

use std::sync::Arc;

use common::*;
use proptest::prelude::*;
use weirline_connection::{Cause, Config, Delivery, End, ProtocolError};

/// What a peer may put on the wire.
#[derive(Clone, Debug)]
enum Item {
    /// A message in fragments, with control frames in between.
    Message {
        opcode: u8,
        fragments: Vec<Vec<u8>>,
        control: Option<(u8, Vec<u8>)>,
    },
    Frame(u8, Vec<u8>),
    Close(u16, Vec<u8>),
    Raw(Vec<u8>),
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..8),
        2 => ".{0,12}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 120..140),
    ]
}

/// A text cut anywhere, also inside its characters.
fn text_fragments() -> impl Strategy<Value = Vec<Vec<u8>>> {
    (
        ".{0,30}",
        prop::collection::vec(any::<prop::sample::Index>(), 0..5),
    )
        .prop_map(|(text, cuts)| {
            let bytes = text.into_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            cuts.windows(2)
                .map(|cut| bytes[cut[0]..cut[1]].to_vec())
                .collect()
        })
}

fn item() -> impl Strategy<Value = Item> {
    let control =
        || prop::option::of((8u8..11, payload()).prop_map(|(opcode, payload)| (FIN | opcode, payload)));
    prop_oneof![
        4 => (text_fragments(), control())
            .prop_map(|(fragments, control)| Item::Message { opcode: TEXT, fragments, control }),
        3 => (1u8..3, prop::collection::vec(payload(), 1..5), control())
            .prop_map(|(opcode, fragments, control)| Item::Message { opcode, fragments, control }),
        3 => (prop::sample::select(vec![FIN | PING, FIN | PONG]), payload())
            .prop_map(|(first, payload)| Item::Frame(first, payload)),
        1 => (any::<u8>(), payload()).prop_map(|(first, payload)| Item::Frame(first, payload)),
        1 => (prop_oneof![Just(1000u16), 990u16..1020, 2990u16..5010], payload())
            .prop_map(|(code, reason)| Item::Close(code, reason)),
        1 => prop::collection::vec(any::<u8>(), 1..20).prop_map(Item::Raw),
    ]
}

fn encode(role: Role, items: &[Item]) -> Vec<u8> {
    let mut wire = Vec::new();
    for item in items {
        match item {
            Item::Message {
                opcode,
                fragments,
                control,
            } => {
                for (i, fragment) in fragments.iter().enumerate() {
                    let opcode = if i == 0 { *opcode } else { CONTINUATION };
                    let fin = if i + 1 == fragments.len() { FIN } else { 0 };
                    wire.extend(frame(role, fin | opcode, fragment));
                    if let Some((first, payload)) = control.as_ref().filter(|_| i == 0) {
                        wire.extend(frame(role, *first, payload));
                    }
                }
            }
            Item::Frame(first, payload) => wire.extend(frame(role, *first, payload)),
            Item::Close(code, reason) => wire.extend(frame(role, FIN | CLOSE, &close_payload(*code, reason))),
            Item::Raw(bytes) => wire.extend_from_slice(bytes),
        }
    }
    wire
}

/// Small limits, so that they are met.
fn small(delivery: Delivery) -> Arc<Config> {
    config(|config| {
        config.delivery = delivery;
        config.text_bytes_max = 100;
        config.binary_bytes_max = 200;
        config.frame_bytes_max = 150;
        config.fragments_max = 4;
        config.empty_fragments_max = 1;
        config.control_rate.burst = 6;
    })
}

fn run<'a>(
    role: Role,
    config: &Arc<Config>,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<Seen>, Vec<u8>, End) {
    let now = start();
    let mut connection = connection(role, config, now);
    let mut seen = Vec::new();
    for piece in pieces {
        feed_into(&mut connection, now, piece, &mut seen);
    }
    connection.handle_eof(now);
    let wire = drain(&mut connection, now);
    assert!(connection.poll_shutdown());
    connection.handle_shutdown(now);
    let end = connection.poll_end().expect("both directions are over").clone();
    parse(role, &wire);
    if matches!(end.cause, Cause::Protocol(ProtocolError::Utf8(_))) {
        // How much is told of a text that turns out to be none depends on the reads.
        while matches!(seen.last(), Some(Seen::PartsBegin(_) | Seen::PartsData(_))) {
            seen.pop();
        }
    }
    (seen, wire, end)
}

fn check(role: Role, delivery: Delivery, wire: &[u8], mut cuts: Vec<usize>) -> Result<(), TestCaseError> {
    let config = small(delivery);
    let whole = run(role, &config, [wire].into_iter());
    cuts.extend([0, wire.len()]);
    cuts.sort_unstable();
    let split = run(role, &config, cuts.windows(2).map(|cut| &wire[cut[0]..cut[1]]));
    prop_assert_eq!(&split, &whole, "cut at {:?}: {:x?}", cuts, wire);
    let bytewise = run(role, &config, wire.chunks(1));
    prop_assert_eq!(&bytewise, &whole, "byte by byte: {:x?}", wire);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whole_is_split_is_byte_by_byte(
        items in prop::collection::vec(item(), 1..6),
        flip in prop::option::weighted(0.3, (any::<prop::sample::Index>(), 0u8..8)),
        keep in prop::option::weighted(0.3, any::<prop::sample::Index>()),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        for role in ROLES {
            let mut wire = encode(role, &items);
            if let Some(keep) = keep {
                wire.truncate(keep.index(wire.len()) + 1);
            }
            if let Some((at, bit)) = flip.filter(|_| !wire.is_empty()) {
                let at = at.index(wire.len());
                wire[at] ^= 1 << bit;
            }
            let cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
            for delivery in [Delivery::Messages, Delivery::Parts] {
                check(role, delivery, &wire, cuts.clone())?;
            }
        }
    }

    /// Both ways of delivery judge alike, and the parts put together are the messages.
    #[test]
    fn parts_are_the_messages(items in prop::collection::vec(item(), 1..6)) {
        for role in ROLES {
            let wire = encode(role, &items);
            let (messages, sent, end) = run(role, &small(Delivery::Messages), [&wire[..]].into_iter());
            let (parts, parts_sent, parts_end) = run(role, &small(Delivery::Parts), [&wire[..]].into_iter());
            prop_assert_eq!((sent, end), (parts_sent, parts_end));
            prop_assert_eq!(put_together(parts), messages);
        }
    }
}

/// Messages out of parts; a control frame between parts comes before the message, whose end comes later.
fn put_together(parts: Vec<Seen>) -> Vec<Seen> {
    let (mut whole, mut open) = (Vec::new(), None);
    for seen in parts {
        match (seen, &mut open) {
            (Seen::PartsBegin(kind), None) => open = Some((kind, Vec::new())),
            (Seen::PartsData(data), Some((_, bytes))) => bytes.extend(data),
            (Seen::PartsEnd, Some(_)) => {
                whole.extend(open.take().map(|(kind, bytes)| Seen::Message(kind, bytes)));
            }
            (part @ (Seen::PartsBegin(_) | Seen::PartsData(_) | Seen::PartsEnd), open) => {
                panic!("{part:?} with {open:?}")
            }
            (other, _) => whole.push(other),
        }
    }
    whole
}
