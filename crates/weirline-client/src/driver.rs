//! The outer loop: wait, store, dial, run one connection, and again.
//!
//! ```text
//!            first             stored                connected            answered
//!  start ───────────▶ Storing ───────▶ Dialing ───────────────▶ Opening ───────────▶ Live
//!                        ▲                │ fails, 10 s            │ lost, 10 s         │ lost
//!                        │ delay over     ▼                        ▼                    ▼
//!                        └──────────── Waiting ◀────────────────────────────────────────┘
//!                                         │ closed · superseded · refused for good · exhausted · store failed
//!                                         ▼                        (the first four from any state)
//!                                       ended
//! ```

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};
use tracing::Instrument as _;
use weirline_connection::{Cause as EndCause, Config, Connection};
use weirline_handshake::{ClientRequest, HandshakeError};
use weirline_resume::{AfterLoss, Backoff, BackoffConfig, ClientEvent, Dial, DialError, Failure, StoreMode};
use weirline_tokio::{ConnectError, Connected, Connector, Driver, Entropy};

use crate::error::{Cause, ClientError, StoreError};
use crate::event::{Event, LinkState};
use crate::link::Link;
use crate::shared::Shared;
use crate::store::Store;

/// What a driver needs besides its parts.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) request: ClientRequest,
    pub(crate) backoff: BackoffConfig,
    pub(crate) connection: Arc<Config>,
}

/// Does a client's work: dials, waits, stores, and carries messages. Nothing happens unless it is polled.
///
/// It may run on any task of a tokio runtime with time enabled; it never spawns. When it is dropped, the connection is cut
/// and every handle gets [`ClientError::DriverDropped`].
#[derive(Debug)]
#[must_use = "a client does nothing unless its driver runs"]
pub struct ClientDriver<C, S> {
    end: EndGuard,
    settings: Settings,
    connector: C,
    store: S,
    entropy: Entropy,
    backoff: Backoff,
}

/// Tells the handles when the driver is gone.
#[derive(Debug)]
struct EndGuard(Arc<Shared>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.finish(ClientError::DriverDropped);
    }
}

/// Why a connection is over, and the server's wish; or why the client is.
type Over = Result<(Cause, Option<Duration>), ClientError>;

impl<C: Connector, S: Store> ClientDriver<C, S> {
    pub(crate) fn new(
        shared: Arc<Shared>,
        settings: Settings,
        connector: C,
        store: S,
        entropy: Entropy,
    ) -> Self {
        let backoff = Backoff::new(settings.backoff.clone());
        Self {
            end: EndGuard(shared),
            settings,
            connector,
            store,
            entropy,
            backoff,
        }
    }

    /// Runs until the client is closed (`Ok`) or over for another reason.
    ///
    /// # Errors
    /// [`ClientError`], the same as the handles get.
    ///
    /// Cancellation: dropping the future cuts the connection without a closing handshake. What the store has is
    /// enough for another client to go on.
    pub async fn run(mut self) -> Result<(), ClientError> {
        let url = self.settings.request.url().to_string();
        // A query may hold a credential.
        let span = tracing::info_span!("client", url = url.split('?').next());
        async {
            let mut why = self.drive().await;
            // After a takeover the store may already be the other holder's, with a higher attach number.
            if !matches!(why, ClientError::Store(_) | ClientError::Superseded)
                && let Err(error) = self.save().await
            {
                why = error.into();
            }
            self.end.0.finish(why.clone());
            if let ClientError::Closed = why {
                tracing::info!(event = "client.closed", "closed");
                return Ok(());
            }
            tracing::error!(event = "client.ended", %why, "ended");
            Err(why)
        }
        .instrument(span)
        .await
    }

    /// One dial after the other (RFC 6455 §4.1 item 2).
    async fn drive(&mut self) -> ClientError {
        loop {
            let (cause, hint) = match self.attempt().await {
                Ok(lost) => lost,
                Err(why) => return why,
            };
            self.backoff.handle_lost(now());
            tracing::warn!(event = "client.down", %cause, hint_ms = hint.map(|hint| hint.as_millis()), "down");
            self.end
                .0
                .lock()
                .push(Event::Link(LinkState::Down { cause: cause.clone() }));
            if let Err(why) = self.wait(cause, hint).await {
                return why;
            }
        }
    }

    /// Every dial of an outage waits first (R25, I17, RFC 6455 §7.2.3).
    async fn wait(&mut self, cause: Cause, hint: Option<Duration>) -> Result<(), ClientError> {
        let attempts = self.backoff.attempts();
        let Some(delay) = self.backoff.next(self.entropy.uniform(), hint) else {
            return Err(ClientError::Exhausted {
                attempts,
                last: cause,
            });
        };
        let attempt = self.backoff.attempts();
        tracing::info!(
            event = "client.waiting",
            attempt,
            delay_ms = delay.as_millis(),
            "waiting"
        );
        let shared = &self.end.0;
        shared
            .lock()
            .push(Event::Link(LinkState::Waiting { attempt, delay }));
        tokio::select! {
            biased;
            never = shared.until(|_| false) => never,
            () = tokio::time::sleep(delay) => Ok(()),
        }
    }

    /// One dial, from storing its number to the end of its connection.
    async fn attempt(&mut self) -> Over {
        let shared = self.end.0.clone();
        // A client whose application takes nothing would only fill its queue further.
        shared.until(|inner| !inner.queue.is_full()).await?;
        let (dial, attach) = {
            let mut inner = shared.lock();
            inner.close = None;
            let dialed = inner.machine.dial(now(), self.entropy.array());
            let dial = dialed.map_err(|error| match error {
                DialError::Stopped => stopped(inner.stopped.as_ref()),
                _ => ClientError::Numbers,
            })?;
            let state = inner.machine.state();
            // Without a session a dial has no number.
            (dial, state.secret.is_some().then_some(state.attach))
        };
        self.save().await?;
        tracing::info!(
            event = "client.dialing",
            attach = attach.map(u64::from),
            "dialing"
        );
        shared.lock().push(Event::Link(LinkState::Dialing { attach }));
        let over = self.connection(dial).await;

        let mut inner = shared.lock();
        inner.live = false;
        let close = inner.close.take();
        let frame = close.as_ref().map(|(code, reason)| (*code, reason.as_str()));
        let after = inner.machine.handle_disconnected(dial, now(), frame);
        shared.drain(&mut inner);
        match (after, over) {
            (_, Err(why)) if !matches!(why, ClientError::Closed) => Err(why),
            // What the server has said for good outlasts a close of the application that followed it.
            (AfterLoss::Stopped, _) => Err(stopped(inner.stopped.as_ref())),
            (_, Err(why)) => Err(why),
            (_, Ok(_)) if inner.closing => Err(ClientError::Closed),
            (AfterLoss::Redial { hint }, Ok(cause)) => {
                let cause = close.map_or(cause, |(code, reason)| Cause::Closed { code, reason });
                let hint = hint.max(cause.hint());
                Ok((cause, hint))
            }
            (_, Ok(cause)) => Ok((cause, None)),
        }
    }

    /// Connects, with a key of its own (RFC 6455 §4.1), and runs the connection to its end. Its masking keys come from the same
    /// source (§10.3).
    async fn connection(&mut self, dial: Dial) -> Result<Cause, ClientError> {
        let shared = self.end.0.clone();
        let due = shared
            .lock()
            .machine
            .poll_timeout()
            .map_or_else(Instant::now, Instant::from_std);
        let request = self.settings.request.clone().with_key(self.entropy.array());
        let opened = tokio::select! {
            biased;
            closing = shared.until(|_| false) => return closing.map(|()| Cause::Abandoned),
            opened = open(&self.connector, &request) => opened?,
            () = sleep_until(due) => Err(Cause::DialTimeout),
        };
        let connected = match opened {
            Ok(connected) => connected,
            Err(cause) => return Ok(cause),
        };
        shared.lock().machine.handle_connected(dial, now());
        let connection = Connection::client(
            self.settings.connection.clone(),
            self.entropy.mask_source(),
            now(),
        );
        let link = Link::new(shared.clone(), dial);
        let link = Driver::new(connected.stream, connection, connected.residue, link, ());

        let over = AtomicBool::new(false);
        let mut saver = pin!(keep_saved(&shared, &mut self.store, &over));
        let mut running = pin!(run_link(&shared, &mut self.backoff, link));
        let cause = tokio::select! {
            biased;
            failed = &mut saver => {
                // The machine withholds what is not stored; what is on its way may arrive.
                shared.close();
                running.await;
                return failed.map(|()| Cause::Abandoned).map_err(ClientError::Store);
            }
            cause = &mut running => cause,
        };
        // A save that is under way is not dropped.
        over.store(true, Ordering::Relaxed);
        shared.save.notify_one();
        saver.await?;
        Ok(cause)
    }

    /// Stores the present state.
    async fn save(&mut self) -> Result<(), StoreError> {
        save(&self.end.0, &mut self.store).await
    }
}

/// TCP and upgrade (RFC 6455 §4.1). `Err` inside is a reason to dial again, outside one to give up.
async fn open<C: Connector>(
    connector: &C,
    request: &ClientRequest,
) -> Result<Result<Connected<C::Stream>, Cause>, ClientError> {
    let url = request.url();
    let stream = match connector.connect(&url.dial_host(), url.port()).await {
        Ok(stream) => stream,
        Err(error) => return Ok(Err(Cause::Dial(error.to_string()))),
    };
    // The caller has the deadline of the whole dial.
    match weirline_tokio::connect(stream, request, Duration::MAX).await {
        Ok(connected) => Ok(Ok(connected)),
        Err(ConnectError::Handshake(HandshakeError::Refused(refused))) => {
            let status = refused.status.as_u16();
            let may_pass = matches!(status, 408 | 429 | 500..=599);
            if may_pass {
                return Ok(Err(Cause::Refused {
                    status,
                    retry_after: refused.retry_after,
                }));
            }
            Err(ClientError::Refused {
                status,
                message: refused.body_text().trim().to_owned(),
            })
        }
        Err(error) => Ok(Err(Cause::Handshake(error.to_string()))),
    }
}

/// Polls the connection and the machine's timers until one of them ends it.
async fn run_link<T>(shared: &Shared, backoff: &mut Backoff, link: Driver<T, Link, ()>) -> Cause
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut link = pin!(link);
    loop {
        let timeout = {
            let inner = shared.lock();
            if inner.live {
                backoff.handle_live(now());
            }
            inner.machine.poll_timeout().map(Instant::from_std)
        };
        tokio::select! {
            biased;
            end = &mut link => {
                return match end.cause {
                    EndCause::Protocol(error) => Cause::Protocol(error.to_string()),
                    cause => Cause::Lost(cause.to_string()),
                };
            }
            () = shared.drive.notified() => {}
            () = sleep_until(timeout.unwrap_or_else(Instant::now)), if timeout.is_some() => {
                let mut inner = shared.lock();
                if !inner.live {
                    // A connection on which nobody answers is not worth a closing handshake.
                    return Cause::DialTimeout;
                }
                inner.machine.handle_timeout(now());
                shared.drain(&mut inner);
                shared.wake_driver(&mut inner);
            }
        }
    }
}

/// Stores what the machine withholds until it is stored, and what was handled, one save at a time, until told that the
/// connection is over.
async fn keep_saved<S: Store>(shared: &Shared, store: &mut S, over: &AtomicBool) -> Result<(), StoreError> {
    while !over.load(Ordering::Relaxed) {
        let due = {
            let inner = shared.lock();
            inner.machine.needs_store() || (inner.handled && store.mode() == StoreMode::Durable)
        };
        if due {
            save(shared, store).await?;
        } else {
            shared.save.notified().await;
        }
    }
    Ok(())
}

async fn save<S: Store>(shared: &Shared, store: &mut S) -> Result<(), StoreError> {
    let (state, revision) = {
        let mut inner = shared.lock();
        inner.handled = false;
        (inner.machine.state(), inner.machine.revision())
    };
    if let Err(error) = store.save(state).await {
        tracing::error!(event = "client.store_failed", %error, "the store failed");
        return Err(error);
    }
    let mut inner = shared.lock();
    inner.machine.handle_stored(revision);
    shared.wake_driver(&mut inner);
    Ok(())
}

/// The machine's last word, as the client's.
pub(crate) fn stopped(event: Option<&ClientEvent>) -> ClientError {
    match event {
        Some(ClientEvent::Failed(Failure::Refused { code, text })) => ClientError::Rejected {
            code: *code,
            text: text.clone(),
        },
        Some(ClientEvent::Failed(failure)) => ClientError::Protocol(failure.to_string()),
        _ => ClientError::Superseded,
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
