//! What a connection costs while it is idle: a server holds many.

mod common;

use common::*;
use weirline_tokio::*;

struct Small;

impl Handler for Small {
    fn on_event(&mut self, _: &mut Context<'_>, _: Event<'_>) -> Result<(), HandlerError> {
        Ok(())
    }
}

/// The bar is 2 KiB for an idle connection, all included: the task and the socket's registration need about half of it.
#[tokio::test(start_paused = true)]
async fn a_driver_is_small() {
    let (near, _far) = tokio::io::duplex(1);
    drop(near);
    let script = Script::default();
    let driver = server(script.stream(), Config::default(), Small);
    let bytes = size_of_val(&driver);
    println!(
        "a driver on a stream of {} bytes: {bytes} bytes",
        size_of_val(&script.stream())
    );
    assert!(bytes <= 1024, "{bytes}");
}
