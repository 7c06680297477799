//! Plain publishers that fight over one session: the ten-line scripts of other people.
//!
//! Each holder attaches with the next number, sometimes with an old one, and sends again from a number that it may have
//! sent before, as the protocol allows. What the n-th message says is fixed, so that however they interleave the log must have each
//! number once and in order.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use weirline_handshake::{ClientRequest, WsUrl};
use weirline_tokio::{
    Config, Connection, Connector as _, Delivery, Driver, Handle, Inbox, InboxLimits, Message, MessageKind,
    channel,
};

use crate::plan::RivalsPlan;
use crate::rng::Rng;
use crate::server::entropy;
use crate::socket::SimConnector;
use crate::sometimes;
use crate::trace::digest;
use crate::world::{PORT, SERVER, World, client_host};

/// The holders of one session.
pub struct Rivals {
    world: Rc<World>,
    plan: RivalsPlan,
    /// Which secret: another one after the server has forgotten the session.
    generation: Cell<u64>,
    attach: Cell<u64>,
    acked: Cell<u64>,
    alive: Cell<u64>,
    dials: Cell<u64>,
}

/// Why a holder's connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Lost,
    Unknown,
}

impl Rivals {
    /// Those of the plan, if it has some.
    #[must_use]
    pub fn new(world: &Rc<World>) -> Option<Rc<Self>> {
        let plan = world.plan.rivals.clone()?;
        let world = Rc::clone(world);
        Some(Rc::new(Self {
            alive: Cell::new(plan.holders),
            plan,
            world,
            generation: Cell::new(1),
            attach: Cell::new(0),
            acked: Cell::new(0),
            dials: Cell::new(0),
        }))
    }

    /// The number of their host among the clients.
    #[must_use]
    pub fn client(world: &World) -> usize {
        world.plan.clients.len()
    }

    /// Runs all holders.
    pub async fn run(self: Rc<Self>) {
        let holders: Vec<_> = (0..self.plan.holders)
            .map(|holder| tokio::task::spawn_local(Rc::clone(&self).hold(holder)))
            .collect();
        for holder in holders {
            let _ = holder.await;
        }
    }

    /// True when everything is published and all holders have left.
    #[must_use]
    pub fn done(&self) -> bool {
        self.alive.get() == 0
    }

    /// For people.
    #[must_use]
    pub fn describe(&self) -> String {
        format!(
            "[rivals: {} of {} acknowledged, {} left]",
            self.acked.get(),
            self.plan.messages,
            self.alive.get()
        )
    }

    /// At rest: every message is in a log.
    pub fn check_at_rest(&self) {
        for number in 1..=self.plan.messages {
            if self
                .world
                .model
                .place(digest(payload(self.generation.get(), number).as_bytes()))
                .is_none()
            {
                self.world
                    .net
                    .violate("I2", format!("message {number} of the rivals is in no log"));
            }
        }
    }

    fn healed(&self) -> bool {
        self.world.net.now() >= Duration::from_millis(self.world.plan.heal_ms)
    }

    async fn hold(self: Rc<Self>, holder: u64) {
        let mut rng = Rng::derive(self.world.plan.seed, "rival", holder);
        // Holder 0 leaves last: another may find at its end that the server has forgotten the session.
        while self.acked.get() < self.plan.messages || (holder == 0 && self.alive.get() > 1) {
            // In the last phase one holder finishes the work.
            if self.healed() && holder > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(rng.within(1..=self.plan.pause_ms_max))).await;
            let generation = self.generation.get();
            if self.dial(holder, generation, &mut rng).await == Over::Unknown
                && self.generation.get() == generation
            {
                self.generation.set(generation + 1);
                self.attach.set(0);
                self.acked.set(0);
            }
        }
        self.alive.set(self.alive.get() - 1);
    }

    async fn dial(&self, holder: u64, generation: u64, rng: &mut Rng) -> Over {
        let last = self.attach.get();
        let attach = if last > 0 && !self.healed() && rng.percent(self.plan.stale_percent) {
            rng.within(1..=last)
        } else {
            self.attach.set(last + 1);
            last + 1
        };
        let seed = self.world.plan.seed;
        self.dials.set(self.dials.get() + 1);
        let entropy = entropy(Rng::derive(seed, "rival entropy", self.dials.get()));
        let client = Self::client(&self.world);
        let connector = SimConnector::new(
            Rc::clone(&self.world.net),
            &client_host(client),
            client,
            RIVAL_PROCESS,
        );
        let Ok(url) = WsUrl::parse(&format!("ws://{SERVER}:{PORT}/v1/streams/{}", self.plan.stream)) else {
            return Over::Lost;
        };
        let request = ClientRequest::new(&url, entropy.array());
        let opening = async {
            let stream = connector.connect(SERVER, PORT).await.ok()?;
            weirline_tokio::connect(stream, &request, PATIENCE).await.ok()
        };
        let Ok(Some(connected)) = timeout(PATIENCE, opening).await else {
            return Over::Lost;
        };
        let now = tokio::time::Instant::now().into_std();
        let connection = Connection::client(Arc::new(Config::default()), entropy.mask_source(), now);
        let (handle, inbox, handler) = channel(InboxLimits::default());
        let driver = Driver::new(connected.stream, connection, connected.residue, handler, ());
        let stay = Duration::from_millis(if self.healed() {
            5_000
        } else {
            rng.magnitude(5..=self.plan.stay_ms_max)
        });
        let talk = self.talk(&handle, inbox, generation, attach, rng);
        tokio::pin!(driver);
        tokio::select! {
            biased;
            over = async { tokio::join!(&mut driver, talk).1 } => over,
            () = tokio::time::sleep(stay) => {
                if holder.is_multiple_of(2) {
                    handle.close(weirline_tokio::CloseCode::NORMAL, "");
                    let _ = timeout(PATIENCE, driver).await;
                }
                Over::Lost
            }
        }
    }

    fn acknowledged(&self, generation: u64, count: u64) {
        if generation == self.generation.get() {
            self.acked.set(self.acked.get().max(count));
        }
    }

    async fn talk(
        &self,
        handle: &Handle,
        mut inbox: Inbox,
        generation: u64,
        attach: u64,
        rng: &mut Rng,
    ) -> Over {
        let seed = self.world.plan.seed;
        let secret = format!("{:022}", Rng::derive(seed, "rival secret", generation).next_u64());
        let opening = format!("SESSION:{secret}:{attach}");
        if handle.send(Message::text(opening)).await.is_err()
            || handle.send(Message::text("RESUME_FROM:none")).await.is_err()
        {
            return Over::Lost;
        }
        let Some(first) = next(&mut inbox).await else {
            return Over::Lost;
        };
        let Some(count) = first
            .strip_prefix("RESUME_FROM:")
            .and_then(|count| count.parse::<u64>().ok())
        else {
            return if first.starts_with("ERROR:session-unknown") {
                Over::Unknown
            } else {
                Over::Lost
            };
        };
        if count > self.plan.messages {
            self.world.net.violate(
                "I6",
                format!("{count} of {} messages of the rivals", self.plan.messages),
            );
        }
        self.acknowledged(generation, count);
        let before = count;
        let from = (count + 1)
            .saturating_sub(rng.within(0..=self.plan.again_max))
            .max(1);
        let send = async {
            for number in from..=self.plan.messages {
                let text = format!("{number}:{}", payload(generation, number));
                if handle.send(Message::text(text)).await.is_err() {
                    return;
                }
                if number % self.plan.burst == 0 {
                    tokio::time::sleep(Duration::from_millis(self.plan.every_ms)).await;
                }
            }
        };
        let receive = async {
            while let Some(text) = next(&mut inbox).await {
                if let Some(count) = text.strip_prefix("ACK:").and_then(|count| count.parse().ok()) {
                    self.acknowledged(generation, count);
                    sometimes!(self.world.net, "duplicate", from <= before);
                }
                if self.acked.get() >= self.plan.messages {
                    handle.close(weirline_tokio::CloseCode::NORMAL, "");
                }
            }
        };
        tokio::join!(send, receive);
        Over::Lost
    }
}

/// What a message says: fixed by the session and its number.
fn payload(generation: u64, number: u64) -> String {
    format!("r{generation}.{number}")
}

/// How long a holder waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Their dials are not those of a shipped client.
pub(crate) const RIVAL_PROCESS: u32 = 0;

async fn next(inbox: &mut Inbox) -> Option<String> {
    loop {
        match inbox.recv().await? {
            Delivery::Message(message) if message.kind == MessageKind::Text => {
                return Some(String::from_utf8_lossy(&message.payload).into_owned());
            }
            _ => {}
        }
    }
}
