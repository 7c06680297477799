//! The server's host: the shipped server over a simulated listener, with a log that the model watches.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use weirline_handshake::OriginPolicy;
use weirline_log::{EventLog as _, LogReader, LogWriter, MemoryConfig, MemoryLog};
use weirline_log_redb::simulation::SimDisk;
use weirline_log_redb::{RedbConfig, RedbLog};
use weirline_server::Config;
use weirline_tokio::Entropy;

use crate::plan::LogPlan;
use crate::recorder::Recorder;
use crate::rng::Rng;
use crate::socket::SimListener;
use crate::world::{PORT, SERVER, World};

/// The server of a world, over all its starts.
pub struct Server {
    world: Rc<World>,
    state: Cell<State>,
    stopping: Notify,
    disk: SimDisk,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Crashed,
    Stopped,
}

impl Server {
    /// Not started yet.
    #[must_use]
    pub fn new(world: Rc<World>) -> Rc<Self> {
        let disk = SimDisk::new(Rng::derive(world.plan.seed, "disk", 0).next_u64());
        Rc::new(Self {
            disk,
            world,
            state: Cell::new(State::Crashed),
            stopping: Notify::new(),
        })
    }

    /// True between a start and a crash.
    #[must_use]
    pub fn running(&self) -> bool {
        self.state.get() == State::Running
    }

    /// True when it has stopped as asked.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.state.get() == State::Stopped
    }

    /// Its process is gone, perhaps with the power of its machine. To be said before the process is taken away: nothing that it does
    /// while it goes reaches the disk.
    pub fn crashed(&self, with_power: bool) {
        if with_power {
            self.disk.restart();
        } else {
            self.disk.kill();
        }
        self.state.set(State::Crashed);
    }

    /// Asks it to stop.
    pub fn stop(&self) {
        self.stopping.notify_one();
    }

    /// One start of the server, to its end.
    ///
    /// # Errors
    ///
    /// When the server fails.
    pub async fn life(self: Rc<Self>) -> turmoil::Result {
        let world = Rc::clone(&self.world);
        let LogPlan::Disk {
            checkpoint_bytes,
            tail_bytes,
        } = world.plan.server.log
        else {
            let start = world.model.server_starts(false);
            let log = MemoryLog::new(self.log_config(), self.epochs(start));
            return self.serve(start, log.split()).await;
        };
        let start = world.model.server_starts(true);
        let config = RedbConfig {
            stream_messages_max: world.plan.server.retention_messages,
            checkpoint_bytes,
            tail_bytes_max: usize::try_from(tail_bytes).unwrap_or(usize::MAX),
            cache_bytes: 1 << 20,
            ..RedbConfig::default()
        };
        let log = RedbLog::open_storage(self.disk.storage(), config, self.epochs(start))?;
        let (writer, reader) = log.split();
        world.model.found(&reader);
        self.serve(start, (writer, reader)).await
    }

    fn epochs(&self, start: u32) -> u64 {
        Rng::derive(self.world.plan.seed, "epochs", u64::from(start)).next_u64()
    }

    async fn serve<W, R>(&self, start: u32, (writer, reader): (W, R)) -> turmoil::Result
    where
        W: LogWriter + 'static,
        R: LogReader + Unpin + 'static,
    {
        let world = &self.world;
        self.state.set(State::Running);
        let writer = Recorder::new(
            writer,
            reader.clone(),
            Rc::clone(&world.model),
            Rc::clone(&world.net),
        );
        let listener = SimListener::bind(Rc::clone(&world.net), SERVER, PORT).await?;
        let entropy = entropy(Rng::derive(world.plan.seed, "server entropy", u64::from(start)));
        let stopping = async { self.stopping.notified().await };
        weirline_server::serve(self.config(), listener, (writer, reader), entropy, (), stopping).await?;
        self.state.set(State::Stopped);
        Ok(())
    }

    fn log_config(&self) -> MemoryConfig {
        let messages = self.world.plan.server.retention_messages;
        MemoryConfig {
            stream_messages_max: usize::try_from(messages).unwrap_or(usize::MAX),
            ..MemoryConfig::default()
        }
    }

    fn config(&self) -> Config {
        let plan = &self.world.plan.server;
        let mut connection = weirline_connection::Config::default();
        connection.ping_interval = Some(Duration::from_millis(plan.ping_interval_ms));
        connection.ping_timeout = Duration::from_millis(plan.ping_timeout_ms);
        Config {
            workers: u16::try_from(plan.workers).unwrap_or(1),
            origins: OriginPolicy::builder().absent(true).build().unwrap_or_default(),
            stream_connection: Arc::new(connection),
            session_ttl: Duration::from_millis(plan.session_ttl_ms),
            ..Config::default()
        }
    }
}

/// Seeded bytes for a shipped end.
#[must_use]
pub fn entropy(rng: Rng) -> Entropy {
    let rng = Mutex::new(rng);
    Entropy::from_fn(move |bytes| rng.lock().unwrap_or_else(PoisonError::into_inner).fill(bytes))
}
