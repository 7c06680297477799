//! A resume client over many connections to servers that say anything, and processes that begin again from what was stored.
//!
//! Each step is a byte: what happens; most have further bytes. What the client sends is held to `PROTOCOL.md`, and every message that
//! it took into its outbox must have exactly one fate, by an oracle.

mod oracle;

use std::time::{Duration, Instant};

use bytes::Bytes;
use weirline_log::{Epoch, Offset, PayloadKind, Position, Seq};
use weirline_resume::text::{ErrorCode, ErrorText, GapReason, PauseReason, ServerMessage};
use weirline_resume::{
    AfterLoss, ClientState, Dial, PublishError, StoreMode, Subscribe, TextClient, TextClientConfig,
};

use crate::source::{Source, start};
use oracle::Oracle;

pub(crate) fn run(input: &[u8]) {
    let mut source = Source::new(input);
    let config = config(&mut source);
    let mut world = World::new(config);
    for _ in 0..STEPS_MAX {
        if source.is_empty() {
            break;
        }
        world.step(&mut source);
        world.look();
    }
}

const STEPS_MAX: usize = 1000;

fn config(source: &mut Source<'_>) -> TextClientConfig {
    let flags = source.byte();
    let position = Position {
        epoch: Epoch::new(5),
        offset: Offset::new(3).expect("small"),
    };
    TextClientConfig {
        subscribe: match flags & 3 {
            0 => Subscribe::Head,
            1 => Subscribe::After(Offset::ZERO),
            2 => Subscribe::At(position),
            _ => Subscribe::Nothing,
        },
        session: flags & 4 == 0,
        store: if flags & 8 == 0 {
            StoreMode::Volatile
        } else {
            StoreMode::Durable
        },
        outbox_messages_max: OUTBOX_MESSAGES_MAX,
        outbox_bytes_max: OUTBOX_BYTES_MAX,
        in_flight_messages_max: 4,
        in_flight_bytes_max: 100,
        ..TextClientConfig::default()
    }
}

const OUTBOX_MESSAGES_MAX: usize = 8;
const OUTBOX_BYTES_MAX: usize = 300;

struct World {
    config: TextClientConfig,
    client: TextClient,
    oracle: Oracle,
    dial: Dial,
    dials: u16,
    /// The last state that was stored, with the oracle's account at that moment.
    stored: Option<(ClientState, Oracle)>,
    now: Instant,
}

impl World {
    fn new(config: TextClientConfig) -> Self {
        let client = TextClient::new(config.clone());
        Self {
            oracle: Oracle::new(&config),
            config,
            client,
            dial: Dial::default(),
            dials: 0,
            stored: None,
            now: start(),
        }
    }

    fn step(&mut self, source: &mut Source<'_>) {
        let what = source.byte();
        match what & 15 {
            0 => self.dial(),
            1 => {
                self.client.handle_connected(self.dial, self.now);
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
                let kind = kind(what & 64 != 0);
                let len = source.below(60);
                self.says(kind, source.take(len));
            }
            6..=10 => self.server_message(what & 15, source),
            11 | 12 => self.publish(kind(what & 64 != 0), source.below(70)),
            13 => self.handled(source),
            14 if what & 0x70 == 0x70 => self.begin_again(),
            _ => self.transmit(1 + source.below(8)),
        }
    }

    fn dial(&mut self) {
        self.dials += 1;
        // Entropy that never comes twice.
        let [high, low] = self.dials.to_be_bytes();
        let entropy = std::array::from_fn(|index| if index % 2 == 0 { high } else { low });
        match self.client.dial(self.now, entropy) {
            Ok(dial) => {
                assert!(dial > self.dial && dial == self.client.current_dial());
                self.dial = dial;
                self.oracle.dialed(self.client.revision());
                if what_is_stored(&self.config, self.dials) {
                    self.store();
                }
            }
            Err(_) => assert!(self.client.is_stopped()),
        }
    }

    fn lose(&mut self, how: u8) {
        let close = match how % 8 {
            0 => Some((4409, "superseded")),
            1 => Some((1008, "Backpressure: downstream saturated; resume=1; after=90000")),
            2 => Some((1012, "restart")),
            _ => None,
        };
        let old = how & 0x30 == 0x30;
        let dial = if old { Dial::default() } else { self.dial };
        let stopped = self.client.is_stopped();
        match self.client.handle_disconnected(dial, self.now, close) {
            AfterLoss::Stopped => assert!(stopped || how.is_multiple_of(8)),
            AfterLoss::Redial { hint } => {
                assert!(!old && hint.is_none_or(|hint| hint <= Duration::from_secs(60)));
            }
            _ => {}
        }
    }

    fn store(&mut self) {
        self.events();
        self.client.handle_stored(self.client.revision());
        self.oracle.stored(self.client.revision());
        self.stored = Some((self.client.state(), self.oracle.clone()));
        assert!(!self.client.needs_store());
    }

    /// A server's message, likely one that fits.
    fn server_message(&mut self, what: u8, source: &mut Source<'_>) {
        let near = |source: &mut Source<'_>, near: u64| match source.byte() {
            far @ 250.. => (1_u64 << 53) - 1 - u64::from(far - 250),
            close => (near + u64::from(close % 8)).saturating_sub(u64::from(close >> 6)),
        };
        let offset = |number: u64| Offset::new(number.min((1 << 53) - 1)).expect("below the greatest");
        let seq = |number: u64| Seq::new(number.min((1 << 53) - 1)).expect("below the greatest");
        let taken = self.client.taken();
        let epoch = match source.below(4) {
            0 => Epoch::new(6),
            _ => taken.map_or(Epoch::new(5), |taken| taken.epoch),
        };
        let at = taken.map_or(0, |taken| taken.offset.get());
        let acked = self.client.acked().get();
        let words = "na\u{ef}ve";
        let text = ErrorText::new(words).expect("legal");
        let code = source.choose(ErrorCode::ALL);
        let message = match (what, source.below(4)) {
            (6, 0) => ServerMessage::Reset {
                epoch,
                common: offset(near(source, at)),
            },
            (6, 1 | 2) => ServerMessage::ResumeFrom(seq(near(source, acked))),
            (6, _) => {
                let from = if taken.is_some() { at } else { near(source, 0) };
                let head = from.saturating_add(u64::from(taken.is_some()) * u64::from(source.byte()));
                ServerMessage::Resumed {
                    offset: offset(from),
                    head: offset(head),
                    epoch,
                }
            }
            (7, 0) => {
                let (from, by) = (near(source, at + 1).max(1), u64::from(source.byte()));
                let reason = source.choose(GapReason::ALL);
                ServerMessage::Gap {
                    from: offset(from),
                    to: offset(from.saturating_add(by)),
                    reason,
                }
            }
            (7 | 8, _) => ServerMessage::Data {
                offset: offset(near(source, at + 1).max(1)),
                kind: kind(what == 7),
                payload: b"data",
            },
            (9, 0) => ServerMessage::Pause(PauseReason::PUBLISHING),
            (9, 1) => ServerMessage::Continue,
            (9, _) => ServerMessage::Ack(seq(near(source, acked))),
            (_, 0) => ServerMessage::Error { code, text },
            _ => ServerMessage::Refused {
                seq: seq(near(source, acked + 1).max(1)),
                code,
                text,
            },
        };
        let mut wire = Vec::new();
        let kind = message.encode(&mut wire);
        self.says(kind, &wire);
    }

    fn says(&mut self, kind: PayloadKind, message: &[u8]) {
        self.oracle.server_says(kind, message);
        if message.len().is_multiple_of(2) {
            self.client.handle_message(self.dial, self.now, kind, message);
        } else {
            let message = Bytes::copy_from_slice(message);
            self.client
                .handle_message_bytes(self.dial, self.now, kind, &message);
        }
    }

    /// Each payload begins with its ticket, so that what is sent can be told.
    fn publish(&mut self, kind: PayloadKind, len: usize) {
        let mut payload = self.oracle.next_payload();
        payload.resize(payload.len() + len, b'.');
        let payload = Bytes::from(payload);
        let room = self.client.has_room(payload.len());
        match self.client.publish(kind, payload.clone()) {
            Ok(ticket) => {
                assert!(room);
                self.oracle
                    .published(ticket, kind, payload, self.client.revision());
            }
            Err(PublishError::OutboxFull { messages, bytes }) => {
                assert!(!room && (messages, bytes) == self.client.outbox_len());
            }
            Err(PublishError::Stopped) => assert!(self.client.is_stopped()),
            Err(error) => panic!("{error:?}"),
        }
    }

    fn handled(&mut self, source: &mut Source<'_>) {
        self.events();
        let known = self.oracle.delivered(source.below(4));
        let position = match known {
            Some(position) if source.byte() & 7 != 0 => position,
            _ => Position {
                epoch: Epoch::new(5 + source.below(3) as u64),
                offset: Offset::new(source.below(20) as u64).expect("small"),
            },
        };
        if self.client.handled(position).is_ok() {
            self.oracle.handled(position);
        }
    }

    fn transmit(&mut self, count: usize) {
        for _ in 0..count {
            let Some(message) = self.client.poll_transmit() else {
                break;
            };
            assert!(!message.is_empty());
            self.oracle.client_says(message.kind, &message.to_vec());
        }
        if let Some(close) = self.client.poll_close() {
            assert!(close.code == 1008 && close.reason.len() <= 123);
            assert_eq!(self.client.poll_close(), None);
        }
    }

    fn events(&mut self) {
        while let Some(event) = self.client.poll_event() {
            self.oracle.event(&event);
        }
    }

    /// What holds after every step.
    fn look(&mut self) {
        self.events();
        let (messages, bytes) = self.client.outbox_len();
        assert_eq!(
            (messages, bytes),
            self.oracle.waiting(),
            "each message has one fate"
        );
        assert!(messages <= OUTBOX_MESSAGES_MAX && (messages == 1 || bytes <= OUTBOX_BYTES_MAX));
        assert_eq!(self.client.taken(), self.oracle.taken());
        if self.client.is_stopped() {
            assert!(self.client.poll_transmit().is_none() && self.client.poll_timeout().is_none());
            assert!(self.oracle.is_stopped());
        }
    }

    /// Another process goes on from the stored state; what happened since is forgotten.
    fn begin_again(&mut self) {
        let Some((state, oracle)) = self.stored.clone() else {
            return;
        };
        let client = TextClient::restore(self.config.clone(), state.clone());
        assert_eq!(client.state(), state, "what is restored is what was stored");
        if state.secret.is_some() && state.attach < self.client.state().attach {
            // A process that dials stores its attach before; who goes on from an older state is another story.
            return;
        }
        self.client = client;
        self.dial = Dial::default();
        self.oracle = oracle;
        self.oracle.begin_again(&state);
    }
}

/// With a durable store the application stores at once, or later.
fn what_is_stored(config: &TextClientConfig, dials: u16) -> bool {
    config.store == StoreMode::Durable && !dials.is_multiple_of(3)
}

fn kind(text: bool) -> PayloadKind {
    if text {
        PayloadKind::Text
    } else {
        PayloadKind::Binary
    }
}
