//! What one subscription of one process has been given, checked against everything that was committed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use weirline_log::{Epoch, Position, StreamId};
use weirline_resume::SessionEvent;
use weirline_resume::wire::{Begin, Policy, Sub};

use crate::log::History;

#[derive(Clone)]
pub(crate) struct Consumer {
    pub(crate) stream: StreamId,
    pub(crate) sub: Option<Sub>,
    pub(crate) begin: Begin,
    pub(crate) policy: Policy,
    /// The last position delivered: where the next message must follow.
    pub(crate) at: Option<Position>,
    /// Delivered and not handled yet.
    pub(crate) waiting: VecDeque<Position>,
    /// The last position handled.
    pub(crate) last: Option<Position>,
    /// Every position handled by this process or one that it continues.
    pub(crate) handled: BTreeSet<(Epoch, u64)>,
    /// Where the first answer put a consumer without position.
    pub(crate) start: Option<Position>,
    /// What was received, by place.
    pub(crate) received: BTreeMap<(Epoch, u64), Bytes>,
    pub(crate) gaps: usize,
}

impl Consumer {
    pub(crate) fn new(stream: StreamId, begin: Begin, policy: Policy) -> Self {
        Self {
            stream,
            sub: None,
            begin,
            policy,
            at: None,
            waiting: VecDeque::new(),
            last: None,
            handled: BTreeSet::new(),
            start: None,
            received: BTreeMap::new(),
            gaps: 0,
        }
    }

    /// Another subscription of the same process: what it has handled stays so.
    pub(crate) fn begin_again(&mut self, position: Option<Position>) {
        let handled = std::mem::take(&mut self.handled);
        *self = Self::new(self.stream.clone(), self.begin, self.policy);
        self.handled = handled;
        (self.at, self.start, self.last) = (position, position, position);
    }

    pub(crate) fn take(&mut self, event: &SessionEvent, histories: &BTreeMap<(StreamId, Epoch), History>) {
        match event {
            SessionEvent::Subscribed { position, .. } => match self.at {
                None => {
                    self.at = Some(*position);
                    self.start = self.at;
                    self.last = self.at;
                    self.handled.insert((position.epoch, position.offset.get()));
                }
                Some(at) => assert_eq!(at, *position, "delivery goes on elsewhere"),
            },
            SessionEvent::Message {
                position, payload, ..
            } => {
                self.follow(*position, position.offset.get());
                let history = &histories[&(self.stream.clone(), position.epoch)];
                let truth = history.get(&position.offset.get());
                assert_eq!(truth, Some(payload), "I3: {position:?} was never committed so");
                let key = (position.epoch, position.offset.get());
                assert!(
                    self.received.insert(key, payload.clone()).is_none(),
                    "I16: delivered twice"
                );
            }
            SessionEvent::Gap { epoch, from, to, .. } => {
                assert!(from <= to);
                self.gaps += 1;
                let end = Position {
                    epoch: *epoch,
                    offset: *to,
                };
                self.follow(end, from.get());
            }
            SessionEvent::Reset { taken, position, .. } => {
                assert_eq!(*taken, self.at, "a RESET of another position");
                if let Some(taken) = taken {
                    assert!(position.offset <= taken.offset);
                    let common = position.offset.get();
                    let of = |epoch| &histories[&(self.stream.clone(), epoch)];
                    let (old, new) = (of(taken.epoch), of(position.epoch));
                    assert!(
                        old.range(..=common).eq(new.range(..=common)),
                        "the history is not common"
                    );
                }
                self.at = Some(*position);
                self.start = self.at;
                self.waiting.push_back(*position);
            }
            _ => {}
        }
    }

    /// I1, I16: offsets of the in-memory log have no holes, so each delivery begins right behind the last.
    fn follow(&mut self, end: Position, from: u64) {
        let at = self.at.expect("nothing before the first answer");
        assert_eq!(at.epoch, end.epoch, "I9: an epoch changed without RESET");
        assert_eq!(at.offset.get() + 1, from, "I1, I16: behind {at:?} came {from}");
        self.at = Some(end);
        self.waiting.push_back(end);
    }
}
