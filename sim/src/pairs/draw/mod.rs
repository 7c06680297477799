//! Seed → connections: what all scenarios draw alike.

mod fin_race;
mod half_close;
mod half_open;
mod oversize;
mod ping_starvation;
mod zero_window;

use super::{End, Pace, Pair, PairsPlan, Raw, Settings, Shipped, Step};
use crate::chaos::ChaosPlan;
use crate::conn::Side;
use crate::moment::Moment;
use crate::net::NetPlan;
use crate::plan::Scenario;
use crate::rng::Rng;
use crate::wire::Direction;

/// Draws the plan of a seed.
#[must_use]
pub fn draw(scenario: Scenario, seed: u64) -> PairsPlan {
    let mut rng = Rng::derive(seed, scenario.name(), 0);
    let rng = &mut rng;
    let mut net = net(rng);
    let (pair, most): (fn(&mut Rng) -> Pair, u64) = match scenario {
        Scenario::HalfClose => (half_close::pair, 12),
        Scenario::HalfOpen => (half_open::pair, 12),
        Scenario::ZeroWindow => {
            net.window_bytes = rng.magnitude(1_024..=32_768);
            (zero_window::pair, 10)
        }
        Scenario::Oversize => (oversize::pair, 10),
        Scenario::PingStarvation => {
            ping_starvation::net(rng, &mut net);
            (ping_starvation::pair, 4)
        }
        _ => (fin_race::pair, 12),
    };
    let count = rng.within(most / 3..=most);
    let pairs = (0..count).map(|_| pair(rng)).collect();
    PairsPlan {
        scenario,
        seed,
        net,
        pairs,
    }
}

fn net(rng: &mut Rng) -> NetPlan {
    let calm = rng.percent(20);
    let chaos = |rng: &mut Rng| {
        if calm {
            ChaosPlan::default()
        } else {
            ChaosPlan::draw(rng)
        }
    };
    NetPlan {
        tick_ms: *rng.pick(&[1, 2, 5]),
        latency_ms_min: rng.within(1..=5),
        latency_ms_max: rng.magnitude(5..=60),
        client_chaos: chaos(rng),
        server_chaos: chaos(rng),
        window_bytes: rng.magnitude(2_048..=262_144),
        vectored: rng.percent(60),
        hang_percent: 0,
        fuses: Vec::new(),
    }
}

fn settings(rng: &mut Rng) -> Settings {
    Settings {
        ping_interval_ms: rng.percent(50).then(|| rng.within(200..=1_500)),
        ping_timeout_ms: rng.within(400..=1_000),
        queue_bytes: rng.magnitude(4_096..=1 << 20),
        window_bytes: rng.magnitude(1_024..=65_536),
        fragment_bytes: rng.magnitude(126..=65_536),
        stall_ms: rng.within(800..=2_500),
        progress_bytes: *rng.pick(&[1, 1, 256]),
        close_ms: rng.within(500..=1_500),
        eof_ms: rng.within(300..=800),
        ..Settings::default()
    }
}

fn shipped(rng: &mut Rng, steps: Vec<Step>) -> End {
    End::Shipped(Shipped {
        settings: settings(rng),
        inbox_messages: *rng.pick(&[5_000, 5_000, 3]),
        pace: Pace::Full,
        steps,
    })
}

/// A peer by hand that keeps to the protocol.
fn polite(steps: Vec<Step>) -> Raw {
    Raw {
        pongs: true,
        answers: true,
        fins: true,
        rogue: false,
        wrong: None,
        pace: Pace::Full,
        steps,
    }
}

/// The code with which an end closes: another for each side, so that an answer is never taken for a Close of one's own.
fn code(rng: &mut Rng, side: Side) -> u16 {
    let kind = u16::try_from(rng.below(50)).unwrap_or(0);
    match side {
        Side::Client => 4_000 + kind,
        Side::Server => 4_100 + kind,
    }
}

fn side(rng: &mut Rng) -> Side {
    *rng.pick(&Side::BOTH)
}

fn direction(rng: &mut Rng) -> Direction {
    *rng.pick(&[Direction::ToServer, Direction::ToClient])
}

/// Some messages, in a few bursts.
fn talk(rng: &mut Rng, bursts: u64, count: u64, bytes: u64) -> Vec<Step> {
    let mut steps = Vec::new();
    for _ in 0..rng.within(0..=bursts) {
        if rng.percent(50) {
            let ms = rng.within(1..=40);
            steps.push(Step::Sleep { ms });
        }
        let count = rng.magnitude(1..=count);
        let bytes = rng.magnitude(1..=bytes);
        steps.push(Step::Send { count, bytes });
    }
    steps
}

/// A moment of closing, or shortly before it.
fn moment(rng: &mut Rng) -> Moment {
    let by = side(rng);
    match rng.below(10) {
        0..=2 => Moment::close_sent(by),
        3 | 4 => Moment::close_read(by),
        5 => Moment::Fin { by },
        6 => Moment::ReadFin { by },
        7 => inside(rng, by, "CLOSE", 1),
        8 => {
            let nth = rng.within(1..=6);
            Moment::sent(by, "DATA", nth)
        }
        _ => Moment::Read {
            by,
            label: "DATA".to_owned(),
            nth: rng.within(1..=6),
        },
    }
}

/// A byte of a Close frame or a message.
fn inside(rng: &mut Rng, by: Side, label: &str, nth: u64) -> Moment {
    let bytes = if label == "CLOSE" {
        rng.within(1..=8)
    } else {
        rng.magnitude(1..=20_000)
    };
    Moment::Inside {
        by,
        label: label.to_owned(),
        nth,
        bytes,
    }
}
