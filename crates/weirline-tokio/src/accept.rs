//! The server's side of the handshake over a stream.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use weirline_handshake::{HeadLimits, Progress, Rejection, RequestReader, UpgradeRequest, UpgradeResponse};

use crate::Timers;

/// Limits of an accepted handshake.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AcceptSettings {
    /// From the first look at the stream to the last byte of the answer, however many bytes trickle in between. Default
    /// 10 s.
    pub deadline: Duration,
    /// Bounds of the request's head. Default 16 KiB and 64 fields.
    pub head: HeadLimits,
    /// Where the deadlines are set. Default: on the runtime that polls.
    pub timers: Timers,
}

impl Default for AcceptSettings {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            head: HeadLimits::default(),
            timers: Timers::here(),
        }
    }
}

/// A stream whose handshake is done: make a [`Driver`](crate::Driver) of it.
#[derive(Debug)]
pub struct Accepted<S> {
    /// The stream, behind the 101.
    pub stream: S,
    /// What the client sent behind its request: frames, to be given to the driver.
    pub residue: Bytes,
    /// What was asked for.
    pub request: Box<UpgradeRequest>,
    /// The subprotocol that was chosen, if one was.
    pub subprotocol: Option<String>,
}

/// Why no connection came of a stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The request was refused, and the refusal written as far as the deadline allowed.
    #[error("the request was refused: {0}")]
    Rejected(Rejection),
    /// The peer was too slow.
    #[error("the handshake took longer than {0:?}")]
    Deadline(Duration),
    /// The peer left in the middle of its request.
    #[error("the peer left in the middle of its request")]
    Incomplete,
    /// The peer left without a byte: a health check, or a browser's spare connection.
    #[error("the peer left without a request")]
    Untouched,
    /// The stream failed.
    #[error("the stream failed: {0}")]
    Io(#[from] io::Error),
}

/// Reads a request, lets `decide` answer it, and writes the answer (RFC 6455 §4.2.1, §4.2.2).
///
/// `decide` sees a request that is valid by the RFC, and judges what the RFC leaves to the server: path, origin, subprotocol,
/// further headers. Every answer other than 101 ends the stream.
///
/// Cancellation: the stream is dropped with the future.
///
/// # Errors
///
/// See [`AcceptError`]; the stream is gone then.
pub async fn accept<S>(
    mut stream: S,
    settings: &AcceptSettings,
    decide: impl FnOnce(&UpgradeRequest) -> Result<UpgradeResponse, Rejection>,
) -> Result<Accepted<S>, AcceptError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let now = || tokio::time::Instant::now().into_std();
    let deadline = now() + settings.deadline;
    let late = |_| AcceptError::Deadline(settings.deadline);
    let timers = &settings.timers;
    let read = timers
        .timeout_at(deadline, read_request(&mut stream, settings.head))
        .await
        .map_err(late)?;
    let decision = match read {
        Ok((request, residue)) => decide(&request).map(|response| (request, residue, response)),
        Err(AcceptError::Rejected(rejection)) => Err(rejection),
        Err(other) => return Err(other),
    };
    match decision {
        Ok((request, residue, response)) => {
            timers
                .timeout_at(deadline, write_all(&mut stream, &response.encode()))
                .await
                .map_err(late)??;
            let subprotocol = response.chosen_subprotocol().map(|name| name.as_str().to_owned());
            Ok(Accepted {
                stream,
                residue,
                request,
                subprotocol,
            })
        }
        Err(rejection) => {
            // The refusal is the result, whether or not the peer waits for it.
            let until = deadline.min(now() + REFUSAL_DEADLINE);
            let _ = timers
                .timeout_at(until, refuse(&mut stream, &rejection.encode()))
                .await;
            Err(AcceptError::Rejected(rejection))
        }
    }
}

/// How long a refused peer may take to read its refusal and leave.
const REFUSAL_DEADLINE: Duration = Duration::from_secs(1);

const READ_BYTES: usize = 2048;

async fn read_request<S>(
    stream: &mut S,
    limits: HeadLimits,
) -> Result<(Box<UpgradeRequest>, Bytes), AcceptError>
where
    S: AsyncRead + Unpin,
{
    let mut reader = RequestReader::new(limits);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Err(if reader.is_untouched() {
                AcceptError::Untouched
            } else {
                AcceptError::Incomplete
            });
        }
        match reader
            .handle_input(&buffer[..read])
            .map_err(AcceptError::Rejected)?
        {
            Progress::NeedMore => {}
            Progress::Done { request, consumed } => {
                return Ok((request, Bytes::copy_from_slice(&buffer[consumed..read])));
            }
        }
    }
}

async fn write_all<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// Writes the refusal, ends our direction (RFC 6455 §7.2.2), and reads on until the peer's end: unread bytes would turn the close
/// into a reset that destroys the refusal on its way.
async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, refusal: &[u8]) -> io::Result<()> {
    write_all(stream, refusal).await?;
    stream.shutdown().await?;
    let mut ignored = vec![0; READ_BYTES];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}
