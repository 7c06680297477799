//! How long a ping may take: it waits for the frame in hand and for what the sockets hold, and for nothing else.

use std::time::Duration;

use super::End;
use super::facts::Facts;
use crate::conn::Side;

/// Looks at the round trips of an end's keepalive, and at those of pings that a peer by hand has sent to it.
pub(super) fn round_trips(facts: &Facts<'_>) {
    let most = one_way(facts, Side::Client) + one_way(facts, Side::Server) + facts.tolerance();
    let own = facts.log.rtts.borrow();
    let peer = facts.state.logs[facts.side.other().index()].raw.borrow();
    let slow = facts.deeds.was_slow || facts.other_deeds().was_slow;
    let too_long = own.iter().chain(&peer.rtts).find(|(_, rtt)| *rtt > most);
    if let Some((at, rtt)) = too_long.filter(|_| !slow) {
        let text = format!(
            "a ping answered at {:.3} s took {rtt:?}; the frames in hand and the sockets explain {most:?}",
            at.as_secs_f64()
        );
        facts.violate("W11", &text);
    }
}

/// The longest that a control frame of a side takes to be read: behind it are the rest of a frame, and a full window. Each
/// window's worth of bytes takes the latency of the link, and the time that its reader needs.
fn one_way(facts: &Facts<'_>, side: Side) -> Duration {
    let net = &facts.world.plan.net;
    let fragment = match facts.pair.end(side) {
        End::Shipped(shipped) => shipped.settings.fragment_bytes + 14,
        End::Raw(_) => 64 * 1024,
    };
    let window = net.window_bytes;
    let turns = (fragment + window).div_ceil(window) + 1;
    let rate = facts.pair.rates[side.sends().index()];
    let reading = rate.map_or(0, |rate| window * 1_000 / rate.max(1));
    let turn_ms = net.latency_ms_max.max(net.latency_ms_min) + 2 * net.tick_ms + 5 + reading;
    // What chaos does to the pieces of a window.
    let stalls_ms = (window / 4_096 + 1) * (facts.stall_ms(side) + facts.stall_ms(side.other()));
    Duration::from_millis(turns * (turn_ms + stalls_ms))
}
