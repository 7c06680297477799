//! The cases that the closing scenarios must reach.

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
        Some(Cause::WriteStalled) => net.case("write-stalled"),
        Some(Cause::ClosedByPeer | Cause::ClosedLocally) => {
            let eof = facts.eof.is_some_and(|at| at <= facts.ended.at);
            sometimes!(net, "close-without-fin", !eof && !facts.conn.disturbed.get());
        }
        _ => {}
    }
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
