//! `weirline publish URL`: one message per line, each once, over any number of connections.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytes::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};
use weirline_client::{
    BuildError, Client, ClientBuilder, ClientError, Entropy, Event, Events, MemoryStore, Payload,
    PublishError, StoreError, Subscribe, TcpConnector, Ticket,
};
use weirline_handshake::Escaped;

use crate::foreground;
use crate::tail::{EXIT_INTERRUPTED, close, interrupted, report_link, status};

/// The longest line, in bytes: what a server takes as a binary message.
const LINE_BYTES_MAX: usize = 16 << 20;

/// Publishes lines, each as one message, and ends when all are acknowledged.
///
/// A connection that breaks is made again, and no line is lost or published twice over it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// ws://HOST:PORT/v1/streams/NAME
    url: String,
    /// The file to publish; - is stdin
    #[arg(long, value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Publish binary messages, which need not be UTF-8
    #[arg(long)]
    binary: bool,
}

/// Why `publish` fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// The URL.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The file cannot be opened.
    #[error("cannot read {}: {source}", path.display())]
    Open {
        /// As given.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line cannot be one message.
    #[error("line {line}: {why}")]
    Line {
        /// From 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The client gave up.
    #[error("{client} ({acknowledged} lines are acknowledged)")]
    Client {
        /// Why.
        client: ClientError,
        /// Lines known to be in the log.
        acknowledged: u64,
    },
    /// The client's state.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Some lines are not known to be in the log.
    #[error("{0} lines are not known to be in the log")]
    Unsettled(u64),
    /// No runtime, no signal handler, or the input failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Runs until every line is acknowledged (success), until Ctrl-C or SIGTERM (130), or until the client gives up.
pub(crate) fn run(args: Args) -> Result<ExitCode, Error> {
    foreground::run(publish(args))
}

async fn publish(args: Args) -> Result<ExitCode, Error> {
    let builder = ClientBuilder::new(&args.url)?.subscribe(Subscribe::Nothing);
    let (input, bar) = open(&args.file).await?;
    let (client, events, driver) = builder
        .build(TcpConnector, MemoryStore::default(), Entropy::os())
        .await?;
    let progress = RefCell::new(Progress {
        bar,
        sent: VecDeque::new(),
        lines: 0,
        acknowledged: 0,
    });
    let lines = Lines::new(input, args.binary);
    let (ended, fed, ()) = tokio::join!(
        driver.run(),
        feed(client, lines, &progress),
        watch(events, &progress)
    );
    let Progress {
        bar,
        lines,
        acknowledged,
        ..
    } = progress.into_inner();
    bar.finish_and_clear();
    let fed = fed?;
    ended.map_err(|client| Error::Client { client, acknowledged })?;
    match (fed, lines - acknowledged) {
        (Fed::Interrupted, unsettled) => {
            status!(
                "interrupted: {acknowledged} lines are acknowledged, {unsettled} more were sent or waited"
            );
            Ok(ExitCode::from(EXIT_INTERRUPTED))
        }
        (Fed::All, 0) => {
            status!("{acknowledged} lines are published and acknowledged");
            Ok(ExitCode::SUCCESS)
        }
        (Fed::All, unsettled) => Err(Error::Unsettled(unsettled)),
    }
}

/// How far the input was taken.
enum Fed {
    All,
    Interrupted,
}

/// Publishes the input and waits until it is settled, or until Ctrl-C; then closes the client.
async fn feed(client: Client, mut lines: Lines, progress: &RefCell<Progress>) -> Result<Fed, Error> {
    let all = async {
        while let Some((payload, bytes)) = lines.next().await? {
            match client.publish(payload).await {
                Ok(ticket) => progress.borrow_mut().sent(ticket, bytes),
                Err(PublishError::TooLarge { bytes, limit }) => {
                    let why = format!("{bytes} bytes are more than the {limit} of one message");
                    return Err(Error::Line {
                        line: lines.number,
                        why,
                    });
                }
                // The driver says why.
                Err(_) => return Ok(Fed::All),
            }
        }
        // As above.
        let _ = client.flush().await;
        Ok(Fed::All)
    };
    let fed = tokio::select! {
        biased;
        signal = interrupted() => signal.map(|()| Fed::Interrupted).map_err(Error::from),
        fed = all => fed,
    };
    close(&client).await;
    fed
}

/// Follows what becomes of the lines, to the end of the client.
async fn watch(mut events: Events, progress: &RefCell<Progress>) {
    while let Some(event) = events.next().await {
        let mut progress = progress.borrow_mut();
        match event {
            Event::Acked(through) => progress.acked(through),
            Event::Refused {
                ticket,
                code,
                text,
                retried,
            } => {
                if !retried {
                    progress.forget(ticket, ticket);
                }
                let after = if retried { ", sent again" } else { "" };
                let text = Escaped(&text);
                progress.say(&format!("a line was refused{after}: {code}: {text}"));
            }
            Event::Uncertain { from, to } => {
                let lines = progress.forget(from, to);
                progress.say(&format!(
                    "the server has forgotten the session: {lines} lines may or may not be in the log"
                ));
            }
            Event::LostAfterAck { from, to } => {
                let lost = to.since(from) + 1;
                progress.acknowledged = progress.acknowledged.saturating_sub(lost);
                progress.say(&format!(
                    "the server lost {lost} acknowledged lines: its log is not durable"
                ));
            }
            Event::Link(state) => progress.bar.suspend(|| report_link(&state)),
            _ => {}
        }
    }
}

type Input = Box<dyn AsyncBufRead + Unpin>;

async fn open(path: &Path) -> Result<(Input, ProgressBar), Error> {
    if path == Path::new("-") {
        return Ok((
            Box::new(BufReader::new(tokio::io::stdin())),
            ProgressBar::hidden(),
        ));
    }
    let failed = |source| Error::Open {
        path: path.to_owned(),
        source,
    };
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let metadata = file.metadata().await.map_err(failed)?;
    if metadata.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    let bar = if io::stderr().is_terminal() && metadata.is_file() {
        let style = "{bar:40} {bytes} of {total_bytes} acknowledged, {bytes_per_sec}, {eta} left {msg}";
        let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::new(metadata.len()).with_style(style)
    } else {
        ProgressBar::hidden()
    };
    Ok((Box::new(BufReader::with_capacity(64 << 10, file)), bar))
}

/// What was taken from the input, and what became of it.
struct Progress {
    bar: ProgressBar,
    /// Published and not settled: number, and bytes of input.
    sent: VecDeque<(Ticket, u64)>,
    lines: u64,
    acknowledged: u64,
}

impl Progress {
    fn sent(&mut self, ticket: Ticket, bytes: u64) {
        self.lines += 1;
        self.sent.push_back((ticket, bytes));
    }

    fn acked(&mut self, through: Ticket) {
        while let Some((_, bytes)) = self.sent.pop_front_if(|(ticket, _)| *ticket <= through) {
            self.acknowledged += 1;
            self.bar.inc(bytes);
        }
    }

    /// These will not be acknowledged; says how many they are.
    fn forget(&mut self, from: Ticket, to: Ticket) -> usize {
        let before = self.sent.len();
        self.sent.retain(|(ticket, _)| !(from..=to).contains(ticket));
        before - self.sent.len()
    }

    fn say(&self, text: &str) {
        self.bar.suspend(|| status!("{text}"));
    }
}

/// Lines of a bounded length; `\n` and `\r\n` end one.
struct Lines {
    input: Input,
    binary: bool,
    number: u64,
    line: Vec<u8>,
}

impl Lines {
    fn new(input: Input, binary: bool) -> Self {
        Self {
            input,
            binary,
            number: 0,
            line: Vec::new(),
        }
    }

    /// The next line and the bytes of input it took; `None` at the end of the input.
    ///
    /// Nothing is lost when the future is dropped: what was read of a line is kept for the next call.
    async fn next(&mut self) -> Result<Option<(Payload, u64)>, Error> {
        loop {
            let chunk = self.input.fill_buf().await?;
            let end = chunk.iter().position(|&byte| byte == b'\n');
            let (taken, at_end) = (end.map_or(chunk.len(), |at| at + 1), chunk.is_empty());
            self.line.extend_from_slice(&chunk[..taken]);
            self.input.consume(taken);
            if self.line.len() > LINE_BYTES_MAX + 2 {
                return Err(self.bad(format!("longer than {LINE_BYTES_MAX} bytes")));
            }
            if end.is_some() || (at_end && !self.line.is_empty()) {
                return self.take().map(Some);
            }
            if at_end {
                return Ok(None);
            }
        }
    }

    fn take(&mut self) -> Result<(Payload, u64), Error> {
        let mut line = std::mem::take(&mut self.line);
        let bytes = line.len() as u64;
        if line.ends_with(b"\n") {
            line.pop();
            if line.ends_with(b"\r") {
                line.pop();
            }
        }
        let line = Bytes::from(line);
        let payload = if self.binary {
            line.into()
        } else {
            Payload::text(line).map_err(|error| self.bad(format!("{error}; --binary publishes any bytes")))?
        };
        self.number += 1;
        Ok((payload, bytes))
    }

    fn bad(&self, why: String) -> Error {
        Error::Line {
            line: self.number + 1,
            why,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &'static [u8], binary: bool) -> Result<Vec<(Vec<u8>, u64)>, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        runtime.block_on(async {
            let mut lines = Lines::new(Box::new(BufReader::with_capacity(3, input)), binary);
            let mut all = Vec::new();
            while let Some((payload, bytes)) = lines.next().await? {
                all.push((payload.bytes().to_vec(), bytes));
            }
            Ok(all)
        })
    }

    #[test]
    fn a_line_is_a_message_whatever_ends_it() {
        fn check(input: &'static [u8], expect: &[(&str, u64)]) {
            let expect: Vec<_> = expect
                .iter()
                .map(|(line, n)| (line.as_bytes().to_vec(), *n))
                .collect();
            assert_eq!(lines(input, false).expect("text"), expect, "{input:?}");
        }
        check(b"", &[]);
        check(b"\n", &[("", 1)]);
        check(b"one", &[("one", 3)]);
        check(b"one\n", &[("one", 4)]);
        check(
            b"one\r\n\r\ntwo\n\nthree",
            &[("one", 5), ("", 2), ("two", 4), ("", 1), ("three", 5)],
        );
        check(b"a\rb\n", &[("a\rb", 4)]);
    }

    #[test]
    fn a_line_that_is_not_text_is_named() {
        let error = lines(b"good\n\xff\n", false).expect_err("not UTF-8").to_string();
        assert!(error.starts_with("line 2: "), "{error}");
        assert_eq!(lines(b"\xff\n", true).expect("bytes"), [(vec![0xff], 2)]);
    }
}
