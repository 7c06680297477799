//! A peer that takes nothing, or hardly anything, while there is much to say.

use super::{code, polite, settings, side};
use crate::conn::Side;
use crate::moment::Moment;
use crate::pairs::{End, Pace, Pair, Settings, Shipped, Step};
use crate::rng::Rng;
use crate::wire::Direction;

pub(super) fn pair(rng: &mut Rng) -> Pair {
    let reader = side(rng);
    let by_hand = rng.percent(65);
    let mut rates = [None, None];
    if rng.percent(25) {
        // It reads all the time, and far too slowly.
        let way = Direction::index(reader.receives());
        rates[way] = Some(rng.magnitude(20..=4_000));
    }
    let read_steps = reading(rng, reader);
    let ends = Side::BOTH.map(|of| {
        if of != reader {
            writer(rng, of)
        } else if by_hand {
            let mut raw = polite(read_steps.clone());
            raw.pongs = rng.percent(80);
            End::Raw(raw)
        } else {
            slow_application(rng, read_steps.clone())
        }
    });
    Pair {
        start_ms: rng.within(0..=300),
        ends,
        rules: Vec::new(),
        rates,
        end_ms: rng.within(3_000..=5_000),
    }
}

/// It stops, perhaps for less than anybody's patience, perhaps again.
fn reading(rng: &mut Rng, side: Side) -> Vec<Step> {
    let mut steps = Vec::new();
    for _ in 0..rng.within(1..=3) {
        let label = "DATA".to_owned();
        let nth = rng.within(1..=10);
        let moment = Moment::Read { by: side, label, nth };
        steps.push(Step::Await { moment, ms_max: 200 });
        steps.push(Step::Read(if rng.percent(70) {
            Pace::Stopped
        } else {
            Pace::Each(rng.magnitude(1..=500))
        }));
        let ms = rng.magnitude(50..=4_000);
        steps.push(Step::Sleep { ms });
        if rng.percent(70) {
            steps.push(Step::Read(Pace::Full));
        }
    }
    steps
}

fn writer(rng: &mut Rng, side: Side) -> End {
    let mut steps = Vec::new();
    for _ in 0..rng.within(1..=4) {
        let count = rng.magnitude(1..=100);
        let bytes = rng.magnitude(10..=50_000);
        steps.push(Step::Send { count, bytes });
        let ms = rng.magnitude(1..=500);
        steps.push(Step::Sleep { ms });
    }
    if rng.percent(30) {
        let code = code(rng, side);
        steps.push(Step::Close { code });
    }
    let settings = Settings {
        late_ms: rng.percent(50).then(|| rng.within(300..=2_000)),
        progress_bytes: *rng.pick(&[1, 64, 512]),
        ..settings(rng)
    };
    End::Shipped(Shipped {
        settings,
        inbox_messages: 5_000,
        pace: Pace::Full,
        steps,
    })
}

/// An application that does not read, over a driver that still answers.
fn slow_application(rng: &mut Rng, steps: Vec<Step>) -> End {
    let settings = Settings {
        pause_max_ms: *rng.pick(&[400, 1_000, 60_000]),
        ..settings(rng)
    };
    End::Shipped(Shipped {
        settings,
        inbox_messages: rng.magnitude(1..=20),
        pace: Pace::Full,
        steps,
    })
}
