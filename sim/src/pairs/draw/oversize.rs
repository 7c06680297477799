//! More than a limit allows, or what the protocol forbids, from peers that go on sending.

use super::{polite, settings, side, talk};
use crate::conn::Side;
use crate::moment::{Act, Rule};
use crate::pairs::{End, Frame, Pace, Pair, Settings, Shipped, Step};
use crate::rng::Rng;

pub(super) fn pair(rng: &mut Rng) -> Pair {
    let by_hand = side(rng);
    let limits = Settings {
        message_bytes_max: rng.magnitude(200..=60_000),
        frame_bytes_max: rng.magnitude(200..=60_000),
        fragments_max: if rng.percent(25) {
            10_000
        } else {
            rng.within(2..=40)
        },
        controls_max: rng.within(10..=60),
        ..settings(rng)
    };
    let (wrong, violation) = violation(rng, &limits);
    let mut steps = allowed(rng, &limits);
    steps.extend(violation);
    if wrong.is_some() && rng.percent(70) {
        // It goes on, as if nothing had happened.
        let count = rng.within(1..=30);
        steps.push(Step::Send { count, bytes: 150 });
        if rng.percent(50) {
            let noise = vec![0xff; usize::try_from(rng.magnitude(1..=200_000)).unwrap_or(1)];
            steps.push(Step::Bytes(noise));
        }
    }
    let mut raw = polite(steps);
    raw.rogue = true;
    raw.wrong = wrong;
    let ends = Side::BOTH.map(|of| {
        if of == by_hand {
            End::Raw(raw.clone())
        } else {
            let steps = talk(rng, 3, 20, 10_000);
            End::Shipped(Shipped {
                settings: limits.clone(),
                inbox_messages: 5_000,
                pace: Pace::Full,
                steps,
            })
        }
    });
    let hold = rng.percent(20).then(|| Rule {
        when: super::moment(rng),
        after_ms: 0,
        then: Act::Hold {
            direction: super::direction(rng),
            for_ms: rng.within(1..=150),
        },
    });
    Pair {
        start_ms: rng.within(0..=300),
        ends,
        rules: hold.into_iter().collect(),
        rates: [None, None],
        end_ms: rng.within(1_000..=2_500),
    }
}

/// Messages exactly at a limit, which must pass.
fn allowed(rng: &mut Rng, limits: &Settings) -> Vec<Step> {
    let mut steps = Vec::new();
    let longest = limits.message_bytes_max.min(limits.frame_bytes_max);
    for _ in 0..rng.within(0..=3) {
        match rng.below(3) {
            0 => steps.push(Step::Frame(Frame {
                bytes: longest,
                ..Frame::default()
            })),
            1 => {
                let count = limits.fragments_max.min(40);
                steps.extend(fragments(count, longest.min(4_000) / count));
            }
            _ => {
                let count = rng.within(1..=5);
                steps.push(Step::Send {
                    count,
                    bytes: longest.min(150),
                });
            }
        }
        let ms = rng.within(1..=20);
        steps.push(Step::Sleep { ms });
    }
    steps
}

/// A message of so many fragments.
fn fragments(count: u64, bytes: u64) -> Vec<Step> {
    let fragment = |opcode, fin, count| {
        Step::Frame(Frame {
            fin,
            opcode,
            bytes,
            count,
            ..Frame::default()
        })
    };
    vec![
        fragment(2, false, 1),
        fragment(0, false, count.saturating_sub(2)),
        fragment(0, true, 1),
    ]
}

/// What is wrong, and the code that must answer it; nothing is, in some.
fn violation(rng: &mut Rng, limits: &Settings) -> (Option<u16>, Vec<Step>) {
    let longest = limits.message_bytes_max.min(limits.frame_bytes_max);
    let frame = |frame: Frame| vec![Step::Frame(frame)];
    let with = |code: u16, steps| (Some(code), steps);
    match rng.below(14) {
        // One byte too many, whole.
        0 | 1 => with(
            1009,
            frame(Frame {
                bytes: longest + 1,
                ..Frame::default()
            }),
        ),
        // A declared length that nobody should believe.
        2 | 3 => with(
            1009,
            frame(Frame {
                bytes: rng.within(0..=500),
                declared: Some(longest + rng.magnitude(1..=1 << 60)),
                ..Frame::default()
            }),
        ),
        // Fragments that are too much together.
        4 | 5 => with(1009, together(limits)),
        6 if limits.fragments_max < longest => with(1008, fragments(limits.fragments_max + 1, 1)),
        6 | 7 => with(1008, empties()),
        8 | 9 => with(
            1008,
            frame(Frame {
                opcode: *rng.pick(&[9, 10]),
                bytes: rng.within(0..=125),
                count: 4 * limits.controls_max,
                ..Frame::default()
            }),
        ),
        10 => with(
            1002,
            frame(Frame {
                opcode: *rng.pick(&[0, 3, 0x0b, 0x42, 0x12]),
                bytes: 3,
                ..Frame::default()
            }),
        ),
        11 => with(
            1002,
            frame(Frame {
                bytes: rng.within(1..=100),
                mask_wrong: true,
                ..Frame::default()
            }),
        ),
        12 => with(
            1007,
            frame(Frame {
                opcode: 1,
                bytes: longest.min(100),
                fill: 0xff,
                ..Frame::default()
            }),
        ),
        _ => (None, Vec::new()),
    }
}

/// Fragments within the limit of a frame, over that of a message.
fn together(limits: &Settings) -> Vec<Step> {
    let count = limits.fragments_max.clamp(2, 5);
    // Where a frame may be longer than a message, one is enough.
    let bytes = (limits.message_bytes_max / (count - 1)).min(limits.frame_bytes_max);
    let whole = count.max(limits.message_bytes_max / bytes.max(1) + 2);
    if whole > limits.fragments_max {
        return vec![Step::Frame(Frame {
            bytes: limits.message_bytes_max + 1,
            ..Frame::default()
        })];
    }
    fragments(whole, bytes)
}

/// More empty fragments in a row than are allowed.
fn empties() -> Vec<Step> {
    fragments(200, 0)
}
