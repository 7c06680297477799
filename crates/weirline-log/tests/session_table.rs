//! What an engine that stores sessions elsewhere relies on: the changes of a batch are all of them, and can be taken back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;
use weirline_log::{
    AppendRefusal, Attach, Author, Bounds, Command, Epoch, Item, LogClock, Offset, Outcome, PayloadKind,
    Proof, Seq, SessionId, SessionLimits, SessionRecord, SessionState, SessionTable, StreamId, StreamTable,
};

/// Two streams without entries: only their heads count.
#[derive(Debug, Clone, Default)]
struct Heads(BTreeMap<StreamId, Offset>);

impl StreamTable for Heads {
    fn bounds(&self, stream: &StreamId) -> Option<Bounds> {
        let head = *self.0.get(stream)?;
        Some(Bounds {
            epoch: Epoch::new(1),
            trimmed: Offset::ZERO,
            head,
        })
    }

    fn open(&mut self, stream: &StreamId) -> Option<Bounds> {
        self.0.entry(stream.clone()).or_default();
        self.bounds(stream)
    }

    fn entry_bytes_max(&self) -> usize {
        100
    }

    fn append(&mut self, stream: &StreamId, _: PayloadKind, _: &Bytes) -> Result<Offset, AppendRefusal> {
        let head = self.0.entry(stream.clone()).or_default();
        *head = head.next().ok_or(AppendRefusal::Exhausted)?;
        Ok(*head)
    }
}

fn limits() -> SessionLimits {
    SessionLimits {
        sessions_max: 3,
        publishers_max: 3,
        tombstone_ttl: Duration::from_secs(50),
        acks_per_session_max: 1,
    }
}

/// What a command is about, in small numbers: its kind, session, attach, sequence or offset, and stream.
type Raw = (u8, u8, u64, u64, bool);

fn command(&(kind, id, attach, number, other): &Raw, now: Instant) -> Command {
    let session = SessionId([id; 32]);
    let attach = Attach::new(attach).unwrap();
    let stream = StreamId::new(if other { "b" } else { "a" }).unwrap();
    match kind {
        // Some sessions have a token; some dials of one number are the same.
        0..=2 => Command::Attach {
            session,
            attach,
            proof: (id % 2 == 0).then_some(Proof {
                owner: [id; 32],
                nonce: [kind & 1; 16],
            }),
            now,
        },
        3..=6 => Command::Append {
            stream,
            author: Some(Author {
                session,
                attach,
                seq: Seq::new(number).unwrap(),
                item: Some(Item([kind; 16])),
            }),
            kind: PayloadKind::Text,
            payload: Bytes::from_static(b"x"),
        },
        7 | 8 => Command::Ack {
            session,
            attach,
            stream,
            epoch: Epoch::new(1),
            offset: Offset::new(number - 1).unwrap(),
        },
        9 => Command::Detach { session, attach, now },
        10 => Command::Expire { session, attach, now },
        11 => Command::Skip {
            author: Author {
                session,
                attach,
                seq: Seq::new(number + 1).unwrap(),
                item: Some(Item([kind; 16])),
            },
            from: Seq::new(number).unwrap(),
        },
        _ => Command::End { session, attach, now },
    }
}

fn batches() -> impl Strategy<Value = Vec<(Vec<Raw>, bool, u64)>> {
    let raw = (0u8..13, 0u8..4, 1u64..6, 1u64..4, any::<bool>());
    let batch = (
        prop::collection::vec(raw, 1..8),
        prop::bool::weighted(0.7),
        0u64..40,
    );
    prop::collection::vec(batch, 1..30)
}

fn records(table: &SessionTable) -> Vec<(SessionId, SessionRecord)> {
    table.iter().map(|(id, record)| (id, record.clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn batches_are_taken_back_as_if_they_had_never_been(batches in batches()) {
        #[expect(clippy::disallowed_methods, reason = "an arbitrary starting point")]
        let mut now = Instant::now();
        let new = || SessionTable::new(limits(), LogClock::default());
        let (mut tracked, mut heads) = (new().track_changes(), Heads::default());
        // One that only sees what was accepted, and what an engine would have stored.
        let (mut plain, mut plain_heads) = (new(), Heads::default());
        let mut stored: BTreeMap<SessionId, SessionRecord> = BTreeMap::new();
        for (raw, accepted, seconds) in batches {
            now += Duration::from_secs(seconds);
            let commands: Vec<_> = raw.iter().map(|raw| command(raw, now)).collect();
            let before = heads.clone();
            let outcomes: Vec<Outcome> = commands.iter().map(|command| tracked.apply(&mut heads, command)).collect();
            if accepted {
                for change in tracked.changes() {
                    prop_assert_eq!(change.before.map(durably), stored.get(&change.id).map(durably));
                    match change.after {
                        Some(after) => stored.insert(change.id, after.clone()),
                        None => stored.remove(&change.id),
                    };
                }
                tracked.accept();
                let expect: Vec<_> = commands.iter().map(|command| plain.apply(&mut plain_heads, command)).collect();
                prop_assert_eq!(outcomes, expect);
            } else {
                tracked.undo();
                heads = before;
                // The time has passed for both.
                plain.advance(now);
                tracked.advance(now);
            }
            prop_assert!(tracked.changes().all(|change| change.after.is_none()), "only the time may have changed it");
            for change in tracked.changes() {
                stored.remove(&change.id);
            }
            tracked.accept();
            prop_assert_eq!(records(&tracked), records(&plain));
        }
        // Whoever stores the changes has everything, but for who holds what.
        let mut restored = new();
        for (&id, record) in &stored {
            restored.restore(id, Some(record.clone()));
        }
        let durable = |table: &SessionTable| -> Vec<_> { table.iter().map(|(id, record)| (id, durably(record))).collect() };
        prop_assert_eq!(durable(&restored), durable(&tracked));
        let alive = tracked.iter().filter(|(_, record)| !matches!(record.state, SessionState::Tombstone { .. }));
        let alive: Vec<_> = alive.map(|(id, record)| (id, record.attach)).collect();
        prop_assert_eq!(restored.detached().collect::<Vec<_>>(), alive);
    }
}

/// A record without who holds it.
fn durably(record: &SessionRecord) -> SessionRecord {
    let state = match record.state {
        SessionState::Attached => SessionState::Detached,
        other => other,
    };
    SessionRecord {
        state,
        ..record.clone()
    }
}
