//! A worker's connections: how each is found, woken, and told to leave.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use slab::Slab;
use tokio::sync::Notify;
use weirline_log::StreamId;

use crate::clock;
use crate::hub::{ConnId, Fence, Reply, SocketGuard, WorkerMail};

/// How far the shutdown has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Running,
    /// Close every connection with 1001.
    Closing,
    /// The time for closing handshakes is over.
    Aborting,
}

/// The connections of one worker. Cheap to clone; it never leaves the worker's thread.
#[derive(Debug, Clone)]
pub(crate) struct Registry(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    worker: u16,
    stage: Cell<Stage>,
    table: RefCell<Table>,
    /// Sockets in their handshake.
    handshakes: Cell<usize>,
    /// The last connection has gone, or the last handshake.
    emptied: Notify,
}

#[derive(Debug, Default)]
struct Table {
    generation: u32,
    slots: Slab<Slot>,
    subscribers: BTreeMap<StreamId, BTreeSet<u32>>,
}

/// What every connection costs here. An echo needs no more than this.
#[derive(Debug)]
struct Slot {
    generation: u32,
    since: Instant,
    waker: Option<Waker>,
    stream: Option<Box<StreamSlot>>,
    _socket: SocketGuard,
}

/// What a connection to streams has besides.
#[derive(Debug)]
struct StreamSlot {
    news: News,
    watched: Watched,
}

/// What a connection is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watches {
    /// Of nothing: it has no news.
    Nothing,
    /// That its stream has grown.
    One,
    /// Which of its streams have grown.
    Many,
}

/// For thousands of subscribers of one stream each, a name more or less counts.
#[derive(Debug)]
enum Watched {
    One(Option<StreamId>),
    Many(BTreeSet<StreamId>),
}

/// What happened for a connection since it last looked.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// The reply to its submission; it has at most one outstanding.
    pub(crate) reply: Option<Reply>,
    /// It has lost its session.
    pub(crate) fenced: Option<Fence>,
    /// Its stream has grown, or one of its streams.
    pub(crate) grown: bool,
    /// Which of many. Never more than are watched, and one that is not watched any more does no harm.
    pub(crate) streams: BTreeSet<StreamId>,
}

impl Registry {
    pub(crate) fn new(worker: u16) -> Self {
        Self(Rc::new(Inner {
            worker,
            stage: Cell::new(Stage::Running),
            table: RefCell::default(),
            handshakes: Cell::new(0),
            emptied: Notify::new(),
        }))
    }

    /// Takes in a connection, until the [`Place`] is dropped.
    pub(crate) fn enter(&self, socket: SocketGuard, watches: Watches) -> Place {
        let mut table = self.0.table.borrow_mut();
        table.generation = table.generation.wrapping_add(1);
        let generation = table.generation;
        let stream = StreamSlot::new(watches).map(Box::new);
        let slot = table.slots.insert(Slot {
            generation,
            since: clock::now(),
            waker: None,
            stream,
            _socket: socket,
        });
        // Sockets are descriptors, and there are fewer of those than a u32 can count.
        let slot = u32::try_from(slot).unwrap_or(u32::MAX);
        Place {
            registry: self.clone(),
            id: ConnId::new(self.0.worker, slot, generation),
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        self.0.stage.get()
    }

    /// Wakes every connection, so that it sees the stage.
    pub(crate) fn set_stage(&self, stage: Stage) {
        self.0.stage.set(stage);
        for (_, slot) in &mut self.0.table.borrow_mut().slots {
            slot.wake();
        }
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        self.0.table.borrow().slots.len()
    }

    /// Waits until there is no connection and no handshake.
    pub(crate) async fn emptied(&self) {
        while self.len() > 0 || self.0.handshakes.get() > 0 {
            self.0.emptied.notified().await;
        }
    }

    /// Counts a handshake for as long as the guard lives.
    pub(crate) fn count_handshake(&self) -> HandshakeGuard {
        self.0.handshakes.set(self.0.handshakes.get() + 1);
        HandshakeGuard(self.clone())
    }

    /// Hands out what the committer has left for this worker.
    pub(crate) fn deliver(&self, mail: WorkerMail) {
        let table = &mut *self.0.table.borrow_mut();
        for (id, reply) in mail.replies {
            table.news(id, |news| news.reply = Some(reply));
        }
        for (id, fence) in mail.fenced {
            table.news(id, |news| news.fenced = news.fenced.or(Some(fence)));
        }
        for stream in mail.grown {
            let Some(subscribers) = table.subscribers.get(&stream) else {
                continue;
            };
            for &key in subscribers {
                if let Some(slot) = table.slots.get_mut(key as usize) {
                    if let Some(slot) = &mut slot.stream {
                        slot.grown(&stream);
                    }
                    slot.wake();
                }
            }
        }
    }
}

impl Table {
    fn news(&mut self, id: ConnId, change: impl FnOnce(&mut News)) {
        let slot = self
            .slots
            .get_mut(id.slot as usize)
            .filter(|slot| slot.generation == id.generation);
        let Some(slot) = slot else { return };
        if let Some(stream) = &mut slot.stream {
            change(&mut stream.news);
            slot.wake();
        }
    }
}

impl StreamSlot {
    fn new(watches: Watches) -> Option<Self> {
        let watched = match watches {
            Watches::Nothing => return None,
            Watches::One => Watched::One(None),
            Watches::Many => Watched::Many(BTreeSet::new()),
        };
        let news = News::default();
        Some(Self { news, watched })
    }

    fn grown(&mut self, name: &StreamId) {
        self.news.grown = true;
        if let Watched::Many(_) = self.watched {
            self.news.streams.insert(name.clone());
        }
    }
}

impl Slot {
    /// The waker is used up: the connection leaves it again in its next turn.
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A handshake that is going on.
#[derive(Debug)]
pub(crate) struct HandshakeGuard(Registry);

impl Drop for HandshakeGuard {
    fn drop(&mut self) {
        let Inner {
            handshakes, emptied, ..
        } = &*self.0.0;
        handshakes.set(handshakes.get() - 1);
        if handshakes.get() == 0 {
            emptied.notify_one();
        }
    }
}

/// A connection's place in the [`Registry`]; it leaves when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    registry: Registry,
    id: ConnId,
}

impl Place {
    pub(crate) fn id(&self) -> ConnId {
        self.id
    }

    pub(crate) fn id_ref(&self) -> &ConnId {
        &self.id
    }

    /// How long the connection is open.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        let table = self.registry.0.table.borrow();
        let slot = table.slots.get(self.id.slot as usize);
        slot.map_or(Duration::ZERO, |slot| now.saturating_duration_since(slot.since))
    }

    /// Says whom to wake, and returns the stage of the shutdown.
    pub(crate) fn check_in(&self, waker: &Waker) -> Stage {
        if let Some(slot) = self
            .registry
            .0
            .table
            .borrow_mut()
            .slots
            .get_mut(self.id.slot as usize)
            && !slot.waker.as_ref().is_some_and(|known| known.will_wake(waker))
        {
            slot.waker = Some(waker.clone());
        }
        self.registry.stage()
    }

    /// Takes what happened since the last call.
    pub(crate) fn news(&self) -> News {
        self.with_stream(|_, stream| std::mem::take(&mut stream.news))
            .unwrap_or_default()
    }

    /// From the next growth of the stream on, there will be news of it.
    pub(crate) fn subscribe(&self, name: &StreamId) {
        self.with_stream(|subscribers, stream| {
            subscribers.entry(name.clone()).or_default().insert(self.id.slot);
            match &mut stream.watched {
                Watched::One(one) => *one = Some(name.clone()),
                Watched::Many(many) => drop(many.insert(name.clone())),
            }
        });
    }

    /// Makes `names` all that this place of many streams watches, in order and without repetition. Calls `changed` for each stream that
    /// comes or goes, with whether it comes.
    pub(crate) fn watch<'n>(
        &self,
        names: impl Iterator<Item = &'n StreamId> + Clone,
        mut changed: impl FnMut(&StreamId, bool),
    ) {
        self.with_stream(|subscribers, stream| {
            let Watched::Many(many) = &mut stream.watched else {
                return;
            };
            if many.iter().eq(names.clone()) {
                return;
            }
            let wanted: BTreeSet<StreamId> = names.cloned().collect();
            for name in many.difference(&wanted) {
                remove(subscribers, name, self.id.slot);
                changed(name, false);
            }
            for name in wanted.difference(many) {
                subscribers.entry(name.clone()).or_default().insert(self.id.slot);
                changed(name, true);
            }
            *many = wanted;
        });
    }

    fn with_stream<R>(
        &self,
        change: impl FnOnce(&mut BTreeMap<StreamId, BTreeSet<u32>>, &mut StreamSlot) -> R,
    ) -> Option<R> {
        let table = &mut *self.registry.0.table.borrow_mut();
        let stream = table.slots.get_mut(self.id.slot as usize)?.stream.as_mut()?;
        Some(change(&mut table.subscribers, stream))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.registry.0.table.borrow_mut();
        let slot = table.slots.try_remove(self.id.slot as usize);
        let table = &mut *table;
        let watched = slot.and_then(|slot| slot.stream).map(|stream| stream.watched);
        match watched {
            None | Some(Watched::One(None)) => {}
            Some(Watched::One(Some(name))) => remove(&mut table.subscribers, &name, self.id.slot),
            Some(Watched::Many(names)) => {
                for name in &names {
                    remove(&mut table.subscribers, name, self.id.slot);
                }
            }
        }
        if table.slots.is_empty() {
            // A crowd that has left leaves its table behind otherwise.
            table.slots = Slab::new();
            self.registry.0.emptied.notify_one();
        }
    }
}

fn remove(subscribers: &mut BTreeMap<StreamId, BTreeSet<u32>>, name: &StreamId, slot: u32) {
    if let Some(slots) = subscribers.get_mut(name) {
        slots.remove(&slot);
        if slots.is_empty() {
            subscribers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Hub;

    fn enter(registry: &Registry) -> Place {
        registry.enter(Hub::new(1).count_socket().0, Watches::One)
    }

    fn fence(id: ConnId) -> WorkerMail {
        WorkerMail {
            fenced: vec![(id, Fence::Superseded)],
            ..WorkerMail::default()
        }
    }

    /// A fence that was meant for a connection that has gone must not hit the one that has its place.
    #[test]
    fn mail_for_a_connection_that_has_gone_reaches_nobody() {
        let registry = Registry::new(0);
        let (stays, first) = (enter(&registry), enter(&registry));
        let gone = first.id();
        drop(first);
        let second = enter(&registry);
        assert_eq!((second.id().slot, second.id() == gone), (gone.slot, false));
        registry.deliver(fence(gone));
        assert_eq!((second.news().fenced, stays.news().fenced), (None, None));
        registry.deliver(fence(second.id()));
        assert_eq!(second.news().fenced, Some(Fence::Superseded));
        assert_eq!(second.news().fenced, None, "told once");
    }

    #[test]
    fn subscriptions_leave_with_their_connection() {
        let registry = Registry::new(0);
        let stream = StreamId::new("s").unwrap();
        let (a, b) = (enter(&registry), enter(&registry));
        a.subscribe(&stream);
        b.subscribe(&stream);
        let grown = || WorkerMail {
            grown: [stream.clone()].into(),
            ..WorkerMail::default()
        };
        registry.deliver(grown());
        assert!(a.news().grown && b.news().grown);
        drop(a);
        registry.deliver(grown());
        assert!(b.news().grown);
        drop(b);
        assert!(registry.0.table.borrow().subscribers.is_empty());
    }

    /// A place of many streams has news of exactly those that it watches, and is woken for no other.
    #[test]
    fn many_streams_of_one_connection() {
        let registry = Registry::new(0);
        let place = registry.enter(Hub::new(1).count_socket().0, Watches::Many);
        let other = registry.enter(Hub::new(1).count_socket().0, Watches::Many);
        let names: Vec<StreamId> = ["a", "b", "c", "d"]
            .map(|name| StreamId::new(name).unwrap())
            .into();
        let grown_of = |place: &Place, grown: &[usize]| {
            let grown = grown.iter().map(|&at| names[at].clone()).collect();
            registry.deliver(WorkerMail {
                grown,
                ..WorkerMail::default()
            });
            let news = place.news();
            assert_eq!(news.grown, !news.streams.is_empty());
            news.streams
                .iter()
                .map(|name| name.as_str().to_owned())
                .collect::<String>()
        };
        let watch = |watched: &[usize], expect: &str| {
            let mut changes = String::new();
            place.watch(watched.iter().map(|&at| &names[at]), |name, comes| {
                changes += &format!("{}{name}", if comes { '+' } else { '-' });
            });
            assert_eq!(changes, expect);
        };
        watch(&[], "");
        watch(&[0, 1], "+a+b");
        assert_eq!(grown_of(&place, &[0, 2, 3]), "a");
        watch(&[0, 1], "");
        watch(&[1, 3], "-a+d");
        assert_eq!(grown_of(&place, &[0, 1, 2, 3]), "bd");
        assert_eq!(grown_of(&other, &[0, 1, 2, 3]), "");
        drop(place);
        assert!(registry.0.table.borrow().subscribers.is_empty());
    }
}
