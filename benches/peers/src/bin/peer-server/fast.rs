//! fastwebsockets, as in its example `echo_server.rs`: a `FragmentCollector`, unconstrained. It has no batching: each frame is
//! written at once.

use fastwebsockets::{FragmentCollector, OpCode, Role, WebSocket, WebSocketError};
use tokio::net::TcpStream;
use tokio::task::unconstrained;

use crate::{Begun, shake_hands, spawn};

pub(crate) async fn begin(stream: TcpStream) -> Begun {
    let stream = shake_hands(stream).await?;
    Ok(spawn(unconstrained(async move {
        let mut socket = FragmentCollector::new(WebSocket::after_handshake(stream, Role::Server));
        let _ = echo(&mut socket).await;
    })))
}

async fn echo(socket: &mut FragmentCollector<TcpStream>) -> Result<(), WebSocketError> {
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            _ => {}
        }
    }
}
