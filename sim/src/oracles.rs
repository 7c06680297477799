//! Oracles that read what the network recorded: how connections end, and how clients dial.

use std::time::Duration;

use crate::conn::{Conn, Side};
use crate::net::Dial;
use crate::plan::Scenario;
use crate::sometimes;
use crate::traffic::Close;
use crate::world::World;

/// Slack for the steps of the world and the chaos of both ends.
const SLACK: Duration = Duration::from_secs(3);

/// Looks while the world runs: an end whose other end is gone must follow in bounded time.
pub fn look(world: &World) {
    let net = &world.net;
    let now = net.now();
    let most = end_bound(world);
    for conn in net.conns().values() {
        if conn.settled.get() {
            continue;
        }
        deadlocked(world, conn);
        stalled(world, conn);
        match conn.dropped.each_ref().map(std::cell::Cell::get) {
            [Some(_), Some(_)] => {
                conn.settled.set(true);
                ended(world, conn);
            }
            [Some(gone), None] if late(conn, Side::Server, gone, now, most) => {
                conn.settled.set(true);
                net.violate(
                    "W2",
                    format!("#{}: the server's end outlived the client's by {most:?}", conn.id),
                );
            }
            [None, Some(gone)] if late(conn, Side::Client, gone, now, most) => {
                conn.settled.set(true);
                net.violate(
                    "W2",
                    format!("#{}: the client's end outlived the server's by {most:?}", conn.id),
                );
            }
            _ => {}
        }
    }
}

fn late(conn: &Conn, side: Side, gone: Duration, now: Duration, most: Duration) -> bool {
    conn.opened[side.index()]
        .get()
        .is_some_and(|opened| now > opened.max(gone) + most)
}

/// The longest that one end may outlive the other: a ping goes out and is not answered, or a write stalls, or a close
/// is not answered; and links may be held meanwhile.
fn end_bound(world: &World) -> Duration {
    let server = &world.plan.server;
    let keepalive = Duration::from_millis(server.ping_interval_ms + server.ping_timeout_ms);
    keepalive + CLOSE_TIMEOUT + EOF_TIMEOUT + HANDSHAKE_TIMEOUT + SLACK
}

/// Close timeouts of both shipped ends, by default.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
const EOF_TIMEOUT: Duration = Duration::from_secs(2);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Neither end takes what the other sends, though neither has a reason to wait: they wait for each other.
fn deadlocked(world: &World, conn: &Conn) {
    if conn.client.get().is_none_or(|client| world.plan.is_slow(client))
        || conn.disturbed.get()
        || !conn.live()
    {
        return;
    }
    let now = world.net.now();
    let since = conn.full_since.each_ref().map(std::cell::Cell::get);
    if let [Some(one), Some(two)] = since
        && now.saturating_sub(one.max(two)) > DEADLOCK
    {
        conn.disturbed.set(true);
        world.net.violate(
            "W5",
            format!("#{}: both ends are full and neither reads", conn.id),
        );
    }
}

/// The server gives up whoever takes nothing.
fn stalled(world: &World, conn: &Conn) {
    let blocked = conn.blocked_longest(Side::Server);
    if conn.opened[1].get().is_some() && blocked > WRITE_STALL_TIMEOUT + SLACK {
        conn.settled.set(true);
        let text = format!("#{}: the server's socket took nothing for {blocked:?}", conn.id);
        world.net.violate("W10", text);
    }
}

const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A full window in both directions for so long is a deadlock; chaos and slow links explain far less.
const DEADLOCK: Duration = Duration::from_secs(2);

/// Both ends are gone: was it an end as it should be?
fn ended(world: &World, conn: &Conn) {
    let net = &world.net;
    for side in Side::BOTH {
        let traffic = conn.traffic(side.sends());
        let Some(Close { code, reason, .. }) = &traffic.close else {
            continue;
        };
        let failed_handler = *code == 1011 && reason == "internal error";
        if matches!(code, 1002 | 1003 | 1007 | 1009 | 1010) || failed_handler {
            let text = format!("#{}: our own {side:?} closed with {code} {reason}", conn.id);
            net.violate("W4", text);
        }
    }
    // Established when the client has begun to use it: until then it may give up without a word.
    let upgraded = conn.upgraded.get() && conn.used.get();
    let slow = conn.client.get().is_some_and(|client| world.plan.is_slow(client));
    // A Close cannot pass a peer that takes nothing; whoever was slow by plan may be left without one.
    let undisturbed = !conn.disturbed.get() && conn.full_longest() < FULL_EXCUSES;
    if let Some(side) = conn
        .reset_by_drop
        .get()
        .filter(|_| undisturbed && upgraded && !slow)
    {
        net.violate(
            "W7",
            format!(
                "#{}: the {side:?} closed over unread bytes, and so reset the connection",
                conn.id
            ),
        );
    }
    if world.plan.scenario == Scenario::SlowConsumer && upgraded && !slow && !net.is_ending() {
        net.violate(
            "W12",
            format!("#{}: a neighbour of slow readers lost its connection", conn.id),
        );
    }
    let broken = conn
        .traffic(Side::Server.sends())
        .close
        .as_ref()
        .is_some_and(|close| close.code == 1008);
    sometimes!(
        net,
        "slow-broken",
        slow && (broken || conn.reset_by_drop.get() == Some(Side::Server))
    );
    let sent = conn.closes_sent();
    if undisturbed && upgraded && !slow && sent.contains(&false) {
        let text = format!(
            "#{}: nothing disturbed it, and its closing handshake is missing {sent:?}",
            conn.id
        );
        net.violate("W3", text);
    }
}

const FULL_EXCUSES: Duration = Duration::from_millis(1_500);

/// Looks once, when the world ends.
pub fn at_end(world: &World) {
    look(world);
    let dials = world.net.dials();
    let mut processes: Vec<u32> = dials.iter().map(|dial| dial.process).collect();
    processes.sort_unstable();
    processes.dedup();
    for process in processes {
        let of_process: Vec<&Dial> = dials.iter().filter(|dial| dial.process == process).collect();
        check_dials(world, &of_process);
    }
}

/// I17: each delay is at least the formula's, and an outage has no more dials than it may.
fn check_dials(world: &World, dials: &[&Dial]) {
    let Some(first) = dials.first() else { return };
    let Some(plan) = world.plan.clients.get(first.client) else {
        return;
    };
    let stable = Duration::from_millis(plan.stable_ms);
    let mut attempt = 0;
    for pair in dials.windows(2) {
        let (before, dial) = (pair[0], pair[1]);
        let Some(ended) = before.ended else { continue };
        if before
            .opened
            .is_some_and(|opened| ended.saturating_sub(opened) >= stable)
        {
            attempt = 0;
        }
        let formula = Duration::from_secs(1 << attempt.min(20)).min(Duration::from_millis(plan.delay_ms_max));
        let delay = dial.at.saturating_sub(ended);
        if delay + Duration::from_millis(2) < formula {
            let text = format!(
                "process {}: dial {attempt} of an outage after {delay:?}, not {formula:?}",
                dial.process
            );
            world.net.violate("I17", text);
        }
        attempt += 1;
        if attempt == 3 {
            world.net.case("long-outage");
        }
        if attempt > plan.attempts_max {
            world.net.violate(
                "I17",
                format!("process {}: {attempt} dials in one outage", dial.process),
            );
        }
    }
}
