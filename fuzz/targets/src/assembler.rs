//! Frames in any order against a model of what a message is: fragments, limits, control frames in between, failures.
//!
//! The first bytes choose side, limits and cuts. Each frame is then a byte of flags and opcode, a byte of length, and its payload:
//! taken from the input, or running text that fragments cut inside its characters.

mod model;

use std::sync::Arc;

use weirline_connection::{Config, Delivery, End};

use crate::peer::{Role, Seen, connection, drain, feed, parse_output, put_together};
use crate::source::{Source, pieces, start};
use model::Model;

pub(crate) fn run(input: &[u8]) {
    let mut source = Source::new(input);
    let role = source.choose(&[Role::Server, Role::Client]);
    let limits = source.choose(LIMITS);
    let seed = source.byte();
    let frames = frames(&mut source);
    let mut wire = Vec::new();
    let mut model = Model::new(limits);
    for frame in &frames {
        let masked = (role == Role::Server) != frame.wrong_mask;
        crate::peer::put_frame(&mut wire, masked, frame.first, &frame.payload, frame.declared);
        model.take(frame);
    }
    for delivery in [Delivery::Messages, Delivery::Parts] {
        let config = config(limits, delivery);
        for pieces in [vec![&wire[..]], pieces(seed, &wire), wire.chunks(1).collect()] {
            let (seen, output, end) = feed_all(role, &config, &pieces);
            let seen = put_together(seen);
            assert_eq!(seen, model.seen, "{frames:?}");
            model.judge(&output, &end, &frames);
        }
    }
}

/// A frame as the peer sends it.
#[derive(Debug)]
struct PeerFrame {
    first: u8,
    wrong_mask: bool,
    declared: u64,
    /// What comes of the payload: all of it, unless the stream ends here.
    payload: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    text: u64,
    binary: u64,
    frame: u64,
    fragments: u32,
    empty: u32,
}

const LIMITS: &[Limits] = &[
    Limits {
        text: 40,
        binary: 300,
        frame: 300,
        fragments: 6,
        empty: 2,
    },
    Limits {
        text: 300,
        binary: 100,
        frame: 30,
        fragments: 100,
        empty: 0,
    },
    Limits {
        text: 0,
        binary: 1,
        frame: 1,
        fragments: 2,
        empty: 1,
    },
    Limits {
        text: 1 << 20,
        binary: 1 << 20,
        frame: 1 << 20,
        fragments: 1000,
        empty: 100,
    },
];

fn config(limits: Limits, delivery: Delivery) -> Arc<Config> {
    let mut config = Config::default();
    config.delivery = delivery;
    config.text_bytes_max = limits.text;
    config.binary_bytes_max = limits.binary;
    config.frame_bytes_max = limits.frame;
    config.fragments_max = limits.fragments;
    config.empty_fragments_max = limits.empty;
    Arc::new(config)
}

/// Frames until the input is used up. Bits 0 to 3 of a frame's first byte: its kind, legal more often than not; bit 4: its last
/// fragment; bit 5: running text; bits 6 and 7 both set: the rare ways to be wrong.
fn frames(source: &mut Source<'_>) -> Vec<PeerFrame> {
    const KINDS: &[u8; 16] = &[0, 0, 0, 0, 1, 1, 1, 2, 2, 9, 9, 10, 8, 0, 3, 0];
    let mut text = "aé€😀".bytes().cycle();
    let mut frames = Vec::new();
    while !source.is_empty() && frames.len() < FRAMES_MAX {
        let what = source.byte();
        let kind = KINDS[usize::from(what & 15)];
        let fin = what & 16 != 0 || kind >= 8;
        let wrong = if what & 0xC0 == 0xC0 {
            1 + source.below(4)
        } else {
            0
        };
        let len = match source.byte() {
            long @ 200.. => 126 + 8 * usize::from(long - 200),
            short => usize::from(short) % 64,
        };
        let payload = if what & 32 == 0 {
            let mut payload = source.take(len).to_vec();
            payload.resize(len, b'.');
            payload
        } else {
            text.by_ref().take(len).collect()
        };
        let mut frame = PeerFrame {
            first: kind | u8::from(fin) << 7,
            wrong_mask: wrong == 1,
            declared: len as u64,
            payload,
        };
        match wrong {
            2 => frame.first |= 0x40,
            3 => frame.declared = u64::from(source.u16()) << 40 | 0x1_0000,
            4 => frame.first &= 0x7F,
            _ => {}
        }
        let cut = frame.declared > frame.payload.len() as u64;
        frames.push(frame);
        if cut {
            break;
        }
    }
    frames
}

const FRAMES_MAX: usize = 200;

/// Feeds the pieces and then the end of the stream; what goes out is taken after each event.
fn feed_all(role: Role, config: &Arc<Config>, pieces: &[&[u8]]) -> (Vec<Seen>, Vec<crate::peer::Frame>, End) {
    let now = start();
    let mut connection = connection(role, config, now);
    let (mut seen, mut output, mut fed) = (Vec::new(), Vec::new(), 0);
    for piece in pieces {
        fed += piece.len();
        feed(&mut connection, now, piece, &mut seen, |connection| {
            output.extend(drain(connection, now));
            let held = connection.held_bytes();
            assert!(held <= 2 * fed + HELD_FIXED, "{held} bytes held for {fed}");
        });
    }
    connection.handle_eof(now);
    output.extend(drain(&mut connection, now));
    connection.handle_shutdown(now);
    let end = connection.poll_end().expect("both directions are over").clone();
    (seen, parse_output(role, &output), end)
}

/// The record of an open message, and room for a control frame's payload.
const HELD_FIXED: usize = 512;
