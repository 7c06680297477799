//! What a peer can make a connection hold, by the allocator's own account (docs/threats.md). All of it is one test: the
//! account is that of the process, and tests beside it would be counted.

mod common;

use std::alloc::System;
use std::sync::Arc;
use std::time::Instant;

use bytes::{BufMut as _, Bytes};
use common::*;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use weirline_connection::{Config, Connection, Delivery, Input, MessageKind};
use weirline_flow::RateLimit;

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const KIB: usize = 1 << 10;

/// What is held besides the bytes, and what the harness on its other thread may allocate meanwhile.
const CONSTANT: usize = 2 * KIB;

/// Bytes that are allocated and not given back.
fn live() -> usize {
    let stats = HEAP.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// A server's connection, with what is allocated since it is there.
struct Victim {
    connection: Connection,
    now: Instant,
    /// Where reads go: it is the caller's, one for all connections of a thread.
    read: Vec<u8>,
    before: usize,
}

impl Victim {
    fn new(config: &Arc<Config>) -> Self {
        let now = start();
        let connection = connection(Role::Server, config, now);
        let read = Vec::with_capacity(64 * KIB);
        let before = live();
        Self {
            connection,
            now,
            read,
            before,
        }
    }

    /// Takes bytes as one read of at most 64 KiB, and keeps no event.
    fn take(&mut self, bytes: &[u8]) {
        self.read.clear();
        self.read.extend_from_slice(bytes);
        let mut input = Input::new(&mut self.read);
        while !input.is_empty() {
            let event = self.connection.handle_input(self.now, &mut input);
            assert!(event.is_some() || input.is_empty());
        }
    }

    fn holds(&self) -> usize {
        live().saturating_sub(self.before)
    }
}

#[test]
fn what_a_peer_can_make_a_connection_hold() {
    a_declared_length_allocates_nothing();
    fragments_cost_at_most_twice_what_arrived();
    room_for_the_next_read_costs_at_most_twice_what_arrived();
    empty_fragments_cost_nothing();
    a_million_unread_pings_cost_a_constant();
    a_payload_for_many_is_there_once();
}

fn a_declared_length_allocates_nothing() {
    for delivery in [Delivery::Messages, Delivery::Parts] {
        for len in [(1 << 63) - 1, 1 << 40, 1 << 31, 16 << 20] {
            for first in [FIN | BINARY, BINARY, FIN | TEXT, TEXT] {
                let mut victim = Victim::new(&config(|config| config.delivery = delivery));
                let wire = [&header(first, Some([0; 4]), len)[..], b"some payload"].concat();
                victim.take(&wire);
                drop(wire);
                let holds = victim.holds();
                assert!(holds < KIB, "{holds} for {len} bytes: {first:#x}, {delivery:?}");
            }
        }
    }
}

fn fragments_cost_at_most_twice_what_arrived() {
    // (read, fragment, fragments): how the bytes of one message come.
    for (read, fragment, fragments) in [
        (1, 1 << 16, 1),
        (7, 3, 3000),
        (1500, 1 << 20, 2),
        (64 * KIB, 1 << 20, 2),
        (64 * KIB, 1, 100_000),
        (64 * KIB, 64, 65_536),
        (100, 5000, 100),
    ] {
        let first = frame(Role::Server, BINARY, &vec![7; fragment]);
        let more = frame(Role::Server, CONTINUATION, &vec![7; fragment]).repeat(fragments);
        let wire = [first, more].concat();
        let mut victim = Victim::new(&config(|_| {}));
        let mut received = 0;
        for piece in wire.chunks(read) {
            victim.take(piece);
            received += piece.len();
            let holds = victim.holds();
            assert!(
                holds <= 2 * received + CONSTANT,
                "{holds} for {received} in reads of {read}, fragments of {fragment}"
            );
        }
        assert!(victim.connection.is_open() && received > 9 * KIB);
        victim.take(&frame(Role::Server, FIN | CONTINUATION, b""));
        let holds = victim.holds();
        assert!(holds < CONSTANT, "{holds} behind the message");
    }
}

/// A peer that begins 16 MiB and stops: the driver has made room for a read that brings nothing, or a few bytes only.
fn room_for_the_next_read_costs_at_most_twice_what_arrived() {
    const DECLARED: u64 = 16 << 20;
    for (arrived, read) in [
        (64 * KIB, 64 * KIB),
        (64 * KIB + 1, 64 * KIB),
        (64 * KIB + 1, 1500),
        (66_000, 7),
        (100_000, 1500),
        (130_000, 64 * KIB),
        (131_072, 1000),
        (600_000, 1500),
        (1_050_000, 64 * KIB),
    ] {
        for direct in [0, 1, 100, 1500, 40_000, usize::MAX] {
            let mut victim = Victim::new(&config(|_| {}));
            victim.take(&header(FIN | BINARY, Some([1, 2, 3, 4]), DECLARED));
            vec![7; arrived].chunks(read).for_each(|piece| victim.take(piece));
            let mut received = arrived;
            for _ in 0..50 {
                let mut assembly = victim.connection.take_assembly().expect("the rest is long");
                let bytes = direct.min(assembly.room().remaining_mut());
                assembly.room().put_bytes(9, bytes);
                assert!(victim.connection.handle_assembly(victim.now, assembly).is_none());
                received += bytes;
                let holds = victim.holds();
                assert!(
                    holds <= 2 * received + CONSTANT,
                    "{holds} for {received}: {arrived} in reads of {read}, then {direct} each time"
                );
                if received > 2 << 20 {
                    break;
                }
            }
            assert!(direct == 0 || received > arrived, "some room there must be");
            victim.connection.abort();
            let holds = victim.holds();
            assert!(holds < CONSTANT, "{holds} behind the end");
        }
    }
}

fn empty_fragments_cost_nothing() {
    let many = frame(Role::Server, CONTINUATION, b"").repeat(10_000);
    let mut victim = Victim::new(&config(|_| {}));
    victim.take(&frame(Role::Server, TEXT, b""));
    for _ in 0..200 {
        victim.take(&many);
        let holds = victim.holds();
        assert!(holds < KIB, "{holds}");
    }
    assert!(!victim.connection.is_open());
}

fn a_million_unread_pings_cost_a_constant() {
    const AT_ONCE: usize = 400;
    for (payload, pings) in [(&b""[..], 100_000), (b"ping", 100_000), (&[b'x'; 125], 1_000_000)] {
        let many = frame(Role::Server, FIN | PING, payload).repeat(AT_ONCE);
        let unlimited = RateLimit {
            burst: u32::MAX,
            per_second: 1,
        };
        let mut victim = Victim::new(&config(|config| config.control_rate = unlimited));
        let mut after_the_first = None;
        for _ in 0..pings / AT_ONCE {
            victim.take(&many);
            let holds = victim.holds();
            assert!(holds <= 10 * KIB, "{holds}");
            assert_eq!(holds, *after_the_first.get_or_insert(holds), "it grows");
        }
        drain(&mut victim.connection, victim.now);
        let holds = victim.holds();
        assert!(holds < KIB, "{holds} when they are read");
    }
}

/// One publish for a thousand subscribers: none of them has a copy.
fn a_payload_for_many_is_there_once() {
    const SUBSCRIBERS: usize = 1000;
    const PAYLOAD: usize = 16 * KIB;
    let (config, now) = (config(|_| {}), start());
    let mut connections: Vec<Connection> = (0..SUBSCRIBERS)
        .map(|_| connection(Role::Server, &config, now))
        .collect();
    let payload = Bytes::from(vec![7; PAYLOAD]);
    let before = live();
    for connection in &mut connections {
        let sent = connection.send_shared(now, MessageKind::Binary, b"", payload.clone());
        let _ = sent.expect("room");
    }
    let each = (live() - before) / SUBSCRIBERS;
    assert!(each <= KIB, "{each} per subscriber for {PAYLOAD} bytes");
}
