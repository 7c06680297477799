//! Bytes to messages: headers across any split, unmasking in place, assembling, limits.
//!
//! ```text
//!            complete header                     frame's last byte
//!  Header ───────────────────▶ Payload(frame) ───────────────────▶ Header
//! ```
//! A data frame whose payload is wholly in the input and that is a message by itself is lent out of the input; only what is
//! cut, by reads or into fragments, is collected.

use bytes::{BufMut as _, BytesMut};
use weirline_codec::{
    CONTROL_PAYLOAD_BYTES_MAX, CloseCode, CloseFrame, FrameHeader, HEADER_BYTES_MAX, MaskKey, OpCode,
    Utf8Validator, apply_mask,
};

use crate::assembly::{Assembly, DIRECT_BYTES_MIN};
use crate::{Config, Delivery, Input, MessageKind, Payload, ProtocolError};

/// What the bytes so far amount to.
#[derive(Debug)]
pub(crate) enum Received<'b> {
    Message {
        kind: MessageKind,
        payload: Payload<'b>,
    },
    Part {
        kind: MessageKind,
        payload: Payload<'b>,
        first: bool,
        last: bool,
    },
    Ping(Payload<'b>),
    Pong(Payload<'b>),
    Close {
        code: Option<CloseCode>,
        reason: String,
    },
}

/// What came with an [`Assembly`].
pub(crate) struct Taken {
    pub(crate) bytes: usize,
    pub(crate) message: Option<(MessageKind, Payload<'static>)>,
}

#[derive(Debug)]
pub(crate) struct Receiver {
    stage: Stage,
    /// The data message whose end has not arrived. `None` between messages: an idle connection holds nothing.
    message: Option<Box<OpenMessage>>,
    /// The payload of a control frame that a read has cut.
    control: Option<BytesMut>,
    expect_masked: bool,
}

#[derive(Debug)]
enum Stage {
    /// Waiting for the rest of a header, of which these bytes have arrived.
    Header {
        bytes: [u8; HEADER_BYTES_MAX],
        len: u8,
    },
    Payload(Frame),
}

const NO_HEADER: Stage = Stage::Header {
    bytes: [0; HEADER_BYTES_MAX],
    len: 0,
};

/// The frame whose payload is arriving.
#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: OpCode,
    fin: bool,
    mask: Option<MaskKey>,
    len: u64,
    taken: u64,
}

#[derive(Debug)]
struct OpenMessage {
    kind: MessageKind,
    utf8: Utf8Validator,
    /// Empty when parts are handed on.
    assembled: BytesMut,
    /// The payload lengths of all frames so far, the current one included.
    bytes: u64,
    fragments: u32,
    empty_in_a_row: u32,
    delivered_any: bool,
}

impl Receiver {
    /// A server expects its peer to mask, a client expects it not to (RFC 6455 §5.1).
    pub(crate) fn new(expect_masked: bool) -> Self {
        Self {
            stage: NO_HEADER,
            message: None,
            control: None,
            expect_masked,
        }
    }

    /// Gives up what has arrived of a message: nobody will look at the rest.
    pub(crate) fn discard(&mut self) {
        (self.message, self.control) = (None, None);
        self.stage = NO_HEADER;
    }

    /// Bytes held for the peer.
    pub(crate) fn held_bytes(&self) -> usize {
        self.message.as_ref().map_or(0, |message| {
            message.assembled.capacity() + size_of::<OpenMessage>()
        }) + self.control.as_ref().map_or(0, BytesMut::capacity)
    }

    /// Takes input, as frames (RFC 6455 §6.2), until something is complete; `None` when all of it was taken and nothing is.
    pub(crate) fn next<'b>(
        &mut self,
        config: &Config,
        input: &mut Input<'b>,
    ) -> Result<Option<Received<'b>>, ProtocolError> {
        loop {
            let frame = match &self.stage {
                Stage::Payload(frame) => *frame,
                Stage::Header { .. } => match self.read_header(input)? {
                    Some(header) => self.begin_frame(config, &header)?,
                    None => return Ok(None),
                },
            };
            if input.is_empty() && frame.taken < frame.len {
                self.stage = Stage::Payload(frame);
                return Ok(None);
            }
            let received = if frame.opcode.is_control() {
                self.control_payload(frame, input)?
            } else {
                self.data_payload(config, frame, input)?
            };
            if received.is_some() {
                return Ok(received);
            }
        }
    }

    /// The next message where it is of the usual kind: small, in one frame, legal, and wholly in the input. Else `None`, and nothing
    /// has changed: [`next`](Self::next) then says what it is.
    #[inline]
    pub(crate) fn next_small<'b>(
        &mut self,
        config: &Config,
        input: &mut Input<'b>,
    ) -> Option<(MessageKind, Payload<'b>)> {
        let between_messages = self.message.is_none()
            && matches!(self.stage, Stage::Header { len: 0, .. })
            && config.delivery == Delivery::Messages;
        let &[first, second, ..] = input.rest() else {
            return None;
        };
        let kind = match first {
            FIN_TEXT => MessageKind::Text,
            FIN_BINARY => MessageKind::Binary,
            _ => return None,
        };
        let len = usize::from(second & 0x7F);
        let legal = (second & 0x80 != 0) == self.expect_masked
            && len <= CONTROL_PAYLOAD_BYTES_MAX
            && len as u64 <= config.message_bytes_max(kind).min(config.frame_bytes_max);
        if !between_messages || !legal {
            return None;
        }
        let header_len = if self.expect_masked { 6 } else { 2 };
        let (header, payload) = input
            .rest_mut()
            .get_mut(..header_len + len)?
            .split_at_mut(header_len);
        let key = header.last_chunk().filter(|_| self.expect_masked);
        if let Some(&key) = key {
            apply_mask(MaskKey::new(key), 0, payload);
        }
        if kind == MessageKind::Text && std::str::from_utf8(payload).is_err() {
            if let Some(&key) = key {
                apply_mask(MaskKey::new(key), 0, payload);
            }
            return None;
        }
        let frame = input.take((header_len + len) as u64);
        Some((kind, Payload::lent(&mut frame[header_len..])))
    }

    /// Takes an input of one byte that stands inside the open message's frame and is legal, and says whether it did. Else nothing has
    /// changed: [`next`](Self::next) then says what it is. A peer that drips pays for a call per byte; this is the short way.
    #[inline]
    pub(crate) fn take_byte(&mut self, input: &mut Input<'_>) -> bool {
        let (&[byte], Stage::Payload(frame), Some(message)) =
            (input.rest(), &mut self.stage, &mut self.message)
        else {
            return false;
        };
        let inside = frame.taken + 1 < frame.len && !frame.opcode.is_control();
        // Where the buffer must grow the general way does it, and where parts are handed on: then there is none.
        let has_room = message.assembled.len() < message.assembled.capacity();
        if !inside || !has_room {
            return false;
        }
        let mut unmasked = [byte];
        if let Some(key) = frame.mask {
            unmasked[0] ^= key.bytes()[(frame.taken % 4) as usize];
        }
        // A byte that is refused leaves the validator as it was, to refuse it again.
        if message.kind == MessageKind::Text && message.utf8.push(&unmasked).is_err() {
            return false;
        }
        frame.taken += 1;
        message.assembled.put_slice(&unmasked);
        input.take(1);
        true
    }

    /// Whether a frame has begun whose end has not arrived.
    #[inline]
    pub(crate) fn is_inside_frame(&self) -> bool {
        !matches!(self.stage, Stage::Header { len: 0, .. })
    }

    /// The open message's buffer, where the rest of its frame is long.
    pub(crate) fn take_assembly(&mut self, config: &Config) -> Option<Assembly> {
        let (Stage::Payload(frame), Some(message)) = (&self.stage, &mut self.message) else {
            return None;
        };
        let rest = usize::try_from(frame.len - frame.taken).ok()?;
        let direct = !frame.opcode.is_control()
            && rest.min(message.assembled.len()) >= DIRECT_BYTES_MIN
            && config.delivery == Delivery::Messages;
        direct.then(|| Assembly::new(std::mem::take(&mut message.assembled), rest))
    }

    /// Takes it back, with more of the frame: the same as [`data_payload`](Self::data_payload) for bytes that are in place.
    pub(crate) fn put_back_assembly(&mut self, assembly: Assembly) -> Result<Taken, ProtocolError> {
        let (mut assembled, before) = assembly.into_parts();
        let nothing = Taken {
            bytes: 0,
            message: None,
        };
        let (Stage::Payload(frame), Some(message)) = (&mut self.stage, &mut self.message) else {
            return Ok(nothing);
        };
        let chunk = &mut assembled[before..];
        let bytes = chunk.len();
        frame.take(chunk);
        let complete = frame.taken == frame.len;
        let last = complete && frame.fin;
        message.judge(chunk, last)?;
        message.assembled = assembled;
        if complete {
            self.stage = NO_HEADER;
        }
        let message = if last { self.message.take() } else { None };
        Ok(Taken {
            bytes,
            message: message.map(|message| (message.kind, Payload::owned(message.assembled))),
        })
    }

    fn read_header(&mut self, input: &mut Input<'_>) -> Result<Option<FrameHeader>, ProtocolError> {
        let Stage::Header { bytes, len } = &mut self.stage else {
            unreachable!("called between frames only")
        };
        if *len == 0 {
            match FrameHeader::decode(input.rest())? {
                Some((header, header_len)) => {
                    input.take(header_len as u64);
                    return Ok(Some(header));
                }
                None => {
                    let part = input.take(u64::MAX);
                    bytes[..part.len()].copy_from_slice(part);
                    *len = u8::try_from(part.len()).unwrap_or(u8::MAX);
                    return Ok(None);
                }
            }
        }
        // A read ended inside the header: at most 13 more steps of one byte.
        while let [byte] = input.take(1) {
            bytes[usize::from(*len)] = *byte;
            *len += 1;
            if let Some((header, _)) = FrameHeader::decode(&bytes[..usize::from(*len)])? {
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// Judges a header before any byte of its payload is taken (R15): who masks (RFC 6455 §5.1), reserved bits (§5.2), and that
    /// only data has to wait for the end of a message (§5.4). Nothing is taken unseen (§10.7).
    fn begin_frame(&mut self, config: &Config, header: &FrameHeader) -> Result<Frame, ProtocolError> {
        if self.expect_masked && header.mask.is_none() {
            return Err(ProtocolError::NotMasked);
        }
        if !self.expect_masked && header.mask.is_some() {
            return Err(ProtocolError::Masked);
        }
        if !header.rsv.is_none() {
            return Err(ProtocolError::ReservedBits);
        }
        if !header.opcode.is_control() {
            self.begin_data_frame(config, header)?;
        }
        let frame = Frame {
            opcode: header.opcode,
            fin: header.fin,
            mask: header.mask,
            len: header.payload_len,
            taken: 0,
        };
        self.stage = Stage::Payload(frame);
        Ok(frame)
    }

    /// Whether the frame continues what is open and nothing else (RFC 6455 §5.4), and is within the limits (§10.4).
    fn begin_data_frame(&mut self, config: &Config, header: &FrameHeader) -> Result<(), ProtocolError> {
        let (bytes, max) = match (&self.message, header.opcode) {
            (Some(message), OpCode::Continuation) => (
                message.bytes.saturating_add(header.payload_len),
                config.message_bytes_max(message.kind),
            ),
            (None, OpCode::Continuation) => return Err(ProtocolError::UnexpectedContinuation),
            (Some(_), _) => return Err(ProtocolError::ExpectedContinuation),
            (None, opcode) => (header.payload_len, config.message_bytes_max(kind_of(opcode))),
        };
        if bytes > max {
            return Err(ProtocolError::MessageTooBig { bytes, max });
        }
        if header.payload_len > config.frame_bytes_max {
            return Err(ProtocolError::FrameTooBig {
                bytes: header.payload_len,
                max: config.frame_bytes_max,
            });
        }
        let Some(message) = &mut self.message else {
            return Ok(());
        };
        message.bytes = bytes;
        message.fragments += 1;
        if message.fragments > config.fragments_max {
            return Err(ProtocolError::TooManyFragments {
                max: config.fragments_max,
            });
        }
        message.count_empty(config, header.payload_len)
    }

    fn control_payload<'b>(
        &mut self,
        frame: Frame,
        input: &mut Input<'b>,
    ) -> Result<Option<Received<'b>>, ProtocolError> {
        let (chunk, complete) = self.take_chunk(frame, input);
        let payload = match (self.control.take(), complete) {
            (None, true) => Payload::lent(chunk),
            (held, complete) => {
                let mut held = held.unwrap_or_else(|| BytesMut::with_capacity(CONTROL_PAYLOAD_BYTES_MAX));
                held.extend_from_slice(chunk);
                if !complete {
                    self.control = Some(held);
                    return Ok(None);
                }
                Payload::owned(held)
            }
        };
        Ok(Some(match frame.opcode {
            OpCode::Ping => Received::Ping(payload),
            OpCode::Pong => Received::Pong(payload),
            _ => {
                let CloseFrame { code, reason } = CloseFrame::parse(&payload)?;
                Received::Close {
                    code,
                    reason: reason.to_owned(),
                }
            }
        }))
    }

    /// Puts fragments together in their order, as the first one's kind (RFC 6455 §5.4, §6.2), and judges text at once (§5.6,
    /// §8.1).
    fn data_payload<'b>(
        &mut self,
        config: &Config,
        frame: Frame,
        input: &mut Input<'b>,
    ) -> Result<Option<Received<'b>>, ProtocolError> {
        let (chunk, complete) = self.take_chunk(frame, input);
        let last = complete && frame.fin;
        if last && self.message.is_none() && config.delivery == Delivery::Messages {
            let kind = kind_of(frame.opcode);
            if kind == MessageKind::Text {
                let mut utf8 = Utf8Validator::new();
                utf8.push(chunk)?;
                utf8.finish()?;
            }
            return Ok(Some(Received::Message {
                kind,
                payload: Payload::lent(chunk),
            }));
        }
        let message = match &mut self.message {
            Some(message) => message,
            none => {
                let mut message = Box::new(OpenMessage::new(kind_of(frame.opcode), frame.len));
                if !frame.fin {
                    message.count_empty(config, frame.len)?;
                }
                none.insert(message)
            }
        };
        message.judge(chunk, last)?;
        let kind = message.kind;
        if config.delivery == Delivery::Parts {
            let first = !message.delivered_any;
            message.delivered_any = true;
            if last {
                self.message = None;
            }
            return Ok(Some(Received::Part {
                kind,
                payload: Payload::lent(chunk),
                first,
                last,
            }));
        }
        // Grows with what has arrived, never by what a header declares.
        message.assembled.extend_from_slice(chunk);
        if !last {
            return Ok(None);
        }
        let assembled = self
            .message
            .take()
            .map(|message| message.assembled)
            .unwrap_or_default();
        Ok(Some(Received::Message {
            kind,
            payload: Payload::owned(assembled),
        }))
    }

    /// Takes what the input has of the frame's payload, unmasks it (RFC 6455 §6.2), and says whether the frame is complete.
    fn take_chunk<'b>(&mut self, mut frame: Frame, input: &mut Input<'b>) -> (&'b mut [u8], bool) {
        let chunk = input.take(frame.len - frame.taken);
        frame.take(chunk);
        let complete = frame.taken == frame.len;
        self.stage = if complete {
            NO_HEADER
        } else {
            Stage::Payload(frame)
        };
        (chunk, complete)
    }
}

impl Frame {
    /// Unmasks the next bytes of its payload (RFC 6455 §6.2), and counts them.
    #[inline]
    fn take(&mut self, chunk: &mut [u8]) {
        if let Some(key) = self.mask {
            apply_mask(key, self.taken, chunk);
        }
        self.taken += chunk.len() as u64;
    }
}

impl OpenMessage {
    /// Whether text is UTF-8 up to here, and as a whole once its last bytes are here (RFC 6455 §8.1).
    fn judge(&mut self, chunk: &[u8], last: bool) -> Result<(), ProtocolError> {
        if self.kind == MessageKind::Text {
            self.utf8.push(chunk)?;
            if last {
                self.utf8.finish()?;
            }
        }
        Ok(())
    }

    fn new(kind: MessageKind, bytes: u64) -> Self {
        Self {
            kind,
            utf8: Utf8Validator::new(),
            assembled: BytesMut::new(),
            bytes,
            fragments: 1,
            empty_in_a_row: 0,
            delivered_any: false,
        }
    }

    fn count_empty(&mut self, config: &Config, payload_len: u64) -> Result<(), ProtocolError> {
        self.empty_in_a_row = if payload_len == 0 {
            self.empty_in_a_row + 1
        } else {
            0
        };
        if self.empty_in_a_row > config.empty_fragments_max {
            return Err(ProtocolError::TooManyEmptyFragments {
                max: config.empty_fragments_max,
            });
        }
        Ok(())
    }
}

/// The first byte of a message in one frame.
const FIN_TEXT: u8 = 0x80 | OpCode::Text as u8;
const FIN_BINARY: u8 = 0x80 | OpCode::Binary as u8;

/// RFC 6455 §6.2: the opcode says what the data is.
fn kind_of(opcode: OpCode) -> MessageKind {
    if opcode == OpCode::Text {
        MessageKind::Text
    } else {
        MessageKind::Binary
    }
}
