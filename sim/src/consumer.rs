//! What one process has been given, checked event by event against the model.

use std::rc::Rc;

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
        }
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

    /// A message was given.
    pub fn message(&mut self, position: Position, digest: u64) {
        let Position { epoch, offset } = position;
        let before = self.place(epoch, "a message");
        let log = self.model.log(&(self.stream.clone(), epoch));
        let Some(entry) = log.as_ref().and_then(|log| log.at(offset)) else {
            return self.violate("I3", &format!("{offset} of epoch {epoch} was never committed"));
        };
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
        if let Some(before) = self.place(epoch, "a GAP") {
            if before.next() != Some(from) || to < from {
                self.violate("I16", &format!("GAP {from} to {to} was given after {before}"));
            }
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
