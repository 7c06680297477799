//! One worker: accepts sockets, runs their handshakes, and spawns a driver for each connection. Share-nothing but for the
//! hub.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_local;
use tracing::{debug, info, warn};
use weirline_handshake::Rejection;
use weirline_log::LogReader;
use weirline_resume::TextServer;
use weirline_resume::wire::Form;
use weirline_tokio::{
    AcceptError, Accepted, Connection, Driver, Entropy, Handler, Listener, Observer, Timers, accept,
};

use crate::echo::EchoHandler;
use crate::hub::{Hub, SocketGuard};
use crate::registry::{HandshakeGuard, Place, Registry, Stage, Watches};
use crate::routes::{self, Route};
use crate::session::{SessionHandler, Sessions};
use crate::stream::{StreamHandler, Streams};
use crate::{Config, clock};

/// One of the server's workers. It must run inside a `LocalSet`, since it spawns a local task per connection.
pub(crate) struct Worker<R, O> {
    core: Rc<Core<R, O>>,
    stop: watch::Receiver<Stage>,
}

/// What the tasks of a worker share.
struct Core<R, O> {
    config: Arc<Config>,
    hub: Hub,
    number: u16,
    registry: Registry,
    streams: Rc<Streams<R>>,
    sessions: Rc<Sessions<R>>,
    entropy: Entropy,
    observer: O,
    timers: Timers,
}

/// What every worker is made of; each gets a clone.
#[derive(Clone)]
pub(crate) struct Parts<R, O> {
    pub(crate) config: Arc<Config>,
    pub(crate) hub: Hub,
    pub(crate) reader: R,
    pub(crate) entropy: Entropy,
    pub(crate) observer: O,
    pub(crate) timers: Timers,
    pub(crate) stop: watch::Receiver<Stage>,
}

impl<R, O> Worker<R, O>
where
    R: LogReader + Unpin + 'static,
    O: Observer + Clone + Unpin + 'static,
{
    pub(crate) fn new(number: u16, parts: Parts<R, O>) -> Self {
        let Parts {
            config,
            hub,
            reader,
            entropy,
            observer,
            timers,
            stop,
        } = parts;
        let sessions = Sessions::new(&config, hub.clone(), reader.clone(), entropy.clone());
        let streams = Rc::new(Streams {
            hub: hub.clone(),
            reader,
            scratch: RefCell::default(),
            entropy: entropy.clone(),
            break_after_max: config.break_after_max,
        });
        let registry = Registry::new(number);
        Self {
            core: Rc::new(Core {
                config,
                hub,
                number,
                registry,
                streams,
                sessions: Rc::new(sessions),
                entropy,
                observer,
                timers,
            }),
            stop,
        }
    }

    /// Serves until the shutdown, and until its connections have gone.
    pub(crate) async fn run<L: Listener>(mut self, listener: impl AsRef<L>) {
        let core = Rc::clone(&self.core);
        tokio::select! {
            biased;
            () = core.deliver_mail() => {}
            () = async {
                self.accept_all(listener.as_ref()).await;
                drop(listener);
                self.drain().await;
            } => {}
        }
    }

    async fn accept_all<L: Listener>(&mut self, listener: &L) {
        let mut backoff = Backoff::default();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = self.stop.wait_for(|stage| *stage > Stage::Running) => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    backoff.reset();
                    self.take_socket(stream, peer);
                }
                Err(error) => {
                    let Some(pause) = backoff.after(&error) else {
                        continue;
                    };
                    warn!(event = "accept.failed", %error, pause_ms = pause.as_millis(), "cannot accept");
                    tokio::select! {
                        biased;
                        _ = self.stop.wait_for(|stage| *stage > Stage::Running) => return,
                        () = self.core.timers.sleep(pause) => {}
                    }
                }
            }
        }
    }

    fn take_socket<S>(&self, stream: S, peer: SocketAddr)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
    {
        let (socket, before) = self.core.hub.count_socket();
        let max = self.core.config.connections_max;
        if before >= max.saturating_add(REFUSED_MAX) {
            warn!(event = "connection.dropped", %peer, sockets = before, "far too many connections");
            return;
        }
        let admitted = before < max;
        let guard = self.core.registry.count_handshake();
        let handshake = Handshake {
            core: Rc::clone(&self.core),
            stop: self.stop.clone(),
            socket,
            guard,
            peer,
        };
        // A task of its own, which ends before the connection begins: a handshake's future is many times the size of an
        // idle driver.
        drop(spawn_local(handshake.run(stream, admitted)));
    }

    /// Closing handshakes, then the end of patience.
    async fn drain(&mut self) {
        let registry = &self.core.registry;
        let (worker, connections) = (self.core.number, registry.len());
        info!(
            event = "worker.draining",
            worker, connections, "closing all connections"
        );
        registry.set_stage(Stage::Closing);
        tokio::select! {
            biased;
            () = registry.emptied() => {}
            _ = self.stop.wait_for(|stage| *stage > Stage::Closing) => {}
            () = self.core.timers.sleep(self.core.config.shutdown_timeout) => {}
        }
        if registry.len() > 0 {
            warn!(
                event = "worker.aborting",
                worker,
                connections = registry.len(),
                "dropping what is left"
            );
        }
        registry.set_stage(Stage::Aborting);
        registry.emptied().await;
    }
}

impl<R: LogReader, O> Core<R, O> {
    async fn deliver_mail(&self) {
        loop {
            self.registry.deliver(self.hub.worker(self.number).take().await);
            // Waking thousands of subscribers may take longer than the committer needs for its next mail. Without a pause there
            // would then always be mail, and none of the connections would ever have its turn.
            tokio::task::yield_now().await;
        }
    }
}

/// A socket on its way to becoming a connection.
struct Handshake<R, O> {
    core: Rc<Core<R, O>>,
    stop: watch::Receiver<Stage>,
    socket: SocketGuard,
    guard: HandshakeGuard,
    peer: SocketAddr,
}

impl<R, O> Handshake<R, O>
where
    R: LogReader + Unpin + 'static,
    O: Observer + Clone + Unpin + 'static,
{
    async fn run<S>(mut self, stream: S, admitted: bool)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
    {
        let peer = self.peer;
        debug!(event = "connection.accepted", %peer, "socket accepted");
        let mut route = None;
        let core = Rc::clone(&self.core);
        let shaken = accept(stream, &core.config.handshake, |request| {
            if !admitted {
                return Err(core.full());
            }
            let (found, response) = routes::decide(&core.config, request)?;
            route = Some(found);
            Ok(response)
        });
        let shaken = tokio::select! {
            biased;
            shaken = shaken => shaken,
            _ = self.stop.wait_for(|stage| *stage > Stage::Running) => return,
        };
        match (shaken, route) {
            (Ok(accepted), Some(route)) => self.begin(accepted, route),
            (Ok(_), None) => {}
            (Err(AcceptError::Rejected(rejection)), _) => {
                let (status, reason) = (rejection.status().as_u16(), rejection.message());
                info!(event = "handshake.refused", %peer, status, reason, "handshake refused");
            }
            // Ordinary: scanners, health checks, lost networks.
            (Err(AcceptError::Untouched), _) => {
                debug!(event = "handshake.untouched", %peer, "nothing was asked");
            }
            (Err(error), _) => info!(event = "handshake.failed", %peer, %error, "handshake failed"),
        }
    }

    fn begin<S>(self, accepted: Accepted<S>, route: Route)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
    {
        let (core, peer) = (self.core, self.peer);
        let watches = match route {
            Route::Echo => Watches::Nothing,
            Route::Stream(_) => Watches::One,
            Route::Session(_) => Watches::Many,
        };
        let place = core.registry.enter(self.socket, watches);
        let conn = place.id();
        match route {
            Route::Echo => {
                info!(event = "connection.open", %conn, %peer, route = "echo", "connection open");
                drive(
                    &core,
                    accepted,
                    &core.config.echo_connection,
                    EchoHandler::new(place),
                );
            }
            Route::Stream(stream) => {
                info!(event = "connection.open", %conn, %peer, route = "stream", %stream, "connection open");
                let handler = core.stream_handler(place, stream);
                drive(&core, accepted, &core.config.stream_connection, handler);
            }
            Route::Session(asked) => {
                let (form, said) = (asked.form.subprotocol(), asked.hellos.len());
                info!(event = "connection.open", %conn, %peer, route = "session", form, said, "connection open");
                let config = match asked.form {
                    Form::Json => &core.config.json_connection,
                    Form::Binary => &core.config.binary_connection,
                };
                let handler = SessionHandler::new(place, Rc::clone(&core.sessions), &asked);
                drive(&core, accepted, config, handler);
            }
        }
        drop(self.guard);
    }
}

impl<R: LogReader, O> Core<R, O> {
    fn stream_handler(&self, place: Place, stream: weirline_log::StreamId) -> StreamHandler<R> {
        let server = TextServer::new(Arc::clone(&self.config.text), stream, clock::now());
        StreamHandler::new(place, Rc::clone(&self.streams), server)
    }

    fn full(&self) -> Rejection {
        let after = self.config.retry_after_max.mul_f64(self.entropy.uniform());
        Rejection::unavailable("too many connections: come back later", Some(after))
    }
}

/// Spawns the driver of a connection: the task is as large as the connection and nothing more.
fn drive<S, R, O, H>(
    core: &Core<R, O>,
    accepted: Accepted<S>,
    config: &Arc<weirline_connection::Config>,
    handler: H,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
    O: Observer + Clone + Unpin + 'static,
    H: Handler + Unpin + 'static,
{
    let connection = Connection::server(Arc::clone(config), clock::now());
    let driver = Driver::new(
        accepted.stream,
        connection,
        accepted.residue,
        handler,
        core.observer.clone(),
    )
    .with_timers(core.timers.clone());
    drop(spawn_local(driver));
}

/// How many sockets over the limit are still answered 503; the rest is dropped.
const REFUSED_MAX: usize = 256;

/// How long to wait after a failed accept: an error that comes from a lack of descriptors or memory would otherwise keep
/// the worker busy with nothing.
#[derive(Debug, Default)]
struct Backoff {
    failures: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(10);
    const LAST: Duration = Duration::from_millis(500);

    fn reset(&mut self) {
        *self = Self::default();
    }

    /// `None` when the error concerns only the socket that would have been accepted.
    fn after(&mut self, error: &io::Error) -> Option<Duration> {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
        if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
            return None;
        }
        self.failures += 1;
        Some(
            Self::FIRST
                .saturating_mul(1 << self.failures.min(6))
                .min(Self::LAST),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake, Waker};

    use tokio::net::TcpStream;
    use weirline_log::{EventLog as _, MemoryConfig, MemoryLog, MemoryReader, StreamId};

    /// An idle connection is its driver, and about 900 bytes around it: the task's header, tokio's records of the socket and
    /// of the timer, the slot in the registry. The bar is 2 KiB for an echo.
    #[test]
    fn idle_connections_stay_small() {
        let echo = size_of::<Driver<TcpStream, EchoHandler>>();
        let stream = size_of::<Driver<TcpStream, StreamHandler<MemoryReader>>>();
        assert!(echo <= 800, "{echo}");
        assert!(stream <= 1088, "{stream}");
        let session = size_of::<Driver<TcpStream, SessionHandler<MemoryReader>>>();
        assert!(session <= 800, "{session}");
    }

    /// A committer on another thread that is as fast as this one: each mail is answered by the next before it is delivered.
    struct NextMail {
        hub: Hub,
        stream: StreamId,
        woken: Arc<AtomicUsize>,
    }

    impl Wake for NextMail {
        fn wake(self: Arc<Self>) {
            self.woken.fetch_add(1, Ordering::Relaxed);
            self.hub
                .worker(0)
                .put(|mail| mail.grown.extend([self.stream.clone()]));
        }
    }

    #[test]
    fn connections_have_their_turn_between_two_mails() {
        let (hub, stopped) = (Hub::new(1), watch::channel(Stage::Running).1);
        let parts = Parts {
            config: Arc::default(),
            hub: hub.clone(),
            reader: MemoryLog::new(MemoryConfig::default(), 1).split().1,
            entropy: Entropy::from_fn(|bytes| bytes.fill(0)),
            observer: (),
            timers: Timers::here(),
            stop: stopped,
        };
        let worker = Worker::new(0, parts);
        let stream = |number: usize| StreamId::new(&number.to_string()).unwrap();
        let woken = Arc::new(AtomicUsize::new(0));
        let places: Vec<Place> = (0..10)
            .map(|number| {
                let place = worker.core.registry.enter(hub.count_socket().0, Watches::One);
                place.subscribe(&stream(number));
                let (hub, stream, woken) = (hub.clone(), stream(number + 1), Arc::clone(&woken));
                place.check_in(&Waker::from(Arc::new(NextMail { hub, stream, woken })));
                place
            })
            .collect();
        hub.worker(0).put(|mail| mail.grown.extend([stream(0)]));
        let mut delivering = pin!(worker.core.deliver_mail());
        for turn in 1..=places.len() {
            let task = &mut Context::from_waker(Waker::noop());
            assert!(delivering.as_mut().poll(task).is_pending());
            assert_eq!(woken.load(Ordering::Relaxed), turn);
        }
    }
}
