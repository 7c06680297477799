use std::fmt::Write as _;

use weirline_log::{Attach, Epoch, Offset, PayloadKind, Seq};

use super::{TextError, scan};
use crate::Secret;

/// From where a client wants its stream: the field of its `RESUME_FROM`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// `n` or `n@epoch`: 'I have yours up to n'; 0 asks for everything that is kept.
    After {
        /// The last offset the client has.
        offset: Offset,
        /// Without it, a change of epoch goes unnoticed unless the offset is beyond the head.
        epoch: Option<Epoch>,
    },
    /// `head`: only what is published after the answer.
    Head,
    /// `none`: publish only.
    Nothing,
}

/// A message from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientMessage<'a> {
    /// `SESSION:secret:attach`, before `RESUME_FROM` or not at all.
    Session {
        /// Names the session.
        secret: Secret,
        /// From 1, higher at each dial.
        attach: Attach,
    },
    /// `RESUME_FROM:…`, exactly once.
    ResumeFrom(Start),
    /// `ACK:offset`: everything up to it is handled.
    Ack(Offset),
    /// `seq:payload`, text or binary.
    Publish {
        /// From 1, by one.
        seq: Seq,
        /// The payload's kind is the message's.
        kind: PayloadKind,
        /// What stands behind the colon, perhaps nothing.
        payload: &'a [u8],
    },
}

impl<'a> ClientMessage<'a> {
    /// Parses one message. The cost is bounded by a few dozen bytes, but for the UTF-8 check of messages that are not a PUB.
    ///
    /// # Errors
    /// [`TextError`]: the peer is at fault; answer `ERROR:bad-message:…`.
    pub fn parse(kind: PayloadKind, message: &'a [u8]) -> Result<Self, TextError> {
        if let Some((seq, payload)) = scan::numbered(message)? {
            return Ok(Self::Publish {
                seq: scan::to_seq(seq)?,
                kind,
                payload,
            });
        }
        if kind == PayloadKind::Binary {
            return Err(TextError::NotNumbered);
        }
        let text = str::from_utf8(message).map_err(|_| TextError::NotUtf8)?;
        let (word, rest) = text.split_once(':').ok_or(TextError::UnknownMessage)?;
        match word {
            "SESSION" => {
                let [secret, attach] = scan::fields(Some(rest))?;
                let secret = Secret::parse(secret).ok_or(TextError::BadSecret)?;
                Ok(Self::Session {
                    secret,
                    attach: scan::attach(attach)?,
                })
            }
            "RESUME_FROM" => Ok(Self::ResumeFrom(Start::parse(rest)?)),
            "ACK" => Ok(Self::Ack(scan::offset(rest)?)),
            _ => Err(TextError::UnknownMessage),
        }
    }

    /// Appends the message to `out` and says which kind of WebSocket message carries it.
    pub fn encode(&self, out: &mut Vec<u8>) -> PayloadKind {
        match self {
            Self::Publish { seq, kind, payload } => {
                out.extend_from_slice(&crate::Prefix::number(seq.get()));
                out.extend_from_slice(payload);
                *kind
            }
            Self::Session { .. } | Self::ResumeFrom(_) | Self::Ack(_) => {
                out.extend_from_slice(self.control().as_bytes());
                PayloadKind::Text
            }
        }
    }

    /// The text of a message without payload.
    pub(crate) fn control(&self) -> String {
        match self {
            Self::Session { secret, attach } => format!("SESSION:{}:{}", secret.as_str(), attach.get()),
            Self::ResumeFrom(start) => start.control(),
            Self::Ack(offset) => format!("ACK:{}", offset.get()),
            Self::Publish { .. } => String::new(),
        }
    }
}

impl Start {
    fn parse(field: &str) -> Result<Self, TextError> {
        match field {
            "head" => return Ok(Self::Head),
            "none" => return Ok(Self::Nothing),
            _ => {}
        }
        let (offset, epoch) = match field.split_once('@') {
            Some((offset, epoch)) => (offset, Some(scan::epoch(epoch)?)),
            None => (field, None),
        };
        Ok(Self::After {
            offset: scan::offset(offset)?,
            epoch,
        })
    }

    fn control(self) -> String {
        let mut text = String::from("RESUME_FROM:");
        match self {
            Self::Head => text.push_str("head"),
            Self::Nothing => text.push_str("none"),
            Self::After { offset, epoch } => {
                // Writing to a String cannot fail.
                let _ = write!(text, "{}", offset.get());
                if let Some(epoch) = epoch {
                    let _ = write!(text, "@{epoch}");
                }
            }
        }
        text
    }
}
