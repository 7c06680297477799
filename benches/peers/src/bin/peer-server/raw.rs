//! The floor: bytes go back as they came, headers, masks and all. The load takes its own frames for an answer.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{Begun, Result, shake_hands, spawn};

const BUFFER_BYTES: usize = 256 << 10;

pub(crate) async fn begin(stream: TcpStream) -> Begun {
    let stream = shake_hands(stream).await?;
    Ok(spawn(async move {
        let _ = echo(stream).await;
    }))
}

async fn echo(mut stream: TcpStream) -> Result {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..read]).await?;
    }
}
