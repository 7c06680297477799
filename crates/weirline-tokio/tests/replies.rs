//! Answers to pipelined messages: few writes, a bound on what waits, and no connection that is broken by its own answers.

mod common;

use std::cell::Cell;
use std::rc::Rc;

use common::*;
use proptest::prelude::*;
use weirline_codec::OpCode;
use weirline_flow::{QueueLimits, Strategy as Policy};
use weirline_tokio::*;

const KIB: usize = 1 << 10;

/// Answers each message so many times, and notes how much waited at most.
fn echo(times: usize, held: &Rc<Cell<usize>>) -> Recorder {
    let held = Rc::clone(held);
    Recorder::then(move |cx, event| {
        if let Event::Message { kind, payload } = event {
            for _ in 0..times {
                cx.send(*kind, payload).map_err(HandlerError::new)?;
            }
            held.set(held.get().max(cx.connection().held_bytes()));
        }
        Ok(())
    })
}

fn numbered(n: usize, len: usize) -> Vec<u8> {
    let mut payload = vec![b'.'; len];
    let number = n.to_be_bytes();
    let len = len.min(number.len());
    payload[..len].copy_from_slice(&number[number.len() - len..]);
    payload
}

/// Answers leave together: two windows, or half of the queue's messages, with one write.
#[tokio::test(start_paused = true)]
async fn pipelined_messages_are_answered_with_few_writes() {
    // (messages, length, writes at most): one window of each would be 64 KiB with 40 bytes of overhead for each message.
    for (messages, len, writes) in [(64, 16, 1), (2200, 16, 1), (5000, 16, 3), (120, 1000, 1)] {
        let wire: Vec<u8> = (0..messages)
            .flat_map(|n| masked(OpCode::Binary, true, &numbered(n, len)))
            .collect();
        let script = Script::new([Read::Data(wire)]).vectored(true);
        let held = Rc::default();
        let driver = server(script.stream(), Config::default(), echo(1, &held));
        let application = async {
            settle().await;
            assert!(script.state().write_calls <= writes + 1, "{messages} of {len}");
            assert!(
                script.state().write_calls <= writes || messages > 4096,
                "{messages} of {len}"
            );
            script.push(Read::Eof);
        };
        let (end, ()) = tokio::join!(driver, application);
        assert_eq!(end.cause, Cause::EndOfStream);
        let answers = decode_all(script.written());
        assert_eq!(answers.len(), messages);
        for (n, answer) in answers.iter().enumerate() {
            assert_eq!(answer.payload, numbered(n, len));
        }
    }
}

/// A handler that says several short things to each message, and a peer that takes everything: nothing is in the way.
#[tokio::test(start_paused = true)]
async fn several_answers_to_each_of_many_messages_break_nothing() {
    for times in [1, 2, 3, 7, 100] {
        let messages = 8000 / times;
        let wire = masked(OpCode::Binary, true, b"??").repeat(messages);
        let script = Script::new([Read::Data(wire), Read::Eof]);
        let held = Rc::default();
        let end = server(script.stream(), Config::default(), echo(times, &held)).await;
        assert_eq!(end.cause, Cause::EndOfStream, "{times}");
        assert_eq!(decode_all(script.written()).len(), times * messages);
    }
}

/// The peer takes nothing: what waits stays within two windows and one answer, and what was read and waits for its turn within one read.
#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded_while_the_peer_takes_nothing() {
    for (len, messages) in [(0, 60_000), (16, 40_000), (1000, 3000), (100_000, 40)] {
        let wire: Vec<u8> = (0..messages)
            .flat_map(|n| masked(OpCode::Binary, true, &numbered(n, len)))
            .collect();
        let total = wire.len();
        let script = Script::new([Read::Data(wire)]).writes([Write::Block]);
        let held = Rc::new(Cell::new(0));
        let handler = echo(1, &held);
        let seen = handler.seen.clone();
        let driver = server(script.stream(), Config::default(), handler);
        let application = async {
            settle().await;
            let read: usize = total - unread(&script);
            let delivered = seen.borrow().len();
            assert!(
                delivered < messages && held.get() <= 2 * 64 * KIB + len + 100,
                "{}",
                held.get()
            );
            let waits_unread = read.saturating_sub(delivered * (len + 6));
            assert!(waits_unread <= 256 * KIB + len + 100, "{waits_unread}");
            script.unblock();
            settle().await;
            script.push(Read::Eof);
        };
        let (end, ()) = tokio::join!(driver, application);
        assert_eq!(end.cause, Cause::EndOfStream, "{len}");
        let answers = decode_whole(script.written());
        assert_eq!(answers.len(), messages);
        for (n, answer) in answers.iter().enumerate() {
            assert!(*answer == numbered(n, len), "{n} of {len}");
        }
    }
}

/// Once the socket has taken nothing the send window rules again, also for what comes later.
#[tokio::test(start_paused = true)]
async fn a_blocked_socket_gets_no_answers_beyond_the_window() {
    let wire = |count: usize| masked(OpCode::Binary, true, &[7; 1000]).repeat(count);
    let script = Script::new([Read::Data(wire(80))]).writes([Write::Block]);
    let handler = echo(1, &Rc::default());
    let seen = handler.seen.clone();
    let driver = server(script.stream(), Config::default(), handler);
    let application = async {
        settle().await;
        assert_eq!(seen.borrow().len(), 80, "80 KB are below two windows");
        script.push(Read::Data(wire(30)));
        settle().await;
        assert_eq!(seen.borrow().len(), 80, "and above one");
        script.unblock();
        settle().await;
        assert_eq!(seen.borrow().len(), 110);
        script.push(Read::Eof);
    };
    let (end, ()) = tokio::join!(driver, application);
    assert_eq!(end.cause, Cause::EndOfStream);
}

/// What the script has not given out yet.
fn unread(script: &Script) -> usize {
    let state = script.state();
    let bytes = state.reads.iter().map(|read| match read {
        Read::Data(data) => data.len(),
        _ => 0,
    });
    bytes.sum()
}

/// The messages of a wire, put together from their fragments. Linear, where taking one frame after the other from the front is not.
fn decode_whole(wire: Vec<u8>) -> Vec<Vec<u8>> {
    let (mut messages, mut open, mut at) = (Vec::new(), Vec::new(), 0);
    while let Some((header, len)) = weirline_codec::FrameHeader::decode(&wire[at..]).unwrap() {
        let start = at + len;
        at = start + usize::try_from(header.payload_len).unwrap();
        if header.opcode.is_control() {
            continue;
        }
        open.extend_from_slice(&wire[start..at]);
        if header.fin {
            messages.push(std::mem::take(&mut open));
        }
    }
    assert!(
        at == wire.len() && open.is_empty(),
        "the wire ends inside a message"
    );
    messages
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let step = prop_oneof![
        4 => (1usize..5000).prop_map(Write::Take),
        1 => (5000usize..200_000).prop_map(Write::Take),
        2 => Just(Write::Yield),
        2 => Just(Write::Block),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any lengths, any limits that have room for the answers to one message, any strategy, a peer that takes little: all answers arrive, in
    /// order, and the connection is not broken.
    #[test]
    fn no_answer_is_lost_and_none_breaks_its_connection(
        lens in prop::collection::vec(prop_oneof![
            6 => 0usize..200, 2 => 200usize..10_000, 1 => 50_000usize..150_000,
        ], 1..150),
        repeat in 1usize..4,
        times in 1usize..5,
        window in 1usize..70_000,
        more in 1usize..300_000,
        spare in 0usize..200,
        policy in prop::sample::select(vec![Policy::BREAK, Policy::DropOldest, Policy::Pause]),
        writes in writes(),
        read in prop_oneof![1usize..3000, 3000usize..300_000],
    ) {
        // Several answers need room besides the window.
        let longest = lens.iter().max().copied().unwrap_or(0) + 100;
        let config = config(|config| {
            config.send_window_bytes = window;
            config.send_queue = QueueLimits {
                messages: 2 * times + spare,
                bytes: 2 * window + more + times * longest,
            };
            config.send_strategy = policy;
        });
        let messages = lens.len() * repeat;
        let expected = |n: usize| numbered(n, lens[n % lens.len()]);
        let wire: Vec<u8> = (0..messages).flat_map(|n| masked(OpCode::Binary, true, &expected(n))).collect();
        let script = Script::new(wire.chunks(read).map(|piece| Read::Data(piece.to_vec()))).writes(writes);
        let held = Rc::new(Cell::new(0));
        let runtime = paused();
        runtime.block_on(async {
            let driver = server(script.stream(), config, echo(times, &held));
            let peer = async {
                for _ in 0..200 {
                    for _ in 0..10 {
                        tokio::task::yield_now().await;
                    }
                    script.unblock();
                }
                script.state().writes.retain(|write| !matches!(write, Write::Block));
                script.unblock();
                script.push(Read::Eof);
            };
            let started = now();
            let (end, ()) = tokio::join!(driver, peer);
            assert_eq!(end.cause, Cause::EndOfStream);
            assert_eq!(now(), started, "no time went by");
        });
        let answers = decode_whole(script.written());
        prop_assert_eq!(answers.len(), times * messages);
        for (n, answer) in answers.iter().enumerate() {
            prop_assert!(*answer == expected(n / times), "{}", n);
        }
        prop_assert!(held.get() <= 2 * window + times * (longest + 50) + 50, "{}", held.get());
    }
}
