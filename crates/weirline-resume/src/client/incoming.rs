//! What a server says, and what follows from it.

use std::time::Instant;

use weirline_log::{Offset, PayloadKind, Position, Seq};

use super::{ClientEvent, Failure, Incoming, Phase, Revision, TextClient};
use crate::Close;
use crate::text::{ErrorCode, ServerMessage, Start};

/// A sentence for [`Failure::Protocol`].
type Broken = &'static str;

impl TextClient {
    pub(super) fn take_message(
        &mut self,
        now: Instant,
        kind: PayloadKind,
        message: &[u8],
        incoming: &Incoming<'_>,
    ) {
        if matches!(self.phase, Phase::Idle | Phase::Closing | Phase::Stopped) {
            // Behind a close or an end nothing counts, whatever it is.
            return;
        }
        let taken = match ServerMessage::parse(kind, message) {
            Ok(message) => self.dispatch(now, message, incoming),
            Err(_) => Err("a message outside the grammar"),
        };
        if let Err(broken) = taken {
            self.stop(ClientEvent::Failed(Failure::Protocol(broken)));
            self.close = Some(Close::new(Close::POLICY, "bad-message"));
        }
    }

    fn dispatch(
        &mut self,
        now: Instant,
        message: ServerMessage<'_>,
        incoming: &Incoming<'_>,
    ) -> Result<(), Broken> {
        use ServerMessage as M;
        match (self.phase, message) {
            (Phase::Counting(_) | Phase::Positioning(_) | Phase::Live, M::Error { code, text }) => {
                self.error(code, text.as_str());
                Ok(())
            }
            (Phase::Counting(due), M::ResumeFrom(count)) if self.opening.is_empty() => {
                self.counted(count, due);
                Ok(())
            }
            (Phase::Positioning(_), M::Resumed { offset, head, epoch }) => {
                self.resumed(Position { epoch, offset }, head)
            }
            (Phase::Positioning(_), M::Reset { epoch, common }) => self.reset(Position {
                epoch,
                offset: common,
            }),
            (
                Phase::Live,
                M::Data {
                    offset,
                    kind,
                    payload,
                },
            ) => {
                let position = self
                    .cursor
                    .take(offset)
                    .ok_or("an offset that does not increase")?;
                let payload = incoming.keep(payload);
                self.events.push_back(ClientEvent::Message {
                    position,
                    kind,
                    payload,
                });
                Ok(())
            }
            (Phase::Live, M::Gap { from, to, reason }) => self.gap(from, to, reason),
            (Phase::Positioning(_) | Phase::Live, M::Ack(seq)) => {
                let through = self
                    .outbox
                    .acked(seq)
                    .map_err(|()| "an ACK of what was not sent")?;
                self.events
                    .extend(through.map(|through| ClientEvent::Acked { through }));
                Ok(())
            }
            (Phase::Positioning(_) | Phase::Live, M::Refused { seq, code, text }) => {
                self.refused(now, seq, code, text.as_str())
            }
            (Phase::Positioning(_) | Phase::Live, M::Pause(reason)) => {
                if !std::mem::replace(&mut self.paused, true) {
                    self.events.push_back(ClientEvent::Paused {
                        reason: reason.as_str().into(),
                    });
                }
                Ok(())
            }
            (Phase::Positioning(_) | Phase::Live, M::Continue) => {
                if std::mem::take(&mut self.paused) {
                    self.events.push_back(ClientEvent::Continued);
                }
                Ok(())
            }
            // Also an answer that comes before the question is out.
            (Phase::Counting(_), _) => Err("a message before RESUME_FROM"),
            (Phase::Positioning(_), _) => Err("a message before RESUMED or RESET"),
            (Phase::Live, _) => Err("a second answer"),
            // Before the connection is made a server has nothing to answer; nothing is looked at behind a close or an end.
            (Phase::Dialing(_), _) => Err("a message before the opening"),
            (Phase::Idle | Phase::Closing | Phase::Stopped, _) => Ok(()),
        }
    }

    /// `RESUME_FROM:m`: the verdict over everything sent before.
    fn counted(&mut self, count: Seq, due: Instant) {
        let acked = self.outbox.acked;
        if count < acked
            && let Some(from) = count.next()
        {
            self.events
                .push_back(ClientEvent::LostAfterAck { from, to: acked });
        }
        let through = self.outbox.recount(count);
        self.events
            .extend(through.map(|through| ClientEvent::Acked { through }));
        self.session.answered = true;
        self.changed();
        self.publish_from = self.revision;
        if self.asked == Start::Nothing {
            self.phase = Phase::Live;
            self.events.push_back(ClientEvent::Live { stream: None });
        } else {
            self.phase = Phase::Positioning(due);
        }
    }

    fn resumed(&mut self, position: Position, head: Offset) -> Result<(), Broken> {
        let fits = match self.asked {
            Start::After { offset, epoch } => {
                offset == position.offset && epoch.is_none_or(|epoch| epoch == position.epoch)
            }
            _ => position.offset == head,
        };
        if !fits {
            return Err("RESUMED at a place that was not asked for");
        }
        self.cursor.resumed(position);
        self.phase = Phase::Live;
        self.events.push_back(ClientEvent::Live {
            stream: Some((position, head)),
        });
        Ok(())
    }

    fn reset(&mut self, position: Position) -> Result<(), Broken> {
        match self.asked {
            Start::After { offset, .. } if position.offset <= offset => {}
            _ => return Err("RESET beyond the position that was given"),
        }
        let taken = self.cursor.taken();
        self.cursor.reset(position);
        self.phase = Phase::Live;
        self.events.push_back(ClientEvent::Reset { taken, position });
        self.events.push_back(ClientEvent::Live {
            stream: Some((position, position.offset)),
        });
        Ok(())
    }

    /// Consumed like data; merged with a GAP that waits in the queue and ends just before it.
    fn gap(&mut self, from: Offset, to: Offset, reason: crate::text::GapReason) -> Result<(), Broken> {
        if self.cursor.taken().is_none_or(|taken| from <= taken.offset) {
            return Err("a GAP over what was delivered");
        }
        let position = self.cursor.take(to).ok_or("a GAP that goes back")?;
        if let Some(ClientEvent::Gap {
            epoch,
            to: end,
            reason: same,
            ..
        }) = self.events.back_mut()
            && (*epoch, end.next(), *same) == (position.epoch, Some(from), reason)
        {
            *end = to;
            return Ok(());
        }
        self.events.push_back(ClientEvent::Gap {
            epoch: position.epoch,
            from,
            to,
            reason,
        });
        Ok(())
    }

    fn refused(&mut self, now: Instant, seq: Seq, code: ErrorCode, text: &str) -> Result<(), Broken> {
        let ticket = self
            .outbox
            .refused(seq, self.config.session)
            .ok_or("a refusal of what was not sent")?;
        let retried = code == ErrorCode::Unavailable;
        if retried {
            self.wait_until = Some(now + self.config.refused_wait);
        } else {
            // What is behind moves up by one, which a later process must know before any of it is sent.
            self.outbox.give_up_next();
            self.changed();
            self.publish_from = self.revision;
        }
        self.events.push_back(ClientEvent::Refused {
            ticket,
            code,
            text: text.into(),
            retried,
        });
        Ok(())
    }

    /// `ERROR:code:text`: the connection is over, and perhaps more.
    fn error(&mut self, code: ErrorCode, text: &str) {
        match code {
            ErrorCode::SessionUnknown => {
                self.give_up_session();
                self.session.forget();
                self.changed();
                self.events.push_back(ClientEvent::SessionRenewed);
                self.phase = Phase::Closing;
            }
            ErrorCode::Unavailable => self.phase = Phase::Closing,
            ErrorCode::StaleAttach => self.stop(ClientEvent::Superseded),
            _ => self.stop(ClientEvent::Failed(Failure::Refused {
                code,
                text: text.into(),
            })),
        }
    }

    /// Nothing can tell any more what became of what was sent.
    fn give_up_session(&mut self) {
        if let Some((from, to)) = self.outbox.uncertain() {
            self.events.push_back(ClientEvent::Uncertain { from, to });
        }
    }

    /// The current connection is over, or given up for another dial.
    pub(super) fn leave_connection(&mut self) {
        self.phase = Phase::Idle;
        self.opening.clear();
        self.close = None;
        self.paused = false;
        self.wait_until = None;
        self.outbox.rewind();
        if !self.config.session {
            self.give_up_session();
        }
    }

    pub(super) fn stop(&mut self, event: ClientEvent) {
        self.leave_connection();
        self.phase = Phase::Stopped;
        self.events.push_back(event);
    }

    /// The state has changed in a way that another process must know before what follows from it leaves.
    pub(super) fn changed(&mut self) {
        self.revision = Revision(self.revision.0 + 1);
    }

    /// The offset of an ACK that is due. None before the answer of this connection.
    pub(super) fn due_ack(&mut self) -> Option<u64> {
        if self.phase != Phase::Live || !self.config.session || self.asked == Start::Nothing {
            return None;
        }
        self.cursor.take_ack().map(Offset::get)
    }
}
