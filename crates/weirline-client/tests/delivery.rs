//! What the application sees, and how its slowness reaches the server (R16, R26, R38).

mod common;

use std::time::Duration;

use common::{EPOCH, Net, TestStore, builder, live, message, next, start, world};
use weirline_client::{Cause, Event, EventLimits, LinkState, Offset, PayloadKind, Subscribe};
use weirline_connection::MessageKind;
use weirline_tokio::Message;

#[test]
fn r26_a_subscriber_goes_on_where_it_was() {
    world(async {
        let mut net = Net::new();
        let from = builder().subscribe(Subscribe::After(Offset::ZERO));
        let (_client, mut events, _driver) = start(&net, from, &TestStore::default()).await;
        let (mut peer, opening) = net.opening().await;
        assert_eq!(opening.from, "0");
        peer.answer(0, 0, 9).await;
        live(&mut events).await;
        peer.say("1:one").await;
        peer.handle
            .send(Message::binary(&b"2:\xff"[..]))
            .await
            .expect("open");
        let first = message(&mut events).await;
        assert_eq!((first.kind, &first.payload[..]), (PayloadKind::Text, &b"one"[..]));
        let second = message(&mut events).await;
        assert_eq!(
            (second.kind, &second.payload[..]),
            (PayloadKind::Binary, &b"\xff"[..])
        );
        events.handled(first.position).expect("delivered");
        peer.expect("ACK:1").await;
        peer.say("GAP:3:5:retention").await;
        let Some(Event::Gap(gap)) = next(&mut events).await else {
            panic!("no gap")
        };
        assert_eq!((gap.from.get(), gap.position.offset.get()), (3, 5));
        peer.cut();

        // What is taken in is not asked for again; what is handled is acknowledged again.
        let (mut peer, opening) = net.opening().await;
        assert_eq!(opening.from, format!("5@{EPOCH}"));
        peer.answer(0, 5, 9).await;
        peer.expect("ACK:1").await;
        peer.say("6:six").await;
        assert_eq!(message(&mut events).await.position.offset.get(), 6);
        peer.cut();

        let (peer, opening) = net.opening().await;
        assert_eq!(opening.from, format!("6@{EPOCH}"));
        peer.say("RESUME_FROM:0").await;
        peer.say("RESET:00000000000000cd:4").await;
        let reset = loop {
            if let Event::Reset { taken, position } = events.next().await.expect("an event") {
                break (taken.expect("taken").offset.get(), position);
            }
        };
        assert_eq!((reset.0, reset.1.epoch.get(), reset.1.offset.get()), (6, 0xcd, 4));
    });
}

#[test]
fn a_new_process_goes_on_from_what_was_handled() {
    world(async {
        let mut net = Net::new();
        let store = TestStore::default();
        let (client, mut events, driver) = start(&net, builder(), &store).await;
        let (mut peer, opening) = net.opening().await;
        assert_eq!(opening.from, "head");
        peer.answer(0, 7, 7).await;
        live(&mut events).await;
        for text in ["8:a", "9:b"] {
            peer.say(text).await;
        }
        let first = message(&mut events).await;
        events.handled(first.position).expect("delivered");
        message(&mut events).await;
        peer.expect("ACK:8").await;
        client.close().await;
        driver.await.expect("no panic").expect("closed");

        let (_client, events, _driver) = start(&net, builder(), &store).await;
        let (peer, second) = net.opening().await;
        assert_eq!((second.secret, second.attach), (opening.secret, 2));
        assert_eq!(second.from, format!("8@{EPOCH}"));
        peer.answer(0, 8, 9).await;
        drop(events);
    });
}

#[test]
fn r38_a_slow_application_stops_the_server_and_loses_nothing() {
    const MESSAGES: u64 = 3000;
    world(async {
        let mut net = Net::new();
        let slow = builder().events(EventLimits {
            messages: 10,
            bytes: 1 << 20,
        });
        let (_client, mut events, _driver) = start(&net, slow, &TestStore::default()).await;
        let (peer, _) = net.opening().await;
        peer.answer(0, 0, 0).await;
        live(&mut events).await;
        let sender = peer.handle.clone();
        let sent = tokio::task::spawn_local(async move {
            for n in 1..=MESSAGES {
                sender
                    .send(Message::text(format!("{n}:{}", "x".repeat(100))))
                    .await
                    .expect("open");
            }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(events.depth().0, 10, "the queue is full, and not fuller");
        assert!(!sent.is_finished(), "the server waits");
        for n in 1..=MESSAGES {
            assert_eq!(message(&mut events).await.position.offset.get(), n);
            assert!(events.depth().0 <= 10);
        }
        assert!(sent.is_finished());
    });
}

#[test]
fn a_byte_limit_takes_one_message_of_any_size() {
    world(async {
        let mut net = Net::new();
        let slow = builder().events(EventLimits {
            messages: 10,
            bytes: 1,
        });
        let (_client, mut events, _driver) = start(&net, slow, &TestStore::default()).await;
        let (peer, _) = net.opening().await;
        peer.answer(0, 0, 0).await;
        live(&mut events).await;
        for n in 1..=3 {
            let payload = format!("{n}:{}", "x".repeat(1 << 20));
            peer.handle
                .send(Message {
                    kind: MessageKind::Text,
                    payload: payload.into(),
                })
                .await
                .expect("open");
        }
        for n in 1..=3 {
            let taken = message(&mut events).await;
            assert_eq!((taken.position.offset.get(), taken.payload.len()), (n, 1 << 20));
        }
    });
}

#[test]
fn a_client_whose_queue_is_full_does_not_dial() {
    world(async {
        let mut net = Net::new();
        let slow = builder().events(EventLimits {
            messages: 2,
            bytes: 1 << 20,
        });
        let (_client, mut events, _driver) = start(&net, slow, &TestStore::default()).await;
        let (peer, _) = net.opening().await;
        peer.answer(0, 0, 0).await;
        live(&mut events).await;
        for text in ["1:a", "2:b", "3:c"] {
            peer.say(text).await;
        }
        // Nobody reads, so nobody answers the server's pings: it gives the connection up.
        peer.end().await;
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!((net.dials().len(), events.depth().0), (1, 2));
        assert_eq!(message(&mut events).await.position.offset.get(), 1);
        let (peer, opening) = net.opening().await;
        assert_eq!(opening.from, format!("2@{EPOCH}"));
        peer.answer(0, 2, 3).await;
        peer.say("3:c").await;
        assert_eq!(message(&mut events).await.position.offset.get(), 2);
        assert_eq!(message(&mut events).await.position.offset.get(), 3);
    });
}

#[test]
fn r36_a_server_that_falls_silent_is_found_and_the_stream_goes_on() {
    world(async {
        let mut net = Net::new();
        let (_client, mut events, _driver) = start(&net, builder(), &TestStore::default()).await;
        // The upgrade and the opening by hand, and then nothing more is read: half-open.
        let silent = silent_after_answer(net.stream().await).await;
        live(&mut events).await;
        let begun = tokio::time::Instant::now();
        let Some(Event::Link(LinkState::Down {
            cause: Cause::Lost(why),
        })) = next(&mut events).await
        else {
            panic!("not lost")
        };
        assert!(why.contains("ping"), "{why}");
        // Interval, timeout, and the time that the end of its stream is waited for.
        assert!(
            (begun.elapsed().as_secs_f64() - 42.0).abs() < 0.1,
            "{:?}",
            begun.elapsed()
        );
        let (peer, opening) = net.opening().await;
        assert_eq!((opening.attach, opening.from), (2, format!("0@{EPOCH}")));
        peer.answer(0, 0, 0).await;
        live(&mut events).await;
        drop(silent);
    });
}

async fn silent_after_answer(mut stream: tokio::io::DuplexStream) -> tokio::io::DuplexStream {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_buf(&mut head).await.expect("a request");
    }
    let head = String::from_utf8(head).expect("ASCII");
    let key = head
        .lines()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))
        .expect("a key");
    let accept = weirline_handshake::WebSocketKey::parse(key.as_bytes())
        .expect("a key")
        .accept();
    let mut answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        accept.as_str()
    )
    .into_bytes();
    for text in ["RESUME_FROM:0".to_owned(), format!("RESUMED:0:0@{EPOCH}")] {
        answer.extend_from_slice(&[0x81, u8::try_from(text.len()).expect("short")]);
        answer.extend_from_slice(text.as_bytes());
    }
    // The answers may not come before the opening was sent.
    let (request, answers) = answer.split_at(
        answer
            .windows(4)
            .position(|at| at == b"\r\n\r\n")
            .expect("a head")
            + 4,
    );
    stream.write_all(request).await.expect("room");
    stream
        .read_buf(&mut Vec::with_capacity(4096))
        .await
        .expect("an opening");
    stream.write_all(answers).await.expect("room");
    stream
}
