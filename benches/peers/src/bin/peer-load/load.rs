//! The connections of one cell to one server, and the loop that keeps them busy.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::time::Timespec;

use crate::Result;
use crate::answers::Answers;
use crate::cell::Cell;

/// How long a server may be silent.
const PATIENCE: Timespec = Timespec {
    tv_sec: 60,
    tv_nsec: 0,
};

const READ_BYTES: usize = 256 << 10;
const HEAD_BYTES_MAX: usize = 4096;

pub(crate) struct Load {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    batch: Arc<[u8]>,
    written: usize,
    answers: Answers,
    batches_left: u64,
}

impl Load {
    pub(crate) fn connect(server: SocketAddr, cell: Cell) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let batch: Arc<[u8]> = cell.batch().into();
        let mut connections = Vec::new();
        for index in 0..cell.connections {
            let stream = open(server)?;
            stream.set_nonblocking(true)?;
            let interest = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
            epoll::add(&epoll, &stream, EventData::new_u64(index as u64), interest)?;
            connections.push(Connection {
                stream,
                batch: Arc::clone(&batch),
                written: batch.len(),
                answers: Answers::new(cell),
                batches_left: 0,
            });
        }
        Ok(Self {
            epoll,
            connections,
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Each connection sends so many batches, one after the other; returns when the last answer is here.
    pub(crate) fn run(&mut self, batches: u64) -> Result {
        let mut busy = self.connections.len();
        for connection in &mut self.connections {
            connection.batches_left = batches;
            connection.written = 0;
            connection.advance(&mut self.buffer)?;
        }
        busy -= self
            .connections
            .iter()
            .filter(|connection| connection.is_done())
            .count();
        let mut events = Vec::with_capacity(self.connections.len());
        while busy > 0 {
            events.clear();
            if epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&PATIENCE))? == 0 {
                return Err("the server does not answer".into());
            }
            for event in &events {
                let connection = &mut self.connections[usize::try_from(event.data.u64())?];
                if !connection.is_done() {
                    connection.advance(&mut self.buffer)?;
                    busy -= usize::from(connection.is_done());
                }
            }
        }
        Ok(())
    }
}

impl Connection {
    fn is_done(&self) -> bool {
        self.batches_left == 0
    }

    /// Writes and reads what the socket takes and has.
    fn advance(&mut self, buffer: &mut [u8]) -> Result {
        while self.batches_left > 0 {
            self.write()?;
            match self.stream.read(buffer) {
                Ok(0) => return Err("the server ended the stream".into()),
                Ok(read) => {
                    if self.answers.take(&buffer[..read])? {
                        self.batches_left -= 1;
                        self.written = 0;
                        if self.batches_left > 0 {
                            self.write()?;
                        }
                    }
                    if read < buffer.len() {
                        // Nothing is there; what comes wakes us.
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn write(&mut self) -> Result {
        while self.written < self.batch.len() {
            match self.stream.write(&self.batch[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// A blocking stream behind its handshake.
pub(crate) fn open(server: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(
        stream,
        "GET / HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )?;
    let mut head = vec![0; HEAD_BYTES_MAX];
    let mut len = 0;
    while !head[..len].ends_with(b"\r\n\r\n") {
        match stream.read(&mut head[len..])? {
            0 => return Err("the handshake ended early".into()),
            read => len += read,
        }
    }
    if head.starts_with(b"HTTP/1.1 101 ") {
        Ok(stream)
    } else {
        Err(format!("refused: {}", String::from_utf8_lossy(&head[..len])).into())
    }
}
