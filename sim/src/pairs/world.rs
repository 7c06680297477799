//! The world of a plan with connections that have no server around them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use weirline_handshake::ClientRequest;
use weirline_tokio::{AcceptSettings, Connector as _, Listener as _, accept, connect};

use super::{Context, End, EndLog, Pair, PairsPlan, Wire, oracle, run_raw, run_shipped};
use crate::conn::{Conn, Side};
use crate::net::Net;
use crate::rng::Rng;
use crate::run::{Report, Verdict};
use crate::scripts::SCRIPT_PROCESS;
use crate::server::entropy;
use crate::socket::{SimConnector, SimListener};
use crate::trace::Keep;
use crate::world::{PORT, SERVER, client_host};

/// What every part of the world can reach.
pub(crate) struct PairsWorld {
    pub(crate) plan: PairsPlan,
    pub(crate) net: Rc<Net>,
    pub(crate) states: Vec<State>,
    /// What else may make an end late: nothing in a simulated world.
    pub(crate) slack: Cell<Duration>,
}

/// What is known of one connection.
#[derive(Default)]
pub(crate) struct State {
    /// The client's end and the server's.
    pub(crate) logs: [Rc<EndLog>; 2],
    pub(crate) conn: RefCell<Option<Rc<Conn>>>,
}

impl State {
    fn is_done(&self) -> bool {
        let server_gone = || {
            self.conn
                .borrow()
                .as_ref()
                .is_none_or(|conn| conn.dropped[1].get().is_some() || conn.opened[1].get().is_none())
        };
        let [client, server] = &self.logs;
        client.done.get().is_some()
            && (server.done.get().is_some() || (server.began.get().is_none() && server_gone()))
    }
}

/// Runs a plan to its end. The calling thread must be pinned.
#[must_use]
pub fn run(plan: PairsPlan, keep: Keep) -> Report {
    let world = PairsWorld::new(plan, keep);
    let simulated = run_to_end(&world);
    let verdict = if !world.net.broken() {
        Verdict::Good
    } else if world.net.violations()[0].invariant == "liveness" {
        Verdict::NotAtRest
    } else {
        Verdict::Broken
    };
    Report::of(&world.net, verdict, simulated)
}

/// Runs a world to its end; the simulated time.
pub(crate) fn run_to_end(world: &Rc<PairsWorld>) -> Duration {
    let mut sim = build(world);
    if let Err(error) = go(world, &mut sim) {
        world.net.violate("panic", error);
    }
    sim.elapsed()
}

fn build(world: &Rc<PairsWorld>) -> turmoil::Sim<'static> {
    let mut sim = world.net.sim();
    let of_server = Rc::clone(world);
    sim.host(SERVER, move || serve(Rc::clone(&of_server)));
    let of_client = Rc::clone(world);
    sim.client(client_host(0), async move {
        let dials = (0..of_client.plan.pairs.len()).map(|number| {
            let world = Rc::clone(&of_client);
            tokio::task::spawn_local(async move { dial(&world, number).await })
        });
        for dial in dials.collect::<Vec<_>>() {
            dial.await?;
        }
        Ok(())
    });
    sim
}

/// Steps until all is over, or until it should have been long ago.
fn go(world: &Rc<PairsWorld>, sim: &mut turmoil::Sim<'_>) -> Result<(), String> {
    let pairs = world.plan.pairs.iter();
    let latest = pairs.map(|pair| pair.start_ms + pair.end_ms).max().unwrap_or(0);
    let limit = Duration::from_millis(latest) + PATIENCE;
    let mut next_look = Duration::ZERO;
    while !world.net.broken() {
        sim.step().map_err(|error| error.to_string())?;
        world.net.advance(sim.elapsed());
        world.net.act_late();
        if sim.elapsed() < next_look {
            continue;
        }
        next_look = sim.elapsed() + LOOK_EVERY;
        if world.is_done() {
            oracle::at_end(world);
            return Ok(());
        }
        if sim.elapsed() > limit {
            let unfinished = world.states.iter().position(|state| !state.is_done());
            let text = format!("pair {unfinished:?} is not over after {limit:?}");
            world.net.violate("liveness", text);
        }
    }
    Ok(())
}

/// Slack over the time at which all ends are told to close: their timers are much shorter.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

async fn serve(world: Rc<PairsWorld>) -> turmoil::Result {
    let listener = SimListener::bind(Rc::clone(&world.net), SERVER, PORT).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        let world = Rc::clone(&world);
        let conn = Rc::clone(socket.conn());
        tokio::task::spawn_local(async move { accepted(&world, socket, &conn).await });
    }
}

async fn dial(world: &PairsWorld, number: usize) {
    tokio::time::sleep(Duration::from_millis(world.plan.pairs[number].start_ms)).await;
    let connector = SimConnector::new(Rc::clone(&world.net), &client_host(0), 0, SCRIPT_PROCESS);
    if let Ok(socket) = connector.connect(SERVER, PORT).await {
        let conn = Rc::clone(socket.conn());
        dialled(world, number, socket, &conn).await;
    }
    world.states[number].logs[0].done.set(Some(world.net.now()));
}

/// Runs the server's end on a socket that was accepted.
pub(crate) async fn accepted<S: Wire>(world: &PairsWorld, socket: S, conn: &Rc<Conn>) {
    let mut number = None;
    let settings = AcceptSettings::default();
    let accepted = accept(socket, &settings, |request| {
        let path = request.path().strip_prefix("/pair/");
        number = path.and_then(|number| number.parse().ok());
        Ok(request.accept())
    });
    let accepted = accepted.await;
    if let (Ok(accepted), Some(number)) = (accepted, number) {
        let context = world.context(number, Side::Server, conn);
        let end = world.plan.pairs[number].end(Side::Server);
        run_end(accepted.stream, accepted.residue, end, context).await;
    }
}

/// Runs the client's end of a connection on a socket that stands.
pub(crate) async fn dialled<S: Wire>(world: &PairsWorld, number: usize, socket: S, conn: &Rc<Conn>) {
    let pair = &world.plan.pairs[number];
    world.equip(pair, number, conn);
    let context = world.context(number, Side::Client, conn);
    let url = format!("ws://{SERVER}:{PORT}/pair/{number}");
    let Ok(url) = url.parse() else { return };
    let request = ClientRequest::new(&url, context.entropy.array());
    if let Ok(connected) = connect(socket, &request, HANDSHAKE).await {
        let end = pair.end(Side::Client);
        run_end(connected.stream, connected.residue, end, context).await;
    }
}

const HANDSHAKE: Duration = Duration::from_secs(10);

async fn run_end<S: Wire>(stream: S, residue: bytes::Bytes, end: &End, context: Context) {
    context.log.began.set(Some(context.now()));
    match end {
        End::Shipped(plan) => run_shipped(stream, residue, plan, context).await,
        End::Raw(plan) => run_raw(stream, residue, plan, context).await,
    }
}

impl PairsWorld {
    /// A world that has not begun.
    pub(crate) fn new(plan: PairsPlan, keep: Keep) -> Rc<Self> {
        let net = Net::new(plan.seed, plan.net.clone(), keep);
        let states = plan.pairs.iter().map(|_| State::default()).collect();
        let world = Rc::new(Self {
            plan,
            net,
            states,
            slack: Cell::default(),
        });
        oracle::follow(&world);
        world
    }

    /// Gives a connection what is planned for it.
    fn equip(&self, pair: &Pair, number: usize, conn: &Rc<Conn>) {
        conn.rules.borrow_mut().extend(pair.rules.iter().cloned());
        for side in Side::BOTH {
            conn.rate[side.receives().index()].set(pair.rates[side.receives().index()]);
            conn.rogue[side.index()].set(pair.raw(side).is_some_and(|raw| raw.rogue));
        }
        self.states[number].conn.replace(Some(Rc::clone(conn)));
    }

    /// Whether all connections are over.
    pub(crate) fn is_done(&self) -> bool {
        self.states.iter().all(State::is_done)
    }

    fn context(&self, number: usize, side: Side, conn: &Rc<Conn>) -> Context {
        let net = Rc::clone(&self.net);
        let index = number as u64 * 2 + side.index() as u64;
        Context {
            side,
            log: Rc::clone(&self.states[number].logs[side.index()]),
            conn: Some(Rc::clone(conn)),
            now: Rc::new(move || net.now()),
            entropy: entropy(Rng::derive(self.plan.seed, "pair entropy", index)),
            end_ms: self.plan.pairs[number].end_ms,
        }
    }
}
