//! A client of the multiplexed forms over many connections to servers that say anything, and processes that begin again from what was
//! stored.
//!
//! Each step is a byte: what happens; most have further bytes. What the client sends is held to the protocol's page, and every message that
//! it took into its outbox must have exactly one fate, by an oracle.

mod oracle;

use std::time::{Duration, Instant};

use bytes::Bytes;
use weirline_log::{
    Attach, Epoch, Item, Offset, PayloadKind, Position, RollingHash, Seq, SessionId, StreamId,
};
use weirline_resume::wire::{
    Attached, AuthAnswer, Begin, Code, Credential, Credit, Data, Detail, Drain, Durability, Fault, Flow,
    Form, Gap, GapReason, Limits, Payload, Ping, Policy, PubAck, Refused, Reject, Reset, ServerMessage,
    Standing, Sub, SubState, Subscribed, Token, Welcome, Word,
};
use weirline_resume::{
    AfterLoss, Dial, SessionClient, SessionClientConfig, SessionState, StoreMode, SubscribeOptions,
};

use crate::source::{Source, start};
use oracle::Oracle;

pub(crate) fn run(input: &[u8]) {
    let mut source = Source::new(input);
    let flags = source.byte();
    let config = SessionClientConfig {
        form: if flags & 1 == 0 { Form::Json } else { Form::Binary },
        store: if flags & 2 == 0 {
            StoreMode::Volatile
        } else {
            StoreMode::Durable
        },
        outbox_messages_max: OUTBOX_MESSAGES_MAX,
        outbox_bytes_max: 300,
        subs_max: 2,
        ..SessionClientConfig::default()
    };
    let mut world = World {
        client: SessionClient::new(config.clone()),
        oracle: Oracle::default(),
        config,
        dial: Dial::default(),
        nonce: 0,
        stored: None,
        now: start(),
    };
    for _ in 0..STEPS_MAX {
        if source.is_empty() {
            break;
        }
        world.step(&mut source);
        world.look();
    }
}

const STEPS_MAX: usize = 1000;
const OUTBOX_MESSAGES_MAX: usize = 8;

struct World {
    config: SessionClientConfig,
    client: SessionClient,
    oracle: Oracle,
    dial: Dial,
    nonce: u8,
    /// The last state that was stored, with the oracle's account at that moment.
    stored: Option<(SessionState, Oracle)>,
    now: Instant,
}

fn stream(index: usize) -> StreamId {
    StreamId::new(["a", "b", "c"][index % 3]).expect("a legal name")
}

fn sub(number: usize) -> Sub {
    Sub::new(u32::try_from(number + 1).unwrap_or(1)).expect("above 0")
}

fn offset(byte: u8) -> Offset {
    Offset::new(u64::from(byte & 15)).expect("small")
}

fn position(source: &mut Source<'_>) -> Position {
    Position {
        epoch: Epoch::new(u64::from(source.byte() & 1)),
        offset: offset(source.byte()),
    }
}

impl World {
    fn step(&mut self, source: &mut Source<'_>) {
        let what = source.byte();
        match what & 31 {
            0 => self.dial(),
            1 => {
                let value = self.client.upgrade_value().filter(|_| what & 64 != 0);
                self.client.handle_connected(self.dial, self.now, value.is_some());
                self.oracle.connected(value.is_some());
            }
            2 => self.lose(source.byte()),
            3 => {
                self.now += Duration::from_millis(u64::from(source.byte()) * 100);
                self.client.handle_timeout(self.now);
                let due = self.client.poll_timeout();
                assert!(
                    due.is_none_or(|due| due > self.now),
                    "a deadline that came is still there"
                );
            }
            4 => self.store(),
            5 => {
                let len = source.below(60);
                let message = source.take(len).to_vec();
                self.hear(&message);
            }
            6..=20 => {
                let message = self.build(usize::from(what & 31) - 6, source);
                let mut wire = Vec::new();
                message.encode(self.config.form, &mut wire);
                self.hear(&wire);
            }
            21..=23 => self.publish(source),
            24 => {
                let _ = self.client.handled(sub(source.below(3)), position(source));
            }
            25 => self.subscribe(source),
            26 => self.client.unsubscribe(sub(source.below(3))),
            27 => self.rest(source.byte()),
            28 if what & 0x60 == 0x60 => self.begin_again(),
            _ => self.transmit(1 + source.below(8)),
        }
    }

    fn look(&mut self) {
        while let Some(event) = self.client.poll_event() {
            self.oracle.event(&event);
        }
        let (messages, _) = self.client.outbox_len();
        assert!(messages <= OUTBOX_MESSAGES_MAX);
        self.oracle.outbox(&self.client.state());
        if self.client.is_stopped() {
            assert!(self.client.poll_transmit().is_none());
        }
    }

    fn dial(&mut self) {
        self.nonce = self.nonce.wrapping_add(1);
        match self.client.dial(self.now, [self.nonce; 16], None) {
            Ok(dial) => {
                assert!(dial > self.dial, "dials rise");
                self.dial = dial;
                self.oracle.dialed(&self.client.state());
            }
            Err(_) => assert!(self.client.is_stopped()),
        }
    }

    fn lose(&mut self, how: u8) {
        let close = match how & 7 {
            0 => Some((4409, "superseded")),
            1 => Some((4410, "repeated")),
            2 => Some((1008, "Backpressure: downstream saturated; resume=1; after=2300")),
            3 => Some((1012, "drained")),
            _ => None,
        };
        let after = self.client.handle_disconnected(self.dial, self.now, close);
        if let AfterLoss::Redial { hint } = after {
            assert!(hint.is_none_or(|hint| hint <= Duration::from_secs(60)));
        }
        assert_eq!(after == AfterLoss::Stopped, self.client.is_stopped());
    }

    fn store(&mut self) {
        self.look();
        self.stored = Some((self.client.state(), self.oracle.clone()));
        self.client.handle_stored(self.client.revision());
        assert!(!self.client.needs_store());
    }

    /// The process dies; another goes on from what was stored.
    fn begin_again(&mut self) {
        let (state, mut oracle) = self.stored.clone().unwrap_or_default();
        self.client = SessionClient::restore(self.config.clone(), state.clone());
        assert_eq!(self.client.state(), state, "a state survives being stored");
        oracle.restored();
        self.oracle = oracle;
        self.dial = Dial::default();
    }

    fn hear(&mut self, message: &[u8]) {
        self.client
            .handle_message(self.dial, self.now, self.config.form.kind(), message);
    }

    fn publish(&mut self, source: &mut Source<'_>) {
        let payload = Bytes::from(vec![b'x'; source.below(90)]);
        let kind = if source.byte() & 1 == 0 {
            PayloadKind::Text
        } else {
            PayloadKind::Binary
        };
        if let Ok(ticket) = self.client.publish(stream(source.below(3)), kind, payload) {
            self.oracle.taken(ticket);
        }
    }

    fn subscribe(&mut self, source: &mut Source<'_>) {
        let options = SubscribeOptions {
            begin: match source.below(4) {
                0 => Begin::Head,
                1 => Begin::AckedOrHead,
                2 => Begin::AckedOrStart,
                _ => Begin::After {
                    offset: offset(source.byte()),
                    epoch: None,
                },
            },
            position: (source.byte() & 3 == 0).then(|| position(source)),
            policy: Policy::Pause,
            window: Limits {
                bytes: 200,
                messages: 3,
            },
        };
        let _ = self.client.subscribe(stream(source.below(3)), options);
    }

    fn rest(&mut self, how: u8) {
        match how & 3 {
            0 => self.client.check(u32::from(how)),
            1 => {
                self.client.offer(Credential::new("abc").expect("legal"));
            }
            2 if how > 240 => self.client.end(),
            _ => {}
        }
    }

    fn transmit(&mut self, most: usize) {
        for _ in 0..most {
            let Some(message) = self.client.poll_transmit() else {
                break;
            };
            assert_eq!(message.kind, self.config.form.kind());
            let stored = self.stored.as_ref().map(|(state, _)| state);
            let durable = (self.config.store == StoreMode::Durable).then_some(stored);
            self.oracle
                .said(self.config.form, &message.to_vec(), &self.client.state(), durable);
        }
        if let Some(close) = self.client.poll_close() {
            assert_eq!(close.code, 1008);
        }
    }

    /// A message that is well formed, and often what a server would say.
    fn build(&self, what: usize, source: &mut Source<'_>) -> ServerMessage<'static> {
        use ServerMessage as M;
        match what {
            0 | 1 => M::Welcome(self.welcome(source)),
            2..=7 => about_subs(what, source),
            8..=10 => {
                let next = self.client.state().acked.get() + u64::from(source.byte() & 3);
                M::PubAck(PubAck {
                    seq: Seq::new(next).expect("small"),
                    refused: (source.byte() & 3 == 0).then(|| Refused {
                        fault: fault(source),
                        retry: (source.byte() & 1 == 0).then_some(Duration::from_secs(3)),
                    }),
                })
            }
            11 => M::Credit(Credit {
                sub: None,
                limits: Limits {
                    bytes: u64::from(source.byte()) * 9,
                    messages: u64::from(source.byte()),
                },
            }),
            12 => M::Flow(Flow {
                sub: (source.byte() & 1 == 0).then(|| sub(source.below(3))),
                pause: (source.byte() & 1 == 0).then_some(Word::PUBLISHING),
            }),
            13 => {
                let standing = Standing {
                    sub: sub(source.below(3)),
                    position: (source.byte() & 1 == 0).then(|| position(source)),
                    limits: None,
                };
                let ping = Ping {
                    echo: u64::from(source.byte()),
                    subs: vec![standing],
                    ..Ping::default()
                };
                if source.byte() & 1 == 0 {
                    M::Ping(ping)
                } else {
                    M::Pong(ping)
                }
            }
            _ => self.ending(source),
        }
    }

    fn ending(&self, source: &mut Source<'_>) -> ServerMessage<'static> {
        use ServerMessage as M;
        let how = source.byte();
        let fault = fault(source);
        match how & 7 {
            0 => M::Auth(AuthAnswer::Accepted { expires: None }),
            1 => M::Auth(AuthAnswer::Refused(fault)),
            2 => M::Drain(Drain {
                after: Duration::from_secs(1),
                deadline: Duration::from_secs(9),
                url: None,
            }),
            3 => M::Bye((how & 8 == 0).then_some(fault)),
            _ => M::Reject(Reject {
                fault,
                resumable: how & 8 == 0,
                retry: (how & 16 == 0).then_some(Duration::from_secs(4)),
                attach: None,
            }),
        }
    }

    /// Mostly the one that the client waits for; its count is near, and its hash often that of the client's own messages.
    fn welcome(&self, source: &mut Source<'_>) -> Welcome {
        let state = self.client.state();
        let known = state.session.filter(|_| source.byte() < 240);
        let count = (state.acked.get() + u64::from(source.byte() & 7)).saturating_sub(2);
        let mut hash = state.hash;
        let mut at = state.acked;
        for slot in &state.outbox {
            if at.get() >= count {
                break;
            }
            at = at.next().expect("small");
            hash = match slot {
                weirline_resume::Slot::Message {
                    stream,
                    kind,
                    payload,
                    ..
                } => hash.then(Item::publish(stream, *kind, payload)),
                _ => RollingHash([9; 16]),
            };
        }
        if source.byte() & 3 == 0 {
            hash = RollingHash([7; 16]);
        }
        Welcome {
            session: known.map_or(SessionId([1; 32]), |(session, _)| session),
            token: known.is_none().then_some(Token([2; 32])),
            attach: if source.byte() > 250 {
                Attach::MAX
            } else {
                state.attach
            },
            outcome: if known.is_none() {
                Attached::New
            } else {
                Attached::Resumed
            },
            count: Seq::new(count).expect("small"),
            hash,
            durability: Durability::Memory,
            ttl: Duration::from_secs(300),
            heartbeat: Duration::from_secs(5),
            size: 1024,
            limits: Limits {
                bytes: 300,
                messages: 5,
            },
        }
    }
}

fn fault(source: &mut Source<'_>) -> Fault<'static> {
    Fault {
        code: source.choose(Code::ALL),
        detail: Detail::default(),
    }
}

/// A message about a subscription.
fn about_subs(what: usize, source: &mut Source<'_>) -> ServerMessage<'static> {
    use ServerMessage as M;
    match what {
        2 => {
            let (position, more) = (position(source), u64::from(source.byte() & 3));
            M::Subscribed(Subscribed {
                sub: sub(source.below(3)),
                position,
                head: position.offset.checked_add(more).expect("small"),
                state: source.choose(SubState::ALL),
            })
        }
        3 => M::Unsubscribed {
            sub: sub(source.below(3)),
            fault: (source.byte() & 1 == 0).then(|| fault(source)),
        },
        4 | 5 => {
            let at = offset(source.byte()).get() + 1;
            let back = (u64::from(source.byte() & 3) + 1).min(at);
            M::Data(Data {
                sub: sub(source.below(3)),
                offset: Offset::new(at).expect("small"),
                previous: Offset::new(at - back).expect("small"),
                payload: Payload {
                    kind: PayloadKind::Binary,
                    bytes: vec![1; source.below(60)].into(),
                },
            })
        }
        6 => {
            let from = Offset::new(u64::from(source.byte() & 15) + 1).expect("small");
            M::Gap(Gap {
                sub: sub(source.below(3)),
                from,
                to: from.checked_add(u64::from(source.byte() & 3)).expect("small"),
                reason: source.choose(GapReason::ALL),
            })
        }
        _ => {
            let Position { epoch, offset } = position(source);
            M::Reset(Reset {
                sub: sub(source.below(3)),
                epoch,
                common: offset,
            })
        }
    }
}
