//! Slow applications: the three strategies, exact counts, and what still works meanwhile (R8, R9, R16, R20).

mod common;

use common::*;
use tokio::io::duplex;
use tokio::task::LocalSet;
use weirline_codec::OpCode;
use weirline_flow::{Strategy, Tally};
use weirline_tokio::*;

fn inbox_of(messages: usize, strategy: Strategy) -> InboxLimits {
    let mut limits = InboxLimits::default();
    limits.queue.messages = messages;
    limits.strategy = strategy;
    limits
}

fn number(n: u32) -> Vec<u8> {
    n.to_be_bytes().to_vec()
}

fn numbered(n: u32) -> Delivery {
    Delivery::Message(Message::binary(number(n)))
}

/// Pause: the driver stops reading, the pipe fills, the peer waits; afterwards nothing is missing.
#[tokio::test(start_paused = true)]
async fn pause_stops_the_peer_and_loses_nothing() {
    for batches in [false, true] {
        let (near, far) = duplex(256);
        let (handle, mut inbox, handler) = channel(inbox_of(10, Strategy::Pause));
        let mut peer = Peer::new(far);
        let sent = std::cell::Cell::new(0);
        let producer = async {
            for n in 0..500 {
                peer.send(OpCode::Binary, &number(n)).await;
                sent.set(n + 1);
            }
            peer.close(1000).await;
            assert_eq!(peer.next_close().await, Some(1000));
            drop(peer);
        };
        let application = async {
            settle().await;
            let stopped_at = sent.get();
            assert!(stopped_at < 100, "{stopped_at}");
            tokio::time::sleep(30 * SECOND).await;
            assert_eq!(
                sent.get(),
                stopped_at,
                "no time-out while the application is busy"
            );
            let mut received = Vec::new();
            if batches {
                while inbox.recv_batch(&mut received).await > 0 {
                    settle().await;
                }
            } else {
                while let Some(delivery) = inbox.recv().await {
                    received.push(delivery);
                }
            }
            assert_eq!(received, (0..500).map(numbered).collect::<Vec<_>>());
        };
        let (end, ..) = tokio::join!(server(near, Config::default(), handler), producer, application);
        assert_eq!(end.cause, Cause::ClosedByPeer);
        drop(handle);
    }
}

/// The message that had to wait is received as soon as there is room, whatever else happens or does not.
#[tokio::test(start_paused = true)]
async fn the_message_that_waited_arrives_without_another_event() {
    let script = Script::new([Read::Data(masked(OpCode::Binary, true, &number(7)).repeat(3))]);
    let (_handle, mut inbox, handler) = channel(inbox_of(1, Strategy::Pause));
    let application = async {
        settle().await;
        for _ in 0..3 {
            // The last two find the inbox empty, and wait for the driver to bring what it holds.
            assert_eq!(inbox.recv().await, Some(numbered(7)));
        }
        script.push(Read::Eof);
    };
    let started = now();
    tokio::join!(server(script.stream(), Config::default(), handler), application);
    assert_eq!(now(), started);
}

/// No turn of the driver for a message that it does not wait for.
#[tokio::test(start_paused = true)]
async fn receiving_wakes_the_driver_only_when_it_waits() {
    let script = Script::new([Read::Data(masked(OpCode::Binary, true, b"x").repeat(100))]);
    let (_handle, mut inbox, handler) = channel(InboxLimits::default());
    let driver = Counted::new(server(script.stream(), Config::default(), handler));
    let polls = driver.polls.clone();
    let local = LocalSet::new();
    let driver = local.spawn_local(driver);
    let application = async {
        settle().await;
        let before = *polls.borrow();
        for _ in 0..100 {
            inbox.recv().await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(*polls.borrow(), before);
        script.push(Read::Eof);
        driver.await.unwrap();
    };
    local.run_until(application).await;
}

#[tokio::test(start_paused = true)]
async fn an_application_that_never_reads_ends_with_1008_after_pause_max() {
    let (near, far) = duplex(1 << 16);
    let (_handle, mut inbox, handler) = channel(inbox_of(2, Strategy::Pause));
    let mut peer = Peer::new(far);
    let started = now();
    let application = async {
        for n in 0..5 {
            peer.send(OpCode::Binary, &number(n)).await;
        }
        assert_eq!(peer.next_close().await, Some(1008));
        assert_eq!(now() - started, 60 * SECOND);
        drop(peer);
        // R9: what was taken from the peer still arrives.
        let mut received = Vec::new();
        while inbox.recv_batch(&mut received).await > 0 {}
        assert_eq!(received, [0, 1, 2].map(numbered));
    };
    let (end, ()) = tokio::join!(server(near, Config::default(), handler), application);
    assert_eq!(facts(&end), (Some(1008), None, Cause::PausedTooLong));
}

/// uWebSockets 1056: the number of dropped messages was wrong, and nobody was told.
#[tokio::test(start_paused = true)]
async fn drop_oldest_tells_exactly_what_is_missing_and_where() {
    for seed in 0..50 {
        let noise = &mut Noise::new(seed);
        let (near, far) = duplex(1 << 12);
        let (_handle, mut inbox, handler) = channel(inbox_of(1 + noise.below(20), Strategy::DropOldest));
        let mut peer = Peer::new(far);
        let bursts: Vec<usize> = (0..20).map(|_| noise.below(60)).collect();
        let total: usize = bursts.iter().sum();
        let application = async {
            let (mut next, mut dropped) = (0, 0);
            let mut check = |delivery: Delivery| match delivery {
                Delivery::Message(message) => {
                    assert_eq!(*message.payload, *number(next), "seed {seed}");
                    next += 1;
                }
                Delivery::Dropped(Tally { messages, bytes }) => {
                    assert!(messages > 0);
                    assert_eq!(bytes, messages * (4 + 64), "each with its overhead");
                    next += u32::try_from(messages).unwrap();
                    dropped += messages;
                }
                other => panic!("{other:?}"),
            };
            let mut n = 0;
            for burst in bursts {
                for _ in 0..burst {
                    peer.send(OpCode::Binary, &number(n)).await;
                    n += 1;
                }
                settle().await;
                for _ in 0..noise.below(15) {
                    if let Some(delivery) = cut(inbox.recv(), 1).await {
                        check(delivery.unwrap());
                    }
                }
            }
            peer.close(1000).await;
            assert_eq!(peer.next_close().await, Some(1000));
            drop(peer);
            while let Some(delivery) = inbox.recv().await {
                check(delivery);
            }
            assert_eq!(next as usize, total, "received and told of: seed {seed}");
            dropped
        };
        let (_, dropped) = tokio::join!(server(near, Config::default(), handler), application);
        assert!(dropped > 0 || seed != 0, "the case must arise");
    }
}

#[tokio::test(start_paused = true)]
async fn break_closes_with_1008_when_the_inbox_is_full() {
    let (near, far) = duplex(1 << 16);
    let (_handle, mut inbox, handler) = channel(inbox_of(3, Strategy::BREAK));
    let mut peer = Peer::new(far);
    let application = async {
        for n in 0..10 {
            peer.send(OpCode::Binary, &number(n)).await;
        }
        assert_eq!(peer.next_close().await, Some(1008));
        drop(peer);
        let mut received = Vec::new();
        while inbox.recv_batch(&mut received).await > 0 {}
        assert_eq!(received, [0, 1, 2].map(numbered), "what was queued before");
    };
    let (end, ()) = tokio::join!(server(near, Config::default(), handler), application);
    assert_eq!(facts(&end), (Some(1008), None, Cause::ClosedLocally));
}

/// R20: the oldest message has waited 2 s. The driver must not spin until the peer has gone.
#[tokio::test(start_paused = true)]
async fn break_closes_with_1008_when_the_application_is_late_and_sleeps_meanwhile() {
    let (near, far) = duplex(1 << 16);
    let (_handle, _inbox, handler) = channel(inbox_of(1000, Strategy::BREAK));
    let mut peer = Peer::new(far);
    let driver = Counted::new(server(near, Config::default(), handler));
    let polls = driver.polls.clone();
    let local = LocalSet::new();
    let driver = local.spawn_local(driver);
    let application = async {
        // Idle for long: an empty queue is never late.
        assert_eq!(peer.next().await.unwrap().opcode, OpCode::Ping);
        peer.send(OpCode::Binary, b"waits").await;
        let started = now();
        assert_eq!(peer.next_close().await, Some(1008));
        assert_eq!(now() - started, 2 * SECOND);
        // The peer stays for a second: the driver has nothing to do.
        settle().await;
        let before = *polls.borrow();
        tokio::time::sleep(SECOND).await;
        assert!(*polls.borrow() - before < 5, "{}", *polls.borrow() - before);
        drop(peer);
        driver.await.unwrap()
    };
    let end = local.run_until(application).await;
    assert_eq!(facts(&end), (Some(1008), None, Cause::ClosedLocally));
}

/// R9: the driver is dropped, and what it had taken from the peer is received all the same.
#[tokio::test(start_paused = true)]
async fn what_is_queued_survives_the_driver() {
    let (near, far) = duplex(1 << 16);
    let (handle, mut inbox, handler) = channel(inbox_of(2, Strategy::Pause));
    let mut peer = Peer::new(far);
    for n in 0..5 {
        peer.send(OpCode::Binary, &number(n)).await;
    }
    let mut driver = Box::pin(server(near, Config::default(), handler));
    assert!(cut(&mut driver, 1).await.is_none());
    let waiting = handle.closed();
    drop(driver);
    assert_eq!(waiting.await, Err(DriverGone));
    assert!(handle.send(Message::text("x")).await.is_err());
    assert!(matches!(
        handle.try_send(Message::text("x")),
        Err(TrySendError::Closed(_))
    ));
    for n in 0..3 {
        assert_eq!(inbox.recv().await, Some(numbered(n)));
    }
    assert_eq!((inbox.recv().await, inbox.end()), (None, None));
    assert_eq!(peer.next().await, None, "the stream is dropped");
}

/// R8: pings are answered while the application neither reads nor writes. Two cases make that impossible by design: a
/// handler (or a full inbox with the pause strategy) that has stopped reading, where the ping stands in line behind data
/// that nobody takes; and a peer that does not read our pongs.
#[tokio::test(start_paused = true)]
async fn pings_are_answered_while_the_application_sleeps() {
    let ping = masked(OpCode::Ping, true, b"?");
    let text = masked(OpCode::Text, true, b"!");
    let wire = [ping, text].concat().repeat(4);
    for (room, answered) in [(1, 3), (2, 4), (5000, 4)] {
        let script = Script::new([Read::Data(wire.clone())]);
        let (_handle, mut inbox, handler) = channel(inbox_of(room, Strategy::Pause));
        let driver = server(script.stream(), Config::default(), handler);
        let application = async {
            settle().await;
            let pongs = decode_all(script.written());
            assert!(
                pongs
                    .iter()
                    .all(|frame| frame.opcode == OpCode::Pong && frame.payload == b"?")
            );
            assert_eq!(pongs.len(), answered, "room for {room}");
            inbox.recv().await.unwrap();
            settle().await;
            assert_eq!(decode_all(script.written()).len(), 4, "as soon as there is room");
            script.push(Read::Eof);
        };
        tokio::join!(driver, application);
    }
}

/// A handler stops reading in the middle of a batch: no event comes until it wants one, then all in order.
#[tokio::test(start_paused = true)]
async fn set_reading_in_the_middle_of_a_batch_keeps_the_rest() {
    struct Gate {
        seen: std::rc::Rc<std::cell::RefCell<Vec<u32>>>,
        rest: Rest,
    }
    impl Handler for Gate {
        fn on_event(&mut self, cx: &mut Context<'_>, event: Event<'_>) -> Result<(), HandlerError> {
            if let Event::Message { payload, .. } = event {
                self.seen
                    .borrow_mut()
                    .push(u32::from_be_bytes((*payload).try_into().unwrap()));
                self.rest.begin(cx);
            }
            Ok(())
        }

        fn poll_work(
            &mut self,
            cx: &mut Context<'_>,
            _: &mut std::task::Context<'_>,
        ) -> Result<(), HandlerError> {
            self.rest.poll_work(cx);
            Ok(())
        }

        fn next_wake(&self) -> Option<std::time::Instant> {
            self.rest.next_wake()
        }
    }
    let wire: Vec<u8> = (0..40)
        .flat_map(|n| masked(OpCode::Binary, true, &number(n)))
        .collect();
    let (first, second) = wire.split_at(133);
    let script = Script::new([Read::Data(first.to_vec()), Read::Data(second.to_vec()), Read::Eof]);
    let seen = std::rc::Rc::default();
    let gate = Gate {
        seen: std::rc::Rc::clone(&seen),
        rest: Rest::default(),
    };
    let started = now();
    let end = server(script.stream(), Config::default(), gate).await;
    assert_eq!(end.cause, Cause::EndOfStream);
    assert_eq!(*seen.borrow(), (0..40).collect::<Vec<_>>());
    assert_eq!(now() - started, 39 * SECOND, "one at a time");
}
