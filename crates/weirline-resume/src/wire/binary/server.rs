use std::time::Duration;

use weirline_log::{NUMBER_MAX, Offset, PayloadKind, RollingHash, SessionId};

use super::super::choice::{Attached, Choice as _};
use super::super::error::{Name, WireError, WireErrorKind as E};
use super::super::message::{
    AuthAnswer, Credit, Data, Drain, Fault, Gap, PubAck, Refused, Reject, Reset, ServerMessage, Subscribed,
    Welcome,
};
use super::super::values::{Sub, Token, Url};
use super::super::{DEADLINE_MS_MAX, HEARTBEAT_MS, HINT_MS_MAX, SIZE_MIN};
use super::client::{write_credit, write_flow};
use super::{Reader, Side, Writer, types};

impl<'a> ServerMessage<'a> {
    /// `None` is an extension.
    pub(in super::super) fn decode_binary(message: &'a [u8]) -> Result<Option<Self>, WireError> {
        let mut reader = Reader::new(message);
        let decoded = match reader.byte(Name::Type)? {
            types::WELCOME => Self::Welcome(reader.welcome()?),
            types::SUBOK => Self::Subscribed(reader.subscribed()?),
            types::UNSUB => Self::Unsubscribed {
                sub: reader.sub()?,
                fault: reader.fault()?,
            },
            types::DATA => Self::Data(reader.data()?),
            types::CREDIT => match reader.some_sub()? {
                None => Self::Credit(Credit {
                    sub: None,
                    limits: reader.limits()?,
                }),
                Some(_) => return Err(E::OutOfRange.at(Name::Sub)),
            },
            types::FLOW => Self::Flow(reader.flow()?),
            types::GAP => {
                let sub = reader.sub()?;
                let from = reader.offset_from(Name::From, 1)?;
                let to = reader.offset_from(Name::To, from.get())?;
                let reason = reader.choice(Name::Reason)?;
                Self::Gap(Gap {
                    sub,
                    from,
                    to,
                    reason,
                })
            }
            types::RESET => Self::Reset(Reset {
                sub: reader.sub()?,
                epoch: reader.epoch()?,
                common: reader.offset(Name::Common)?,
            }),
            types::PUBACK => Self::PubAck(reader.puback()?),
            types::PING => Self::Ping(reader.ping(Side::Server)?),
            types::PONG => Self::Pong(reader.ping(Side::Server)?),
            types::AUTH => Self::Auth(reader.auth_answer()?),
            types::DRAIN => Self::Drain(reader.drain()?),
            types::REJECT => Self::Reject(reader.reject()?),
            types::BYE => Self::Bye(reader.fault()?),
            types::EXTENSIONS.. => return Ok(None),
            _ => return Err(E::UnknownType.at(Name::Type)),
        };
        reader.end(decoded)
    }

    pub(in super::super) fn encode_binary(&self, out: &mut Vec<u8>) {
        match self {
            Self::Welcome(welcome) => write_welcome(welcome, out),
            Self::Subscribed(subscribed) => write_subscribed(subscribed, out),
            Self::Unsubscribed { sub, fault } => {
                out.byte(types::UNSUB);
                out.sub(Some(*sub));
                out.fault(fault.as_ref());
            }
            Self::Data(Data {
                sub,
                offset,
                previous,
                payload,
            }) => {
                data_head(out, *sub, *offset, *previous, payload.kind);
                out.bytes(&payload.bytes);
            }
            Self::Credit(credit) => write_credit(*credit, out),
            Self::Flow(flow) => write_flow(flow, out),
            Self::Gap(Gap {
                sub,
                from,
                to,
                reason,
            }) => {
                out.byte(types::GAP);
                out.sub(Some(*sub));
                out.number(from.get());
                out.number(to.get());
                out.byte(reason.byte());
            }
            Self::Reset(Reset { sub, epoch, common }) => {
                out.byte(types::RESET);
                out.sub(Some(*sub));
                out.bytes(&epoch.get().to_be_bytes());
                out.number(common.get());
            }
            Self::PubAck(puback) => write_puback(puback, out),
            Self::Ping(ping) => {
                out.byte(types::PING);
                out.ping(ping);
            }
            Self::Pong(ping) => {
                out.byte(types::PONG);
                out.ping(ping);
            }
            Self::Auth(answer) => write_auth(answer, out),
            Self::Drain(Drain { after, deadline, url }) => {
                out.byte(types::DRAIN);
                out.millis(*after);
                out.millis(*deadline);
                out.text(url.as_ref().map_or("", Url::as_str));
            }
            Self::Reject(reject) => write_reject(reject, out),
            Self::Bye(fault) => {
                out.byte(types::BYE);
                out.fault(fault.as_ref());
            }
        }
    }
}

impl<'a> Reader<'a> {
    fn welcome(&mut self) -> Result<Welcome, WireError> {
        self.version()?;
        let session = SessionId(self.array(Name::Session)?);
        let token = (self.flags(1)? != 0)
            .then(|| self.array(Name::Token).map(Token))
            .transpose()?;
        let attach = self.attach()?;
        let outcome = self.choice(Name::Outcome)?;
        if token.is_some() != (outcome == Attached::New) {
            return Err(E::Conflict.at(Name::Token));
        }
        Ok(Welcome {
            session,
            token,
            attach,
            outcome,
            count: self.seq_from(Name::Count, 0)?,
            hash: RollingHash(self.array(Name::Hash)?),
            durability: self.choice(Name::Durability)?,
            ttl: self.millis(Name::Ttl, 0, NUMBER_MAX)?,
            heartbeat: self.millis(Name::Heartbeat, *HEARTBEAT_MS.start(), *HEARTBEAT_MS.end())?,
            size: self.ranged(Name::Size, SIZE_MIN, NUMBER_MAX)?,
            limits: self.limits()?,
        })
    }

    fn subscribed(&mut self) -> Result<Subscribed, WireError> {
        let sub = self.sub()?;
        let position = self.position()?;
        let head = self.offset_from(Name::Head, position.offset.get())?;
        let state = self.choice(Name::State)?;
        Ok(Subscribed {
            sub,
            position,
            head,
            state,
        })
    }

    fn data(&mut self) -> Result<Data<'a>, WireError> {
        let sub = self.sub()?;
        let kind = self.kind()?;
        let offset = self.offset_from(Name::Offset, 1)?;
        let step = self.ranged(Name::Step, 1, offset.get())?;
        let previous = Offset::new(offset.get() - step).map_err(|_| E::OutOfRange.at(Name::Step))?;
        let payload = self.payload(kind)?;
        Ok(Data {
            sub,
            offset,
            previous,
            payload,
        })
    }

    fn puback(&mut self) -> Result<PubAck<'a>, WireError> {
        let seq = self.seq_from(Name::Seq, 0)?;
        let Some(code) = self.code()? else {
            return Ok(PubAck { seq, refused: None });
        };
        let retry = self.millis(Name::Retry, 0, HINT_MS_MAX)?;
        let detail = self.detail()?;
        let refused = Refused {
            fault: Fault { code, detail },
            retry: Some(retry).filter(|retry| !retry.is_zero()),
        };
        Ok(PubAck {
            seq,
            refused: Some(refused),
        })
    }

    fn auth_answer(&mut self) -> Result<AuthAnswer<'a>, WireError> {
        if let Some(code) = self.code()? {
            let detail = self.detail()?;
            return Ok(AuthAnswer::Refused(Fault { code, detail }));
        }
        let expires = self.millis(Name::Expires, 0, NUMBER_MAX)?;
        let expires = Some(expires).filter(|expires| !expires.is_zero());
        Ok(AuthAnswer::Accepted { expires })
    }

    fn drain(&mut self) -> Result<Drain<'a>, WireError> {
        let after = self.ranged(Name::After, 0, HINT_MS_MAX)?;
        let deadline = self.millis(Name::Deadline, after, DEADLINE_MS_MAX)?;
        let url = match self.text(Name::Url, Url::LEN_MAX)? {
            "" => None,
            url => Some(Url::new(url).ok_or(E::BadValue.at(Name::Url))?),
        };
        Ok(Drain {
            after: Duration::from_millis(after),
            deadline,
            url,
        })
    }

    fn reject(&mut self) -> Result<Reject<'a>, WireError> {
        let code = self.code()?.ok_or(E::BadValue.at(Name::Code))?;
        let flags = self.flags(7)?;
        let retry = (flags & 2 != 0)
            .then(|| self.millis(Name::Retry, 0, HINT_MS_MAX))
            .transpose()?;
        let attach = (flags & 4 != 0).then(|| self.attach()).transpose()?;
        let detail = self.detail()?;
        Ok(Reject {
            fault: Fault { code, detail },
            resumable: flags & 1 != 0,
            retry,
            attach,
        })
    }
}

pub(super) fn data_head(
    out: &mut impl Writer,
    sub: Sub,
    offset: Offset,
    previous: Offset,
    kind: PayloadKind,
) {
    out.byte(types::DATA);
    out.sub(Some(sub));
    out.kind(kind);
    out.number(offset.get());
    out.number(offset.since(previous));
}

fn write_welcome(welcome: &Welcome, out: &mut Vec<u8>) {
    out.byte(types::WELCOME);
    out.number(1);
    out.bytes(&welcome.session.0);
    out.byte(u8::from(welcome.token.is_some()));
    if let Some(token) = &welcome.token {
        out.bytes(&token.0);
    }
    out.number(welcome.attach.get());
    out.byte(welcome.outcome.byte());
    out.number(welcome.count.get());
    out.bytes(&welcome.hash.0);
    out.byte(welcome.durability.byte());
    out.millis(welcome.ttl);
    out.millis(welcome.heartbeat);
    out.number(welcome.size);
    out.limits(welcome.limits);
}

fn write_subscribed(subscribed: &Subscribed, out: &mut Vec<u8>) {
    out.byte(types::SUBOK);
    out.sub(Some(subscribed.sub));
    out.position(subscribed.position);
    out.number(subscribed.head.get());
    out.byte(subscribed.state.byte());
}

fn write_puback(PubAck { seq, refused }: &PubAck<'_>, out: &mut Vec<u8>) {
    out.byte(types::PUBACK);
    out.number(seq.get());
    match refused {
        None => out.byte(0),
        Some(Refused { fault, retry }) => {
            out.byte(fault.code.byte());
            out.millis(retry.unwrap_or_default());
            out.text(fault.detail.as_str());
        }
    }
}

fn write_auth(answer: &AuthAnswer<'_>, out: &mut Vec<u8>) {
    out.byte(types::AUTH);
    match answer {
        AuthAnswer::Accepted { expires } => {
            out.byte(0);
            out.millis(expires.unwrap_or_default());
        }
        AuthAnswer::Refused(fault) => out.fault(Some(fault)),
    }
}

fn write_reject(reject: &Reject<'_>, out: &mut Vec<u8>) {
    let Reject {
        fault,
        resumable,
        retry,
        attach,
    } = reject;
    out.byte(types::REJECT);
    out.byte(fault.code.byte());
    out.byte(u8::from(*resumable) | u8::from(retry.is_some()) << 1 | u8::from(attach.is_some()) << 2);
    if let Some(retry) = retry {
        out.millis(*retry);
    }
    if let Some(attach) = attach {
        out.number(attach.get());
    }
    out.text(fault.detail.as_str());
}
