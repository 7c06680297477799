//! What RFC 6455 §5.4 to §5.6 and our limits make of a row of frames.

use weirline_codec::{CloseCode, CloseFrame, OpCode};
use weirline_connection::{Cause, End, MessageKind};

use super::{Limits, PeerFrame};
use crate::peer::{Frame, Seen};

/// A message whose last fragment has not come.
struct Open {
    kind: MessageKind,
    bytes: Vec<u8>,
    declared: u64,
    fragments: u32,
    empty_in_a_row: u32,
}

/// Frames to events and answers, a frame at a time.
pub(super) struct Model {
    limits: Limits,
    open: Option<Open>,
    /// What the application must be told, whole messages.
    pub(super) seen: Vec<Seen>,
    pongs: Vec<Vec<u8>>,
    /// The peer's Close: its code.
    closed: Option<Option<u16>>,
    failed: Option<u16>,
}

impl Model {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            open: None,
            seen: Vec::new(),
            pongs: Vec::new(),
            closed: None,
            failed: None,
        }
    }

    /// The next frame of the peer's.
    pub(super) fn take(&mut self, frame: &PeerFrame) {
        if self.closed.is_none()
            && self.failed.is_none()
            && let Err(code) = self.judge_frame(frame)
        {
            self.failed = Some(code);
        }
    }

    fn judge_frame(&mut self, frame: &PeerFrame) -> Result<(), u16> {
        let (fin, opcode) = (frame.first & 0x80 != 0, frame.first & 15);
        let control = opcode >= 8;
        let legal = matches!(opcode, 0..=2 | 8..=10) && (!control || (fin && frame.declared <= 125));
        if !legal || frame.wrong_mask || frame.first & 0x70 != 0 {
            return Err(1002);
        }
        let whole = frame.declared == frame.payload.len() as u64;
        if control {
            if !whole {
                return Ok(());
            }
            return match opcode {
                8 => self.close(&frame.payload),
                9 => {
                    self.pongs.push(frame.payload.clone());
                    self.seen.push(Seen::Ping(frame.payload.clone()));
                    Ok(())
                }
                _ => {
                    self.seen.push(Seen::Pong);
                    Ok(())
                }
            };
        }
        self.data(frame, fin, opcode, whole)
    }

    fn close(&mut self, payload: &[u8]) -> Result<(), u16> {
        let (code, reason) = match payload {
            [] => (None, ""),
            [_] => return Err(1002),
            [high, low, reason @ ..] => {
                let code = u16::from_be_bytes([*high, *low]);
                if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                    return Err(1002);
                }
                (Some(code), std::str::from_utf8(reason).map_err(|_| 1007_u16)?)
            }
        };
        self.seen.push(Seen::Close(code, reason.to_owned()));
        self.closed = Some(code);
        Ok(())
    }

    fn data(&mut self, frame: &PeerFrame, fin: bool, opcode: u8, whole: bool) -> Result<(), u16> {
        if (opcode == 0) != self.open.is_some() {
            return Err(1002);
        }
        let mut open = self.open.take().unwrap_or_else(|| Open {
            kind: if opcode == 1 {
                MessageKind::Text
            } else {
                MessageKind::Binary
            },
            bytes: Vec::new(),
            declared: 0,
            fragments: 0,
            empty_in_a_row: 0,
        });
        let limit = match open.kind {
            MessageKind::Text => self.limits.text,
            MessageKind::Binary => self.limits.binary,
        };
        open.declared = open.declared.saturating_add(frame.declared);
        open.fragments += 1;
        if open.declared > limit || frame.declared > self.limits.frame {
            return Err(1009);
        }
        if open.fragments > 1 && open.fragments > self.limits.fragments {
            return Err(1008);
        }
        open.empty_in_a_row = if frame.declared == 0 {
            open.empty_in_a_row + 1
        } else {
            0
        };
        let alone = fin && open.fragments == 1;
        if open.empty_in_a_row > self.limits.empty && !alone {
            return Err(1008);
        }
        open.bytes.extend_from_slice(&frame.payload);
        if open.kind == MessageKind::Text
            && let Err(error) = std::str::from_utf8(&open.bytes)
            && (error.error_len().is_some() || (whole && fin))
        {
            return Err(1007);
        }
        if whole && fin {
            self.seen.push(Seen::Message(open.kind, open.bytes));
        } else {
            self.open = Some(open);
        }
        Ok(())
    }

    /// Whether what went out is the answer that the frames ask for, and the end the right one.
    pub(super) fn judge(&self, output: &[Frame], end: &End, frames: &[PeerFrame]) {
        let pongs = output.iter().filter(|frame| frame.opcode == OpCode::Pong);
        let pongs: Vec<Vec<u8>> = pongs.map(|frame| frame.payload.clone()).collect();
        assert_eq!(pongs, self.pongs, "{frames:?}");
        let close = output.iter().find(|frame| frame.opcode == OpCode::Close);
        assert_eq!(output.len(), pongs.len() + usize::from(close.is_some()));
        let sent = close.map(|frame| {
            let close = CloseFrame::parse(&frame.payload).expect("a legal Close is sent");
            close.code.map(CloseCode::value)
        });
        let expect = match (self.failed, self.closed) {
            (Some(code), _) => Some(Some(code)),
            (None, Some(code)) => Some(code),
            (None, None) => None,
        };
        assert_eq!(sent, expect, "{frames:?}");
        assert_eq!(end.sent.map(CloseCode::value), expect.flatten());
        assert_eq!(end.received.map(CloseCode::value), self.closed.flatten());
        assert_eq!(end.close_received, self.closed.is_some());
        match (&end.cause, self.failed) {
            (Cause::Protocol(error), Some(code)) => assert_eq!(error.close_code().value(), code),
            (Cause::ClosedByPeer, None) => assert!(self.closed.is_some()),
            (Cause::EndOfStream, None) => assert!(self.closed.is_none()),
            other => panic!("{other:?}: {frames:?}"),
        }
    }
}
