//! Publishing and reading over HTTP/1.1, for backends and for the command line.

mod error;
mod guard;
mod publish;
mod read;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::http::header;
use axum::routing::{get, post};
use axum::{Router, middleware};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use weirline_log::{Command, LogReader, Outcome};

use self::error::ApiError;
use crate::hub::{Hub, Reply, Request};

/// The bounds of the HTTP API.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApiConfig {
    /// The longest body of a request, in bytes. Default 24 MiB: a message of 16 MiB in base64, and what stands around it.
    pub body_bytes_max: usize,
    /// Messages in one request. Default 1,000.
    pub messages_max: usize,
    /// Payload bytes of one answer, beyond which no further message is put into it. Default 4 MiB.
    pub read_bytes_max: usize,
    /// Requests at work at a time; others are answered 503. Default 64.
    pub requests_max: usize,
    /// How long a request waits for its commit before it is answered 503. Default 30 s.
    pub timeout: Duration,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            body_bytes_max: 24 << 20,
            messages_max: 1_000,
            read_bytes_max: 4 << 20,
            requests_max: 64,
            timeout: Duration::from_secs(30),
        }
    }
}

/// What the handlers share.
pub(crate) struct Api<R> {
    config: ApiConfig,
    hub: Hub,
    reader: R,
    permits: Arc<Semaphore>,
}

impl<R> Api<R> {
    pub(crate) fn new(config: ApiConfig, hub: Hub, reader: R) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(config.requests_max));
        Arc::new(Self {
            config,
            hub,
            reader,
            permits,
        })
    }

    /// Commits, as one batch with whatever else there is, and returns one outcome for each command.
    ///
    /// Dropped while it waits, it leaves the commands to be committed all the same.
    async fn commit(&self, commands: Vec<Command>) -> Result<Vec<Outcome>, ApiError> {
        let (reply, replied) = oneshot::channel();
        self.hub.request(Request { commands, reply });
        match tokio::time::timeout(self.config.timeout, replied).await {
            Ok(Ok(Reply::Committed(outcomes))) => Ok(outcomes),
            Ok(Ok(Reply::Failed)) => Err(ApiError::LOG_FAILED),
            Ok(Err(_)) | Err(_) => Err(ApiError::UNKNOWN),
        }
    }
}

/// Serves until `stop` resolves, and then until the requests at work are answered.
///
/// # Errors
/// Those of the listening socket.
pub(crate) async fn serve<R>(
    listener: TcpListener,
    api: Arc<Api<R>>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()>
where
    R: LogReader + Send + Sync + 'static,
{
    axum::serve(listener, router(api))
        .with_graceful_shutdown(stop)
        .await
}

fn router<R>(api: Arc<Api<R>>) -> Router
where
    R: LogReader + Send + Sync + 'static,
{
    let permits = Arc::clone(&api.permits);
    Router::new()
        .route("/v1/openapi.json", get(openapi))
        .route("/v1/streams", get(read::streams))
        .route("/v1/streams/{stream}", get(read::stream))
        .route(
            "/v1/streams/{stream}/messages",
            get(read::messages).post(publish::one),
        )
        .route("/v1/publish", post(publish::batch))
        .fallback(async || ApiError::NO_ROUTE)
        .method_not_allowed_fallback(async || ApiError::NO_METHOD)
        .layer(DefaultBodyLimit::max(api.config.body_bytes_max))
        .with_state(api)
        .layer(middleware::from_fn_with_state(permits, guard::admit))
        .layer(middleware::from_fn(guard::from_here))
}

async fn openapi() -> ([(header::HeaderName, &'static str); 1], &'static str) {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}

const OPENAPI: &str = include_str!("openapi.json");
