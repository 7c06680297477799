//! The model: obviously right, and slow.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use weirline_log::{
    AckRefusal, AppendRefusal, Attach, AttachKind, AttachRefusal, ENTRY_OVERHEAD_BYTES, Epoch, MemoryConfig,
    Offset, Outcome, Position, RollingHash, Seq,
};

use super::TOMBSTONE_S;

#[derive(Debug, Default)]
pub(super) struct ModelStream {
    pub(super) epochs: Vec<Epoch>,
    /// Every entry of the current history, trimmed ones too; with its global age.
    pub(super) entries: Vec<(u64, Bytes)>,
    pub(super) trimmed: usize,
}

impl ModelStream {
    pub(super) fn kept_bytes(&self) -> usize {
        self.entries[self.trimmed..]
            .iter()
            .map(|(_, payload)| payload.len() + ENTRY_OVERHEAD_BYTES)
            .sum()
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Life {
    Attached,
    Detached,
    Dead { until_s: u64 },
}

#[derive(Debug)]
pub(super) struct ModelSession {
    pub(super) attach: u64,
    pub(super) count: u64,
    pub(super) life: Life,
    pub(super) acked: BTreeMap<usize, (Epoch, u64)>,
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) config: MemoryConfig,
    pub(super) streams: BTreeMap<usize, ModelStream>,
    pub(super) sessions: BTreeMap<u8, ModelSession>,
    pub(super) now_s: u64,
    pub(super) age: u64,
    /// Every (session, sequence) that ever entered the log (I6); with the attach it came from.
    pub(super) published: BTreeSet<(u8, u64)>,
}

impl Model {
    pub(super) fn bytes(&self) -> usize {
        self.streams.values().map(ModelStream::kept_bytes).sum()
    }

    pub(super) fn live(&self) -> usize {
        self.sessions
            .values()
            .filter(|s| !matches!(s.life, Life::Dead { .. }))
            .count()
    }

    pub(super) fn publishers(&self) -> usize {
        self.sessions.values().filter(|s| s.count > 0).count()
    }

    pub(super) fn bury_old(&mut self) {
        let now_s = self.now_s;
        self.sessions
            .retain(|_, s| !matches!(s.life, Life::Dead { until_s } if until_s <= now_s));
    }

    /// The attach and the count of a session; zeros if there is none.
    pub(super) fn known(&self, id: u8) -> (u64, u64) {
        self.sessions.get(&id).map_or((0, 0), |s| (s.attach, s.count))
    }

    pub(super) fn is_current(&self, id: u8, attach: u64) -> bool {
        self.sessions
            .get(&id)
            .is_some_and(|s| s.life == Life::Attached && s.attach == attach)
    }

    pub(super) fn attach(&mut self, id: u8, attach: u64) -> Outcome {
        self.bury_old();
        let full = self.live() >= self.config.sessions_max;
        match self.sessions.get_mut(&id) {
            None if attach != 1 => Outcome::AttachRefused(AttachRefusal::Unknown),
            None if full => Outcome::AttachRefused(AttachRefusal::Full),
            None => {
                self.sessions.insert(
                    id,
                    ModelSession {
                        attach,
                        count: 0,
                        life: Life::Attached,
                        acked: BTreeMap::new(),
                    },
                );
                attached(AttachKind::New, 0, None)
            }
            Some(s) if attach <= s.attach => Outcome::AttachRefused(AttachRefusal::Stale {
                current: Attach::new(s.attach).unwrap(),
            }),
            Some(s) if attach > s.attach + (1 << 20) => Outcome::AttachRefused(AttachRefusal::Jump),
            Some(s) if full && matches!(s.life, Life::Dead { .. }) => {
                Outcome::AttachRefused(AttachRefusal::Full)
            }
            Some(s) => {
                let (kind, previous) = match s.life {
                    Life::Attached => (AttachKind::Resumed, Some(s.attach)),
                    Life::Detached => (AttachKind::Resumed, None),
                    Life::Dead { .. } => (AttachKind::Revived, None),
                };
                s.life = Life::Attached;
                s.attach = attach;
                attached(kind, s.count, previous)
            }
        }
    }

    pub(super) fn append(
        &mut self,
        stream: usize,
        author: Option<(u8, u64, u64)>,
        payload: Bytes,
    ) -> Outcome {
        if let Some((id, attach, seq)) = author {
            if !self.is_current(id, attach) {
                return Outcome::AppendRefused(AppendRefusal::Fenced);
            }
            let count = self.sessions[&id].count;
            if seq <= count {
                return Outcome::Duplicate {
                    count: Seq::new(count).unwrap(),
                };
            }
            if seq != count + 1 {
                return Outcome::AppendRefused(AppendRefusal::Gap {
                    expected: Seq::new(count + 1).unwrap(),
                });
            }
            if count == 0 && self.publishers() >= self.config.publishers_max {
                return Outcome::AppendRefused(AppendRefusal::PublishersFull);
            }
        }
        if payload.len() > self.config.entry_bytes_max {
            return Outcome::AppendRefused(AppendRefusal::TooLarge {
                limit: self.config.entry_bytes_max,
            });
        }
        if !self.streams.contains_key(&stream) && self.streams.len() >= self.config.streams_max {
            return Outcome::AppendRefused(AppendRefusal::StreamsFull);
        }
        let state = self.streams.entry(stream).or_default();
        state.entries.push((self.age, payload));
        self.age += 1;
        let offset = state.entries.len() as u64;
        while state.entries.len() - state.trimmed > 1
            && (state.entries.len() - state.trimmed > self.config.stream_messages_max
                || state.kept_bytes() > self.config.stream_bytes_max)
        {
            state.trimmed += 1;
        }
        let mut count = 0;
        if let Some((id, _, seq)) = author {
            assert!(
                self.published.insert((id, seq)),
                "I6: the model itself let {id}/{seq} in twice"
            );
            self.sessions.get_mut(&id).unwrap().count = seq;
            count = seq;
        }
        while self.bytes() > self.config.bytes_max {
            let kept = |s: &&mut ModelStream| s.trimmed < s.entries.len();
            let oldest = self
                .streams
                .values_mut()
                .filter(kept)
                .min_by_key(|s| s.entries[s.trimmed].0)
                .unwrap();
            if oldest.entries[oldest.trimmed].0 + 1 == self.age {
                break;
            }
            oldest.trimmed += 1;
        }
        Outcome::Appended {
            offset: Offset::new(offset).unwrap(),
            previous: Offset::new(offset - 1).unwrap(),
            count: Seq::new(count).unwrap(),
        }
    }

    pub(super) fn ack(
        &mut self,
        (id, attach): (u8, u64),
        stream: usize,
        epoch: Epoch,
        offset: u64,
    ) -> Outcome {
        let limit = self.config.acks_per_session_max;
        if !self.is_current(id, attach) {
            return Outcome::AckRefused(AckRefusal::Fenced);
        }
        let Some(state) = self.streams.get(&stream) else {
            return Outcome::AckRefused(AckRefusal::Beyond { head: Offset::ZERO });
        };
        let current = *state.epochs.last().unwrap();
        let head = state.entries.len() as u64;
        if epoch != current {
            return Outcome::AckRefused(AckRefusal::Epoch { current });
        }
        if offset > head {
            return Outcome::AckRefused(AckRefusal::Beyond {
                head: Offset::new(head).unwrap(),
            });
        }
        let acked = &mut self.sessions.get_mut(&id).unwrap().acked;
        if !acked.contains_key(&stream) && acked.len() >= limit {
            return Outcome::AckRefused(AckRefusal::TooManyStreams);
        }
        let recorded = acked.entry(stream).or_insert((epoch, offset));
        *recorded = if recorded.0 == epoch {
            (epoch, recorded.1.max(offset))
        } else {
            (epoch, offset)
        };
        Outcome::Acked {
            position: Position {
                epoch: recorded.0,
                offset: Offset::new(recorded.1).unwrap(),
            },
        }
    }

    pub(super) fn bury(&mut self, id: u8) {
        let until_s = self.now_s + TOMBSTONE_S;
        let session = self.sessions.get_mut(&id).unwrap();
        session.life = Life::Dead { until_s };
        session.acked.clear();
        if session.count == 0 {
            self.sessions.remove(&id);
        }
    }
}

fn attached(kind: AttachKind, count: u64, previous: Option<u64>) -> Outcome {
    let previous = previous.map(|attach| Attach::new(attach).unwrap());
    Outcome::Attached {
        kind,
        count: Seq::new(count).unwrap(),
        hash: RollingHash::ZERO,
        previous,
        acked: Vec::new(),
    }
}
