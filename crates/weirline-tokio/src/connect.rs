//! The client's side of the handshake over a stream.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use weirline_handshake::{
    ClientRequest, ClientResponse, HandshakeError, HeadLimits, ResponseProgress, ResponseReader,
};

/// A stream whose handshake is done: make a [`Driver`](crate::Driver) of it.
#[derive(Debug)]
pub struct Connected<S> {
    /// The stream, behind the 101.
    pub stream: S,
    /// What the server sent behind its answer: frames, to be given to the driver.
    pub residue: Bytes,
    /// The server's answer.
    pub response: Box<ClientResponse>,
}

/// Why no connection came of a stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The server refused, left, or its answer is not a valid 101.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The server was too slow.
    #[error("the handshake took longer than {0:?}")]
    Deadline(Duration),
    /// The stream failed.
    #[error("the stream failed: {0}")]
    Io(#[from] io::Error),
}

/// Writes a request, and reads and judges the answer (RFC 6455 §4.1). Where that fails, the stream is closed (RFC 6455 §7.2.1).
///
/// Cancellation: the stream is dropped with the future.
///
/// # Errors
///
/// See [`ConnectError`]; the stream is gone then.
pub async fn connect<S>(
    mut stream: S,
    request: &ClientRequest,
    deadline: Duration,
) -> Result<Connected<S>, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut reader = ResponseReader::new(HeadLimits::default(), request);
    let handshake = async {
        stream.write_all(&request.encode()).await?;
        stream.flush().await?;
        read_response(&mut stream, &mut reader).await
    };
    let outcome = tokio::time::timeout(deadline, handshake)
        .await
        .unwrap_or(Err(ConnectError::Deadline(deadline)));
    match outcome {
        Ok((response, residue)) => Ok(Connected {
            stream,
            residue,
            response,
        }),
        // The refusal says more than what happened while its text was on the way.
        Err(ConnectError::Io(_) | ConnectError::Deadline(_)) if reader.is_refused() => {
            Err(reader.handle_eof().into())
        }
        Err(error) => Err(error),
    }
}

const READ_BYTES: usize = 2048;

async fn read_response<S>(
    stream: &mut S,
    reader: &mut ResponseReader,
) -> Result<(Box<ClientResponse>, Bytes), ConnectError>
where
    S: AsyncRead + Unpin,
{
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Err(reader.handle_eof().into());
        }
        match reader.handle_input(&buffer[..read])? {
            ResponseProgress::NeedMore => {}
            ResponseProgress::Done { response, consumed } => {
                return Ok((response, Bytes::copy_from_slice(&buffer[consumed..read])));
            }
        }
    }
}
