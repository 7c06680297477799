//! Law 9: every future of this crate is dropped at every await point, in many orders, and nothing is lost or doubled.

mod common;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use common::*;
use tokio::io::duplex;
use tokio::task::{LocalSet, yield_now};
use weirline_codec::OpCode;
use weirline_handshake::{ClientRequest, UpgradeRequest};
use weirline_tokio::*;

const SENDERS: u8 = 3;
const EACH: u8 = 60;

/// Sends `EACH` messages, each with futures that are dropped after a few polls until one completes.
async fn send_all(handle: Handle, sender: u8, seed: u64) {
    let noise = &mut Noise::new(seed);
    for n in 0..EACH {
        let message = Message::binary(vec![sender, n]);
        loop {
            let polls = u32::try_from(noise.below(3)).unwrap();
            match cut(handle.send(message.clone()), polls).await {
                Some(sent) => break sent.unwrap(),
                None => yield_now().await,
            }
        }
        for _ in 0..noise.below(3) {
            yield_now().await;
        }
    }
}

/// Receives with futures that are dropped after a few polls.
async fn receive_all(mut inbox: Inbox, seed: u64) -> Vec<Delivery> {
    let noise = &mut Noise::new(seed);
    let mut received = Vec::new();
    loop {
        let polls = u32::try_from(noise.below(3)).unwrap();
        if noise.below(2) == 0 {
            match cut(inbox.recv(), polls).await {
                Some(Some(delivery)) => received.push(delivery),
                Some(None) => return received,
                None => yield_now().await,
            }
        } else {
            match cut(inbox.recv_batch(&mut received), polls).await {
                Some(0) => return received,
                Some(_) => {}
                None => yield_now().await,
            }
        }
    }
}

async fn closed(handle: Handle, seed: u64) -> End {
    let noise = &mut Noise::new(seed);
    loop {
        if let Some(end) = cut(handle.closed(), u32::try_from(noise.below(3)).unwrap()).await {
            return end.unwrap();
        }
        yield_now().await;
    }
}

/// Each sender's messages arrive once and in order, whatever was dropped in between.
#[tokio::test(start_paused = true)]
async fn sends_and_receives_may_be_dropped_anywhere() {
    for seed in 0..150 {
        let noise = &mut Noise::new(seed);
        let mut limits = InboxLimits::default();
        limits.queue.messages = 1 + noise.below(8);
        limits.concurrent_sends = 1 + noise.below(4);
        let (near, far) = duplex(1 + noise.below(300));
        let (one, inbox1, handler1) = channel(limits);
        let (two, inbox2, handler2) = channel(limits);
        drop(inbox1);
        let local = LocalSet::new();
        let started = now();
        let (received, end1, end2) = local
            .run_until(async {
                let receiver = tokio::task::spawn_local(receive_all(inbox2, seed));
                let told1 = tokio::task::spawn_local(closed(one.clone(), seed));
                let told2 = tokio::task::spawn_local(closed(two, seed + 1));
                let driver1 = tokio::task::spawn_local(server(near, Config::default(), handler1));
                let senders: Vec<_> = (0..SENDERS)
                    .map(|n| tokio::task::spawn_local(send_all(one.clone(), n, seed * 7 + u64::from(n))))
                    .collect();
                let driver2 = tokio::task::spawn_local(client(far, Config::default(), handler2));
                for sender in senders {
                    sender.await.unwrap();
                }
                one.close(CloseCode::NORMAL, "");
                let ends = (driver1.await.unwrap(), driver2.await.unwrap());
                assert_eq!((told1.await.unwrap(), told2.await.unwrap()), ends, "seed {seed}");
                (receiver.await.unwrap(), ends.0, ends.1)
            })
            .await;
        for sender in 0..SENDERS {
            let numbers: Vec<u8> = received
                .iter()
                .filter_map(|delivery| match delivery {
                    Delivery::Message(message) if message.payload[0] == sender => Some(message.payload[1]),
                    _ => None,
                })
                .collect();
            assert_eq!(
                numbers,
                (0..EACH).collect::<Vec<_>>(),
                "seed {seed}, sender {sender}"
            );
        }
        assert_eq!(received.len(), usize::from(SENDERS) * usize::from(EACH));
        assert_eq!(
            (end1.cause, end2.cause),
            (Cause::ClosedLocally, Cause::ClosedByPeer)
        );
        assert_eq!(now(), started, "no timer was needed: seed {seed}");
    }
}

/// A future that was given a permit and is dropped before it could use it hands it on.
#[tokio::test(start_paused = true)]
async fn a_dropped_send_gives_its_permit_back() {
    let script = Script::default().writes([Write::Block]);
    let (handle, _inbox, handler) = channel(InboxLimits::default());
    let mut driver = Box::pin(server(script.stream(), Config::default(), handler));
    for n in 0..10u8 {
        handle.try_send(Message::binary(vec![n])).unwrap();
    }
    assert!(handle.try_send(Message::text("no permit")).is_err());
    let mut first = Box::pin(handle.send(Message::text("dropped")));
    let second = handle.send(Message::text("sent"));
    assert!(cut(&mut first, 1).await.is_none());
    let mut second = Box::pin(second);
    assert!(cut(&mut second, 1).await.is_none());
    assert!(
        cut(&mut driver, 1).await.is_none(),
        "the driver takes what was sent: permits are free"
    );
    drop(first);
    second.await.unwrap();
    script.unblock();
    assert!(cut(&mut driver, 1).await.is_none());
    let frames = decode_all(script.written());
    assert_eq!(frames.len(), 11);
    assert_eq!(frames[10].payload, b"sent");
}

/// The driver is dropped at every point of its life: the application sees a prefix of the messages, then the end.
#[tokio::test(start_paused = true)]
async fn a_driver_may_be_dropped_anywhere() {
    let wire: Vec<u8> = (0..20u8)
        .flat_map(|n| masked(OpCode::Binary, true, &[n]))
        .collect();
    for polls in 0..60 {
        let reads = wire
            .chunks(5)
            .flat_map(|chunk| [Read::Data(chunk.to_vec()), Read::Yield]);
        let script = Script::new(reads).writes(vec![Write::Take(1); 5]);
        let (handle, inbox, handler) = channel(InboxLimits::default());
        let _ = handle.try_send(Message::text("hello"));
        let driver = server(script.stream(), Config::default(), handler);
        let driver = async {
            tokio::select! { biased; _ = cut(driver, polls) => {}, () = settle() => {} }
        };
        let ((), received, end) = tokio::join!(driver, receive_all(inbox, u64::from(polls)), handle.closed());
        assert_eq!(end, Err(DriverGone));
        let expected: Vec<_> = (0..20u8)
            .map(|n| Delivery::Message(Message::binary(vec![n])))
            .take(received.len())
            .collect();
        assert_eq!(received, expected, "{polls}");
        assert!(script.state().dropped);
        assert!(handle.send(Message::text("x")).await.is_err());
    }
}

/// `accept` and `connect` own their stream: dropped anywhere they close it, and otherwise they come to their end.
#[tokio::test(start_paused = true)]
async fn handshakes_may_be_dropped_anywhere() {
    let request = ClientRequest::new(&"ws://localhost/echo".parse().unwrap(), *b"the sample nonce");
    let answer = Rc::new(RefCell::new(Vec::new()));
    let trickle = |bytes: &[u8]| {
        let reads: Vec<_> = bytes
            .chunks(7)
            .flat_map(|chunk| [Read::Data(chunk.to_vec()), Read::Yield])
            .collect();
        Script::new(reads)
            .writes([Write::Take(9), Write::Yield].repeat(100))
            .flushes([Write::Yield])
    };
    let (mut accepts, mut connects) = (0, 0);
    for polls in 0..200 {
        let script = trickle(&request.encode());
        let decided = Rc::new(Cell::new(0));
        let count = decided.clone();
        let decide = |request: &UpgradeRequest| {
            count.set(count.get() + 1);
            Ok(request.accept())
        };
        let accepted = cut(accept(script.stream(), &AcceptSettings::default(), decide), polls).await;
        assert_eq!(script.state().dropped, accepted.is_none());
        assert!(decided.get() <= 1);
        if let Some(accepted) = accepted {
            assert_eq!(accepted.unwrap().request.path(), "/echo");
            *answer.borrow_mut() = script.written();
            accepts += 1;
        }
    }
    for polls in 0..200 {
        let script = trickle(&answer.borrow());
        let connected = cut(connect(script.stream(), &request, SECOND), polls).await;
        assert_eq!(script.state().dropped, connected.is_none());
        if let Some(connected) = connected {
            connected.unwrap();
            assert_eq!(script.written(), request.encode());
            connects += 1;
        }
    }
    assert!(
        (1..190).contains(&accepts) && (1..190).contains(&connects),
        "{accepts} {connects}"
    );
}
