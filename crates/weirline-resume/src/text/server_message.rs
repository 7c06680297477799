use weirline_log::{Epoch, Offset, PayloadKind, Seq};

use super::{ErrorCode, ErrorText, GapReason, PauseReason, TextError, scan};

/// A message from a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerMessage<'a> {
    /// `RESUME_FROM:m`: 'I have yours up to m'. The first answer.
    ResumeFrom(Seq),
    /// `RESUMED:n:head@epoch`: delivery goes on after n; the head was at `head` when this was written.
    Resumed {
        /// The position the client gave, or the head that it asked for.
        offset: Offset,
        /// The last offset of the stream.
        head: Offset,
        /// The stream's epoch.
        epoch: Epoch,
    },
    /// `RESET:epoch:common`: the stream is at another epoch; what the client has is right up to `common`, and delivery goes on after it.
    Reset {
        /// The stream's epoch.
        epoch: Epoch,
        /// The end of the common history.
        common: Offset,
    },
    /// `GAP:from:to:reason`: these offsets, both ends included, are not delivered.
    Gap {
        /// The first.
        from: Offset,
        /// The last.
        to: Offset,
        /// Why.
        reason: GapReason,
    },
    /// `offset:payload`, text or binary.
    Data {
        /// From 1.
        offset: Offset,
        /// The payload's kind is the message's.
        kind: PayloadKind,
        /// What stands behind the colon, perhaps nothing.
        payload: &'a [u8],
    },
    /// `ACK:seq`: everything up to it is acknowledged.
    Ack(Seq),
    /// `PAUSE:reason`: publish no more until `CONTINUE`.
    Pause(PauseReason<'a>),
    /// `CONTINUE`: takes back a `PAUSE`.
    Continue,
    /// `ERROR:code:text`: the connection is closed with 1008.
    Error {
        /// For programs.
        code: ErrorCode,
        /// For people.
        text: ErrorText<'a>,
    },
    /// `ERROR:code:seq:text`: PUB `seq` was refused; the connection goes on.
    Refused {
        /// The refused number; another payload may be sent under it.
        seq: Seq,
        /// For programs.
        code: ErrorCode,
        /// For people.
        text: ErrorText<'a>,
    },
}

impl<'a> ServerMessage<'a> {
    /// Parses one message.
    ///
    /// # Errors
    /// [`TextError`]: the peer is at fault.
    pub fn parse(kind: PayloadKind, message: &'a [u8]) -> Result<Self, TextError> {
        if let Some((offset, payload)) = scan::numbered(message)? {
            return Ok(Self::Data {
                offset: scan::to_offset(offset)?,
                kind,
                payload,
            });
        }
        if kind == PayloadKind::Binary {
            return Err(TextError::NotNumbered);
        }
        let text = str::from_utf8(message).map_err(|_| TextError::NotUtf8)?;
        let (word, rest) = match text.split_once(':') {
            Some((word, rest)) => (word, Some(rest)),
            None => (text, None),
        };
        match (word, rest) {
            ("RESUME_FROM", Some(rest)) => Ok(Self::ResumeFrom(scan::seq(rest)?)),
            ("RESUMED", _) => parse_resumed(rest),
            ("RESET", _) => {
                let [epoch, common] = scan::fields(rest)?;
                Ok(Self::Reset {
                    epoch: scan::epoch(epoch)?,
                    common: scan::offset(common)?,
                })
            }
            ("GAP", _) => parse_gap(rest),
            ("ACK", Some(rest)) => Ok(Self::Ack(scan::seq(rest)?)),
            ("PAUSE", Some(rest)) => PauseReason::new(rest).map(Self::Pause).ok_or(TextError::BadWord),
            ("CONTINUE", None) => Ok(Self::Continue),
            ("ERROR", Some(rest)) => parse_error(rest),
            ("RESUME_FROM" | "ACK" | "PAUSE" | "CONTINUE" | "ERROR", _) => Err(TextError::WrongFields),
            _ => Err(TextError::UnknownMessage),
        }
    }

    /// Appends the message to `out` and says which kind of WebSocket message carries it.
    pub fn encode(&self, out: &mut Vec<u8>) -> PayloadKind {
        if let Self::Data {
            offset,
            kind,
            payload,
        } = self
        {
            out.extend_from_slice(&crate::Prefix::number(offset.get()));
            out.extend_from_slice(payload);
            return *kind;
        }
        out.extend_from_slice(self.control().as_bytes());
        PayloadKind::Text
    }

    /// The text of a message without payload.
    pub(crate) fn control(&self) -> String {
        match self {
            Self::ResumeFrom(seq) => format!("RESUME_FROM:{}", seq.get()),
            Self::Resumed { offset, head, epoch } => {
                format!("RESUMED:{}:{}@{epoch}", offset.get(), head.get())
            }
            Self::Reset { epoch, common } => format!("RESET:{epoch}:{}", common.get()),
            Self::Gap { from, to, reason } => format!("GAP:{}:{}:{reason}", from.get(), to.get()),
            Self::Data { .. } => String::new(),
            Self::Ack(seq) => format!("ACK:{}", seq.get()),
            Self::Pause(reason) => format!("PAUSE:{}", reason.as_str()),
            Self::Continue => "CONTINUE".into(),
            Self::Error { code, text } => format!("ERROR:{code}:{}", text.as_str()),
            Self::Refused { seq, code, text } => format!("ERROR:{code}:{}:{}", seq.get(), text.as_str()),
        }
    }
}

fn parse_resumed<'a>(rest: Option<&'a str>) -> Result<ServerMessage<'a>, TextError> {
    let [offset, head] = scan::fields(rest)?;
    let (head, epoch) = head.split_once('@').ok_or(TextError::WrongFields)?;
    let (offset, head) = (scan::offset(offset)?, scan::offset(head)?);
    if offset > head {
        return Err(TextError::BadRange);
    }
    Ok(ServerMessage::Resumed {
        offset,
        head,
        epoch: scan::epoch(epoch)?,
    })
}

fn parse_gap<'a>(rest: Option<&'a str>) -> Result<ServerMessage<'a>, TextError> {
    let [from, to, reason] = scan::fields(rest)?;
    let (from, to) = (scan::offset(from)?, scan::offset(to)?);
    if from.get() == 0 || from > to {
        return Err(TextError::BadRange);
    }
    Ok(ServerMessage::Gap {
        from,
        to,
        reason: GapReason::parse(reason)?,
    })
}

fn parse_error(rest: &str) -> Result<ServerMessage<'_>, TextError> {
    let (code, text) = rest.split_once(':').ok_or(TextError::WrongFields)?;
    let code = ErrorCode::parse(code)?;
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        let text = ErrorText::new(text).ok_or(TextError::BadWord)?;
        return Ok(ServerMessage::Error { code, text });
    }
    let (seq, text) = text.split_once(':').ok_or(TextError::WrongFields)?;
    let seq = scan::seq(seq)?;
    if seq.get() == 0 {
        return Err(TextError::BadNumber);
    }
    let text = ErrorText::new(text).ok_or(TextError::BadWord)?;
    Ok(ServerMessage::Refused { seq, code, text })
}
