//! Two connections of ours, joined by pipes that carry any number of bytes at any time: what one accepts the other gets, in order.
//!
//! Each step is a byte: what happens, and on which side; most have a further byte for a length or a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use weirline_connection::{Cause, CloseCode, Config, Connection, MessageKind, SendError};
use weirline_flow::{QueueLimits, Strategy};

use crate::peer::{Role, Seen, connection, drain, feed, transmit};
use crate::source::{Source, start};

pub(crate) fn run(input: &[u8]) {
    let mut source = Source::new(input);
    let strategy = source.choose(&[Strategy::BREAK, Strategy::Pause, Strategy::DropOldest]);
    let fragment = source.choose(&[126_usize, 200, 1000, 65_536]);
    let mut world = World::new(strategy, fragment);
    for _ in 0..STEPS_MAX {
        if source.is_empty() {
            break;
        }
        world.step(&mut source);
    }
    world.finish(strategy);
}

const STEPS_MAX: usize = 2000;

/// One side with its oracle.
struct Side {
    connection: Connection,
    /// What this side has sent and the other has not read.
    pipe: Vec<u8>,
    /// The end of this side's direction: said, and told to the other side.
    fin: bool,
    fin_told: bool,
    accepted: Vec<Seen>,
    received: Vec<Seen>,
    sent_total: u32,
}

struct World {
    sides: [Side; 2],
    now: Instant,
    /// Something other than an orderly close was asked for, or time may have run out somewhere.
    disturbed: bool,
}

impl World {
    fn new(strategy: Strategy, fragment: usize) -> Self {
        let now = start();
        let mut config = Config::default();
        config.fragment_bytes = fragment;
        config.send_strategy = strategy;
        config.send_queue = QueueLimits {
            messages: 8,
            bytes: 16_000,
        };
        let config = Arc::new(config);
        let side = |role| Side {
            connection: connection(role, &config, now),
            pipe: Vec::new(),
            fin: false,
            fin_told: false,
            accepted: Vec::new(),
            received: Vec::new(),
            sent_total: 0,
        };
        Self {
            sides: [side(Role::Server), side(Role::Client)],
            now,
            disturbed: false,
        }
    }

    fn step(&mut self, source: &mut Source<'_>) {
        let what = source.byte();
        let who = usize::from(what >> 7);
        match what & 15 {
            0..=4 => self.send(who, what & 64 != 0, what & 32 != 0, source.u16()),
            5 | 6 => self.transmit(who, usize::from(source.u16()), what & 64 != 0),
            7..=9 => self.deliver(who, usize::from(source.u16())),
            10 => self.pump(),
            11 => self.wait(Duration::from_millis(u64::from(source.byte()) * 100)),
            12 => self.reading(who, what & 16 == 0),
            13 if what & 16 == 0 => {
                let code = source.choose(&[1000, 1001, 3000, 4999]);
                let code = CloseCode::try_from(code).expect("legal");
                self.sides[who].connection.close(self.now, code, "closing");
            }
            14 if what & 0x70 == 0x70 => self.disturb(who, source.byte()),
            _ => self.shutdown(who),
        }
        for side in &mut self.sides {
            side.check();
        }
    }

    fn send(&mut self, who: usize, text: bool, shared: bool, len: u16) {
        let len = usize::from(len) % 12_000;
        let kind = if text {
            MessageKind::Text
        } else {
            MessageKind::Binary
        };
        let (side, now) = (&mut self.sides[who], self.now);
        let payload: Vec<u8> = if text {
            format!("{}:", side.sent_total)
                .chars()
                .chain("é€".chars().cycle())
                .take(len / 3)
                .collect::<String>()
                .into()
        } else {
            side.sent_total
                .to_be_bytes()
                .into_iter()
                .cycle()
                .take(len)
                .collect()
        };
        let (open, room) = (side.connection.is_open(), side.connection.has_room(payload.len()));
        let sent = if shared {
            let cut = payload.len().min(7);
            let (prefix, rest) = payload.split_at(cut);
            side.connection
                .send_shared(now, kind, prefix, bytes::Bytes::copy_from_slice(rest))
        } else {
            side.connection.send(now, kind, &payload)
        };
        match sent {
            Ok(sent) => {
                side.sent_total += 1;
                assert!(open && (room || sent.dropped.messages > 0));
                side.accepted.push(Seen::Message(kind, payload));
            }
            Err(SendError::Closed) => assert!(!open),
            Err(SendError::Full) => assert!(open && !room),
            Err(SendError::Broken) => {
                assert!(open && side.connection.failure().is_some());
                self.disturbed = true;
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    fn transmit(&mut self, who: usize, max: usize, one: bool) {
        let (side, now) = (&mut self.sides[who], self.now);
        let wire = if one {
            transmit::<1>(&mut side.connection, now, max)
        } else {
            transmit::<5>(&mut side.connection, now, max)
        };
        side.pipe.extend(wire);
    }

    /// The other side of `who` reads up to `max` bytes of what `who` has sent.
    fn deliver(&mut self, who: usize, max: usize) {
        let now = self.now;
        let (from, to) = self.pair(who);
        let bytes: Vec<u8> = from.pipe.drain(..max.min(from.pipe.len())).collect();
        feed(&mut to.connection, now, &bytes, &mut to.received, |_| {});
        if from.pipe.is_empty() && from.fin && !std::mem::replace(&mut from.fin_told, true) {
            to.connection.handle_eof(now);
        }
    }

    fn pair(&mut self, from: usize) -> (&mut Side, &mut Side) {
        let [server, client] = &mut self.sides;
        if from == 0 {
            (server, client)
        } else {
            (client, server)
        }
    }

    fn shutdown(&mut self, who: usize) {
        let (side, now) = (&mut self.sides[who], self.now);
        if side.connection.poll_shutdown() {
            assert!(!side.connection.wants_transmit(), "everything was written before");
            side.fin = true;
            side.connection.handle_shutdown(now);
        }
    }

    /// Everything that can move moves.
    fn pump(&mut self) {
        for _ in 0..4 {
            for who in [0, 1] {
                let wire = drain(&mut self.sides[who].connection, self.now);
                self.sides[who].pipe.extend(wire);
                self.shutdown(who);
                self.deliver(who, usize::MAX);
            }
        }
    }

    fn wait(&mut self, time: Duration) {
        let before = self.now;
        self.now += time;
        for side in &mut self.sides {
            while let Some(at) = side.connection.poll_timeout().filter(|at| *at <= self.now) {
                side.connection.handle_timeout(at.max(before));
                let next = side.connection.poll_timeout();
                assert!(
                    next.is_none_or(|next| next > at),
                    "a deadline that came is still there"
                );
            }
        }
        // A peer that was given no time to answer may have been given up.
        self.disturbed |= self
            .sides
            .iter()
            .any(|side| side.connection.failure().is_some() || side.connection.poll_end().is_some());
    }

    fn reading(&mut self, who: usize, reading: bool) {
        self.sides[who].connection.handle_reading(self.now, reading);
    }

    fn disturb(&mut self, who: usize, how: u8) {
        self.disturbed = true;
        let (side, now) = (&mut self.sides[who], self.now);
        match how % 4 {
            0 => side
                .connection
                .fail_with(now, CloseCode::INTERNAL_ERROR, "failing"),
            1 => side.connection.abort(),
            2 => side
                .connection
                .handle_io_error(std::io::ErrorKind::ConnectionReset),
            _ => {
                let last_words = side
                    .connection
                    .farewell(Some((MessageKind::Text, b"bye")), "over");
                assert!(last_words.is_ok() || last_words == Err(SendError::Closed));
            }
        }
    }

    /// Lets everything arrive, closes, and compares what was accepted with what came.
    fn finish(mut self, strategy: Strategy) {
        for who in [0, 1] {
            self.reading(who, true);
        }
        self.pump();
        let code = CloseCode::GOING_AWAY;
        let now = self.now;
        for side in &mut self.sides {
            side.connection.close(now, code, "");
        }
        self.pump();
        if !self.disturbed {
            for side in &self.sides {
                assert!(side.connection.poll_end().is_some(), "{:?}", side.connection);
            }
        }
        for (from, to) in [(0, 1), (1, 0)] {
            let accepted = &self.sides[from].accepted;
            let received: Vec<&Seen> = self.sides[to]
                .received
                .iter()
                .filter(|seen| matches!(seen, Seen::Message(..)) && **seen != last_words())
                .collect();
            if self.disturbed || strategy == Strategy::DropOldest {
                let mut all = accepted.iter();
                for message in &received {
                    assert!(all.any(|sent| sent == *message), "came twice, or out of order");
                }
            } else {
                assert!(
                    received.iter().copied().eq(accepted),
                    "all that was accepted came"
                );
            }
            let end = self.sides[to].connection.poll_end();
            assert!(
                !matches!(end.map(|end| &end.cause), Some(Cause::Protocol(_))),
                "we break no rule: {end:?}"
            );
        }
        for _ in 0..20 {
            self.wait(Duration::from_secs(60));
            self.pump();
        }
        for side in &self.sides {
            assert!(side.connection.poll_end().is_some(), "every wait has an end");
            assert_eq!(side.connection.poll_timeout(), None);
        }
    }
}

fn last_words() -> Seen {
    Seen::Message(MessageKind::Text, b"bye".to_vec())
}

impl Side {
    /// What holds at any time.
    fn check(&self) {
        let (connection, counters) = (&self.connection, self.connection.send_counters());
        assert!(connection.held_bytes() <= HELD_MAX, "{connection:?}");
        let gone = counters.popped.messages + counters.dropped.messages;
        assert!(gone <= counters.pushed.messages);
        assert!(counters.pushed.messages - gone <= 8);
        if connection.poll_end().is_some() {
            assert!(!connection.wants_transmit() && !connection.poll_shutdown() && !connection.is_open());
        }
    }
}

/// The send queue, a message of any size at its window, one in hand, the control lane; and twice the longest message that comes.
const HELD_MAX: usize = 16_000 + 13_000 + 13_000 + (9 << 10) + 2 * 12_000 + 1024;
