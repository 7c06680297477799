//! What the page lets a client say, and what must become of what it took in.

use std::collections::BTreeSet;

use weirline_log::{Attach, Seq};
use weirline_resume::wire::{ClientMessage, Form};
use weirline_resume::{SessionEvent, SessionState, Slot, Ticket};

/// One process of a client.
#[derive(Clone, Debug, Default)]
pub(super) struct Oracle {
    /// Taken into the outbox, and without a fate.
    pending: BTreeSet<Ticket>,
    last: Ticket,
    /// What the present dial is told as.
    attach: Attach,
    connected: bool,
    hello: bool,
    live: bool,
    /// The last number that was sent on this connection; `None` before the first.
    sent: Option<Seq>,
    bye: bool,
}

impl Oracle {
    pub(super) fn taken(&mut self, ticket: Ticket) {
        assert!(ticket > self.last, "tickets rise");
        self.last = ticket;
        self.pending.insert(ticket);
    }

    /// Another process: it has no connection.
    pub(super) fn restored(&mut self) {
        self.leave();
    }

    fn leave(&mut self) {
        self.connected = false;
        self.hello = false;
        self.live = false;
        self.sent = None;
        self.bye = false;
    }

    pub(super) fn dialed(&mut self, state: &SessionState) {
        let fresh = state.session.is_none();
        assert!(if fresh {
            state.attach == Attach::FIRST
        } else {
            state.attach > self.attach
        });
        self.attach = state.attach;
        self.leave();
    }

    pub(super) fn connected(&mut self, said: bool) {
        self.connected = true;
        self.hello |= said;
    }

    pub(super) fn event(&mut self, event: &SessionEvent) {
        match event {
            SessionEvent::Live { .. } => {
                assert!(!self.live);
                self.live = true;
                self.sent = None;
            }
            SessionEvent::Acked { through } => self.end(Ticket(0), *through, 1),
            SessionEvent::NotPublished { from, to } | SessionEvent::Uncertain { from, to } => {
                self.end(*from, *to, 1);
            }
            SessionEvent::Refused {
                ticket,
                retried: false,
                ..
            } => {
                self.end(*ticket, *ticket, 1);
                self.sent = None;
            }
            // Everything from it on is sent again.
            SessionEvent::Refused { retried: true, .. } => self.sent = None,
            SessionEvent::SessionRenewed => self.attach = Attach::ZERO,
            SessionEvent::Disconnected { .. }
            | SessionEvent::Superseded
            | SessionEvent::Failed(_)
            | SessionEvent::Ended { .. } => self.leave(),
            _ => {}
        }
    }

    /// A fate: at least so many of these had none.
    fn end(&mut self, from: Ticket, to: Ticket, least: usize) {
        let ended: Vec<Ticket> = self.pending.range(from..=to).copied().collect();
        assert!(ended.len() >= least, "{from:?} to {to:?} ended before");
        for ticket in ended {
            self.pending.remove(&ticket);
        }
    }

    /// What has no fate is exactly what is in the outbox.
    pub(super) fn outbox(&self, state: &SessionState) {
        let held = state.outbox.iter().filter_map(|slot| match slot {
            Slot::Message { ticket, .. } => Some(*ticket),
            _ => None,
        });
        assert_eq!(held.collect::<BTreeSet<_>>(), self.pending);
    }

    /// `durable`: what was stored, where something must be.
    pub(super) fn said(
        &mut self,
        form: Form,
        message: &[u8],
        state: &SessionState,
        durable: Option<Option<&SessionState>>,
    ) {
        let said = ClientMessage::decode(form, form.kind(), message);
        let said = said
            .expect("a client's message can be read")
            .expect("no extension");
        assert!(self.connected && !self.bye, "{said:?}");
        if let ClientMessage::Hello(hello) = &said {
            assert!(!std::mem::replace(&mut self.hello, true) && !self.live);
            assert_eq!((hello.session, hello.attach), (state.session, self.attach));
            if let Some(stored) = durable {
                assert!(
                    stored.is_some_and(|stored| stored.attach == hello.attach),
                    "not stored"
                );
            }
            return;
        }
        assert!(self.hello && self.live, "before WELCOME: {said:?}");
        match said {
            ClientMessage::Publish(publish) => self.number(publish.seq, publish.seq, state, durable),
            ClientMessage::Skip(skip) => self.number(skip.from, skip.to, state, durable),
            ClientMessage::Bye => {
                assert!(self.pending.is_empty());
                self.bye = true;
            }
            _ => {}
        }
    }

    /// Numbers follow one another, from the first that is not acknowledged.
    fn number(&mut self, from: Seq, to: Seq, state: &SessionState, durable: Option<Option<&SessionState>>) {
        // Or everything is sent again, since one was refused.
        let again = state.acked.next() == Some(from);
        assert!(
            again || self.sent.and_then(Seq::next) == Some(from),
            "a number is skipped"
        );
        self.sent = Some(to);
        if let Some(stored) = durable {
            let known = stored.and_then(|stored| stored.session);
            assert_eq!(known, state.session, "the session is stored before its first PUB");
        }
    }
}
