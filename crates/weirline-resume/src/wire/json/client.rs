use weirline_log::{NUMBER_MAX, SessionId};

use super::super::error::{Name, WireError, WireErrorKind as E};
use super::super::message::{Ack, ClientMessage, Credit, Flow, Hello, Publish, Skip, Subscribe};
use super::super::values::{Begin, Credential, Nonce, Policy, Token, Word};
use super::Object;
use super::write::Json;

impl<'a> ClientMessage<'a> {
    /// `None` is an extension.
    pub(in super::super) fn decode_json(message: &'a [u8]) -> Result<Option<Self>, WireError> {
        let object = Object::parse(message)?;
        let word = object.message_type()?;
        if is_extension(&word) {
            return Ok(None);
        }
        let unique = object.unique();
        let decoded = match &*word {
            "hello" => unique.and_then(|()| object.hello()).map(Self::Hello),
            "sub" => unique.and_then(|()| object.subscribe()).map(Self::Subscribe),
            "unsub" => unique.and_then(|()| object.sub()).map(Self::Unsubscribe),
            "ack" => unique.and_then(|()| object.ack()).map(Self::Ack),
            "credit" => unique.and_then(|()| object.credit()).map(Self::Credit),
            "flow" => unique.and_then(|()| object.flow()).map(Self::Flow),
            "pub" => unique.and_then(|()| object.publish()).map(Self::Publish),
            "skip" => unique.and_then(|()| object.skip()).map(Self::Skip),
            "ping" => unique.and_then(|()| object.ping(false)).map(Self::Ping),
            "pong" => unique.and_then(|()| object.ping(false)).map(Self::Pong),
            "auth" => unique.and_then(|()| object.auth()).map(Self::Auth),
            "bye" => unique.map(|()| Self::Bye),
            _ => Err(E::UnknownType.at(Name::Type)),
        };
        decoded.map(Some)
    }

    pub(in super::super) fn encode_json(&self, out: &mut Vec<u8>) {
        let mut json = Json::new(out, self.name());
        match self {
            Self::Hello(hello) => write_hello(&mut json, hello),
            Self::Subscribe(subscribe) => write_subscribe(&mut json, subscribe),
            Self::Unsubscribe(sub) => json.sub(*sub),
            Self::Ack(Ack { sub, position }) => {
                json.sub(*sub);
                json.position(*position);
            }
            Self::Credit(Credit { sub, limits }) => {
                json.some_sub(*sub);
                json.limits(*limits);
            }
            Self::Flow(flow) => write_flow(&mut json, flow),
            Self::Publish(Publish { seq, stream, payload }) => {
                json.number(Name::Seq, seq.get());
                json.text(Name::Stream, stream.as_str());
                json.payload(payload);
            }
            Self::Skip(Skip { from, to }) => {
                json.number(Name::From, from.get());
                json.number(Name::To, to.get());
            }
            Self::Ping(ping) | Self::Pong(ping) => json.ping(ping),
            Self::Auth(credential) => json.text(Name::Credential, credential.as_str()),
            Self::Bye => {}
        }
        json.close();
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Subscribe(_) => "sub",
            Self::Unsubscribe(_) => "unsub",
            Self::Ack(_) => "ack",
            Self::Credit(_) => "credit",
            Self::Flow(_) => "flow",
            Self::Publish(_) => "pub",
            Self::Skip(_) => "skip",
            Self::Ping(_) => "ping",
            Self::Pong(_) => "pong",
            Self::Auth(_) => "auth",
            Self::Bye => "bye",
        }
    }
}

pub(super) fn is_extension(word: &str) -> bool {
    word.starts_with("x-")
}

impl<'a> Object<'a> {
    pub(super) fn message_type(&self) -> Result<std::borrow::Cow<'a, str>, WireError> {
        let word = self.text(Name::Type);
        word.ok().flatten().ok_or(E::UnknownType.at(Name::Type))
    }

    fn hello(&self) -> Result<Hello<'a>, WireError> {
        self.version()?;
        let session = self
            .pair(Name::Session, Name::Token)?
            .then(|| -> Result<_, WireError> {
                let session = SessionId(self.must_array(Name::Session)?);
                Ok((session, Token(self.must_array(Name::Token)?)))
            })
            .transpose()?;
        let attach = self.must_attach()?;
        if session.is_some() == (attach.get() == 1) {
            return Err(E::OutOfRange.at(Name::Attach));
        }
        let nonce = Nonce(self.must_array(Name::Nonce)?);
        let credential = self.credential()?;
        let limits = self.first_limits()?;
        let mut subs = Vec::new();
        for object in self.list()? {
            subs.push(object.subscribe()?);
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

    fn subscribe(&self) -> Result<Subscribe, WireError> {
        let sub = self.sub()?;
        let stream = self.stream()?;
        let begin = self.begin()?;
        let policy = match self.text(Name::Policy)?.as_deref() {
            None | Some("pause") => Policy::Pause,
            Some("drop-oldest") => Policy::DropOldest {
                keep: self.must_number(Name::Keep, 1, NUMBER_MAX)?,
            },
            Some("break") => Policy::Break,
            Some(_) => return Err(E::BadValue.at(Name::Policy)),
        };
        if !matches!(policy, Policy::DropOldest { .. }) {
            self.none_of(&[Name::Keep])?;
        }
        let limits = self.first_limits()?;
        Ok(Subscribe {
            sub,
            stream,
            begin,
            policy,
            limits,
        })
    }

    fn begin(&self) -> Result<Begin, WireError> {
        let Some(from) = self.text(Name::From)? else {
            let offset = self.offset(Name::After, 0)?;
            let epoch = self.some_epoch()?;
            return Ok(Begin::After { offset, epoch });
        };
        self.none_of(&[Name::After, Name::Epoch])?;
        match &*from {
            "head" => Ok(Begin::Head),
            "acked-or-head" => Ok(Begin::AckedOrHead),
            "acked-or-start" => Ok(Begin::AckedOrStart),
            _ => Err(E::BadValue.at(Name::From)),
        }
    }

    fn ack(&self) -> Result<Ack, WireError> {
        Ok(Ack {
            sub: self.sub()?,
            position: self.position()?,
        })
    }

    fn credit(&self) -> Result<Credit, WireError> {
        Ok(Credit {
            sub: self.some_sub()?,
            limits: self.limits()?,
        })
    }

    pub(super) fn flow(&self) -> Result<Flow, WireError> {
        let sub = self.some_sub()?;
        let pause = match &*self.must_text(Name::State)? {
            "resume" => None,
            "pause" => {
                let reason = self.must_text(Name::Reason)?;
                Some(Word::new(&reason).ok_or(E::BadValue.at(Name::Reason))?)
            }
            _ => return Err(E::BadValue.at(Name::State)),
        };
        Ok(Flow { sub, pause })
    }

    fn publish(&self) -> Result<Publish<'a>, WireError> {
        Ok(Publish {
            seq: self.seq(Name::Seq, 1)?,
            stream: self.stream()?,
            payload: self.payload()?,
        })
    }

    fn skip(&self) -> Result<Skip, WireError> {
        let from = self.seq(Name::From, 1)?;
        let to = self.seq(Name::To, from.get())?;
        Ok(Skip { from, to })
    }

    fn credential(&self) -> Result<Option<Credential<'a>>, WireError> {
        let text = self.text(Name::Credential)?;
        text.map(|text| Credential::new(text).ok_or(E::BadValue.at(Name::Credential)))
            .transpose()
    }

    fn auth(&self) -> Result<Credential<'a>, WireError> {
        self.credential()?.ok_or(E::Missing.at(Name::Credential))
    }
}

fn write_hello(json: &mut Json<'_>, hello: &Hello<'_>) {
    json.number(Name::Version, 1);
    if let Some((session, token)) = &hello.session {
        json.bytes(Name::Session, &session.0);
        json.bytes(Name::Token, &token.0);
    }
    json.number(Name::Attach, hello.attach.get());
    json.bytes(Name::Nonce, &hello.nonce.0);
    if let Some(credential) = &hello.credential {
        json.text(Name::Credential, credential.as_str());
    }
    json.first_limits(hello.limits);
    json.list(&hello.subs, write_subscribe);
}

fn write_subscribe(json: &mut Json<'_>, subscribe: &Subscribe) {
    json.sub(subscribe.sub);
    json.text(Name::Stream, subscribe.stream.as_str());
    match subscribe.begin {
        Begin::After { offset, epoch } => {
            json.number(Name::After, offset.get());
            if let Some(epoch) = epoch {
                json.text(Name::Epoch, &epoch.to_string());
            }
        }
        Begin::Head => json.text(Name::From, "head"),
        Begin::AckedOrHead => json.text(Name::From, "acked-or-head"),
        Begin::AckedOrStart => json.text(Name::From, "acked-or-start"),
    }
    match subscribe.policy {
        Policy::Pause => {}
        Policy::DropOldest { keep } => {
            json.text(Name::Policy, "drop-oldest");
            json.number(Name::Keep, keep);
        }
        Policy::Break => json.text(Name::Policy, "break"),
    }
    json.first_limits(subscribe.limits);
}

pub(super) fn write_flow(json: &mut Json<'_>, Flow { sub, pause }: &Flow) {
    json.some_sub(*sub);
    match pause {
        None => json.text(Name::State, "resume"),
        Some(reason) => {
            json.text(Name::State, "pause");
            json.text(Name::Reason, reason.as_str());
        }
    }
}
