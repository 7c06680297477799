//! An echo client for a fuzzing server that speaks Autobahn's way of walking its cases (`cargo xtask conformance`):
//!
//! ```text
//! conformance ws://127.0.0.1:9001 NAME
//! ```
//!
//! The server says at `/getCaseCount` how many cases there are, plays each at `/runCase?case=N`, and writes its reports at
//! `/updateReports`. What this program prints is how many connections it made; the verdicts are the server's.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use weirline_handshake::{ClientRequest, WsUrl};
use weirline_tokio::{
    CloseCode, Config, ConnectError, Connection, Connector, Context, Driver, End, Entropy, Event, Handler,
    HandlerError, SendError, TcpConnector, connect,
};

type Error = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let (Some(server), Some(agent), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: conformance URL NAME".into());
    };
    let cases = case_count(&server).await?;
    for case in 1..=cases {
        let url = format!("{server}/runCase?case={case}&agent={agent}");
        let mut limits = Config::default();
        // The longest texts of the cases have 16 MiB.
        limits.text_bytes_max = limits.binary_bytes_max;
        match run(&url, limits, Echo).await {
            // Some cases break a connection: that is their verdict to give.
            Ok(_) => {}
            Err(error) => return Err(format!("case {case}: {error}").into()),
        }
    }
    run(
        &format!("{server}/updateReports?agent={agent}"),
        Config::default(),
        Echo,
    )
    .await?;
    println!("{cases} cases");
    Ok(())
}

async fn case_count(server: &str) -> Result<u32, Error> {
    let told = Arc::new(Mutex::new(String::new()));
    let reader = Reader(Arc::clone(&told));
    run(&format!("{server}/getCaseCount"), Config::default(), reader).await?;
    let count = told
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .trim()
        .parse()?;
    Ok(count)
}

/// One connection, from its first byte to its last.
async fn run(url: &str, limits: Config, handler: impl Handler + Unpin) -> Result<End, RunError> {
    let entropy = Entropy::os();
    let url: WsUrl = url.parse()?;
    let stream = TcpConnector.connect(&url.dial_host(), url.port()).await?;
    let request = ClientRequest::new(&url, entropy.array());
    let connected = connect(stream, &request, HANDSHAKE_MAX).await?;
    let now = tokio::time::Instant::now().into_std();
    let connection = Connection::client(Arc::new(limits), entropy.mask_source(), now);
    Ok(Driver::new(connected.stream, connection, connected.residue, handler, ()).await)
}

const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Url(#[from] weirline_handshake::WsUrlError),
    #[error("no connection: {0}")]
    Dial(#[from] std::io::Error),
    #[error(transparent)]
    Handshake(#[from] ConnectError),
}

/// Sends every message back.
struct Echo;

impl Handler for Echo {
    fn on_event(&mut self, cx: &mut Context<'_>, event: Event<'_>) -> Result<(), HandlerError> {
        let Event::Message { kind, payload } = event else {
            return Ok(());
        };
        match cx.send(kind, &payload) {
            Ok(()) | Err(SendError::Closed) => Ok(()),
            Err(error) => Err(HandlerError::new(error)),
        }
    }
}

/// Keeps the one message that the server has to tell.
struct Reader(Arc<Mutex<String>>);

impl Handler for Reader {
    fn on_event(&mut self, cx: &mut Context<'_>, event: Event<'_>) -> Result<(), HandlerError> {
        if let Event::Message { payload, .. } = event {
            let text = std::str::from_utf8(&payload).map_err(HandlerError::new)?;
            text.clone_into(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
            cx.close(CloseCode::NORMAL, "");
        }
        Ok(())
    }
}
