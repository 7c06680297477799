//! Who sees what when a connection ends: each shipped end's own account against what its socket took and gave.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use weirline_flow::BreakCause;
use weirline_tokio::{Cause, CloseCode};

use super::facts::{Facts, ms};
use super::world::PairsWorld;
use super::{marks, parse, pings};
use crate::conn::{Cut, Side};
use crate::wire::Seen;

/// Follows the order of messages on the wire from the start.
pub(super) fn follow(world: &Rc<PairsWorld>) {
    let weak = Rc::downgrade(world);
    let next = RefCell::new(BTreeMap::new());
    world.net.listen(move |conn, side, seen| {
        let (Some(world), Seen::Message { preview, .. }) = (weak.upgrade(), seen) else {
            return;
        };
        let Some((sequence, number, _)) = parse(preview) else {
            return;
        };
        let mut next = next.borrow_mut();
        let expected = next
            .entry((conn.id, side.index(), sequence.index()))
            .or_insert(0_u64);
        if *expected != number {
            let text = format!(
                "#{} {side:?} sent message {number} where {expected} is next",
                conn.id
            );
            world.net.violate("W9", text);
        }
        *expected = number + 1;
    });
}

/// Looks once, when all connections are over.
pub(crate) fn at_end(world: &PairsWorld) {
    for (number, state) in world.states.iter().enumerate() {
        let conn = state.conn.borrow();
        let Some(conn) = conn.as_ref() else { continue };
        let both: Vec<Facts<'_>> = Side::BOTH
            .into_iter()
            .filter_map(|side| Facts::of(world, number, conn, side))
            .collect();
        for facts in &both {
            check(facts);
            marks::of_end(facts);
        }
        marks::of_pair(world, number, conn);
        for side in Side::BOTH {
            for wrong in state.logs[side.index()].wrong.borrow().iter() {
                world.net.violate("W8", format!("#{} {side:?} {wrong}", conn.id));
            }
            if conn.opened[side.index()].get().is_some() && conn.dropped[side.index()].get().is_none() {
                world
                    .net
                    .violate("W2", format!("#{} {side:?}: the socket stayed behind", conn.id));
            }
        }
    }
}

fn check(facts: &Facts<'_>) {
    codes(facts);
    cause(facts);
    who_was_first(facts);
    orderly(facts);
    messages(facts);
    bounded_time(facts);
    dead_peer(facts);
    budget(facts);
    unread(facts);
    accusation(facts);
    pings::round_trips(facts);
}

/// The codes that an end reports are those that went over its socket.
fn codes(facts: &Facts<'_>) {
    let Some(end) = facts.end() else { return };
    let code = |code: u16| Some(code).filter(|code| *code != 1005);
    let sent = facts.sent.as_ref().and_then(|close| code(close.code));
    if end.sent.map(CloseCode::value) != sent {
        facts.violate("W8", &format!("its socket took a Close {:?}", facts.sent));
    }
    match (&facts.received, end.close_received) {
        (Some((close, _)), true) if end.received.map(CloseCode::value) != code(close.code) => {
            facts.violate("W8", &format!("its socket gave it a Close {close:?}"));
        }
        (None, true) => facts.violate("W8", "no Close had come"),
        // What comes after a failure is not looked at, and what stands behind messages that are not read is not seen.
        (Some((_, at)), false)
            if !facts.deeds.was_slow
                && !facts.is_behind_an_untaken_message(*at)
                && facts.failed_at().is_none_or(|failed| *at < failed) =>
        {
            facts.violate("W8", &format!("a Close had come at {:.3} s", at.as_secs_f64()));
        }
        _ => {}
    }
}

/// The cause is one that the facts bear out.
fn cause(facts: &Facts<'_>) {
    let Some(cause) = facts.cause() else {
        if facts.deeds.dropped_driver.is_none() {
            facts.violate("W8", "nobody dropped the driver");
        }
        return;
    };
    let (settings, ended) = (facts.settings(), facts.ended.at);
    let tolerance = facts.tolerance();
    let heard = facts.log.heard.get().unwrap_or_default();
    let wanted = facts.deeds.closed.is_some()
        || (facts.deeds.dropped_handles.is_some() && facts.deeds.dropped_inbox.is_some())
        || facts.deeds.failed.is_some();
    let received = facts.end().is_some_and(|end| end.close_received);
    let holds = match cause {
        Cause::ClosedByPeer => received,
        Cause::ClosedLocally => wanted && (received || facts.deeds.failed.is_some()),
        Cause::Aborted => facts.deeds.aborted.is_some_and(|at| at <= ended),
        Cause::Protocol(_) => !facts.both_shipped(),
        Cause::EndOfStream => facts.eof.is_some() && !received,
        Cause::Io(_) => facts.conn.failed[facts.side.index()].get().is_some(),
        Cause::PingTimeout => {
            settings.ping_interval_ms.is_some()
                && facts.closing() + tolerance >= heard + ms(settings.ping_timeout_ms)
        }
        Cause::WriteStalled => {
            // A stall counts from when the socket had last taken enough, which was at the latest when it last took anything.
            settings.progress_bytes > 1 || ended + tolerance >= facts.sent_at + ms(settings.stall_ms)
        }
        Cause::CloseTimeout => {
            let waited = facts.sent.as_ref().map(|close| close.at + ms(settings.close_ms));
            waited.is_some_and(|until| until <= ended + tolerance && ended <= until + tolerance)
                && (facts.received.is_none() || facts.deeds.was_slow)
                && facts.eof.is_none()
        }
        // The queue is never overfilled: whoever sends waits for room.
        Cause::Backpressure(why) => {
            let waited = facts
                .closing()
                .saturating_sub(facts.log.began.get().unwrap_or_default());
            *why == BreakCause::Late && settings.late_ms.is_some_and(|late| waited >= ms(late))
        }
        Cause::PausedTooLong => facts.deeds.was_slow,
        _ => false,
    };
    if !holds {
        facts.violate("W8", "what happened does not bear that out");
    }
}

/// Whose Close came first decides between "closed by this side" and "closed by the peer".
fn who_was_first(facts: &Facts<'_>) {
    let (Some(cause), Some(sent), Some((received, read_at))) = (facts.cause(), &facts.sent, &facts.received)
    else {
        return;
    };
    if facts.failed() || facts.deeds.was_slow {
        return;
    }
    let chose = facts.deeds.closed.is_some() || facts.deeds.dropped_handles.is_some();
    if sent.at < *read_at && *cause != Cause::ClosedLocally {
        facts.violate("W8", "its Close was out before the other's came");
    }
    if !chose && *cause != Cause::ClosedByPeer {
        facts.violate("W8", "it never closed by itself");
    }
    let own = facts.deeds.closed.as_ref().map(|(_, code, _)| *code);
    if *cause == Cause::ClosedByPeer && sent.code != received.code {
        facts.violate("W8", "it answered with another code");
    }
    if *cause == Cause::ClosedLocally && own.is_some_and(|own| own != sent.code && sent.code != 1000) {
        facts.violate("W8", "it closed with another code than it was told");
    }
}

/// Two shipped ends that nothing disturbs end by a whole closing handshake, the server's end of the stream first.
fn orderly(facts: &Facts<'_>) {
    let (deeds, other) = (&facts.deeds, facts.other_deeds());
    let rude = |deeds: &super::Deeds| {
        deeds.aborted.is_some() || deeds.dropped_driver.is_some() || deeds.failed.is_some() || deeds.was_slow
    };
    let disturbed = facts.conn.disturbed.get() || !facts.both_shipped();
    let log = &facts.state.logs[facts.side.other().index()];
    if disturbed || rude(deeds) || rude(&other) || log.ended.borrow().is_none() {
        return;
    }
    match facts.cause() {
        Some(Cause::ClosedByPeer | Cause::ClosedLocally) => {}
        // A peer that still sends what it had accepted answers behind that.
        Some(Cause::CloseTimeout | Cause::WriteStalled | Cause::Backpressure(_)) if busy(facts) => return,
        // And whoever is given up like that sees the stream end.
        Some(Cause::EndOfStream | Cause::Io(_)) if given_up(facts) => return,
        _ => facts.violate("W3", "nothing disturbed it"),
    }
    if let Some((kind, _)) = facts.conn.failed[facts.side.index()]
        .get()
        .filter(|_| !given_up(facts))
    {
        facts.violate("W3", &format!("its socket failed with {kind:?}"));
    }
    let fins = Side::BOTH.map(|side| facts.conn.traffic(side.sends()).fin_at);
    if let [client, Some(server)] = fins
        && client.is_some_and(|client| client < server)
        && !given_up(facts)
    {
        facts.violate("W3", "the client ended the stream before the server");
    }
}

/// Whether data still came, or the socket was full, shortly before the end.
fn busy(facts: &Facts<'_>) -> bool {
    let recent = facts.heard_at.max(facts.sent_at) + BUSY + facts.tolerance();
    recent >= facts.ended.at || facts.conn.full_longest() >= BUSY
}

/// A queue that moves does so at least this often.
const BUSY: Duration = Duration::from_millis(200);

/// Whether the other end gave up waiting for this one.
fn given_up(facts: &Facts<'_>) -> bool {
    let log = &facts.state.logs[facts.side.other().index()];
    let ended = log.ended.borrow();
    let cause = ended
        .as_ref()
        .and_then(|ended| ended.end.as_ref())
        .map(|end| &end.cause);
    matches!(
        cause,
        Some(
            Cause::CloseTimeout
                | Cause::WriteStalled
                | Cause::Backpressure(_)
                | Cause::PingTimeout
                | Cause::PausedTooLong
        )
    )
}

/// What was accepted before `close` is on the wire before the Close, and what the socket gave was received.
fn messages(facts: &Facts<'_>) {
    let sent = facts.conn.traffic(facts.side.sends()).messages_sent;
    if let (Some((_, code, accepted)), Some(close)) = (&facts.deeds.closed, &facts.sent)
        && close.code == *code
        && !facts.failed()
        && sent != accepted.iter().sum::<u64>()
    {
        let text = format!("{accepted:?} messages were accepted before close(), {sent} are before the Close");
        facts.violate("W9", &text);
    }
    let read = facts.conn.traffic(facts.side.receives()).messages_read;
    let received = facts.log.received_total();
    let other = facts.log.received_other.get();
    if received > read || (facts.both_shipped() && other > 0) {
        facts.violate(
            "W9",
            &format!("{received} messages were received, {read} had come"),
        );
    }
    // What stands behind a full inbox when the transport or a patience ends is lost.
    let cut_short = facts.plan.inbox_messages < read
        && !matches!(facts.cause(), Some(Cause::ClosedByPeer | Cause::ClosedLocally));
    let lost = facts.failed() || facts.deeds.was_slow || cut_short;
    if !lost && facts.log.drained.get() && received != read {
        facts.violate("W9", &format!("{received} messages were received of {read}"));
    }
}

/// Once a connection is not open any more it is over in bounded time.
fn bounded_time(facts: &Facts<'_>) {
    let settings = facts.settings();
    let ended = facts.ended.at;
    let last = match &facts.sent {
        Some(close) => close.at.max(facts.closing()) + ms(settings.close_ms),
        None => facts.closing().max(facts.sent_at) + ms(settings.close_ms.max(settings.stall_ms)),
    };
    let latest = last + ms(settings.eof_ms) + facts.tolerance();
    if ended > latest {
        let text = format!(
            "it began to close at {:.3} s and should have been over by {:.3} s",
            facts.closing().as_secs_f64(),
            latest.as_secs_f64()
        );
        facts.violate("W10", &text);
    }
    let blocked = facts.conn.blocked_longest(facts.side);
    if blocked > ms(settings.stall_ms) + facts.tolerance() {
        facts.violate("W10", &format!("its socket took nothing for {blocked:?}"));
    }
}

/// A peer that says nothing is found within interval + timeout.
fn dead_peer(facts: &Facts<'_>) {
    let settings = facts.settings();
    let (Some(interval), false) = (settings.ping_interval_ms, facts.deeds.was_slow) else {
        return;
    };
    let silent = matches!(facts.conn.cut.get(), Some((Cut::Silence, _)));
    // Over a socket that takes bytes again after it was full the peer's end acknowledges them: it lives.
    let alive = if silent || facts.conn.full_longest().is_zero() {
        facts.heard_at
    } else {
        facts.heard_at.max(facts.sent_at)
    };
    let latest = alive + ms(interval) + ms(settings.ping_timeout_ms) + facts.tolerance();
    if facts.closing() > latest {
        let text = format!(
            "it had last heard of its peer at {:.3} s, and noticed at {:.3} s",
            alive.as_secs_f64(),
            facts.closing().as_secs_f64()
        );
        facts.violate("W10", &text);
    }
}

/// What a connection holds stays within its bounds.
fn budget(facts: &Facts<'_>) {
    let settings = facts.settings();
    let read = facts.conn.traffic(facts.side.receives()).read;
    let longest = super::longest_sent(facts.plan, &facts.pair.rules, facts.side);
    let fragments = longest / settings.fragment_bytes.max(126) + 1;
    let output = settings.queue_bytes.max(settings.window_bytes) + longest + 14 * fragments + CONTROL_BYTES;
    let input = 2 * read.min(settings.message_bytes_max) + 256;
    let held = facts.log.held_most.get() as u64;
    if held > output + input {
        facts.violate("W6", &format!("it held {held} B; {output} + {input} are allowed"));
    }
}

/// Pongs and pings that wait, and a Close.
const CONTROL_BYTES: u64 = 10 * 1024;

/// Nobody closes over unread bytes, unless it gave up, or its patience with the peer's end had run out, or the peer is not there
/// any more: a reset takes nothing from it.
fn unread(facts: &Facts<'_>) {
    let settings = facts.settings();
    if facts.conn.reset_by_drop.get() != Some(facts.side) || facts.conn.disturbed.get() {
        return;
    }
    let fin = facts.conn.traffic(facts.side.sends()).fin_at;
    let patience = fin.map(|at| at.max(facts.closing()) + ms(settings.eof_ms));
    let waited = patience.is_some_and(|until| facts.ended.at + facts.tolerance() >= until);
    let gave_up = matches!(
        facts.cause(),
        None | Some(Cause::Aborted | Cause::WriteStalled | Cause::CloseTimeout | Cause::Io(_))
    );
    if !waited && !gave_up && !facts.knows_that_nobody_is_there() {
        facts.violate("W7", "it closed over unread bytes, and so reset the connection");
    }
}

/// Whoever breaks a rule is told which kind, also when it goes on sending, and nobody else is accused.
fn accusation(facts: &Facts<'_>) {
    let Some(raw) = facts.pair.raw(facts.side.other()).filter(|raw| raw.rogue) else {
        return;
    };
    let accused = matches!(facts.cause(), Some(Cause::Protocol(_)));
    if raw.wrong.is_none() && accused {
        return facts.violate("W8", "the peer kept to all limits");
    }
    let (Some(wrong), None, false) = (raw.wrong, &facts.deeds.closed, facts.conn.disturbed.get()) else {
        return;
    };
    if !accused || facts.sent.as_ref().is_none_or(|close| close.code != wrong) {
        facts.violate("W8", &format!("its peer deserved {wrong}"));
    }
    let told = facts.state.logs[facts.side.other().index()]
        .raw
        .borrow()
        .close
        .is_some();
    if !told && facts.conn.held_total.get().is_zero() {
        facts.violate("W7", "its peer never saw the Close");
    }
}
