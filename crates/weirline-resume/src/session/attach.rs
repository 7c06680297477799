//! From HELLO to WELCOME, credentials, and BYE.

use std::time::{Duration, Instant};

use weirline_log::{Attach, AttachKind, AttachRefusal, Command, Outcome, Proof, RollingHash, Seq, SessionId};

use super::{Judged, Pending, Phase, Session, fault};
use crate::Close;
use crate::session::meter::Meter;
use crate::wire::{
    AttachValue, Attached, AuthAnswer, Code, Hello, Nonce, Reject, ServerMessage, Subscribe, Token, Welcome,
};

/// A HELLO that waits for its answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Waiting {
    session: SessionId,
    token: Token,
    attach: Attach,
    nonce: Nonce,
    subs: Vec<Subscribe>,
}

/// What a credential is worth.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// It is this principal's.
    Accepted {
        /// Whose. On a live connection it must be the one it was.
        principal: Box<str>,
        /// After this time the caller says [`Session::expire_credential`].
        expires: Option<Duration>,
    },
    /// It is nobody's, or judging is not set up.
    Refused,
}

impl Session {
    /// The upgrade request has brought a HELLO: the value of the header field, or what stands behind the prefix of the subprotocol. Wrong ones are
    /// answered in-band.
    pub fn handle_upgrade(&mut self, now: Instant, value: &str) {
        match AttachValue::parse(value) {
            Ok(value) => match value.hello() {
                Ok(hello) if matches!(self.phase, Phase::Opening(..)) => self.hello(now, hello),
                Ok(_) => self.reject(Code::BadMessage, "a second HELLO", false),
                Err(error) => self.reject(error.code(), &error.to_string(), false),
            },
            Err(error) => self.reject(error.code(), &error.to_string(), false),
        }
    }

    /// A credential to judge: [`handle_credential`](Self::handle_credential) is due. Who has no judge says [`Verdict::Refused`].
    pub fn poll_credential(&mut self) -> Option<Box<str>> {
        match self.credential.replace(Judged::Given) {
            Some(Judged::Waiting(credential)) => Some(credential),
            other => {
                self.credential = other;
                None
            }
        }
    }

    /// What the credential of [`poll_credential`](Self::poll_credential) is worth. Does nothing when none was given.
    pub fn handle_credential(&mut self, now: Instant, verdict: Verdict) {
        if !matches!(self.credential, Some(Judged::Given)) {
            return;
        }
        self.credential = None;
        match (std::mem::replace(&mut self.phase, Phase::Over), verdict) {
            (Phase::Judging(waiting), Verdict::Accepted { principal, .. }) => {
                self.principal = principal;
                self.attach(now, waiting);
            }
            (phase @ Phase::Judging(_), Verdict::Refused) => {
                self.phase = phase;
                self.reject(Code::AuthRefused, "the credential is not accepted", true);
            }
            (phase, verdict) => {
                self.phase = phase;
                self.answer_credential(verdict);
            }
        }
    }

    /// The credential has run out: REJECT `auth-expired`.
    pub fn expire_credential(&mut self) {
        if self.is_live() {
            self.reject(Code::AuthExpired, "the credential has run out", true);
        }
    }

    fn answer_credential(&mut self, verdict: Verdict) {
        let answer = match verdict {
            Verdict::Accepted { principal, expires } if principal == self.principal => {
                AuthAnswer::Accepted { expires }
            }
            _ => AuthAnswer::Refused(fault(Code::AuthRefused, "the credential is not accepted")),
        };
        if self.is_live() {
            self.send(&ServerMessage::Auth(answer));
        }
    }

    pub(super) fn offered(&mut self, credential: &str) {
        if self.credential.is_some() {
            return self.reject(Code::BadMessage, "an AUTH before the answer to the last", false);
        }
        self.credential = Some(Judged::Waiting(credential.into()));
    }

    pub(super) fn hello(&mut self, now: Instant, hello: Hello<'_>) {
        let Phase::Opening(_, entropy) = &self.phase else {
            return;
        };
        let made = (SessionId(entropy.session), Token(entropy.token));
        let (session, token) = hello.session.unwrap_or(made);
        let waiting = Box::new(Waiting {
            session,
            token,
            attach: hello.attach,
            nonce: hello.nonce,
            subs: hello.subs,
        });
        self.meter = Meter::new(hello.limits);
        match hello.credential {
            Some(credential) => {
                self.credential = Some(Judged::Waiting(credential.as_str().into()));
                self.phase = Phase::Judging(waiting);
            }
            None => self.attach(now, waiting),
        }
    }

    fn attach(&mut self, now: Instant, waiting: Box<Waiting>) {
        let (session, attach) = (waiting.session, waiting.attach);
        let proof = Proof {
            owner: waiting.token.owner(&self.principal),
            nonce: waiting.nonce.0,
        };
        let command = Command::Attach {
            session,
            attach,
            proof: Some(proof),
            now,
        };
        self.identity = Some((session, attach));
        self.phase = Phase::Attaching(waiting);
        self.work.push(Pending::Attach, command);
    }

    /// The takeover is committed, or refused: only from here on there is something to tell.
    pub(super) fn attach_decided(&mut self, now: Instant, outcome: Outcome) {
        match outcome {
            Outcome::Attached {
                kind,
                count,
                hash,
                acked,
                ..
            } => {
                self.acked = acked.into_iter().collect();
                self.welcome(now, kind, count, hash);
            }
            Outcome::AttachRefused(refusal) => self.attach_refused(refusal),
            other => panic!("{other:?} is no outcome of an attach"),
        }
    }

    fn welcome(&mut self, now: Instant, kind: AttachKind, count: Seq, hash: RollingHash) {
        let Phase::Attaching(waiting) = std::mem::replace(&mut self.phase, Phase::Live) else {
            unreachable!("an attach is pending in this phase alone");
        };
        self.publishing.begin(count);
        let outcome = match kind {
            AttachKind::New => Attached::New,
            AttachKind::Revived => Attached::Expired,
            _ => Attached::Resumed,
        };
        let welcome = Welcome {
            session: waiting.session,
            token: (outcome == Attached::New).then_some(waiting.token),
            attach: waiting.attach,
            outcome,
            count,
            hash,
            durability: self.config.durability,
            ttl: self.config.ttl,
            heartbeat: self.config.heartbeat,
            size: self.config.message_bytes_max as u64,
            limits: self.publishing.limits(),
        };
        self.send(&ServerMessage::Welcome(welcome));
        self.heartbeat = Some(now + self.config.heartbeat / 2);
        for subscribe in waiting.subs {
            self.subscribe(subscribe);
        }
    }

    fn attach_refused(&mut self, refusal: AttachRefusal) {
        // Nothing was attached, so nothing is to be detached.
        self.identity = None;
        match refusal {
            AttachRefusal::Stale { current } => self.reject_with(Reject {
                fault: fault(Code::StaleAttach, &format!("the session is at attach {current}")),
                resumable: false,
                retry: None,
                attach: Some(current),
            }),
            AttachRefusal::Unknown => self.reject(Code::SessionUnknown, "there is no such session", false),
            AttachRefusal::Jump => {
                self.reject(Code::AttachJump, "the attach number jumps too far", false);
            }
            AttachRefusal::Owner => self.reject(Code::BadToken, "the session is another one's", false),
            _ => self.reject_later("too many sessions"),
        }
    }

    /// BYE: the end of the session takes its place behind everything that was sent before.
    pub(super) fn bye(&mut self, now: Instant) {
        let Some((session, attach)) = self.identity else {
            return;
        };
        while let Some((pending, ack)) = self.take_due_ack() {
            self.work.push(pending, ack);
        }
        self.phase = Phase::Ending;
        self.work
            .push(Pending::End, Command::End { session, attach, now });
    }

    pub(super) fn ended(&mut self) {
        self.flush_puback();
        self.identity = None;
        self.send(&ServerMessage::Bye(None));
        self.end(Close::new(Close::NORMAL, ""));
    }
}
