//! Law 9, point by point: each public future is dropped after each number of polls, right away or when it was woken again, while
//! everything around it runs in an order drawn by a seed. What is polled only when it was woken also shows lost wake-ups.

mod common;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use common::*;
use tokio::io::{AsyncReadExt as _, duplex};
use tokio::net::{TcpListener, TcpStream};
use weirline_handshake::{ClientRequest, Rejection, UpgradeRequest};
use weirline_tokio::*;

/// Which future is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Send,
    Recv,
    RecvBatch,
    Closed,
    Driver,
}

const VICTIMS: [Victim; 5] = [
    Victim::Send,
    Victim::Recv,
    Victim::RecvBatch,
    Victim::Closed,
    Victim::Driver,
];

const SEEDS: u64 = 25;
const MESSAGES: u8 = 9;
/// The message whose `send`, or the delivery whose `recv`, is dropped.
const CHOSEN: u8 = 4;

#[test]
fn what_is_dropped_is_not_done_and_what_is_not_dropped_is_done() {
    let runtime = paused();
    let _timers = runtime.enter();
    for victim in VICTIMS {
        let polls = if victim == Victim::Driver { 40 } else { 6 };
        let mut outcomes = BTreeSet::new();
        for when in drops(polls) {
            for seed in 0..SEEDS {
                outcomes.insert(exchange(victim, when, seed));
            }
        }
        assert_eq!(outcomes.len(), 2, "{victim:?}: some were dropped, some were done");
    }
}

/// Two ends: two tasks send through clones of one handle, one receives. Returns whether the victim was dropped.
fn exchange(victim: Victim, when: When, seed: u64) -> bool {
    let about = format!("{victim:?} {when:?}");
    let noise = &mut Noise::new(seed);
    let mut limits = InboxLimits::default();
    limits.queue.messages = 1 + noise.below(4);
    limits.concurrent_sends = 1 + noise.below(3);
    let (near, far) = duplex(1 + noise.below(200));
    let (handle, inbox, handler) = channel(limits);
    let (other_handle, other_inbox, other_handler) = channel(limits);
    let cut = Cell::new(false);
    let received = RefCell::new(Vec::new());
    let ends = RefCell::new(Vec::new());

    let mut world = Shuffle::default();
    let senders = std::rc::Rc::new(Cell::new(2));
    for sender in [0, 1] {
        let (handle, senders, cut) = (handle.clone(), senders.clone(), &cut);
        world.task(format!("sender {sender}"), async move {
            for n in 0..MESSAGES {
                let sending = handle.send(Message::binary(vec![sender, n]));
                if (victim, sender, n) == (Victim::Send, 0, CHOSEN) {
                    cut.set(dropped(sending, when).await.map(Result::unwrap).is_none());
                } else if sending.await.is_err() {
                    assert!(victim == Victim::Driver && cut.get());
                }
            }
            senders.set(senders.get() - 1);
            if senders.get() == 0 {
                handle.close(CloseCode::NORMAL, "");
            }
        });
    }
    world.task("driver", async {
        let driver = server(near, Config::default(), handler);
        let when = if victim == Victim::Driver {
            when
        } else {
            When::Polled(u32::MAX)
        };
        if dropped(driver, when).await.is_none() {
            cut.set(true);
        }
    });
    world.task("other driver", async {
        client(far, Config::default(), other_handler).await;
    });
    world.task("receiver", receive(other_inbox, victim, when, &cut, &received));
    for (number, handle) in [(1, handle.clone()), (2, handle.clone()), (3, other_handle)] {
        let (cut, ends) = (&cut, &ends);
        world.task(format!("waits for the end {number}"), async move {
            if victim == Victim::Closed && number == 1 {
                cut.set(dropped(handle.closed(), when).await.is_none());
            }
            let end = handle.closed().await;
            assert_eq!(handle.closed().await, end, "told again");
            ends.borrow_mut().push(end);
        });
    }
    drop((handle, inbox));
    world.run_at_once(seed, &about);

    check(
        victim,
        cut.get(),
        &received.take(),
        &ends.take(),
        &format!("{about}, seed {seed}"),
    );
    cut.get()
}

async fn receive(
    mut inbox: Inbox,
    victim: Victim,
    when: When,
    cut: &Cell<bool>,
    received: &RefCell<Vec<(u8, u8)>>,
) {
    let mut count = 0;
    loop {
        let mut batch = Vec::new();
        let mut over = false;
        match victim {
            Victim::Recv if count == CHOSEN => match dropped(inbox.recv(), when).await {
                Some(delivery) => batch.extend(delivery),
                None => cut.set(true),
            },
            Victim::RecvBatch if count == CHOSEN => {
                cut.set(dropped(inbox.recv_batch(&mut batch), when).await.is_none());
                assert!(!cut.get() || batch.is_empty(), "dropped before it was ready");
            }
            Victim::RecvBatch => over = inbox.recv_batch(&mut batch).await == 0,
            _ => {
                let delivery = inbox.recv().await;
                over = delivery.is_none();
                batch.extend(delivery);
            }
        }
        count += 1;
        received
            .borrow_mut()
            .extend(batch.into_iter().map(|delivery| match delivery {
                Delivery::Message(message) => (message.payload[0], message.payload[1]),
                other => panic!("{other:?}"),
            }));
        if over {
            return;
        }
    }
}

fn check(victim: Victim, cut: bool, received: &[(u8, u8)], ends: &[Result<End, DriverGone>], about: &str) {
    let driver_is_gone = victim == Victim::Driver && cut;
    for sender in [0, 1] {
        let of_sender = received.iter().filter(|(from, _)| *from == sender);
        let numbers: Vec<u8> = of_sender.map(|(_, n)| *n).collect();
        let mut expected: Vec<u8> = (0..MESSAGES).collect();
        if victim == Victim::Send && cut && sender == 0 {
            expected.retain(|n| *n != CHOSEN);
        }
        if driver_is_gone {
            expected.truncate(numbers.len());
        }
        assert_eq!(numbers, expected, "sender {sender}: {about}");
    }
    let [one, two, three] = ends else {
        panic!("{ends:?}: {about}");
    };
    let causes = [one, two, three].map(|end| end.clone().map(|end| end.cause));
    if driver_is_gone {
        // The other end meets the end of the stream: in the open, or in the middle of its answer to our Close, or behind it.
        assert_eq!(
            causes.iter().filter(|cause| **cause == Err(DriverGone)).count(),
            2,
            "{about}"
        );
        let mut others = causes.iter().flatten();
        let understood =
            others.all(|cause| matches!(cause, Cause::EndOfStream | Cause::ClosedByPeer | Cause::Io(_)));
        assert!(understood, "{causes:?}: {about}");
    } else {
        assert!(causes.contains(&Ok(Cause::ClosedLocally)), "{causes:?}: {about}");
        assert!(causes.contains(&Ok(Cause::ClosedByPeer)), "{causes:?}: {about}");
    }
}

/// `accept` and `connect` own their stream: dropped anywhere they close it, and the request is judged at most once. With a refusal
/// too, which is written and then waits for the peer.
#[tokio::test(start_paused = true)]
async fn handshakes_close_their_stream() {
    let request = ClientRequest::new(&"ws://localhost/echo".parse().unwrap(), *b"the sample nonce");
    for refuse in [false, true] {
        let mut outcomes = BTreeSet::new();
        for when in drops(60) {
            for dial in [false, true] {
                let (near, far) = duplex(16);
                let judged = Cell::new(0);
                let decide = |request: &UpgradeRequest| {
                    judged.set(judged.get() + 1);
                    if refuse {
                        return Err(Rejection::forbidden("no"));
                    }
                    Ok(request.accept())
                };
                let settings = AcceptSettings::default();
                let accepting = async {
                    let accepting = accept(near, &settings, decide);
                    let limit = if dial { When::Polled(u32::MAX) } else { when };
                    dropped(accepting, limit).await.map(|accepted| accepted.is_ok())
                };
                let connecting = async {
                    let connecting = connect(far, &request, 10 * SECOND);
                    let limit = if dial { when } else { When::Polled(u32::MAX) };
                    dropped(connecting, limit)
                        .await
                        .map(|connected| connected.is_ok())
                };
                let started = now();
                let (accepted, connected) = tokio::join!(accepting, connecting);
                assert!(judged.get() <= 1, "{when:?}");
                assert_eq!(
                    now(),
                    started,
                    "the other end learns of it without a timer: {when:?}"
                );
                let (dropped, other) = if dial {
                    (connected, accepted)
                } else {
                    (accepted, connected)
                };
                if dropped.is_some() {
                    assert_eq!((dropped, other), (Some(!refuse), Some(!refuse)), "{when:?}");
                }
                outcomes.insert((dial, dropped.is_none()));
            }
        }
        assert_eq!(
            outcomes.len(),
            4,
            "each was dropped and each was done: {outcomes:?}"
        );
    }
}

/// A listener whose `accept` is dropped keeps the stream for the next one.
#[tokio::test]
async fn a_dropped_accept_of_a_listener_loses_no_stream() {
    for when in drops(3) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Listener::local_addr(&listener).unwrap();
        // The first is dropped while nobody has dialled; then streams wait, and each is there after another drop.
        let _ = dropped(Listener::accept(&listener), When::Polled(1)).await;
        let mut dialed = Vec::new();
        for _ in 0..5 {
            dialed.push(TcpStream::connect(address).await.unwrap().local_addr().unwrap());
        }
        let mut accepted = Vec::new();
        while accepted.len() < dialed.len() {
            match dropped(Listener::accept(&listener), when).await {
                Some(stream) => accepted.push(stream.unwrap().1),
                None => accepted.push(Listener::accept(&listener).await.unwrap().1),
            }
        }
        assert_eq!(accepted, dialed, "{when:?}");
    }
}

/// A connector whose `connect` is dropped leaves no socket behind: whoever accepted it reads the end.
#[tokio::test]
async fn a_dropped_connect_of_a_connector_leaves_no_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = Listener::local_addr(&listener).unwrap().port();
    let mut finished = BTreeSet::new();
    for when in drops(4) {
        let connected = dropped(TcpConnector.connect("127.0.0.1", port), when).await;
        finished.insert(connected.is_some());
        drop(connected);
        // A stream that certainly comes, so that nobody waits for one that never did.
        let mark = TcpConnector.connect("127.0.0.1", port).await.unwrap();
        loop {
            let (mut stream, peer) = Listener::accept(&listener).await.unwrap();
            if peer == mark.local_addr().unwrap() {
                break;
            }
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "{when:?}");
        }
    }
    assert_eq!(finished.len(), 2, "some were dropped, some were done");
}
