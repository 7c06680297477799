//! One direction ends before the other.

use super::{code, direction, inside, moment, polite, shipped, side, talk};
use crate::conn::{Cut, Side};
use crate::moment::{Act, Moment, Rule};
use crate::pairs::{End, Frame, Pair, Raw, Step};
use crate::rng::Rng;

pub(super) fn pair(rng: &mut Rng) -> Pair {
    // The shipped server meets more strange peers than the shipped client does.
    let by_hand = match rng.below(100) {
        0..60 => Some(Side::Client),
        60..85 => Some(Side::Server),
        _ => None,
    };
    let ends = Side::BOTH.map(|of| {
        if by_hand == Some(of) {
            End::Raw(hand(rng, of))
        } else {
            application(rng, of)
        }
    });
    let mut rules: Vec<Rule> = (0..rng.within(0..=2)).map(|_| hold(rng)).collect();
    if by_hand.is_none() || rng.percent(10) {
        let by = side(rng);
        let when = if rng.percent(50) {
            let nth = rng.within(1..=5);
            inside(rng, by, "DATA", nth)
        } else {
            moment(rng)
        };
        rules.push(Rule {
            when,
            after_ms: 0,
            then: Act::Cut(Cut::Fin),
        });
    }
    Pair {
        start_ms: rng.within(0..=300),
        ends,
        rules,
        rates: [None, None],
        end_ms: rng.within(500..=1_200),
    }
}

/// It has much to say, and may close as well.
fn application(rng: &mut Rng, side: Side) -> End {
    let mut steps = talk(rng, 4, 60, 10_000);
    if rng.percent(35) {
        let ms_max = rng.within(1..=300);
        steps.push(Step::Await {
            moment: moment(rng),
            ms_max,
        });
        let code = code(rng, side);
        steps.push(Step::Close { code });
    }
    shipped(rng, steps)
}

fn hand(rng: &mut Rng, side: Side) -> Raw {
    let mut steps = talk(rng, 3, 40, 5_000);
    if rng.percent(60) {
        let nth = rng.within(1..=30);
        let label = "DATA".to_owned();
        let moment = Moment::Read { by: side, label, nth };
        steps.push(Step::Await { moment, ms_max: 200 });
    }
    let own = code(rng, side);
    let code = *rng.pick(&[1_000, 1_005, own]);
    let close = Step::Close { code };
    let mut raw = polite(Vec::new());
    match rng.below(100) {
        // Close and FIN at once: what was under way, and the answer, must still come.
        0..35 => steps.push(close),
        // Close, and no FIN.
        35..50 => {
            steps.push(close);
            raw.fins = false;
        }
        // FIN between messages; it goes on reading.
        50..65 => steps.push(Step::Fin),
        // FIN inside a frame, or between the fragments of a message.
        65..78 => {
            steps.push(part(rng));
            steps.push(Step::Fin);
        }
        // Close, FIN, and gone with everything unread.
        78..86 => steps.extend([
            close,
            Step::Fin,
            Step::Sleep {
                ms: rng.within(0..=50),
            },
            Step::Quit,
        ]),
        // FIN, later RST.
        86..92 => {
            let drain = rng.percent(50);
            let moment = moment(rng);
            steps.extend([
                Step::Fin,
                Step::Await { moment, ms_max: 150 },
                Step::Rst { drain },
            ]);
        }
        // Its answer to a Close is a FIN, or nothing.
        _ => {
            raw.answers = false;
            raw.fins = rng.percent(50);
        }
    }
    raw.steps = steps;
    raw
}

/// The begin of something.
fn part(rng: &mut Rng) -> Step {
    let bytes = rng.within(0..=60);
    let fragmented = rng.percent(50);
    Step::Frame(Frame {
        fin: !fragmented,
        bytes,
        declared: (!fragmented).then_some(bytes + 1 + rng.below(60)),
        ..Frame::default()
    })
}

fn hold(rng: &mut Rng) -> Rule {
    Rule {
        when: moment(rng),
        after_ms: 0,
        then: Act::Hold {
            direction: direction(rng),
            for_ms: rng.within(1..=150),
        },
    }
}
