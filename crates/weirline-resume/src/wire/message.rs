//! The messages, as values.

use std::time::Duration;

use weirline_log::{Attach, Epoch, Offset, Position, RollingHash, Seq, SessionId, StreamId};

use super::choice::{Attached, Code, Durability, SubState};
use super::values::{Begin, Credential, Detail, Limits, Nonce, Payload, Policy, Sub, Token, Url, Word};
use crate::text::GapReason;

/// A message from a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientMessage<'a> {
    /// HELLO: attach.
    Hello(Hello<'a>),
    /// SUB: a subscription is asked for.
    Subscribe(Subscribe),
    /// UNSUB: a subscription is to end.
    Unsubscribe(Sub),
    /// ACK: everything up to here is handled.
    Ack(Ack),
    /// CREDIT: what the server may send.
    Credit(Credit),
    /// FLOW: hold a subscription, or all; or go on.
    Flow(Flow),
    /// PUB.
    Publish(Publish<'a>),
    /// SKIP: sequences are given up.
    Skip(Skip),
    /// PING.
    Ping(Ping),
    /// PONG.
    Pong(Ping),
    /// AUTH: a fresh credential.
    Auth(Credential<'a>),
    /// BYE: the session is to end.
    Bye,
}

/// A message from a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ServerMessage<'a> {
    /// WELCOME: attached.
    Welcome(Welcome),
    /// SUBOK: a subscription is open.
    Subscribed(Subscribed),
    /// UNSUB: a subscription has ended, or was refused; without a fault the client asked for it.
    Unsubscribed {
        /// Which.
        sub: Sub,
        /// Why.
        fault: Option<Fault<'a>>,
    },
    /// DATA.
    Data(Data<'a>),
    /// CREDIT: what the client may publish.
    Credit(Credit),
    /// FLOW: publish no more, or a consumer is slow; or go on.
    Flow(Flow),
    /// GAP.
    Gap(Gap),
    /// RESET: the stream's epoch changed.
    Reset(Reset),
    /// PUBACK.
    PubAck(PubAck<'a>),
    /// PING.
    Ping(Ping),
    /// PONG.
    Pong(Ping),
    /// AUTH: what became of a credential.
    Auth(AuthAnswer<'a>),
    /// DRAIN: leave.
    Drain(Drain<'a>),
    /// REJECT: the connection is over.
    Reject(Reject<'a>),
    /// BYE: the session has ended; without a fault the client asked for it.
    Bye(Option<Fault<'a>>),
}

/// A code, and what it says to people.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fault<'a> {
    /// For programs.
    pub code: Code,
    /// For people, perhaps empty.
    pub detail: Detail<'a>,
}

/// Attach to a session, or make one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hello<'a> {
    /// Which session, and its token; `None` asks for one to be made.
    pub session: Option<(SessionId, Token)>,
    /// This dial's number, from 1.
    pub attach: Attach,
    /// Random, another for each dial.
    pub nonce: Nonce,
    /// Judged before the attach.
    pub credential: Option<Credential<'a>>,
    /// The connection's first credit for DATA.
    pub limits: Limits,
    /// At most [`LIST_MAX`], none twice.
    pub subs: Vec<Subscribe>,
}

/// Lists of messages have at most so many elements.
pub const LIST_MAX: usize = 1024;

/// The answer to a HELLO.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Welcome {
    /// Which session is attached.
    pub session: SessionId,
    /// Exactly when the session was made: its token.
    pub token: Option<Token>,
    /// The HELLO's number.
    pub attach: Attach,
    /// What the attach found.
    pub outcome: Attached,
    /// The session's numbers up to here are in the log or skipped.
    pub count: Seq,
    /// The rolling hash at `count`.
    pub hash: RollingHash,
    /// What an acknowledgement means.
    pub durability: Durability,
    /// How long the session lives without a connection. Milliseconds on the wire.
    pub ttl: Duration,
    /// The server is never silent for longer. 1 s to 1 h.
    pub heartbeat: Duration,
    /// The largest message the server takes, in bytes on the wire. At least 1024.
    pub size: u64,
    /// The first credit for PUB.
    pub limits: Limits,
}

/// A subscription that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subscribe {
    /// Its number.
    pub sub: Sub,
    /// The stream.
    pub stream: StreamId,
    /// From where.
    pub begin: Begin,
    /// What happens when its consumer is slow.
    pub policy: Policy,
    /// Its first credit.
    pub limits: Limits,
}

/// A subscription that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subscribed {
    /// Its number.
    pub sub: Sub,
    /// Delivery goes on behind it.
    pub position: Position,
    /// The stream's last offset; not below the position.
    pub head: Offset,
    /// What that means for the client's history.
    pub state: SubState,
}

/// A message of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Data<'a> {
    /// Whose.
    pub sub: Sub,
    /// Its place, from 1.
    pub offset: Offset,
    /// The place of the message before it in the log; below `offset`.
    pub previous: Offset,
    /// The message.
    pub payload: Payload<'a>,
}

/// Everything up to a position is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ack {
    /// Whose.
    pub sub: Sub,
    /// Up to here.
    pub position: Position,
}

/// New limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Credit {
    /// Of a subscription; `None` of the connection. A server names none.
    pub sub: Option<Sub>,
    /// Counted from the attach.
    pub limits: Limits,
}

/// Hold, or go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// `None`: of a client all subscriptions, of a server publishing.
    pub sub: Option<Sub>,
    /// Why to hold; `None` to go on.
    pub pause: Option<Word>,
}

/// Offsets that are not delivered, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gap {
    /// Whose.
    pub sub: Sub,
    /// The first, from 1.
    pub from: Offset,
    /// The last; not below `from`.
    pub to: Offset,
    /// Why.
    pub reason: GapReason,
}

/// The stream's epoch changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reset {
    /// Whose.
    pub sub: Sub,
    /// The epoch from here on.
    pub epoch: Epoch,
    /// The end of the common history; delivery goes on behind it.
    pub common: Offset,
}

/// A message to publish.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Publish<'a> {
    /// The session's number, from 1.
    pub seq: Seq,
    /// Where to.
    pub stream: StreamId,
    /// The message.
    pub payload: Payload<'a>,
}

/// How far a session's numbers are decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PubAck<'a> {
    /// Everything up to it is in the log or skipped.
    pub seq: Seq,
    /// The next one is refused.
    pub refused: Option<Refused<'a>>,
}

/// Why a number is refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Refused<'a> {
    /// Why.
    pub fault: Fault<'a>,
    /// Not to be tried again earlier. 1 ms to 60 s.
    pub retry: Option<Duration>,
}

/// Numbers that are given up, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Skip {
    /// The first, from 1.
    pub from: Seq,
    /// The last; not below `from`.
    pub to: Seq,
}

/// A PING or a PONG, and what they repeat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ping {
    /// A PONG repeats its PING's; at most 2^53 − 1.
    pub echo: u64,
    /// As a PUBACK's; from a server only.
    pub count: Option<Seq>,
    /// As a CREDIT's for the connection.
    pub limits: Option<Limits>,
    /// At most [`LIST_MAX`], none twice.
    pub subs: Vec<Standing>,
}

/// How a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Standing {
    /// Which.
    pub sub: Sub,
    /// From a client: handled, as an ACK. From a server: delivered.
    pub position: Option<Position>,
    /// As a CREDIT's; from a client only.
    pub limits: Option<Limits>,
}

/// What became of a credential.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuthAnswer<'a> {
    /// It is good.
    Accepted {
        /// A fresh one is due by then; `None` is never.
        expires: Option<Duration>,
    },
    /// It is not; the connection goes on as it was.
    Refused(Fault<'a>),
}

/// Leave this server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Drain<'a> {
    /// So much later. At most 60 s.
    pub after: Duration,
    /// The server closes then. From `after` to 1 h.
    pub deadline: Duration,
    /// Where to go; `None` is where the client dialled.
    pub url: Option<Url<'a>>,
}

/// The connection is over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reject<'a> {
    /// Why.
    pub fault: Fault<'a>,
    /// Whether this client may attach to this session again.
    pub resumable: bool,
    /// Not to be dialled earlier. At most 60 s.
    pub retry: Option<Duration>,
    /// The session's current attach, from 1.
    pub attach: Option<Attach>,
}
