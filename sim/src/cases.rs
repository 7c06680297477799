//! How often the interesting case of each invariant arose: an oracle that never met its case has shown nothing.

use std::collections::BTreeMap;

/// A case, the invariant or mark it belongs to, and what it is.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The name by which code counts it.
    pub name: &'static str,
    /// The invariant that it exercises; `mark` for states that must merely be reached.
    pub invariant: &'static str,
    /// What it is.
    pub what: &'static str,
    /// The scenarios that must reach it.
    pub scenarios: &'static [&'static str],
}

/// Counts by case.
#[derive(Clone, Debug, Default)]
pub struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    /// Counts one.
    ///
    /// # Panics
    ///
    /// When the case is not in the table.
    pub fn hit(&mut self, name: &'static str) {
        self.add(name, 1);
    }

    /// Counts several.
    ///
    /// # Panics
    ///
    /// When the case is not in the table.
    pub fn add(&mut self, name: &'static str, count: u64) {
        assert!(
            CASES.iter().any(|case| case.name == name),
            "case {name} is not in the table"
        );
        *self.0.entry(name).or_default() += count;
    }

    /// Adds the counts of another run.
    pub fn merge(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            *self.0.entry(name).or_default() += count;
        }
    }

    /// How often it arose.
    #[must_use]
    pub fn count(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// The cases that a scenario must reach and never did.
    #[must_use]
    pub fn missing(&self, scenario: &str) -> Vec<&'static Case> {
        CASES
            .iter()
            .filter(|case| case.scenarios.contains(&scenario) && self.count(case.name) == 0)
            .collect()
    }
}

/// Counts a case when the condition holds: `sometimes!(net, "name", condition)`.
#[macro_export]
macro_rules! sometimes {
    ($net:expr, $name:literal, $condition:expr) => {
        if $condition {
            $net.case($name);
        }
    };
}

const fn case(
    name: &'static str,
    invariant: &'static str,
    what: &'static str,
    scenarios: &'static [&'static str],
) -> Case {
    Case {
        name,
        invariant,
        what,
        scenarios,
    }
}

const BOTH: &[&str] = &["smoke", "partition"];
const SMOKE: &[&str] = &["smoke"];
const PARTITION: &[&str] = &["partition"];
const FIN: &[&str] = &["fin-race"];
const HALF: &[&str] = &["half-close"];
const OPEN: &[&str] = &["half-open"];
const ZERO: &[&str] = &["zero-window"];
const OVERSIZE: &[&str] = &["oversize"];
const PINGS: &[&str] = &["ping-starvation"];
const SLOW: &[&str] = &["slow-consumer"];
const CLOSING: &[&str] = &["fin-race", "half-close"];
const RESTARTS: &[&str] = &["smoke", "server-crash", "epoch-reset", "reconnect-storm"];
const DURABLE: &[&str] = &["server-crash", "power-loss"];
const STREAMS: &[&str] = &[
    "smoke",
    "partition",
    "server-crash",
    "power-loss",
    "takeover",
    "epoch-reset",
    "retention-gap",
    "reconnect-storm",
];

/// Every case that is counted.
pub const CASES: &[Case] = &[
    case(
        "resumed",
        "I1",
        "a subscriber went on where it was after a cut",
        &[
            "smoke",
            "partition",
            "slow-consumer",
            "server-crash",
            "power-loss",
            "takeover",
            "retention-gap",
            "reconnect-storm",
        ],
    ),
    case(
        "gap",
        "I16",
        "a GAP was delivered",
        &["smoke", "partition", "slow-consumer", "retention-gap"],
    ),
    case("reset", "I1", "a RESET was delivered", &["smoke", "epoch-reset"]),
    case(
        "whole-log",
        "I2",
        "a consumer without GAP and RESET had all of a log",
        BOTH,
    ),
    case("handled", "I3", "a message was handled", STREAMS),
    case("ack-recorded", "I4", "the log recorded an ack", BOTH),
    case(
        "numbered-on",
        "I5",
        "a publisher went on right above what the server had",
        BOTH,
    ),
    case("duplicate", "I6", "a publish sent twice was recognised", STREAMS),
    case(
        "interleaved",
        "I7",
        "two publishers' messages interleaved in a log",
        BOTH,
    ),
    case("fenced", "I10", "a command of a lower attach was dropped", BOTH),
    case(
        "stale-attach",
        "I11",
        "an attach that was not higher was refused",
        BOTH,
    ),
    case(
        "two-holders",
        "I12",
        "two processes held one session",
        &["smoke", "partition", "takeover"],
    ),
    case(
        "lost-message",
        "I13",
        "a connection was cut around one message",
        BOTH,
    ),
    case(
        "outbox-full",
        "I15",
        "a publish was refused by a full outbox",
        BOTH,
    ),
    case("long-outage", "I17", "an outage took three dials or more", BOTH),
    case(
        "acked-survives",
        "I8",
        "an acknowledged message was found in the log",
        STREAMS,
    ),
    case("expired", "I6", "a session expired", BOTH),
    case(
        "uncertain",
        "I6",
        "messages became uncertain: the server had forgotten the session",
        SMOKE,
    ),
    case(
        "session-renewed",
        "mark",
        "a client went on under a new secret",
        SMOKE,
    ),
    case("cut-rst", "mark", "a connection was reset", BOTH),
    case("cut-fin", "mark", "a connection got a FIN from the middle", BOTH),
    case("cut-silent", "mark", "a connection fell silent", BOTH),
    case("cut-inside-frame", "mark", "a cut fell inside a frame", BOTH),
    case(
        "half-open",
        "mark",
        "a link was severed without a word",
        PARTITION,
    ),
    case("held", "mark", "a link was held and released", PARTITION),
    case("latency", "mark", "a link was slow for a while", PARTITION),
    case("bounce", "mark", "the server was restarted", RESTARTS),
    case(
        "power-loss",
        "mark",
        "the server's machine lost power",
        &["power-loss"],
    ),
    case(
        "log-found",
        "I8",
        "a restarted server found its log again",
        DURABLE,
    ),
    case(
        "cut-all",
        "mark",
        "every client was cut at once",
        &["reconnect-storm"],
    ),
    case(
        "client-crash",
        "I9",
        "a client came back from its stored state, epoch and offset as one",
        BOTH,
    ),
    case(
        "close-handshake",
        "mark",
        "a closing handshake was seen whole on the wire",
        BOTH,
    ),
    case(
        "half-close",
        "mark",
        "a peer sent Close and FIN at once",
        &["smoke", "partition", "half-close"],
    ),
    case(
        "close-crossing",
        "mark",
        "data crossed a Close frame",
        &["smoke", "partition", "fin-race", "half-close"],
    ),
    case("slowed", "W12", "a subscriber began to read slowly", SLOW),
    case(
        "slow-broken",
        "W12",
        "a subscriber that was too slow was closed with 1008, or dropped",
        SLOW,
    ),
    case("simultaneous-close", "W8", "two Close frames crossed", CLOSING),
    case("fin-crossing", "W8", "two FINs crossed", CLOSING),
    case(
        "fin-without-close",
        "W8",
        "the stream ended without a Close frame",
        CLOSING,
    ),
    case(
        "fin-before-echo",
        "W8",
        "a FIN came, and not the answer to a Close",
        CLOSING,
    ),
    case(
        "close-without-fin",
        "W10",
        "both had closed, and the peer's FIN never came",
        CLOSING,
    ),
    case(
        "served-half-closed",
        "W9",
        "data was still sent to a peer whose FIN had come",
        HALF,
    ),
    case("rst-in-close", "W8", "a reset fell while a Close was out", FIN),
    case("never-answered", "W10", "a Close was never answered", CLOSING),
    case(
        "close-over-data",
        "W9",
        "close() was called while accepted messages were not sent",
        CLOSING,
    ),
    case("aborted", "W8", "abort() ended a connection", FIN),
    case("abort-in-close", "W8", "abort() fell while a Close was out", FIN),
    case("handles-dropped", "W8", "handles and inbox were dropped", FIN),
    case("driver-dropped", "W8", "the driver was dropped", FIN),
    case("handler-failed", "W8", "a handler failed", FIN),
    case("send-cancelled", "W9", "a send was dropped while it waited", FIN),
    case("dead-peer", "W10", "a dead peer was found by a ping", OPEN),
    case(
        "silent-in-close",
        "W10",
        "a connection fell silent while it closed",
        OPEN,
    ),
    case(
        "write-stalled",
        "W10",
        "a socket took nothing for too long",
        &["half-open", "zero-window"],
    ),
    case("dripped", "W10", "a socket took too little for too long", ZERO),
    case(
        "window-reopened",
        "W10",
        "a window opened again before anybody's patience ended",
        ZERO,
    ),
    case("broken-late", "W10", "a message waited too long to be sent", ZERO),
    case(
        "paused-too-long",
        "W10",
        "an application did not read for too long",
        ZERO,
    ),
    case("too-big", "W8", "a message or frame was too big", OVERSIZE),
    case(
        "too-many",
        "W8",
        "fragments or control frames were too many",
        OVERSIZE,
    ),
    case("broken-protocol", "W8", "a frame was illegal", OVERSIZE),
    case(
        "went-on-sending",
        "W7",
        "a peer went on sending behind the Close that accused it",
        OVERSIZE,
    ),
    case("limit-met", "W8", "messages exactly at a limit passed", OVERSIZE),
    case(
        "ping-between-fragments",
        "W11",
        "a ping went between two fragments",
        PINGS,
    ),
    case(
        "pong-between-fragments",
        "W11",
        "a pong went between two fragments",
        PINGS,
    ),
    case("window-full", "mark", "a socket's window was full", BOTH),
];
