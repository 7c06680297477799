//! The server's host: the shipped server over a simulated listener, with a log that the model watches.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use weirline_handshake::OriginPolicy;
use weirline_log::{EventLog as _, MemoryConfig, MemoryLog};
use weirline_server::Config;
use weirline_tokio::Entropy;

use crate::recorder::Recorder;
use crate::rng::Rng;
use crate::socket::SimListener;
use crate::world::{PORT, SERVER, World};

/// The server of a world, over all its starts.
pub struct Server {
    world: Rc<World>,
    state: Cell<State>,
    stopping: Notify,
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
        Rc::new(Self {
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

    /// Its process is gone.
    pub fn crashed(&self) {
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
        let life = world.model.server_starts();
        self.state.set(State::Running);
        let seed = world.plan.seed;
        let epochs = Rng::derive(seed, "epochs", u64::from(life)).next_u64();
        let (writer, reader) = MemoryLog::new(self.log_config(), epochs).split();
        let writer = Recorder::new(
            writer,
            reader.clone(),
            Rc::clone(&world.model),
            Rc::clone(&world.net),
        );
        let listener = SimListener::bind(Rc::clone(&world.net), SERVER, PORT).await?;
        let entropy = entropy(Rng::derive(seed, "server entropy", u64::from(life)));
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
