//! The composer: hands input to the receiver, messages to the output, time to the timers.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use weirline_codec::{CONTROL_PAYLOAD_BYTES_MAX, CloseCode, CloseFrame, MaskKey, OpCode};
use weirline_flow::{BreakCause, Counters, RateBudget, Tally};

use crate::arrival::Arrival;
use crate::closing::Closing;
use crate::keepalive::{Keepalive, Tick};
use crate::output::{Output, Payload, Refused};
use crate::receive::{Received, Receiver, Taken};
use crate::{Assembly, Cause, Config, End, Event, Input, MessageKind, ProtocolError, SendError};

/// Gives a client's masking keys, one for each frame. They must be unpredictable (RFC 6455 §10.3).
pub type MaskSource = Box<dyn FnMut() -> [u8; 4] + Send>;

/// One WebSocket connection after its handshake, without I/O (RFC 6455 §5–§7).
///
/// See the crate's page for the canonical loop. Verbs come in three families: `handle_*` takes what the network or the
/// clock brings, `poll_*` gives what must go out, bare verbs are the application's. After any of the first or the third,
/// drain the `poll_*`s. `now` must not run backwards.
pub struct Connection {
    config: Arc<Config>,
    mask: Option<MaskSource>,
    receiver: Receiver,
    output: Output,
    keepalive: Keepalive,
    closing: Closing,
    control_rate: RateBudget,
    /// Since when something waits and the transport has taken less than it must.
    stalled_since: Option<Instant>,
    /// What it has taken since then, in bytes.
    taken_since: usize,
    /// Since when the application does not read.
    paused_since: Option<Instant>,
    arrival: Arrival,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("is_server", &self.is_server())
            .field("closing", &self.closing)
            .field("held_bytes", &self.held_bytes())
            .finish_non_exhaustive()
    }
}

/// A message was taken for sending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "older messages may have been dropped for it"]
pub struct Sent {
    /// What was dropped to make room, with the drop-oldest strategy: messages, and bytes with their overhead.
    pub dropped: Tally,
}

/// Bytes were taken by the transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transmitted {
    /// How many messages left the queue.
    pub messages: u64,
    /// How long the one that waited longest was queued.
    pub longest_wait: Duration,
}

impl Connection {
    /// The server's side: the peer's frames must be masked, ours are not (RFC 6455 §5.1).
    #[must_use]
    pub fn server(config: Arc<Config>, now: Instant) -> Self {
        Self::new(config, None, now)
    }

    /// The client's side: our frames are masked with keys from `mask`, the peer's must not be (RFC 6455 §5.1).
    #[must_use]
    pub fn client(config: Arc<Config>, mask: MaskSource, now: Instant) -> Self {
        Self::new(config, Some(mask), now)
    }

    fn new(config: Arc<Config>, mask: Option<MaskSource>, now: Instant) -> Self {
        Self {
            receiver: Receiver::new(mask.is_none()),
            output: Output::new(config.send_queue, config.send_strategy, reply_window(&config)),
            keepalive: Keepalive::new(config.ping_interval, config.ping_timeout, now),
            closing: Closing::new(),
            control_rate: RateBudget::new(config.control_rate, now),
            stalled_since: None,
            taken_since: 0,
            paused_since: None,
            arrival: Arrival::default(),
            config,
            mask,
        }
    }

    /// Takes bytes that came from the network, until there is something to tell; call it again until the input is empty.
    ///
    /// Pings are answered and Close frames echoed before this returns (R8, R23). When the peer breaks the protocol, the
    /// Close frame that says so is queued behind what was accepted for sending, what is left of the input is discarded, and
    /// [`poll_end`](Self::poll_end) gives the reason when the connection is over. Input that comes after that is discarded too.
    #[inline]
    pub fn handle_input<'b>(&mut self, now: Instant, input: &mut Input<'b>) -> Option<Event<'b>> {
        if self.receiver.take_byte(input) {
            debug_assert!(
                !self.closing.ignores_input(),
                "an open message is given up with the connection"
            );
            self.keepalive.heard(now);
            self.arrival.add(1);
            return None;
        }
        self.take_input(now, input)
    }

    /// Apart, so that the short way before it needs none of its registers.
    #[inline(never)]
    fn take_input<'b>(&mut self, now: Instant, input: &mut Input<'b>) -> Option<Event<'b>> {
        if self.closing.ignores_input() {
            input.take(u64::MAX);
            return None;
        }
        if let Some((kind, payload)) = self.receiver.next_small(&self.config, input) {
            self.keepalive.heard(now);
            return Some(Event::Message { kind, payload });
        }
        let bytes = input.rest().len();
        if bytes > 0 {
            self.keepalive.heard(now);
        }
        let event = match self.receiver.next(&self.config, input) {
            Ok(None) => None,
            Ok(Some(Received::Message { kind, payload })) => Some(Event::Message { kind, payload }),
            Ok(Some(Received::Part {
                kind,
                payload,
                first,
                last,
            })) => Some(Event::Part {
                kind,
                payload,
                first,
                last,
            }),
            Ok(Some(Received::Ping(payload))) => self.control_frame_allowed(now).then(|| {
                // RFC 6455 §5.5.2: also behind a `close` that has to wait for messages.
                if !self.closing.close_sent() || self.output.close_waits_for_data() {
                    let key = self.mask_key();
                    self.output.pong(&payload, key);
                }
                Event::Ping { payload }
            }),
            Ok(Some(Received::Pong(payload))) => self.control_frame_allowed(now).then(|| Event::Pong {
                rtt: self.keepalive.pong(now, &payload),
            }),
            Ok(Some(Received::Close { code, reason })) => {
                // RFC 6455 §5.5.1: answered, and nothing is looked at behind it (§6.2, §7.1.1).
                self.closing.receive_close(code);
                self.queue_close(code, "");
                Some(Event::CloseReceived { code, reason })
            }
            Err(error) => {
                self.fail_protocol(error);
                None
            }
        };
        let told = !matches!(event, None | Some(Event::Part { last: false, .. }));
        self.note_frame(now, bytes - input.rest().len(), told);
        if self.closing.ignores_input() {
            input.take(u64::MAX);
        }
        self.settle(now);
        event
    }

    /// The buffer of the message in hand, where the rest of its frame is so long that it should be read straight into it; else `None`, and
    /// bytes from the network go to [`handle_input`](Self::handle_input). Whatever comes of the read,
    /// [`handle_assembly`](Self::handle_assembly) is next: what is fed before it would be taken for the message's beginning.
    pub fn take_assembly(&mut self) -> Option<Assembly> {
        self.receiver.take_assembly(&self.config)
    }

    /// Takes the buffer back, and what was read into it. The same as if those bytes had come by [`handle_input`](Self::handle_input).
    pub fn handle_assembly(&mut self, now: Instant, assembly: Assembly) -> Option<Event<'static>> {
        let event = match self.receiver.put_back_assembly(assembly) {
            Ok(Taken { bytes: 0, .. }) => return None,
            Ok(Taken { message, bytes }) => {
                self.note_frame(now, bytes, message.is_some());
                message.map(|(kind, payload)| Event::Message { kind, payload })
            }
            Err(error) => {
                self.fail_protocol(error);
                None
            }
        };
        self.keepalive.heard(now);
        self.settle(now);
        event
    }

    /// The peer's direction of the stream has ended (FIN). Without a Close frame before it the connection is over
    /// (1006, RFC 6455 §7.1.5) once what was accepted for sending is sent.
    pub fn handle_eof(&mut self, now: Instant) {
        self.closing.receive_eof();
        self.settle(now);
    }

    /// The transport failed: the connection is over at once (RFC 6455 §7.2.1).
    pub fn handle_io_error(&mut self, kind: std::io::ErrorKind) {
        self.closing.handle_io_error(kind);
        self.receiver.discard();
    }

    /// The transport took the first `bytes` bytes of what [`poll_transmit`](Self::poll_transmit) gave.
    ///
    /// # Panics
    ///
    /// Where that is more than was given.
    pub fn handle_transmitted(&mut self, now: Instant, bytes: usize) -> Transmitted {
        let progress = self.output.advance(now, bytes);
        let blocked = |since: Instant| since != now && now >= since + BLOCKED_MIN;
        if bytes > 0 && self.stalled_since.is_some_and(blocked) {
            // The transport takes bytes again after it was blocked: so the peer's end of it acknowledges what it gets, and the
            // pong may well stand behind all that.
            self.keepalive.heard(now);
        }
        self.taken_since = self.taken_since.saturating_add(bytes);
        if self.taken_since >= self.config.write_progress_bytes_min {
            self.stalled_since = None;
        }
        if self.closing.is_open() {
            if self.output.is_empty() {
                self.stalled_since = None;
            } else {
                self.note_waiting(now);
            }
        } else {
            self.settle(now);
        }
        Transmitted {
            messages: progress.messages,
            longest_wait: progress.longest_wait,
        }
    }

    /// Our direction of the stream was ended, as [`poll_shutdown`](Self::poll_shutdown) asked.
    pub fn handle_shutdown(&mut self, now: Instant) {
        self.closing.shut_down();
        self.settle(now);
    }

    /// Says whether bytes are being read from the transport. While they are not, ping timeouts are suspended, for at most
    /// [`Config::pause_max`].
    pub fn handle_reading(&mut self, now: Instant, reading: bool) {
        match (reading, self.paused_since) {
            (false, None) => self.paused_since = Some(now),
            (true, Some(_)) => {
                self.paused_since = None;
                self.arrival.resume(now);
                self.keepalive.heard(now);
            }
            _ => {}
        }
    }

    /// Acts on every deadline that has come. Calling it early does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.closing.end().is_some() {
            return;
        }
        if self.stall_deadline().is_some_and(|at| now >= at) {
            self.closing.handle_stall();
            self.receiver.discard();
            return;
        }
        if self.closing.deadline().is_some_and(|at| now >= at) {
            self.closing.handle_deadline();
            self.receiver.discard();
            return;
        }
        if self.closing.is_open() {
            self.handle_open_timeout(now);
        }
        self.settle(now);
    }

    fn handle_open_timeout(&mut self, now: Instant) {
        if self.output.late_at().is_some_and(|at| now >= at) {
            self.fail_slow_peer(BreakCause::Late);
            return;
        }
        if let Some(since) = self.paused_since {
            if self.pause_deadline(since).is_some_and(|at| now >= at) {
                self.fail(
                    Cause::PausedTooLong,
                    CloseCode::POLICY_VIOLATION,
                    "the application does not read",
                );
            }
            return;
        }
        let (timeout, min) = (
            self.config.read_stall_timeout,
            self.config.read_progress_bytes_min,
        );
        if self.arrival.is_too_slow(now, timeout, min) {
            self.fail_protocol(ProtocolError::FrameTooSlow);
            return;
        }
        match self.keepalive.tick(now) {
            Tick::Nothing => {}
            Tick::SendPing(payload) => {
                let key = self.mask_key();
                self.output.ping(&payload, key);
            }
            Tick::Dead => self.fail(
                Cause::PingTimeout,
                CloseCode::INTERNAL_ERROR,
                "keepalive ping timeout",
            ),
        }
    }

    /// Fills `slices` with what to write next, in order, and returns how many were filled; none of those is empty. Nothing
    /// is taken out until [`handle_transmitted`](Self::handle_transmitted) says how much was written.
    pub fn poll_transmit<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        if self.closing.end().is_some() {
            0
        } else {
            self.output.gather(slices)
        }
    }

    /// What [`poll_transmit`](Self::poll_transmit) would give, where that is one slice, as it mostly is.
    #[inline]
    #[must_use]
    pub fn poll_transmit_one(&self) -> Option<&[u8]> {
        self.output.contiguous().filter(|_| self.closing.end().is_none())
    }

    /// Whether something waits to be written.
    #[must_use]
    pub fn wants_transmit(&self) -> bool {
        self.closing.end().is_none() && !self.output.is_empty()
    }

    /// Whether to end our direction of the stream (FIN) and then call [`handle_shutdown`](Self::handle_shutdown). Everything
    /// was written before. Reading goes on until the peer's end arrives.
    #[must_use]
    pub fn poll_shutdown(&self) -> bool {
        self.closing.wants_shutdown(self.is_server())
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.closing.end().is_some() {
            return None;
        }
        let open = self.closing.is_open();
        let alive = match self.paused_since {
            _ if !open => None,
            Some(since) => self.pause_deadline(since),
            None => [
                self.keepalive.deadline(),
                self.arrival.deadline(self.config.read_stall_timeout),
            ]
            .into_iter()
            .flatten()
            .min(),
        };
        let late = self.output.late_at().filter(|_| open);
        [alive, late, self.stall_deadline(), self.closing.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// How the connection ended, once it has: the transport can be dropped.
    #[must_use]
    pub fn poll_end(&self) -> Option<&End> {
        self.closing.end()
    }

    /// Queues a message; its bytes are copied.
    ///
    /// # Errors
    ///
    /// See [`SendError`]; the message was not taken.
    pub fn send(&mut self, now: Instant, kind: MessageKind, payload: &[u8]) -> Result<Sent, SendError> {
        let usual = self.mask.is_none()
            && self.closing.is_open()
            && (kind == MessageKind::Binary || is_short_text(payload))
            && self.output.send_small(now, opcode(kind), payload);
        if usual {
            self.note_waiting(now);
            return Ok(Sent::default());
        }
        self.send_message(now, kind, &[], Payload::Lent(payload))
    }

    /// Queues a message of `prefix` and `payload`. A server keeps large payloads where they are and shares them with whoever
    /// else holds them; a client must copy them to mask them.
    ///
    /// # Errors
    ///
    /// See [`SendError`]; the message was not taken.
    pub fn send_shared(
        &mut self,
        now: Instant,
        kind: MessageKind,
        prefix: &[u8],
        payload: Bytes,
    ) -> Result<Sent, SendError> {
        self.send_message(now, kind, prefix, Payload::Shared(payload))
    }

    /// RFC 6455 §6.1: in the open state, and nothing behind a Close (§5.5.1); text is UTF-8 (§5.6); a key for each frame (§5.3).
    fn send_message(
        &mut self,
        now: Instant,
        kind: MessageKind,
        prefix: &[u8],
        payload: Payload<'_>,
    ) -> Result<Sent, SendError> {
        if !self.closing.is_open() {
            return Err(SendError::Closed);
        }
        if kind == MessageKind::Text && !payload.is_utf8_after(prefix) {
            return Err(SendError::NotUtf8);
        }
        let fragment = self.fragment_bytes();
        let mut keys = self.mask.as_mut().map(|mask| || MaskKey::new(mask()));
        let mask = keys.as_mut().map(|keys| keys as &mut dyn FnMut() -> MaskKey);
        let sent = self
            .output
            .send(now, opcode(kind), prefix, payload, fragment, mask);
        match sent {
            Ok(dropped) => {
                self.note_waiting(now);
                Ok(Sent { dropped })
            }
            Err(Refused::Full) => Err(SendError::Full),
            Err(Refused::Broken(cause)) => {
                self.fail_slow_peer(cause);
                self.settle(now);
                Err(SendError::Broken)
            }
        }
    }

    /// Begins the closing handshake (RFC 6455 §7.1.2): the Close frame follows everything that was accepted. Does nothing
    /// when a Close is on its way already. A reason of over 123 bytes is cut.
    pub fn close(&mut self, now: Instant, code: CloseCode, reason: &str) {
        self.queue_close(Some(code), reason);
        self.settle(now);
    }

    /// Fails the connection (RFC 6455 §7.1.7) for a reason of the application's: what is queued is given up, the Close frame
    /// follows the frame in hand, and input is no longer looked at.
    pub fn fail_with(&mut self, now: Instant, code: CloseCode, reason: &str) {
        self.fail(Cause::ClosedLocally, code, reason);
        self.settle(now);
    }

    /// After this side has failed the connection: `message` goes out before the Close frame, which carries `reason` in the place of
    /// its own. So a peer that was too slow learns what to do, although what was queued for it is given up. The message is one
    /// frame and should be short; the reason is cut after 123 bytes. A second call replaces the first. Where a message was given up
    /// between two of its fragments no other may begin (RFC 6455 §5.4), and none behind the peer's Close: then only the reason is told.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] where the connection was not [failed](Self::failure), or a part of the Close frame is sent;
    /// [`SendError::NotUtf8`].
    pub fn farewell(&mut self, message: Option<(MessageKind, &[u8])>, reason: &str) -> Result<(), SendError> {
        if self.closing.failure().is_none() || self.closing.end().is_some() {
            return Err(SendError::Closed);
        }
        if let Some((MessageKind::Text, text)) = message
            && std::str::from_utf8(text).is_err()
        {
            return Err(SendError::NotUtf8);
        }
        let code = self.closing.code();
        let close = CloseFrame { code, reason }.encode();
        // RFC 6455 §6.1: data is sent in the open state alone, which the peer's Close has ended.
        let message = message
            .filter(|_| !self.closing.close_received())
            .map(|(kind, message)| (opcode(kind), message));
        let mask = &mut self.mask;
        let replaced = self
            .output
            .replace_close(message, &close, || mask.as_mut().map(|mask| MaskKey::new(mask())));
        if replaced { Ok(()) } else { Err(SendError::Closed) }
    }

    /// Why this side has failed the connection (RFC 6455 §7.1.7), once it has.
    #[must_use]
    pub fn failure(&self) -> Option<&Cause> {
        self.closing.failure()
    }

    /// Ends the connection at once, without a closing handshake.
    pub fn abort(&mut self) {
        self.closing.finish(Cause::Aborted);
        self.receiver.discard();
    }

    /// How many bytes a producer may add before it should wait for the transport: 0 when the send window is full or nothing
    /// can be sent any more. Each message costs 40 bytes besides its own.
    #[inline]
    #[must_use]
    pub fn send_capacity(&self) -> usize {
        self.capacity_below(self.config.send_window_bytes, self.config.send_queue.messages)
    }

    /// The same for answers to what has been read already, as long as the transport takes all that it is given: two send windows, where the
    /// queue is larger than that, so that more answers leave with one write. It is 0 as well when the queue has half of its messages: one
    /// message may bring about several answers.
    #[inline]
    #[must_use]
    pub fn reply_capacity(&self) -> usize {
        let messages = self.config.send_queue.messages.div_ceil(2);
        self.capacity_below(reply_window(&self.config), messages)
    }

    #[inline]
    fn capacity_below(&self, bytes: usize, messages: usize) -> usize {
        if !self.closing.is_open() || self.output.queued_messages() >= messages {
            return 0;
        }
        bytes.saturating_sub(self.output.data_bytes())
    }

    /// Gives the connection an empty buffer to encode small messages into, for the time being, so that it needs none of its own; returns
    /// it where something waits in one already. Whoever drives many connections lends each the same buffer in turn.
    pub fn lend(&mut self, buffer: BytesMut) -> Option<BytesMut> {
        self.output.lend(buffer)
    }

    /// Takes back what was [lent](Self::lend), empty; bytes that wait are moved into a buffer of the connection's own.
    pub fn reclaim(&mut self) -> Option<BytesMut> {
        self.output.reclaim()
    }

    /// Whether the send queue has room for a message of `bytes` bytes.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        let (fragment, masked) = (self.fragment_bytes(), self.mask.is_some());
        self.closing.is_open() && self.output.has_room(bytes, fragment, masked)
    }

    /// Whether messages can be sent: no Close was sent or received, and the connection has not ended.
    #[inline]
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.closing.is_open()
    }

    /// Whether this is the server's side.
    #[must_use]
    pub fn is_server(&self) -> bool {
        self.mask.is_none()
    }

    /// Bytes held for the peer: messages being assembled, and what waits to be sent.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.receiver.held_bytes() + self.output.held_bytes()
    }

    /// The exact account of the send queue: `pushed = popped + dropped + queued`.
    #[must_use]
    pub fn send_counters(&self) -> Counters {
        self.output.counters()
    }

    /// The limits and timers that were set.
    #[must_use]
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    fn settle(&mut self, now: Instant) {
        if self.output.is_empty() {
            self.stalled_since = None;
        } else {
            self.note_waiting(now);
        }
        let flushed = if self.closing.close_sent() {
            !self.output.close_pending()
        } else {
            self.output.is_empty()
        };
        self.closing.settle(now, flushed, &self.config);
        if self.closing.ignores_input() {
            self.receiver.discard();
        }
    }

    /// Something waits to be written.
    #[inline]
    fn note_waiting(&mut self, now: Instant) {
        if self.stalled_since.is_none() {
            self.stalled_since = Some(now);
            self.taken_since = 0;
        }
    }

    fn fragment_bytes(&self) -> usize {
        self.config
            .fragment_bytes
            .clamp(FRAGMENT_BYTES_MIN, FRAGMENT_BYTES_MAX)
    }

    fn pause_deadline(&self, since: Instant) -> Option<Instant> {
        since.checked_add(self.config.pause_max)
    }

    #[inline]
    fn note_frame(&mut self, now: Instant, bytes: usize, told: bool) {
        let inside = self.receiver.is_inside_frame();
        self.arrival.note(now, bytes, inside, told);
    }

    fn stall_deadline(&self) -> Option<Instant> {
        self.stalled_since?.checked_add(self.config.write_stall_timeout)
    }

    fn control_frame_allowed(&mut self, now: Instant) -> bool {
        let allowed = self.control_rate.try_take(now, 1);
        if !allowed {
            self.fail_protocol(ProtocolError::ControlFlood);
        }
        allowed
    }

    /// RFC 6455 §7.1.2: with this code and reason, and once.
    fn queue_close(&mut self, code: Option<CloseCode>, reason: &str) {
        if self.closing.close_sent() || self.closing.end().is_some() {
            return;
        }
        let key = self.mask_key();
        self.output.close(&CloseFrame { code, reason }.encode(), key);
        self.closing.send_close(code);
    }

    /// RFC 6455 §7.1.7: the Close says what is wrong.
    fn fail_protocol(&mut self, error: ProtocolError) {
        let (code, reason) = (error.close_code(), error.to_string());
        // What is queued answers what came before the error: it is sent, as before every Close of an orderly end.
        self.closing.fail(Cause::Protocol(error));
        self.queue_close(Some(code), &reason);
    }

    fn fail_slow_peer(&mut self, cause: BreakCause) {
        self.fail(
            Cause::Backpressure(cause),
            CloseCode::POLICY_VIOLATION,
            "Backpressure: downstream saturated",
        );
    }

    /// RFC 6455 §7.1.7: *fail the WebSocket connection*. What is queued is given up (§6.1).
    fn fail(&mut self, cause: Cause, code: CloseCode, reason: &str) {
        self.closing.fail(cause);
        self.output.discard();
        self.queue_close(Some(code), reason);
    }

    /// RFC 6455 §5.1: a client masks every frame, a server none.
    fn mask_key(&mut self) -> Option<MaskKey> {
        self.mask.as_mut().map(|mask| MaskKey::new(mask()))
    }
}

/// Whether this is UTF-8 so short that no faster validator pays. Anything else is for the general way to judge.
fn is_short_text(payload: &[u8]) -> bool {
    payload.len() <= CONTROL_PAYLOAD_BYTES_MAX && std::str::from_utf8(payload).is_ok()
}

/// Below how many bytes answers may still be queued.
fn reply_window(config: &Config) -> usize {
    let window = config.send_window_bytes;
    let larger = window.saturating_mul(REPLY_WINDOWS);
    if larger < config.send_queue.bytes {
        larger
    } else {
        window
    }
}

/// RFC 6455 §6.1: the first frame says what the data is.
fn opcode(kind: MessageKind) -> OpCode {
    match kind {
        MessageKind::Text => OpCode::Text,
        MessageKind::Binary => OpCode::Binary,
    }
}

/// Output that has waited this long was blocked by the transport, not by the driver's turn.
const BLOCKED_MIN: Duration = Duration::from_millis(100);

/// Send windows that answers may fill before they are written: each write costs as much as copying some 10 KiB.
const REPLY_WINDOWS: usize = 2;

/// Below this length a fragment's header would cost more than it is worth, and lengths would have two forms.
const FRAGMENT_BYTES_MIN: usize = 126;

/// RFC 6455 §5.2: the longest length that a frame can have.
const FRAGMENT_BYTES_MAX: usize = usize::MAX >> 1;
