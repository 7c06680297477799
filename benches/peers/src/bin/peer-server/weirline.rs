//! Weirline: the driver with a handler inline, as in the server's `/echo`.

use std::sync::{Arc, LazyLock};

use futures_util::FutureExt;
use tokio::net::TcpStream;
use weirline_tokio::{
    AcceptSettings, Config, Connection, Context, Driver, Event, Handler, HandlerError, accept,
};

use crate::{Begun, spawn};

/// From this length on a message is handed on rather than copied.
const SHARED_BYTES_MIN: usize = 16 << 10;

static CONFIG: LazyLock<Arc<Config>> = LazyLock::new(Arc::default);

pub(crate) async fn begin(stream: TcpStream) -> Begun {
    let accepted = accept(stream, &AcceptSettings::default(), |request| Ok(request.accept())).await?;
    let now = tokio::time::Instant::now().into_std();
    let connection = Connection::server(Arc::clone(&CONFIG), now);
    let driver = Driver::new(accepted.stream, connection, accepted.residue, Echo, ());
    // Not in an async block, which would hold the driver twice.
    Ok(spawn(driver.map(drop)))
}

struct Echo;

impl Handler for Echo {
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
