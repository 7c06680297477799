//! What the page lets a server say on one connection, given what its client said.

use std::collections::BTreeMap;

use weirline_log::{MemoryReader, Offset, Position};
use weirline_resume::wire::{ClientMessage, Form, Limits, Ping, Refused, ServerMessage, Sub, SubState};

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    /// How many messages the client said, whatever they were.
    messages: usize,
    hellos: usize,
    welcomed: bool,
    /// REJECT or BYE was told.
    last: bool,
    over: bool,
    /// The connection's limit for DATA, and what was spent of it.
    limit: Option<Limits>,
    spent: (u64, u64),
    /// The least limits of each sub's present subscription are not known where numbers are used again: the greatest are.
    limits: BTreeMap<Sub, Limits>,
    open: BTreeMap<Sub, Open>,
    count: u64,
    granted: Option<Limits>,
    pings: usize,
    byes: usize,
    auths: usize,
}

#[derive(Debug)]
struct Open {
    at: Position,
    spent: (u64, u64),
    /// A GAP was announced.
    gap: bool,
}

fn raise(limits: &mut Limits, by: Limits) {
    limits.bytes = limits.bytes.max(by.bytes);
    limits.messages = limits.messages.max(by.messages);
}

impl Oracle {
    /// The client said something; some of it is not even a message.
    pub(super) fn more(&mut self) {
        self.messages += 1;
    }

    pub(super) fn said(&mut self, message: &ClientMessage<'_>) {
        match message {
            ClientMessage::Hello(hello) => {
                self.hellos += 1;
                if self.limit.is_none() {
                    self.limit = Some(hello.limits);
                }
                for it in &hello.subs {
                    self.grant(Some(it.sub), it.limits);
                }
            }
            ClientMessage::Subscribe(it) => self.grant(Some(it.sub), it.limits),
            ClientMessage::Credit(credit) => self.grant(credit.sub, credit.limits),
            ClientMessage::Ping(ping) => {
                self.pings += 1;
                self.stand(ping);
            }
            ClientMessage::Pong(ping) => self.stand(ping),
            ClientMessage::Bye => self.byes += 1,
            ClientMessage::Auth(_) => self.auths += 1,
            _ => {}
        }
    }

    fn stand(&mut self, ping: &Ping) {
        for standing in &ping.subs {
            if let Some(limits) = standing.limits {
                self.grant(Some(standing.sub), limits);
            }
        }
    }

    fn grant(&mut self, sub: Option<Sub>, limits: Limits) {
        match sub {
            None => raise(self.limit.get_or_insert(limits), limits),
            Some(sub) => raise(self.limits.entry(sub).or_insert(limits), limits),
        }
    }

    pub(super) fn told(&mut self, form: Form, message: &[u8], reader: &MemoryReader) {
        let told = ServerMessage::decode(form, form.kind(), message);
        let told = told
            .expect("a server's message can be read")
            .expect("no extension");
        assert!(!self.last && !self.over, "something behind the last: {told:?}");
        assert!(
            self.messages > 0 || matches!(told, ServerMessage::Reject(_)),
            "told unasked: {told:?}"
        );
        match told {
            ServerMessage::Welcome(welcome) => {
                assert!(!std::mem::replace(&mut self.welcomed, true), "a second WELCOME");
                self.count = welcome.count.get();
                self.granted = Some(welcome.limits);
            }
            ServerMessage::Reject(_) => self.last = true,
            told => {
                assert!(self.welcomed, "before WELCOME: {told:?}");
                self.told_live(told, reader);
            }
        }
    }

    fn told_live(&mut self, told: ServerMessage<'_>, reader: &MemoryReader) {
        match told {
            ServerMessage::Subscribed(it) => {
                assert!(it.position.offset <= it.head);
                assert_eq!(
                    it.state == SubState::Live,
                    it.position.offset == it.head && it.state != SubState::Reset
                );
                let open = Open {
                    at: it.position,
                    spent: (0, 0),
                    gap: it.state == SubState::Gap,
                };
                assert!(self.open.insert(it.sub, open).is_none(), "a second SUBOK");
            }
            ServerMessage::Unsubscribed { sub, fault } => {
                let known = self.open.remove(&sub).is_some();
                assert!(known || fault.is_some() || self.limits.contains_key(&sub));
            }
            ServerMessage::Data(data) => {
                let cost = data.payload.bytes.len() as u64 + 32;
                let limits = self.limits[&data.sub];
                let open = self
                    .open
                    .get_mut(&data.sub)
                    .expect("DATA of an open subscription");
                assert!(!open.gap, "the GAP that was announced comes first");
                let (at, spent) = (open.at.offset, open.spent);
                assert!(data.previous <= at && at < data.offset, "I16: {at:?} {data:?}");
                assert!(spent.0 < limits.bytes && spent.1 < limits.messages, "I14");
                open.spent = (spent.0 + cost, spent.1 + 1);
                open.at.offset = data.offset;
                let limit = self.limit.expect("a HELLO");
                assert!(self.spent.0 < limit.bytes && self.spent.1 < limit.messages, "I14");
                self.spent = (self.spent.0 + cost, self.spent.1 + 1);
            }
            ServerMessage::Gap(gap) => {
                let open = self
                    .open
                    .get_mut(&gap.sub)
                    .expect("a GAP of an open subscription");
                assert_eq!(open.at.offset.next(), Some(gap.from), "I16");
                (open.at.offset, open.gap) = (gap.to, false);
            }
            ServerMessage::Reset(reset) => {
                let open = self
                    .open
                    .get_mut(&reset.sub)
                    .expect("a RESET of an open subscription");
                assert!(reset.epoch != open.at.epoch && reset.common <= open.at.offset);
                let known = (0..3).filter_map(|index| super::head(reader, index));
                let known: Vec<Position> = known.collect();
                let latest = known.iter().find(|head| head.epoch == reset.epoch);
                assert!(latest.is_none_or(|head| reset.common <= head.offset.max(Offset::ZERO)));
                open.at = Position {
                    epoch: reset.epoch,
                    offset: reset.common,
                };
            }
            told => self.told_rest(told),
        }
    }

    fn told_rest(&mut self, told: ServerMessage<'_>) {
        match told {
            ServerMessage::PubAck(puback) => {
                let count = puback.seq.get();
                assert!(count >= self.count, "the count falls");
                self.count = count;
                if let Some(Refused { retry, .. }) = puback.refused {
                    assert!(retry.is_none_or(|retry| !retry.is_zero()));
                }
            }
            ServerMessage::Credit(credit) => {
                let before = self
                    .granted
                    .replace(credit.limits)
                    .expect("WELCOME has the first");
                let risen = before.bytes <= credit.limits.bytes && before.messages <= credit.limits.messages;
                assert!(risen && before != credit.limits, "a grant that grants nothing");
            }
            ServerMessage::Pong(_) => {
                self.pings = self.pings.checked_sub(1).expect("one for each PING");
            }
            ServerMessage::Auth(_) => {
                self.auths = self.auths.checked_sub(1).expect("one for each AUTH");
            }
            ServerMessage::Bye(fault) => {
                assert!(fault.is_some() || self.byes > 0);
                self.last = true;
            }
            ServerMessage::Ping(_) | ServerMessage::Flow(_) | ServerMessage::Drain(_) => {}
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn closed(&mut self, code: u16, reason: &str) {
        assert!(!std::mem::replace(&mut self.over, true), "closed twice");
        assert!([1000, 1008, 1012, 4409, 4410].contains(&code), "{code}");
        assert!(reason.len() <= 123);
        assert_eq!(
            self.last,
            code == 1000 || (code == 1008 && !reason.starts_with("Back")),
            "{code} {reason}"
        );
    }
}
