//! What one process has been given, checked event by event against the model.

use std::rc::Rc;
use std::time::Duration;

use weirline_log::{Epoch, Offset, Position};

use crate::model::Model;
use crate::net::Net;

/// The reading half of an application, as an oracle.
pub struct Consumer {
    net: Rc<Net>,
    model: Rc<Model>,
    name: String,
    stream: String,
    /// Where everything given to this process ends; `None` until it is known.
    at: Option<Position>,
    /// The place behind which this process began, if it has one.
    began: Option<Offset>,
    /// Everything handled since then, in this epoch.
    seen: Vec<(Offset, u64)>,
    given: u64,
    holes: u64,
    /// Since when it is subscribed without a break.
    live_since: Option<Duration>,
    /// How late a message may be given to it, that was committed since then.
    late_max: Option<Duration>,
}

impl Consumer {
    /// A process called `name`; `stored` is the position it starts from, and `oldest` that it asks for everything.
    #[must_use]
    pub fn new(
        net: Rc<Net>,
        model: Rc<Model>,
        name: String,
        stream: &str,
        stored: Option<Position>,
        oldest: bool,
    ) -> Self {
        let began = stored
            .map(|position| position.offset)
            .or(oldest.then_some(Offset::ZERO));
        Self {
            net,
            model,
            name,
            stream: stream.to_owned(),
            at: stored,
            began,
            seen: Vec::new(),
            given: 0,
            holes: 0,
            live_since: None,
            late_max: None,
        }
    }

    /// It must have each message so soon after its commit, as long as it is subscribed.
    #[must_use]
    pub fn punctual(mut self, late_max: Duration) -> Self {
        self.late_max = Some(late_max);
        self
    }

    /// Where everything given so far ends.
    #[must_use]
    pub fn at(&self) -> Option<Position> {
        self.at
    }

    /// Messages given so far.
    #[must_use]
    pub fn given(&self) -> u64 {
        self.given
    }

    fn violate(&self, invariant: &str, text: &str) {
        self.net.violate(invariant, format!("{}: {text}", self.name));
    }

    /// The place up to which everything was given, of this epoch.
    fn place(&self, epoch: Epoch, what: &str) -> Option<Offset> {
        match self.at {
            Some(at) if at.epoch == epoch => Some(at.offset),
            Some(at) => {
                self.violate(
                    "I1",
                    &format!("{what} of epoch {epoch} without a RESET from {}", at.epoch),
                );
                None
            }
            None => self.began,
        }
    }

    /// The server answered: delivery goes on behind `position`.
    pub fn live(&mut self, position: Position) {
        self.live_since = Some(self.net.now());
        match self.at {
            Some(at) if at.epoch == position.epoch && at.offset != position.offset => {
                self.violate(
                    "I1",
                    &format!("resumed at {} and had {}", position.offset, at.offset),
                );
            }
            Some(_) if self.given > 0 => self.net.case("resumed"),
            Some(_) => {}
            None => {
                self.began.get_or_insert(position.offset);
                self.at = Some(position);
            }
        }
    }

    /// A neighbour that reads slowly must not make others wait.
    fn is_in_time(&self, offset: Offset, committed: Duration) {
        let (Some(late_max), Some(live)) = (self.late_max, self.live_since) else {
            return;
        };
        let late = self.net.now().saturating_sub(committed);
        if committed > live && late > late_max {
            let text =
                format!("{offset} was given {late:?} after its commit; at most {late_max:?} are allowed");
            self.violate("W12", &text);
        }
    }

    /// A message was given.
    pub fn message(&mut self, position: Position, digest: u64) {
        let Position { epoch, offset } = position;
        let before = self.place(epoch, "a message");
        let log = self.model.log(&(self.stream.clone(), epoch));
        let Some(entry) = log.as_ref().and_then(|log| log.at(offset)) else {
            return self.violate("I3", &format!("{offset} of epoch {epoch} was never committed"));
        };
        self.is_in_time(offset, entry.at);
        if entry.digest != digest {
            self.violate(
                "I3",
                &format!("{offset} of epoch {epoch} has another payload in the log"),
            );
        }
        if let Some(before) = before {
            if offset <= before {
                self.violate("I1", &format!("{offset} was given after {before}"));
            } else if entry.previous > before {
                let text = format!(
                    "{offset} was given after {before}; {} is missing, without a GAP",
                    entry.previous
                );
                self.violate("I1", &text);
            }
        }
        self.began.get_or_insert(entry.previous);
        self.at = Some(position);
        self.given += 1;
        self.seen.push((offset, digest));
        self.net.case("handled");
    }

    /// A gap was given.
    pub fn gap(&mut self, from: Offset, position: Position) {
        let Position { epoch, offset: to } = position;
        self.net.case("gap");
        self.holes += 1;
        if let Some(before) = self.place(epoch, "a GAP")
            && (before.next() != Some(from) || to < from)
        {
            self.violate("I16", &format!("GAP {from} to {to} was given after {before}"));
        }
        let trimmed = self
            .model
            .log(&(self.stream.clone(), epoch))
            .map(|log| log.trimmed);
        if trimmed.is_none_or(|trimmed| to > trimmed) {
            self.violate(
                "I16",
                &format!("GAP {from} to {to}, and retention has trimmed up to {trimmed:?}"),
            );
        }
        self.at = Some(position);
    }

    /// A reset was given.
    pub fn reset(&mut self, position: Position) {
        self.net.case("reset");
        self.holes += 1;
        if self.model.log(&(self.stream.clone(), position.epoch)).is_none() {
            self.violate(
                "I3",
                &format!("RESET to epoch {}, which does not exist", position.epoch),
            );
        }
        if let Some(at) = self.at {
            if position.offset > at.offset {
                self.violate("I1", &format!("RESET to {} over {}", position.offset, at.offset));
            }
            if at.epoch == position.epoch {
                self.violate(
                    "I8",
                    &format!("RESET within epoch {} from {}", at.epoch, at.offset),
                );
            }
        }
        self.seen.clear();
        self.at = Some(position);
    }

    /// True when everything that is in the log was given.
    #[must_use]
    pub fn at_head(&self) -> bool {
        match (self.model.head(&self.stream), self.at) {
            (Some((epoch, head)), Some(at)) => at == (Position { epoch, offset: head }),
            (Some((_, head)), None) => head == Offset::ZERO,
            (None, _) => false,
        }
    }

    /// At rest: without GAP and RESET, what was handled is the log from where the process began.
    pub fn check_at_rest(&self) {
        let Some(at) = self.at.filter(|_| self.holes == 0) else {
            return;
        };
        let Some(log) = self.model.log(&(self.stream.clone(), at.epoch)) else {
            return;
        };
        let began = self.began.unwrap_or_default();
        let entries = log.entries.iter().filter(|entry| entry.offset > began);
        let expected: Vec<_> = entries.map(|entry| (entry.offset, entry.digest)).collect();
        if expected != self.seen {
            let text = format!(
                "{} messages were handled of {} in the log",
                self.seen.len(),
                expected.len()
            );
            return self.violate("I2", &text);
        }
        if expected.len() > 1 {
            self.net.case("whole-log");
        }
    }
}

#[cfg(test)]
mod tests {
    use weirline_log::{
        Command, EventLog as _, LogWriter as _, MemoryConfig, MemoryLog, PayloadKind, StreamId,
    };

    use super::*;
    use crate::chaos::ChaosPlan;
    use crate::net::NetPlan;
    use crate::trace::{Keep, digest};

    /// What an application may be told.
    #[derive(Clone, Copy)]
    enum Told {
        Message(u64),
        /// A message whose payload is not that of the log.
        Wrong(u64),
        Gap(u64, u64),
        Live(u64),
        OtherEpoch(u64),
    }

    const ENTRIES: u64 = 8;
    const KEPT: usize = 5;

    fn net() -> Rc<Net> {
        let plan = NetPlan {
            tick_ms: 1,
            latency_ms_min: 1,
            latency_ms_max: 1,
            client_chaos: ChaosPlan::default(),
            server_chaos: ChaosPlan::default(),
            window_bytes: 1,
            vectored: false,
            hang_percent: 0,
            fuses: Vec::new(),
        };
        Net::new(1, plan, Keep::Last)
    }

    /// A log of eight messages of which the first three are gone.
    fn world(net: &Rc<Net>) -> (Rc<Model>, Epoch) {
        let model = Model::new(Rc::clone(net));
        model.server_starts(false);
        let config = MemoryConfig {
            stream_messages_max: KEPT,
            ..MemoryConfig::default()
        };
        let (writer, reader) = MemoryLog::new(config, 7).split();
        let mut writer = crate::recorder::Recorder::new(writer, reader, Rc::clone(&model), Rc::clone(net));
        for number in 1..=ENTRIES {
            let stream = StreamId::new("weir").unwrap();
            let payload = number.to_string().into();
            let append = Command::Append {
                stream,
                author: None,
                kind: PayloadKind::Text,
                payload,
            };
            writer.commit(&[append], &mut Vec::new()).unwrap();
        }
        let (epoch, head) = model.head("weir").unwrap();
        assert_eq!(head.get(), ENTRIES);
        (model, epoch)
    }

    fn check(told: &[Told], expect: Option<&str>) {
        let net = net();
        let (model, epoch) = world(&net);
        let mut consumer = Consumer::new(Rc::clone(&net), model, "test".to_owned(), "weir", None, true);
        let offset = |number| Offset::new(number).unwrap();
        let at = |number| Position {
            epoch,
            offset: offset(number),
        };
        for told in told {
            match *told {
                Told::Message(number) => consumer.message(at(number), digest(number.to_string().as_bytes())),
                Told::Wrong(number) => consumer.message(at(number), digest(b"wrong")),
                Told::Gap(from, to) => consumer.gap(offset(from), at(to)),
                Told::Live(number) => consumer.live(at(number)),
                Told::OtherEpoch(number) => {
                    let position = Position {
                        epoch: Epoch::new(epoch.get() ^ 1),
                        offset: offset(number),
                    };
                    consumer.message(position, digest(number.to_string().as_bytes()));
                }
            }
        }
        consumer.check_at_rest();
        let found = net
            .violations()
            .first()
            .map(|violation| violation.invariant.clone());
        assert_eq!(found.as_deref(), expect, "{:?}", net.violations());
    }

    #[test]
    fn each_broken_promise_is_seen() {
        use Told::{Gap, Live, Message, OtherEpoch, Wrong};
        let rest = [Message(4), Message(5), Message(6), Message(7), Message(8)];
        check(&[&[Live(0), Gap(1, 3)], &rest[..]].concat(), None);
        check(
            &[&[Live(0), Gap(1, 3)], &rest[..2], &[Live(5)], &rest[2..]].concat(),
            None,
        );
        check(&[Live(0), Message(4)], Some("I1"));
        check(&[Live(0), Gap(1, 3), Message(4), Message(6)], Some("I1"));
        check(&[Live(0), Gap(1, 3), Message(4), Message(4)], Some("I1"));
        check(&[Live(0), Gap(1, 3), Message(4), Live(3)], Some("I1"));
        check(&[Live(0), Gap(1, 3), Message(4), Live(5)], Some("I1"));
        check(&[Live(0), Gap(1, 3), Wrong(4)], Some("I3"));
        check(&[Live(0), Gap(1, 3), Message(4), Message(9)], Some("I3"));
        check(&[Live(0), Gap(1, 3), Message(4), OtherEpoch(5)], Some("I1"));
        check(&[Live(0), Gap(1, 4)], Some("I16"));
        check(&[Live(0), Gap(2, 3)], Some("I16"));
        check(&[Live(3), Message(4), Message(5)], Some("I2"));
    }
}
