//! A peer that is gone without a word.

use super::{code, direction, inside, moment, polite, settings, side, talk};
use crate::conn::{Cut, Side};
use crate::moment::{Act, Moment, Rule};
use crate::pairs::{End, Pace, Pair, Shipped, Step};
use crate::rng::Rng;

pub(super) fn pair(rng: &mut Rng) -> Pair {
    let mute = match rng.below(100) {
        0..70 => None,
        70..85 => Some(Side::Client),
        _ => Some(Side::Server),
    };
    let ends = Side::BOTH.map(|of| {
        if mute == Some(of) {
            hand(rng, of)
        } else {
            application(rng, of)
        }
    });
    let mut rules = Vec::new();
    if mute.is_none() || rng.percent(50) {
        rules.push(Rule {
            when: when(rng),
            after_ms: if rng.percent(70) {
                0
            } else {
                rng.magnitude(1..=1_000)
            },
            then: Act::Cut(Cut::Silence),
        });
    }
    if rng.percent(20) {
        rules.push(Rule {
            when: moment(rng),
            after_ms: 0,
            then: Act::Hold {
                direction: direction(rng),
                for_ms: rng.within(1..=200),
            },
        });
    }
    Pair {
        start_ms: rng.within(0..=300),
        ends,
        rules,
        rates: [None, None],
        end_ms: rng.within(3_000..=5_000),
    }
}

/// Idle, in the middle of a message, of a ping, of closing.
fn when(rng: &mut Rng) -> Moment {
    let by = side(rng);
    let nth = rng.within(1..=4);
    match rng.below(10) {
        0 | 1 => Moment::sent(by, "HEAD", 1),
        2 => Moment::sent(by, "PING", nth),
        3 => Moment::sent(by, "PONG", nth),
        4..=6 => inside(rng, by, "DATA", nth),
        _ => moment(rng),
    }
}

fn application(rng: &mut Rng, side: Side) -> End {
    let mut steps = Vec::new();
    for _ in 0..rng.within(1..=4) {
        steps.extend(talk(rng, 2, 20, 20_000));
        let ms = rng.magnitude(1..=1_000);
        steps.push(Step::Sleep { ms });
    }
    if rng.percent(40) {
        steps.push(Step::Close {
            code: code(rng, side),
        });
    }
    let mut settings = settings(rng);
    settings.ping_interval_ms = rng.percent(90).then(|| rng.within(200..=1_200));
    // With a bound on how long a message may wait, or senders that wait.
    settings.late_ms = rng.percent(30).then(|| rng.within(500..=2_000));
    End::Shipped(Shipped {
        settings,
        inbox_messages: 5_000,
        pace: Pace::Full,
        steps,
    })
}

/// A peer that never answers a ping, or says nothing at all, or does not even read.
fn hand(rng: &mut Rng, side: Side) -> End {
    let steps = if rng.percent(50) {
        talk(rng, 3, 10, 5_000)
    } else {
        Vec::new()
    };
    let mut raw = polite(steps);
    raw.pongs = rng.percent(20);
    raw.answers = rng.percent(50);
    if rng.percent(30) {
        raw.pace = Pace::Stopped;
    } else if rng.percent(20) {
        let code = code(rng, side);
        raw.steps.push(Step::Close { code });
    }
    End::Raw(raw)
}
