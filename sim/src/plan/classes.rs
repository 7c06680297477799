//! How likely each class of faults is in a scenario, and how many there are then.

use super::{Fault, FaultKind, Scenario, draw_cut};
use crate::rng::Rng;

/// Percent of the seeds that have a class, and the most faults of it then.
type Share = (u64, u64);

/// The classes of one scenario. What is left out never happens.
#[derive(Clone, Copy, Default)]
struct Classes {
    cut: Share,
    crash: Share,
    second: Share,
    hold: Share,
    sever: Share,
    latency: Share,
    bounce: Share,
    power: Share,
    cut_all: Share,
}

impl Classes {
    fn of(scenario: Scenario) -> Self {
        let none = Self::default();
        match scenario {
            Scenario::Partition => Self {
                cut: (30, 6),
                crash: (25, 3),
                second: (25, 1),
                hold: (60, 6),
                sever: (60, 5),
                latency: (50, 4),
                ..none
            },
            Scenario::ServerCrash => Self {
                cut: (50, 6),
                crash: (40, 3),
                second: (30, 1),
                bounce: (100, 5),
                ..none
            },
            Scenario::PowerLoss => Self {
                cut: (40, 5),
                crash: (30, 2),
                second: (25, 1),
                bounce: (25, 2),
                power: (100, 5),
                ..none
            },
            Scenario::Takeover => Self {
                cut: (60, 8),
                crash: (40, 3),
                second: (100, 1),
                hold: (30, 3),
                ..none
            },
            Scenario::EpochReset => Self {
                cut: (40, 5),
                crash: (30, 2),
                bounce: (100, 5),
                ..none
            },
            Scenario::RetentionGap => Self {
                cut: (60, 8),
                crash: (40, 3),
                hold: (50, 4),
                bounce: (20, 2),
                ..none
            },
            Scenario::ReconnectStorm => Self {
                cut: (30, 3),
                bounce: (70, 3),
                cut_all: (80, 3),
                ..none
            },
            _ => Self {
                cut: (50, 6),
                crash: (40, 3),
                second: (30, 1),
                bounce: (35, 3),
                ..none
            },
        }
    }
}

/// Draws what happens by time. `durable`: a restarted server finds its log again.
pub(super) fn draw_faults(
    rng: &mut Rng,
    scenario: Scenario,
    clients: usize,
    heal_ms: u64,
    durable: bool,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut class = |rng: &mut Rng, (percent, most): Share, make: &dyn Fn(&mut Rng, usize) -> FaultKind| {
        if percent == 0 || !rng.percent(percent) {
            return;
        }
        for _ in 0..rng.within(1..=most) {
            let client = rng.index(clients);
            let kind = make(rng, client);
            faults.push(Fault {
                at_ms: rng.within(100..=heal_ms - 1),
                kind,
            });
        }
    };
    let silence = scenario == Scenario::Partition;
    let classes = Classes::of(scenario);
    class(rng, classes.cut, &|rng, client| FaultKind::Cut {
        client,
        cut: draw_cut(rng, silence),
    });
    class(rng, classes.crash, &|rng, client| FaultKind::Crash {
        client,
        down_ms: rng.magnitude(1..=2_000),
    });
    class(rng, classes.second, &|_, client| FaultKind::Second { client });
    class(rng, classes.hold, &|rng, client| FaultKind::Hold {
        client,
        for_ms: rng.magnitude(10..=4_000),
    });
    class(rng, classes.sever, &|rng, client| FaultKind::Sever {
        client,
        for_ms: rng.magnitude(10..=5_000),
    });
    class(rng, classes.latency, &|rng, client| FaultKind::Latency {
        client,
        for_ms: rng.magnitude(50..=4_000),
        ms: rng.magnitude(10..=1_500),
    });
    class(rng, classes.bounce, &|rng, _| FaultKind::Bounce {
        down_ms: rng.magnitude(1..=3_000),
    });
    class(rng, classes.power, &|rng, _| FaultKind::PowerLoss {
        down_ms: rng.magnitude(1..=3_000),
    });
    class(rng, classes.cut_all, &|rng, _| FaultKind::CutAll {
        cut: draw_cut(rng, false),
    });
    // Two processes that go on from copies of one state must not both lose their session and number anew.
    let forgets = |fault: &Fault| matches!(fault.kind, FaultKind::Bounce { .. });
    if !durable && faults.iter().any(forgets) {
        faults.retain(|fault| !matches!(fault.kind, FaultKind::Second { .. }));
    }
    faults.sort_by_key(|fault| fault.at_ms);
    faults
}
