use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use weirline_connection::Config;
use weirline_flow::Strategy;
use weirline_handshake::{ClientRequest, Origin, WsUrl};
use weirline_resume::{BackoffConfig, Subscribe, TextClient, TextClientConfig};
use weirline_tokio::{Connector, Entropy};

use crate::driver::{ClientDriver, Settings};
use crate::error::{BuildError, StoreError};
use crate::events::Events;
use crate::handle::{Client, PayloadLimits};
use crate::queue::{EventLimits, EventQueue};
use crate::shared::Shared;
use crate::store::Store;

/// The subprotocol this client speaks.
const SUBPROTOCOL: &str = "weirline.v1.text";

/// What stands before a payload on the wire: `number:`, with room to spare.
const PREFIX_BYTES_MAX: u64 = 32;

/// Settings of a client of one stream, with safe defaults.
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientBuilder {
    request: ClientRequest,
    machine: TextClientConfig,
    backoff: BackoffConfig,
    events: EventLimits,
    payloads: PayloadLimits,
    connection: Config,
}

impl ClientBuilder {
    /// A client of the stream at `ws://host[:port]/v1/streams/NAME`.
    ///
    /// # Errors
    /// [`BuildError::Url`] when it is no such URL (RFC 6455 §4.1 item 1), and for `wss`: this client does not speak TLS.
    pub fn new(url: &str) -> Result<Self, BuildError> {
        let bad = |why: String| BuildError::Url {
            url: url.to_owned(),
            why,
        };
        let parsed = WsUrl::parse(url).map_err(|error| bad(error.to_string()))?;
        if parsed.is_secure() {
            return Err(bad("TLS is not supported; terminate it in a proxy".to_owned()));
        }
        // Each dial gets a key of its own.
        let request = ClientRequest::new(&parsed, [0; 16])
            .subprotocols(&[SUBPROTOCOL])
            .map_err(|error| BuildError::Request(error.to_string()))?;
        let mut connection = Config::default();
        connection.binary_bytes_max += PREFIX_BYTES_MAX;
        connection.text_bytes_max += PREFIX_BYTES_MAX;
        connection.frame_bytes_max += PREFIX_BYTES_MAX;
        // A server that does not read asks for patience; what waits is in the outbox, and is bounded there.
        connection.send_strategy = Strategy::Pause;
        Ok(Self {
            request,
            machine: TextClientConfig::default(),
            backoff: BackoffConfig::default(),
            events: EventLimits::default(),
            payloads: PayloadLimits::default(),
            connection,
        })
    }

    /// From where, when the store has no position. Default [`Subscribe::Head`]: only what is published from then on.
    pub fn subscribe(mut self, from: Subscribe) -> Self {
        self.machine.subscribe = from;
        self
    }

    /// Publishes without a session: what was sent and not acknowledged before a cut is
    /// [`Uncertain`](crate::Event::Uncertain), and acknowledgements of deliveries are not recorded. For clients that only
    /// read, or for whom a lost message is none.
    pub fn without_session(mut self) -> Self {
        self.machine.session = false;
        self
    }

    /// Messages and payload bytes that may be published and not acknowledged (R24); default 5000 and 1 MiB. An empty
    /// outbox takes one message of any legal size.
    pub fn outbox(mut self, messages_max: usize, bytes_max: usize) -> Self {
        self.machine.outbox_messages_max = messages_max;
        self.machine.outbox_bytes_max = bytes_max;
        self
    }

    /// How much may wait for the application before the client stops reading.
    pub fn events(mut self, limits: EventLimits) -> Self {
        self.events = limits;
        self
    }

    /// The longest payloads published; longer ones are refused before they are sent.
    pub fn payloads(mut self, limits: PayloadLimits) -> Self {
        self.payloads = limits;
        self
    }

    /// From the start of a dial to the server's first answer, TCP and upgrade included. Default 10 s.
    pub fn dial_timeout(mut self, timeout: Duration) -> Self {
        self.machine.answer_timeout = timeout;
        self
    }

    /// The delays between dials (R25, R37).
    pub fn backoff(mut self, config: BackoffConfig) -> Self {
        self.backoff = config;
        self
    }

    /// How often a ping is sent, and how long the server may be silent after one before the connection counts as
    /// lost (R6, R36). Default 30 s and 10 s.
    pub fn keepalive(mut self, interval: Duration, timeout: Duration) -> Self {
        self.connection.ping_interval = Some(interval);
        self.connection.ping_timeout = timeout;
        self
    }

    /// Limits and timers of each connection. A message limit must leave room for the 17 bytes of an offset before the
    /// payload, and the send strategy must be [`Strategy::Pause`].
    pub fn connection(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.connection);
        self
    }

    /// Sends an `Origin`, as a browser would.
    ///
    /// # Errors
    /// [`BuildError::Request`] when it is none.
    pub fn origin(mut self, origin: &str) -> Result<Self, BuildError> {
        let origin = Origin::parse(origin).map_err(|error| BuildError::Request(error.to_string()))?;
        self.request = self.request.origin(origin);
        Ok(self)
    }

    /// Adds a header to each upgrade request, for example `Authorization`.
    ///
    /// # Errors
    /// [`BuildError::Request`] for a header that belongs to the handshake.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Result<Self, BuildError> {
        self.request = self
            .request
            .header(name, value)
            .map_err(|error| BuildError::Request(error.to_string()))?;
        Ok(self)
    }

    /// Loads the store and makes the client: handles to use it, and the future that does the work.
    ///
    /// # Errors
    /// [`StoreError`] when the state cannot be loaded.
    ///
    /// Cancellation: nothing was done when the future is dropped.
    pub async fn build<C: Connector, S: Store>(
        mut self,
        connector: C,
        mut store: S,
        entropy: Entropy,
    ) -> Result<(Client, Events, ClientDriver<C, S>), StoreError> {
        self.machine.store = store.mode();
        let state = store.load().await?.unwrap_or_default();
        let published = state.last_ticket;
        let machine = TextClient::restore(self.machine, state);
        let shared = Shared::new(machine, EventQueue::new(self.events), published);
        let client = Client::new(shared.clone(), self.payloads);
        let events = Events::new(shared.clone());
        let settings = Settings {
            request: self.request,
            backoff: self.backoff,
            connection: Arc::new(self.connection),
        };
        Ok((
            client,
            events,
            ClientDriver::new(shared, settings, connector, store, entropy),
        ))
    }
}
