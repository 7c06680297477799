//! Weirline: the driver with a handler inline, as in the server's `/echo`, and timers on a thread of their own, as in the server.

use std::sync::{Arc, LazyLock, OnceLock};

use futures_util::FutureExt;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use weirline_tokio::{
    AcceptSettings, Config, Connection, Context, Driver, Event, Handler, HandlerError, Timers, accept,
};

use crate::{Begun, spawn};

/// From this length on a message is handed on rather than copied.
const SHARED_BYTES_MIN: usize = 64 << 10;

static TIMERS: OnceLock<Timers> = OnceLock::new();

static CONFIG: LazyLock<Arc<Config>> = LazyLock::new(Arc::default);

/// Starts the thread of the timers.
pub(crate) fn start_timers() -> crate::Result {
    let runtime = Builder::new_current_thread().enable_time().build()?;
    TIMERS.get_or_init(|| Timers::on(runtime.handle().clone()));
    std::thread::Builder::new()
        .name("timers".into())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(())
}

pub(crate) async fn begin(stream: TcpStream) -> Begun {
    let timers = TIMERS.get().ok_or("the timers are not started")?;
    let mut settings = AcceptSettings::default();
    settings.timers = timers.clone();
    let accepted = accept(stream, &settings, |request| Ok(request.accept())).await?;
    let now = tokio::time::Instant::now().into_std();
    let connection = Connection::server(Arc::clone(&CONFIG), now);
    let driver =
        Driver::new(accepted.stream, connection, accepted.residue, Echo, ()).with_timers(timers.clone());
    // Not in an async block, which would hold the driver twice.
    Ok(spawn(driver.map(drop)))
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
