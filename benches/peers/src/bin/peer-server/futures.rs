//! The libraries that are a `Stream` and a `Sink`: tokio-tungstenite and tokio-websockets.

use std::future::poll_fn;
use std::task::Poll;

use futures_util::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use tokio::net::TcpStream;
use tokio::task::unconstrained;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_websockets::{Config, Limits, ServerBuilder};

use crate::{Begun, spawn};

pub(crate) async fn tungstenite(stream: TcpStream) -> Begun {
    tungstenite_with(stream, WebSocketConfig::default()).await
}

pub(crate) async fn tungstenite_4k(stream: TcpStream) -> Begun {
    tungstenite_with(stream, WebSocketConfig::default().read_buffer_size(4096)).await
}

async fn tungstenite_with(stream: TcpStream, config: WebSocketConfig) -> Begun {
    let mut socket = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await?;
    Ok(spawn(async move {
        let wanted = |message: &Message| message.is_text() || message.is_binary();
        let _ = feed_then_flush(&mut socket, wanted).await;
    }))
}

pub(crate) async fn websockets(stream: TcpStream) -> Begun {
    let mut socket = accept_websockets(stream).await?;
    Ok(spawn(unconstrained(async move {
        while let Some(Ok(message)) = socket.next().await {
            let echoed = message.is_text() || message.is_binary();
            if echoed && socket.send(message).await.is_err() {
                break;
            }
        }
    })))
}

/// Its `next` writes what was fed before it looks at its input, so that feeding one message at a time batches nothing.
pub(crate) async fn websockets_batched(stream: TcpStream) -> Begun {
    let mut socket = accept_websockets(stream).await?;
    Ok(spawn(unconstrained(async move {
        let mut batch = Vec::new();
        while let Some(Ok(first)) = socket.next().await {
            batch.push(first);
            while batch.len() < BATCH_MAX
                && let Some(Some(Ok(next))) = socket.next().now_or_never()
            {
                batch.push(next);
            }
            for message in batch
                .drain(..)
                .filter(|message| message.is_text() || message.is_binary())
            {
                if socket.feed(message).await.is_err() {
                    return;
                }
            }
            if socket.flush().await.is_err() {
                return;
            }
        }
    })))
}

/// The messages of one batch.
const BATCH_MAX: usize = 64;

async fn accept_websockets(
    stream: TcpStream,
) -> Result<tokio_websockets::WebSocketStream<TcpStream>, tokio_websockets::Error> {
    let config = Config::default()
        .frame_size(usize::MAX)
        .flush_threshold(usize::MAX);
    let server = ServerBuilder::new().config(config).limits(Limits::unlimited());
    Ok(server.accept(stream).await?.1)
}

/// Echoes what `wanted` says; flushes when nothing more is there.
async fn feed_then_flush<W, M, E>(socket: &mut W, wanted: impl Fn(&M) -> bool) -> Result<(), E>
where
    W: Stream<Item = Result<M, E>> + Sink<M, Error = E> + Unpin,
{
    let mut unflushed = false;
    loop {
        let next = poll_fn(|cx| match socket.poll_next_unpin(cx) {
            Poll::Pending if unflushed => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
            Poll::Ready(next) => Poll::Ready(Some(next)),
        });
        match next.await {
            None => {
                socket.flush().await?;
                unflushed = false;
            }
            Some(None) => return Ok(()),
            Some(Some(message)) => {
                let message = message?;
                if wanted(&message) {
                    socket.feed(message).await?;
                    unflushed = true;
                }
            }
        }
    }
}
