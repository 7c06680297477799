use weirline_log::{NUMBER_MAX, SessionId};

use super::super::error::{Name, WireError, WireErrorKind as E};
use super::super::message::{Ack, ClientMessage, Credit, Flow, Hello, Publish, Skip, Subscribe};
use super::super::values::{Begin, Credential, Nonce, Policy, Token};
use super::{Reader, Side, Writer, types};

impl<'a> ClientMessage<'a> {
    /// `None` is an extension.
    pub(in super::super) fn decode_binary(message: &'a [u8]) -> Result<Option<Self>, WireError> {
        let mut reader = Reader::new(message);
        let decoded = match reader.byte(Name::Type)? {
            types::HELLO => Self::Hello(reader.hello()?),
            types::SUB => Self::Subscribe(reader.subscribe()?),
            types::UNSUB => Self::Unsubscribe(reader.sub()?),
            types::ACK => Self::Ack(Ack {
                sub: reader.sub()?,
                position: reader.position()?,
            }),
            types::CREDIT => Self::Credit(Credit {
                sub: reader.some_sub()?,
                limits: reader.limits()?,
            }),
            types::FLOW => Self::Flow(reader.flow()?),
            types::PUB => Self::Publish(reader.publish()?),
            types::SKIP => {
                let from = reader.seq_from(Name::From, 1)?;
                let to = reader.seq_from(Name::To, from.get())?;
                Self::Skip(Skip { from, to })
            }
            types::PING => Self::Ping(reader.ping(Side::Client)?),
            types::PONG => Self::Pong(reader.ping(Side::Client)?),
            types::AUTH => Self::Auth(reader.credential()?),
            types::BYE => Self::Bye,
            types::EXTENSIONS.. => return Ok(None),
            _ => return Err(E::UnknownType.at(Name::Type)),
        };
        reader.end(decoded)
    }

    pub(in super::super) fn encode_binary(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello(hello) => {
                out.byte(types::HELLO);
                write_hello(hello, out);
            }
            Self::Subscribe(subscribe) => {
                out.byte(types::SUB);
                write_subscribe(subscribe, out);
            }
            Self::Unsubscribe(sub) => {
                out.byte(types::UNSUB);
                out.sub(Some(*sub));
            }
            Self::Ack(Ack { sub, position }) => {
                out.byte(types::ACK);
                out.sub(Some(*sub));
                out.position(*position);
            }
            Self::Credit(credit) => write_credit(*credit, out),
            Self::Flow(flow) => write_flow(flow, out),
            Self::Publish(Publish { seq, stream, payload }) => {
                out.byte(types::PUB);
                out.number(seq.get());
                out.kind(payload.kind);
                out.text(stream.as_str());
                out.bytes(&payload.bytes);
            }
            Self::Skip(Skip { from, to }) => {
                out.byte(types::SKIP);
                out.number(from.get());
                out.number(to.get());
            }
            Self::Ping(ping) => {
                out.byte(types::PING);
                out.ping(ping);
            }
            Self::Pong(ping) => {
                out.byte(types::PONG);
                out.ping(ping);
            }
            Self::Auth(credential) => {
                out.byte(types::AUTH);
                out.text(credential.as_str());
            }
            Self::Bye => out.byte(types::BYE),
        }
    }
}

impl<'a> Reader<'a> {
    fn hello(&mut self) -> Result<Hello<'a>, WireError> {
        self.version()?;
        let flags = self.flags(3)?;
        let session = (flags & 1 != 0)
            .then(|| {
                Ok((
                    SessionId(self.array(Name::Session)?),
                    Token(self.array(Name::Token)?),
                ))
            })
            .transpose()?;
        let attach = self.attach()?;
        if session.is_some() == (attach.get() == 1) {
            return Err(E::OutOfRange.at(Name::Attach));
        }
        let nonce = Nonce(self.array(Name::Nonce)?);
        let credential = (flags & 2 != 0).then(|| self.credential()).transpose()?;
        let limits = self.limits()?;
        let mut subs = Vec::new();
        for _ in 0..self.list_len()? {
            subs.push(self.subscribe()?);
        }
        super::super::distinct(subs.iter().map(|subscribe| subscribe.sub))?;
        Ok(Hello {
            session,
            attach,
            nonce,
            credential,
            limits,
            subs,
        })
    }

    fn subscribe(&mut self) -> Result<Subscribe, WireError> {
        let sub = self.sub()?;
        let stream = self.stream()?;
        let begin = match self.byte(Name::Start)? {
            0 => Begin::After {
                offset: self.offset(Name::After)?,
                epoch: None,
            },
            1 => {
                let epoch = Some(self.epoch()?);
                let offset = self.offset(Name::After)?;
                Begin::After { offset, epoch }
            }
            2 => Begin::Head,
            3 => Begin::AckedOrHead,
            4 => Begin::AckedOrStart,
            _ => return Err(E::BadValue.at(Name::Start)),
        };
        let policy = match self.byte(Name::Policy)? {
            0 => Policy::Pause,
            1 => Policy::DropOldest {
                keep: self.ranged(Name::Keep, 1, NUMBER_MAX)?,
            },
            2 => Policy::Break,
            _ => return Err(E::BadValue.at(Name::Policy)),
        };
        let limits = self.limits()?;
        Ok(Subscribe {
            sub,
            stream,
            begin,
            policy,
            limits,
        })
    }

    fn credential(&mut self) -> Result<Credential<'a>, WireError> {
        let text = self.text(Name::Credential, Credential::LEN_MAX)?;
        Credential::new(text).ok_or(E::BadValue.at(Name::Credential))
    }

    pub(super) fn flow(&mut self) -> Result<Flow, WireError> {
        let sub = self.some_sub()?;
        let pause = match self.byte(Name::State)? {
            0 => None,
            1 => Some(self.word(Name::Reason)?),
            _ => return Err(E::BadValue.at(Name::State)),
        };
        Ok(Flow { sub, pause })
    }

    fn publish(&mut self) -> Result<Publish<'a>, WireError> {
        let seq = self.seq_from(Name::Seq, 1)?;
        let kind = self.kind()?;
        let stream = self.stream()?;
        let payload = self.payload(kind)?;
        Ok(Publish { seq, stream, payload })
    }
}

fn write_hello(hello: &Hello<'_>, out: &mut Vec<u8>) {
    let Hello {
        session,
        attach,
        nonce,
        credential,
        limits,
        subs,
    } = hello;
    out.number(1);
    out.byte(u8::from(session.is_some()) | u8::from(credential.is_some()) << 1);
    if let Some((session, token)) = session {
        out.bytes(&session.0);
        out.bytes(&token.0);
    }
    out.number(attach.get());
    out.bytes(&nonce.0);
    if let Some(credential) = credential {
        out.text(credential.as_str());
    }
    out.limits(*limits);
    out.number(subs.len() as u64);
    for subscribe in subs {
        write_subscribe(subscribe, out);
    }
}

fn write_subscribe(subscribe: &Subscribe, out: &mut Vec<u8>) {
    let Subscribe {
        sub,
        stream,
        begin,
        policy,
        limits,
    } = subscribe;
    out.sub(Some(*sub));
    out.text(stream.as_str());
    match begin {
        Begin::After { offset, epoch: None } => {
            out.byte(0);
            out.number(offset.get());
        }
        Begin::After {
            offset,
            epoch: Some(epoch),
        } => {
            out.byte(1);
            out.bytes(&epoch.get().to_be_bytes());
            out.number(offset.get());
        }
        Begin::Head => out.byte(2),
        Begin::AckedOrHead => out.byte(3),
        Begin::AckedOrStart => out.byte(4),
    }
    match policy {
        Policy::Pause => out.byte(0),
        Policy::DropOldest { keep } => {
            out.byte(1);
            out.number(*keep);
        }
        Policy::Break => out.byte(2),
    }
    out.limits(*limits);
}

pub(super) fn write_credit(Credit { sub, limits }: Credit, out: &mut Vec<u8>) {
    out.byte(types::CREDIT);
    out.sub(sub);
    out.limits(limits);
}

pub(super) fn write_flow(Flow { sub, pause }: &Flow, out: &mut Vec<u8>) {
    out.byte(types::FLOW);
    out.sub(*sub);
    match pause {
        None => out.byte(0),
        Some(reason) => {
            out.byte(1);
            out.text(reason.as_str());
        }
    }
}
