//! `weirline dev` and `weirline serve`.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;

use tracing::warn;
use weirline_handshake::{OriginPolicy, OriginPolicyError};
use weirline_server::{Config, Durability, OpenError, ServeError, runtime};
use weirline_tokio::Entropy;

use crate::cli::{CommonArgs, DevArgs, ServeArgs};
use crate::{descriptors, logging, signals};

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// `dev` lets any program of this machine in, and must not be reachable from elsewhere.
    #[error("dev listens on loopback only, and {0} is not: take 127.0.0.1, or use weirline serve")]
    NotLoopback(SocketAddr),
    /// An `--origin`.
    #[error("--origin: {0}")]
    Origin(#[from] OriginPolicyError),
    /// Somebody listens there.
    #[error(
        "{0} is in use: stop what listens there, or take another with --listen (port 0 takes a free one)"
    )]
    AddressInUse(SocketAddr),
    /// The log cannot be opened.
    #[error("--data-dir: {}", with_sources(.0))]
    Log(OpenError),
    /// The server.
    #[error(transparent)]
    Serve(ServeError),
    /// No signal handler, or stdout failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<ServeError> for Error {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::AddressInUse { address } => Self::AddressInUse(address),
            ServeError::Log(error) => Self::Log(error),
            other => Self::Serve(other),
        }
    }
}

/// What to do, and then what the operating system says.
fn with_sources(error: &OpenError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// `weirline dev`: runs until a signal.
pub(crate) fn dev(args: DevArgs) -> Result<ExitCode, Error> {
    if !args.listen.ip().is_loopback() {
        return Err(Error::NotLoopback(args.listen));
    }
    let origins = OriginPolicy::builder().allow_loopback().absent(true).build()?;
    let config = Config {
        origins,
        echo: true,
        log: args.common.log.settings(Durability::Memory),
        ..Config::default()
    };
    run(config, args.listen, &args.common, |address, out| {
        writeln!(out, "try: weirline tail ws://{address}/v1/streams/demo")?;
        writeln!(
            out,
            "     echo hello | weirline publish ws://{address}/v1/streams/demo"
        )?;
        writeln!(out, "     ws://{address}/echo sends everything back")
    })
}

/// `weirline serve`: runs until a signal.
pub(crate) fn serve(args: ServeArgs) -> Result<ExitCode, Error> {
    // No cookie authenticates anybody here, so a program without an Origin has nothing to steal.
    let mut origins = OriginPolicy::builder().absent(true);
    for origin in &args.origins {
        origins = origins.allow(origin);
    }
    let config = Config {
        origins: origins.build()?,
        echo: args.echo,
        log: args.common.log.settings(Durability::Durable),
        ..Config::default()
    };
    run(config, args.listen, &args.common, |_, _| Ok(()))
}

fn run(
    config: Config,
    listen: SocketAddr,
    common: &CommonArgs,
    hints: impl FnOnce(SocketAddr, &mut dyn io::Write) -> io::Result<()>,
) -> Result<ExitCode, Error> {
    let _logs = logging::start(common.log_format)?;
    for warning in config.origins.warnings() {
        warn!(event = "config.warning", "{warning}");
    }
    descriptors::raise_limit(config.connections_max);
    let workers = common.workers.unwrap_or_else(processors);
    let bound = runtime::bind(Config { workers, ..config }, listen)?;
    let heard = signals::listen()?;
    let entropy = Entropy::os();
    let ready = bound.open_log(entropy)?;
    announce(ready.local_addr(), hints)?;
    ready.run((), async {
        // An error means that nobody listens for signals any more; then there is nothing to wait for.
        let _ = heard.await;
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Says where the server is, for people and for scripts that asked for port 0.
fn announce(
    address: SocketAddr,
    hints: impl FnOnce(SocketAddr, &mut dyn io::Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let said = writeln!(out, "listening on ws://{address}").and_then(|()| hints(address, &mut out));
    match said.and_then(|()| out.flush()) {
        // Whoever started the server does not want to know.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        said => said,
    }
}

fn processors() -> u16 {
    thread::available_parallelism()
        .ok()
        .and_then(|processors| u16::try_from(processors.get()).ok())
        .unwrap_or(1)
}
