//! How connections end: closing handshakes, ends of streams, failures, and what each side learns of it (R23, R35).

mod common;

use common::*;
use tokio::io::{AsyncWriteExt, duplex};
use tokio::task::LocalSet;
use weirline_codec::OpCode;
use weirline_tokio::*;

#[tokio::test(start_paused = true)]
async fn simultaneous_close() {
    let (near, far) = duplex(1024);
    let (one, _inbox1, handler1) = channel(InboxLimits::default());
    let (two, _inbox2, handler2) = channel(InboxLimits::default());
    one.close(CloseCode::GOING_AWAY, "one");
    two.close(CloseCode::NORMAL, "two");
    let late = one.try_send(Message::text("late"));
    assert!(
        matches!(late, Err(TrySendError::Closed(_))),
        "although nobody has seen the close yet"
    );
    let started = now();
    let (end1, end2) = tokio::join!(
        server(near, Config::default(), handler1),
        client(far, Config::default(), handler2)
    );
    assert_eq!(facts(&end1), (Some(1001), Some(1000), Cause::ClosedLocally));
    assert_eq!(facts(&end2), (Some(1000), Some(1001), Cause::ClosedLocally));
    assert_eq!(now(), started, "nobody waited for a timer");
}

/// uWebSockets.js PR 1306: `close()` right after `send()` lost the message.
#[tokio::test(start_paused = true)]
async fn close_is_behind_everything_that_was_sent() {
    let (near, far) = duplex(100);
    let (handle, _inbox, handler) = channel(InboxLimits::default());
    let (_other, mut inbox, other_handler) = channel(InboxLimits::default());
    let application = async {
        for n in 0u8..50 {
            handle.send(Message::binary(vec![n; 300])).await.unwrap();
        }
        handle.close(CloseCode::NORMAL, "done");
        let refused = handle.send(Message::text("late")).await.unwrap_err();
        assert_eq!(refused.0, Message::text("late"), "the message comes back");
        handle.closed().await.unwrap()
    };
    let reader = async {
        let mut received = Vec::new();
        while inbox.recv_batch(&mut received).await > 0 {}
        received
    };
    let (end, other_end, told, received) = tokio::join!(
        client(near, Config::default(), handler),
        server(far, Config::default(), other_handler),
        application,
        reader
    );
    let expected: Vec<_> = (0u8..50)
        .map(|n| Delivery::Message(Message::binary(vec![n; 300])))
        .collect();
    assert_eq!(received, expected);
    assert_eq!(facts(&end), (Some(1000), Some(1000), Cause::ClosedLocally));
    assert_eq!(facts(&other_end), (Some(1000), Some(1000), Cause::ClosedByPeer));
    assert_eq!((told, inbox.end()), (end, Some(other_end)));
}

#[tokio::test(start_paused = true)]
async fn dropping_all_handles_and_the_inbox_closes_with_1000() {
    for order in 0..2 {
        let (near, far) = duplex(1024);
        let (handle, inbox, handler) = channel(InboxLimits::default());
        let second = handle.clone();
        let mut peer = Peer::new(far);
        // A task of its own: only what wakes it lets it run.
        let local = LocalSet::new();
        let driver = local.spawn_local(server(near, Config::default(), handler));
        let application = async {
            handle.send(Message::text("last words")).await.unwrap();
            settle().await;
            if order == 0 {
                drop((handle, second));
                settle().await;
                drop(inbox);
            } else {
                drop((inbox, second));
                settle().await;
                drop(handle);
            }
            assert_eq!(peer.next().await.unwrap().payload, b"last words");
            assert_eq!(peer.next_close().await, Some(1000));
            peer.close(1000).await;
            assert_eq!(peer.next().await, None);
            drop(peer);
            driver.await.unwrap()
        };
        let started = now();
        let end = local.run_until(application).await;
        assert_eq!(facts(&end), (Some(1000), Some(1000), Cause::ClosedLocally));
        assert_eq!(now(), started, "at once");
    }
}

/// tungstenite PR 393: who only reads never sent the pong, and was cut.
#[tokio::test(start_paused = true)]
async fn while_the_inbox_lives_the_connection_does() {
    let (near, far) = duplex(1024);
    let (handle, mut inbox, handler) = channel(InboxLimits::default());
    drop(handle);
    let mut peer = Peer::new(far);
    let application = async {
        for _ in 0..10 {
            let ping = peer.next().await.unwrap();
            assert_eq!(ping.opcode, OpCode::Ping, "keepalive");
            peer.send(OpCode::Pong, &ping.payload).await;
            peer.send(OpCode::Ping, b"mine").await;
            assert_eq!(peer.next().await.unwrap().payload, b"mine");
        }
        peer.send(OpCode::Text, b"hello").await;
        assert_eq!(
            inbox.recv().await,
            Some(Delivery::Message(Message::text("hello")))
        );
        peer.close(1000).await;
        assert_eq!(peer.next_close().await, Some(1000));
        assert_eq!(inbox.end(), None, "the stream has not ended");
        drop(peer);
        assert_eq!(inbox.recv().await, None);
    };
    let (end, ()) = tokio::join!(server(near, Config::default(), handler), application);
    assert_eq!(facts(&end), (Some(1000), Some(1000), Cause::ClosedByPeer));
}

type Facts = (Option<u16>, Option<u16>, Cause);

/// What the peer writes, whether it ends its stream behind it, what comes of that, and after how many seconds.
fn peers() -> Vec<(&'static str, Vec<u8>, bool, Facts, u32)> {
    let close = masked(OpCode::Close, true, &close_payload(4000));
    let empty_close = masked(OpCode::Close, true, b"");
    let text = masked(OpCode::Text, true, b"hi");
    let cut_off = text[..text.len() - 1].to_vec();
    let bad = unmasked(OpCode::Text, true, b"hi");
    let closed = (Some(4000), Some(4000), Cause::ClosedByPeer);
    let ended = (None, None, Cause::EndOfStream);
    let failed = (Some(1002), None, Cause::Protocol(ProtocolError::NotMasked));
    vec![
        ("Close and FIN", close.clone(), true, closed.clone(), 0),
        ("Close without FIN", close.clone(), false, closed.clone(), 2),
        (
            "Close, then noise, and FIN",
            [close, bad.repeat(200_000)].concat(),
            true,
            closed,
            0,
        ),
        (
            "Close without a code",
            empty_close,
            true,
            (None, None, Cause::ClosedByPeer),
            0,
        ),
        ("FIN without Close", text, true, ended.clone(), 0),
        ("FIN inside a frame", cut_off, true, ended.clone(), 0),
        ("FIN at once", vec![], true, ended, 0),
        ("unmasked", bad.clone(), true, failed.clone(), 0),
        ("unmasked, and stays", bad.clone(), false, failed.clone(), 2),
        ("unmasked, and goes on", bad.repeat(200_000), true, failed, 0),
    ]
}

#[tokio::test(start_paused = true)]
async fn what_a_peer_can_do_and_what_it_leads_to() {
    for (name, wire, fin, expected, seconds) in peers() {
        let script = Script::new([Read::Data(wire)]);
        if fin {
            script.push(Read::Eof);
        }
        let started = now();
        let end = server(script.stream(), Config::default(), Recorder::new()).await;
        assert_eq!(facts(&end), expected, "{name}");
        assert_eq!(now() - started, seconds * SECOND, "{name}");
        assert!(script.state().shut_down, "{name}: our end is sent too");
        assert_eq!(end.close_received, name.starts_with("Close"), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_answers_a_close_is_given_up() {
    for eof in [false, true] {
        let script = Script::default();
        let (handle, _inbox, handler) = channel(InboxLimits::default());
        handle.close(CloseCode::NORMAL, "bye");
        if eof {
            script.push(Read::Eof);
        }
        let started = now();
        let end = server(script.stream(), Config::default(), handler).await;
        let (cause, after) = if eof {
            (Cause::EndOfStream, 0)
        } else {
            (Cause::CloseTimeout, 5)
        };
        assert_eq!(
            (facts(&end), now() - started),
            ((Some(1000), None, cause), after * SECOND)
        );
        assert_eq!(handle.closed().await, Ok(end));
    }
}

/// The peer has said Close and ended its direction: what we accepted before is still written, as fast as it reads.
#[tokio::test(start_paused = true)]
async fn writing_goes_on_behind_the_peers_close_and_end() {
    let (near, mut far) = duplex(1 << 10);
    let (handle, _inbox, handler) = channel(InboxLimits::default());
    let application = async {
        handle.send(Message::binary(vec![7; 200_000])).await.unwrap();
        settle().await; // the driver has it, and the pipe is full
        far.write_all(&masked(OpCode::Close, true, &close_payload(1001)))
            .await
            .unwrap();
        far.shutdown().await.unwrap();
        settle().await;
        let mut peer = Peer::new(far);
        let mut received = Vec::new();
        loop {
            let frame = peer.next().await.unwrap();
            if frame.opcode == OpCode::Close {
                break;
            }
            received.extend(frame.payload);
        }
        assert_eq!(received, vec![7; 200_000]);
        assert_eq!(peer.next().await, None);
    };
    let (end, ()) = tokio::join!(server(near, Config::default(), handler), application);
    assert_eq!(facts(&end), (Some(1001), Some(1001), Cause::ClosedByPeer));
}

/// A peer whose direction has ended may still read. It must not take a Close for the end of all that was accepted, where what
/// waited in the channel was given up.
#[tokio::test(start_paused = true)]
async fn no_close_follows_messages_that_the_end_of_the_stream_cost() {
    for close_first in [true, false] {
        let (near, mut far) = duplex(100);
        let (handle, _inbox, handler) = channel(InboxLimits::default());
        let application = async {
            for n in 0..8 {
                handle.send(Message::binary(vec![n; 300])).await.unwrap();
            }
            if close_first {
                handle.close(CloseCode::NORMAL, "all is said");
            }
            settle().await; // the window and the pipe are full, the rest waits in the channel
            far.shutdown().await.unwrap();
            settle().await;
            handle.close(CloseCode::NORMAL, "all is said");
            let mut peer = Peer::new(far);
            let mut frames = Vec::new();
            while let Some(frame) = peer.next().await {
                frames.push(frame.opcode);
            }
            assert!((2..8).contains(&frames.len()), "{frames:?}");
            assert!(!frames.contains(&OpCode::Close), "{frames:?}");
        };
        let config = config(|config| config.send_window_bytes = 500);
        let (end, ()) = tokio::join!(server(near, config, handler), application);
        assert_eq!(facts(&end), (None, None, Cause::EndOfStream));
    }
}

#[tokio::test(start_paused = true)]
async fn abort_says_nothing_to_the_peer() {
    let (near, far) = duplex(1024);
    let (handle, mut inbox, handler) = channel(InboxLimits::default());
    let mut peer = Peer::new(far);
    let application = async {
        settle().await;
        handle.abort();
        assert_eq!(handle.closed().await.unwrap().cause, Cause::Aborted);
        assert_eq!(inbox.recv().await, None);
        assert!(handle.send(Message::text("x")).await.is_err());
    };
    let driver = server(near, Config::default(), handler);
    let (end, ()) = tokio::join!(driver, application);
    assert_eq!(facts(&end), (None, None, Cause::Aborted));
    assert_eq!(peer.next().await, None);
}

/// The transport fails at different moments.
#[tokio::test(start_paused = true)]
async fn errors_of_the_stream() {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
    let text = masked(OpCode::Text, true, b"hi");
    let close = masked(OpCode::Close, true, &close_payload(1000));
    let check = async |script: Script, expected: Cause, messages: usize| {
        let recorder = Recorder::echo();
        let seen = recorder.seen.clone();
        let end = server(script.stream(), Config::default(), recorder).await;
        assert_eq!(end.cause, expected, "{script:?}");
        let seen = seen.borrow();
        let count = seen
            .iter()
            .filter(|seen| matches!(seen, Seen::Message(_)))
            .count();
        assert_eq!(
            (count, seen.last()),
            (messages, Some(&Seen::End(expected))),
            "{script:?}"
        );
    };
    check(
        Script::new([Read::Error(ConnectionReset)]),
        Cause::Io(ConnectionReset),
        0,
    )
    .await;
    let reset_behind_text = Script::new([Read::Data(text.clone()), Read::Error(ConnectionReset)]);
    check(reset_behind_text, Cause::Io(ConnectionReset), 1).await;
    let after_both_closes = Script::new([
        Read::Data(close.clone()),
        Read::Yield,
        Read::Error(ConnectionReset),
    ]);
    check(after_both_closes, Cause::ClosedByPeer, 0).await;
    for step in [Write::Error(BrokenPipe), Write::Zero] {
        let cause = if matches!(step, Write::Zero) {
            std::io::ErrorKind::WriteZero
        } else {
            BrokenPipe
        };
        check(
            Script::new([Read::Data(text.clone())]).writes([step]),
            Cause::Io(cause),
            1,
        )
        .await;
    }
    let flush_fails = Script::new([Read::Data(text.clone())]).flushes([Write::Error(BrokenPipe)]);
    check(flush_fails, Cause::Io(BrokenPipe), 1).await;
}

/// What the peer said before it was gone is heard, although a write has failed meanwhile (R9).
#[tokio::test(start_paused = true)]
async fn a_failed_write_does_not_hide_what_was_received() {
    let script = Script::new([]).writes([Write::Block, Write::Error(std::io::ErrorKind::BrokenPipe)]);
    let (handle, mut inbox, handler) = channel(InboxLimits::default());
    let application = async {
        handle.send(Message::text("blocked")).await.unwrap();
        settle().await;
        // Both at once, as when a peer closes with bytes of ours unread: the driver sees the broken write first.
        let texts = (0..20).map(|n| Read::Data(masked(OpCode::Text, true, format!("{n}").as_bytes())));
        script.state().reads.extend(texts);
        let close = masked(OpCode::Close, true, &close_payload(4321));
        script.state().reads.push_back(Read::Data(close));
        script.unblock();
        for n in 0..20 {
            let text = Message::text(n.to_string());
            assert_eq!(inbox.recv().await, Some(Delivery::Message(text)));
        }
        assert_eq!(inbox.recv().await, None);
    };
    let (end, ()) = tokio::join!(server(script.stream(), Config::default(), handler), application);
    assert_eq!(
        facts(&end),
        (None, Some(4321), Cause::Io(std::io::ErrorKind::BrokenPipe))
    );
}

/// Endless input does not keep a connection alive that can no longer be written to.
#[tokio::test(start_paused = true)]
async fn a_failed_write_ends_the_connection_also_under_input() {
    let text = masked(OpCode::Text, true, b"more");
    let reads = std::iter::repeat_n(Read::Data(text), 1000);
    let script = Script::new(reads).writes([Write::Error(std::io::ErrorKind::BrokenPipe)]);
    let end = server(script.stream(), Config::default(), Recorder::echo()).await;
    assert_eq!(end.cause, Cause::Io(std::io::ErrorKind::BrokenPipe));
    assert!(script.state().reads.len() > 900, "{}", script.state().reads.len());
}

/// The peer's last messages are ahead of its Close: a full inbox must not be thrown away for a quick end. Whoever wants
/// that drops the inbox; whoever drains it gets everything.
#[tokio::test(start_paused = true)]
async fn closing_with_a_full_inbox_waits_for_the_application() {
    for action in ["drains", "drops", "nothing"] {
        let (near, far) = duplex(1 << 16);
        let mut limits = InboxLimits::default();
        limits.queue.messages = 2;
        let (handle, inbox, handler) = channel(limits);
        let mut inbox = Some(inbox);
        let mut peer = Peer::new(far);
        let application = async {
            for n in 0..10u8 {
                peer.send(OpCode::Binary, &[n]).await;
            }
            settle().await;
            handle.close(CloseCode::NORMAL, "");
            assert_eq!(peer.next_close().await, Some(1000));
            peer.close(1000).await;
            let mut received = Vec::new();
            match action {
                "drains" => while inbox.as_mut().unwrap().recv_batch(&mut received).await > 0 {},
                "drops" => inbox = None,
                _ => {}
            }
            if action == "nothing" {
                let end = handle.closed().await.unwrap();
                assert_eq!(end.cause, Cause::CloseTimeout);
                while inbox.as_mut().unwrap().recv_batch(&mut received).await > 0 {}
                assert_eq!(received.len(), 3, "the two that were queued, and the one in hand");
            } else {
                assert_eq!(peer.next().await, None);
            }
            assert_eq!(
                received.len(),
                match action {
                    "drains" => 10,
                    "drops" => 0,
                    _ => 3,
                }
            );
            drop(peer);
        };
        let (end, ()) = tokio::join!(server(near, Config::default(), handler), application);
        let expected = if action == "nothing" {
            (Some(1000), None, Cause::CloseTimeout)
        } else {
            (Some(1000), Some(1000), Cause::ClosedLocally)
        };
        assert_eq!(facts(&end), expected, "{action}");
    }
}
