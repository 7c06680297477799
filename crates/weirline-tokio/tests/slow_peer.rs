//! Slow peers: bounds of what waits to be sent, and what still works meanwhile (R8, R16, R18, R20).

mod common;

use std::time::Duration;

use common::*;
use tokio::io::duplex;
use tokio::task::LocalSet;
use weirline_codec::OpCode;
use weirline_flow::{BreakCause, Strategy};
use weirline_tokio::*;

/// A peer that reads nothing, with the default strategy for sending: 1008 after 2 s, and 1 s for it to read that.
#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_broken_off() {
    for reads_again in [false, true] {
        let (near, far) = duplex(1 << 10);
        let (handle, _inbox, handler) = channel(InboxLimits::default());
        let mut peer = Peer::new(far);
        let started = now();
        let application = async {
            while handle.send(Message::binary(vec![0; 1000])).await.is_ok() {}
            assert_eq!(now() - started, 2 * SECOND, "senders learn of it at once");
        };
        let slow = async {
            if reads_again {
                tokio::time::sleep(Duration::from_millis(2500)).await;
                let mut last = None;
                while let Some(frame) = peer.next().await {
                    last = Some(frame);
                }
                assert_eq!(last.unwrap().opcode, OpCode::Close);
                drop(peer);
            } else {
                tokio::time::sleep(10 * SECOND).await;
            }
        };
        let (end, ..) = tokio::join!(server(near, Config::default(), handler), application, slow);
        let sent = reads_again.then_some(1008);
        assert_eq!(facts(&end), (sent, None, Cause::Backpressure(BreakCause::Late)));
    }
}

/// R19: whatever breaks the connection for back-pressure, its handler may say why before the Close frame.
#[tokio::test(start_paused = true)]
async fn a_break_is_explained_by_its_handler() {
    struct Explains(Option<usize>);
    impl Handler for Explains {
        fn on_event(&mut self, cx: &mut Context<'_>, _: Event<'_>) -> Result<(), HandlerError> {
            match self.0 {
                Some(messages) => {
                    for _ in 0..messages {
                        let _ = cx.send(MessageKind::Binary, &[0; 100]);
                    }
                }
                None => cx.set_reading(false),
            }
            Ok(())
        }

        fn on_break(&mut self, cx: &mut Context<'_>, cause: &Cause) -> Result<(), HandlerError> {
            let text = format!("{cause:?}");
            cx.farewell(Some((MessageKind::Text, text.as_bytes())), "come back")
                .map_err(HandlerError::new)
        }
    }
    let rows = [
        (0, Some(6), Cause::Backpressure(BreakCause::Full)),
        (2, Some(2), Cause::Backpressure(BreakCause::Late)),
        (60, None, Cause::PausedTooLong),
    ];
    for (seconds, messages, cause) in rows {
        let two = masked(OpCode::Text, true, b"go").repeat(2);
        let script = Script::new([Read::Data(two)]).writes([Write::Block]);
        let config = config(|config| config.send_queue.messages = 5);
        let mut driver = Box::pin(server(script.stream(), config, Explains(messages)));
        assert!(cut(&mut driver, 1).await.is_none());
        tokio::time::advance(seconds * SECOND).await;
        assert!(cut(&mut driver, 1).await.is_none());
        script.unblock();
        assert!(cut(&mut driver, 1).await.is_none());
        let frames = decode_all(script.written());
        let [said, close] = &frames[..] else {
            panic!("{cause}: {frames:?}")
        };
        assert_eq!(said.payload, format!("{cause:?}").as_bytes());
        assert_eq!(close.payload[2..], *b"come back");
    }
}

/// A thread that was busy with others for long must not take that for the peers' slowness: what can be written is written
/// before deadlines are judged, and what has come is read before.
#[tokio::test(start_paused = true)]
async fn a_late_driver_does_not_blame_its_peer() {
    // Something waited to be written while nobody could; then the socket has room, the thread does not look for 20 s.
    let script = Script::default().writes([Write::Take(1), Write::Block]);
    let (handle, mut inbox, handler) = channel(InboxLimits::default());
    let mut driver = Box::pin(server(script.stream(), Config::default(), handler));
    assert!(cut(&mut driver, 1).await.is_none());
    for text in ["one", "two", "three"] {
        handle.send(Message::text(text)).await.unwrap();
    }
    assert!(cut(&mut driver, 1).await.is_none());
    script.unblock();
    handle.send(Message::text("four")).await.unwrap();
    tokio::time::advance(20 * SECOND).await;
    assert!(cut(&mut driver, 1).await.is_none());
    assert_eq!(decode_all(script.written()).len(), 4, "all messages left");

    // A ping goes out; its answer is there, but the thread looks for it too late.
    script.state().written.clear();
    tokio::time::advance(11 * SECOND).await;
    assert!(cut(&mut driver, 1).await.is_none());
    let ping = decode_all(script.written()).pop().unwrap();
    assert_eq!(ping.opcode, OpCode::Ping);
    script.push(Read::Data(masked(OpCode::Pong, true, &ping.payload)));
    tokio::time::advance(20 * SECOND).await;
    script.push(Read::Data(masked(OpCode::Text, true, b"alive")));
    assert!(cut(&mut driver, 1).await.is_none(), "the pong counts");
    assert_eq!(
        inbox.recv().await,
        Some(Delivery::Message(Message::text("alive")))
    );
}

/// R18: with the pause strategy senders wait, and at most ten of their messages are under way besides the window.
#[tokio::test(start_paused = true)]
async fn senders_wait_with_pause() {
    let script = Script::default().writes([Write::Block]);
    let (handle, _inbox, handler) = channel(InboxLimits::default());
    let accepted = std::rc::Rc::new(std::cell::Cell::new(0));
    let local = LocalSet::new();
    local
        .run_until(async {
            let config = config(|config| {
                config.send_strategy = Strategy::Pause;
                config.write_stall_timeout = 1000 * SECOND;
                config.ping_interval = None;
            });
            let driver = tokio::task::spawn_local(server(script.stream(), config, handler));
            for n in 0..200u8 {
                let (handle, accepted) = (handle.clone(), accepted.clone());
                tokio::task::spawn_local(async move {
                    handle.send(Message::binary(vec![n; 10_000])).await.unwrap();
                    accepted.set(accepted.get() + 1);
                });
            }
            tokio::time::sleep(100 * SECOND).await;
            assert_eq!(
                accepted.get(),
                7 + 10,
                "7 × 10,000 B reach the window of 64 KiB, ten wait with permits"
            );
            assert!(matches!(
                handle.try_send(Message::text("x")),
                Err(TrySendError::Full(_))
            ));
            script.unblock();
            settle().await;
            assert_eq!(accepted.get(), 200);
            let order: Vec<u8> = decode_all(script.written())
                .iter()
                .map(|frame| frame.payload[0])
                .collect();
            assert_eq!(order, (0..200).collect::<Vec<_>>(), "permits are fair");
            handle.abort();
            driver.await.unwrap();
        })
        .await;
}

/// A message over the queue's byte bound waits for the queue to be empty; it must not cost the connection, nor push others
/// out.
#[tokio::test(start_paused = true)]
async fn a_large_message_behind_small_ones_waits_for_room() {
    let strategies = [Strategy::Pause, Strategy::BREAK, Strategy::DropOldest];
    for (strategy, bytes) in strategies
        .into_iter()
        .flat_map(|strategy| [(strategy, 1 << 20), (strategy, 1000)])
    {
        let (near, far) = duplex(1 << 16);
        let (handle, _inbox, handler) = channel(InboxLimits::default());
        let mut peer = Peer::new(far);
        let application = async {
            for n in 0..5u8 {
                handle.send(Message::binary(vec![n; 100])).await.unwrap();
                handle.send(Message::binary(vec![n; 2 << 20])).await.unwrap();
            }
            handle.close(CloseCode::NORMAL, "");
            let mut received = Vec::new();
            loop {
                let frame = peer.next().await.unwrap();
                match frame.opcode {
                    OpCode::Close => break,
                    OpCode::Binary => received.push((frame.payload[0], frame.payload.len())),
                    _ => received.last_mut().unwrap().1 += frame.payload.len(),
                }
            }
            let expected: Vec<_> = (0..5).flat_map(|n| [(n, 100), (n, 2 << 20)]).collect();
            assert_eq!(received, expected, "{strategy:?}");
            peer.close(1000).await;
            drop(peer);
        };
        let config = config(|config| {
            config.send_strategy = strategy;
            config.send_queue.bytes = bytes;
        });
        let (end, ()) = tokio::join!(server(near, config, handler), application);
        assert_eq!(end.cause, Cause::ClosedLocally, "{strategy:?}");
    }
}

/// R8: also while a large message is being sent, whoever sends it, and however slowly the peer takes it.
#[tokio::test(start_paused = true)]
async fn pings_are_answered_while_a_large_message_is_sent() {
    for echo in [false, true] {
        let script = Script::default().vectored(true);
        let (handle, _inbox, handler) = channel(InboxLimits::default());
        // 1000 bytes each second: 10 s for each fragment, of which the first is under way when the pings come.
        script.state().writes.extend([Write::Take(1000), Write::Block]);
        let application = async {
            if echo {
                let message = masked(OpCode::Binary, true, &[5; 100_000]);
                script.push(Read::Data(message));
            } else {
                handle.send(Message::binary(vec![5; 100_000])).await.unwrap();
            }
            settle().await;
            script.push(Read::Data(masked(OpCode::Ping, true, b"are you there?")));
            for _ in 0..15 {
                tokio::time::sleep(SECOND).await;
                script.state().writes.extend([Write::Take(1000), Write::Block]);
                script.unblock();
            }
            settle().await;
            let mut wire = script.written();
            assert_eq!(wire.len(), 16_000);
            assert!(decode(&mut wire).is_some_and(|frame| frame.opcode == OpCode::Binary && !frame.fin));
            assert!(decode(&mut wire).is_some_and(|frame| frame.opcode == OpCode::Pong));
            handle.abort();
            script.push(Read::Error(std::io::ErrorKind::ConnectionReset));
        };
        let config = config(|config| config.fragment_bytes = 10_000);
        if echo {
            tokio::join!(server(script.stream(), config, Recorder::echo()), application);
        } else {
            tokio::join!(server(script.stream(), config, handler), application);
        }
    }
}

/// Two ends that have both much to say, through a pipe that holds little of it: each reads while it cannot write.
#[tokio::test(start_paused = true)]
async fn two_full_ends_do_not_wait_for_one_another() {
    let (near, far) = duplex(1 << 10);
    let (one, mut inbox1, handler1) = channel(InboxLimits::default());
    let (two, mut inbox2, handler2) = channel(InboxLimits::default());
    let talk = async |handle: &Handle, inbox: &mut Inbox| {
        let sender = async {
            for n in 0..20u8 {
                handle.send(Message::binary(vec![n; 160_000])).await.unwrap();
            }
        };
        let receiver = async {
            for n in 0..20u8 {
                let message = Message::binary(vec![n; 160_000]);
                assert_eq!(inbox.recv().await, Some(Delivery::Message(message)));
            }
        };
        tokio::join!(sender, receiver);
    };
    let application = async {
        tokio::join!(talk(&one, &mut inbox1), talk(&two, &mut inbox2));
        one.close(CloseCode::NORMAL, "");
    };
    let started = now();
    let (end1, end2, ()) = tokio::join!(
        server(near, Config::default(), handler1),
        client(far, Config::default(), handler2),
        application
    );
    assert_eq!(
        (end1.cause, end2.cause),
        (Cause::ClosedLocally, Cause::ClosedByPeer)
    );
    assert_eq!(now(), started);
}
