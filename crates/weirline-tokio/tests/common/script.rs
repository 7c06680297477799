//! A stream that does what a script says: short reads and writes, spurious `Pending`s, errors at chosen points.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One answer to a read. When no step is left, reads wait.
#[derive(Clone, Debug)]
pub enum Read {
    /// These bytes, in as many reads as the buffer makes of them.
    Data(Vec<u8>),
    /// `Pending`, and an immediate wake-up.
    Yield,
    /// The end of the stream, for ever.
    Eof,
    Error(ErrorKind),
}

/// One answer to a write or flush. When no step is left, everything is taken.
#[derive(Clone, Copy, Debug)]
pub enum Write {
    /// At most so many bytes.
    Take(usize),
    /// `Pending`, and an immediate wake-up.
    Yield,
    /// `Pending` until [`Script::unblock`].
    Block,
    /// Nothing is taken, and that is called success.
    Zero,
    Error(ErrorKind),
}

#[derive(Debug, Default)]
pub struct State {
    pub reads: VecDeque<Read>,
    pub writes: VecDeque<Write>,
    pub flushes: VecDeque<Write>,
    pub vectored: bool,
    pub written: Vec<u8>,
    pub read_calls: usize,
    /// The room of each read that brought something.
    pub read_rooms: Vec<usize>,
    pub write_calls: usize,
    pub flush_calls: usize,
    pub unflushed: usize,
    pub shut_down: bool,
    pub dropped: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Held by the test and, as [`Script::stream`], by the driver.
#[derive(Clone, Debug, Default)]
pub struct Script(Rc<RefCell<State>>);

/// The driver's end.
#[derive(Debug)]
pub struct Stream(Rc<RefCell<State>>);

impl Script {
    pub fn new(reads: impl IntoIterator<Item = Read>) -> Self {
        let script = Self::default();
        script.0.borrow_mut().reads.extend(reads);
        script
    }

    pub fn writes(self, writes: impl IntoIterator<Item = Write>) -> Self {
        self.0.borrow_mut().writes.extend(writes);
        self
    }

    pub fn flushes(self, flushes: impl IntoIterator<Item = Write>) -> Self {
        self.0.borrow_mut().flushes.extend(flushes);
        self
    }

    pub fn vectored(self, vectored: bool) -> Self {
        self.0.borrow_mut().vectored = vectored;
        self
    }

    pub fn stream(&self) -> Stream {
        Stream(self.0.clone())
    }

    pub fn state(&self) -> std::cell::RefMut<'_, State> {
        self.0.borrow_mut()
    }

    pub fn written(&self) -> Vec<u8> {
        self.0.borrow().written.clone()
    }

    /// More input comes.
    pub fn push(&self, read: Read) {
        let mut state = self.0.borrow_mut();
        state.reads.push_back(read);
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }

    /// Removes a `Block` at the front.
    pub fn unblock(&self) {
        let mut state = self.0.borrow_mut();
        for steps in ["writes", "flushes"] {
            let steps = if steps == "writes" {
                &mut state.writes
            } else {
                &mut state.flushes
            };
            if matches!(steps.front(), Some(Write::Block)) {
                steps.pop_front();
            }
        }
        if let Some(writer) = state.writer.take() {
            writer.wake();
        }
    }
}

impl State {
    /// What to do with an attempt to write or flush: how many bytes are allowed.
    fn step(&mut self, flush: bool, task: &Context<'_>) -> Poll<io::Result<usize>> {
        let steps = if flush {
            &mut self.flushes
        } else {
            &mut self.writes
        };
        match steps.front().copied() {
            None => Poll::Ready(Ok(usize::MAX)),
            Some(Write::Block) => {
                self.writer = Some(task.waker().clone());
                Poll::Pending
            }
            Some(step) => {
                steps.pop_front();
                match step {
                    Write::Take(max) => Poll::Ready(Ok(max)),
                    Write::Yield => {
                        task.waker().wake_by_ref();
                        Poll::Pending
                    }
                    Write::Zero => Poll::Ready(Ok(0)),
                    Write::Error(kind) => Poll::Ready(Err(kind.into())),
                    Write::Block => unreachable!("handled above"),
                }
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.0.borrow_mut();
        state.read_calls += 1;
        match state.reads.pop_front() {
            None => {
                state.reader = Some(task.waker().clone());
                Poll::Pending
            }
            Some(Read::Yield) => {
                task.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Read::Eof) => {
                state.reads.push_front(Read::Eof);
                Poll::Ready(Ok(()))
            }
            Some(Read::Error(kind)) => Poll::Ready(Err(kind.into())),
            Some(Read::Data(mut data)) => {
                state.read_rooms.push(buf.remaining());
                let len = data.len().min(buf.remaining());
                buf.put_slice(&data[..len]);
                data.drain(..len);
                if !data.is_empty() {
                    state.reads.push_front(Read::Data(data));
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(task, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.0.borrow_mut();
        assert!(!state.shut_down, "a write behind the end of the stream");
        assert!(
            bufs.iter().all(|buf| !buf.is_empty()),
            "an empty slice: some transports end a stream for it"
        );
        state.write_calls += 1;
        let max = std::task::ready!(state.step(false, task))?;
        let bufs = if state.vectored { bufs } else { &bufs[..1] };
        let mut taken = 0;
        for buf in bufs {
            let len = buf.len().min(max - taken);
            state.written.extend_from_slice(&buf[..len]);
            taken += len;
        }
        state.unflushed += taken;
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().vectored
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.borrow_mut();
        state.flush_calls += 1;
        std::task::ready!(state.step(true, task))?;
        state.unflushed = 0;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.borrow_mut();
        // As with TLS or a buffered writer: what waits to be flushed goes first.
        state.unflushed = 0;
        state.shut_down = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.borrow_mut().dropped = true;
    }
}
