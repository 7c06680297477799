//! Who closes first, and what crosses it.

use super::{code, direction, inside, moment, polite, shipped, side, talk};
use crate::conn::{Cut, Side};
use crate::moment::{Act, Moment, Rule};
use crate::pairs::{End, Pair, Step};
use crate::rng::Rng;

pub(super) fn pair(rng: &mut Rng) -> Pair {
    let by_hand = match rng.below(100) {
        0..60 => None,
        60..80 => Some(Side::Client),
        _ => Some(Side::Server),
    };
    let mut ends = Side::BOTH.map(|of| {
        if by_hand == Some(of) {
            hand(rng, of)
        } else {
            application(rng, of)
        }
    });
    let mut rules: Vec<Rule> = (0..rng.within(0..=4)).map(|_| rule(rng)).collect();
    if rng.percent(10) {
        give_up_a_send(rng, &mut ends, &mut rules);
    }
    Pair {
        start_ms: rng.within(0..=300),
        ends,
        rules,
        rates: [None, None],
        end_ms: rng.within(400..=900),
    }
}

/// An application that says more than its window takes, and drops its handles while a send waits.
fn give_up_a_send(rng: &mut Rng, ends: &mut [End; 2], rules: &mut Vec<Rule>) {
    let of = side(rng);
    let End::Shipped(talker) = &mut ends[of.index()] else {
        return;
    };
    talker.settings.window_bytes = 1_024;
    talker.settings.queue_bytes = 4_096;
    let (count, bytes) = (rng.within(10..=30), rng.within(2_000..=20_000));
    talker.steps.insert(0, Step::Send { count, bytes });
    let nth = rng.within(1..=4);
    rules.push(Rule {
        when: Moment::sent(of, "DATA", nth),
        after_ms: rng.within(0..=5),
        then: Act::Order {
            side: of,
            step: Step::DropHandles,
        },
    });
}

fn application(rng: &mut Rng, side: Side) -> End {
    let mut steps = talk(rng, 3, 30, 20_000);
    steps.push(if rng.percent(50) {
        let ms_max = 300;
        Step::Await {
            moment: moment(rng),
            ms_max,
        }
    } else {
        let ms = rng.within(0..=80);
        Step::Sleep { ms }
    });
    ending(rng, side, &mut steps);
    shipped(rng, steps)
}

fn ending(rng: &mut Rng, side: Side, steps: &mut Vec<Step>) {
    match rng.below(100) {
        0..55 => {
            let code = code(rng, side);
            steps.push(Step::Close { code });
            if rng.percent(20) {
                steps.push(Step::Await {
                    moment: moment(rng),
                    ms_max: rng.within(1..=200),
                });
                steps.push(
                    rng.pick(&[Step::Abort, Step::DropDriver, Step::FailHandler])
                        .clone(),
                );
            }
        }
        55..63 => steps.push(Step::Abort),
        63..77 => steps.extend([Step::DropHandles, Step::DropInbox]),
        77..82 => steps.push(Step::DropDriver),
        82..88 => steps.push(Step::FailHandler),
        _ => {}
    }
}

fn hand(rng: &mut Rng, side: Side) -> End {
    let mut steps = talk(rng, 2, 20, 5_000);
    if rng.percent(60) {
        let ms_max = 300;
        steps.push(Step::Await {
            moment: moment(rng),
            ms_max,
        });
    }
    let code = code(rng, side);
    match rng.below(10) {
        0..=4 => steps.push(Step::Close { code }),
        5 => steps.push(Step::Fin),
        6 => {
            let drain = rng.percent(50);
            steps.push(Step::Rst { drain });
        }
        7 => steps.push(Step::Quit),
        _ => {}
    }
    let mut raw = polite(steps);
    raw.answers = rng.percent(75);
    raw.fins = rng.percent(85);
    End::Raw(raw)
}

fn rule(rng: &mut Rng) -> Rule {
    let then = match rng.below(100) {
        0..40 => Act::Hold {
            direction: direction(rng),
            for_ms: rng.within(1..=200),
        },
        40..55 => Act::Release {
            direction: direction(rng),
        },
        55..70 => Act::Cut(*rng.pick(&[
            Cut::Rst { drain: false },
            Cut::Rst { drain: true },
            Cut::Fin,
            Cut::Silence,
        ])),
        _ => {
            let of = side(rng);
            let step = order(rng, of);
            Act::Order { side: of, step }
        }
    };
    let when = match &then {
        // A close while the other's Close is on its way is the densest race of all.
        Act::Order { side: of, .. } if rng.percent(50) => Moment::close_sent(of.other()),
        Act::Cut(_) if rng.percent(50) => {
            let by = side(rng);
            inside(rng, by, "CLOSE", 1)
        }
        _ => moment(rng),
    };
    Rule {
        when,
        after_ms: if rng.percent(60) { 0 } else { rng.within(1..=60) },
        then,
    }
}

fn order(rng: &mut Rng, side: Side) -> Step {
    match rng.below(10) {
        0..=4 => Step::Close {
            code: code(rng, side),
        },
        5 | 6 => Step::Send {
            count: rng.within(1..=5),
            bytes: rng.magnitude(1..=5_000),
        },
        7 => Step::Abort,
        _ => Step::DropHandles,
    }
}
