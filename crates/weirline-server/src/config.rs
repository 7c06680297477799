//! What the server allows.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use weirline_handshake::{OriginPolicy, Validate};
use weirline_resume::{Prefix, SessionConfig, TextServerConfig, Verdict};
use weirline_tokio::AcceptSettings;

use crate::LogSettings;

/// The application's own check of every upgrade request (R4).
pub type Validation = Arc<dyn Validate + Send + Sync>;

/// The application's judgement of a credential in a HELLO or an AUTH on `/v1/ws`. It must answer at once: it is called by the
/// connection's worker.
pub type Judge = Arc<dyn Fn(&str) -> Verdict + Send + Sync>;

/// The server's settings. The defaults are for production: no origin is allowed, and there is no `/echo`.
#[derive(Clone)]
pub struct Config {
    /// How many workers serve connections. Default 1. Each is one thread in [`runtime`](crate::runtime), or one local
    /// task in [`serve`](crate::serve).
    pub workers: u16,
    /// Which pages may connect (R3). The default refuses everyone, programs that send no Origin included.
    pub origins: OriginPolicy,
    /// Judges each request after the origins, and may add headers to the 101 (R4). Default: none.
    pub validation: Option<Validation>,
    /// Whether `/echo` exists. Default false: it sends everything back to whoever asks.
    pub echo: bool,
    /// Deadline and bounds of a handshake. Default 10 s, 16 KiB and 64 fields.
    pub handshake: AcceptSettings,
    /// How many sockets may be open, in their handshake or after it. Default 50,000. Those over it are answered 503 as
    /// long as they are few, and dropped when they are many.
    pub connections_max: usize,
    /// The longest `Retry-After` of a 503. Each is drawn at random below it, so that a crowd does not come back as one.
    /// Default 30 s.
    pub retry_after_max: Duration,
    /// How long a consumer that was too slow is asked to stay away. Each is drawn at random below it, so that a crowd does not
    /// come back as one. Default 5 s; clients are told at most 60 s.
    pub break_after_max: Duration,
    /// Limits and timers of a connection to a stream.
    pub stream_connection: Arc<weirline_connection::Config>,
    /// Limits and timers of a connection to `/echo`: texts may have 16 MiB there.
    pub echo_connection: Arc<weirline_connection::Config>,
    /// Limits and timers of a connection to `/v1/ws` that speaks JSON: 24 MiB and 1 KiB a message, since escapes and base64 are longer than
    /// what they stand for.
    pub json_connection: Arc<weirline_connection::Config>,
    /// Limits and timers of a connection to `/v1/ws` that speaks the binary form: 16 MiB and 1 KiB a message.
    pub binary_connection: Arc<weirline_connection::Config>,
    /// Limits of the multiplexed forms. The largest message is that of the connection, and the time to live is
    /// [`session_ttl`](Self::session_ttl), whatever stands here.
    pub session: Arc<SessionConfig>,
    /// How many sessions may be attached on `/v1/ws` in a second, over all workers. Default 2000; `None` is no limit. Whoever comes over
    /// it is told when to come back, spread below [`SessionConfig::retry_max`].
    pub attach_rate: Option<NonZeroU32>,
    /// Judges credentials on `/v1/ws`. Default: none, and every credential is refused. A session belongs to the principal that made it;
    /// who shows no credential is nobody.
    pub credentials: Option<Judge>,
    /// Over which time the clients of `/v1/ws` are asked to leave at a shutdown, each at its own moment. Default 5 s, and not longer than
    /// [`shutdown_timeout`](Self::shutdown_timeout).
    pub drain_over: Duration,
    /// Limits of the text form.
    pub text: Arc<TextServerConfig>,
    /// Where streams and sessions are kept, and for how long. Only [`Bound::open_log`](crate::runtime::Bound::open_log) follows it:
    /// whoever brings a log has opened it.
    pub log: LogSettings,
    /// How long a session lives without a connection. Default 300 s.
    pub session_ttl: Duration,
    /// How long a shutdown waits for closing handshakes before it drops what is left. Default 10 s.
    pub shutdown_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let text = TextServerConfig::default();
        let mut stream_connection = weirline_connection::Config::default();
        // A payload at its limit still has its number before it.
        stream_connection.text_bytes_max = (text.payload_text_bytes_max + Prefix::LEN_MAX) as u64;
        stream_connection.binary_bytes_max = (text.payload_binary_bytes_max + Prefix::LEN_MAX) as u64;
        stream_connection.frame_bytes_max = stream_connection.binary_bytes_max;
        let mut echo_connection = weirline_connection::Config::default();
        echo_connection.text_bytes_max = echo_connection.binary_bytes_max;
        let mut json_connection = weirline_connection::Config::default();
        json_connection.text_bytes_max = (24 << 20) + (1 << 10);
        json_connection.frame_bytes_max = json_connection.text_bytes_max;
        let mut binary_connection = weirline_connection::Config::default();
        binary_connection.binary_bytes_max = (16 << 20) + (1 << 10);
        binary_connection.frame_bytes_max = binary_connection.binary_bytes_max;
        Self {
            workers: 1,
            origins: OriginPolicy::default(),
            validation: None,
            echo: false,
            handshake: AcceptSettings::default(),
            connections_max: 50_000,
            retry_after_max: Duration::from_secs(30),
            break_after_max: Duration::from_secs(5),
            stream_connection: Arc::new(stream_connection),
            echo_connection: Arc::new(echo_connection),
            json_connection: Arc::new(json_connection),
            binary_connection: Arc::new(binary_connection),
            session: Arc::default(),
            attach_rate: NonZeroU32::new(2000),
            credentials: None,
            drain_over: Duration::from_secs(5),
            text: Arc::new(text),
            log: LogSettings::default(),
            session_ttl: Duration::from_secs(300),
            shutdown_timeout: Duration::from_secs(10),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("workers", &self.workers)
            .field("origins", &self.origins)
            .field("validation", &self.validation.is_some())
            .field("credentials", &self.credentials.is_some())
            .field("echo", &self.echo)
            .field("connections_max", &self.connections_max)
            .field("log", &self.log)
            .field("session_ttl", &self.session_ttl)
            .finish_non_exhaustive()
    }
}
