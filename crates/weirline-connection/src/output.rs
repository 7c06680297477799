//! What waits to be sent, in the order in which it may go out.
//!
//! ```text
//!  the rest of the frame in hand ▶ control lane ▶ the message in hand ▶ queue of messages ▶ Close
//! ```
//! Small messages are encoded at once, one behind the other, into an arena, so that any number of them leaves as one slice.
//! Large ones are gathered from where they lie. Nothing is moved from the front of a buffer when the transport takes part of it.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use weirline_codec::{FrameHeader, HEADER_BYTES_MAX, MaskKey, OpCode, apply_mask};
use weirline_flow::{BoundedQueue, BreakCause, Counters, Push, QueueLimits, Strategy, Tally};

use crate::large::Large;

#[derive(Debug)]
pub(crate) struct Output {
    /// Whole messages, none of whose bytes the transport has taken.
    queue: BoundedQueue<Item>,
    /// How many of them are large.
    large_queued: usize,
    /// The `inline_rest` bytes of a frame in hand, then the queue's inline messages in order.
    arena: BytesMut,
    /// Whether `arena` belongs to somebody who wants it back.
    lent: bool,
    inline_rest: usize,
    /// A large message of which the transport has taken some bytes.
    in_hand: Option<Box<Large>>,
    control: ControlLane,
    /// The encoded Close frame, with the last words before it: goes out last.
    close: Option<Bytes>,
    /// Whether the transport has taken a part of `close`.
    close_begun: bool,
    /// A message was given up between two of its fragments: no other may begin (RFC 6455 §5.4).
    cut: bool,
}

#[derive(Debug)]
enum Item {
    /// So many bytes of the arena: messages that were sent in one moment, each one frame.
    Inline(usize),
    Large(Box<Large>),
}

/// What became of bytes that the transport took.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) messages: u64,
    pub(crate) longest_wait: Duration,
}

/// Why a message was not queued.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    Broken(BreakCause),
}

/// The first bit of a frame that ends its message.
const FIN: u8 = 0x80;

/// What a queued message costs besides its bytes.
const MESSAGE_OVERHEAD_BYTES: usize = 40;

/// Shared payloads up to this length are copied behind one another; longer ones are gathered.
const COPIED_BYTES_MAX: usize = 8 << 10;

/// Lent payloads must be copied anyway.
const COPIED_LENT_BYTES_MAX: usize = 64 << 10;

impl Output {
    /// While less than `window` bytes are queued, one message of any size is taken; a byte bound below the window rules alone.
    pub(crate) fn new(limits: QueueLimits, strategy: Strategy, window: usize) -> Self {
        let any_size_below = if window < limits.bytes { window } else { 0 };
        Self {
            queue: BoundedQueue::new(limits, strategy).any_size_below(any_size_below),
            large_queued: 0,
            arena: BytesMut::new(),
            lent: false,
            inline_rest: 0,
            in_hand: None,
            control: ControlLane::default(),
            close: None,
            close_begun: false,
            cut: false,
        }
    }

    /// Queues a small message as one frame, or a large one in fragments. `mask` gives keys on a client.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        opcode: OpCode,
        prefix: &[u8],
        payload: Payload<'_>,
        fragment: usize,
        mask: Option<&mut (dyn FnMut() -> MaskKey + '_)>,
    ) -> Result<Tally, Refused> {
        let len = prefix.len() + payload.as_slice().len();
        let cost = cost(len, fragment, mask.is_some());
        if len <= payload.copied_bytes_max().min(fragment) {
            let frame = cost - MESSAGE_OVERHEAD_BYTES;
            let dropped = if self.lengthen_run(now, frame) {
                Tally::default()
            } else {
                let dropped = self.make_room(now, cost)?;
                self.push(now, Item::Inline(frame), cost);
                dropped
            };
            let before = self.arena.len();
            put_data(
                &mut self.arena,
                opcode,
                prefix,
                payload.as_slice(),
                mask.map(|key| key()),
            );
            assert_eq!(
                self.arena.len() - before,
                frame,
                "room was made for another length"
            );
            Ok(dropped)
        } else {
            let dropped = self.make_room(now, cost)?;
            let large = Self::large(opcode, prefix, payload, fragment, mask);
            assert_eq!(
                large.wire_len() + MESSAGE_OVERHEAD_BYTES,
                cost,
                "room was made for another length"
            );
            self.large_queued += 1;
            self.push(now, Item::Large(Box::new(large)), cost);
            Ok(dropped)
        }
    }

    /// Queues a message of at most 125 bytes, unmasked, where it is the first or can stand behind another one of this moment; says whether that
    /// was done. The same as [`send`](Self::send), for the case that comes most often.
    #[inline]
    pub(crate) fn send_small(&mut self, now: Instant, opcode: OpCode, payload: &[u8]) -> bool {
        let Ok(len @ 0..=125) = u8::try_from(payload.len()) else {
            return false;
        };
        let frame = 2 + payload.len();
        let queued = self.lengthen_run(now, frame)
            || self
                .queue
                .push_first(now, Item::Inline(frame), frame + MESSAGE_OVERHEAD_BYTES);
        if queued {
            self.arena.reserve(frame);
            self.arena.extend_from_slice(&[FIN | opcode as u8, len]);
            self.arena.extend_from_slice(payload);
        }
        queued
    }

    /// Adds a frame of so many bytes to the newest run, where that is of this moment and there is room; says whether that was done.
    #[inline(always)]
    fn lengthen_run(&mut self, now: Instant, frame: usize) -> bool {
        self.queue
            .merge(now, frame + MESSAGE_OVERHEAD_BYTES, |newest| match newest {
                Item::Inline(run) => {
                    *run += frame;
                    true
                }
                Item::Large(_) => false,
            })
    }

    fn push(&mut self, now: Instant, item: Item, cost: usize) {
        match self.queue.push(now, item, cost) {
            Push::Queued => {}
            refused => unreachable!("room was made before: {refused:?}"),
        }
    }

    fn large(
        opcode: OpCode,
        prefix: &[u8],
        payload: Payload<'_>,
        fragment: usize,
        mask: Option<&mut (dyn FnMut() -> MaskKey + '_)>,
    ) -> Large {
        match (mask, payload) {
            (Some(key), payload) => Large::masked(opcode, prefix, payload.as_slice(), fragment, key),
            (None, Payload::Shared(payload)) if prefix.len() <= fragment => {
                Large::shared(opcode, prefix, payload, fragment)
            }
            (None, payload) => {
                let copy = [prefix, payload.as_slice()].concat();
                Large::shared(opcode, &[], copy.into(), fragment)
            }
        }
    }

    /// Does what the strategy says where a message that costs `bytes` finds no room.
    fn make_room(&mut self, now: Instant, bytes: usize) -> Result<Tally, Refused> {
        if self.queue.takes(now, bytes) {
            return Ok(Tally::default());
        }
        let before = self.queue.counters().dropped;
        while self.queue.strategy() == Strategy::DropOldest && !self.queue.has_room(bytes) {
            self.drop_oldest();
        }
        if self.queue.is_late(now) || !self.queue.has_room(bytes) {
            // The queue counts what it refuses, and says why; the message is not encoded for that.
            return Err(match self.queue.push(now, Item::Inline(0), bytes) {
                Push::Broken(_, cause) => Refused::Broken(cause),
                _ => Refused::Full,
            });
        }
        let after = self.queue.counters().dropped;
        Ok(Tally {
            messages: after.messages - before.messages,
            bytes: after.bytes - before.bytes,
        })
    }

    fn drop_oldest(&mut self) {
        if self.inline_rest > 0 {
            // The arena's front belongs to a frame that is begun: it is set apart before what stands behind it goes.
            let rest = Large::rest_of_frame(&self.arena[..self.inline_rest]);
            self.arena.advance(self.inline_rest);
            self.inline_rest = 0;
            self.in_hand = Some(Box::new(rest));
        }
        match self.queue.front_mut() {
            Some(Item::Inline(run)) => {
                let frame = first_frame_len(&self.arena);
                *run -= frame;
                self.arena.advance(frame);
                self.queue.drop_one(frame + MESSAGE_OVERHEAD_BYTES);
            }
            Some(Item::Large(_)) => {
                self.large_queued -= 1;
                self.queue.drop_front();
            }
            None => {}
        }
    }

    /// Queues a pong, or lets it replace the latest one where too many wait.
    pub(crate) fn pong(&mut self, payload: &[u8], key: Option<MaskKey>) {
        self.control.push(OpCode::Pong, payload, key);
    }

    /// Queues a ping of our own.
    pub(crate) fn ping(&mut self, payload: &[u8], key: Option<MaskKey>) {
        self.control.push(OpCode::Ping, payload, key);
    }

    /// Queues the Close frame behind everything that was accepted.
    pub(crate) fn close(&mut self, payload: &[u8], key: Option<MaskKey>) {
        let mut frame = BytesMut::with_capacity(6 + payload.len());
        put_control(&mut frame, OpCode::Close, payload, key);
        self.close = Some(frame.freeze());
    }

    /// Puts another Close frame in the place of the one that is queued, and a message before it as a single frame, unless that would
    /// stand within another message. Says whether there was a Close of which nothing was sent.
    pub(crate) fn replace_close(
        &mut self,
        message: Option<(OpCode, &[u8])>,
        close: &[u8],
        mut key: impl FnMut() -> Option<MaskKey>,
    ) -> bool {
        if self.close.is_none() || self.close_begun {
            return false;
        }
        let mut frames = BytesMut::new();
        if let Some((opcode, message)) = message.filter(|_| !self.cut) {
            put_data(&mut frames, opcode, &[], message, key());
        }
        put_control(&mut frames, OpCode::Close, close, key());
        self.close = Some(frames.freeze());
        true
    }

    /// Gives up what is queued, so that the Close frame follows the frame in hand. Returns what was given up.
    pub(crate) fn discard(&mut self) -> Tally {
        let rest = self.in_hand.as_ref().map_or(0, |large| large.frame_rest());
        self.cut |= self
            .in_hand
            .as_ref()
            .is_some_and(|large| large.remaining() > rest);
        if rest > 0 {
            let mut bytes = Vec::with_capacity(rest);
            self.in_hand.iter().for_each(|large| {
                large.slices(0, rest, &mut |slice| {
                    bytes.extend_from_slice(slice);
                    true
                });
            });
            self.in_hand = Some(Box::new(Large::rest_of_frame(&bytes)));
        } else {
            self.in_hand = None;
        }
        self.arena.truncate(self.inline_rest);
        self.large_queued = 0;
        self.queue.clear()
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
            && self.inline_rest == 0
            && self.in_hand.is_none()
            && self.control.bytes.is_empty()
            && self.close.is_none()
    }

    /// Whether the Close frame is queued and not wholly taken by the transport.
    pub(crate) fn close_pending(&self) -> bool {
        self.close.is_some()
    }

    /// Whether the Close frame stands behind messages, so that none of its bytes is sent: control frames may go before it.
    pub(crate) fn close_waits_for_data(&self) -> bool {
        self.close.is_some() && self.data_bytes() > 0
    }

    /// Bytes of messages that wait or are in hand.
    pub(crate) fn data_bytes(&self) -> usize {
        self.queue.bytes() + self.inline_rest + self.in_hand.as_ref().map_or(0, |large| large.remaining())
    }

    /// Messages that wait, none of whose bytes are sent.
    pub(crate) fn queued_messages(&self) -> usize {
        self.queue.len()
    }

    /// Bytes held for the peer.
    pub(crate) fn held_bytes(&self) -> usize {
        self.data_bytes() + self.control.bytes.len() + self.close.as_ref().map_or(0, Bytes::len)
    }

    pub(crate) fn counters(&self) -> Counters {
        self.queue.counters()
    }

    /// When the oldest waiting message will have waited too long, with the break strategy (R20).
    pub(crate) fn late_at(&self) -> Option<Instant> {
        self.queue.deadline()
    }

    pub(crate) fn has_room(&self, bytes: usize, fragment: usize, masked: bool) -> bool {
        self.queue.has_room(cost(bytes, fragment, masked))
    }

    /// Fills `slices` with what to send next; returns how many were filled. None of them is empty.
    pub(crate) fn gather<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        let mut push = |slice: &'a [u8]| {
            if slice.is_empty() {
                return true;
            }
            let Some(slot) = slices.get_mut(filled) else {
                return false;
            };
            *slot = IoSlice::new(slice);
            filled += 1;
            true
        };
        self.visit(&mut push);
        filled
    }

    /// Hands everything that waits to `push`, in order, until that says stop: pings and pongs at the next end of a frame (RFC 6455
    /// §5.5.2), messages one behind the other (§5.4).
    fn visit<'a>(&'a self, push: &mut impl FnMut(&'a [u8]) -> bool) -> Option<()> {
        let go = |more: bool| more.then_some(());
        let mut in_hand_rest = 0;
        if !self.control.begun {
            go(push(&self.arena[..self.inline_rest]))?;
            if let Some(large) = &self.in_hand {
                in_hand_rest = large.frame_rest();
                go(large.slices(0, in_hand_rest, push))?;
            }
        }
        go(push(&self.control.bytes))?;
        if let Some(large) = &self.in_hand {
            go(large.slices(in_hand_rest, usize::MAX, push))?;
        }
        if self.large_queued == 0 {
            go(push(&self.arena[self.inline_rest..]))?;
        } else {
            let mut run = self.inline_rest..self.inline_rest;
            for item in self.queue.iter() {
                match item {
                    Item::Inline(len) => run.end += len,
                    Item::Large(large) => {
                        go(push(&self.arena[run.clone()]))?;
                        run.start = run.end;
                        go(large.slices(0, usize::MAX, push))?;
                    }
                }
            }
            go(push(&self.arena[run]))?;
        }
        go(push(self.close.as_deref().unwrap_or_default()))
    }

    /// The transport took the first `taken` bytes of what [`gather`](Self::gather) gave.
    pub(crate) fn advance(&mut self, now: Instant, taken: usize) -> Progress {
        let mut progress = Progress::default();
        if self.run() == Some(taken) {
            while let Some(popped) = self.queue.pop(now) {
                progress.note(popped.messages, popped.waited);
            }
            // Rather than to move on within it, which would have to be undone before the next message.
            self.arena.clear();
            self.give_back_arena();
            return progress;
        }
        let mut left = taken;
        if !self.control.begun {
            let inline = left.min(self.inline_rest);
            self.arena.advance(inline);
            self.inline_rest -= inline;
            left -= inline;
            let rest = self.in_hand.as_ref().map_or(0, |large| large.frame_rest());
            left -= self.advance_in_hand(left.min(rest));
        }
        left -= self.control.advance(left);
        left -= self.advance_in_hand(left);
        while left > 0
            && let Some(item) = self.queue.front_mut()
        {
            if let Item::Inline(run) = item
                && *run > left
            {
                self.advance_run(now, left, &mut progress);
                left = 0;
                break;
            }
            let Some(popped) = self.queue.pop(now) else { break };
            progress.note(popped.messages, popped.waited);
            match popped.item {
                Item::Inline(run) => {
                    self.arena.advance(run);
                    left -= run;
                }
                Item::Large(large) => {
                    self.large_queued -= 1;
                    self.in_hand = Some(large);
                    left -= self.advance_in_hand(left);
                }
            }
        }
        if left > 0
            && let Some(close) = &mut self.close
        {
            let step = left.min(close.len());
            close.advance(step);
            left -= step;
            self.close_begun = true;
            if close.is_empty() {
                self.close = None;
            }
        }
        assert_eq!(left, 0, "the transport took more than it was given");
        self.give_back_arena();
        progress
    }

    /// Idle costs nothing: the next message finds a new one.
    fn give_back_arena(&mut self) {
        if self.arena.is_empty() && !self.lent {
            self.arena = BytesMut::new();
        }
    }

    /// The length of what waits, where that is small messages and nothing else: then all of it is one slice.
    #[inline]
    fn run(&self) -> Option<usize> {
        let only = self.inline_rest == 0
            && self.large_queued == 0
            && self.in_hand.is_none()
            && self.control.bytes.is_empty()
            && self.close.is_none();
        only.then(|| self.arena.len())
    }

    /// All that waits, where that is one slice: the same as [`gather`](Self::gather), for the case that comes most often.
    #[inline]
    pub(crate) fn contiguous(&self) -> Option<&[u8]> {
        self.run().filter(|len| *len > 0).map(|_| &self.arena[..])
    }

    /// Takes an empty buffer to encode into, unless something waits in one already.
    pub(crate) fn lend(&mut self, buffer: BytesMut) -> Option<BytesMut> {
        if self.arena.is_empty() && buffer.is_empty() {
            self.arena = buffer;
            self.lent = true;
            None
        } else {
            Some(buffer)
        }
    }

    /// Gives back what was lent; what waits in it moves into a buffer of its own.
    pub(crate) fn reclaim(&mut self) -> Option<BytesMut> {
        if !std::mem::take(&mut self.lent) {
            return None;
        }
        if self.arena.is_empty() {
            return Some(std::mem::take(&mut self.arena));
        }
        let kept = BytesMut::from(&self.arena[..]);
        let mut lent = std::mem::replace(&mut self.arena, kept);
        lent.clear();
        Some(lent)
    }

    /// The transport took a part of the run at the front of the queue: its last frame may be cut.
    fn advance_run(&mut self, now: Instant, mut left: usize, progress: &mut Progress) {
        while left > 0 {
            let frame = first_frame_len(&self.arena);
            if let Some(Item::Inline(run)) = self.queue.front_mut() {
                *run -= frame;
            }
            let waited = self.queue.pop_one(now, frame + MESSAGE_OVERHEAD_BYTES);
            progress.note(1, waited.unwrap_or_default());
            let step = left.min(frame);
            self.arena.advance(step);
            self.inline_rest = frame - step;
            left -= step;
        }
    }

    fn advance_in_hand(&mut self, max: usize) -> usize {
        let Some(large) = &mut self.in_hand else { return 0 };
        let step = max.min(large.remaining());
        large.advance(step);
        if large.remaining() == 0 {
            self.in_hand = None;
        }
        step
    }
}

impl Progress {
    /// The first that leaves has waited longest.
    fn note(&mut self, messages: usize, waited: Duration) {
        self.messages += messages as u64;
        self.longest_wait = self.longest_wait.max(waited);
    }
}

/// The length of the frame at the front of `arena`, which this side has encoded.
fn first_frame_len(arena: &[u8]) -> usize {
    match FrameHeader::decode(arena) {
        Ok(Some((header, len))) => len + usize::try_from(header.payload_len).unwrap_or(usize::MAX),
        other => unreachable!("no frame of ours: {other:?}"),
    }
}

/// What a message of `len` bytes costs in the queue: its frames, and the overhead.
fn cost(len: usize, fragment: usize, masked: bool) -> usize {
    let header = |len: usize| {
        let length = match len {
            0..=125 => 2,
            126..=0xFFFF => 4,
            _ => 10,
        };
        length + if masked { 4 } else { 0 }
    };
    if len <= fragment {
        return len + header(len) + MESSAGE_OVERHEAD_BYTES;
    }
    let full_frames = len.saturating_sub(1) / fragment;
    let last = len - full_frames * fragment;
    full_frames
        .saturating_mul(header(fragment))
        .saturating_add(len)
        .saturating_add(header(last) + MESSAGE_OVERHEAD_BYTES)
}

/// A message's bytes, as the caller has them.
#[derive(Debug)]
pub(crate) enum Payload<'a> {
    Lent(&'a [u8]),
    Shared(Bytes),
}

impl Payload<'_> {
    /// Whether `prefix` and the payload together are UTF-8.
    pub(crate) fn is_utf8_after(&self, prefix: &[u8]) -> bool {
        if prefix.is_empty() && self.as_slice().len() <= SHORT_TEXT_BYTES {
            // What the validator is faster at is longer than this.
            return std::str::from_utf8(self.as_slice()).is_ok();
        }
        let mut utf8 = weirline_codec::Utf8Validator::new();
        utf8.push(prefix).is_ok() && utf8.push(self.as_slice()).is_ok() && utf8.finish().is_ok()
    }

    fn copied_bytes_max(&self) -> usize {
        match self {
            Self::Lent(_) => COPIED_LENT_BYTES_MAX,
            Self::Shared(_) => COPIED_BYTES_MAX,
        }
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Lent(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

const SHORT_TEXT_BYTES: usize = 128;

/// Pings and pongs: they go out at the next boundary between frames, in order.
#[derive(Debug, Default)]
struct ControlLane {
    bytes: BytesMut,
    /// The frames in `bytes`; the first may be partly sent.
    frames: VecDeque<Waiting>,
    /// Whether the transport has taken a part of the first frame.
    begun: bool,
}

#[derive(Debug)]
struct Waiting {
    /// The bytes of the frame that are not sent.
    len: u8,
    /// A pong may be replaced by a later one.
    is_pong: bool,
}

/// How many control frames, and how many of their bytes, may wait.
const CONTROL_FRAMES_MAX: usize = 64;
const CONTROL_BYTES_MAX: usize = 8 << 10;

impl ControlLane {
    fn push(&mut self, opcode: OpCode, payload: &[u8], key: Option<MaskKey>) {
        let is_pong = opcode == OpCode::Pong;
        let mut untouched = self.frames.iter().skip(usize::from(self.begun));
        if !is_pong && untouched.any(|waiting| !waiting.is_pong) {
            // A further ping comes due only where the peer answered this one without having seen it.
            return;
        }
        let full = self.frames.len() >= CONTROL_FRAMES_MAX
            || self.bytes.len() + payload.len() + HEADER_BYTES_MAX > CONTROL_BYTES_MAX;
        // RFC 6455 §5.5.3: an endpoint may answer only the latest of several pings.
        if full
            && is_pong
            && self.frames.len() > 1
            && let Some(latest) = self.frames.pop_back_if(|latest| latest.is_pong)
        {
            self.bytes.truncate(self.bytes.len() - usize::from(latest.len));
        }
        let before = self.bytes.len();
        put_control(&mut self.bytes, opcode, payload, key);
        self.frames.push_back(Waiting {
            len: u8::try_from(self.bytes.len() - before).expect("a control frame has at most 131 bytes"),
            is_pong,
        });
    }

    /// The transport took up to `max` bytes of the lane; returns how many.
    fn advance(&mut self, max: usize) -> usize {
        let step = max.min(self.bytes.len());
        if step == 0 {
            return 0;
        }
        self.bytes.advance(step);
        let mut left = step;
        self.begun = false;
        while left > 0
            && let Some(first) = self.frames.front_mut()
        {
            let len = usize::from(first.len);
            if left < len {
                first.len -= u8::try_from(left).expect("less than a length that fits");
                self.begun = true;
                break;
            }
            left -= len;
            self.frames.pop_front();
        }
        if self.bytes.is_empty() {
            *self = Self::default();
        }
        step
    }
}

/// One unfragmented data frame (RFC 6455 §6.1).
fn put_data(out: &mut BytesMut, opcode: OpCode, prefix: &[u8], payload: &[u8], key: Option<MaskKey>) {
    let header = FrameHeader {
        mask: key,
        ..FrameHeader::data(opcode, true, (prefix.len() + payload.len()) as u64)
    }
    .encode();
    out.reserve(header.len() + prefix.len() + payload.len());
    out.extend_from_slice(&header);
    let start = out.len();
    if !prefix.is_empty() {
        out.extend_from_slice(prefix);
    }
    out.extend_from_slice(payload);
    if let Some(key) = key {
        apply_mask(key, 0, &mut out[start..]);
    }
}

fn put_control(out: &mut BytesMut, opcode: OpCode, payload: &[u8], key: Option<MaskKey>) {
    let len = u8::try_from(payload.len()).expect("a control payload has at most 125 bytes");
    let header = FrameHeader {
        mask: key,
        ..FrameHeader::control(opcode, len)
    }
    .encode();
    out.reserve(header.len() + payload.len());
    out.put_slice(&header);
    let start = out.len();
    out.put_slice(payload);
    if let Some(key) = key {
        apply_mask(key, 0, &mut out[start..]);
    }
}
