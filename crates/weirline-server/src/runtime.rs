//! The server on threads: one for each worker, one for the committer, one for the checkpoints of its log, one for the workers' timers. The only place here that starts any.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{oneshot, watch};
use tokio::task::LocalSet;
use tracing::{debug, error};
use weirline_log::{EventLog as _, LogReader, LogWriter};
use weirline_log_redb::Job;
use weirline_tokio::{Entropy, Observer, Timers};

use crate::alarm::Alarm;
use crate::api::{self, Api, ApiConfig};
use crate::committer::Committer;
use crate::hub::Hub;
use crate::log::{self, Log};
use crate::registry::Stage;
use crate::serve::until_told;
use crate::sessions::Sessions;
use crate::worker::{Parts, Worker};
use crate::{Config, ServeError};

/// Sockets that listen, before anything is served.
#[derive(Debug)]
pub struct Bound {
    config: Config,
    sockets: Vec<std::net::TcpListener>,
    address: SocketAddr,
    api: Option<(ApiConfig, std::net::TcpListener, SocketAddr)>,
}

/// Listens on `address`: one socket for each worker, among which the kernel spreads the connections (`SO_REUSEPORT`).
/// With port 0 the kernel chooses a port, and all workers share it.
///
/// # Errors
/// [`ServeError::AddressInUse`] and [`ServeError::Listen`].
pub fn bind(config: Config, address: SocketAddr) -> Result<Bound, ServeError> {
    // With SO_REUSEPORT a second server of the same user would start, and take half of the connections. So the port is
    // first taken without it, which fails if anybody listens there.
    let probe = listen(address, false)?;
    let fail = |source| ServeError::Listen { address, source };
    let address = probe.local_addr().map_err(fail)?;
    if config.workers <= 1 {
        return Ok(Bound {
            config,
            sockets: vec![probe],
            address,
            api: None,
        });
    }
    drop(probe);
    let sockets = (0..config.workers)
        .map(|_| listen(address, true))
        .collect::<Result<_, _>>()?;
    Ok(Bound {
        config,
        sockets,
        address,
        api: None,
    })
}

fn listen(address: SocketAddr, shared: bool) -> Result<std::net::TcpListener, ServeError> {
    let socket = || -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        // A restart must not wait for the connections of its predecessor to be forgotten (TIME_WAIT).
        socket.set_reuse_address(true)?;
        #[cfg(unix)]
        socket.set_reuse_port(shared)?;
        #[cfg(not(unix))]
        let _ = shared;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket)
    };
    match socket() {
        Ok(socket) => Ok(socket.into()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(ServeError::AddressInUse { address }),
        Err(source) => Err(ServeError::Listen { address, source }),
    }
}

impl Bound {
    /// The real address, also where port 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves the HTTP API, too, on a loopback address. With port 0 the kernel chooses a port.
    ///
    /// # Errors
    /// [`ServeError::NotLoopback`], since the API knows nobody's identity; [`ServeError::AddressInUse`] and [`ServeError::Listen`].
    pub fn with_api(mut self, config: ApiConfig, address: SocketAddr) -> Result<Self, ServeError> {
        if !address.ip().is_loopback() {
            return Err(ServeError::NotLoopback { address });
        }
        let socket = listen(address, false)?;
        let address = socket.local_addr();
        let address = address.map_err(|source| ServeError::Listen {
            address: self.address,
            source,
        })?;
        self.api = Some((config, socket, address));
        Ok(self)
    }

    /// Where the HTTP API is, if it is served.
    #[must_use]
    pub fn api_addr(&self) -> Option<SocketAddr> {
        self.api.as_ref().map(|(_, _, address)| *address)
    }

    /// Opens the log that [`Config::log`] names. It blocks on the disk; what connects meanwhile waits in the kernel.
    ///
    /// # Errors
    /// [`ServeError::Log`] and [`ServeError::AgeInMemory`].
    pub fn open_log(mut self, entropy: Entropy) -> Result<Ready, ServeError> {
        let log = Log::open(&self.config.log, &entropy)?;
        // What WELCOME promises is what this log keeps.
        Arc::make_mut(&mut self.config.session).durability = self.config.log.durability;
        Ok(Ready {
            bound: self,
            log,
            entropy,
        })
    }

    /// Serves until `shutdown` resolves and the connections are closed, as [`serve`](crate::serve) does.
    ///
    /// Each worker is a thread with a runtime of its own. The calling thread runs `shutdown`, on a runtime that has I/O and
    /// timers, and then waits for the others.
    ///
    /// # Errors
    /// [`ServeError::Start`] and [`ServeError::Panicked`].
    pub fn run<W, R, O>(
        self,
        log: (W, R),
        entropy: Entropy,
        observer: O,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError>
    where
        W: LogWriter + Send + 'static,
        R: LogReader + Unpin + Send + Sync + 'static,
        O: Observer + Clone + Unpin + Send + 'static,
    {
        self.run_beside(None, log, entropy, observer, shutdown)
    }

    /// The same, with a thread that writes the checkpoints of the log.
    fn run_beside<W, R, O>(
        self,
        checkpoints: Option<Receiver<Job>>,
        (writer, reader): (W, R),
        entropy: Entropy,
        observer: O,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError>
    where
        W: LogWriter + Send + 'static,
        R: LogReader + Unpin + Send + Sync + 'static,
        O: Observer + Clone + Unpin + Send + 'static,
    {
        let mut config = self.config;
        let workers = u16::try_from(self.sockets.len()).unwrap_or(u16::MAX);
        let (hub, alarm) = (Hub::new(workers), Alarm::default());
        let (stop, stopped) = watch::channel(Stage::Running);
        let committer = Committer::new(hub.clone(), writer, Sessions::new(config.session_ttl));
        let main = new_runtime(Drives::All)?;
        let timing = Timing::start(&alarm)?;
        config.handshake.timers = timing.timers.clone();
        let checkpoints = checkpoints
            .map(|jobs| start_checkpoints(&alarm, jobs))
            .transpose()?;
        let committing = new_runtime(Drives::All)?;
        let committer = start("committer".into(), &alarm, move || {
            committing.block_on(committer.run());
        })?;
        let (stop_api, api_stopped) = oneshot::channel();
        let api = self.api.map(|(config, socket, _)| {
            let api = Api::new(config, hub.clone(), reader.clone());
            start_api(&alarm, socket, api, api_stopped)
        });
        let api = api.transpose()?;
        let parts = Parts {
            config: Arc::new(config),
            hub: hub.clone(),
            reader,
            entropy,
            observer,
            timers: timing.timers.clone(),
            stop: stopped,
        };
        let threads = start_workers(&alarm, self.sockets, &parts)?;
        drop(parts);

        main.block_on(until_told(shutdown, &alarm, &stop));
        let mut result = Ok(());
        for thread in threads {
            result = result.and(join(thread, "a worker"));
        }
        drop(stop_api);
        if let Some(api) = api {
            result = result.and(join(api, "the HTTP API"));
        }
        hub.close();
        result = result.and(join(committer, "the committer"));
        if let Some(thread) = checkpoints {
            result = result.and(join(thread, "the thread of the checkpoints"));
        }
        result = result.and(timing.stop());
        debug!(event = "server.stopped", "stopped");
        result
    }
}

/// A server that listens and has its log.
pub struct Ready {
    bound: Bound,
    log: Log,
    entropy: Entropy,
}

impl Ready {
    /// The real address, also where port 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.bound.address
    }

    /// Where the HTTP API is, if it is served.
    #[must_use]
    pub fn api_addr(&self) -> Option<SocketAddr> {
        self.bound.api_addr()
    }

    /// Serves as [`Bound::run`] does, and then closes the log. A durable log has two threads of its own: one commits, the other
    /// writes checkpoints.
    ///
    /// # Errors
    /// [`ServeError::Start`] and [`ServeError::Panicked`].
    pub fn run<O>(self, observer: O, shutdown: impl Future<Output = ()>) -> Result<(), ServeError>
    where
        O: Observer + Clone + Unpin + Send + 'static,
    {
        let Self { bound, log, entropy } = self;
        match log {
            Log::Memory(log) => bound.run(log.split(), entropy, observer, shutdown),
            Log::Durable(log) => {
                let (hand_over, jobs) = log::checkpoints();
                let log = log.checkpoints_on(hand_over).split();
                bound.run_beside(Some(jobs), log, entropy, observer, shutdown)
            }
        }
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = f.debug_struct("Ready");
        all.field("bound", &self.bound).finish_non_exhaustive()
    }
}

fn start_workers<R, O>(
    alarm: &Alarm,
    sockets: Vec<std::net::TcpListener>,
    parts: &Parts<R, O>,
) -> Result<Vec<JoinHandle<()>>, ServeError>
where
    R: LogReader + Unpin + Send + 'static,
    O: Observer + Clone + Unpin + Send + 'static,
{
    let start_one = |(number, socket)| {
        let (parts, runtime) = (parts.clone(), new_runtime(Drives::Sockets)?);
        start(format!("worker-{number}"), alarm, move || {
            LocalSet::new().block_on(&runtime, work(number, socket, parts));
        })
    };
    (0..).zip(sockets).map(start_one).collect()
}

/// Ends when the log is closed.
fn start_checkpoints(alarm: &Alarm, jobs: Receiver<Job>) -> Result<JoinHandle<()>, ServeError> {
    start("checkpoints".into(), alarm, move || {
        jobs.iter().for_each(|job| job());
    })
}

/// The thread of the workers' timers. Nothing else happens there, so a busy worker does not delay the timers of another one. It must outlive
/// them all.
struct Timing {
    timers: Timers,
    thread: JoinHandle<()>,
    /// Ends it when dropped.
    ends: oneshot::Sender<()>,
}

impl Timing {
    fn start(alarm: &Alarm) -> Result<Self, ServeError> {
        let runtime = new_runtime(Drives::Timers)?;
        let timers = Timers::on(runtime.handle().clone());
        let (ends, until_end) = oneshot::channel();
        let thread = start("timers".into(), alarm, move || {
            let _ = runtime.block_on(until_end);
        })?;
        Ok(Self { timers, thread, ends })
    }

    fn stop(self) -> Result<(), ServeError> {
        drop(self.ends);
        join(self.thread, "the thread of the timers")
    }
}

async fn work<R, O>(number: u16, socket: std::net::TcpListener, parts: Parts<R, O>)
where
    R: LogReader + Unpin + 'static,
    O: Observer + Clone + Unpin + 'static,
{
    match TcpListener::from_std(socket) {
        Ok(listener) => Worker::new(number, parts).run(Box::new(listener)).await,
        Err(error) => {
            error!(event = "worker.failed", worker = number, %error, "cannot use the listening socket");
        }
    }
}

fn start_api<R>(
    alarm: &Alarm,
    socket: std::net::TcpListener,
    api: Arc<Api<R>>,
    stopped: oneshot::Receiver<()>,
) -> Result<JoinHandle<()>, ServeError>
where
    R: LogReader + Send + Sync + 'static,
{
    let runtime = new_runtime(Drives::All)?;
    start("api".into(), alarm, move || {
        runtime.block_on(serve_api(socket, api, stopped));
    })
}

/// Ends when `stopped` does, and the requests at work are answered or [`API_DRAIN`] is over.
async fn serve_api<R>(socket: std::net::TcpListener, api: Arc<Api<R>>, stopped: oneshot::Receiver<()>)
where
    R: LogReader + Send + Sync + 'static,
{
    let listener = match TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => {
            error!(event = "api.failed", %error, "cannot use the API's socket");
            return;
        }
    };
    let (told, tells) = oneshot::channel::<()>();
    let serving = api::serve(listener, api, async {
        // Dropped, or told: the end either way.
        let _ = stopped.await;
        drop(told);
    });
    let too_late = async {
        let _ = tells.await;
        tokio::time::sleep(API_DRAIN).await;
    };
    tokio::select! {
        served = serving => {
            if let Err(error) = served {
                error!(event = "api.failed", %error, "the API's socket failed");
            }
        }
        () = too_late => {}
    }
}

/// How long requests at work may take at the shutdown.
const API_DRAIN: Duration = Duration::from_secs(5);

fn start(
    name: String,
    alarm: &Alarm,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, ServeError> {
    let guard = alarm.guard();
    let thread = move || {
        let _guard = guard;
        body();
    };
    thread::Builder::new()
        .name(name)
        .spawn(thread)
        .map_err(ServeError::Start)
}

/// What a thread's runtime waits for. A worker's has no timer: with one it would look at the clock, and wait with a time limit, at each turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Drives {
    All,
    Sockets,
    Timers,
}

fn new_runtime(drives: Drives) -> Result<Runtime, ServeError> {
    let mut builder = Builder::new_current_thread();
    if drives != Drives::Timers {
        builder.enable_io();
    }
    if drives != Drives::Sockets {
        builder.enable_time();
    }
    builder.build().map_err(ServeError::Start)
}

fn join(thread: JoinHandle<()>, name: &'static str) -> Result<(), ServeError> {
    thread.join().map_err(|_| ServeError::Panicked(name))
}

/// Connections that wait to be accepted; the kernel cuts it down to its own limit.
const BACKLOG: i32 = 4096;
