//! `weirline dev` and `weirline serve`.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::thread;

use tracing::warn;
use weirline_handshake::{OriginPolicy, OriginPolicyError};
use weirline_server::runtime::{Bound, Ready};
use weirline_server::{ApiConfig, Config, Durability, OpenError, ServeError, runtime};
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
    /// Somebody listens where the API should be.
    #[error("{0} is in use: stop what listens there, or take another with --api (port 0 takes a free one)")]
    ApiInUse(SocketAddr),
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
    let api = match args.api {
        Some(address) => ApiAt::Asked(address),
        None => ApiAt::IfFree(API),
    };
    run(config, (args.listen, api), &args.common, |address, out| {
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
    let api = args.api.map_or(ApiAt::Nowhere, ApiAt::Asked);
    run(config, (args.listen, api), &args.common, |_, _| Ok(()))
}

fn run(
    config: Config,
    (listen, api): (SocketAddr, ApiAt),
    common: &CommonArgs,
    hints: impl FnOnce(SocketAddr, &mut dyn io::Write) -> io::Result<()>,
) -> Result<ExitCode, Error> {
    let _logs = logging::start(common.log_format)?;
    for warning in config.origins.warnings() {
        warn!(event = "config.warning", "{warning}");
    }
    descriptors::raise_limit(config.connections_max);
    let config = with_limits(config, common);
    let bound = bind_api(api, || Ok(runtime::bind(config.clone(), listen)?))?;
    let heard = signals::listen()?;
    let entropy = Entropy::os();
    let ready = bound.open_log(entropy)?;
    announce(&ready, hints)?;
    ready.run((), async {
        // An error means that nobody listens for signals any more; then there is nothing to wait for.
        let _ = heard.await;
    })?;
    Ok(ExitCode::SUCCESS)
}

fn with_limits(config: Config, common: &CommonArgs) -> Config {
    Config {
        workers: common.workers.unwrap_or_else(processors),
        session_ttl: common.session_ttl.unwrap_or(config.session_ttl),
        attach_rate: match common.attach_rate {
            None => config.attach_rate,
            Some(rate) => NonZeroU32::new(rate),
        },
        ..config
    }
}

/// Where the HTTP API is to be.
#[derive(Debug, Clone, Copy)]
enum ApiAt {
    Nowhere,
    Asked(SocketAddr),
    IfFree(SocketAddr),
}

/// Where `dev` has its API, and where the command line looks for one.
const API: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7071);

fn bind_api(api: ApiAt, bind: impl Fn() -> Result<Bound, Error>) -> Result<Bound, Error> {
    let with_api = |address| match bind()?.with_api(ApiConfig::default(), address) {
        Err(ServeError::AddressInUse { address }) => Err(Error::ApiInUse(address)),
        bound => Ok(bound?),
    };
    match api {
        ApiAt::Nowhere => bind(),
        ApiAt::Asked(address) => with_api(address),
        ApiAt::IfFree(address) => match with_api(address) {
            Err(Error::ApiInUse(address)) => {
                warn!(event = "api.absent", %address, "the address is in use, so there is no HTTP API: --api takes another one");
                bind()
            }
            bound => bound,
        },
    }
}

/// Says where the server is, for people and for scripts that asked for port 0.
fn announce(
    server: &Ready,
    hints: impl FnOnce(SocketAddr, &mut dyn io::Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let address = server.local_addr();
    let said = writeln!(out, "listening on ws://{address}")
        .and_then(|()| match server.api_addr() {
            Some(api) => writeln!(out, "HTTP API on http://{api}"),
            None => Ok(()),
        })
        .and_then(|()| hints(address, &mut out));
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
