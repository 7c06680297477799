//! Connections share their thread: one with endless work takes its turn, then its neighbours have theirs.

mod common;

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use common::*;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use weirline_codec::OpCode;
use weirline_tokio::*;

/// What happened on a thread, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The driver with this number begins a turn.
    Turn(usize),
    Read(usize, usize),
    Written(usize, usize),
}

type Steps = Rc<RefCell<Vec<Step>>>;

/// A stream that always has frames to read, or none, and takes all that is written.
struct Endless {
    number: usize,
    frames: Option<Vec<u8>>,
    steps: Steps,
}

impl AsyncRead for Endless {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(frames) = &self.frames else {
            return Poll::Pending;
        };
        // Whole frames, as many as there is room for.
        let count = buf.remaining() / frames.len();
        buf.put_slice(&frames.repeat(count));
        let read = count * frames.len();
        self.steps.borrow_mut().push(Step::Read(self.number, read));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Endless {
    fn poll_write(self: Pin<&mut Self>, task: &mut TaskContext<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(task, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = bufs.iter().map(|buf| buf.len()).sum();
        self.steps.borrow_mut().push(Step::Written(self.number, written));
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Sends as much as there is room for, for ever.
struct Talker;

impl Handler for Talker {
    fn on_event(&mut self, _: &mut Context<'_>, _: Event<'_>) -> Result<(), HandlerError> {
        Ok(())
    }

    fn poll_work(&mut self, cx: &mut Context<'_>, _: &mut TaskContext<'_>) -> Result<(), HandlerError> {
        while cx.send_capacity() > 0 {
            cx.send(MessageKind::Binary, &[7; 1000])
                .map_err(HandlerError::new)?;
        }
        Ok(())
    }
}

/// Takes everything and says nothing.
struct Quiet;

impl Handler for Quiet {
    fn on_event(&mut self, _: &mut Context<'_>, _: Event<'_>) -> Result<(), HandlerError> {
        Ok(())
    }
}

/// Answers each message with itself.
struct Echo;

impl Handler for Echo {
    fn on_event(&mut self, cx: &mut Context<'_>, event: Event<'_>) -> Result<(), HandlerError> {
        match event {
            Event::Message { kind, payload } => cx.send(kind, &payload).map_err(HandlerError::new),
            _ => Ok(()),
        }
    }
}

/// A driver whose turns are written down, each followed by `and`.
async fn noted<F: Future>(number: usize, steps: Steps, driver: F, mut and: impl FnMut(usize)) -> F::Output {
    let mut driver = std::pin::pin!(driver);
    let mut turns = 0;
    std::future::poll_fn(move |task| {
        steps.borrow_mut().push(Step::Turn(number));
        let polled = driver.as_mut().poll(task);
        turns += 1;
        and(turns);
        polled
    })
    .await
}

fn thread() -> tokio::runtime::Runtime {
    let builder = &mut tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

const CONNECTIONS: usize = 8;
const ROUNDS: usize = 12;

/// Eight connections that are always ready: with endless input that is answered, with endless input that is not, and with endless
/// output. Nobody has a second turn before everybody had a first, and no turn is longer than its budget.
#[test]
fn each_ready_connection_has_its_turn_before_any_has_a_second() {
    let steps = Steps::default();
    let local = LocalSet::new();
    for number in 0..CONNECTIONS {
        let frames = match number % 3 {
            0 => Some(masked(OpCode::Binary, true, &[5; 100])),
            1 => Some(masked(OpCode::Binary, true, &[5; 50_000])),
            _ => None,
        };
        let stream = Endless {
            number,
            frames,
            steps: steps.clone(),
        };
        match number % 3 {
            0 => local.spawn_local(noted(number, steps.clone(), driver(stream, Echo), |_| {})),
            1 => local.spawn_local(noted(number, steps.clone(), driver(stream, Quiet), |_| {})),
            _ => local.spawn_local(noted(number, steps.clone(), driver(stream, Talker), |_| {})),
        };
    }
    let enough = async {
        while steps.borrow().iter().filter_map(turn).count() < CONNECTIONS * ROUNDS {
            tokio::task::yield_now().await;
        }
    };
    local.block_on(&thread(), enough);

    let steps = steps.take();
    let turns: Vec<usize> = steps.iter().filter_map(turn).collect();
    for (round, turns) in turns.chunks_exact(CONNECTIONS).enumerate() {
        let mut turns = turns.to_vec();
        turns.sort_unstable();
        assert_eq!(turns, (0..CONNECTIONS).collect::<Vec<_>>(), "round {round}");
    }
    let begins = steps.chunk_by(|_, next| !matches!(next, Step::Turn(_)));
    for turn in begins {
        let (mut read, mut written, mut most) = (0, 0, 0);
        for step in turn {
            match step {
                Step::Read(_, bytes) => read += bytes,
                Step::Written(_, bytes) => {
                    written += bytes;
                    most = most.max(*bytes);
                }
                Step::Turn(_) => {}
            }
        }
        assert!(read <= 512 << 10, "{read} read in one turn: {:?}", turn[0]);
        assert!(
            written < (256 << 10) + most,
            "{written} written in one turn: {:?}",
            turn[0]
        );
    }
}

fn turn(step: &Step) -> Option<usize> {
    match step {
        Step::Turn(number) => Some(*number),
        _ => None,
    }
}

fn driver<H: Handler + Unpin>(stream: Endless, handler: H) -> Driver<Endless, H> {
    server(stream, Config::default(), handler)
}

/// A connection that is ready because something came in its socket, of which the thread learns when it asks the kernel: a busy
/// neighbour lets it ask after each turn.
#[test]
fn a_socket_that_becomes_ready_waits_for_one_turn_of_a_busy_neighbour() {
    const WRITTEN_AT: usize = 100;
    let steps = Steps::default();
    let local = LocalSet::new();
    let heard_at = local.block_on(&thread(), async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Listener::local_addr(&listener).unwrap();
        let mut peer = std::net::TcpStream::connect(address).unwrap();
        let (socket, _): (TcpStream, _) = Listener::accept(&listener).await.unwrap();

        let busy_turns = Rc::new(Cell::new(0));
        let (heard, hear) = tokio::sync::oneshot::channel();
        let (now, mut heard) = (busy_turns.clone(), Some(heard));
        let neighbour = Recorder::then(move |_, _| {
            heard.take().unwrap().send(now.get()).unwrap();
            Ok(())
        });
        local.spawn_local(server(socket, Config::default(), neighbour));

        let stream = Endless {
            number: 0,
            frames: Some(masked(OpCode::Binary, true, &[5; 50_000])),
            steps: steps.clone(),
        };
        let busy = noted(0, steps, driver(stream, Quiet), move |turns| {
            busy_turns.set(turns);
            if turns == WRITTEN_AT {
                peer.write_all(&masked(OpCode::Text, true, b"here")).unwrap();
            }
        });
        local.spawn_local(busy);
        hear.await.unwrap()
    });
    assert_eq!(heard_at, WRITTEN_AT);
}
