//! The whole server as one future on one thread.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tracing::{debug, info};
use weirline_log::{LogReader, LogWriter};
use weirline_tokio::{Entropy, Listener, Observer, Timers};

use crate::alarm::Alarm;
use crate::committer::Committer;
use crate::hub::Hub;
use crate::registry::Stage;
use crate::sessions::Sessions;
use crate::worker::{Parts, Worker};
use crate::{Config, ServeError};

/// Serves until `shutdown` resolves and the connections are closed.
///
/// Everything runs on the current thread: [`Config::workers`] local tasks share the listener, and one commits. It must be
/// called inside a [`LocalSet`](tokio::task::LocalSet), whose runtime has a timer. For threads, see
/// [`runtime`](crate::runtime).
///
/// At the shutdown every connection is closed with 1001. What is left after [`Config::shutdown_timeout`] is dropped. What
/// the connections had published is committed before this returns.
///
/// Dropping the future leaves the tasks to the `LocalSet`; drop that too.
///
/// # Errors
/// [`ServeError::Panicked`].
pub async fn serve<L, W, R, O>(
    config: Config,
    listener: L,
    (writer, reader): (W, R),
    entropy: Entropy,
    observer: O,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError>
where
    L: Listener + 'static,
    W: LogWriter + 'static,
    R: LogReader + Unpin + 'static,
    O: Observer + Clone + Unpin + 'static,
{
    let config = Arc::new(config);
    let hub = Hub::new(config.workers.max(1));
    let (stop, stopped) = watch::channel(Stage::Running);
    let sessions = Sessions::new(config.session_ttl);
    let alarm = Alarm::default();
    let committer = spawn_guarded(&alarm, Committer::new(hub.clone(), writer, sessions).run());
    let parts = Parts {
        config,
        hub: hub.clone(),
        reader,
        entropy,
        observer,
        timers: Timers::here(),
        stop: stopped,
    };
    let listener = Shared(Rc::new(listener));
    let workers: Vec<_> = (0..parts.config.workers.max(1))
        .map(|number| spawn_guarded(&alarm, Worker::new(number, parts.clone()).run(listener.clone())))
        .collect();
    drop((listener, parts));

    until_told(shutdown, &alarm, &stop).await;
    let mut result = Ok(());
    for worker in workers {
        result = result.and(join(worker, "a worker").await);
    }
    hub.close();
    result = result.and(join(committer, "the committer").await);
    debug!(event = "server.stopped", "stopped");
    result
}

/// Waits for the shutdown, and tells the workers.
pub(crate) async fn until_told(
    shutdown: impl Future<Output = ()>,
    alarm: &Alarm,
    stop: &watch::Sender<Stage>,
) {
    tokio::select! {
        biased;
        () = shutdown => {}
        // Only a panic ends a part before its time; the others leave in good order.
        () = alarm.rung() => {}
    }
    info!(event = "server.stopping", "stopping");
    // Nobody listens any more when all workers have ended, and then there is nothing to say.
    let _ = stop.send(Stage::Closing);
}

fn spawn_guarded(alarm: &Alarm, part: impl Future<Output = ()> + 'static) -> JoinHandle<()> {
    let guard = alarm.guard();
    spawn_local(async move {
        let _guard = guard;
        part.await;
    })
}

async fn join(task: JoinHandle<()>, name: &'static str) -> Result<(), ServeError> {
    task.await.map_err(|_| ServeError::Panicked(name))
}

/// One listener, on which all workers of a thread accept.
struct Shared<L>(Rc<L>);

impl<L> Clone for Shared<L> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<L> AsRef<L> for Shared<L> {
    fn as_ref(&self) -> &L {
        &self.0
    }
}
