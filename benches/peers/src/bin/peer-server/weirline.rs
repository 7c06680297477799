//! Weirline: the driver with a handler inline, and timers on a thread of their own, as in the server; or without a keepalive, as the
//! peers are, so that there is no timer before a peer is slow.

use std::sync::{Arc, LazyLock, OnceLock};

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;
use weirline_tokio::{
    AcceptSettings, Config, Connection, Context, Driver, Event, Handler, HandlerError, Timers, accept,
};

use crate::{Begun, shake_hands, spawn};

/// From this length on a message is handed on rather than copied.
const SHARED_BYTES_MIN: usize = 64 << 10;

static TIMERS: OnceLock<Handle> = OnceLock::new();

static CONFIG: LazyLock<Arc<Config>> = LazyLock::new(Arc::default);

static NO_KEEPALIVE: LazyLock<Arc<Config>> = LazyLock::new(|| {
    let mut config = Config::default();
    config.ping_interval = None;
    Arc::new(config)
});

/// The runtime of the timers, on a thread that is started when it is first asked for.
fn timing() -> Handle {
    let start = || {
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let handle = runtime.handle().clone();
        std::thread::Builder::new()
            .name("timers".into())
            .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
        Ok::<_, std::io::Error>(handle)
    };
    TIMERS
        .get_or_init(|| start().expect("a thread can be started"))
        .clone()
}

pub(crate) async fn begin(stream: TcpStream) -> Begun {
    let mut settings = AcceptSettings::default();
    settings.timers = Timers::on(timing());
    let accepted = accept(stream, &settings, |request| Ok(request.accept())).await?;
    Ok(drive(accepted.stream, accepted.residue, &CONFIG, settings.timers))
}

/// Without a keepalive. The handshake is that of the libraries that leave it to somebody else, since it sets a timer.
pub(crate) async fn begin_without_keepalive(stream: TcpStream) -> Begun {
    let stream = shake_hands(stream).await?;
    Ok(drive(
        stream,
        Bytes::new(),
        &NO_KEEPALIVE,
        Timers::on_demand(timing),
    ))
}

fn drive(stream: TcpStream, residue: Bytes, config: &Arc<Config>, timers: Timers) -> JoinHandle<()> {
    let now = tokio::time::Instant::now().into_std();
    let connection = Connection::server(Arc::clone(config), now);
    let driver = Driver::new(stream, connection, residue, Echo, ()).with_timers(timers);
    // Not in an async block, which would hold the driver twice.
    spawn(driver.map(drop))
}

struct Echo;

impl Handler for Echo {
    const WORKS: bool = false;

    fn on_event(&mut self, cx: &mut Context<'_>, event: Event<'_>) -> Result<(), HandlerError> {
        let Event::Message { kind, payload } = event else {
            return Ok(());
        };
        if payload.len() < SHARED_BYTES_MIN {
            cx.send(kind, &payload)
        } else {
            cx.send_shared(kind, &[], payload.into_bytes())
        }
        .map_err(HandlerError::new)
    }
}
