//! A simulated connection as the world sees it: both ends, its window, and the cut that is planned for it.

use std::cell::{Cell, RefCell};
use std::task::Waker;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::numbering::Numbering;
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

/// When a planned cut falls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trigger {
    /// After so many bytes in this direction.
    Bytes(u64),
    /// When the n-th message with this label has been sent (and before it arrives).
    Message {
        /// The label: `ACK`, `DATA`, `RESUME_FROM`, `CLOSE`, `HEAD`, …
        label: String,
        /// Which one, from 1.
        nth: u64,
    },
}

/// A cut planned for one connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fuse {
    /// The client's number.
    pub client: usize,
    /// Which of its connections, from 1.
    pub dial: u64,
    /// The direction that is watched.
    pub direction: Direction,
    /// When.
    pub trigger: Trigger,
    /// How.
    pub cut: Cut,
}

/// The end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that dialled.
    Client,
    /// The one that accepted.
    Server,
}

impl Side {
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
    pub full_longest: Cell<Duration>,
    /// Bytes sent, by direction.
    pub sent: [Cell<u64>; 2],
    /// The cut, once it has happened, and the side at which it fell.
    pub cut: Cell<Option<(Cut, Option<Side>)>>,
    /// The cut that is planned.
    pub fuse: RefCell<Option<Fuse>>,
    /// When each end was opened.
    pub opened: [Cell<Option<Duration>>; 2],
    /// When each end was dropped.
    pub dropped: [Cell<Option<Duration>>; 2],
    /// When a Close frame was sent, by direction.
    pub close_sent: [Cell<Option<Duration>>; 2],
    /// The codes and reasons of these.
    pub close: [RefCell<(u16, String)>; 2],
    /// True when the server has answered the upgrade with 101.
    pub upgraded: Cell<bool>,
    /// An end was dropped over bytes that it had not read.
    pub reset_by_drop: Cell<Option<Side>>,
    /// True when its client is a script: that may send what a shipped client must not.
    pub by_hand: Cell<bool>,
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
            full_longest: Cell::default(),
            sent: Default::default(),
            cut: Cell::new(None),
            fuse: RefCell::new(None),
            opened: Default::default(),
            dropped: Default::default(),
            close_sent: Default::default(),
            close: Default::default(),
            upgraded: Cell::new(false),
            reset_by_drop: Cell::new(None),
            by_hand: Cell::new(false),
            numbering: Numbering::default(),
            used: Cell::new(false),
            disturbed: Cell::new(false),
            settled: Cell::new(false),
            wakers: Default::default(),
        }
    }

    /// Cuts it; the first cut counts. Both ends are woken.
    pub fn cut(&self, cut: Cut, by: Option<Side>) -> bool {
        if self.cut.get().is_some() {
            return false;
        }
        self.disturbed.set(true);
        self.cut.set(Some((cut, by)));
        for side in [Side::Client, Side::Server] {
            self.wake(side, Op::Read);
            self.wake(side, Op::Write);
        }
        true
    }

    /// A writer finds no room.
    pub fn is_full(&self, index: usize, now: Duration) {
        let since = self.full_since[index].get().unwrap_or(now);
        self.full_since[index].set(Some(since));
        self.full_longest
            .set(self.full_longest.get().max(now.saturating_sub(since)));
    }

    /// A reader made room.
    pub fn has_room(&self, index: usize, now: Duration) {
        if let Some(since) = self.full_since[index].take() {
            self.full_longest
                .set(self.full_longest.get().max(now.saturating_sub(since)));
        }
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
