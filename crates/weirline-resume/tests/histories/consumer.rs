//! What one process of a consumer has been given, checked against everything that was committed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use weirline_log::{Epoch, Position};
use weirline_resume::ClientEvent;

use crate::log::History;

#[derive(Default)]
pub(crate) struct Consumer {
    /// The last position delivered: where the next message must follow.
    pub(crate) at: Option<Position>,
    /// Delivered and not handled yet.
    pub(crate) waiting: VecDeque<Position>,
    /// Every position handled by this process or one that it continues.
    pub(crate) handled: BTreeSet<(Epoch, u64)>,
    /// Where the first answer put a consumer without position.
    pub(crate) start: Option<Position>,
    /// What was received, by place.
    pub(crate) received: BTreeMap<(Epoch, u64), Bytes>,
    pub(crate) gaps: usize,
    pub(crate) resets: usize,
}

impl Consumer {
    pub(crate) fn restore(position: Option<Position>, handled: BTreeSet<(Epoch, u64)>) -> Self {
        Self {
            at: position,
            start: position,
            handled,
            ..Self::default()
        }
    }

    pub(crate) fn take(&mut self, event: &ClientEvent, histories: &BTreeMap<Epoch, History>) {
        match event {
            ClientEvent::Live {
                stream: Some((position, _)),
            } => match self.at {
                None => {
                    self.at = Some(*position);
                    self.start = self.at;
                    self.handled.insert((position.epoch, position.offset.get()));
                }
                Some(at) => assert_eq!(at, *position, "delivery goes on elsewhere"),
            },
            ClientEvent::Message {
                position, payload, ..
            } => {
                self.follow(*position, position.offset.get());
                let truth = histories[&position.epoch].get(&position.offset.get());
                assert_eq!(truth, Some(payload), "I3: {position:?} was never committed so");
                let key = (position.epoch, position.offset.get());
                assert!(
                    self.received.insert(key, payload.clone()).is_none(),
                    "I16: delivered twice"
                );
            }
            ClientEvent::Gap { epoch, from, to, .. } => {
                assert!(from <= to);
                self.gaps += 1;
                self.follow(
                    Position {
                        epoch: *epoch,
                        offset: *to,
                    },
                    from.get(),
                );
            }
            ClientEvent::Reset { taken, position } => {
                assert_eq!(*taken, self.at, "a RESET of another position");
                self.resets += 1;
                if let Some(taken) = taken {
                    assert!(position.offset <= taken.offset);
                    let common = position.offset.get();
                    let (old, new) = (&histories[&taken.epoch], &histories[&position.epoch]);
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
