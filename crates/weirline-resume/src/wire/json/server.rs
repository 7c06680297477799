use weirline_log::{NUMBER_MAX, RollingHash, SessionId};

use super::super::choice::Attached;
use super::super::error::{Name, WireError, WireErrorKind as E};
use super::super::message::{
    AuthAnswer, Credit, Data, Drain, Gap, PubAck, Refused, Reject, Reset, ServerMessage, Subscribed, Welcome,
};
use super::super::values::{Token, Url};
use super::super::{DEADLINE_MS_MAX, HEARTBEAT_MS, HINT_MS_MAX, SIZE_MIN};
use super::Object;
use super::client::{is_extension, write_flow};
use super::write::Json;

impl<'a> ServerMessage<'a> {
    /// `None` is an extension.
    pub(in super::super) fn decode_json(message: &'a [u8]) -> Result<Option<Self>, WireError> {
        let object = Object::parse(message)?;
        let word = object.message_type()?;
        if is_extension(&word) {
            return Ok(None);
        }
        let unique = object.unique();
        let decoded = match &*word {
            "welcome" => unique.and_then(|()| object.welcome()).map(Self::Welcome),
            "subok" => unique.and_then(|()| object.subscribed()).map(Self::Subscribed),
            "unsub" => unique.and_then(|()| {
                Ok(Self::Unsubscribed {
                    sub: object.sub()?,
                    fault: object.fault()?,
                })
            }),
            "data" => unique.and_then(|()| object.data()).map(Self::Data),
            "credit" => unique.and_then(|()| {
                object.none_of(&[Name::Sub])?;
                let (sub, limits) = (None, object.limits()?);
                Ok(Self::Credit(Credit { sub, limits }))
            }),
            "flow" => unique.and_then(|()| object.flow()).map(Self::Flow),
            "gap" => unique.and_then(|()| object.gap()).map(Self::Gap),
            "reset" => unique.and_then(|()| object.reset()).map(Self::Reset),
            "puback" => unique.and_then(|()| object.puback()).map(Self::PubAck),
            "ping" => unique.and_then(|()| object.ping(true)).map(Self::Ping),
            "pong" => unique.and_then(|()| object.ping(true)).map(Self::Pong),
            "auth" => unique.and_then(|()| object.auth_answer()).map(Self::Auth),
            "drain" => unique.and_then(|()| object.drain()).map(Self::Drain),
            "reject" => unique.and_then(|()| object.reject()).map(Self::Reject),
            "bye" => unique.and_then(|()| object.fault()).map(Self::Bye),
            _ => Err(E::UnknownType.at(Name::Type)),
        };
        decoded.map(Some)
    }

    pub(in super::super) fn encode_json(&self, out: &mut Vec<u8>) {
        let mut json = Json::new(out, self.name());
        match self {
            Self::Welcome(welcome) => write_welcome(&mut json, welcome),
            Self::Subscribed(subscribed) => {
                json.sub(subscribed.sub);
                json.position(subscribed.position);
                json.number(Name::Head, subscribed.head.get());
                json.choice(Name::State, subscribed.state);
            }
            Self::Unsubscribed { sub, fault } => {
                json.sub(*sub);
                json.fault(fault.as_ref());
            }
            Self::Data(data) => {
                json.sub(data.sub);
                json.number(Name::Offset, data.offset.get());
                json.number(Name::Prev, data.previous.get());
                json.payload(&data.payload);
            }
            Self::Credit(Credit { limits, .. }) => json.limits(*limits),
            Self::Flow(flow) => write_flow(&mut json, flow),
            Self::Gap(gap) => {
                json.sub(gap.sub);
                json.number(Name::From, gap.from.get());
                json.number(Name::To, gap.to.get());
                json.choice(Name::Reason, gap.reason);
            }
            Self::Reset(reset) => {
                json.sub(reset.sub);
                json.text(Name::Epoch, &reset.epoch.to_string());
                json.number(Name::Common, reset.common.get());
            }
            Self::PubAck(puback) => write_puback(&mut json, puback),
            Self::Ping(ping) | Self::Pong(ping) => json.ping(ping),
            Self::Auth(AuthAnswer::Accepted { expires: None }) => {}
            Self::Auth(AuthAnswer::Accepted {
                expires: Some(expires),
            }) => {
                json.millis(Name::Expires, *expires);
            }
            Self::Auth(AuthAnswer::Refused(fault)) => json.fault(Some(fault)),
            Self::Drain(drain) => {
                json.millis(Name::After, drain.after);
                json.millis(Name::Deadline, drain.deadline);
                if let Some(url) = &drain.url {
                    json.text(Name::Url, url.as_str());
                }
            }
            Self::Reject(reject) => write_reject(&mut json, reject),
            Self::Bye(fault) => json.fault(fault.as_ref()),
        }
        json.close();
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Welcome(_) => "welcome",
            Self::Subscribed(_) => "subok",
            Self::Unsubscribed { .. } => "unsub",
            Self::Data(_) => "data",
            Self::Credit(_) => "credit",
            Self::Flow(_) => "flow",
            Self::Gap(_) => "gap",
            Self::Reset(_) => "reset",
            Self::PubAck(_) => "puback",
            Self::Ping(_) => "ping",
            Self::Pong(_) => "pong",
            Self::Auth(_) => "auth",
            Self::Drain(_) => "drain",
            Self::Reject(_) => "reject",
            Self::Bye(_) => "bye",
        }
    }
}

impl<'a> Object<'a> {
    fn welcome(&self) -> Result<Welcome, WireError> {
        self.version()?;
        let session = SessionId(self.must_array(Name::Session)?);
        let token = self.array(Name::Token)?.map(Token);
        let attach = self.must_attach()?;
        let outcome = self.choice(Name::Outcome)?;
        if token.is_some() != (outcome == Attached::New) {
            return Err(E::Conflict.at(Name::Token));
        }
        Ok(Welcome {
            session,
            token,
            attach,
            outcome,
            count: self.seq(Name::Count, 0)?,
            hash: RollingHash(self.must_array(Name::Hash)?),
            durability: self.choice(Name::Durability)?,
            ttl: self.must_millis(Name::Ttl, 0, NUMBER_MAX)?,
            heartbeat: self.must_millis(Name::Heartbeat, *HEARTBEAT_MS.start(), *HEARTBEAT_MS.end())?,
            size: self.must_number(Name::Size, SIZE_MIN, NUMBER_MAX)?,
            limits: self.first_limits()?,
        })
    }

    fn subscribed(&self) -> Result<Subscribed, WireError> {
        let sub = self.sub()?;
        let position = self.position()?;
        let head = self.offset(Name::Head, position.offset.get())?;
        let state = self.choice(Name::State)?;
        Ok(Subscribed {
            sub,
            position,
            head,
            state,
        })
    }

    fn data(&self) -> Result<Data<'a>, WireError> {
        let sub = self.sub()?;
        let offset = self.offset(Name::Offset, 1)?;
        let previous = self.offset(Name::Prev, 0)?;
        if previous >= offset {
            return Err(E::OutOfRange.at(Name::Prev));
        }
        let payload = self.payload()?;
        Ok(Data {
            sub,
            offset,
            previous,
            payload,
        })
    }

    fn gap(&self) -> Result<Gap, WireError> {
        let sub = self.sub()?;
        let from = self.offset(Name::From, 1)?;
        let to = self.offset(Name::To, from.get())?;
        let reason = self.choice(Name::Reason)?;
        Ok(Gap {
            sub,
            from,
            to,
            reason,
        })
    }

    fn reset(&self) -> Result<Reset, WireError> {
        Ok(Reset {
            sub: self.sub()?,
            epoch: self.epoch()?,
            common: self.offset(Name::Common, 0)?,
        })
    }

    fn puback(&self) -> Result<PubAck<'a>, WireError> {
        let seq = self.seq(Name::Seq, 0)?;
        let Some(fault) = self.fault()? else {
            self.none_of(&[Name::Retry])?;
            return Ok(PubAck { seq, refused: None });
        };
        let retry = self.millis(Name::Retry, 1, HINT_MS_MAX)?;
        let refused = Some(Refused { fault, retry });
        Ok(PubAck { seq, refused })
    }

    fn auth_answer(&self) -> Result<AuthAnswer<'a>, WireError> {
        if let Some(fault) = self.fault()? {
            self.none_of(&[Name::Expires])?;
            return Ok(AuthAnswer::Refused(fault));
        }
        let expires = self.millis(Name::Expires, 0, NUMBER_MAX)?;
        let expires = expires.filter(|expires| !expires.is_zero());
        Ok(AuthAnswer::Accepted { expires })
    }

    fn drain(&self) -> Result<Drain<'a>, WireError> {
        let after = self.must_millis(Name::After, 0, HINT_MS_MAX)?;
        let least = super::super::millis(after);
        let deadline = self.must_millis(Name::Deadline, least, DEADLINE_MS_MAX)?;
        let url = match self.text(Name::Url)? {
            None => None,
            Some(url) if url.is_empty() => None,
            Some(url) => Some(Url::new(url).ok_or(E::BadValue.at(Name::Url))?),
        };
        Ok(Drain { after, deadline, url })
    }

    fn reject(&self) -> Result<Reject<'a>, WireError> {
        let fault = self.fault()?.ok_or(E::Missing.at(Name::Code))?;
        Ok(Reject {
            fault,
            resumable: self.flag(Name::Resumable)?,
            retry: self.millis(Name::Retry, 0, HINT_MS_MAX)?,
            attach: self.attach()?,
        })
    }
}

fn write_welcome(json: &mut Json<'_>, welcome: &Welcome) {
    json.number(Name::Version, 1);
    json.bytes(Name::Session, &welcome.session.0);
    if let Some(token) = &welcome.token {
        json.bytes(Name::Token, &token.0);
    }
    json.number(Name::Attach, welcome.attach.get());
    json.choice(Name::Outcome, welcome.outcome);
    json.number(Name::Count, welcome.count.get());
    json.bytes(Name::Hash, &welcome.hash.0);
    json.choice(Name::Durability, welcome.durability);
    json.millis(Name::Ttl, welcome.ttl);
    json.millis(Name::Heartbeat, welcome.heartbeat);
    json.number(Name::Size, welcome.size);
    json.first_limits(welcome.limits);
}

fn write_puback(json: &mut Json<'_>, PubAck { seq, refused }: &PubAck<'_>) {
    json.number(Name::Seq, seq.get());
    if let Some(Refused { fault, retry }) = refused {
        json.choice(Name::Code, fault.code);
        if let Some(retry) = retry {
            json.millis(Name::Retry, *retry);
        }
        if !fault.detail.as_str().is_empty() {
            json.text(Name::Detail, fault.detail.as_str());
        }
    }
}

fn write_reject(json: &mut Json<'_>, reject: &Reject<'_>) {
    json.choice(Name::Code, reject.fault.code);
    json.flag(Name::Resumable, reject.resumable);
    if let Some(retry) = reject.retry {
        json.millis(Name::Retry, retry);
    }
    if let Some(attach) = reject.attach {
        json.number(Name::Attach, attach.get());
    }
    if !reject.fault.detail.as_str().is_empty() {
        json.text(Name::Detail, reject.fault.detail.as_str());
    }
}
