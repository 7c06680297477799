//! Subscriptions: opening, acknowledging, credit.

use std::time::Instant;

use weirline_log::{AckRefusal, Bounds, Command, Offset, Outcome, Position, StreamId};

use super::meter::Meter;
use super::work::{Instance, Pending};
use super::{Session, fault};
use crate::wire::{
    Begin, Code, Limits, Policy, ServerMessage, Standing, Sub, SubState, Subscribe, Subscribed, Word,
};

/// A cursor in a stream, and what it may send.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Subscription {
    pub(super) stream: StreamId,
    pub(super) policy: Policy,
    pub(super) instance: Instance,
    pub(super) stage: Stage,
    pub(super) meter: Meter,
    /// The client asked to hold it.
    pub(super) held: bool,
    /// The last read found nothing more, and nothing was appended since.
    pub(super) caught_up: bool,
    /// It is in the queue of those that may have something to read.
    pub(super) queued: bool,
    /// RESET was said: ACKs of an earlier epoch may be under way.
    pub(super) reset: bool,
    /// The client's highest ACK in this epoch.
    acked: Option<Offset>,
    ack: AckState,
    /// When it breaks, while it has something to send and no credit.
    pub(super) starved: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// The stream is being opened.
    Opening(Begin),
    /// The position belongs to another epoch; the log is asked for the common history.
    Comparing {
        position: Position,
        bounds: Bounds,
        /// SUBOK is due, else RESET.
        first: bool,
    },
    /// Everything up to here was sent, or covered by a GAP.
    Open(Position),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum AckState {
    #[default]
    Settled,
    Due,
    InFlight,
    InFlightAndDue,
}

impl Subscription {
    pub(super) fn cursor(&self) -> Option<Position> {
        match self.stage {
            Stage::Open(position) => Some(position),
            _ => None,
        }
    }

    /// Whether it has something to send, as far as is known.
    pub(super) fn is_hungry(&self) -> bool {
        matches!(self.stage, Stage::Open(_)) && !self.caught_up && !self.held
    }

    /// Offsets of an epoch that was left are not acknowledged.
    pub(super) fn forget_acks(&mut self) {
        self.acked = None;
        if self.ack == AckState::InFlightAndDue {
            self.ack = AckState::InFlight;
        } else if self.ack == AckState::Due {
            self.ack = AckState::Settled;
        }
    }
}

impl Session {
    pub(super) fn subscribe(&mut self, subscribe: Subscribe) {
        let Subscribe {
            sub,
            stream,
            begin,
            policy,
            limits,
        } = subscribe;
        if self.subs.contains_key(&sub) {
            return self.reject(Code::BadMessage, "a sub that is in use", false);
        }
        if self.streams.contains_key(&stream) {
            return self.unsubscribed(sub, Code::Conflict, "the stream is subscribed already");
        }
        if self.subs.len() >= self.config.subs_max {
            let detail = format!("at most {} subscriptions", self.config.subs_max);
            return self.unsubscribed(sub, Code::TooMany, &detail);
        }
        self.instances.0 += 1;
        let instance = self.instances;
        let subscription = Subscription {
            stream: stream.clone(),
            policy,
            instance,
            stage: Stage::Opening(begin),
            meter: Meter::new(limits),
            held: false,
            caught_up: false,
            queued: false,
            reset: false,
            acked: None,
            ack: AckState::default(),
            starved: None,
        };
        self.subs.insert(sub, Box::new(subscription));
        self.streams.insert(stream.clone(), sub);
        self.work
            .push(Pending::Open(sub, instance), Command::Open { stream });
    }

    fn unsubscribed(&mut self, sub: Sub, code: Code, detail: &str) {
        let fault = Some(fault(code, detail));
        self.send(&ServerMessage::Unsubscribed { sub, fault });
    }

    pub(super) fn unsubscribe(&mut self, sub: Sub) {
        if self.remove(sub) {
            self.send(&ServerMessage::Unsubscribed { sub, fault: None });
        }
    }

    /// A subscription ends from this side.
    pub(super) fn give_up(&mut self, sub: Sub, code: Code, detail: &str) {
        if self.remove(sub) {
            self.unsubscribed(sub, code, detail);
        }
    }

    fn remove(&mut self, sub: Sub) -> bool {
        let due = self.due_ack(sub);
        let Some(subscription) = self.subs.remove(&sub) else {
            return false;
        };
        if let Some(ack) = due {
            self.work.push(
                Pending::Ack(sub, subscription.instance, subscription.stream.clone()),
                ack,
            );
        }
        self.streams.remove(&subscription.stream);
        if let Some(due) = subscription.starved {
            self.starving.remove(&(due, sub));
        }
        self.ready.retain(|ready| *ready != sub);
        self.due_acks.retain(|due| *due != sub);
        true
    }

    /// The subscription, unless its number has another by now.
    pub(super) fn find(&mut self, sub: Sub, instance: Instance) -> Option<&mut Subscription> {
        let subscription = self.subs.get_mut(&sub)?;
        (subscription.instance == instance).then_some(&mut **subscription)
    }

    pub(super) fn open_decided(&mut self, sub: Sub, instance: Instance, outcome: &Outcome) {
        match outcome {
            Outcome::Opened(bounds) => self.start(sub, instance, *bounds),
            Outcome::OpenRefused(refusal) => {
                self.open_refused(sub, instance, &refusal.to_string());
            }
            other => panic!("{other:?} is no outcome of opening a stream"),
        }
    }

    pub(super) fn open_refused(&mut self, sub: Sub, instance: Instance, detail: &str) {
        if self.find(sub, instance).is_some() {
            self.give_up(sub, Code::Unavailable, detail);
        }
    }

    fn start(&mut self, sub: Sub, instance: Instance, bounds: Bounds) {
        let Some(subscription) = self.subs.get(&sub).filter(|it| it.instance == instance) else {
            return;
        };
        let Stage::Opening(begin) = subscription.stage else {
            return;
        };
        let recorded = self.acked.get(&subscription.stream);
        let begin = match (begin, recorded) {
            (Begin::AckedOrHead | Begin::AckedOrStart, Some(recorded)) => Begin::After {
                offset: recorded.offset,
                epoch: Some(recorded.epoch),
            },
            (Begin::AckedOrHead, None) => Begin::Head,
            (Begin::AckedOrStart, None) => Begin::After {
                offset: Offset::ZERO,
                epoch: None,
            },
            (begin, _) => begin,
        };
        match begin {
            Begin::After {
                offset,
                epoch: Some(epoch),
            } if epoch != bounds.epoch => {
                if let Some(subscription) = self.subs.get_mut(&sub) {
                    subscription.stage = Stage::Comparing {
                        position: Position { epoch, offset },
                        bounds,
                        first: true,
                    };
                }
                self.queue(sub);
            }
            Begin::After { offset, .. } if offset > bounds.head => {
                self.opened(sub, bounds, Offset::ZERO, true);
            }
            Begin::After { offset, .. } => self.opened(sub, bounds, offset, false),
            _ => self.opened(sub, bounds, bounds.head, false),
        }
    }

    /// SUBOK.
    pub(super) fn opened(&mut self, sub: Sub, bounds: Bounds, offset: Offset, reset: bool) {
        let position = Position {
            epoch: bounds.epoch,
            offset,
        };
        let state = match () {
            () if reset => SubState::Reset,
            () if offset < bounds.trimmed => SubState::Gap,
            () if offset < bounds.head => SubState::Resumed,
            () => SubState::Live,
        };
        self.send(&ServerMessage::Subscribed(Subscribed {
            sub,
            position,
            head: bounds.head,
            state,
        }));
        self.deliver_after(sub, position, bounds.trimmed);
    }

    /// ACK, or a position in a PING.
    pub(super) fn ack(&mut self, sub: Sub, position: Position) {
        let Some(subscription) = self.subs.get_mut(&sub) else {
            return;
        };
        let (cursor, changing) = match subscription.stage {
            Stage::Open(cursor) => (cursor, false),
            Stage::Comparing {
                position,
                first: false,
                ..
            } => (position, true),
            _ => return self.reject(Code::BadMessage, "an ACK before SUBOK", false),
        };
        if position.epoch != cursor.epoch {
            if !subscription.reset {
                self.reject(Code::UnknownEpoch, "an ACK of an epoch that never was", false);
            }
            return;
        }
        if position.offset > cursor.offset {
            let detail = format!("the last offset sent is {}", cursor.offset);
            return self.reject(Code::AckBeyond, &detail, false);
        }
        if changing || subscription.acked >= Some(position.offset) {
            return;
        }
        subscription.acked = Some(position.offset);
        subscription.ack = match subscription.ack {
            AckState::Settled => {
                self.due_acks.push_back(sub);
                AckState::Due
            }
            AckState::Due => AckState::Due,
            AckState::InFlight | AckState::InFlightAndDue => AckState::InFlightAndDue,
        };
    }

    /// The ACK of this subscription that is to be recorded: at most one at a time, later ones replace those that wait.
    fn due_ack(&mut self, sub: Sub) -> Option<Command> {
        let (session, attach) = self.identity?;
        let subscription = self.subs.get_mut(&sub)?;
        let (cursor, offset) = (subscription.cursor()?, subscription.acked?);
        if subscription.ack != AckState::Due {
            return None;
        }
        subscription.ack = AckState::InFlight;
        Some(Command::Ack {
            session,
            attach,
            stream: subscription.stream.clone(),
            epoch: cursor.epoch,
            offset,
        })
    }

    /// The next ACK to record.
    pub(super) fn take_due_ack(&mut self) -> Option<(Pending, Command)> {
        while let Some(sub) = self.due_acks.pop_front() {
            if let Some(command) = self.due_ack(sub)
                && let Some(subscription) = self.subs.get(&sub)
            {
                let pending = Pending::Ack(sub, subscription.instance, subscription.stream.clone());
                return Some((pending, command));
            }
        }
        None
    }

    pub(super) fn ack_decided(
        &mut self,
        now: Instant,
        sub: Sub,
        instance: Instance,
        stream: StreamId,
        outcome: &Outcome,
    ) {
        match outcome {
            Outcome::Acked { position } => {
                self.acked.insert(stream, *position);
            }
            Outcome::AckRefused(AckRefusal::Fenced) => return self.orphan(now),
            Outcome::AckRefused(AckRefusal::Unavailable) => return self.ack_failed(sub, instance),
            // Not recorded, which changes nothing for delivery; an epoch that changed is found by the next read.
            Outcome::AckRefused(_) => {}
            other => panic!("{other:?} is no outcome of an ACK"),
        }
        let due = self.find(sub, instance).is_some_and(|subscription| {
            let due = subscription.ack == AckState::InFlightAndDue;
            subscription.ack = if due { AckState::Due } else { AckState::Settled };
            due
        });
        if due {
            self.due_acks.push_back(sub);
        }
    }

    /// The log could not record it: the same ACK will be tried when it is said again.
    pub(super) fn ack_failed(&mut self, sub: Sub, instance: Instance) {
        if let Some(subscription) = self.find(sub, instance) {
            subscription.ack = AckState::Settled;
            subscription.acked = None;
        }
    }

    /// CREDIT, or limits in a PING.
    pub(super) fn credit(&mut self, now: Instant, sub: Option<Sub>, limits: Limits) {
        match sub {
            None => {
                self.meter.raise(limits);
                self.watch_all(now);
            }
            Some(sub) => {
                if let Some(subscription) = self.subs.get_mut(&sub) {
                    subscription.meter.raise(limits);
                    self.queue(sub);
                    self.watch(now, sub);
                }
            }
        }
    }

    /// FLOW from the client.
    pub(super) fn hold(&mut self, now: Instant, sub: Option<Sub>, hold: bool) {
        match sub {
            None => {
                self.held = hold;
                self.watch_all(now);
            }
            Some(sub) => {
                if let Some(subscription) = self.subs.get_mut(&sub) {
                    subscription.held = hold;
                    self.queue(sub);
                    self.watch(now, sub);
                }
            }
        }
    }

    /// Starts or stops the time of a subscription that breaks.
    pub(super) fn watch(&mut self, now: Instant, sub: Sub) {
        let (all, held) = (self.meter.has_credit(), self.held);
        let Some(subscription) = self.subs.get_mut(&sub) else {
            return;
        };
        if subscription.policy != Policy::Break {
            return;
        }
        let credit = all && subscription.meter.has_credit();
        let starves = subscription.is_hungry() && !held && !credit;
        match (subscription.starved, starves) {
            (None, true) => {
                let due = now + self.config.starved_max;
                subscription.starved = Some(due);
                self.starving.insert((due, sub));
            }
            (Some(due), false) => {
                subscription.starved = None;
                self.starving.remove(&(due, sub));
            }
            _ => {}
        }
    }

    pub(super) fn watch_all(&mut self, now: Instant) {
        let breaks: Vec<Sub> = self
            .subs
            .iter()
            .filter(|(_, subscription)| subscription.policy == Policy::Break)
            .map(|(sub, _)| *sub)
            .collect();
        for sub in breaks {
            self.watch(now, sub);
        }
    }

    pub(super) fn break_subscription(&mut self, sub: Sub) {
        let after = self.hint();
        self.break_with(Some(sub), Word::SLOW_CONSUMER, after);
    }

    pub(super) fn standing(&self, sub: Sub) -> Option<Standing> {
        let position = Some(self.subs.get(&sub)?.cursor()?);
        Some(Standing {
            sub,
            position,
            limits: None,
        })
    }
}
