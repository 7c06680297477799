//! Sessions that are proved by a token, numbers that are skipped, and the rolling hash over both.

#![expect(
    clippy::disallowed_methods,
    reason = "a test needs some instant to count from"
)]

use std::time::{Duration, Instant};

use proptest::prelude::*;
use weirline_log::{
    AppendRefusal, Attach, AttachKind, AttachRefusal, Author, Command, EventLog as _, Item, LogWriter as _,
    MemoryConfig, MemoryLog, MemoryWriter, Outcome, PayloadKind, Proof, RollingHash, Seq, SessionId,
    StreamId,
};

const SESSION: SessionId = SessionId([1; 32]);

struct Bench {
    writer: MemoryWriter,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let (writer, _) = MemoryLog::new(MemoryConfig::default(), 1).split();
        let now = Instant::now();
        Self { writer, now }
    }

    fn commit(&mut self, command: Command) -> Outcome {
        let mut outcomes = Vec::new();
        self.writer.commit(&[command], &mut outcomes).unwrap();
        outcomes.remove(0)
    }

    fn attach(&mut self, number: u64, proof: Option<(u8, u8)>) -> Outcome {
        let proof = proof.map(|(owner, nonce)| Proof {
            owner: [owner; 32],
            nonce: [nonce; 16],
        });
        self.commit(Command::Attach {
            session: SESSION,
            attach: attach(number),
            proof,
            now: self.now,
        })
    }

    fn detach(&mut self, number: u64) -> Outcome {
        self.commit(Command::Detach {
            session: SESSION,
            attach: attach(number),
            now: self.now,
        })
    }

    fn expire(&mut self, number: u64) -> Outcome {
        self.commit(Command::Expire {
            session: SESSION,
            attach: attach(number),
            now: self.now,
        })
    }

    fn publish(&mut self, number: u64, payload: &'static str) -> Outcome {
        let stream = StreamId::new("s").unwrap();
        let item = Item::publish(&stream, PayloadKind::Text, payload.as_bytes());
        self.commit(Command::Append {
            stream,
            author: Some(author(number, item)),
            kind: PayloadKind::Text,
            payload: payload.into(),
        })
    }

    fn skip(&mut self, from: u64, to: u64) -> Outcome {
        let item = Item::skip(seq(from), seq(to));
        self.commit(Command::Skip {
            author: author(to, item),
            from: seq(from),
        })
    }
}

fn attach(number: u64) -> Attach {
    Attach::new(number).unwrap()
}

fn seq(number: u64) -> Seq {
    Seq::new(number).unwrap()
}

fn author(number: u64, item: Item) -> Author {
    Author {
        session: SESSION,
        attach: Attach::FIRST,
        seq: seq(number),
        item: Some(item),
    }
}

fn kind(outcome: &Outcome) -> Result<(AttachKind, Option<Attach>), AttachRefusal> {
    match outcome {
        Outcome::Attached { kind, previous, .. } => Ok((*kind, *previous)),
        Outcome::AttachRefused(refusal) => Err(*refusal),
        other => panic!("{other:?}"),
    }
}

/// I10, I11: what another one's token asks for changes nothing, whatever its number.
#[test]
fn a_session_is_its_owners_alone() {
    let mut bench = Bench::new();
    let mut check = |number, proof, expect| {
        assert_eq!(
            kind(&bench.attach(number, proof)),
            expect,
            "{number} with {proof:?}"
        );
    };
    check(1, Some((7, 1)), Ok((AttachKind::New, None)));
    for number in [1, 2, 1 << 40] {
        for proof in [None, Some((8, 1)), Some((8, 9))] {
            check(number, proof, Err(AttachRefusal::Owner));
        }
    }
    check(2, Some((7, 2)), Ok((AttachKind::Resumed, Some(attach(1)))));
}

/// An owner is recognised by all of its bytes.
#[test]
fn every_byte_of_an_owner_counts() {
    let proof = Proof {
        owner: [7; 32],
        nonce: [0; 16],
    };
    for at in 0..32 {
        let mut other = proof;
        other.owner[at] ^= 0x80;
        assert!(!proof.is_owner(&other), "{at}");
    }
    let mut other = proof;
    other.nonce = [1; 16];
    assert!(proof.is_owner(&other) && proof != other);
    assert_eq!(format!("{proof:?}"), "Proof(..)");
}

/// An upgrade that an intermediary has sent twice supersedes nobody; another dial with its number is stale.
#[test]
fn a_repeated_dial_is_told_from_another() {
    let mut bench = Bench::new();
    let stale = Err(AttachRefusal::Stale { current: attach(2) });
    bench.attach(1, Some((7, 1)));
    bench.attach(2, Some((7, 2)));
    assert_eq!(
        kind(&bench.attach(2, Some((7, 2)))),
        Ok((AttachKind::Repeated, Some(attach(2))))
    );
    assert_eq!(kind(&bench.attach(2, Some((7, 1)))), stale);
    assert_eq!(kind(&bench.attach(1, Some((7, 1)))), stale);
    bench.detach(2);
    assert_eq!(
        kind(&bench.attach(2, Some((7, 2)))),
        Ok((AttachKind::Resumed, None))
    );
    bench.detach(2);
    assert_eq!(bench.expire(2), Outcome::Expired);
    assert_eq!(
        kind(&bench.attach(2, Some((7, 2)))),
        Err(AttachRefusal::Unknown),
        "it never published"
    );
}

/// The name of a session alone is a text session's proof, and repeats nothing.
#[test]
fn sessions_without_a_token_have_no_dials() {
    let mut bench = Bench::new();
    bench.attach(1, None);
    assert_eq!(
        kind(&bench.attach(1, None)),
        Err(AttachRefusal::Stale { current: attach(1) })
    );
    assert_eq!(kind(&bench.attach(2, Some((7, 1)))), Err(AttachRefusal::Owner));
}

#[test]
fn a_tombstone_keeps_owner_and_hash() {
    let mut bench = Bench::new();
    bench.attach(1, Some((7, 1)));
    bench.publish(1, "a");
    bench.detach(1);
    assert_eq!(bench.expire(1), Outcome::Expired);
    bench.now += Duration::from_secs(86_400);
    assert_eq!(kind(&bench.attach(2, Some((8, 1)))), Err(AttachRefusal::Owner));
    let Outcome::Attached {
        kind, count, hash, ..
    } = bench.attach(2, Some((7, 2)))
    else {
        panic!("its owner's");
    };
    let item = Item::publish(&StreamId::new("s").unwrap(), PayloadKind::Text, b"a");
    assert_eq!((kind, count), (AttachKind::Revived, Seq::FIRST));
    assert_eq!(hash, RollingHash::ZERO.then(item));
}

#[test]
fn skips_take_the_place_of_messages() {
    let mut bench = Bench::new();
    bench.attach(1, Some((7, 1)));
    let skipped = |count| Outcome::Skipped { count: seq(count) };
    let gap = |expected| {
        Outcome::AppendRefused(AppendRefusal::Gap {
            expected: seq(expected),
        })
    };
    let duplicate = |count| Outcome::Duplicate { count: seq(count) };
    assert_eq!(bench.skip(2, 2), gap(1));
    assert_eq!(bench.skip(1, 3), skipped(3));
    assert_eq!(bench.skip(1, 3), duplicate(3), "once");
    assert_eq!(bench.skip(5, 9), gap(4));
    assert_eq!(bench.publish(3, "x"), duplicate(3), "its number is given up");
    assert!(matches!(bench.publish(4, "x"), Outcome::Appended { .. }));
    assert_eq!(bench.skip(4, 4), duplicate(4), "its number is a message's");
    assert_eq!(bench.skip(5, 5), skipped(5));
    bench.attach(2, Some((7, 2)));
    assert_eq!(
        bench.skip(6, 6),
        Outcome::AppendRefused(AppendRefusal::Fenced),
        "I10"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// I6: whatever is sent, and sent again, the hash is that of what was counted, in its order.
    #[test]
    fn the_hash_is_over_what_was_counted(steps in prop::collection::vec((any::<bool>(), 0u64..4, 0u64..3), 1..40)) {
        let mut bench = Bench::new();
        bench.attach(1, Some((7, 1)));
        let (mut count, mut hash) = (0, RollingHash::ZERO);
        for (skip, at, more) in steps {
            // One below the next, the next, or beyond.
            let from = (count + at).max(1);
            let outcome = if skip { bench.skip(from, from + more) } else { bench.publish(from, "x") };
            let to = if skip { from + more } else { from };
            let counted = matches!(outcome, Outcome::Appended { .. } | Outcome::Skipped { .. });
            prop_assert_eq!(counted, from == count + 1, "{:?}", outcome);
            if counted {
                let stream = StreamId::new("s").unwrap();
                let item = if skip { Item::skip(seq(from), seq(to)) } else { Item::publish(&stream, PayloadKind::Text, b"x") };
                hash = hash.then(item);
                count = to;
            }
        }
        let Outcome::Attached { count: known, hash: said, .. } = bench.attach(2, Some((7, 2))) else {
            return Err(TestCaseError::fail("its owner's"));
        };
        prop_assert_eq!((known.get(), said), (count, hash));
    }
}
