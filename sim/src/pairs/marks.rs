//! The cases that the closing scenarios must reach.

use std::time::Duration;

use weirline_tokio::Cause;

use super::facts::Facts;
use super::world::PairsWorld;
use crate::conn::{Conn, Cut, Side};
use crate::sometimes;
use crate::wire::Direction;

/// Counts the cases of one shipped end.
pub(super) fn of_end(facts: &Facts<'_>) {
    let net = &facts.world.net;
    let deeds = &facts.deeds;
    sometimes!(net, "close-over-data", deeds.closed_over_data);
    sometimes!(net, "send-cancelled", deeds.cancelled_send);
    sometimes!(
        net,
        "handles-dropped",
        deeds.dropped_handles.is_some() && deeds.dropped_inbox.is_some()
    );
    sometimes!(net, "driver-dropped", facts.end().is_none());
    sometimes!(net, "handler-failed", deeds.failed.is_some());
    match facts.cause() {
        Some(Cause::Aborted) => {
            net.case("aborted");
            sometimes!(net, "abort-in-close", facts.sent.is_some());
        }
        Some(Cause::CloseTimeout) => net.case("never-answered"),
        Some(Cause::EndOfStream) => {
            net.case("fin-without-close");
            sometimes!(net, "fin-before-echo", facts.sent.is_some());
        }
        Some(Cause::Io(_)) if facts.sent.is_some() => net.case("rst-in-close"),
        Some(Cause::PingTimeout) => net.case("dead-peer"),
        Some(Cause::WriteStalled) => {
            net.case("write-stalled");
            let last = facts.sent_at + Duration::from_millis(facts.settings().stall_ms / 2);
            sometimes!(net, "dripped", last > facts.ended.at);
        }
        Some(Cause::Backpressure(_)) => net.case("broken-late"),
        Some(Cause::PausedTooLong) => net.case("paused-too-long"),
        Some(Cause::Protocol(error)) => of_violation(facts, error.close_code().value()),
        Some(Cause::ClosedByPeer | Cause::ClosedLocally) => {
            let eof = facts.eof.is_some_and(|at| at <= facts.ended.at);
            sometimes!(net, "close-without-fin", !eof && !facts.conn.disturbed.get());
            let blocked = facts.conn.blocked_longest(facts.side);
            sometimes!(net, "window-reopened", blocked > Duration::from_millis(300));
            sometimes!(net, "limit-met", facts.log.received_other.get() > 0);
        }
        _ => {}
    }
}

fn of_violation(facts: &Facts<'_>, code: u16) {
    let net = &facts.world.net;
    net.case(match code {
        1009 => "too-big",
        1008 => "too-many",
        _ => "broken-protocol",
    });
    let peer = facts.conn.traffic(facts.side.receives()).sent_at;
    let went_on = facts.sent.as_ref().is_some_and(|close| peer > Some(close.at));
    sometimes!(net, "went-on-sending", went_on);
}

/// Counts the cases of a connection.
pub(super) fn of_pair(world: &PairsWorld, number: usize, conn: &Conn) {
    let net = &world.net;
    let [to_server, to_client] = [Direction::ToServer, Direction::ToClient].map(|way| conn.traffic(way));
    if let (Some(one), Some(two)) = (&to_server.close, &to_client.close) {
        let apart = one.read_at.is_none_or(|at| two.at < at) && two.read_at.is_none_or(|at| one.at < at);
        sometimes!(net, "simultaneous-close", apart);
    }
    if let (Some(one), Some(two)) = (to_server.fin_at, to_client.fin_at) {
        let apart = to_server.fin_read_at.is_none_or(|at| two < at)
            && to_client.fin_read_at.is_none_or(|at| one < at);
        sometimes!(net, "fin-crossing", apart);
    }
    let closing = to_server.close.is_some() || to_client.close.is_some();
    sometimes!(
        net,
        "silent-in-close",
        closing && matches!(conn.cut.get(), Some((Cut::Silence, _)))
    );
    for side in Side::BOTH {
        let sends = conn.traffic(side.sends());
        let Some(raw) = world.plan.pairs[number].raw(side) else {
            continue;
        };
        sometimes!(net, "half-close", sends.close.is_some() && raw.fins);
        let until = sends.fin_read_at;
        let receives = conn.traffic(side.receives());
        // The other end went on after it had seen this end's FIN.
        sometimes!(
            net,
            "served-half-closed",
            until.is_some_and(|at| receives.sent_at.is_some_and(|sent| sent > at))
        );
    }
}
