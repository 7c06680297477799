//! Ctrl-C and SIGTERM: the first stops in good order, the second at once.

use std::io;
use std::process;
use std::thread;

use tokio::sync::oneshot;

/// What a shell gives for a program that a signal ended: 128 and the number of the signal.
const EXIT_INTERRUPTED: i32 = 130;

/// Listens for signals on a thread of its own, so that the second is heard whatever the server is waiting for. The
/// receiver hears of the first.
pub(crate) fn listen() -> io::Result<oneshot::Receiver<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let mut signals = {
        let _entered = runtime.enter();
        Signals::new()?
    };
    let (first, heard) = oneshot::channel();
    let wait = move || {
        runtime.block_on(async {
            signals.next().await;
            // The server may have ended by itself.
            let _ = first.send(());
            signals.next().await;
            eprintln!("weirline: stopped at once by a second signal");
            process::exit(EXIT_INTERRUPTED);
        });
    };
    thread::Builder::new().name("signals".into()).spawn(wait)?;
    Ok(heard)
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}
