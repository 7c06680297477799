//! `weirline tail URL`: what a stream says, one message per line, over any number of connections.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use weirline_client::{
    BuildError, Client, ClientBuilder, ClientError, Entropy, Event, Events, LinkState, MemoryStore, Message,
    Offset, Position, StoreError, Subscribe, TcpConnector,
};

use crate::foreground;

/// One line on stderr. Whether somebody reads it changes nothing: a closed stderr is no reason to stop.
macro_rules! status {
    ($($line:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($line)*);
    }};
}

pub(crate) use status;

/// How many events are printed with one write.
const BATCH_EVENTS: usize = 1024;

/// Prints the messages of a stream, one per line, and goes on where it was when the connection breaks.
///
/// Messages go to stdout, everything else to stderr. Ctrl-C ends it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// ws://HOST:PORT/v1/streams/NAME
    url: String,
    /// Begin with this offset (1 = everything that is kept), not with what is published from this moment on
    #[arg(long, value_name = "OFFSET")]
    from: Option<u64>,
    /// Print each message's offset and a tab before it
    #[arg(long)]
    offsets: bool,
}

/// Why `tail` fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// The URL.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The client's state.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// `--from`.
    #[error("--from {0} is beyond the last possible offset, 2^53 - 1")]
    From(u64),
    /// The client gave up.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No runtime, no signal handler, or stdout failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Runs until Ctrl-C, SIGTERM, or a closed stdout (all three: success), or until the client gives up.
pub(crate) fn run(args: Args) -> Result<ExitCode, Error> {
    foreground::run(tail(args))
}

async fn tail(args: Args) -> Result<ExitCode, Error> {
    let from = match args.from {
        None => Subscribe::Head,
        Some(first) => {
            Subscribe::After(Offset::new(first.saturating_sub(1)).map_err(|_| Error::From(first))?)
        }
    };
    let (client, events, driver) = ClientBuilder::new(&args.url)?
        .subscribe(from)
        .without_session()
        .build(TcpConnector, MemoryStore::default(), Entropy::os())
        .await?;
    let printer = Printer {
        offsets: args.offsets,
        escape: io::stdout().is_terminal(),
        line: Vec::new(),
    };
    let (ended, printed) = tokio::join!(driver.run(), print(client, events, printer, tokio::io::stdout()));
    printed?;
    ended?;
    Ok(ExitCode::SUCCESS)
}

async fn print(
    client: Client,
    mut events: Events,
    mut printer: Printer,
    mut stdout: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut batch = Vec::new();
    let mut interrupted = std::pin::pin!(interrupted());
    loop {
        tokio::select! {
            biased;
            signal = &mut interrupted => {
                signal?;
                close(&client).await;
                return Ok(());
            }
            taken = events.next_batch(&mut batch, BATCH_EVENTS) => if taken == 0 { return Ok(()) },
        }
        let mut last = None;
        for event in batch.drain(..) {
            last = printer.event(&event).or(last);
        }
        let written = async {
            stdout.write_all(&printer.line).await?;
            stdout.flush().await
        };
        tokio::select! {
            biased;
            signal = &mut interrupted => {
                signal?;
                close(&client).await;
                return Ok(());
            }
            written = written => match written {
                // `tail … | head -1`: the reader has what it wanted.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    close(&client).await;
                    return Ok(());
                }
                other => other?,
            },
        }
        printer.line.clear();
        if let Some(position) = last {
            // Only what this loop has taken is handled, so it was delivered.
            let _ = events.handled(position);
        }
    }
}

/// Turns events into bytes for stdout and lines for stderr.
struct Printer {
    offsets: bool,
    /// Stdout is a terminal, which must not obey what a stranger publishes.
    escape: bool,
    line: Vec<u8>,
}

impl Printer {
    /// Says what can be acknowledged once the line is written.
    fn event(&mut self, event: &Event) -> Option<Position> {
        match event {
            Event::Message(message) => {
                self.message(message);
                return Some(message.position);
            }
            Event::Gap(gap) => {
                let to = gap.position.offset;
                status!("gap: {} to {to} are not available ({})", gap.from, gap.reason);
                return Some(gap.position);
            }
            Event::Reset { position, .. } => {
                let Position { epoch, offset } = position;
                status!(
                    "RESET: the server has another log (epoch {epoch}), without what was seen after {offset}"
                );
                return Some(*position);
            }
            Event::Link(state) => report_link(state),
            _ => {}
        }
        None
    }

    fn message(&mut self, message: &Message) {
        if self.offsets {
            self.line
                .extend_from_slice(format!("{}\t", message.position.offset).as_bytes());
        }
        if self.escape {
            self.line
                .extend_from_slice(printable(&String::from_utf8_lossy(&message.payload)).as_bytes());
        } else {
            self.line.extend_from_slice(&message.payload);
        }
        self.line.push(b'\n');
    }
}

/// The text with control characters other than tabs and newlines escaped.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\t' && c != '\n' {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// One line on stderr for a change of the connection.
pub(crate) fn report_link(state: &LinkState) {
    match state {
        LinkState::Live { .. } => status!("connected"),
        LinkState::Down { cause } => status!("disconnected: {cause}"),
        LinkState::Waiting { attempt, delay } => {
            status!("next attempt ({attempt}) in {:.1} s", delay.as_secs_f64());
        }
        _ => {}
    }
}

/// Closes in good order; a second signal ends the program at once.
pub(crate) async fn close(client: &Client) {
    tokio::select! {
        biased;
        _ = interrupted() => std::process::exit(EXIT_INTERRUPTED.into()),
        _ = client.close() => {}
    }
}

/// What a shell gives for a program that a signal ended.
pub(crate) const EXIT_INTERRUPTED: u8 = 130;

/// Ctrl-C or SIGTERM.
pub(crate) async fn interrupted() -> io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            biased;
            interrupt = tokio::signal::ctrl_c() => interrupt,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_given_control_characters() {
        assert_eq!(printable("a\tb\nc"), "a\tb\nc");
        assert_eq!(printable("\x1b[2J\r\u{9b}é"), "\\u{1b}[2J\\r\\u{9b}é");
    }
}
