//! A simulated connection as the world sees it: both ends, its window, and the cut that is planned for it.

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::collections::VecDeque;
use std::task::Waker;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use tokio::sync::Notify;

use crate::moment::Rule;
use crate::numbering::Numbering;
use crate::pairs::Step;
use crate::traffic::Traffic;
use crate::wire::Direction;

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cut {
    /// Reset; what is under way is lost, or still read first.
    Rst {
        /// True when the far end reads what has arrived before it sees the reset.
        drain: bool,
    },
    /// A FIN both ways, as a proxy in the middle that closes.
    Fin,
    /// Nothing more passes and nobody is told.
    Silence,
}

/// The end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The one that dialled.
    Client,
    /// The one that accepted.
    Server,
}

impl Side {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Client, Self::Server];

    /// 0 or 1.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self == Self::Server)
    }

    /// The direction of what this side sends.
    #[must_use]
    pub fn sends(self) -> Direction {
        match self {
            Self::Client => Direction::ToServer,
            Self::Server => Direction::ToClient,
        }
    }

    /// The direction of what this side receives.
    #[must_use]
    pub fn receives(self) -> Direction {
        match self {
            Self::Client => Direction::ToClient,
            Self::Server => Direction::ToServer,
        }
    }

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// What both ends share.
pub struct Conn {
    /// Its number, from 1.
    pub id: u32,
    /// The client's number, when the client end is known.
    pub client: Cell<Option<usize>>,
    /// Most bytes under way in each direction.
    pub window: usize,
    /// Bytes sent and not read, by direction.
    pub under_way: [Cell<usize>; 2],
    /// Since when a writer waits for room, by direction.
    pub full_since: [Cell<Option<Duration>>; 2],
    /// The longest such wait.
    full_longest: [Cell<Duration>; 2],
    /// What went which way.
    traffic: [RefCell<Traffic>; 2],
    /// Until when what goes this way is held, by direction.
    pub held_until: [Cell<Option<Duration>>; 2],
    /// How long it was held in all.
    pub held_total: Cell<Duration>,
    /// Bytes per second that a reader is given at most, by direction.
    pub rate: [Cell<Option<u64>>; 2],
    /// The cut, once it has happened, and the side at which it fell.
    pub cut: Cell<Option<(Cut, Option<Side>)>>,
    /// When it was cut.
    pub cut_at: Cell<Option<Duration>>,
    /// What is planned for it.
    pub rules: RefCell<Vec<Rule>>,
    /// What rules tell the applications of the ends to do.
    pub orders: [RefCell<VecDeque<Step>>; 2],
    /// Something happened: waiting applications look again.
    pub changed: Notify,
    /// The first error that a socket gave its user, by side.
    pub failed: [Cell<Option<(std::io::ErrorKind, Duration)>>; 2],
    /// When each end was opened.
    pub opened: [Cell<Option<Duration>>; 2],
    /// When each end was dropped.
    pub dropped: [Cell<Option<Duration>>; 2],
    /// True when the server has answered the upgrade with 101.
    pub upgraded: Cell<bool>,
    /// An end was dropped over bytes that it had not read.
    pub reset_by_drop: Cell<Option<Side>>,
    /// True when its client is a script: that may send what a shipped client must not.
    pub by_hand: Cell<bool>,
    /// This end may send what RFC 6455 forbids.
    pub rogue: [Cell<bool>; 2],
    /// What was published on it.
    pub numbering: Numbering,
    /// True when the client has sent a message.
    pub used: Cell<bool>,
    /// True when anything but chaos touched the connection or its link.
    pub disturbed: Cell<bool>,
    /// True when its late end has been reported or excused.
    pub settled: Cell<bool>,
    wakers: [[RefCell<Option<Waker>>; 2]; 2],
}

/// What a waker waits for.
#[derive(Clone, Copy)]
pub enum Op {
    /// Bytes to read.
    Read,
    /// Room to write.
    Write,
}

impl Conn {
    /// A connection whose ends are not seen yet.
    #[must_use]
    pub fn new(id: u32, window: usize) -> Self {
        Self {
            id,
            client: Cell::new(None),
            window,
            under_way: Default::default(),
            full_since: Default::default(),
            full_longest: Default::default(),
            traffic: Default::default(),
            held_until: Default::default(),
            held_total: Cell::default(),
            rate: Default::default(),
            cut: Cell::new(None),
            cut_at: Cell::new(None),
            rules: RefCell::default(),
            orders: Default::default(),
            changed: Notify::new(),
            failed: Default::default(),
            opened: Default::default(),
            dropped: Default::default(),
            upgraded: Cell::new(false),
            reset_by_drop: Cell::new(None),
            by_hand: Cell::new(false),
            rogue: Default::default(),
            numbering: Numbering::default(),
            used: Cell::new(false),
            disturbed: Cell::new(false),
            settled: Cell::new(false),
            wakers: Default::default(),
        }
    }

    /// What went this way.
    pub fn traffic(&self, direction: Direction) -> Ref<'_, Traffic> {
        self.traffic[direction.index()].borrow()
    }

    /// The same, to be added to.
    pub(crate) fn traffic_mut(&self, direction: Direction) -> RefMut<'_, Traffic> {
        self.traffic[direction.index()].borrow_mut()
    }

    /// Whether a Close was sent, by direction.
    #[must_use]
    pub fn closes_sent(&self) -> [bool; 2] {
        self.traffic
            .each_ref()
            .map(|traffic| traffic.borrow().close.is_some())
    }

    /// What goes this way arrives at `until` at the earliest, or now.
    pub fn hold(&self, direction: Direction, now: Duration, until: Option<Duration>) {
        let held = &self.held_until[direction.index()];
        let total = self.held_total.get();
        if let Some(until) = until {
            self.held_total.set(total + until.saturating_sub(now));
        }
        held.set(until);
        let reader = Side::BOTH[usize::from(direction == Direction::ToServer)];
        self.wake(reader, Op::Read);
    }

    /// Has the application of an end do something.
    pub fn order(&self, side: Side, step: Step) {
        self.orders[side.index()].borrow_mut().push_back(step);
        self.changed.notify_waiters();
    }

    /// Cuts it; the first cut counts. Both ends are woken.
    pub fn cut(&self, now: Duration, cut: Cut, by: Option<Side>) -> bool {
        if self.cut.get().is_some() {
            return false;
        }
        self.disturbed.set(true);
        self.cut.set(Some((cut, by)));
        self.cut_at.set(Some(now));
        for side in Side::BOTH {
            self.wake(side, Op::Read);
            self.wake(side, Op::Write);
        }
        true
    }

    /// A writer finds no room.
    pub fn is_full(&self, index: usize, now: Duration) {
        let since = self.full_since[index].get().unwrap_or(now);
        self.full_since[index].set(Some(since));
        self.was_full(index, now.saturating_sub(since));
    }

    /// A reader made room.
    pub fn has_room(&self, index: usize, now: Duration) {
        if let Some(since) = self.full_since[index].take() {
            self.was_full(index, now.saturating_sub(since));
        }
    }

    fn was_full(&self, index: usize, time: Duration) {
        let longest = &self.full_longest[index];
        longest.set(longest.get().max(time));
    }

    /// The longest time for which a writer found no room, in either direction.
    #[must_use]
    pub fn full_longest(&self) -> Duration {
        let [one, two] = self.full_longest.each_ref().map(Cell::get);
        one.max(two)
    }

    /// The longest time for which the writer of this side found no room.
    #[must_use]
    pub fn blocked_longest(&self, side: Side) -> Duration {
        self.full_longest[side.sends().index()].get()
    }

    /// True until either end is gone.
    #[must_use]
    pub fn live(&self) -> bool {
        self.cut.get().is_none() && self.dropped.iter().all(|at| at.get().is_none())
    }

    /// Remembers whom to wake.
    pub fn wait(&self, side: Side, op: Op, waker: &Waker) {
        let mut slot = self.wakers[side.index()][op as usize].borrow_mut();
        if !slot.as_ref().is_some_and(|old| old.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    /// Wakes whoever waits.
    pub fn wake(&self, side: Side, op: Op) {
        let waker = self.wakers[side.index()][op as usize].borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
