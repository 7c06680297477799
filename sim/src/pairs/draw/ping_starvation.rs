//! Pings while large messages crawl to slow readers: they may wait for the frame in hand and for what the sockets hold, and for
//! nothing else.

use super::{polite, side};
use crate::chaos::ChaosPlan;
use crate::conn::Side;
use crate::net::NetPlan;
use crate::pairs::{End, Frame, Pace, Pair, Settings, Shipped, Step};
use crate::rng::Rng;

/// Stalls would only make the links slower, and pieces of a few bytes the runs longer.
pub(super) fn net(rng: &mut Rng, net: &mut NetPlan) {
    for chaos in [&mut net.client_chaos, &mut net.server_chaos] {
        *chaos = ChaosPlan {
            stall_per_mille: 0,
            join_percent: 0,
            short_bytes_max: 1_000,
            ..*chaos
        };
    }
    net.latency_ms_max = net.latency_ms_max.min(20);
    net.window_bytes = rng.magnitude(8_192..=65_536);
}

pub(super) fn pair(rng: &mut Rng) -> Pair {
    let writer = side(rng);
    let both = rng.percent(40);
    let by_hand = !both && rng.percent(40);
    let seconds = rng.within(2..=4);
    let mut rates = [None, None];
    let ends = Side::BOTH.map(|of| {
        if of == writer || both {
            let rate = rng.magnitude(30_000..=600_000);
            rates[of.sends().index()] = Some(rate);
            large(rng, of, rate, seconds)
        } else if by_hand {
            pinger(rng)
        } else {
            End::Shipped(Shipped {
                settings: settings(rng),
                inbox_messages: 5_000,
                pace: Pace::Full,
                steps: Vec::new(),
            })
        }
    });
    Pair {
        start_ms: rng.within(0..=100),
        ends,
        rules: Vec::new(),
        rates,
        end_ms: seconds * 1_000 + 500,
    }
}

fn settings(rng: &mut Rng) -> Settings {
    Settings {
        ping_interval_ms: Some(rng.within(100..=600)),
        ping_timeout_ms: 10_000,
        fragment_bytes: rng.magnitude(1_024..=32_768),
        stall_ms: 10_000,
        close_ms: 20_000,
        ..Settings::default()
    }
}

/// One message that takes most of the time, or a few that do.
fn large(rng: &mut Rng, side: Side, rate: u64, seconds: u64) -> End {
    let count = *rng.pick(&[1, 1, 3]);
    let steps = vec![
        Step::Send {
            count,
            bytes: rate * seconds * 3 / 4 / count,
        },
        Step::Close {
            code: super::code(rng, side),
        },
    ];
    let mut settings = settings(rng);
    // A message at a time; the others wait for their permit.
    settings.queue_bytes = 4 << 20;
    End::Shipped(Shipped {
        settings,
        inbox_messages: 5_000,
        pace: Pace::Full,
        steps,
    })
}

/// It pings by hand, and reads as fast as the link.
fn pinger(rng: &mut Rng) -> End {
    let mut steps = Vec::new();
    for _ in 0..rng.within(3..=10) {
        let ms = rng.within(50..=400);
        steps.push(Step::Sleep { ms });
        steps.push(Step::Frame(Frame {
            opcode: 9,
            bytes: rng.within(0..=125),
            ..Frame::default()
        }));
    }
    End::Raw(polite(steps))
}
