//! The command line.

use std::net::SocketAddr;
use std::time::Duration;

use crate::log_args::LogArgs;
use crate::{publish, streams, tail};

/// WebSocket streams that survive the network.
///
/// Without a command it does what `weirline dev` does.
#[derive(Debug, clap::Parser)]
#[command(name = "weirline", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    dev: DevArgs,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Start a server to try things out: any page of this machine may connect, /echo is there
    Dev(DevArgs),
    /// Start a server for production: only what is allowed by flags
    Serve(ServeArgs),
    /// Print a stream, line by line, across any number of connections
    Tail(tail::Args),
    /// Publish lines, each exactly once, across any number of connections
    Publish(publish::Args),
    /// List the streams of a server of this machine
    Streams(streams::Args),
}

impl Cli {
    pub(crate) fn command(self) -> Command {
        self.command.unwrap_or(Command::Dev(self.dev))
    }
}

/// What `dev` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct DevArgs {
    /// Where to listen; a loopback address. Port 0 takes a free port, which is printed
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:7070",
        env = "WEIRLINE_LISTEN"
    )]
    pub(crate) listen: SocketAddr,
    /// Where the HTTP API is; a loopback address [default: 127.0.0.1:7071 if that is free]
    #[arg(long, value_name = "ADDR", env = "WEIRLINE_API")]
    pub(crate) api: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// What `serve` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// Where to listen. Port 0 takes a free port, which is printed
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:7070",
        env = "WEIRLINE_LISTEN"
    )]
    pub(crate) listen: SocketAddr,
    /// Serve the HTTP API there; a loopback address. Port 0 takes a free port, which is printed [default: no API]
    #[arg(long, value_name = "ADDR", env = "WEIRLINE_API")]
    pub(crate) api: Option<SocketAddr>,
    /// The allowed origins.
    #[arg(
        long = "origin",
        value_name = "ORIGIN",
        help = "Allow pages of this origin, written as browsers do: https://app.example. Repeatable; none by default"
    )]
    pub(crate) origins: Vec<String>,
    /// Serve /echo, which sends everything back
    #[arg(long)]
    pub(crate) echo: bool,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// What both take.
#[derive(Debug, clap::Args)]
pub(crate) struct CommonArgs {
    /// How many worker threads serve connections [default: one per processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), env = "WEIRLINE_WORKERS")]
    pub(crate) workers: Option<u16>,
    /// How long a session lives without a connection: 90s, 30m, 12h, 7d [default: 5m]
    #[arg(long, value_name = "AGE", value_parser = crate::log_args::age, env = "WEIRLINE_SESSION_TTL")]
    pub(crate) session_ttl: Option<Duration>,
    /// How many sessions of /v1/ws may be attached in a second; 0 is no limit [default: 2000]
    #[arg(long, value_name = "N", env = "WEIRLINE_ATTACH_RATE")]
    pub(crate) attach_rate: Option<u32>,
    /// How logs are written to stderr. What is logged is set by RUST_LOG, for example RUST_LOG=debug
    #[arg(long, value_enum, default_value_t, env = "WEIRLINE_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// How logs are written.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One object per line
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[test]
    fn the_definition_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn no_command_is_dev() {
        let command = |line: &str| Cli::try_parse_from(line.split(' ')).map(Cli::command);
        assert!(matches!(command("weirline"), Ok(Command::Dev(args)) if args.listen.port() == 7070));
        assert!(
            matches!(command("weirline --listen [::1]:0"), Ok(Command::Dev(args)) if args.listen.is_ipv6())
        );
        assert!(matches!(
            command("weirline serve --echo --origin https://a.example --origin https://b.example --log-format json"),
            Ok(Command::Serve(args)) if args.echo && args.origins.len() == 2 && args.common.log_format == LogFormat::Json
        ));
        for wrong in [
            "weirline serve --durability perhaps",
            "weirline serve --retention-age yesterday",
            "weirline serve --retention-bytes -1",
            "weirline --listen nowhere",
            "weirline serve --workers 0",
            "weirline --listen 1.1.1.1:1 serve",
            "weirline dev --echo",
            "weirline serve --session-ttl 5",
            "weirline serve --attach-rate -1",
        ] {
            assert!(command(wrong).is_err(), "{wrong}");
        }
    }
}
