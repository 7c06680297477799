//! Clients that publish and subscribe through all of it, and what they know.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_local};
use weirline_client::{
    BackoffConfig, Client, ClientBuilder, Entropy, Event, Events, Jitter, MemoryStore, Offset, Subscribe,
    TcpConnector, Ticket,
};

use crate::Outcome;

/// What all clients report to.
#[derive(Default)]
struct Board {
    acknowledged: Cell<u64>,
    delivered: Cell<u64>,
    moved: Notify,
    /// The first thing that should not have happened.
    wrong: RefCell<Option<String>>,
}

impl Board {
    fn fail(&self, what: String) {
        self.wrong.borrow_mut().get_or_insert(what);
        self.moved.notify_waiters();
    }

    fn check(&self) -> Outcome<()> {
        match &*self.wrong.borrow() {
            Some(wrong) => Err(wrong.clone().into()),
            None => Ok(()),
        }
    }

    /// Waits for `is_done`, as long as anything moves.
    async fn until(&self, is_done: impl Fn() -> bool) -> Outcome<()> {
        loop {
            let moved = self.moved.notified();
            self.check()?;
            if is_done() {
                return Ok(());
            }
            if tokio::time::timeout(PATIENCE, moved).await.is_err() {
                return Err("nothing moves any more".into());
            }
        }
    }
}

/// One publisher: it counts up.
struct Publisher {
    client: Client,
    published: Rc<Cell<u64>>,
    counting: JoinHandle<()>,
}

pub(crate) struct Load {
    board: Rc<Board>,
    stop: Rc<Cell<bool>>,
    publishers: Vec<Publisher>,
    /// For each stream, the last number of each of its publishers.
    streams: Vec<Rc<RefCell<BTreeMap<String, u64>>>>,
    drivers: Vec<JoinHandle<()>>,
}

/// What came out.
pub(crate) struct Totals {
    pub(crate) published: u64,
    pub(crate) delivered: u64,
}

impl Load {
    pub(crate) async fn start(address: &str, publishers: u16, size: usize) -> Outcome<Self> {
        let mut load = Self {
            board: Rc::default(),
            stop: Rc::default(),
            publishers: Vec::new(),
            streams: Vec::new(),
            drivers: Vec::new(),
        };
        for number in 0..publishers {
            load.publish(address, &format!("own-{number}"), format!("p{number}"), size)
                .await?;
            load.publish(address, "shared", format!("s{number}"), size)
                .await?;
            load.subscribe(address, &format!("own-{number}")).await?;
        }
        load.subscribe(address, "shared").await?;
        Ok(load)
    }

    async fn client(&mut self, address: &str, stream: &str, from: Subscribe) -> Outcome<(Client, Events)> {
        let backoff = BackoffConfig {
            delay_max: Duration::from_millis(20),
            hint_max: Duration::from_millis(20),
            attempts_max: u32::MAX,
            stable_after: Duration::ZERO,
            jitter: Jitter::default(),
        };
        let (client, events, driver) = ClientBuilder::new(&format!("ws://{address}/v1/streams/{stream}"))?
            .subscribe(from)
            .backoff(backoff)
            .build(TcpConnector, MemoryStore::default(), Entropy::os())
            .await?;
        let board = Rc::clone(&self.board);
        self.drivers.push(spawn_local(async move {
            if let Err(error) = driver.run().await {
                board.fail(format!("a client gave up: {error}"));
            }
        }));
        Ok((client, events))
    }

    async fn publish(&mut self, address: &str, stream: &str, name: String, size: usize) -> Outcome<()> {
        let (client, events) = self.client(address, stream, Subscribe::Nothing).await?;
        let tickets = Rc::<RefCell<Vec<Ticket>>>::default();
        let published = Rc::<Cell<u64>>::default();
        drop(spawn_local(acknowledge(
            Rc::clone(&self.board),
            events,
            Rc::clone(&tickets),
            name.clone(),
        )));
        let (stop, count, writer) = (Rc::clone(&self.stop), Rc::clone(&published), client.clone());
        let counting = spawn_local(async move {
            while !stop.get() {
                let number = count.get() + 1;
                let text = format!("{name}:{number}:{:x<size$}", "");
                let Ok(ticket) = writer.publish(text).await else {
                    return;
                };
                tickets.borrow_mut().push(ticket);
                count.set(number);
            }
        });
        self.publishers.push(Publisher {
            client,
            published,
            counting,
        });
        Ok(())
    }

    async fn subscribe(&mut self, address: &str, stream: &str) -> Outcome<()> {
        let from = Subscribe::After(Offset::ZERO);
        let (client, events) = self.client(address, stream, from).await?;
        let seen = Rc::<RefCell<BTreeMap<String, u64>>>::default();
        self.streams.push(Rc::clone(&seen));
        let board = Rc::clone(&self.board);
        let stream = stream.to_owned();
        drop(spawn_local(async move {
            // Without its handle the client would close.
            let _client = client;
            follow(&board, events, &seen, &stream).await;
        }));
        Ok(())
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.board.acknowledged.get()
    }

    pub(crate) fn check(&self) -> Outcome<()> {
        self.board.check()
    }

    /// Waits until so many more messages are acknowledged.
    pub(crate) async fn progress(&self, messages: u64) -> Outcome<()> {
        let until = self.acknowledged() + messages;
        self.board.until(|| self.acknowledged() >= until).await
    }

    /// Publishes no more, and waits until everything is acknowledged and delivered.
    pub(crate) async fn finish(self) -> Outcome<Totals> {
        self.stop.set(true);
        let mut published = 0;
        for Publisher {
            client,
            published: count,
            counting,
        } in self.publishers
        {
            counting.await?;
            tokio::time::timeout(PATIENCE, client.flush()).await??;
            published += count.get();
        }
        self.board
            .until(|| self.board.acknowledged.get() == published)
            .await?;
        self.board
            .until(|| self.board.delivered.get() >= published)
            .await?;
        self.board.check()?;
        let last_of = |stream: &Rc<RefCell<BTreeMap<String, u64>>>| stream.borrow().values().sum::<u64>();
        let delivered = self.streams.iter().map(last_of).sum();
        if delivered != published {
            return Err(format!("{published} published, and the last numbers add up to {delivered}").into());
        }
        for driver in self.drivers {
            driver.abort();
        }
        Ok(Totals { published, delivered })
    }
}

/// Counts what is acknowledged. Whatever else a publisher is told is a loss.
async fn acknowledge(board: Rc<Board>, mut events: Events, tickets: Rc<RefCell<Vec<Ticket>>>, name: String) {
    let mut before = 0;
    while let Some(event) = events.next().await {
        match event {
            Event::Acked(last) => {
                let count = tickets.borrow().partition_point(|ticket| *ticket <= last) as u64;
                board
                    .acknowledged
                    .set(board.acknowledged.get() + (count - before));
                before = count;
                board.moved.notify_waiters();
            }
            Event::Link(_) => {}
            other => return board.fail(format!("publisher {name}: {other:?}")),
        }
    }
}

/// Every offset, and every number of each publisher, once and in order.
async fn follow(board: &Board, mut events: Events, seen: &RefCell<BTreeMap<String, u64>>, stream: &str) {
    let mut offset = 0;
    while let Some(event) = events.next().await {
        let message = match event {
            Event::Message(message) => message,
            Event::Link(_) => continue,
            other => return board.fail(format!("subscriber of {stream}: {other:?}")),
        };
        offset += 1;
        let text = String::from_utf8_lossy(&message.payload);
        let mut words = text.split(':');
        let (name, number) = (
            words.next(),
            words.next().and_then(|word| word.parse::<u64>().ok()),
        );
        let (Some(name), Some(number)) = (name, number) else {
            return board.fail(format!("{stream} has what nobody published at offset {offset}"));
        };
        let mut seen = seen.borrow_mut();
        let last = seen.entry(name.to_owned()).or_default();
        if message.position.offset.get() != offset || number != *last + 1 {
            let place = message.position.offset;
            return board.fail(format!(
                "{stream}: number {number} of {name} after {last}, at offset {place} where {offset} comes next"
            ));
        }
        *last = number;
        board.delivered.set(board.delivered.get() + 1);
        board.moved.notify_waiters();
    }
}

const PATIENCE: Duration = Duration::from_secs(60);
