//! What a server says, and what follows from it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use weirline_log::{PayloadKind, Position};

use super::subscription::Stage;
use super::{Phase, SessionClient, SessionEvent, SessionFailure};
use crate::session::meter::Meter;
use crate::wire::{
    AuthAnswer, Begin, ClientMessage, Code, Data, Fault, Gap, Ping, PubAck, Reject, Reset, ServerMessage,
    Standing, Sub, SubState, Subscribed, Welcome,
};
use crate::{Close, Revision, Ticket};

/// A sentence for [`SessionFailure::Protocol`].
type Broken = &'static str;

impl SessionClient {
    pub(super) fn take_message(
        &mut self,
        now: Instant,
        kind: PayloadKind,
        message: &[u8],
        keep: impl FnOnce(&[u8]) -> Bytes,
    ) {
        if matches!(self.phase, Phase::Idle | Phase::Closing | Phase::Stopped) {
            // Behind a close or an end nothing counts, whatever it is.
            return;
        }
        self.heard = Some(now);
        let taken = match ServerMessage::decode(self.config.form, kind, message) {
            Ok(Some(message)) => self.dispatch(now, message, keep),
            Ok(None) => Ok(()),
            Err(_) => Err("a malformed message"),
        };
        if let Err(broken) = taken {
            self.stop(SessionEvent::Failed(SessionFailure::Protocol(broken)));
            self.close = Some(Close::new(Close::POLICY, "bad-message"));
        }
    }

    fn dispatch(
        &mut self,
        now: Instant,
        message: ServerMessage<'_>,
        keep: impl FnOnce(&[u8]) -> Bytes,
    ) -> Result<(), Broken> {
        use ServerMessage as M;
        match (self.phase, message) {
            (Phase::Asking(_) | Phase::Live, M::Reject(reject)) => {
                self.rejected(reject);
                Ok(())
            }
            (Phase::Asking(_), M::Welcome(welcome)) if self.hello.is_none() => self.welcomed(&welcome),
            (Phase::Live, M::Subscribed(subscribed)) => self.subscribed(subscribed),
            (Phase::Live, M::Unsubscribed { sub, fault }) => self.unsubscribed(sub, fault),
            (Phase::Live, M::Data(data)) => self.data(data, keep),
            (Phase::Live, M::Gap(gap)) => self.gap(gap),
            (Phase::Live, M::Reset(reset)) => self.reset(reset),
            (Phase::Live, M::PubAck(puback)) => self.puback(now, puback),
            (Phase::Live, M::Credit(credit)) => {
                self.meter.raise(credit.limits);
                Ok(())
            }
            (Phase::Live, M::Flow(flow)) => {
                if flow.sub.is_none() {
                    self.paused = flow.pause.is_some();
                }
                self.events.push_back(match flow.pause {
                    Some(reason) => SessionEvent::Paused {
                        reason: reason.as_str().into(),
                    },
                    None => SessionEvent::Resumed,
                });
                Ok(())
            }
            (Phase::Live, M::Ping(ping)) => {
                let echo = ping.echo;
                self.stand(ping)?;
                let pong = self.standings(echo);
                self.out.push_back(ClientMessage::Pong(pong));
                if self.out.len() > ANSWERS_MAX {
                    return Err("more pings than can be answered");
                }
                Ok(())
            }
            (Phase::Live, M::Pong(pong)) => self.stand(pong),
            (Phase::Live, M::Auth(answer)) => self.judged(answer),
            (Phase::Live, M::Drain(drain)) => {
                self.events.push_back(SessionEvent::Drain {
                    after: drain.after,
                    deadline: drain.deadline,
                    url: drain.url.map(|url| url.as_str().to_owned()),
                });
                Ok(())
            }
            (Phase::Live, M::Bye(fault)) => self.ended(fault),
            (Phase::Live, M::Welcome(_)) => Err("a second WELCOME"),
            (_, _) => Err("a message before WELCOME"),
        }
    }

    /// WELCOME: the verdict over everything sent before.
    fn welcomed(&mut self, welcome: &Welcome) -> Result<(), Broken> {
        match (self.identity, welcome.token) {
            (None, Some(token)) => self.identity = Some((welcome.session, token)),
            (Some((session, _)), None) if session == welcome.session => {}
            _ => return Err("WELCOME to another session"),
        }
        if welcome.attach != self.attach {
            return Err("WELCOME for another attach");
        }
        self.phase = Phase::Live;
        self.meter = Meter::new(welcome.limits);
        self.size = welcome.size;
        self.heartbeat = welcome.heartbeat;
        self.events.push_back(SessionEvent::Live {
            outcome: welcome.outcome,
            durability: welcome.durability,
        });
        if welcome.ttl < self.config.horizon {
            self.events.push_back(SessionEvent::ShortTtl { ttl: welcome.ttl });
        }
        let recount = self.outbox.recount(welcome.count, welcome.hash);
        if let Some((from, to)) = recount.lost {
            self.events.push_back(SessionEvent::LostAfterAck { from, to });
        }
        self.events
            .extend(recount.acked.map(|through| SessionEvent::Acked { through }));
        if let Some((from, to)) = recount.not_published {
            self.events.push_back(SessionEvent::NotPublished { from, to });
        }
        // Session, token and numbering are stored before the first PUB.
        self.changed();
        self.publish_from = self.revision;
        Ok(())
    }

    fn subscribed(&mut self, subscribed: Subscribed) -> Result<(), Broken> {
        let Subscribed {
            sub,
            position,
            head,
            state,
        } = subscribed;
        let it = self.subs.get_mut(&sub).ok_or("SUBOK of what was not asked for")?;
        let asked = match it.stage {
            Stage::Asked(asked) => asked,
            Stage::Leaving | Stage::Left => return Ok(()),
            _ => return Err("a second SUBOK"),
        };
        let reset = state == SubState::Reset;
        let fits = match asked {
            Begin::After { offset, .. } if reset => position.offset <= offset,
            Begin::After { offset, epoch } => {
                offset == position.offset && epoch.is_none_or(|epoch| epoch == position.epoch)
            }
            Begin::Head => position.offset == head && !reset,
            Begin::AckedOrHead | Begin::AckedOrStart => true,
        };
        if !fits {
            return Err("SUBOK at a place that was not asked for");
        }
        it.stage = Stage::Open;
        let taken = it.cursor.taken();
        if reset && taken.is_some() {
            it.reset(position);
            self.events
                .push_back(SessionEvent::Reset { sub, taken, position });
        } else {
            it.cursor.resumed(position);
        }
        self.events.push_back(SessionEvent::Subscribed {
            sub,
            position,
            head,
            state,
        });
        Ok(())
    }

    fn unsubscribed(&mut self, sub: Sub, fault: Option<Fault<'_>>) -> Result<(), Broken> {
        let it = self.subs.remove(&sub).ok_or("UNSUB of what was not asked for")?;
        match (it.stage, &fault) {
            (Stage::Wanted, _) => Err("UNSUB of what was not asked for"),
            (Stage::Asked(_) | Stage::Open | Stage::Leaving, None) => Err("UNSUB without a reason"),
            _ => {
                let fault = fault.map(told);
                self.events.push_back(SessionEvent::Unsubscribed { sub, fault });
                Ok(())
            }
        }
    }

    fn data(&mut self, data: Data<'_>, keep: impl FnOnce(&[u8]) -> Bytes) -> Result<(), Broken> {
        let it = self.subs.get_mut(&data.sub).ok_or("DATA of no subscription")?;
        match it.stage {
            Stage::Open => {}
            Stage::Leaving | Stage::Left => return Ok(()),
            _ => return Err("DATA before SUBOK"),
        }
        let taken = it.cursor.taken().ok_or("DATA before SUBOK")?;
        if !it.has_credit() {
            return Err("DATA without credit");
        }
        if data.previous > taken.offset {
            self.give_up_connection("bad-message");
            return Ok(());
        }
        let position = it
            .take(data.offset, data.payload.bytes.len())
            .ok_or("an offset that does not increase")?;
        let kind = data.payload.kind;
        let payload = match data.payload.bytes {
            std::borrow::Cow::Borrowed(bytes) => keep(bytes),
            std::borrow::Cow::Owned(bytes) => Bytes::from(bytes),
        };
        self.events.push_back(SessionEvent::Message {
            sub: data.sub,
            position,
            kind,
            payload,
        });
        Ok(())
    }

    /// Consumed like data; merged with a GAP that waits in the queue and ends just before it.
    fn gap(&mut self, gap: Gap) -> Result<(), Broken> {
        let Gap {
            sub,
            from,
            to,
            reason,
        } = gap;
        let it = self.subs.get_mut(&sub).ok_or("a GAP of no subscription")?;
        match it.stage {
            Stage::Open => {}
            Stage::Leaving | Stage::Left => return Ok(()),
            _ => return Err("a GAP before SUBOK"),
        }
        if it.cursor.taken().and_then(|taken| taken.offset.next()) != Some(from) {
            return Err("a GAP that does not follow");
        }
        let position = it.cursor.take(to).ok_or("a GAP that goes back")?;
        if let Some(SessionEvent::Gap {
            sub: other,
            epoch,
            to: end,
            reason: same,
            ..
        }) = self.events.back_mut()
            && (*other, *epoch, end.next(), *same) == (sub, position.epoch, Some(from), reason)
        {
            *end = to;
            return Ok(());
        }
        self.events.push_back(SessionEvent::Gap {
            sub,
            epoch: position.epoch,
            from,
            to,
            reason,
        });
        Ok(())
    }

    fn reset(&mut self, reset: Reset) -> Result<(), Broken> {
        let Reset { sub, epoch, common } = reset;
        let it = self.subs.get_mut(&sub).ok_or("a RESET of no subscription")?;
        match it.stage {
            Stage::Open => {}
            Stage::Leaving | Stage::Left => return Ok(()),
            _ => return Err("a RESET before SUBOK"),
        }
        let taken = it.cursor.taken();
        let position = Position {
            epoch,
            offset: common,
        };
        if taken.is_none_or(|taken| taken.epoch == epoch || common > taken.offset) {
            return Err("a RESET that changes nothing");
        }
        it.reset(position);
        self.events
            .push_back(SessionEvent::Reset { sub, taken, position });
        Ok(())
    }

    fn puback(&mut self, now: Instant, puback: PubAck<'_>) -> Result<(), Broken> {
        let PubAck { seq, refused } = puback;
        if seq < self.outbox.acked {
            return Err("a PUBACK that goes back");
        }
        let through = self
            .outbox
            .acked(seq)
            .map_err(|()| "a PUBACK of what was not sent")?;
        self.events
            .extend(through.map(|through| SessionEvent::Acked { through }));
        let Some(refused) = refused else {
            return Ok(());
        };
        if self.outbox.in_flight() == 0 {
            return Err("a refusal of what was not sent");
        }
        let ticket = self.outbox.refused();
        let (code, detail) = told(refused.fault);
        // Everything from it on is sent again.
        self.outbox.rewind();
        let retried = ticket.is_none() || !matches!(code, Code::TooLarge | Code::Forbidden);
        if retried {
            let wait = refused.retry.unwrap_or(self.config.refused_wait);
            self.wait_until = Some(now + wait);
        } else {
            // Another process must know that the number is given up before any of what is behind it is sent.
            self.outbox.skip_next();
            self.changed();
            self.publish_from = self.revision;
        }
        if let Some(ticket) = ticket {
            self.events.push_back(SessionEvent::Refused {
                ticket,
                code,
                detail,
                retried,
            });
        }
        Ok(())
    }

    /// A message that the server would not take is given up here.
    pub(super) fn refuse_own(&mut self, ticket: Option<Ticket>) {
        self.outbox.skip_next();
        self.changed();
        self.publish_from = self.revision;
        if let Some(ticket) = ticket {
            self.events.push_back(SessionEvent::Refused {
                ticket,
                code: Code::TooLarge,
                detail: format!("a message is at most {} bytes", self.size),
                retried: false,
            });
        }
    }

    /// What a PING or PONG repeats.
    fn stand(&mut self, ping: Ping) -> Result<(), Broken> {
        if let Some(limits) = ping.limits {
            self.meter.raise(limits);
        }
        if let Some(seq) = ping.count.filter(|count| *count > self.outbox.acked) {
            let through = self
                .outbox
                .acked(seq)
                .map_err(|()| "a count of what was not sent")?;
            self.events
                .extend(through.map(|through| SessionEvent::Acked { through }));
        }
        for Standing { sub, position, .. } in ping.subs {
            let open = self.subs.get(&sub).filter(|it| it.stage == Stage::Open);
            if let Some(it) = open
                && position.is_some()
                && position != it.cursor.taken()
            {
                // Something was lost on the way: the next dial asks for it.
                self.give_up_connection("bad-message");
                return Ok(());
            }
        }
        Ok(())
    }

    /// What this client repeats in a PING or PONG.
    pub(super) fn standings(&self, echo: u64) -> Ping {
        let open = self.subs.iter().filter(|(_, it)| it.stage == Stage::Open);
        let subs = open.take(crate::wire::LIST_MAX).map(|(sub, it)| {
            let taken = it.cursor.taken();
            let handled = it.cursor.handled_position();
            Standing {
                sub: *sub,
                position: handled.filter(|at| taken.is_some_and(|taken| taken.epoch == at.epoch)),
                limits: Some(it.limits()),
            }
        });
        Ping {
            echo,
            subs: subs.collect(),
            ..Ping::default()
        }
    }

    fn judged(&mut self, answer: AuthAnswer<'_>) -> Result<(), Broken> {
        if !std::mem::take(&mut self.offered) {
            return Err("an answer to an AUTH that was not said");
        }
        let accepted = match answer {
            AuthAnswer::Accepted { expires } => Ok(expires),
            AuthAnswer::Refused(fault) => Err(told(fault)),
        };
        self.events.push_back(SessionEvent::Credential { accepted });
        Ok(())
    }

    /// REJECT: the connection is over, and perhaps more.
    fn rejected(&mut self, reject: Reject<'_>) {
        let (code, detail) = told(reject.fault);
        self.retry_hint = reject.retry.map(|retry| retry.min(Duration::from_secs(60)));
        match code {
            Code::SessionUnknown => {
                self.give_up_session();
                self.identity = None;
                self.changed();
                self.events.push_back(SessionEvent::SessionRenewed);
                self.phase = Phase::Closing;
            }
            Code::StaleAttach => self.stop(SessionEvent::Superseded),
            _ if reject.resumable => self.phase = Phase::Closing,
            _ => self.stop(SessionEvent::Failed(SessionFailure::Refused { code, detail })),
        }
    }

    fn ended(&mut self, fault: Option<Fault<'_>>) -> Result<(), Broken> {
        if fault.is_none() && !self.said_bye {
            return Err("a BYE that was not asked for");
        }
        self.give_up_session();
        self.identity = None;
        self.changed();
        let fault = fault.map(told);
        self.stop(SessionEvent::Ended { fault });
        Ok(())
    }

    /// Nothing can tell any more what became of what was sent.
    fn give_up_session(&mut self) {
        if let Some((from, to)) = self.outbox.uncertain() {
            self.events.push_back(SessionEvent::Uncertain { from, to });
        }
    }

    /// This side ends the connection; the session goes on by the next dial.
    pub(super) fn give_up_connection(&mut self, reason: &'static str) {
        self.phase = Phase::Closing;
        self.hello = None;
        self.out.clear();
        self.close = Some(Close::new(Close::POLICY, reason));
    }

    /// The current connection is over, or given up for another dial.
    pub(super) fn leave_connection(&mut self) {
        self.phase = Phase::Idle;
        self.hello = None;
        self.out.clear();
        self.close = None;
        self.paused = false;
        self.offered = false;
        self.said_bye = false;
        self.wait_until = None;
        self.heard = None;
        self.outbox.rewind();
        let left: Vec<Sub> = self
            .subs
            .iter()
            .filter(|(_, it)| matches!(it.stage, Stage::Leaving | Stage::Left))
            .map(|(sub, _)| *sub)
            .collect();
        for sub in left {
            self.subs.remove(&sub);
            self.events
                .push_back(SessionEvent::Unsubscribed { sub, fault: None });
        }
        for it in self.subs.values_mut() {
            it.stage = Stage::Wanted;
        }
    }

    pub(super) fn stop(&mut self, event: SessionEvent) {
        self.leave_connection();
        self.phase = Phase::Stopped;
        self.events.push_back(event);
    }

    /// The state has changed in a way that another process must know before what follows from it leaves.
    pub(super) fn changed(&mut self) {
        self.revision = Revision(self.revision.0 + 1);
    }
}

fn told(fault: Fault<'_>) -> (Code, String) {
    (fault.code, fault.detail.as_str().to_owned())
}

/// Answers that wait for the transport.
const ANSWERS_MAX: usize = 1024;
