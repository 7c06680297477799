//! sockudo-ws, as in its README under "Queued-write backpressure": replies are fed, and what was fed leaves before reading waits.

use futures_util::{SinkExt, StreamExt};
use sockudo_ws::{Config, Message, WebSocketStream};
use tokio::net::TcpStream;

use crate::{Begun, shake_hands, spawn};

pub(crate) async fn begin(stream: TcpStream) -> Begun {
    let stream = shake_hands(stream).await?;
    Ok(spawn(async move {
        let mut socket = WebSocketStream::server(stream, Config::default());
        let _ = echo(&mut socket).await;
    }))
}

async fn echo(socket: &mut WebSocketStream<TcpStream>) -> sockudo_ws::Result<()> {
    while let Some(message) = socket.next().await {
        match message? {
            message @ (Message::Text(_) | Message::Binary(_)) => socket.feed(message).await?,
            Message::Close(_) => return Ok(()),
            _ => {}
        }
    }
    Ok(())
}
