//! A blocking client with frames of its own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::Outcome;

pub(crate) struct Client(pub(crate) TcpStream);

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const HEAD_BYTES_MAX: usize = 4096;

impl Client {
    /// Connects from the `source`-th loopback address, so that the ports of one do not run out.
    pub(crate) fn connect(server: SocketAddr, source: u8) -> Outcome<Self> {
        Self::connect_to(server, source, "/echo")
    }

    pub(crate) fn connect_to(server: SocketAddr, source: u8, path: &str) -> Outcome<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, source.max(1)), 0)).into())?;
        socket.connect(&server.into())?;
        let mut stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
            if head.len() > HEAD_BYTES_MAX {
                return Err("an answer without an end".into());
            }
        }
        if !head.starts_with(b"HTTP/1.1 101 ") {
            return Err(format!("refused: {}", String::from_utf8_lossy(&head)).into());
        }
        Ok(Self(stream))
    }

    /// Sends bytes, and reads as many as the answer must have.
    pub(crate) fn exchange(&mut self, request: &[u8], answer_len: usize) -> Outcome<Vec<u8>> {
        self.0.write_all(request)?;
        let mut answer = vec![0; answer_len];
        self.0.read_exact(&mut answer)?;
        Ok(answer)
    }
}

/// A masked frame with a payload of at most 125 bytes; `first` is its first byte.
pub(crate) fn short_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![
        first,
        0x80 | u8::try_from(payload.len()).expect("at most 125 bytes"),
    ];
    frame.extend(KEY);
    frame.extend(
        payload
            .iter()
            .zip(KEY.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    frame
}
