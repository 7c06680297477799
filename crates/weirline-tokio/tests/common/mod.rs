//! What the tests share: peers made by hand, streams that follow a script, handlers that write down what they see.
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each test file uses a part of this"
)]

mod script;
mod shuffle;

use std::cell::RefCell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use weirline_codec::{CloseFrame, FrameHeader, MaskKey, OpCode, apply_mask};
use weirline_tokio::*;

pub use script::{Read, Script, Write};
pub use shuffle::{Noise, Shuffle, When, dropped, drops};

pub const SECOND: Duration = Duration::from_secs(1);

pub fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

/// A server's driver.
pub fn server<S, H>(stream: S, config: Config, handler: H) -> Driver<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler + Unpin,
{
    let connection = Connection::server(Arc::new(config), now());
    Driver::new(stream, connection, Bytes::new(), handler, ())
}

/// A client's driver.
pub fn client<S, H>(stream: S, config: Config, handler: H) -> Driver<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler + Unpin,
{
    let connection = Connection::client(Arc::new(config), Box::new(|| [1, 2, 3, 4]), now());
    Driver::new(stream, connection, Bytes::new(), handler, ())
}

/// The default configuration, changed.
pub fn config(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    change(&mut config);
    config
}

/// A client's frame, masked.
pub fn masked(opcode: OpCode, fin: bool, payload: &[u8]) -> Vec<u8> {
    encode(opcode, fin, payload, Some(MaskKey::new([7, 11, 13, 17])))
}

/// A server's frame.
pub fn unmasked(opcode: OpCode, fin: bool, payload: &[u8]) -> Vec<u8> {
    encode(opcode, fin, payload, None)
}

fn encode(opcode: OpCode, fin: bool, payload: &[u8], mask: Option<MaskKey>) -> Vec<u8> {
    let mut header = FrameHeader::data(opcode, fin, payload.len() as u64);
    header.mask = mask;
    let mut wire = header.encode().to_vec();
    let body = wire.len();
    wire.extend_from_slice(payload);
    if let Some(key) = mask {
        apply_mask(key, 0, &mut wire[body..]);
    }
    wire
}

/// The payload of a Close frame.
pub fn close_payload(code: u16) -> Vec<u8> {
    let code = CloseCode::try_from(code).unwrap();
    CloseFrame {
        code: Some(code),
        reason: "",
    }
    .encode()
    .to_vec()
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub opcode: OpCode,
    pub fin: bool,
    pub payload: Vec<u8>,
}

/// Takes a frame from the front of `wire`, unmasked.
pub fn decode(wire: &mut Vec<u8>) -> Option<Frame> {
    let (header, start) = FrameHeader::decode(wire).expect("a legal header")?;
    let end = start + usize::try_from(header.payload_len).unwrap();
    if wire.len() < end {
        return None;
    }
    let mut payload = wire[start..end].to_vec();
    if let Some(key) = header.mask {
        apply_mask(key, 0, &mut payload);
    }
    wire.drain(..end);
    Some(Frame {
        opcode: header.opcode,
        fin: header.fin,
        payload,
    })
}

/// All frames of a wire, which must end between two.
pub fn decode_all(mut wire: Vec<u8>) -> Vec<Frame> {
    let frames = std::iter::from_fn(|| decode(&mut wire)).collect();
    assert!(wire.is_empty(), "the wire ends inside a frame");
    frames
}

/// A client made by hand.
pub struct Peer<S> {
    pub stream: S,
    received: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            received: Vec::new(),
        }
    }

    pub async fn send(&mut self, opcode: OpCode, payload: &[u8]) {
        self.stream
            .write_all(&masked(opcode, true, payload))
            .await
            .unwrap();
    }

    pub async fn close(&mut self, code: u16) {
        self.send(OpCode::Close, &close_payload(code)).await;
    }

    /// The next frame; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = decode(&mut self.received) {
                return Some(frame);
            }
            let mut chunk = vec![0; 64 << 10];
            let read = self.stream.read(&mut chunk).await.expect("no reset");
            if read == 0 {
                assert!(self.received.is_empty(), "the stream ends inside a frame");
                return None;
            }
            self.received.extend_from_slice(&chunk[..read]);
        }
    }

    /// The code of the next frame, which must be a Close.
    pub async fn next_close(&mut self) -> Option<u16> {
        let frame = self.next().await.expect("a Close before the end of the stream");
        assert_eq!(frame.opcode, OpCode::Close, "{frame:?}");
        CloseFrame::parse(&frame.payload)
            .unwrap()
            .code
            .map(CloseCode::value)
    }
}

/// What a [`Recorder`] saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Message(Vec<u8>),
    Ping,
    Pong,
    CloseReceived(Option<u16>),
    End(Cause),
}

type Script1 = Box<dyn FnMut(&mut Context<'_>, &Event<'_>) -> Result<(), HandlerError>>;

/// Writes down what it sees; then `then` may do something.
pub struct Recorder {
    pub seen: Rc<RefCell<Vec<Seen>>>,
    then: Script1,
}

impl Recorder {
    pub fn new() -> Self {
        Self::then(|_, _| Ok(()))
    }

    pub fn then(
        then: impl FnMut(&mut Context<'_>, &Event<'_>) -> Result<(), HandlerError> + 'static,
    ) -> Self {
        Self {
            seen: Rc::default(),
            then: Box::new(then),
        }
    }

    /// Answers each message with itself.
    pub fn echo() -> Self {
        Self::then(|cx, event| match event {
            Event::Message { kind, payload } => cx.send(*kind, payload).map_err(HandlerError::new),
            _ => Ok(()),
        })
    }
}

impl Handler for Recorder {
    fn on_event(&mut self, cx: &mut Context<'_>, event: Event<'_>) -> Result<(), HandlerError> {
        self.seen.borrow_mut().push(match &event {
            Event::Message { payload, .. } => Seen::Message(payload.to_vec()),
            Event::Ping { .. } => Seen::Ping,
            Event::Pong { .. } => Seen::Pong,
            Event::CloseReceived { code, .. } => Seen::CloseReceived(code.map(CloseCode::value)),
            other => panic!("unexpected: {other:?}"),
        });
        (self.then)(cx, &event)
    }

    fn on_end(&mut self, end: &End) {
        self.seen.borrow_mut().push(Seen::End(end.cause.clone()));
    }
}

/// Codes and cause of an end, to compare.
pub fn facts(end: &End) -> (Option<u16>, Option<u16>, Cause) {
    (
        end.sent.map(CloseCode::value),
        end.received.map(CloseCode::value),
        end.cause.clone(),
    )
}

/// Polls a future at most `polls` times, then drops it.
pub async fn cut<F: Future>(future: F, polls: u32) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(move |task| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(task) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Counts how often a future is polled.
pub struct Counted<F> {
    pub future: Pin<Box<F>>,
    pub polls: Rc<RefCell<u64>>,
}

impl<F: Future> Counted<F> {
    pub fn new(future: F) -> Self {
        Self {
            future: Box::pin(future),
            polls: Rc::default(),
        }
    }
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, task: &mut std::task::Context<'_>) -> Poll<F::Output> {
        *self.polls.borrow_mut() += 1;
        assert!(*self.polls.borrow() < 1_000_000, "a busy loop");
        self.future.as_mut().poll(task)
    }
}

/// A runtime whose clock stands still while anything can run, and jumps when nothing can.
pub fn paused() -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

/// A handler's rest: for a second it takes no message. Its handler passes `poll_work` and `next_wake` on to it.
#[derive(Default)]
pub struct Rest(Option<std::time::Instant>);

impl Rest {
    pub fn begin(&mut self, cx: &mut Context<'_>) {
        assert_eq!(self.0, None, "no message comes while it rests");
        self.0 = Some(cx.now() + SECOND);
        cx.set_reading(false);
    }

    pub fn poll_work(&mut self, cx: &mut Context<'_>) {
        if self.0.take_if(|until| cx.now() >= *until).is_some() {
            cx.set_reading(true);
        }
    }

    pub fn next_wake(&self) -> Option<std::time::Instant> {
        self.0
    }

    pub fn is_over(&self) -> bool {
        self.0.is_none()
    }
}

/// Lets everything run that can run without time going by.
pub async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// Panics "on purpose" print nothing.
pub fn quiet_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info
            .payload_as_str()
            .is_some_and(|text| text.starts_with("on purpose"))
        {
            default(info);
        }
    }));
}
