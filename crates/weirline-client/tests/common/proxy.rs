//! A TCP proxy that cuts connections at chosen bytes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Rst,
    Fin,
    /// Nothing passes any more, in either direction, and nobody is told.
    Silence,
}

/// Whose bytes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Towards the server.
    Up,
    /// Towards the client.
    Down,
}

/// One cut: after `at` bytes of `side` have passed, `fault`.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    pub side: Side,
    pub at: usize,
    pub fault: Fault,
}

/// Passes connections on to a server. The first connection gets the first cut, and so on; those after the last
/// cut pass unharmed.
pub struct CutProxy {
    pub address: SocketAddr,
    dials: Rc<RefCell<usize>>,
}

impl CutProxy {
    pub async fn start(upstream: SocketAddr, cuts: impl IntoIterator<Item = Cut>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let dials = Rc::new(RefCell::new(0));
        let mut cuts: VecDeque<Cut> = cuts.into_iter().collect();
        let counted = dials.clone();
        spawn_local(async move {
            while let Ok((client, _)) = listener.accept().await {
                *counted.borrow_mut() += 1;
                let cut = cuts.pop_front();
                spawn_local(async move {
                    if let Ok(server) = TcpStream::connect(upstream).await {
                        pass(client, server, cut).await;
                    }
                });
            }
        });
        Self { address, dials }
    }

    pub fn dials(&self) -> usize {
        *self.dials.borrow()
    }
}

async fn pass(mut client: TcpStream, mut server: TcpStream, cut: Option<Cut>) {
    let (mut up, mut down) = (0, 0);
    let (mut from_client, mut from_server) = ([0; 4096], [0; 4096]);
    loop {
        let left = |side: Side, passed: usize| match cut {
            Some(cut) if cut.side == side => cut.at - passed,
            _ => usize::MAX,
        };
        let (up_left, down_left) = (left(Side::Up, up).min(4096), left(Side::Down, down).min(4096));
        if up_left == 0 || down_left == 0 {
            break;
        }
        let moved = tokio::select! {
            biased;
            read = client.read(&mut from_client[..up_left]) => match read {
                Ok(n) if n > 0 => { up += n; server.write_all(&from_client[..n]).await.is_ok() }
                _ => { let _ = server.shutdown().await; false }
            },
            read = server.read(&mut from_server[..down_left]) => match read {
                Ok(n) if n > 0 => { down += n; client.write_all(&from_server[..n]).await.is_ok() }
                _ => { let _ = client.shutdown().await; false }
            },
        };
        if !moved {
            return;
        }
    }
    match cut.expect("only a cut leaves the loop").fault {
        Fault::Rst => {
            let _ = client.set_zero_linger();
            let _ = server.set_zero_linger();
        }
        Fault::Fin => {
            let _ = client.shutdown().await;
            let _ = server.shutdown().await;
        }
        Fault::Silence => std::future::pending().await,
    }
}
