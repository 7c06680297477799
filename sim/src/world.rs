//! The world of one plan: hosts, time, faults, and the phases of a run.
//!
//! 1. *Faults*: applications work, the plan's faults happen; safety is checked at every event.
//! 2. *Rest*: everything is healed; all must come to rest with nothing lost, in bounded time.
//! 3. *Closing*: clients close, the server stops; no connection may stay behind.

use std::rc::Rc;
use std::time::Duration;

use crate::app::Apps;
use crate::model::Model;
use crate::net::Net;
use crate::oracles;
use crate::plan::{Fault, FaultKind, Plan};
use crate::rivals::Rivals;
use crate::run::{Report, Verdict};
use crate::scripts::Scripts;
use crate::server::Server;
use crate::trace::{Keep, What};

/// What every part of a world can reach.
pub struct World {
    /// The plan.
    pub plan: Plan,
    /// The network.
    pub net: Rc<Net>,
    /// The reference model.
    pub model: Rc<Model>,
}

/// The server's host.
pub const SERVER: &str = "server";
/// Its port.
pub const PORT: u16 = 7070;

/// The host of a client.
#[must_use]
pub fn client_host(client: usize) -> String {
    format!("client{client}")
}

/// Runs a plan to its end. The calling thread must be pinned.
#[must_use]
pub fn run(plan: Plan, keep: Keep) -> Report {
    let net = Net::new(plan.seed, plan.net.clone(), keep);
    let model = Model::new(Rc::clone(&net));
    let world = Rc::new(World { plan, net, model });
    let mut run = Run::new(&world);
    let verdict = match run.go() {
        Ok(at_rest) if !world.net.broken() && at_rest => Verdict::Good,
        Ok(at_rest)
            if at_rest
                || world
                    .net
                    .violations()
                    .iter()
                    .any(|found| found.invariant != "liveness") =>
        {
            Verdict::Broken
        }
        Ok(_) => Verdict::NotAtRest,
        Err(error) => {
            world.net.violate("panic", error);
            Verdict::Broken
        }
    };
    let simulated = run.sim.elapsed();
    drop(run);
    Report::of(&world.net, verdict, simulated)
}

struct Run {
    world: Rc<World>,
    sim: turmoil::Sim<'static>,
    apps: Rc<Apps>,
    server: Rc<Server>,
    rivals: Option<Rc<Rivals>>,
    scripts: Option<Rc<Scripts>>,
    /// What is to be done, by time; the latest last.
    agenda: Vec<(Duration, Deed)>,
}

#[derive(Clone, Debug)]
enum Deed {
    Begin(FaultKind),
    Release(usize),
    Repair(usize),
    Calm(usize),
    Boot,
    Restart(usize),
    Start(usize),
}

impl Run {
    fn new(world: &Rc<World>) -> Self {
        let plan = &world.plan;
        let mut sim = world.net.sim();
        let server = Server::new(Rc::clone(world));
        {
            let server = Rc::clone(&server);
            sim.host(SERVER, move || Rc::clone(&server).life());
        }
        let apps = Apps::new(Rc::clone(world));
        let mut agenda = Vec::new();
        for (client, of_plan) in plan.clients.iter().enumerate() {
            let apps = Rc::clone(&apps);
            sim.client(client_host(client), async move {
                apps.host(client).await;
                Ok(())
            });
            agenda.push((Duration::from_millis(of_plan.start_ms), Deed::Start(client)));
        }
        let rivals = Rivals::new(world);
        if let Some(rivals) = &rivals {
            let rivals = Rc::clone(rivals);
            sim.client(client_host(Rivals::client(world)), async move {
                rivals.run().await;
                Ok(())
            });
        }
        let scripts = Scripts::new(world);
        if let Some(scripts) = &scripts {
            let scripts = Rc::clone(scripts);
            sim.client(client_host(Scripts::client(world)), async move {
                scripts.run().await;
                Ok(())
            });
        }
        for Fault { at_ms, kind } in &plan.faults {
            agenda.push((Duration::from_millis(*at_ms), Deed::Begin(kind.clone())));
        }
        let mut run = Self {
            world: Rc::clone(world),
            sim,
            apps,
            server,
            rivals,
            scripts,
            agenda,
        };
        run.sort();
        run
    }

    fn sort(&mut self) {
        self.agenda.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    }

    /// `Ok(true)` when everything came to rest.
    fn go(&mut self) -> Result<bool, String> {
        let heal = Duration::from_millis(self.world.plan.heal_ms);
        self.until(heal, |_| false)?;
        self.heal();
        let rest = heal + Duration::from_millis(self.world.plan.rest_ms);
        if !self.until(rest, Self::at_rest)? {
            if !self.world.net.broken() {
                let text = self.unrest();
                self.world.net.violate(
                    "liveness",
                    format!(
                        "not at rest {} s after healing: {text}",
                        self.world.plan.rest_ms / 1000
                    ),
                );
            }
            return Ok(false);
        }
        self.apps.check_at_rest();
        if let Some(rivals) = &self.rivals {
            rivals.check_at_rest();
        }
        self.world.net.note("-", "at rest".to_owned());
        self.world.net.is_to_end();
        if self.world.plan.stop_first {
            // Clients see 1001 and dial in vain, until they are told to close.
            self.server.stop();
            let stopped = self.sim.elapsed() + CLOSING;
            self.until(stopped, |run| run.server.stopped())?;
        }
        self.apps.close_all();
        let closed = self.sim.elapsed() + CLOSING;
        if !self.until(closed, |run| run.apps.all_ended() && run.no_connection())? && !self.world.net.broken()
        {
            let text = format!(
                "clients closed, {} s later: {}",
                CLOSING.as_secs(),
                self.apps.unrest()
            );
            self.world.net.violate("W2", text);
        }
        self.server.stop();
        let stopped = self.sim.elapsed() + CLOSING;
        if !self.until(stopped, |run| run.server.stopped())? && !self.world.net.broken() {
            self.world.net.violate("liveness", "the server did not stop");
        }
        oracles::at_end(&self.world);
        Ok(true)
    }

    /// Steps until the condition or the time; stops early when something broke. `Ok(true)` for the condition.
    fn until(&mut self, time: Duration, done: impl Fn(&Self) -> bool) -> Result<bool, String> {
        let mut next_look = Duration::ZERO;
        while self.sim.elapsed() < time && !self.world.net.broken() {
            while self
                .agenda
                .last()
                .is_some_and(|(at, _)| *at <= self.sim.elapsed())
            {
                if let Some((_, deed)) = self.agenda.pop() {
                    self.deed(deed);
                }
            }
            self.sim.step().map_err(|error| error.to_string())?;
            self.world.net.advance(self.sim.elapsed());
            self.world.net.act_late();
            if self.sim.elapsed() >= next_look {
                next_look = self.sim.elapsed() + LOOK_EVERY;
                oracles::look(&self.world);
                if done(self) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn later(&mut self, ms: u64, deed: Deed) {
        self.agenda
            .push((self.sim.elapsed() + Duration::from_millis(ms), deed));
        self.sort();
    }

    fn say(&self, deed: &Deed) {
        self.world
            .net
            .record("-", 0, What::Fault, &[], format!("{deed:?}"));
    }

    fn deed(&mut self, deed: Deed) {
        self.say(&deed);
        match deed {
            Deed::Begin(kind) => self.begin(kind),
            Deed::Release(client) => self.sim.release(client_host(client), SERVER),
            Deed::Repair(client) => self.sim.repair(client_host(client), SERVER),
            Deed::Calm(client) => self.set_latency(client, None),
            Deed::Boot => self.sim.bounce(SERVER),
            Deed::Start(client) | Deed::Restart(client) => self.apps.start(client),
        }
    }

    fn begin(&mut self, kind: FaultKind) {
        let net = Rc::clone(&self.world.net);
        match kind {
            FaultKind::Hold { client, for_ms } => {
                self.sim.hold(client_host(client), SERVER);
                net.disturb_for(client, Duration::from_millis(for_ms));
                net.case("held");
                self.later(for_ms, Deed::Release(client));
            }
            FaultKind::Sever { client, for_ms } => {
                if net
                    .conns()
                    .values()
                    .any(|conn| conn.client.get() == Some(client) && conn.live())
                {
                    net.case("half-open");
                }
                self.sim.partition(client_host(client), SERVER);
                net.disturb_for(client, Duration::from_millis(for_ms));
                self.later(for_ms, Deed::Repair(client));
            }
            FaultKind::Latency { client, for_ms, ms } => {
                self.set_latency(client, Some(ms));
                net.disturb_for(client, Duration::from_millis(for_ms));
                net.case("latency");
                self.later(for_ms, Deed::Calm(client));
            }
            FaultKind::Cut { client, cut } => net.cut_client(client, cut),
            FaultKind::Bounce { down_ms } => self.crash_server(down_ms, false),
            FaultKind::PowerLoss { down_ms } => self.crash_server(down_ms, true),
            FaultKind::CutAll { cut } => {
                net.case("cut-all");
                for client in 0..self.world.plan.clients.len() {
                    net.cut_client(client, cut);
                }
            }
            FaultKind::Crash { client, down_ms } => {
                net.disturb(Some(client));
                if client < self.world.plan.clients.len() && self.apps.crash(client) {
                    self.later(down_ms, Deed::Restart(client));
                }
            }
            FaultKind::Second { client } => {
                if client < self.world.plan.clients.len() {
                    self.apps.second(client);
                }
            }
        }
    }

    fn crash_server(&mut self, down_ms: u64, with_power: bool) {
        let net = &self.world.net;
        if self.server.running() {
            net.case(if with_power { "power-loss" } else { "bounce" });
            net.disturb(None);
            self.server.crashed(with_power);
            self.sim.crash(SERVER);
            self.later(down_ms, Deed::Boot);
        }
    }

    fn set_latency(&self, client: usize, ms: Option<u64>) {
        let (host, net) = (client_host(client), &self.world.plan.net);
        let least = Duration::from_millis(ms.unwrap_or(net.latency_ms_min));
        let most = Duration::from_millis(ms.unwrap_or(net.latency_ms_max.max(net.latency_ms_min)));
        self.sim.set_link_latency(host.as_str(), SERVER, least);
        self.sim.set_link_max_message_latency(host.as_str(), SERVER, most);
    }

    /// Ends every fault, now.
    fn heal(&mut self) {
        let mut left = std::mem::take(&mut self.agenda);
        left.retain(|(_, deed)| !matches!(deed, Deed::Begin(_)));
        while let Some((_, deed)) = left.pop() {
            self.deed(deed);
        }
        let net = &self.world.net;
        net.record("-", 0, What::Fault, &[], "healed".to_owned());
        net.disarm();
    }

    fn at_rest(&self) -> bool {
        self.apps.at_rest()
            && self.rivals.as_ref().is_none_or(|rivals| rivals.done())
            && self.scripts.as_ref().is_none_or(|scripts| scripts.done())
    }

    fn unrest(&self) -> String {
        self.apps.unrest()
            + &self
                .rivals
                .as_ref()
                .map_or_else(String::new, |rivals| rivals.describe())
    }

    fn no_connection(&self) -> bool {
        self.world.net.conns().values().all(|conn| {
            conn.opened
                .iter()
                .zip(&conn.dropped)
                .all(|(opened, dropped)| opened.get().is_none() || dropped.get().is_some())
        })
    }
}

/// How often the slow oracles look.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long closing may take.
const CLOSING: Duration = Duration::from_secs(30);
