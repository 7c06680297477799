//! What `PROTOCOL.md` lets a server say on one connection, given what its client said and what became of it in the log.

use std::collections::BTreeMap;

use bytes::Bytes;
use weirline_log::{
    AttachRefusal, Bounds, Command, Epoch, LogReader as _, MemoryReader, Offset, Outcome, PayloadKind, Seq,
    StreamId,
};
use weirline_resume::Close;
use weirline_resume::text::{ClientMessage, ErrorCode, ServerMessage, Start};

/// The entries of each epoch's history, as they were committed.
#[derive(Debug, Default)]
pub(super) struct History {
    epochs: Vec<(Epoch, Entries)>,
    /// Of how many entries each epoch but the first began with.
    kept: Vec<Offset>,
}

type Entries = BTreeMap<Offset, (PayloadKind, Bytes)>;

impl History {
    pub(super) fn append(&mut self, offset: Offset, kind: PayloadKind, payload: &Bytes) {
        if self.epochs.is_empty() {
            // The stream was made by this append; its epoch is learned right behind it.
            self.epochs.push((Epoch::new(0), BTreeMap::new()));
        }
        let (_, entries) = self.epochs.last_mut().expect("an epoch");
        let earlier = entries.insert(offset, (kind, payload.clone()));
        assert_eq!(earlier, None, "a place is given once in an epoch");
    }

    pub(super) fn learn(&mut self, reader: &MemoryReader, stream: &StreamId) {
        let bounds = reader.bounds(stream).expect("a log in memory does not fail");
        let Some(bounds) = bounds else { return };
        match self.epochs.last_mut() {
            None => self.epochs.push((bounds.epoch, BTreeMap::new())),
            Some((epoch, _)) => *epoch = bounds.epoch,
        }
    }

    pub(super) fn begin_epoch(&mut self, bounds: Bounds) {
        let kept = match self.epochs.last() {
            Some((_, entries)) => entries
                .range(..=bounds.head)
                .map(|(at, entry)| (*at, entry.clone()))
                .collect(),
            None => BTreeMap::new(),
        };
        self.epochs.push((bounds.epoch, kept));
        self.kept.push(bounds.head);
    }

    fn present(&self) -> Option<Epoch> {
        self.epochs.last().map(|(epoch, _)| *epoch)
    }

    /// Up to where what was so in `from` is so in `to`: 0 where one of them is unknown, or `to` is not later.
    fn common(&self, from: Epoch, to: Epoch) -> Offset {
        let place = |epoch| self.epochs.iter().position(|(name, _)| *name == epoch);
        let (Some(from), Some(to)) = (place(from), place(to)) else {
            return Offset::ZERO;
        };
        let between = self.kept.get(from..to).unwrap_or_default();
        between.iter().min().copied().unwrap_or(Offset::ZERO)
    }

    pub(super) fn some_epoch(&self, back: usize) -> Option<Epoch> {
        match self.epochs.iter().rev().nth(back) {
            Some((epoch, _)) => Some(*epoch),
            None => Some(Epoch::new(0xABCD)),
        }
    }

    pub(super) fn head(&self) -> u64 {
        let entries = self
            .epochs
            .last()
            .and_then(|(_, entries)| entries.last_key_value());
        entries.map_or(0, |(offset, _)| offset.get())
    }

    fn entry(&self, epoch: Epoch, offset: Offset) -> Option<&(PayloadKind, Bytes)> {
        let (_, entries) = self.epochs.iter().find(|(name, _)| *name == epoch)?;
        entries.get(&offset)
    }
}

/// One connection, from the client's `RESUME_FROM` to the close.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    asked: Option<Start>,
    /// `RESUME_FROM:m` was sent.
    have: Option<Seq>,
    /// What m must be: the count of the attach's commit, 0 without a session.
    count: Option<Seq>,
    session: bool,
    position: Option<(Epoch, Offset)>,
    published: BTreeMap<Seq, Vec<(PayloadKind, Vec<u8>)>>,
    /// The numbers up to this one came without a hole, from the count on.
    reached: u64,
    /// A number came that left a hole.
    skipped: bool,
    /// The highest number that the log took from this connection.
    appended: Seq,
    acked: Seq,
    paused: bool,
    /// An ERROR was sent: nothing but a close follows.
    error: Option<ErrorCode>,
    refused_attach: Option<AttachRefusal>,
    /// What was waiting may be missing: only a PAUSE and the close come.
    given_up: bool,
    closed: bool,
}

impl Oracle {
    pub(super) fn position(&self) -> Option<Offset> {
        self.position.map(|(_, offset)| offset)
    }

    /// A number that would be new.
    pub(super) fn next_seq(&self) -> u64 {
        let highest = self.published.last_key_value().map_or(0, |(seq, _)| seq.get());
        highest
            .max(self.have.map_or(0, Seq::get))
            .saturating_add(1)
            .min((1 << 53) - 10)
    }

    pub(super) fn client_says(&mut self, kind: PayloadKind, message: &[u8]) {
        match ClientMessage::parse(kind, message) {
            // Later it is an error, and makes no session.
            Ok(ClientMessage::Session { .. }) => self.session |= self.asked.is_none(),
            Ok(ClientMessage::ResumeFrom(start)) => {
                self.asked.get_or_insert(start);
            }
            Ok(ClientMessage::Publish { seq, kind, payload }) => {
                let count = if self.session { self.count } else { Some(Seq::ZERO) };
                self.reached = self.reached.max(count.map_or(0, Seq::get));
                self.skipped |= seq.get() > self.reached + 1;
                self.reached = self.reached.max(seq.get().min(self.reached + 1));
                self.published
                    .entry(seq)
                    .or_default()
                    .push((kind, payload.to_vec()));
            }
            _ => {}
        }
    }

    /// What is handed to the log is what the client said.
    pub(super) fn command(&mut self, command: &Command) {
        match command {
            Command::Append {
                author,
                kind,
                payload,
                ..
            } => {
                assert_eq!(author.is_some(), self.session);
                let said = (*kind, payload.to_vec());
                let known = match author {
                    Some(author) => self
                        .published
                        .get(&author.seq)
                        .is_some_and(|all| all.contains(&said)),
                    None => self.published.values().any(|all| all.contains(&said)),
                };
                assert!(known, "{command:?} was never said");
            }
            Command::Attach { .. } | Command::Ack { .. } | Command::Detach { .. } => assert!(self.session),
            Command::Open { .. } => {}
            other => panic!("{other:?} is nothing that this form asks for"),
        }
    }

    pub(super) fn outcome(&mut self, command: &Command, outcome: &Outcome) {
        match (command, outcome) {
            (Command::Attach { .. }, Outcome::Attached { count, .. }) => self.count = Some(*count),
            (Command::Attach { .. }, Outcome::AttachRefused(refusal)) => self.refused_attach = Some(*refusal),
            (
                Command::Append {
                    author: Some(author), ..
                },
                Outcome::Appended { .. },
            ) => {
                self.appended = self.appended.max(author.seq);
            }
            (Command::Append { author: Some(_), .. }, Outcome::Duplicate { count }) => {
                self.appended = self.appended.max(*count);
            }
            (Command::Append { author: None, .. }, Outcome::Appended { .. }) => {
                self.appended = self.appended.next().expect("small");
            }
            _ => {}
        }
    }

    pub(super) fn given_up(&mut self) {
        self.given_up = true;
    }

    pub(super) fn server_says(&mut self, kind: PayloadKind, message: &[u8], history: &History) {
        let parsed = ServerMessage::parse(kind, message).expect("what a server sends can be read");
        let mut again = Vec::new();
        assert_eq!((parsed.encode(&mut again), &again[..]), (kind, message));
        assert!(!self.closed && self.error.is_none(), "{parsed:?} behind the end");
        match parsed {
            ServerMessage::ResumeFrom(count) => self.opened(count),
            ServerMessage::Error { code, .. } => {
                let jumped = self.refused_attach == Some(AttachRefusal::Jump);
                assert!(
                    code != ErrorCode::BadSequence || self.skipped || jumped,
                    "no number was skipped"
                );
                self.error = Some(code);
            }
            ServerMessage::Pause(_) => {
                // A break may give up the CONTINUE that was waiting; a PAUSE within a pause changes nothing.
                assert!(!std::mem::replace(&mut self.paused, true) || self.given_up);
            }
            ServerMessage::Continue => assert!(std::mem::take(&mut self.paused)),
            ServerMessage::Ack(seq) => {
                assert!(self.acked <= seq, "an ACK goes back");
                let have = self.have.expect("no ACK before the opening");
                assert!(seq <= have.max(self.appended), "an ACK of what is not in the log");
                self.acked = seq;
            }
            ServerMessage::Refused { seq, code, .. } => {
                assert!(self.have.is_some());
                assert!(
                    self.published.contains_key(&seq),
                    "a refusal of what was never sent"
                );
                assert!(
                    matches!(code, ErrorCode::TooLarge | ErrorCode::Unavailable),
                    "{code}"
                );
                assert!(self.acked < seq, "refused and acknowledged");
            }
            delivery => self.delivered(&delivery, history),
        }
        if !matches!(parsed, ServerMessage::Error { .. }) {
            assert!(self.have.is_some(), "{parsed:?} before RESUME_FROM");
        }
    }

    fn opened(&mut self, count: Seq) {
        assert!(
            self.asked.is_some() && self.have.is_none(),
            "one answer to RESUME_FROM"
        );
        let expect = if self.session { self.count } else { Some(Seq::ZERO) };
        assert_eq!(Some(count), expect, "the count of the commit");
        self.have = Some(count);
    }

    fn delivered(&mut self, message: &ServerMessage<'_>, history: &History) {
        match (*message, self.position) {
            (ServerMessage::Resumed { offset, head, epoch }, None) => {
                match self.asked {
                    Some(Start::After {
                        offset: asked,
                        epoch: of,
                    }) => {
                        assert!(offset == asked && of.is_none_or(|of| of == epoch));
                    }
                    Some(Start::Head) => assert_eq!(offset, head),
                    other => panic!("{message:?} to {other:?}"),
                }
                self.position = Some((epoch, offset));
            }
            (ServerMessage::Reset { epoch, common }, None) => {
                let Some(Start::After { offset, epoch: of }) = self.asked else {
                    panic!("{message:?} to {:?}", self.asked);
                };
                let same = of.map_or(Offset::ZERO, |of| history.common(of, epoch));
                assert!(common <= offset.min(same), "{message:?} after {:?}", self.asked);
                self.position = Some((epoch, common));
            }
            (ServerMessage::Gap { from, to, .. }, Some((epoch, at))) => {
                assert_eq!(Some(from), at.next(), "a GAP begins where delivery stands");
                self.position = Some((epoch, to));
            }
            (
                ServerMessage::Data {
                    offset,
                    kind,
                    payload,
                },
                Some((epoch, at)),
            ) => {
                assert_eq!(Some(offset), at.next(), "what is left out is named by a GAP");
                let entry = history.entry(epoch, offset).expect("an entry of that epoch");
                assert!(
                    entry.0 == kind && entry.1 == payload,
                    "{message:?} is not {entry:?}"
                );
                self.position = Some((epoch, offset));
            }
            (message, position) => panic!("{message:?} at {position:?}"),
        }
    }

    pub(super) fn closed(&mut self, close: &Close, history: &History) {
        assert!(!std::mem::replace(&mut self.closed, true), "one close");
        assert!(close.reason.len() <= 123);
        let error = self.error.map(ErrorCode::as_str);
        match close.code {
            Close::POLICY => {
                // Without a session a refusal may end the connection with its own code.
                let broken_off = self.given_up && close.reason.contains("resume=1");
                let named = error == Some(&close.reason);
                assert!(named || broken_off || !self.session, "{close:?} after {error:?}");
            }
            Close::SERVICE_RESTART => {
                let told = self.position.map(|(epoch, _)| epoch);
                assert!(
                    error.is_none() && told != history.present(),
                    "the log is what it was"
                );
            }
            Close::SUPERSEDED => assert!(self.session && error.is_none()),
            other => panic!("close {other}"),
        }
        if let Some(refusal) = self.refused_attach {
            let expect = match refusal {
                AttachRefusal::Stale { .. } => ErrorCode::StaleAttach,
                AttachRefusal::Unknown => ErrorCode::SessionUnknown,
                AttachRefusal::Jump => ErrorCode::BadSequence,
                _ => ErrorCode::Unavailable,
            };
            // A message that came meanwhile may have failed the connection before.
            let meanwhile = self.error == Some(ErrorCode::BadMessage);
            assert!(self.have.is_none() && (self.error == Some(expect) || self.given_up || meanwhile));
        }
    }
}
