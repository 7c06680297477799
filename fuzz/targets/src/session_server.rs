//! Two connections in the multiplexed forms over one log, with clients that say anything at any time.
//!
//! Each step is a byte: what happens, and on which connection. What a server sends is held to the protocol's page by an oracle for each
//! connection.

mod oracle;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use weirline_log::{
    Attach, Command, Epoch, EventLog as _, LogReader as _, LogWriter as _, MemoryConfig, MemoryLog,
    MemoryReader, MemoryWriter, Offset, Outcome, PayloadKind, Position, Seq, SessionId, StreamId,
};
use weirline_resume::wire::{
    Ack, Begin, ClientMessage, Credential, Credit, Flow, Form, Hello, Limits, Nonce, Payload, Ping, Policy,
    Publish, Skip, Standing, Sub, Subscribe, Token, Word,
};
use weirline_resume::{JsonTails, Session, SessionConfig, SessionEntropy, Verdict};

use crate::source::{Source, start};
use oracle::Oracle;

pub(crate) fn run(input: &[u8]) {
    let mut source = Source::new(input);
    let mut world = World::new(source.byte());
    for _ in 0..STEPS_MAX {
        if source.is_empty() {
            break;
        }
        world.step(&mut source);
    }
    for who in [0, 1] {
        world.commit(who, usize::MAX);
        world.transmit(who);
        world.reconnect(who);
    }
}

const STEPS_MAX: usize = 1000;
const STREAMS: [&str; 3] = ["a", "b", "c"];

struct Link {
    server: Session,
    oracle: Oracle,
    /// Commands that were polled and have no outcome.
    queue: VecDeque<Command>,
}

struct World {
    form: Form,
    config: Arc<SessionConfig>,
    writer: MemoryWriter,
    reader: MemoryReader,
    links: [Link; 2],
    tails: JsonTails,
    connections: u16,
    now: Instant,
}

fn stream(index: usize) -> StreamId {
    StreamId::new(STREAMS[index % STREAMS.len()]).expect("a legal name")
}

fn sub(number: usize) -> Sub {
    Sub::new(u32::try_from(number + 1).unwrap_or(1)).expect("above 0")
}

impl World {
    fn new(flags: u8) -> Self {
        let now = start();
        let config = Arc::new(SessionConfig {
            publish_window: Limits {
                bytes: 200,
                messages: 4,
            },
            payload_text_bytes_max: 40,
            payload_binary_bytes_max: 60,
            subs_max: 2,
            read_messages_max: 3,
            answers_max: 8,
            ..SessionConfig::default()
        });
        let limits = MemoryConfig {
            stream_messages_max: 6,
            entry_bytes_max: 50,
            sessions_max: 3,
            streams_max: 2,
            ..MemoryConfig::default()
        };
        let (writer, reader) = MemoryLog::new(limits, 1).split();
        let form = if flags & 1 == 0 { Form::Json } else { Form::Binary };
        let link = |number| link(&config, form, number, now);
        Self {
            links: [link(1), link(2)],
            form,
            config,
            writer,
            reader,
            tails: JsonTails::new(1000),
            connections: 2,
            now,
        }
    }

    fn step(&mut self, source: &mut Source<'_>) {
        let what = source.byte();
        let who = usize::from(what >> 7);
        match what & 31 {
            0 => self.reconnect(who),
            1 => {
                let len = source.below(80);
                let message = source.take(len).to_vec();
                self.hand_in(who, &message);
            }
            2..=17 => {
                let message = build(usize::from(what & 31) - 2, source);
                let mut wire = Vec::new();
                message.encode(self.form, &mut wire);
                self.links[who].oracle.said(&message);
                self.hand_in(who, &wire);
            }
            18..=21 => self.commit(who, 1 + source.below(8)),
            22 => self.fail(who),
            23..=25 => self.read(who, source.below(200)),
            26 => self.transmit(who),
            27 => self.append(source.below(3)),
            28 => self.begin_epoch(source.below(3), source.byte()),
            29 => {
                self.now += Duration::from_millis(u64::from(source.byte()) * 100);
                let now = self.now;
                self.links[who].server.handle_timeout(now);
            }
            30 => self.judge(who, source.byte()),
            _ => self.act(who, source.byte()),
        }
    }

    fn hand_in(&mut self, who: usize, message: &[u8]) {
        let (kind, now) = (self.form.kind(), self.now);
        self.links[who].oracle.more();
        self.links[who].server.handle_message(now, kind, message);
    }

    fn reconnect(&mut self, who: usize) {
        let now = self.now;
        self.links[who].server.handle_disconnected(now);
        self.commit(who, usize::MAX);
        assert!(self.links[who].server.poll_transmit().is_none());
        assert_eq!(self.links[who].server.poll_timeout(), None);
        self.connections = self.connections.wrapping_add(1);
        self.links[who] = link(&self.config, self.form, self.connections, now);
    }

    fn poll(&mut self, who: usize) {
        let link = &mut self.links[who];
        while let Some(command) = link.server.poll_command() {
            link.queue.push_back(command);
        }
    }

    fn commit(&mut self, who: usize, most: usize) {
        self.poll(who);
        for _ in 0..most {
            let Some(command) = self.links[who].queue.pop_front() else {
                return;
            };
            let mut outcomes = Vec::new();
            let attach = matches!(command, Command::Attach { .. });
            self.writer
                .commit(&[command], &mut outcomes)
                .expect("it is in memory");
            let outcome = outcomes.remove(0);
            let taken = attach
                && matches!(
                    outcome,
                    Outcome::Attached {
                        previous: Some(_),
                        ..
                    }
                );
            let now = self.now;
            self.links[who].server.handle_outcome(now, outcome);
            if taken {
                let other = &mut self.links[1 - who].server;
                if other.identity().map(|it| it.0) == self.links[who].server.identity().map(|it| it.0) {
                    self.links[1 - who].server.handle_fenced(false);
                }
            }
            self.grown();
        }
    }

    fn fail(&mut self, who: usize) {
        self.poll(who);
        self.links[who].queue.clear();
        self.links[who].server.handle_log_failed();
    }

    fn read(&mut self, who: usize, capacity: usize) {
        let (link, now) = (&mut self.links[who], self.now);
        let read = link
            .server
            .read_from(now, &self.reader, capacity, &mut Vec::new(), &mut self.tails);
        read.expect("it is in memory");
    }

    fn transmit(&mut self, who: usize) {
        let link = &mut self.links[who];
        while let Some(message) = link.server.poll_transmit() {
            assert_eq!(message.kind, self.form.kind());
            assert!(message.prefix.len() <= 32);
            link.oracle.told(self.form, &message.to_vec(), &self.reader);
        }
        if let Some(close) = link.server.poll_close() {
            link.oracle.closed(close.code, &close.reason);
        }
    }

    fn append(&mut self, to: usize) {
        let command = Command::Append {
            stream: stream(to),
            author: None,
            kind: PayloadKind::Text,
            payload: Bytes::from_static(b"somebody else's"),
        };
        let mut outcomes = Vec::new();
        self.writer
            .commit(&[command], &mut outcomes)
            .expect("it is in memory");
        self.grown();
    }

    fn begin_epoch(&mut self, of: usize, keep: u8) {
        let keep = Offset::new(u64::from(keep & 15)).expect("small");
        self.writer.begin_epoch(&stream(of), keep);
        self.grown();
    }

    fn grown(&mut self) {
        for link in &mut self.links {
            for index in 0..STREAMS.len() {
                link.server.handle_grown(self.now, &stream(index));
            }
        }
    }

    fn judge(&mut self, who: usize, how: u8) {
        let (server, now) = (&mut self.links[who].server, self.now);
        if server.poll_credential().is_some() || how & 1 != 0 {
            let verdict = if how & 2 == 0 {
                Verdict::Refused
            } else {
                Verdict::Accepted {
                    principal: "".into(),
                    expires: None,
                }
            };
            server.handle_credential(now, verdict);
        }
    }

    fn act(&mut self, who: usize, how: u8) {
        let (server, now) = (&mut self.links[who].server, self.now);
        match how & 7 {
            0 => server.pause(),
            1 => server.resume(),
            2 => server.drain(now, Duration::from_secs(1), Duration::from_secs(9), None),
            3 => server.break_off(Duration::from_secs(2)),
            4 => server.turn_away(),
            5 => server.expire_credential(),
            6 => server.handle_fenced(true),
            _ => server.say_ended("over"),
        }
        let live = server.is_live();
        assert!(!live || server.identity().is_some());
    }
}

fn link(config: &Arc<SessionConfig>, form: Form, number: u16, now: Instant) -> Link {
    // The first connections make the sessions that clients know of.
    let [high, low] = number.to_be_bytes();
    let mut session = [low; 32];
    session[0] ^= high;
    let entropy = SessionEntropy {
        session,
        token: [low; 32],
        spread: u32::from(number) << 16,
    };
    Link {
        server: Session::new(Arc::clone(config), form, "", entropy, now),
        oracle: Oracle::default(),
        queue: VecDeque::new(),
    }
}

fn position(source: &mut Source<'_>) -> Position {
    // Epochs of this log are drawn from one seed: sometimes one of them is hit by what a server told.
    Position {
        epoch: Epoch::new(u64::from(source.byte())),
        offset: Offset::new(u64::from(source.byte() & 15)).expect("small"),
    }
}

fn limits(source: &mut Source<'_>) -> Limits {
    match source.byte() {
        0..=99 => Limits::NONE,
        other => Limits {
            bytes: u64::from(other) * 3,
            messages: u64::from(other & 15),
        },
    }
}

fn subscribe(source: &mut Source<'_>) -> Subscribe {
    let begin = match source.below(5) {
        0 => Begin::After {
            offset: Offset::new(u64::from(source.byte() & 7)).expect("small"),
            epoch: None,
        },
        1 => {
            let Position { epoch, offset } = position(source);
            Begin::After {
                offset,
                epoch: Some(epoch),
            }
        }
        2 => Begin::Head,
        3 => Begin::AckedOrHead,
        _ => Begin::AckedOrStart,
    };
    let policy = match source.below(3) {
        0 => Policy::Pause,
        1 => Policy::DropOldest { keep: 2 },
        _ => Policy::Break,
    };
    Subscribe {
        sub: sub(source.below(3)),
        stream: stream(source.below(3)),
        begin,
        policy,
        limits: limits(source),
    }
}

fn hello(source: &mut Source<'_>) -> Hello<'static> {
    let which = source.byte();
    let known = (which > 100).then_some((SessionId([which & 3; 32]), Token([which & 3; 32])));
    let subs = (0..source.below(3))
        .map(|_| subscribe(source))
        .collect::<Vec<_>>();
    let mut seen = Vec::new();
    let subs = subs.into_iter().filter(|it| {
        let first = !seen.contains(&it.sub);
        seen.push(it.sub);
        first
    });
    let attach = known.map_or(1, |_| u64::from(source.byte() & 7) + 2);
    Hello {
        session: known,
        attach: Attach::new(attach).expect("small"),
        nonce: Nonce([source.byte() & 3; 16]),
        credential: (which & 16 != 0 && which & 32 != 0).then(|| Credential::new("abc").expect("legal")),
        limits: limits(source),
        subs: subs.collect(),
    }
}

fn ping(source: &mut Source<'_>) -> Ping {
    let standing = Standing {
        sub: sub(source.below(3)),
        position: (source.byte() & 1 == 0).then(|| position(source)),
        limits: (source.byte() & 1 == 0).then(|| limits(source)),
    };
    Ping {
        echo: u64::from(source.byte()),
        count: None,
        limits: None,
        subs: vec![standing],
    }
}

/// A message that is well formed, and perhaps out of place.
fn build(what: usize, source: &mut Source<'_>) -> ClientMessage<'static> {
    use ClientMessage as M;
    let seq = |byte: u8| Seq::new(u64::from(byte & 15) + 1).expect("small");
    match what {
        0 | 1 => M::Hello(hello(source)),
        2 | 3 => M::Subscribe(subscribe(source)),
        4 => M::Unsubscribe(sub(source.below(3))),
        5 | 6 => M::Ack(Ack {
            sub: sub(source.below(3)),
            position: position(source),
        }),
        7 => M::Credit(Credit {
            sub: (source.byte() & 1 == 0).then(|| sub(source.below(3))),
            limits: limits(source),
        }),
        8 => M::Flow(Flow {
            sub: (source.byte() & 1 == 0).then(|| sub(source.below(3))),
            pause: (source.byte() & 1 == 0).then_some(Word::SLOW_CONSUMER),
        }),
        9 => {
            let from = seq(source.byte());
            let to = from.checked_add(u64::from(source.byte() & 3)).expect("small");
            M::Skip(Skip { from, to })
        }
        10 => M::Ping(ping(source)),
        11 => M::Pong(ping(source)),
        12 => M::Auth(Credential::new("abc").expect("legal")),
        13 if source.byte() > 200 => M::Bye,
        _ => M::Publish(Publish {
            seq: seq(source.byte()),
            stream: stream(source.below(3)),
            payload: Payload {
                kind: if source.byte() & 1 == 0 {
                    PayloadKind::Text
                } else {
                    PayloadKind::Binary
                },
                bytes: vec![b'x'; source.below(70)].into(),
            },
        }),
    }
}

/// What a stream holds, for the oracle.
pub(crate) fn head(reader: &MemoryReader, index: usize) -> Option<Position> {
    let bounds = reader.bounds(&stream(index)).expect("it is in memory")?;
    Some(Position {
        epoch: bounds.epoch,
        offset: bounds.head,
    })
}
