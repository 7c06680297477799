//! The committer, over a log that can fail.

use super::*;
use bytes::Bytes;
use weirline_log::{
    AckRefusal, AppendRefusal, Attach, AttachRefusal, Author, EventLog as _, MemoryConfig, MemoryLog,
    MemoryWriter, PayloadKind, Seq, StreamId,
};

const A: ConnId = ConnId::new(0, 1, 1);
const B: ConnId = ConnId::new(1, 1, 2);
const SESSION: SessionId = SessionId([7; 32]);
const TTL: Duration = Duration::from_secs(300);

/// Commits the submissions, as one batch or one by one, and returns what the two workers find in their mail.
struct World<W> {
    committer: Committer<W>,
    now: Instant,
}

impl World<MemoryWriter> {
    fn new() -> Self {
        Self::over(MemoryLog::new(MemoryConfig::default(), 1).split().0)
    }
}

impl<W: LogWriter> World<W> {
    fn over(writer: W) -> Self {
        Self {
            committer: Committer::new(Hub::new(2), writer, Sessions::new(TTL)),
            now: clock::now(),
        }
    }

    fn batch(&mut self, submissions: Vec<(ConnId, Vec<Command>)>) -> Vec<WorkerMail> {
        self.committer.expire(self.now);
        for (from, commands) in submissions {
            self.committer.take(Submission { from, commands });
        }
        self.committer.commit();
        let hub = self.committer.hub.clone();
        hub.workers()
            .map(|worker| worker.try_take().unwrap_or_default())
            .collect()
    }

    /// The outcomes of one submission.
    fn one(&mut self, from: ConnId, command: Command) -> Vec<Outcome> {
        let mut mail = self.batch(vec![(from, vec![command])]);
        match mail[usize::from(from.worker)].replies.pop() {
            Some((to, Reply::Committed(outcomes))) if to == from => outcomes,
            other => panic!("{other:?}"),
        }
    }

    fn attach(&self, number: u64) -> Command {
        Command::Attach {
            session: SESSION,
            attach: Attach::new(number).unwrap(),
            proof: None,
            now: self.now,
        }
    }

    fn detach(&self, number: u64) -> Command {
        Command::Detach {
            session: SESSION,
            attach: Attach::new(number).unwrap(),
            now: self.now,
        }
    }

    /// Whether the attach is current and attached.
    fn can_publish(&mut self, from: ConnId, attach: u64, seq: u64) -> bool {
        let append = append(Some((attach, seq)));
        matches!(self.one(from, append)[..], [Outcome::Appended { .. }])
    }
}

fn append(author: Option<(u64, u64)>) -> Command {
    let author = author.map(|(attach, seq)| Author {
        session: SESSION,
        attach: Attach::new(attach).unwrap(),
        seq: Seq::new(seq).unwrap(),
        item: None,
    });
    let stream = StreamId::new("s").unwrap();
    Command::Append {
        stream,
        author,
        kind: PayloadKind::Text,
        payload: Bytes::from_static(b"x"),
    }
}

/// I10: two connections came with one number. The second is refused, and its end ends nothing.
#[test]
fn the_end_of_a_refused_attach_does_not_detach_the_holder() {
    for split in [false, true] {
        let mut world = World::new();
        world.one(A, world.attach(1));
        let (attach, detach) = (world.attach(1), world.detach(1));
        if split {
            let refused = Outcome::AttachRefused(AttachRefusal::Stale {
                current: Attach::FIRST,
            });
            assert_eq!(world.one(B, attach), [refused]);
            world.batch(vec![(B, vec![detach])]);
        } else {
            world.batch(vec![(B, vec![attach, detach])]);
        }
        assert!(world.can_publish(A, 1, 1), "split: {split}");
    }
}

/// The holder may come and go within one batch: its detachment counts.
#[test]
fn a_short_attachment_is_detached() {
    for split in [false, true] {
        let mut world = World::new();
        let (attach, detach) = (world.attach(1), world.detach(1));
        let submissions = if split {
            vec![(A, vec![attach]), (A, vec![detach])]
        } else {
            vec![(A, vec![attach, detach])]
        };
        world.batch(submissions);
        let outcomes = world.one(B, world.attach(2));
        assert!(
            matches!(outcomes[..], [Outcome::Attached { previous: None, .. }]),
            "{outcomes:?}"
        );
    }
}

#[test]
fn a_takeover_fences_the_loser_and_nobody_else() {
    let mut world = World::new();
    world.one(A, world.attach(1));
    let mail = world.batch(vec![(B, vec![world.attach(2)])]);
    assert_eq!(mail[0].fenced, [(A, Fence::Superseded)]);
    assert_eq!(mail[1].fenced, []);
    assert!(!world.can_publish(A, 1, 1) && world.can_publish(B, 2, 1));
    // The loser's end does not detach the winner.
    world.batch(vec![(A, vec![world.detach(1)])]);
    assert!(world.can_publish(B, 2, 2));
}

#[test]
fn growth_is_told_to_every_worker_once() {
    let mut world = World::new();
    let mail = world.batch(vec![
        (A, vec![append(None), append(None)]),
        (B, vec![append(None)]),
    ]);
    for worker in &mail {
        assert_eq!(worker.grown.len(), 1);
        assert_eq!(worker.replies.len(), 1);
    }
    // What changes no stream wakes nobody.
    let mail = world.batch(vec![(A, vec![world.attach(1)])]);
    assert!(mail.iter().all(|worker| worker.grown.is_empty()));
}

#[test]
fn an_abandoned_session_expires() {
    let mut world = World::new();
    world.batch(vec![(A, vec![world.attach(1), world.detach(1)])]);
    world.now += TTL;
    world.batch(Vec::new());
    assert_eq!(
        world.one(B, world.attach(2)),
        [Outcome::AttachRefused(AttachRefusal::Unknown)]
    );
}

/// A log that runs out of room for part of what it is asked.
struct Failing {
    inner: MemoryWriter,
    refuses: Refuses,
    detached: Vec<(SessionId, Attach)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Refuses {
    Nothing,
    Messages,
    /// Whatever has to be written: streams that are there may still be opened.
    Sessions,
}

impl LogWriter for Failing {
    fn commit(&mut self, batch: &[Command], outcomes: &mut Vec<Outcome>) -> Result<(), LogError> {
        let refused = |command: &Command| match command {
            Command::Open { .. } => false,
            Command::Append { .. } | Command::Skip { .. } | Command::Ack { .. } => true,
            _ => self.refuses == Refuses::Sessions,
        };
        if self.refuses != Refuses::Nothing && batch.iter().any(refused) {
            return Err(LogError::StorageFull("the disk is full".into()));
        }
        self.inner.commit(batch, outcomes)
    }

    fn detached(&self) -> Vec<(SessionId, Attach)> {
        self.detached.clone()
    }
}

impl World<Failing> {
    fn failing() -> Self {
        Self::over(Failing {
            inner: MemoryLog::new(MemoryConfig::default(), 1).split().0,
            refuses: Refuses::Nothing,
            detached: Vec::new(),
        })
    }

    fn refuse(&mut self, what: Refuses) {
        self.committer.writer.refuses = what;
    }
}

fn open() -> Command {
    let stream = StreamId::new("s").unwrap();
    Command::Open { stream }
}

const REFUSED: Outcome = Outcome::AppendRefused(AppendRefusal::StorageFull);

/// Publishing is refused, and everything else in the same batch goes on.
#[test]
fn a_full_disk_refuses_messages_and_lets_readers_in() {
    let mut world = World::failing();
    let Outcome::Opened(bounds) = world.one(A, open())[0] else {
        panic!("no stream");
    };
    world.one(A, world.attach(1));
    world.refuse(Refuses::Messages);
    let other = Command::Attach {
        session: SessionId([8; 32]),
        attach: Attach::FIRST,
        proof: None,
        now: world.now,
    };
    let ack = Command::Ack {
        session: SESSION,
        attach: Attach::FIRST,
        stream: StreamId::new("s").unwrap(),
        epoch: bounds.epoch,
        offset: weirline_log::Offset::ZERO,
    };
    let publish = vec![append(Some((1, 1))), ack, append(Some((1, 2)))];
    let mail = world.batch(vec![(A, publish), (B, vec![other, open()])]);
    let [(A, Reply::Committed(mine))] = &mail[0].replies[..] else {
        panic!("{mail:?}");
    };
    let missed = Outcome::AckRefused(AckRefusal::Unavailable);
    assert_eq!(mine[..], [REFUSED, missed, REFUSED]);
    let [(B, Reply::Committed(theirs))] = &mail[1].replies[..] else {
        panic!("{mail:?}");
    };
    assert!(
        matches!(theirs[..], [Outcome::Attached { .. }, Outcome::Opened(_)]),
        "{theirs:?}"
    );
    assert!(mail.iter().all(|worker| worker.grown.is_empty()));

    // The next message tries again.
    assert_eq!(world.one(A, append(Some((1, 1)))), [REFUSED]);
    world.refuse(Refuses::Nothing);
    assert!(world.can_publish(A, 1, 1) && world.can_publish(A, 1, 2));
}

/// With no room even for sessions, those who only read without one still may.
#[test]
fn only_who_needs_room_is_turned_away() {
    let mut world = World::failing();
    world.one(A, open());
    world.refuse(Refuses::Sessions);
    let mail = world.batch(vec![
        (A, vec![world.attach(1), open()]),
        (B, vec![open(), append(None)]),
    ]);
    assert!(
        matches!(mail[0].replies[..], [(A, Reply::Failed)]),
        "{:?}",
        mail[0]
    );
    let [(B, Reply::Committed(outcomes))] = &mail[1].replies[..] else {
        panic!("{mail:?}");
    };
    assert!(
        matches!(outcomes[..], [Outcome::Opened(_), REFUSED]),
        "{outcomes:?}"
    );
    // It was not attached, and may come again under the same number.
    world.refuse(Refuses::Nothing);
    let outcomes = world.one(B, world.attach(1));
    assert!(matches!(outcomes[..], [Outcome::Attached { .. }]), "{outcomes:?}");
}

#[test]
fn detachments_are_made_up_for() {
    let mut world = World::failing();
    world.one(A, world.attach(1));
    world.refuse(Refuses::Sessions);
    let mail = world.batch(vec![(A, vec![append(Some((1, 1))), world.detach(1)])]);
    let [(A, Reply::Committed(outcomes))] = &mail[0].replies[..] else {
        panic!("{mail:?}");
    };
    assert_eq!(outcomes[..], [REFUSED, Outcome::Ignored]);
    // As long as it lasts, it is owed.
    world.batch(Vec::new());
    world.refuse(Refuses::Nothing);
    let outcomes = world.one(B, world.attach(2));
    let [
        Outcome::Attached {
            previous: None,
            count: Seq::ZERO,
            ..
        },
    ] = outcomes[..]
    else {
        panic!("{outcomes:?}");
    };
}

/// After a restart nobody holds the sessions, and their time runs from there.
#[tokio::test(start_paused = true)]
async fn sessions_that_the_log_brings_expire() {
    let mut world = World::failing();
    world.now = clock::now();
    world.batch(vec![(A, vec![world.attach(1), world.detach(1)])]);
    let World { committer, .. } = world;
    let mut writer = committer.writer;
    writer.detached = vec![(SESSION, Attach::FIRST)];
    // Another process: its committer knows nothing but what the log says.
    let hub = Hub::new(1);
    let running = Committer::new(hub.clone(), writer, Sessions::new(TTL)).run();
    let after = async {
        tokio::time::sleep(TTL).await;
        tokio::task::yield_now().await;
        let commands = vec![Command::Attach {
            session: SESSION,
            attach: Attach::new(2).unwrap(),
            proof: None,
            now: clock::now(),
        }];
        hub.submit(Submission { from: A, commands });
        let mail = hub.worker(0).take().await;
        hub.close();
        mail
    };
    let ((), mail) = tokio::join!(running, after);
    let [(A, Reply::Committed(outcomes))] = &mail.replies[..] else {
        panic!("{mail:?}");
    };
    let unknown = Outcome::AttachRefused(AttachRefusal::Unknown);
    assert_eq!(outcomes[..], [unknown]);
}
