//! Plain peers that speak the bytes by hand and leave in the rudest legal way: Close and FIN at once, while the server has
//! much to say. Everything that was under way, and the server's Close, must still reach them.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weirline_tokio::Connector as _;

use crate::plan::ScriptsPlan;
use crate::rng::Rng;
use crate::socket::{SimConnector, Socket};
use crate::wire::{Direction, Scanner, Seen};
use crate::world::{PORT, SERVER, World, client_host};

/// The plain peers of a world, one after the other.
pub struct Scripts {
    world: Rc<World>,
    plan: ScriptsPlan,
    done: Cell<bool>,
}

/// Their dials are not those of a shipped client.
pub(crate) const SCRIPT_PROCESS: u32 = u32::MAX;
/// How long a peer reads before it leaves.
const STAY_MS: u64 = 300;
/// How long to wait for the end of a conversation.
const PATIENCE: Duration = Duration::from_secs(10);

impl Scripts {
    /// Those of the plan, if it has some.
    #[must_use]
    pub fn new(world: &Rc<World>) -> Option<Rc<Self>> {
        let plan = world.plan.scripts.clone()?;
        Some(Rc::new(Self {
            world: Rc::clone(world),
            plan,
            done: Cell::new(false),
        }))
    }

    /// The number of their host among the clients.
    #[must_use]
    pub fn client(world: &World) -> usize {
        world.plan.clients.len() + 1
    }

    /// True when all have left.
    #[must_use]
    pub fn done(&self) -> bool {
        self.done.get()
    }

    /// Runs all of them.
    pub async fn run(self: Rc<Self>) {
        let mut rng = Rng::derive(self.world.plan.seed, "script", 0);
        for _ in 0..self.plan.conversations {
            tokio::time::sleep(Duration::from_millis(rng.within(1..=self.plan.pause_ms_max))).await;
            let _ = tokio::time::timeout(PATIENCE, self.converse(&mut rng)).await;
        }
        self.done.set(true);
    }

    async fn converse(&self, rng: &mut Rng) -> std::io::Result<()> {
        let client = Self::client(&self.world);
        let connector = SimConnector::new(
            Rc::clone(&self.world.net),
            &client_host(client),
            client,
            SCRIPT_PROCESS,
        );
        let mut socket = connector.connect(SERVER, PORT).await?;
        let mut opening = format!(
            "GET /v1/streams/{} HTTP/1.1\r\nHost: {SERVER}:{PORT}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
            self.plan.stream
        )
        .into_bytes();
        opening.extend(frame(1, b"RESUME_FROM:0", rng));
        if rng.percent(50) {
            // The message rides in the segment of the request, or shortly after it.
            socket.write_all(&opening).await?;
        } else {
            let at = rng.index(opening.len());
            socket.write_all(&opening[..at]).await?;
            tokio::time::sleep(Duration::from_millis(rng.within(1..=10))).await;
            socket.write_all(&opening[at..]).await?;
        }
        let mut scanner = Scanner::new(Direction::ToClient);
        let wanted = rng.magnitude(1..=self.plan.read_bytes_max);
        let mut got = 0;
        // A peer that does not answer pings must not stay for long.
        let until = tokio::time::Instant::now() + Duration::from_millis(STAY_MS);
        while got < wanted {
            match tokio::time::timeout_at(until, read(&mut socket, &mut scanner)).await {
                Ok(Ok(0)) => return Ok(()),
                Ok(count) => got += count?,
                Err(_) => break,
            }
        }
        let last = frame(8, &1000_u16.to_be_bytes(), rng);
        socket.write_all(&last).await?;
        socket.shutdown().await?;
        self.world.net.case("half-close");
        while read(&mut socket, &mut scanner).await? > 0 {}
        Ok(())
    }
}

/// Reads something and checks it; how many bytes.
async fn read(socket: &mut Socket, scanner: &mut Scanner) -> std::io::Result<u64> {
    let mut buffer = [0; 2048];
    let count = socket.read(&mut buffer).await?;
    let mut rest = &buffer[..count];
    while !rest.is_empty() {
        let (used, seen) = scanner.advance(rest).map_err(std::io::Error::other)?;
        rest = &rest[used..];
        if let Some(Seen::Head { status }) = seen
            && status != 101
        {
            return Err(std::io::Error::other("refused"));
        }
    }
    Ok(count as u64)
}

/// A masked frame with a short payload.
fn frame(opcode: u8, payload: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut mask = [0; 4];
    rng.fill(&mut mask);
    let len = u8::try_from(payload.len().min(125)).unwrap_or(125);
    let mut bytes = vec![0x80 | opcode, 0x80 | len];
    bytes.extend(mask);
    bytes.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}
