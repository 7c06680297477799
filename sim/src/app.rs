//! The applications: processes over `weirline-client` that publish, read, crash and are taken over.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::disk::Disk;
use crate::ledger::Ledger;
use crate::process::{End, Process};
use crate::world::World;

/// All applications of a world.
pub struct Apps {
    world: Rc<World>,
    clients: Vec<Client>,
    next_process: Cell<u32>,
}

/// One client of the plan, over all its processes.
struct Client {
    orders: RefCell<Vec<Order>>,
    woken: Notify,
    ledger: Rc<Ledger>,
    /// The processes so far; the last is the one that counts, unless it was superseded.
    processes: RefCell<Vec<Running>>,
    /// No process starts any more.
    closed: Cell<bool>,
    /// Two processes that hold one session, until it is known who lost.
    pair: RefCell<Option<[Rc<Process>; 2]>>,
}

struct Running {
    process: Rc<Process>,
    task: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Start,
    Crash,
    Second,
    Close,
}

/// How long a supervisor waits before it starts a process again that gave up.
const SUPERVISOR_MS: u64 = 300;

impl Apps {
    /// None runs yet.
    #[must_use]
    pub fn new(world: Rc<World>) -> Rc<Self> {
        let clients = (0..world.plan.clients.len()).map(|_| Client {
            orders: RefCell::default(),
            woken: Notify::new(),
            ledger: Rc::new(Ledger::new(Rc::clone(&world.net), Rc::clone(&world.model))),
            processes: RefCell::default(),
            closed: Cell::new(false),
            pair: RefCell::default(),
        });
        let clients = clients.collect();
        Rc::new(Self {
            world,
            clients,
            next_process: Cell::new(1),
        })
    }

    /// What runs on the host of a client, for ever.
    pub async fn host(&self, client: usize) {
        let of = &self.clients[client];
        loop {
            let orders = of.orders.take();
            for order in orders {
                match order {
                    Order::Start => self.start_process(client),
                    Order::Crash => {
                        // The order may have waited for a second process to start.
                        self.world.net.disturb(Some(client));
                        if let Some(running) = of.processes.borrow().last() {
                            running.task.abort();
                            running.process.set_end(End::Crashed);
                        }
                    }
                    Order::Second => self.start_second(client).await,
                    Order::Close => {
                        of.closed.set(true);
                        for running in &*of.processes.borrow() {
                            running.process.close();
                        }
                    }
                }
            }
            tokio::select! {
                biased;
                () = of.woken.notified() => {}
                () = tokio::time::sleep(Duration::from_millis(SUPERVISOR_MS)) => self.supervise(client),
            }
        }
    }

    fn order(&self, client: usize, order: Order) {
        let of = &self.clients[client];
        of.orders.borrow_mut().push(order);
        of.woken.notify_one();
    }

    /// Starts a process from what is stored.
    pub fn start(&self, client: usize) {
        self.order(client, Order::Start);
    }

    /// Ends the current process without a word; false when none runs, or two do.
    pub fn crash(&self, client: usize) -> bool {
        if self.clients[client].alive() != 1 {
            return false;
        }
        self.world.net.case("client-crash");
        self.order(client, Order::Crash);
        true
    }

    /// Starts another process from a copy of what the current one has stored.
    pub fn second(&self, client: usize) {
        if self.clients[client].alive() == 1 {
            self.order(client, Order::Second);
        }
    }

    /// All clients close.
    pub fn close_all(&self) {
        for client in 0..self.clients.len() {
            self.order(client, Order::Close);
        }
    }

    /// True when no process runs.
    #[must_use]
    pub fn all_ended(&self) -> bool {
        self.clients.iter().all(|client| client.alive() == 0)
    }

    /// True when every client has one process left, and that has nothing to do.
    #[must_use]
    pub fn at_rest(&self) -> bool {
        self.clients.iter().all(|client| {
            let processes = client.processes.borrow();
            let mut alive = processes.iter().filter(|running| running.process.end().is_none());
            match (alive.next(), alive.next()) {
                (Some(one), None) => one.process.at_rest(&client.ledger),
                _ => false,
            }
        })
    }

    /// What keeps the world from rest.
    #[must_use]
    pub fn unrest(&self) -> String {
        let mut text = String::new();
        for (number, client) in self.clients.iter().enumerate() {
            for running in &*client.processes.borrow() {
                text.push_str(&format!(
                    "[client {number}: {}] ",
                    running.process.describe(&client.ledger)
                ));
            }
        }
        text
    }

    /// The oracles of the state of rest.
    pub fn check_at_rest(&self) {
        for client in &self.clients {
            self.judge_pair(client);
            client.ledger.check_at_rest();
            for running in &*client.processes.borrow() {
                if running.process.end().is_none() {
                    running.process.check_at_rest();
                }
            }
        }
    }

    fn start_process(&self, client: usize) {
        let of = &self.clients[client];
        if of.alive() > 0 {
            return;
        }
        let disk = of
            .processes
            .borrow()
            .iter()
            .rev()
            .find(|running| running.process.end() != Some(End::Superseded))
            .map(|running| running.process.disk());
        self.spawn(client, disk.unwrap_or_default());
    }

    fn spawn(&self, client: usize, disk: Disk) {
        let of = &self.clients[client];
        let number = self.next_process.get();
        self.next_process.set(number + 1);
        of.ledger.process_starts(&disk.state().unwrap_or_default());
        let process = Process::new(
            Rc::clone(&self.world),
            client,
            number,
            disk,
            Rc::clone(&of.ledger),
        );
        let task = tokio::task::spawn_local(Rc::clone(&process).run());
        of.processes.borrow_mut().push(Running { process, task });
    }

    /// The first process is to have everything stored that it took, since the second starts from a copy.
    async fn start_second(&self, client: usize) {
        let of = &self.clients[client];
        let first = of
            .processes
            .borrow()
            .last()
            .map(|running| Rc::clone(&running.process));
        let Some(first) = first.filter(|first| first.end().is_none()) else {
            return;
        };
        first.pause_publishing(true);
        for _ in 0..SECOND_TRIES {
            let stored = first.disk().state();
            let whole = stored.is_some_and(|state| state.answered && state.last_ticket.0 == of.ledger.last());
            // Nor may both have one outbox: the text form cannot tell their messages apart.
            if whole && !first.is_putting() && of.ledger.pending() == 0 && first.is_flushed() {
                self.spawn(client, first.disk().copy());
                let second = of
                    .processes
                    .borrow()
                    .last()
                    .map(|running| Rc::clone(&running.process));
                of.pair.replace(second.map(|second| [first, second]));
                return;
            }
            if first.end().is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        first.pause_publishing(false);
    }

    /// Restarts what gave up, and lets the survivor of a takeover go on.
    fn supervise(&self, client: usize) {
        let of = &self.clients[client];
        self.judge_pair(of);
        if of.alive() == 1 {
            if of.processes.borrow().len() > 1 {
                for running in &*of.processes.borrow() {
                    running.process.pause_publishing(false);
                }
            }
            return;
        }
        let gave_up = of
            .processes
            .borrow()
            .last()
            .is_some_and(|last| last.process.end() == Some(End::Exhausted));
        if of.alive() == 0 && gave_up && !of.closed.get() {
            self.start_process(client);
        }
    }
}

impl Apps {
    /// I12: of two holders of a session exactly one ends superseded.
    fn judge_pair(&self, of: &Client) {
        let ends = match &*of.pair.borrow() {
            Some(pair) => pair.each_ref().map(|process| process.end()),
            None => return,
        };
        match ends {
            [None, None] => return,
            [Some(End::Superseded), None] => self.world.net.case("two-holders"),
            [None, Some(end)] => {
                if end == End::Superseded {
                    self.world.net.case("two-holders");
                }
                // What the loser took for its own outbox stays there.
                if let Some([first, _]) = &*of.pair.borrow() {
                    let state = first.disk().state().unwrap_or_default();
                    of.ledger.abandon_after(state.last_ticket.0);
                }
            }
            [Some(End::Superseded), Some(End::Superseded)] => {
                self.world
                    .net
                    .violate("I12", "both holders of a session ended as superseded");
            }
            // One gave up or closed by itself: nothing can be said.
            _ => {}
        }
        of.pair.take();
    }
}

/// How often to look whether the first process has stored everything.
const SECOND_TRIES: u32 = 400;

impl Client {
    fn alive(&self) -> usize {
        self.processes
            .borrow()
            .iter()
            .filter(|running| running.process.end().is_none())
            .count()
    }
}
