//! The network of one run: every socket's recorder, the registry of connections, and what they broke.

use std::cell::{Cell, Ref, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::cases::Counts;
use crate::chaos::ChaosPlan;
use crate::conn::{Conn, Cut, Side};
use crate::moment::{Act, Fuse, Moment, Rule};
use crate::rivals::RIVAL_PROCESS;
use crate::rng::Rng;
use crate::scripts::SCRIPT_PROCESS;
use crate::sometimes;
use crate::trace::{Keep, Trace, What};
use crate::wire::Seen;

/// What the network of a run is like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetPlan {
    /// Simulated milliseconds in one step of the world.
    pub tick_ms: u64,
    /// Least latency of a link.
    pub latency_ms_min: u64,
    /// Most latency of a link.
    pub latency_ms_max: u64,
    /// Chaos at the clients' sockets.
    pub client_chaos: ChaosPlan,
    /// Chaos at the server's sockets.
    pub server_chaos: ChaosPlan,
    /// Bytes under way per direction.
    pub window_bytes: u64,
    /// Sockets take gather lists.
    pub vectored: bool,
    /// Percent of refused dials that hang, as when nothing answers at all.
    pub hang_percent: u64,
    /// Planned cuts.
    pub fuses: Vec<Fuse>,
}

/// An invariant that was broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Its name in `RESUME.md`, `W…` for rules of the wire, `liveness`, or `panic`.
    pub invariant: String,
    /// Simulated time.
    pub at: Duration,
    /// What was seen.
    pub text: String,
}

/// One client's attempt to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dial {
    /// The client's number.
    pub client: usize,
    /// The number of its process.
    pub process: u32,
    /// When it began.
    pub at: Duration,
    /// When the connection stood, if it ever did.
    pub opened: Option<Duration>,
    /// When the attempt, or the connection that came of it, was over.
    pub ended: Option<Duration>,
}

/// The network of one run.
pub struct Net {
    /// The seed of the run.
    pub seed: u64,
    /// What it is like.
    pub plan: NetPlan,
    trace: RefCell<Option<Trace>>,
    counts: RefCell<Counts>,
    violations: RefCell<Vec<Violation>>,
    conns: RefCell<BTreeMap<SocketAddr, Rc<Conn>>>,
    dials: RefCell<Vec<Dial>>,
    next_conn: Cell<u32>,
    dial_counts: RefCell<BTreeMap<usize, u64>>,
    clock: Cell<Duration>,
    disarmed: Cell<bool>,
    ending: Cell<bool>,
    /// Until when a client's link is under a fault.
    disturbed_until: RefCell<BTreeMap<usize, Duration>>,
    /// What rules have put off.
    later: RefCell<Vec<PutOff>>,
    listener: RefCell<Option<Box<Listener>>>,
}

/// When, on which connection, at which moment, what.
type PutOff = (Duration, Rc<Conn>, Moment, Act);

type Listener = dyn Fn(&Conn, Side, &Seen);

impl Net {
    /// A network without connections.
    #[must_use]
    pub fn new(seed: u64, plan: NetPlan, keep: Keep) -> Rc<Self> {
        Rc::new(Self {
            seed,
            plan,
            trace: RefCell::new(Some(Trace::new(keep))),
            counts: RefCell::default(),
            violations: RefCell::default(),
            conns: RefCell::default(),
            dials: RefCell::default(),
            next_conn: Cell::new(1),
            dial_counts: RefCell::default(),
            clock: Cell::new(Duration::ZERO),
            disarmed: Cell::new(false),
            ending: Cell::new(false),
            disturbed_until: RefCell::default(),
            later: RefCell::default(),
            listener: RefCell::default(),
        })
    }

    /// The world's engine, for this network.
    #[must_use]
    pub fn sim<'a>(&self) -> turmoil::Sim<'a> {
        let plan = &self.plan;
        let latency_ms_max = plan.latency_ms_max.max(plan.latency_ms_min);
        turmoil::Builder::new()
            .rng_seed(self.seed)
            .epoch(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000))
            .tcp_capacity(4096)
            .tick_duration(Duration::from_millis(plan.tick_ms))
            .min_message_latency(Duration::from_millis(plan.latency_ms_min))
            .max_message_latency(Duration::from_millis(latency_ms_max))
            .simulation_duration(Duration::from_secs(3600))
            .enable_random_order()
            .build()
    }

    /// Simulated time.
    #[must_use]
    pub fn now(&self) -> Duration {
        if turmoil::in_simulation()
            && let Some(now) = turmoil::sim_elapsed()
        {
            // Hosts take turns within a step of the world, so that the time of one may be behind that of another.
            self.clock.set(now);
        }
        self.clock.get()
    }

    /// Tells the network the time between two steps of the world.
    pub fn advance(&self, now: Duration) {
        self.clock.set(now);
    }

    /// Records an event at the time of the network.
    pub fn record(&self, host: &str, conn: u32, what: What, bytes: &[u8], note: String) {
        let now = self.now();
        if let Some(trace) = self.trace.borrow_mut().as_mut() {
            trace.record(now, host, conn, what, bytes, note);
        }
    }

    /// Records an event above the sockets.
    pub fn note(&self, host: &str, note: String) {
        self.record(host, 0, What::App, &[], note);
    }

    /// Ends the trace and hands it out.
    ///
    /// # Panics
    ///
    /// When it was taken before.
    #[must_use]
    pub fn take_trace(&self) -> Trace {
        self.trace.borrow_mut().take().expect("the trace is taken once")
    }

    /// Counts a case.
    pub fn case(&self, name: &'static str) {
        self.counts.borrow_mut().hit(name);
    }

    /// The counts so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts.borrow().clone()
    }

    /// Says that an invariant is broken.
    pub fn violate(&self, invariant: &str, text: impl Into<String>) {
        let violation = Violation {
            invariant: invariant.to_owned(),
            at: self.now(),
            text: text.into(),
        };
        self.record(
            "-",
            0,
            What::Fault,
            &[],
            format!("{} BROKEN: {}", violation.invariant, violation.text),
        );
        self.violations.borrow_mut().push(violation);
    }

    /// What was broken so far.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.violations.borrow().clone()
    }

    /// True when anything was broken.
    #[must_use]
    pub fn broken(&self) -> bool {
        !self.violations.borrow().is_empty()
    }

    /// All connections so far, by the client's address.
    pub fn conns(&self) -> Ref<'_, BTreeMap<SocketAddr, Rc<Conn>>> {
        self.conns.borrow()
    }

    /// All dials so far.
    pub fn dials(&self) -> Ref<'_, Vec<Dial>> {
        self.dials.borrow()
    }

    /// A dial begins; its number.
    pub(crate) fn dial(&self, client: usize, process: u32) -> usize {
        let at = self.now();
        let mut dials = self.dials.borrow_mut();
        dials.push(Dial {
            client,
            process,
            at,
            opened: None,
            ended: None,
        });
        dials.len() - 1
    }

    pub(crate) fn dial_opened(&self, dial: usize) {
        let now = self.now();
        if let Some(dial) = self.dials.borrow_mut().get_mut(dial) {
            dial.opened = Some(now);
        }
    }

    pub(crate) fn dial_ended(&self, dial: usize) {
        let now = self.now();
        if let Some(dial) = self.dials.borrow_mut().get_mut(dial) {
            dial.ended.get_or_insert(now);
        }
    }

    /// No planned cut falls from now on.
    pub fn disarm(&self) {
        self.disarmed.set(true);
        for conn in self.conns.borrow().values() {
            conn.rules.take();
            for rate in &conn.rate {
                rate.set(None);
            }
        }
    }

    /// From here on connections end because the world does.
    pub fn is_to_end(&self) {
        self.ending.set(true);
    }

    /// Whether connections end because the world does.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.ending.get()
    }

    /// The connection with this client address, seen for the first time or again.
    pub(crate) fn conn(&self, client: SocketAddr) -> Rc<Conn> {
        let mut conns = self.conns.borrow_mut();
        let make = || {
            let id = self.next_conn.get();
            self.next_conn.set(id + 1);
            Rc::new(Conn::new(
                id,
                usize::try_from(self.plan.window_bytes).unwrap_or(usize::MAX),
            ))
        };
        Rc::clone(conns.entry(client).or_insert_with(make))
    }

    /// Gives the connection its planned cut, now that it is known whose it is. Its dial began at `dialed`: a link that was held until the
    /// connection came may have cost the dial its patience.
    pub(crate) fn arm(&self, conn: &Conn, client: usize, process: u32, dialed: Duration) {
        let mut counts = self.dial_counts.borrow_mut();
        let nth = counts.entry(client).or_default();
        *nth += 1;
        conn.client.set(Some(client));
        conn.by_hand
            .set(process == RIVAL_PROCESS || process == SCRIPT_PROCESS);
        let until = self.disturbed_until.borrow().get(&client).copied();
        if process == RIVAL_PROCESS || until.is_some_and(|until| dialed <= until) {
            // Plain scripts leave without a word, and a link under a fault excuses much.
            conn.disturbed.set(true);
        }
        if self.disarmed.get() {
            return;
        }
        let mut rules = conn.rules.borrow_mut();
        let fuses = self
            .plan
            .fuses
            .iter()
            .filter(|fuse| fuse.client == client && fuse.dial == *nth);
        rules.extend(fuses.map(|fuse| fuse.rule.clone()));
    }

    /// Something happened on a connection: what is planned for it is done, and who waits for it looks again.
    pub(crate) fn happened(&self, conn: &Rc<Conn>) {
        conn.changed.notify_waiters();
        if conn.rules.borrow().is_empty() || self.disarmed.get() {
            return;
        }
        let due: Vec<Rule> = conn
            .rules
            .borrow_mut()
            .extract_if(.., |rule| rule.when.is_past(conn))
            .collect();
        for Rule { when, after_ms, then } in due {
            if after_ms == 0 {
                self.act(conn, &when, &then);
            } else {
                let at = self.now() + Duration::from_millis(after_ms);
                self.later.borrow_mut().push((at, Rc::clone(conn), when, then));
            }
        }
    }

    /// Does what was put off until now.
    pub(crate) fn act_late(&self) {
        let now = self.now();
        let due: Vec<_> = self
            .later
            .borrow_mut()
            .extract_if(.., |(at, ..)| *at <= now)
            .collect();
        for (_, conn, when, then) in due {
            if !self.disarmed.get() {
                self.act(&conn, &when, &then);
            }
        }
    }

    fn act(&self, conn: &Rc<Conn>, when: &Moment, then: &Act) {
        let now = self.now();
        match then {
            Act::Cut(cut) => {
                if !conn.live() {
                    return;
                }
                match when {
                    Moment::Sent { .. } => self.case("lost-message"),
                    Moment::Bytes { .. } | Moment::Inside { .. } => {
                        let inside = conn.traffic(when.by().sends()).inside.1 > 0;
                        sometimes!(self, "cut-inside-frame", inside);
                    }
                    _ => {}
                }
                self.cut(conn, *cut, Some(when.by()), &format!("at {when:?}"));
            }
            Act::Hold { direction, for_ms } => {
                conn.hold(*direction, now, Some(now + Duration::from_millis(*for_ms)));
                self.record("-", conn.id, What::Fault, &[], format!("{then:?} at {when:?}"));
            }
            Act::Rate {
                direction,
                bytes_per_second,
            } => {
                self.record("-", conn.id, What::Fault, &[], format!("{then:?} at {when:?}"));
                self.case("slowed");
                conn.rate[direction.index()].set(Some(*bytes_per_second));
            }
            Act::Release { direction } => conn.hold(*direction, now, None),
            Act::Order { side, step } => {
                self.record("-", conn.id, What::Fault, &[], format!("{then:?} at {when:?}"));
                conn.order(*side, step.clone());
            }
        }
    }

    /// Something whole went over a connection.
    pub(crate) fn saw(&self, conn: &Conn, by: Side, seen: &Seen) {
        if let Some(listener) = &*self.listener.borrow() {
            listener(conn, by, seen);
        }
    }

    /// Has `listener` hear of everything whole that a socket takes.
    pub fn listen(&self, listener: impl Fn(&Conn, Side, &Seen) + 'static) {
        self.listener.replace(Some(Box::new(listener)));
    }

    /// Cuts a connection and says so.
    pub fn cut(&self, conn: &Conn, cut: Cut, by: Option<Side>, why: &str) {
        if !conn.cut(self.now(), cut, by) {
            return;
        }
        self.record("-", conn.id, What::Fault, &[], format!("{cut:?} {why}"));
        self.case(match cut {
            Cut::Rst { .. } => "cut-rst",
            Cut::Fin => "cut-fin",
            Cut::Silence => "cut-silent",
        });
    }

    /// Cuts all live connections of a client.
    pub fn cut_client(&self, client: usize, cut: Cut) {
        let conns: Vec<Rc<Conn>> = self.conns().values().map(Rc::clone).collect();
        for conn in conns {
            if conn.client.get() == Some(client) && conn.live() {
                self.cut(&conn, cut, None, "by the plan");
            }
        }
    }

    /// Marks the connections of a client as touched by more than chaos, for so long.
    pub fn disturb_for(&self, client: usize, time: Duration) {
        self.disturb(Some(client));
        let until = self.clock.get() + time;
        let mut all = self.disturbed_until.borrow_mut();
        let known = all.entry(client).or_default();
        *known = until.max(*known);
    }

    /// Marks the live connections of a client, or all, as touched by more than chaos.
    pub fn disturb(&self, client: Option<usize>) {
        for conn in self.conns().values() {
            if client.is_none() || conn.client.get() == client {
                conn.disturbed.set(true);
            }
        }
    }

    /// A generator for one end of a connection.
    pub(crate) fn rng(&self, conn: u32, side: Side) -> Rng {
        Rng::derive(self.seed, "chaos", u64::from(conn) * 2 + side.index() as u64)
    }
}
