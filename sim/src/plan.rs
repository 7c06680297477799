//! Seed → plan: everything that a run does, as data that can be saved, edited and replayed.
//!
//! Swarm testing: each class of faults is on or off for a seed, and every number is drawn. A run in which everything
//! happens at once reaches fewer states than many runs in which some things do.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::chaos::ChaosPlan;
use crate::conn::{Cut, Side};
use crate::moment::{Act, Fuse, Moment, Rule};
use crate::net::NetPlan;
use crate::rng::Rng;

mod classes;
mod slow;

use classes::draw_faults;

/// A named family of plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// Everything that may happen to a connection, to processes and to the log.
    Smoke,
    /// What happens to links: held, severed, slow, silent.
    Partition,
    /// Who closes first, and what crosses it.
    FinRace,
    /// One direction ends before the other.
    HalfClose,
    /// A peer that is gone without a word.
    HalfOpen,
    /// A peer that takes nothing, or hardly anything.
    ZeroWindow,
    /// More than is allowed.
    Oversize,
    /// Pings while a large message is under way to a slow reader.
    PingStarvation,
    /// Subscribers that read slowly or not at all, beside others.
    SlowConsumer,
    /// The server's process is killed; its log is on a disk.
    ServerCrash,
    /// The server's machine loses power, and its disk what was not synced.
    PowerLoss,
    /// Holders of one session take it from one another.
    Takeover,
    /// The server comes back with another history.
    EpochReset,
    /// Messages are gone before all have read them.
    RetentionGap,
    /// Many clients lose the server at once.
    ReconnectStorm,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Smoke,
        Self::Partition,
        Self::FinRace,
        Self::HalfClose,
        Self::HalfOpen,
        Self::ZeroWindow,
        Self::Oversize,
        Self::PingStarvation,
        Self::SlowConsumer,
        Self::ServerCrash,
        Self::PowerLoss,
        Self::Takeover,
        Self::EpochReset,
        Self::RetentionGap,
        Self::ReconnectStorm,
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Smoke => "smoke",
            Self::Partition => "partition",
            Self::FinRace => "fin-race",
            Self::HalfClose => "half-close",
            Self::HalfOpen => "half-open",
            Self::ZeroWindow => "zero-window",
            Self::Oversize => "oversize",
            Self::PingStarvation => "ping-starvation",
            Self::SlowConsumer => "slow-consumer",
            Self::ServerCrash => "server-crash",
            Self::PowerLoss => "power-loss",
            Self::Takeover => "takeover",
            Self::EpochReset => "epoch-reset",
            Self::RetentionGap => "retention-gap",
            Self::ReconnectStorm => "reconnect-storm",
        }
    }

    /// What it does, in one line.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::Smoke => "cuts, crashes, restarts, takeovers, lost messages and retention, on few streams",
            Self::Partition => "held, severed, slow and silent links, with cuts and takeovers under them",
            Self::FinRace => "closes that cross data, closes, resets, aborts and one another, by event",
            Self::HalfClose => "peers that end their direction early, or never, while there is much to say",
            Self::HalfOpen => "peers and links that fall silent, in the middle of anything",
            Self::ZeroWindow => {
                "peers that read nothing, too little, or after a while, and applications that do not read"
            }
            Self::Oversize => "messages, frames and floods over a limit, from peers that go on sending",
            Self::PingStarvation => "pings both ways while large messages crawl to slow readers",
            Self::SlowConsumer => {
                "subscribers of a whole server that read slowly or not at all, beside punctual ones"
            }
            Self::ServerCrash => "kills of a server whose log is on a disk, with cuts, crashes and takeovers",
            Self::PowerLoss => "the server's disk loses what was not synced, again and again",
            Self::Takeover => "holders that take one session from one another, fresh, stale, and from copies",
            Self::EpochReset => "restarts of a server whose log is in memory: each is another history",
            Self::RetentionGap => "messages that are gone before slow and absent readers had them",
            Self::ReconnectStorm => "a crowd of clients that all lose the server at once",
        }
    }

    /// Whether the server's log is on a disk, which a restart finds again.
    fn is_durable(self, rng: &mut Rng) -> bool {
        match self {
            Self::ServerCrash | Self::PowerLoss => true,
            Self::RetentionGap | Self::ReconnectStorm => rng.percent(50),
            _ => false,
        }
    }
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The scenario it was drawn for.
    pub scenario: Scenario,
    /// The seed: of this plan, and of every choice in the run.
    pub seed: u64,
    /// The network.
    pub net: NetPlan,
    /// The server.
    pub server: ServerPlan,
    /// The clients; a fault names one by its place here.
    pub clients: Vec<ClientPlan>,
    /// Plain publishers that fight over one session.
    pub rivals: Option<RivalsPlan>,
    /// Plain peers that leave rudely.
    pub scripts: Option<ScriptsPlan>,
    /// The server stops before the clients do.
    pub stop_first: bool,
    /// What happens, by time.
    pub faults: Vec<Fault>,
    /// When all faults are healed, at the latest: the last phase begins, in which everything must come to rest.
    pub heal_ms: u64,
    /// How long that may take.
    pub rest_ms: u64,
}

/// Settings of the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerPlan {
    /// Local tasks that accept.
    pub workers: usize,
    /// Messages kept per stream.
    pub retention_messages: u64,
    /// How often it pings.
    pub ping_interval_ms: u64,
    /// How long it waits for the pong.
    pub ping_timeout_ms: u64,
    /// How long a detached session lives.
    pub session_ttl_ms: u64,
    /// Where its log is.
    pub log: LogPlan,
}

/// Where the server's log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum LogPlan {
    /// Each start of the server begins with an empty one.
    Memory,
    /// Each start finds it again.
    Disk {
        /// How much is committed between two checkpoints.
        checkpoint_bytes: u64,
        /// How much of the newest is read from memory.
        tail_bytes: u64,
    },
}

/// One client: an application over `weirline-client`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientPlan {
    /// The stream.
    pub stream: String,
    /// Where it begins to read.
    pub start: Start,
    /// What it publishes.
    pub publish: Publish,
    /// How long it handles each message.
    pub handle_ms: u64,
    /// It says `handled` for every n-th message only.
    pub handled_every: u64,
    /// Most of the delay before a dial.
    pub delay_ms_max: u64,
    /// Dials per outage.
    pub attempts_max: u32,
    /// How long a session must be live before dials are counted from zero.
    pub stable_ms: u64,
    /// Events that wait for the application.
    pub queue_messages: u64,
    /// Messages that wait for their acknowledgement.
    pub outbox_messages: u64,
    /// The longest that its store takes to save.
    pub save_ms_max: u64,
    /// From a dial to the server's first answer.
    pub dial_timeout_ms: u64,
    /// When it starts.
    pub start_ms: u64,
}

/// Where a client begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// At the oldest message.
    Oldest,
    /// With what comes.
    Head,
    /// It only publishes.
    None,
}

/// What a client publishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// How many messages.
    pub count: u64,
    /// Pause between two.
    pub every_ms: u64,
    /// The longest payload.
    pub bytes_max: u64,
    /// How many at once.
    pub burst: u64,
}

/// Holders of one session that speak the text form by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RivalsPlan {
    /// The stream.
    pub stream: String,
    /// How many.
    pub holders: u64,
    /// How many messages the session publishes.
    pub messages: u64,
    /// Messages between two pauses.
    pub burst: u64,
    /// The pause.
    pub every_ms: u64,
    /// How many messages that are in the log already are sent again, at most.
    pub again_max: u64,
    /// Percent of dials with a number that was used.
    pub stale_percent: u64,
    /// The longest stay.
    pub stay_ms_max: u64,
    /// The longest pause before a dial.
    pub pause_ms_max: u64,
}

/// Peers that speak by hand, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptsPlan {
    /// The stream.
    pub stream: String,
    /// How many.
    pub conversations: u64,
    /// The longest pause before each.
    pub pause_ms_max: u64,
    /// How much each reads before it leaves, at most.
    pub read_bytes_max: u64,
}

/// Something that happens to the world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When.
    pub at_ms: u64,
    /// What.
    pub kind: FaultKind,
}

/// Kinds of faults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// Nothing passes between a client and the server for a while; then everything arrives.
    Hold {
        /// The client.
        client: usize,
        /// How long.
        for_ms: u64,
    },
    /// What is sent is lost, and so are the connections; nobody is told.
    Sever {
        /// The client.
        client: usize,
        /// How long.
        for_ms: u64,
    },
    /// A slow link for a while.
    Latency {
        /// The client.
        client: usize,
        /// How long.
        for_ms: u64,
        /// The latency.
        ms: u64,
    },
    /// The client's connection is cut.
    Cut {
        /// The client.
        client: usize,
        /// How.
        cut: Cut,
    },
    /// The server's process ends, and another starts. Of a log on a disk nothing is lost.
    Bounce {
        /// How long it is away.
        down_ms: u64,
    },
    /// The server's machine loses power, and its disk what was not synced; a process starts again.
    PowerLoss {
        /// How long it is away.
        down_ms: u64,
    },
    /// Every client's connection is cut at once.
    CutAll {
        /// How.
        cut: Cut,
    },
    /// The client's process ends without a word, and another starts from what was stored.
    Crash {
        /// The client.
        client: usize,
        /// How long it is away.
        down_ms: u64,
    },
    /// Another process starts from what the client has stored, while the first still holds the session.
    Second {
        /// The client.
        client: usize,
    },
}

impl Plan {
    /// How late a message may be given to this client, where it has slow neighbours and is not one itself.
    #[must_use]
    pub fn late_max(&self, client: usize) -> Option<Duration> {
        let punctual = self.scenario == Scenario::SlowConsumer && !self.is_slow(client);
        punctual.then_some(slow::LATE_MAX)
    }

    /// Whether a client handles or reads slowly by plan.
    #[must_use]
    pub fn is_slow(&self, client: usize) -> bool {
        let handles_slowly = self.clients.get(client).is_some_and(|of| of.handle_ms > 0);
        let reads_slowly = || {
            self.net
                .fuses
                .iter()
                .any(|fuse| fuse.client == client && matches!(fuse.rule.then, Act::Rate { .. }))
        };
        handles_slowly || reads_slowly()
    }

    /// Draws the plan of a seed.
    #[must_use]
    pub fn draw(scenario: Scenario, seed: u64) -> Self {
        if scenario == Scenario::SlowConsumer {
            return slow::draw(seed);
        }
        let mut rng = Rng::derive(seed, scenario.name(), 0);
        let rng = &mut rng;
        if scenario == Scenario::HalfClose {
            return Self::draw_half_close(rng, seed);
        }
        let heal_ms = rng.within(4_000..=14_000);
        let clients = match scenario {
            Scenario::ReconnectStorm => draw_crowd(rng, heal_ms),
            _ => draw_clients(rng, heal_ms),
        };
        let rivalry = if scenario == Scenario::Takeover { 90 } else { 40 };
        let rivals = rng.percent(rivalry).then(|| draw_rivals(rng, heal_ms));
        let hosts = clients.len() + usize::from(rivals.is_some());
        let fuses = draw_fuses(rng, scenario, hosts);
        let durable = scenario.is_durable(rng);
        let faults = draw_faults(rng, scenario, hosts, heal_ms, durable);
        let mut net = draw_net(rng, fuses);
        // A window of half a kilobyte makes a link too slow for large messages: pings would time out behind them for ever.
        let largest = clients
            .iter()
            .map(|client| client.publish.bytes_max)
            .max()
            .unwrap_or(0);
        net.window_bytes = net.window_bytes.max(largest.min(65_536) / 2);
        if largest > 5_000 {
            // Byte by byte, a large message is a long run that shows nothing that a small one does not.
            for chaos in [&mut net.client_chaos, &mut net.server_chaos] {
                chaos.short_bytes_max = chaos.short_bytes_max.max(100);
            }
        }
        let mut server = draw_server(rng, &clients);
        if scenario == Scenario::RetentionGap {
            server.retention_messages = rng.magnitude(2..=12);
        }
        if durable {
            server.log = LogPlan::Disk {
                checkpoint_bytes: rng.magnitude(2_000..=500_000),
                tail_bytes: rng.magnitude(1..=200_000),
            };
        }
        if faults
            .iter()
            .any(|fault| matches!(fault.kind, FaultKind::Second { .. }))
        {
            server.session_ttl_ms = 300_000;
        }
        Self {
            scenario,
            seed,
            net,
            server,
            clients,
            rivals,
            scripts: rng.percent(50).then(|| ScriptsPlan {
                stream: "weir".to_owned(),
                conversations: rng.within(1..=12),
                pause_ms_max: rng.magnitude(10..=2_000),
                read_bytes_max: rng.magnitude(100..=20_000),
            }),
            stop_first: rng.percent(30),
            faults,
            heal_ms,
            rest_ms: 120_000,
        }
    }
}

impl Plan {
    /// Peers by hand that half-close, one after the other, on a server that nothing else disturbs.
    fn draw_half_close(rng: &mut Rng, seed: u64) -> Self {
        let heal_ms = rng.within(3_000..=6_000);
        let mut clients = draw_clients(rng, heal_ms);
        clients.truncate(2);
        for client in &mut clients {
            client.publish.bytes_max = client.publish.bytes_max.min(5_000);
            client.start_ms = 0;
        }
        let net = draw_net(rng, Vec::new());
        Self {
            scenario: Scenario::HalfClose,
            seed,
            server: ServerPlan {
                retention_messages: 1_000_000,
                ..draw_server(rng, &clients)
            },
            net: NetPlan {
                window_bytes: net.window_bytes.max(2_048),
                ..net
            },
            clients,
            rivals: None,
            scripts: Some(ScriptsPlan {
                stream: "weir".to_owned(),
                conversations: rng.within(10..=40),
                pause_ms_max: rng.magnitude(10..=200),
                read_bytes_max: rng.magnitude(1..=20_000),
            }),
            stop_first: rng.percent(30),
            faults: Vec::new(),
            heal_ms,
            rest_ms: 120_000,
        }
    }
}

fn draw_net(rng: &mut Rng, fuses: Vec<Fuse>) -> NetPlan {
    let calm = rng.percent(10);
    let chaos = |rng: &mut Rng| {
        if calm {
            ChaosPlan::default()
        } else {
            ChaosPlan::draw(rng)
        }
    };
    NetPlan {
        tick_ms: *rng.pick(&[2, 3, 5]),
        latency_ms_min: rng.within(1..=5),
        latency_ms_max: rng.magnitude(5..=80),
        client_chaos: chaos(rng),
        server_chaos: chaos(rng),
        window_bytes: rng.magnitude(256..=262_144),
        vectored: rng.percent(60),
        hang_percent: *rng.pick(&[0, 30, 100]),
        fuses,
    }
}

fn draw_server(rng: &mut Rng, clients: &[ClientPlan]) -> ServerPlan {
    let published: u64 = clients.iter().map(|client| client.publish.count).sum();
    let retention_messages = if rng.percent(45) {
        rng.within(5..=published.max(6) / 2)
    } else {
        1_000_000
    };
    ServerPlan {
        workers: usize::try_from(rng.within(1..=3)).unwrap_or(1),
        retention_messages,
        ping_interval_ms: rng.within(500..=3_000),
        ping_timeout_ms: rng.within(500..=2_000),
        session_ttl_ms: if rng.percent(30) {
            rng.within(300..=3_000)
        } else {
            300_000
        },
        log: LogPlan::Memory,
    }
}

/// Many readers, and a few who publish.
fn draw_crowd(rng: &mut Rng, heal_ms: u64) -> Vec<ClientPlan> {
    (0..rng.within(8..=14))
        .map(|number| {
            let start = *rng.pick(&[Start::Oldest, Start::Head]);
            draw_client(rng, "weir", start, number < 2, heal_ms)
        })
        .collect()
}

fn draw_clients(rng: &mut Rng, heal_ms: u64) -> Vec<ClientPlan> {
    let count = rng.within(2..=4);
    let streams: &[&str] = if rng.percent(75) {
        &["weir"]
    } else {
        &["weir", "lock"]
    };
    let one_way = rng.percent(40);
    (0..count)
        .map(|number| {
            let publishes = number == 0 || (!one_way && rng.percent(60));
            let reads = number > 0 || rng.percent(50);
            let start = match (reads, rng.percent(25)) {
                (false, _) => Start::None,
                (true, true) => Start::Head,
                (true, false) => Start::Oldest,
            };
            draw_client(
                rng,
                streams[usize::from(number >= 2 && streams.len() > 1)],
                start,
                publishes,
                heal_ms,
            )
        })
        .collect()
}

fn draw_client(rng: &mut Rng, stream: &str, start: Start, publishes: bool, heal_ms: u64) -> ClientPlan {
    let large = rng.percent(10);
    let publish = if publishes {
        let count = rng.within(10..=80);
        let burst = rng.magnitude(1..=20);
        Publish {
            count,
            every_ms: rng.within(1..=heal_ms * burst / count),
            bytes_max: if large {
                rng.magnitude(5_000..=200_000)
            } else {
                rng.magnitude(16..=2_000)
            },
            burst,
        }
    } else {
        Publish::default()
    };
    ClientPlan {
        stream: stream.to_owned(),
        start,
        publish,
        handle_ms: if rng.percent(30) {
            rng.magnitude(1..=200)
        } else {
            0
        },
        handled_every: *rng.pick(&[1, 1, 3, 10]),
        delay_ms_max: *rng.pick(&[100, 300, 1_000, 2_000]),
        attempts_max: *rng.pick(&[10, 10, 40]),
        stable_ms: rng.within(200..=3_000),
        queue_messages: rng.magnitude(1..=1_000),
        outbox_messages: if rng.percent(30) { rng.within(1..=8) } else { 1_000 },
        save_ms_max: *rng.pick(&[0, 0, 3, 20]),
        dial_timeout_ms: rng.within(1_500..=4_000),
        start_ms: if rng.percent(50) {
            0
        } else {
            rng.within(0..=heal_ms / 2)
        },
    }
}

fn draw_rivals(rng: &mut Rng, heal_ms: u64) -> RivalsPlan {
    let messages = rng.within(5..=150);
    let burst = rng.magnitude(1..=20);
    RivalsPlan {
        stream: "weir".to_owned(),
        holders: rng.within(2..=3),
        messages,
        burst,
        every_ms: rng.within(1..=(heal_ms * burst / messages / 2).max(1)),
        again_max: rng.within(0..=10),
        stale_percent: *rng.pick(&[0, 10, 30]),
        stay_ms_max: rng.magnitude(50..=4_000),
        pause_ms_max: rng.magnitude(10..=1_000),
    }
}

fn draw_cut(rng: &mut Rng, silence: bool) -> Cut {
    match rng.below(if silence { 6 } else { 5 }) {
        0 | 1 => Cut::Rst { drain: false },
        2 => Cut::Rst { drain: true },
        3 | 4 => Cut::Fin,
        _ => Cut::Silence,
    }
}

/// Labels of messages that a fuse may lose, by sender.
const LOSABLE: [(Side, &[&str]); 2] = [
    (
        Side::Client,
        &["HEAD", "SESSION", "RESUME_FROM", "ACK", "DATA", "CLOSE", "PONG"],
    ),
    (
        Side::Server,
        &[
            "HEAD",
            "RESUME_FROM",
            "RESUMED",
            "RESET",
            "GAP",
            "ACK",
            "DATA",
            "CLOSE",
            "PING",
        ],
    ),
];

fn draw_fuses(rng: &mut Rng, scenario: Scenario, clients: usize) -> Vec<Fuse> {
    if rng.percent(20) {
        return Vec::new();
    }
    let losing = rng.percent(60);
    let by_bytes = !losing || rng.percent(60);
    let silence = scenario == Scenario::Partition || rng.percent(20);
    let mut fuses = Vec::new();
    for client in 0..clients {
        for dial in 1..=8 {
            if rng.percent(55) {
                continue;
            }
            let &(by, labels) = rng.pick(&LOSABLE);
            let when = if losing && (!by_bytes || rng.percent(50)) {
                let label = *rng.pick(labels);
                let nth = if matches!(label, "ACK" | "DATA") {
                    rng.magnitude(1..=20)
                } else {
                    1
                };
                Moment::sent(by, label, nth)
            } else {
                let count = rng.magnitude(1..=20_000);
                Moment::Bytes { by, count }
            };
            fuses.push(Fuse {
                client,
                dial,
                rule: Rule {
                    when,
                    after_ms: 0,
                    then: Act::Cut(draw_cut(rng, silence)),
                },
            });
        }
    }
    fuses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_fall_before_they_are_healed() {
        for seed in 0..300 {
            for scenario in Scenario::ALL {
                let plan = Plan::draw(scenario, seed);
                assert!(plan.faults.iter().all(|fault| fault.at_ms < plan.heal_ms));
            }
        }
    }
}
