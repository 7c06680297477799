//! Law 9, point by point: each public future of a client is dropped after each number of polls, right away or when it was woken
//! again, while everything around it runs in an order drawn by a seed, against the shipped server, over connections of which
//! some are cut. Nothing is lost and nothing doubled.

mod common;
#[path = "../../weirline-tokio/tests/common/shuffle.rs"]
#[allow(dead_code, unreachable_pub)]
mod shuffle;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use common::cut::{Cut, CutConnector, Fault, Server, Side};
use common::{URL, entropy, world};
use shuffle::{Noise, Shuffle, When, dropped, drops};
use tokio::sync::Notify;
use weirline_client::{
    Client, ClientBuilder, ClientDriver, ClientError, ClientState, Event, Events, LinkState, Offset, Store,
    StoreError, Subscribe,
};
use weirline_log::{LogReader as _, ReadLimits, StreamId};

/// Which future is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Build,
    Publish,
    Flush,
    Close,
    Ended,
    Next,
    NextBatch,
    Driver,
}

const SEEDS: u64 = 6;
const MESSAGES: u64 = 6;
/// The message whose `publish`, or the event whose `next`, is dropped.
const CHOSEN: u64 = 3;

#[test]
fn a_dropped_build_has_done_nothing() {
    check(Victim::Build, 5);
}

#[test]
fn a_dropped_publish_is_not_published() {
    check(Victim::Publish, 5);
}

#[test]
fn a_dropped_flush_loses_nothing() {
    check(Victim::Flush, 5);
}

#[test]
fn a_dropped_close_closes() {
    check(Victim::Close, 4);
}

#[test]
fn a_dropped_wait_for_the_end_loses_nothing() {
    check(Victim::Ended, 30);
}

#[test]
fn a_dropped_next_loses_nothing() {
    check(Victim::Next, 4);
    check(Victim::NextBatch, 4);
}

#[test]
fn after_a_dropped_driver_another_client_goes_on() {
    check(Victim::Driver, 60);
}

fn check(victim: Victim, polls: u32) {
    let mut outcomes = BTreeSet::new();
    for when in drops(polls) {
        for seed in 0..SEEDS {
            outcomes.insert(world(play(victim, when, seed)));
        }
    }
    assert_eq!(outcomes.len(), 2, "{victim:?}: some were dropped, some were done");
}

/// A client publishes, reads what it published, flushes and closes. Returns whether the victim was dropped.
async fn play(victim: Victim, when: When, seed: u64) -> bool {
    let about = format!("{victim:?} {when:?}, seed {seed}");
    let noise = &mut Noise::new(seed);
    let server = Server::start(seed);
    let cuts: Vec<_> = (0..noise.below(3))
        .map(|_| Cut {
            side: [Side::Up, Side::Down][noise.below(2)],
            at: noise.below(900),
            fault: [Fault::Rst, Fault::Fin][noise.below(2)],
        })
        .collect();
    let connector = server.connector(cuts);
    let store = SlowStore::default();
    let cut = Cell::new(false);
    if victim == Victim::Build {
        let building = builder().build(connector.clone(), store.clone(), entropy(seed));
        cut.set(dropped(building, when).await.is_none());
        assert!(store.saved.borrow().is_none(), "{about}");
    }
    let first = Run::new(&connector, &store, seed).await;
    first.play((victim, when), &cut, seed).await;

    let (mut seen, acknowledged) = (first.seen.take(), first.acknowledged.get());
    let mut expected: Vec<u64> = (1..=MESSAGES).collect();
    if victim == Victim::Publish && cut.get() {
        expected.retain(|n| *n != CHOSEN);
    }
    if victim == Victim::Driver && cut.get() {
        let second = Run::new(&connector, &store, seed + 1000).await;
        second.finish(&server, seed).await;
        // What was delivered and not stored as handled is delivered again.
        let again = second.seen.take();
        seen.truncate(
            again
                .first()
                .map_or(seen.len(), |offset| usize::try_from(offset - 1).unwrap()),
        );
        seen.extend(again);
        // What was taken and not stored is gone with the process, and its holder knows: it was not acknowledged.
        expected.truncate(log(&server).len().max(acknowledged));
    }
    assert_eq!(log(&server), expected, "published once and in order: {about}");
    let offsets: Vec<u64> = (1..).take(expected.len()).collect();
    assert_eq!(seen, offsets, "delivered once and in order: {about}");
    cut.get()
}

fn builder() -> ClientBuilder {
    let builder = ClientBuilder::new(URL).expect("a URL");
    // A small outbox, so that publishing must wait.
    builder
        .subscribe(Subscribe::After(Offset::ZERO))
        .outbox(2, 1 << 20)
}

/// The whole log of the stream, whose messages are numbers.
fn log(server: &Server) -> Vec<u64> {
    let limits = ReadLimits {
        messages: 1000,
        bytes: 1 << 20,
    };
    let mut entries = Vec::new();
    let stream = StreamId::new("test").expect("a name");
    // A stream that nobody has published to does not exist.
    let _ = server.log.read(&stream, Offset::ZERO, limits, &mut entries);
    let texts = entries
        .iter()
        .map(|entry| String::from_utf8_lossy(&entry.payload).into_owned());
    texts.map(|text| text.parse().expect("a number")).collect()
}

/// A client at work, and what it has seen.
struct Run {
    client: Client,
    events: RefCell<Option<Events>>,
    driver: RefCell<Option<ClientDriver<CutConnector, SlowStore>>>,
    /// Offsets in the order of their delivery.
    seen: RefCell<Vec<u64>>,
    /// Where the reader is: behind the last of them, or where delivery goes on after a restart.
    position: Cell<Option<u64>>,
    /// Another one was seen, or the end.
    progress: Notify,
    acknowledged: Cell<usize>,
}

impl Run {
    async fn new(connector: &CutConnector, store: &SlowStore, seed: u64) -> Self {
        let built = builder()
            .build(connector.clone(), store.clone(), entropy(seed))
            .await;
        let (client, events, driver) = built.expect("a client");
        Self {
            client,
            events: RefCell::new(Some(events)),
            driver: RefCell::new(Some(driver)),
            seen: RefCell::default(),
            position: Cell::default(),
            progress: Notify::new(),
            acknowledged: Cell::new(0),
        }
    }

    async fn play(&self, (victim, when): (Victim, When), cut: &Cell<bool>, seed: u64) {
        let never = When::Polled(u32::MAX);
        let of = |other| if other == victim { when } else { never };
        let note = |was_cut: bool| cut.set(cut.get() | was_cut);
        let mut tasks = Shuffle::default();
        let driver = self.driver.take().expect("one");
        tasks.task("driver", async {
            note(dropped(driver.run(), of(Victim::Driver)).await.is_none());
        });
        tasks.task("reader", self.read((victim, when), cut));
        tasks.task("waits for the end", async {
            note(dropped(self.client.ended(), of(Victim::Ended)).await.is_none());
            self.client.ended().await;
        });
        tasks.task("application", async {
            for n in 1..=MESSAGES {
                let limit = if n == CHOSEN { of(Victim::Publish) } else { never };
                let published = dropped(self.client.publish(n.to_string()), limit).await;
                note(published.is_none());
                if let Some(Err(error)) = published {
                    assert!(victim == Victim::Driver && cut.get(), "{error}");
                }
            }
            note(dropped(self.client.flush(), of(Victim::Flush)).await.is_none());
            let through = MESSAGES - u64::from(victim == Victim::Publish && cut.get());
            if self.client.flush().await.is_ok() && self.has_seen(through).await {
                let not_polled = [When::Polled(0), When::Woken(0)].contains(&when);
                let closed = dropped(self.client.close(), of(Victim::Close)).await;
                note(closed.is_none());
                if victim == Victim::Close && not_polled {
                    self.client.close().await;
                }
            }
        });
        tasks.run(seed).await;
    }

    /// Sends what the store had, and reads to the end of the log.
    async fn finish(&self, server: &Server, seed: u64) {
        let nothing = Cell::new(false);
        let mut tasks = Shuffle::default();
        let driver = self.driver.take().expect("one");
        tasks.task("driver", async {
            driver.run().await.expect("closed");
        });
        tasks.task("reader", self.read((Victim::Build, When::Polled(0)), &nothing));
        tasks.task("application", async {
            self.client.flush().await.expect("settled");
            self.has_seen(log(server).len() as u64).await;
            assert!(matches!(self.client.close().await, ClientError::Closed));
        });
        tasks.run(seed).await;
    }

    /// Waits until this offset was seen; false when the client is over before.
    async fn has_seen(&self, offset: u64) -> bool {
        loop {
            if self.position.get() >= Some(offset) {
                return true;
            }
            tokio::select! {
                biased;
                () = self.progress.notified() => {}
                _ = self.client.ended() => return false,
            }
        }
    }

    /// Takes all events, and handles each.
    async fn read(&self, (victim, when): (Victim, When), cut: &Cell<bool>) {
        let mut events = self.events.take().expect("one");
        for count in 1.. {
            let mut batch = Vec::new();
            let chosen = count == CHOSEN;
            let over = match victim {
                Victim::NextBatch => {
                    let limit = if chosen { when } else { When::Polled(u32::MAX) };
                    let taken = dropped(events.next_batch(&mut batch, 3), limit).await;
                    cut.set(cut.get() | taken.is_none());
                    taken == Some(0)
                }
                Victim::Next if chosen => {
                    let taken = dropped(events.next(), when).await;
                    cut.set(cut.get() | taken.is_none());
                    batch.extend(taken.flatten());
                    false
                }
                _ => {
                    batch.extend(events.next().await);
                    batch.is_empty()
                }
            };
            for event in batch {
                match event {
                    Event::Message(message) => {
                        let offset = message.position.offset.get();
                        self.seen.borrow_mut().push(offset);
                        self.position.set(Some(offset));
                        events.handled(message.position).expect("delivered");
                    }
                    Event::Acked(ticket) => self.acknowledged.set(usize::try_from(ticket.0).expect("few")),
                    Event::Link(LinkState::Live { stream }) => {
                        let goes_on = stream.map(|(position, _)| position.offset.get());
                        self.position.set(self.position.get().max(goes_on));
                    }
                    Event::Link(_) => {}
                    other => panic!("{other:?}"),
                }
            }
            self.progress.notify_one();
            if over {
                return;
            }
        }
    }
}

/// Keeps the state, and takes its time for it.
#[derive(Clone, Default)]
struct SlowStore {
    saved: Rc<RefCell<Option<ClientState>>>,
}

impl Store for SlowStore {
    async fn load(&mut self) -> Result<Option<ClientState>, StoreError> {
        tokio::task::yield_now().await;
        let state = self.saved.borrow().clone();
        tokio::task::yield_now().await;
        Ok(state)
    }

    async fn save(&mut self, state: ClientState) -> Result<(), StoreError> {
        tokio::task::yield_now().await;
        *self.saved.borrow_mut() = Some(state);
        tokio::task::yield_now().await;
        Ok(())
    }
}
