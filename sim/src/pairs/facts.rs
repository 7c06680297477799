//! What the network knows of a shipped end: the ground on which its own account of the end is judged.

use std::time::Duration;

use weirline_tokio::{Cause, End};

use super::log::Ended;
use super::world::{PairsWorld, State};
use super::{Deeds, EndLog, Pair, Settings, Shipped};
use crate::conn::{Conn, Side};
use crate::traffic::Close;

/// One shipped end whose handshake was done, when all is over.
pub(super) struct Facts<'w> {
    pub(super) world: &'w PairsWorld,
    pub(super) pair: &'w Pair,
    pub(super) state: &'w State,
    pub(super) conn: &'w Conn,
    pub(super) side: Side,
    pub(super) plan: &'w Shipped,
    pub(super) log: &'w EndLog,
    pub(super) deeds: Deeds,
    pub(super) ended: Ended,
    /// The Close that its socket took.
    pub(super) sent: Option<Close>,
    /// The Close of the other side that its socket gave it.
    pub(super) received: Option<(Close, Duration)>,
    /// When its socket gave it the end of the other direction.
    pub(super) eof: Option<Duration>,
    /// When its socket last took and gave something.
    pub(super) sent_at: Duration,
    pub(super) heard_at: Duration,
}

/// How far apart two things may be that happen at once: steps of the world, and what chaos does to a shutdown.
const TOLERANCE: Duration = Duration::from_millis(60);

impl<'w> Facts<'w> {
    /// Of an end, if it is shipped and ever began.
    pub(super) fn of(world: &'w PairsWorld, number: usize, conn: &'w Conn, side: Side) -> Option<Facts<'w>> {
        let (pair, state) = (&world.plan.pairs[number], &world.states[number]);
        let plan = pair.shipped(side)?;
        let log = &*state.logs[side.index()];
        let began = log.began.get()?;
        let ended = log.ended.borrow().clone()?;
        let (sends, receives) = (conn.traffic(side.sends()), conn.traffic(side.receives()));
        let received = receives.close.clone();
        Some(Facts {
            world,
            pair,
            state,
            conn,
            side,
            plan,
            log,
            deeds: log.deeds.borrow().clone(),
            ended,
            sent: sends.close.clone(),
            received: received.and_then(|close| close.read_at.map(|at| (close, at))),
            eof: receives.fin_read_at,
            sent_at: sends.sent_at.unwrap_or(began).max(began),
            heard_at: receives.read_at.unwrap_or(began).max(began),
        })
    }

    /// Reports a violation.
    pub(super) fn violate(&self, invariant: &str, text: &str) {
        let Ended { end, at, .. } = &self.ended;
        let side = self.side;
        let id = self.conn.id;
        let at = at.as_secs_f64();
        self.world.net.violate(
            invariant,
            format!("#{id} {side:?}: {text}; it ended at {at:.3} s with {end:?}"),
        );
    }

    pub(super) fn end(&self) -> Option<&End> {
        self.ended.end.as_ref()
    }

    pub(super) fn cause(&self) -> Option<&Cause> {
        self.end().map(|end| &end.cause)
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.plan.settings
    }

    /// The longest stall of chaos at the socket of a side.
    pub(super) fn stall_ms(&self, side: Side) -> u64 {
        let net = &self.world.plan.net;
        let chaos = match side {
            Side::Client => net.client_chaos,
            Side::Server => net.server_chaos,
        };
        if chaos.stall_per_mille + chaos.join_percent > 0 {
            2 * chaos.stall_ms_max
        } else {
            0
        }
    }

    /// Whether the other end is shipped as well.
    pub(super) fn both_shipped(&self) -> bool {
        self.pair.shipped(self.side.other()).is_some()
    }

    /// What was done at the other end.
    pub(super) fn other_deeds(&self) -> Deeds {
        self.state.logs[self.side.other().index()].deeds.borrow().clone()
    }

    /// How far apart two things may be that happen at once on this connection.
    pub(super) fn tolerance(&self) -> Duration {
        TOLERANCE + self.conn.held_total.get() + self.world.slack.get()
    }

    /// The connection was failed by this end: from then on nothing that comes is looked at.
    pub(super) fn failed(&self) -> bool {
        matches!(
            self.cause(),
            Some(
                Cause::Protocol(_)
                    | Cause::PingTimeout
                    | Cause::Backpressure(_)
                    | Cause::PausedTooLong
                    | Cause::Aborted
            ) | None
        ) || self.deeds.failed.is_some()
    }

    /// When this end failed the connection, if it did: at the earliest.
    pub(super) fn failed_at(&self) -> Option<Duration> {
        match self.cause() {
            _ if self.deeds.failed.is_some() => self.deeds.failed,
            // An own Close may have been out before the other end broke the protocol.
            Some(Cause::Protocol(_)) => Some(Duration::ZERO),
            _ => self.failed().then(|| self.closing()),
        }
    }

    /// A Close that its socket gave it then stood behind a message that its application was never given: the inbox was full, and
    /// the socket failed before the next turn of an application that takes what is there at once.
    pub(super) fn is_behind_an_untaken_message(&self, close_at: Duration) -> bool {
        let came = self.conn.traffic(self.side.receives()).messages_read;
        let untaken = self.log.drained.get() && self.log.received_total() < came;
        let failed = self.conn.failed[self.side.index()].get();
        untaken && failed.is_some_and(|(_, at)| at <= close_at + self.tolerance())
    }

    /// The other end's socket is gone, and this one's has said so.
    pub(super) fn knows_that_nobody_is_there(&self) -> bool {
        let gone = self.conn.dropped[self.side.other().index()].get();
        let told = self.conn.failed[self.side.index()].get();
        gone.is_some_and(|at| told.is_some_and(|(_, told)| at <= told))
    }

    /// When the connection began to end: at its end, if that was at once.
    pub(super) fn closing(&self) -> Duration {
        self.log.closing.get().unwrap_or(self.ended.at)
    }
}

/// A duration of the plan.
pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
