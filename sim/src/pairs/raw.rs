//! A peer that speaks the bytes by hand: it can do what the shipped driver never does.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::ReadBuf;

use super::{Context, Frame, Pace, Raw, Sequence, Step, Wire, payload};
use crate::conn::Side;
use crate::wire::{Scanner, Seen};

/// Runs a peer by hand on a stream whose handshake is done, until it has left.
pub async fn run_raw<S: Wire>(stream: S, residue: Bytes, plan: &Raw, context: Context) {
    let steps = plan.steps.iter().cloned().collect();
    let time_up = tokio::time::sleep(Duration::from_millis(context.end_ms + STAY_MS));
    context.log.deeds.borrow_mut().was_slow = plan.pace != Pace::Full;
    let mut peer = Peer {
        stream: Some(stream),
        plan: plan.clone(),
        pace: plan.pace,
        scanner: Scanner::of_frames(context.side.receives()),
        steps,
        waiting: None,
        resting: None,
        time_up: Box::pin(time_up),
        ordered: None,
        out: BytesMut::new(),
        close_sent: false,
        finishing: false,
        fin_done: false,
        read_done: false,
        pinged: VecDeque::new(),
        context: context.clone(),
    };
    peer.heard(&residue);
    std::future::poll_fn(|cx| peer.poll(cx)).await;
    let now = context.now();
    context.log.raw.borrow_mut().left.get_or_insert(now);
    context.log.done.set(Some(now));
}

/// Whether a step sends something.
fn is_said(step: &Step) -> bool {
    matches!(
        step,
        Step::Frame(_) | Step::Bytes(_) | Step::Send { .. } | Step::Close { .. }
    )
}

/// How much longer than the rest a peer by hand stays.
const STAY_MS: u64 = 3_000;
/// Runs of labels that are remembered.
const LABELS_MAX: usize = 64;
/// What is made ahead of the socket.
const AHEAD_BYTES: usize = 64 * 1024;

type Wait = Pin<Box<dyn Future<Output = ()>>>;

struct Peer<S> {
    /// None when it has left.
    stream: Option<S>,
    plan: Raw,
    pace: Pace,
    scanner: Scanner,
    steps: VecDeque<Step>,
    /// What the next step waits for.
    waiting: Option<Wait>,
    /// Until the next read.
    resting: Option<Wait>,
    time_up: Wait,
    /// Wakes when a rule orders something.
    ordered: Option<Wait>,
    out: BytesMut,
    close_sent: bool,
    /// It ends its direction when all is written.
    finishing: bool,
    fin_done: bool,
    read_done: bool,
    /// When its pings were sent.
    pinged: VecDeque<Duration>,
    context: Context,
}

impl<S: Wire> Peer<S> {
    /// Does what can be done; ready when it has left.
    fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        loop {
            if self.time_up.as_mut().poll(cx).is_ready() {
                self.leave();
            }
            let mut progress = self.obey(cx);
            progress |= self.step(cx);
            progress |= self.write(cx);
            progress |= self.read(cx);
            if self.stream.is_none() {
                return Poll::Ready(());
            }
            let idle = self.steps.is_empty() && self.waiting.is_none() && self.out.is_empty();
            if idle && self.read_done && (self.fin_done || self.failed()) {
                self.leave();
                return Poll::Ready(());
            }
            if !progress {
                return Poll::Pending;
            }
        }
    }

    fn leave(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.context.log.raw.borrow_mut().socket_error = stream.error();
        }
    }

    fn failed(&self) -> bool {
        let raw = self.context.log.raw.borrow();
        raw.write_error.is_some() || matches!(raw.reading, Some(Err(_)))
    }

    /// Takes orders of rules.
    fn obey(&mut self, cx: &mut TaskContext<'_>) -> bool {
        let Some(conn) = self.context.conn.clone() else {
            return false;
        };
        loop {
            let order = conn.orders[self.context.side.index()].borrow_mut().pop_front();
            if let Some(order) = order {
                self.act(&order, Sequence::Orders);
                return true;
            }
            let conn = Rc::clone(&conn);
            let wait = self
                .ordered
                .get_or_insert_with(|| Box::pin(async move { conn.changed.notified().await }));
            if wait.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.ordered = None;
        }
    }

    /// Does the next step, when it is time.
    fn step(&mut self, cx: &mut TaskContext<'_>) -> bool {
        if let Some(wait) = &mut self.waiting {
            if wait.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.waiting = None;
            return true;
        }
        if self.out.len() > AHEAD_BYTES {
            return false;
        }
        match self.steps.pop_front() {
            None => return false,
            Some(Step::Sleep { ms }) => {
                self.waiting = Some(Box::pin(tokio::time::sleep(Duration::from_millis(ms))));
            }
            Some(Step::Await { moment, ms_max }) => {
                let conn = self.context.conn.clone();
                self.waiting = Some(Box::pin(async move {
                    super::await_moment(conn.as_ref(), &moment, ms_max).await;
                }));
            }
            Some(step) => self.act(&step, Sequence::Steps),
        }
        true
    }

    fn act(&mut self, step: &Step, sequence: Sequence) {
        if is_said(step) && !self.may_speak() {
            return;
        }
        match step {
            Step::Send { count, bytes } => {
                for _ in 0..*count {
                    let number = self.context.log.accepted[sequence.index()].get();
                    let message = payload(sequence, number, *bytes);
                    let opcode = if super::is_text(number) { 1 } else { 2 };
                    self.frame(0x80 | opcode, &message, None, false);
                    self.context.log.accepted[sequence.index()].set(number + 1);
                }
            }
            Step::Close { code } => self.close(*code),
            Step::Frame(frame) => self.frames(frame),
            Step::Bytes(bytes) => self.out.extend_from_slice(bytes),
            Step::Read(pace) => {
                self.context.log.deeds.borrow_mut().was_slow |= *pace != Pace::Full;
                self.pace = *pace;
                self.resting = None;
            }
            Step::Fin => {
                self.finishing = true;
                self.say_no_more();
            }
            Step::Rst { drain } => {
                if let Some(stream) = self.stream.take() {
                    stream.reset(*drain);
                }
            }
            Step::Quit => self.leave(),
            // What only an application does.
            _ => {}
        }
    }

    fn close(&mut self, code: u16) {
        let payload = code.to_be_bytes();
        let payload = if code == 1005 { &[][..] } else { &payload[..] };
        self.frame(0x88, payload, None, false);
        self.close_sent = true;
        self.finishing |= self.plan.fins;
        if !self.plan.rogue {
            self.say_no_more();
        }
    }

    fn frames(&mut self, frame: &Frame) {
        let len = usize::try_from(frame.bytes).unwrap_or(usize::MAX);
        let first = frame.opcode | if frame.fin { 0x80 } else { 0 };
        for _ in 0..frame.count {
            if frame.opcode == 9 {
                self.pinged.push_back(self.context.now());
            }
            self.frame(first, &vec![frame.fill; len], frame.declared, frame.mask_wrong);
        }
    }

    /// Queues a frame: `first` is its first byte.
    fn frame(&mut self, first: u8, payload: &[u8], declared: Option<u64>, mask_wrong: bool) {
        let masked = (self.context.side == Side::Client) != mask_wrong;
        let bit = if masked { 0x80 } else { 0 };
        let len = declared.unwrap_or(payload.len() as u64);
        self.out.extend_from_slice(&[first]);
        match (u8::try_from(len), u16::try_from(len)) {
            (Ok(len), _) if len < 126 => self.out.extend_from_slice(&[bit | len]),
            (_, Ok(len)) => {
                self.out.extend_from_slice(&[bit | 126]);
                self.out.extend_from_slice(&len.to_be_bytes());
            }
            _ => {
                self.out.extend_from_slice(&[bit | 127]);
                self.out.extend_from_slice(&len.to_be_bytes());
            }
        }
        if !masked {
            return self.out.extend_from_slice(payload);
        }
        let mask: [u8; 4] = self.context.entropy.array();
        self.out.extend_from_slice(&mask);
        let keys = mask.iter().cycle();
        self.out
            .extend(payload.iter().zip(keys).map(|(byte, key)| byte ^ key));
    }

    fn write(&mut self, cx: &mut TaskContext<'_>) -> bool {
        let Some(stream) = &mut self.stream else {
            return false;
        };
        if !self.out.is_empty() {
            return match Pin::new(stream).poll_write(cx, &self.out) {
                Poll::Pending => false,
                Poll::Ready(Ok(count)) => {
                    self.out.advance(count);
                    true
                }
                Poll::Ready(Err(error)) => self.write_failed(error.kind()),
            };
        }
        if !self.finishing || self.fin_done {
            return false;
        }
        match Pin::new(stream).poll_shutdown(cx) {
            Poll::Pending => false,
            Poll::Ready(Ok(())) => {
                self.fin_done = true;
                true
            }
            Poll::Ready(Err(error)) => self.write_failed(error.kind()),
        }
    }

    /// Behind its Close only a rogue says anything, and nobody behind its FIN.
    fn may_speak(&self) -> bool {
        !self.finishing && (!self.close_sent || self.plan.rogue)
    }

    /// Nothing more is to be said.
    fn say_no_more(&mut self) {
        self.steps.retain(|step| !is_said(step));
    }

    fn write_failed(&mut self, kind: io::ErrorKind) -> bool {
        self.out.clear();
        self.steps.clear();
        self.waiting = None;
        self.fin_done = true;
        self.context.log.raw.borrow_mut().write_error.get_or_insert(kind);
        true
    }

    fn read(&mut self, cx: &mut TaskContext<'_>) -> bool {
        if self.read_done || self.pace == Pace::Stopped {
            return false;
        }
        if let Some(rest) = &mut self.resting {
            if rest.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.resting = None;
        }
        let mut bytes = vec![0; 16 * 1024];
        match self.poll_read(cx, &mut bytes) {
            Poll::Pending => return false,
            Poll::Ready(Ok(0)) => {
                self.read_done = true;
                self.context.log.raw.borrow_mut().reading = Some(Ok(()));
                if self.plan.fins {
                    self.finishing = true;
                    self.say_no_more();
                }
            }
            Poll::Ready(Ok(count)) => {
                if let Pace::Each(ms) = self.pace {
                    self.resting = Some(Box::pin(tokio::time::sleep(Duration::from_millis(ms))));
                }
                self.heard(&bytes[..count]);
            }
            Poll::Ready(Err(error)) => {
                self.read_done = true;
                self.context.log.raw.borrow_mut().reading = Some(Err(error.kind()));
            }
        }
        true
    }

    fn poll_read(&mut self, cx: &mut TaskContext<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Pending;
        };
        let mut buf = ReadBuf::new(bytes);
        ready!(Pin::new(stream).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// Looks at bytes that came, and answers as planned.
    fn heard(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let Ok((used, seen)) = self.scanner.advance(rest) else {
                // The wire's own oracle has said so already, or another cut it short.
                return self.remember("GARBAGE");
            };
            rest = &rest[used..];
            if let Some(seen) = seen {
                self.remember(seen.label());
                self.answer(seen);
            }
        }
    }

    fn remember(&self, label: &str) {
        let labels = &mut self.context.log.raw.borrow_mut().labels;
        let room = labels.len() < LABELS_MAX;
        match labels.last_mut() {
            Some((last, count)) if last == label => *count += 1,
            _ if room => labels.push((label.to_owned(), 1)),
            _ => {}
        }
    }

    fn answer(&mut self, seen: Seen) {
        match seen {
            Seen::Ping(payload) if self.plan.pongs && !self.close_sent && !self.finishing => {
                self.frame(0x8a, &payload, None, false);
            }
            Seen::Pong(_) => {
                if let Some(sent) = self.pinged.pop_front() {
                    let now = self.context.now();
                    let rtt = (now, now.saturating_sub(sent));
                    self.context.log.raw.borrow_mut().rtts.push(rtt);
                }
            }
            Seen::Close { code, reason } => {
                self.context.log.raw.borrow_mut().close = Some((code, reason));
                if self.plan.answers && !self.close_sent && !self.fin_done {
                    self.say_no_more();
                    self.close(code);
                }
            }
            _ => {}
        }
    }
}
