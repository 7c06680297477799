//! What a client has published, over all its processes, and what became of each message.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use weirline_resume::ClientState;

use crate::model::Model;
use crate::net::Net;

/// The ledger of one client.
pub struct Ledger {
    net: Rc<Net>,
    model: Rc<Model>,
    /// By ticket.
    messages: RefCell<BTreeMap<u64, Message>>,
    /// Taken by a process that crashed before it had stored them.
    forgotten: RefCell<Vec<Message>>,
    /// Taken by a process that lost the session to the one that goes on.
    abandoned: RefCell<Vec<Message>>,
    /// How many messages were made: the number in the next payload.
    made: Cell<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Message {
    number: u64,
    digest: u64,
    fate: Fate,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is in the outbox.
    Pending,
    /// The server acknowledged it.
    Acked,
    /// Whether it is in the log can no longer be learnt.
    Uncertain,
    /// The server refused it for good.
    Refused,
    /// The process that was told did not live to take the event.
    Unknown,
}

impl Ledger {
    /// Nothing is published.
    #[must_use]
    pub fn new(net: Rc<Net>, model: Rc<Model>) -> Self {
        Self {
            net,
            model,
            messages: RefCell::default(),
            forgotten: RefCell::default(),
            abandoned: RefCell::default(),
            made: Cell::new(0),
        }
    }

    /// How many messages were made.
    #[must_use]
    pub fn made(&self) -> u64 {
        self.made.get()
    }

    /// The number of the next message.
    pub fn make(&self) -> u64 {
        self.made.set(self.made.get() + 1);
        self.made.get()
    }

    /// The last ticket that was given out.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.messages
            .borrow()
            .last_key_value()
            .map_or(0, |(ticket, _)| *ticket)
    }

    /// A process starts from a store: what was taken and not stored is forgotten. What is neither settled nor in the
    /// stored outbox had an event that the last process did not live to take.
    pub fn process_starts(&self, stored: &ClientState) {
        let mut messages = self.messages.borrow_mut();
        let lost = messages.split_off(&(stored.last_ticket.0 + 1));
        self.forgotten.borrow_mut().extend(lost.into_values());
        for (ticket, message) in &mut *messages {
            let in_outbox = stored.outbox.iter().any(|entry| entry.ticket.0 == *ticket);
            // After a restart of the server, an acknowledgement may have come before the event that excepts some of it.
            let excepted = self.model.life() > 1 && self.model.place(message.digest).is_none();
            if !in_outbox && (message.fate == Fate::Pending || (message.fate == Fate::Acked && excepted)) {
                message.fate = Fate::Unknown;
            }
        }
    }

    /// The process that took everything after this ticket has lost the session; the survivor gives the tickets out again.
    pub fn abandon_after(&self, ticket: u64) {
        let lost = self.messages.borrow_mut().split_off(&(ticket + 1));
        self.abandoned.borrow_mut().extend(lost.into_values());
    }

    /// A message was taken under this ticket.
    pub fn took(&self, ticket: u64, number: u64, digest: u64) {
        let message = Message {
            number,
            digest,
            fate: Fate::Pending,
        };
        if let Some(other) = self.messages.borrow_mut().insert(ticket, message) {
            let text = format!(
                "ticket {ticket} was given out for message {} and for {number}",
                other.number
            );
            self.net.violate("I9", text);
        }
    }

    /// Everything up to a ticket is acknowledged.
    pub fn acked(&self, through: u64) {
        for message in self.messages.borrow_mut().range_mut(..=through) {
            if message.1.fate == Fate::Pending {
                message.1.fate = Fate::Acked;
            }
        }
    }

    /// These have this fate.
    pub fn settled(&self, from: u64, to: u64, fate: Fate) {
        for message in self.messages.borrow_mut().range_mut(from..=to) {
            message.1.fate = fate;
        }
    }

    /// How many are in the outbox.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.messages
            .borrow()
            .values()
            .filter(|message| message.fate == Fate::Pending)
            .count()
    }

    /// At rest: what was acknowledged is in the log, in order; what was forgotten is not.
    pub fn check_at_rest(&self) {
        let mut last: BTreeMap<crate::model::LogKey, (weirline_log::Offset, u64)> = BTreeMap::new();
        for (ticket, message) in &*self.messages.borrow() {
            let place = self.model.place(message.digest);
            match (&place, message.fate) {
                (None, Fate::Acked) => {
                    let text = format!(
                        "message {} (ticket {ticket}) was acknowledged and is in no log",
                        message.number
                    );
                    self.net.violate("I8", text);
                }
                (None, Fate::Pending) => {
                    self.net.violate(
                        "I2",
                        format!("message {} (ticket {ticket}) is in no log", message.number),
                    );
                }
                (Some(_), Fate::Refused) => {
                    self.net.violate(
                        "I6",
                        format!("message {} was refused and is in the log", message.number),
                    );
                }
                (Some(_), Fate::Acked) => self.net.case("acked-survives"),
                _ => {}
            }
            let Some((key, offset)) = place else { continue };
            if let Some((before, number)) = last.insert(key, (offset, message.number))
                && before > offset
            {
                let text = format!(
                    "message {} is at {offset}, before {number} at {before}",
                    message.number
                );
                self.net.violate("I7", text);
            }
        }
        for message in &*self.abandoned.borrow() {
            if message.fate == Fate::Acked && self.model.place(message.digest).is_none() {
                let text = format!("message {} was acknowledged and is in no log", message.number);
                self.net.violate("I8", text);
            }
        }
        for message in &*self.forgotten.borrow() {
            if self.model.place(message.digest).is_some() {
                let text = format!("message {} was sent before it was stored", message.number);
                self.net.violate("I8", text);
            }
        }
    }
}
