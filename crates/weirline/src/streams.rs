//! `weirline streams`: what a server of this machine holds, by its HTTP API.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;

/// Prints one line per stream: its name, its last offset, the offset up to which retention has removed it, and its epoch.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the server's HTTP API is
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:7071",
        env = "WEIRLINE_API"
    )]
    api: SocketAddr,
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// Nobody answers.
    #[error("no HTTP API at {0} ({1}): is the server running there? `weirline serve` needs --api")]
    Unreachable(SocketAddr, Box<ureq::Error>),
    /// Something else answers.
    #[error("what answers {1} at {0} is no HTTP API: its address is what the server prints")]
    NoApi(SocketAddr, u16),
    /// The API refuses.
    #[error("the server answers {0}: {1}")]
    Refused(u16, String),
    /// stdout.
    #[error(transparent)]
    Io(#[from] io::Error),
}

#[derive(Debug, Deserialize)]
struct Page {
    streams: Vec<Stream>,
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Stream {
    stream: String,
    epoch: String,
    trimmed: u64,
    head: u64,
}

#[derive(Debug, Deserialize)]
struct Problem {
    detail: String,
}

/// Prints all pages.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(TIMEOUT))
        .build()
        .into();
    let mut out = io::stdout().lock();
    let mut after = None;
    loop {
        let page = fetch(&agent, args.api, after.as_deref())?;
        for stream in &page.streams {
            let Stream {
                stream,
                epoch,
                trimmed,
                head,
            } = stream;
            match writeln!(out, "{stream}\t{head}\t{trimmed}\t{epoch}") {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
                written => written?,
            }
        }
        let Some(next) = page.next else {
            out.flush()?;
            return Ok(ExitCode::SUCCESS);
        };
        after = Some(next);
    }
}

fn fetch(agent: &ureq::Agent, api: SocketAddr, after: Option<&str>) -> Result<Page, Error> {
    let unreachable = |error| Error::Unreachable(api, Box::new(error));
    let mut request = agent.get(format!("http://{api}/v1/streams?limit=1000"));
    if let Some(after) = after {
        request = request.query("after", after);
    }
    let mut answer = request.call().map_err(unreachable)?;
    let status = answer.status().as_u16();
    if status == 200 {
        return answer.body_mut().read_json().map_err(unreachable);
    }
    match answer.body_mut().read_json() {
        Ok(Problem { detail }) => Err(Error::Refused(status, detail)),
        Err(_) => Err(Error::NoApi(api, status)),
    }
}

const TIMEOUT: Duration = Duration::from_secs(30);
