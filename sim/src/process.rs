//! One process of an application: it runs the shipped client, publishes its workload and handles what comes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use weirline_client::{
    Client, ClientBuilder, ClientError, Event, EventLimits, Events, LinkState, Payload, PublishError,
};
use weirline_resume::{BackoffConfig, Subscribe};

use crate::consumer::Consumer;
use crate::disk::{Disk, SimStore};
use crate::ledger::{Fate, Ledger};
use crate::plan::{ClientPlan, Start};
use crate::rng::Rng;
use crate::server::entropy;
use crate::socket::SimConnector;
use crate::trace::digest;
use crate::world::{PORT, SERVER, World, client_host};

/// One process.
pub struct Process {
    world: Rc<World>,
    client: usize,
    number: u32,
    disk: Disk,
    ledger: Rc<Ledger>,
    consumer: RefCell<Option<Consumer>>,
    handle: RefCell<Option<Client>>,
    end: Cell<Option<End>>,
    paused: Cell<bool>,
    /// A message was made and is not taken yet.
    putting: Cell<bool>,
    closing: Notify,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By the plan.
    Crashed,
    /// Another holder took its session.
    Superseded,
    /// It had no dials left.
    Exhausted,
    /// It closed.
    Closed,
    /// It should not have ended.
    Failed,
}

impl Process {
    /// Not started yet.
    #[must_use]
    pub fn new(world: Rc<World>, client: usize, number: u32, disk: Disk, ledger: Rc<Ledger>) -> Rc<Self> {
        let plan = &world.plan.clients[client];
        let stored = disk.state().and_then(|state| state.position);
        let consumer = (plan.start != Start::None).then(|| {
            let name = format!("client {client}, process {number}");
            let (net, model) = (Rc::clone(&world.net), Rc::clone(&world.model));
            let oldest = plan.start == Start::Oldest;
            let consumer = Consumer::new(net, model, name, &plan.stream, stored, oldest);
            match world.plan.late_max(client) {
                Some(late_max) => consumer.punctual(late_max),
                None => consumer,
            }
        });
        Rc::new(Self {
            client,
            number,
            disk,
            ledger,
            consumer: RefCell::new(consumer),
            handle: RefCell::default(),
            end: Cell::new(None),
            paused: Cell::new(false),
            putting: Cell::new(false),
            closing: Notify::new(),
            world,
        })
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.end.get()
    }

    /// It ended like this; the first end counts.
    pub fn set_end(&self, end: End) {
        if self.end.get().is_none() {
            self.end.set(Some(end));
        }
    }

    /// Its disk.
    #[must_use]
    pub fn disk(&self) -> Disk {
        self.disk.clone()
    }

    /// It takes no more from its workload, or goes on.
    pub fn pause_publishing(&self, paused: bool) {
        self.paused.set(paused);
    }

    /// True while a message waits for room in the outbox.
    #[must_use]
    pub fn is_putting(&self) -> bool {
        self.putting.get()
    }

    /// True when its outbox is empty, also on its disk.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.handle
            .borrow()
            .as_ref()
            .is_some_and(|client| client.outbox().0 == 0)
            && self.disk.state().is_some_and(|state| state.outbox.is_empty())
    }

    /// It is to close.
    pub fn close(&self) {
        self.closing.notify_one();
    }

    fn plan(&self) -> &ClientPlan {
        &self.world.plan.clients[self.client]
    }

    fn healed(&self) -> bool {
        self.world.net.now() >= Duration::from_millis(self.world.plan.heal_ms)
    }

    /// True when its workload is done, its outbox empty, and everything in the log was given to it.
    #[must_use]
    pub fn at_rest(&self, ledger: &Ledger) -> bool {
        let outbox = self
            .handle
            .borrow()
            .as_ref()
            .map_or(1, |client| client.outbox().0);
        ledger.made() >= self.plan().publish.count
            && outbox == 0
            && ledger.pending() == 0
            && self.consumer.borrow().as_ref().is_none_or(Consumer::at_head)
    }

    /// For people.
    #[must_use]
    pub fn describe(&self, ledger: &Ledger) -> String {
        let at = self
            .consumer
            .borrow()
            .as_ref()
            .map(|consumer| (consumer.at().map(|at| at.offset), consumer.at_head()));
        format!(
            "process {} end {:?}, made {} of {}, {} pending, reads {at:?}",
            self.number,
            self.end(),
            ledger.made(),
            self.plan().publish.count,
            ledger.pending(),
        )
    }

    /// The reader's oracles at rest.
    pub fn check_at_rest(&self) {
        if let Some(consumer) = &*self.consumer.borrow() {
            consumer.check_at_rest();
        }
    }

    fn builder(&self) -> Result<ClientBuilder, weirline_client::BuildError> {
        let plan = self.plan();
        let server = &self.world.plan.server;
        let url = format!("ws://{SERVER}:{PORT}/v1/streams/{}", plan.stream);
        let backoff = BackoffConfig {
            delay_max: Duration::from_millis(plan.delay_ms_max),
            attempts_max: plan.attempts_max,
            stable_after: Duration::from_millis(plan.stable_ms),
            ..BackoffConfig::default()
        };
        let start = match plan.start {
            Start::Oldest => Subscribe::After(weirline_log::Offset::ZERO),
            Start::Head => Subscribe::Head,
            Start::None => Subscribe::Nothing,
        };
        let limits = EventLimits {
            messages: usize::try_from(plan.queue_messages).unwrap_or(1),
            ..EventLimits::default()
        };
        Ok(ClientBuilder::new(&url)?
            .subscribe(start)
            .backoff(backoff)
            .events(limits)
            .outbox(usize::try_from(plan.outbox_messages).unwrap_or(1), 1 << 20)
            .dial_timeout(Duration::from_millis(plan.dial_timeout_ms))
            .keepalive(
                Duration::from_millis(server.ping_interval_ms),
                Duration::from_millis(server.ping_timeout_ms),
            ))
    }

    /// Runs until the client is over.
    pub async fn run(self: Rc<Self>) {
        let seed = self.world.plan.seed;
        let host = client_host(self.client);
        let connector = SimConnector::new(Rc::clone(&self.world.net), &host, self.client, self.number);
        let store_rng = Rng::derive(seed, "store", u64::from(self.number));
        let save_ms = self.plan().save_ms_max;
        let store = SimStore::new(
            self.disk.clone(),
            Rc::clone(&self.world.model),
            self.client,
            store_rng,
            save_ms,
        );
        let entropy = entropy(Rng::derive(seed, "client entropy", u64::from(self.number)));
        let built = match self.builder() {
            Ok(builder) => builder
                .build(connector, store, entropy)
                .await
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let (client, events, driver) = match built {
            Ok(parts) => parts,
            Err(error) => return self.failed(&error),
        };
        self.handle.replace(Some(client.clone()));
        let closing = async {
            self.closing.notified().await;
            client.close().await;
        };
        let ended = {
            let work = async {
                tokio::join!(self.consume(events), self.produce(&client));
            };
            let (ended, (), ()) = tokio::join!(driver.run(), work, closing_or_ended(&client, closing));
            ended
        };
        self.over(ended.err().unwrap_or(ClientError::Closed));
    }

    fn over(&self, why: ClientError) {
        self.world.net.note(
            &client_host(self.client),
            format!("process {} over: {why}", self.number),
        );
        match why {
            ClientError::Closed => self.set_end(End::Closed),
            ClientError::Superseded => self.set_end(End::Superseded),
            ClientError::Exhausted { attempts, .. } => {
                if attempts != self.plan().attempts_max {
                    let text = format!("process {} gave up after {attempts} dials", self.number);
                    self.world.net.violate("I17", text);
                }
                self.set_end(End::Exhausted);
            }
            other => self.failed(&other.to_string()),
        }
    }

    fn failed(&self, why: &str) {
        self.world.net.violate(
            "client",
            format!("client {}, process {} ended: {why}", self.client, self.number),
        );
        self.set_end(End::Failed);
    }

    async fn consume(&self, mut events: Events) {
        let plan = self.plan();
        let host = client_host(self.client);
        let mut count = 0;
        while let Some(event) = events.next().await {
            let position = self.take(&host, event);
            let Some(position) = position else { continue };
            count += 1;
            if !self.healed() && plan.handle_ms > 0 {
                tokio::time::sleep(Duration::from_millis(plan.handle_ms)).await;
            }
            if count % plan.handled_every == 0 || self.healed() {
                let key = (plan.stream.clone(), position.epoch);
                self.world.model.handled(self.client, key, position.offset);
                if let Err(error) = events.handled(position) {
                    self.world
                        .net
                        .violate("I9", format!("handled {position:?}: {error}"));
                }
            }
        }
    }

    /// Takes an event; the position that may be called handled.
    fn take(&self, host: &str, event: Event) -> Option<weirline_log::Position> {
        let net = &self.world.net;
        let mut consumer = self.consumer.borrow_mut();
        match event {
            Event::Message(message) => {
                net.note(
                    host,
                    format!(
                        "message {} of {}",
                        message.position.offset, message.position.epoch
                    ),
                );
                consumer
                    .as_mut()?
                    .message(message.position, digest(&message.payload));
                return Some(message.position);
            }
            Event::Gap(gap) => {
                net.note(host, format!("gap {} to {}", gap.from, gap.position.offset));
                consumer.as_mut()?.gap(gap.from, gap.position);
                return Some(gap.position);
            }
            Event::Reset { position, .. } => {
                net.note(
                    host,
                    format!("reset to {} of {}", position.offset, position.epoch),
                );
                consumer.as_mut()?.reset(position);
                return Some(position);
            }
            Event::Acked(ticket) => {
                net.note(host, format!("acked {}", ticket.0));
                self.ledger.acked(ticket.0);
            }
            Event::Uncertain { from, to } => {
                net.case("uncertain");
                net.note(host, format!("uncertain {} to {}", from.0, to.0));
                self.ledger.settled(from.0, to.0, Fate::Uncertain);
            }
            Event::Refused {
                ticket,
                retried: false,
                ..
            } => {
                self.ledger.settled(ticket.0, ticket.0, Fate::Refused);
            }
            Event::Link(LinkState::Live { stream }) => {
                if let (Some(consumer), Some((position, _))) = (consumer.as_mut(), stream) {
                    consumer.live(position);
                    if let Some(began) = consumer.at() {
                        // What was there before the first subscription counts as handled.
                        let key = (self.plan().stream.clone(), began.epoch);
                        if consumer.given() == 0 {
                            self.world.model.handled(self.client, key, began.offset);
                        }
                    }
                }
                net.note(host, format!("live {stream:?}"));
            }
            Event::SessionRenewed => net.case("session-renewed"),
            _ => {}
        }
        None
    }

    async fn produce(&self, client: &Client) {
        let publish = self.plan().publish;
        let seed = self.world.plan.seed;
        while self.ledger.made() < publish.count {
            if self.paused.get() {
                tokio::time::sleep(Duration::from_millis(10)).await;
                if client.outbox().0 == 0 && self.end().is_some() {
                    return;
                }
                continue;
            }
            for _ in 0..publish.burst.min(publish.count - self.ledger.made()) {
                if self.paused.get() || self.put(client, seed).await.is_err() {
                    break;
                }
            }
            if self.end().is_some() {
                return;
            }
            let pause = if self.healed() { 1 } else { publish.every_ms };
            let ended = tokio::time::timeout(Duration::from_millis(pause), client.ended()).await;
            if ended.is_ok() {
                return;
            }
        }
    }

    /// Publishes the next message of the workload.
    async fn put(&self, client: &Client, seed: u64) -> Result<(), PublishError> {
        let number = self.ledger.make();
        let payload = payload(seed, self.client, number, self.plan().publish.bytes_max);
        let digest = digest(payload.bytes());
        let ticket = match client.try_publish(payload.clone()) {
            Err(PublishError::Full) => {
                self.world.net.case("outbox-full");
                self.putting.set(true);
                let ticket = client.publish(payload).await;
                self.putting.set(false);
                ticket?
            }
            other => other?,
        };
        self.ledger.took(ticket.0, number, digest);
        self.world.model.took(self.client, ticket.0, digest);
        self.world.net.note(
            &client_host(self.client),
            format!("published {number} as {}", ticket.0),
        );
        Ok(())
    }
}

/// A payload that says whose it is; text or binary.
fn payload(seed: u64, client: usize, number: u64, bytes_max: u64) -> Payload {
    let mut rng = Rng::derive(seed, "payload", (client as u64) << 32 | number);
    let mut text = format!("c{client}.{number}.");
    let len = usize::try_from(rng.magnitude(1..=bytes_max.max(1))).unwrap_or(1);
    while text.len() < len {
        text.push(char::from(b'a' + u8::try_from(rng.below(26)).unwrap_or(0)));
    }
    if rng.percent(70) {
        text.into()
    } else {
        text.into_bytes().into()
    }
}

/// Waits for the order to close, unless the client is over before.
async fn closing_or_ended(client: &Client, closing: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        () = closing => {}
        _ = client.ended() => {}
    }
}
