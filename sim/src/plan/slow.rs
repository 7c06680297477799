//! Subscribers that read slowly or not at all, beside others that must notice nothing.

use std::time::Duration;

use super::{ClientPlan, LogPlan, Plan, Publish, Scenario, ServerPlan, Start, draw_net};
use crate::conn::Side;
use crate::moment::{Act, Fuse, Moment, Rule};
use crate::rng::Rng;
use crate::wire::Direction;

/// How late a message may be given to a punctual reader: its link, and the messages of a burst before it.
pub(super) const LATE_MAX: Duration = Duration::from_millis(60);

/// Draws the plan of a seed: a publisher, punctual readers, and slow ones behind them.
pub(super) fn draw(seed: u64) -> Plan {
    let scenario = Scenario::SlowConsumer;
    let mut rng = Rng::derive(seed, scenario.name(), 0);
    let rng = &mut rng;
    let heal_ms = rng.within(4_000..=9_000);
    let punctual = rng.within(1..=3);
    let slow = rng.within(1..=3);
    let publish = publish(rng, heal_ms);
    let mut clients = vec![client(rng, publish, Start::None)];
    for _ in 0..punctual + slow {
        let start = *rng.pick(&[Start::Oldest, Start::Head]);
        clients.push(client(rng, Publish::default(), start));
    }
    let fuses = (1 + punctual..=punctual + slow)
        .flat_map(|client| slow_reading(rng, usize::try_from(client).unwrap_or(0)))
        .collect();
    let mut net = draw_net(rng, fuses);
    // Whoever is not slow by plan is not slow by its link either.
    net.latency_ms_max = net.latency_ms_max.min(20);
    net.window_bytes = rng.magnitude(65_536..=262_144);
    for chaos in [&mut net.client_chaos, &mut net.server_chaos] {
        chaos.stall_per_mille = 0;
        chaos.join_percent = 0;
        chaos.short_bytes_max = chaos.short_bytes_max.max(100);
    }
    let published = clients[0].publish.count;
    Plan {
        scenario,
        seed,
        net,
        server: ServerPlan {
            workers: usize::try_from(rng.within(1..=2)).unwrap_or(1),
            retention_messages: *rng.pick(&[1_000_000, published / 2, published / 5]),
            ping_interval_ms: rng.within(500..=3_000),
            ping_timeout_ms: rng.within(500..=2_000),
            session_ttl_ms: 300_000,
            log: LogPlan::Memory,
        },
        clients,
        rivals: None,
        scripts: None,
        stop_first: rng.percent(30),
        faults: Vec::new(),
        heal_ms,
        rest_ms: 120_000,
    }
}

fn publish(rng: &mut Rng, heal_ms: u64) -> Publish {
    let count = rng.within(60..=250);
    let burst = rng.magnitude(1..=10);
    Publish {
        count,
        every_ms: heal_ms * burst * 3 / 4 / count,
        bytes_max: rng.magnitude(1_000..=30_000),
        burst,
    }
}

fn client(rng: &mut Rng, publish: Publish, start: Start) -> ClientPlan {
    ClientPlan {
        stream: "weir".to_owned(),
        start,
        publish,
        handle_ms: 0,
        handled_every: *rng.pick(&[1, 3, 10]),
        delay_ms_max: *rng.pick(&[100, 1_000]),
        attempts_max: 40,
        stable_ms: rng.within(200..=1_000),
        queue_messages: 1_000,
        outbox_messages: 1_000,
        save_ms_max: *rng.pick(&[0, 3]),
        dial_timeout_ms: rng.within(2_000..=4_000),
        start_ms: 0,
    }
}

/// Each of its connections becomes slow, or stops, after some bytes.
fn slow_reading(rng: &mut Rng, client: usize) -> Vec<Fuse> {
    let stops = rng.percent(40);
    (1..=40)
        .map(|dial| Fuse {
            client,
            dial,
            rule: Rule {
                when: Moment::Bytes {
                    by: Side::Server,
                    count: rng.magnitude(300..=20_000),
                },
                after_ms: 0,
                then: Act::Rate {
                    direction: Direction::ToClient,
                    bytes_per_second: if stops { 1 } else { rng.magnitude(100..=20_000) },
                },
            },
        })
        .collect()
}
