//! How a client ends, and what a dropped future costs: nothing (law 9).

mod common;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use common::{Net, Tcp, TestStore, builder, entropy, live, message, start, world};
use tokio::task::spawn_local;
use weirline_client::{ClientError, Event, EventLimits, PublishError};

/// Polls a future at most `polls` times, then gives up and drops it.
struct Polls<F> {
    future: Pin<Box<F>>,
    polls: usize,
}

fn polls<F: Future>(polls: usize, future: F) -> Polls<F> {
    Polls {
        future: Box::pin(future),
        polls,
    }
}

impl<F: Future> Future for Polls<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            return Poll::Ready(None);
        }
        self.polls -= 1;
        match self.future.as_mut().poll(task) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.polls == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[test]
fn the_last_handle_closes_the_connection_properly() {
    world(async {
        let mut net = Net::new();
        let (client, mut events, driver) = start(&net, builder(), &TestStore::default()).await;
        let (mut peer, _) = net.opening().await;
        peer.answer(0, 0, 0).await;
        live(&mut events).await;
        let other = client.clone();
        drop(client);
        drop(events);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!driver.is_finished(), "a handle lives");
        drop(other);
        assert_eq!(peer.recv().await, None);
        assert_eq!(peer.end().await.received.map(u16::from), Some(1000));
        driver.await.expect("no panic").expect("closed");
    });
}

#[test]
fn close_ends_a_client_in_every_state() {
    #[derive(Clone, Copy, Debug)]
    enum State {
        Dialing,
        Upgrading,
        Opening,
        Live,
        /// The application is slow, so that nothing is read.
        Full,
        Waiting,
        FullAndCut,
    }
    world(async {
        use State::{Dialing, Full, FullAndCut, Live, Opening, Upgrading, Waiting};
        for state in [Dialing, Upgrading, Opening, Live, Full, Waiting, FullAndCut] {
            let mut net = Net::new();
            net.tcp(match state {
                Dialing => Tcp::Silent,
                Waiting => Tcp::Refused,
                _ => Tcp::Open,
            });
            let slow = builder().events(EventLimits {
                messages: 2,
                bytes: 1 << 20,
            });
            let (client, mut events, driver) = start(&net, slow, &TestStore::default()).await;
            let (mut stream, mut peer) = (None, None);
            match state {
                Dialing | Waiting => tokio::time::sleep(Duration::from_millis(100)).await,
                Upgrading => stream = Some(net.stream().await),
                _ => peer = Some(net.opening().await.0),
            }
            if let (Live | Full | FullAndCut, Some(peer)) = (state, &peer) {
                peer.answer(0, 0, 0).await;
                live(&mut events).await;
                for n in 1..=5 {
                    peer.say(&format!("{n}:x")).await;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                if matches!(state, FullAndCut) {
                    peer.cut();
                    tokio::time::sleep(Duration::from_secs(100)).await;
                }
            }
            let before = tokio::time::Instant::now();
            assert!(matches!(client.close().await, ClientError::Closed), "{state:?}");
            driver.await.expect("no panic").expect("closed");
            assert!(
                before.elapsed() < Duration::from_millis(100),
                "{state:?}: {:?}",
                before.elapsed()
            );
            if let (Opening | Live | Full, Some(peer)) = (state, peer) {
                assert_eq!(peer.end().await.received.map(u16::from), Some(1000), "{state:?}");
            }
            assert!(matches!(
                client.publish("x").await,
                Err(PublishError::Ended(ClientError::Closed))
            ));
            while events.next().await.is_some() {}
            drop(stream);
        }
    });
}

/// An application that closes as soon as it cannot publish must learn that it was refused, not that it has closed.
#[test]
fn a_refusal_outlasts_a_close_that_follows_it() {
    world(async {
        for answered in [false, true] {
            let mut net = Net::new();
            let (client, mut events, driver) = start(&net, builder(), &TestStore::default()).await;
            let (peer, _) = net.opening().await;
            if answered {
                peer.answer(0, 0, 0).await;
                live(&mut events).await;
            }
            peer.say("ERROR:forbidden:not you").await;
            let refused = loop {
                match client.try_publish("x") {
                    Ok(_) => tokio::task::yield_now().await,
                    Err(error) => break error,
                }
            };
            // The closing handshake is still under way.
            assert!(!driver.is_finished());
            let ends = [
                match refused {
                    PublishError::Ended(why) => why,
                    other => panic!("{other}"),
                },
                client.close().await,
                driver.await.expect("no panic").expect_err("refused"),
            ];
            for why in ends {
                assert!(matches!(why, ClientError::Rejected { .. }), "{why}");
            }
        }
    });
}

#[test]
fn a_dropped_driver_is_a_typed_error_for_every_handle() {
    world(async {
        let mut net = Net::new();
        let (client, mut events, driver) = start(&net, builder().outbox(1, 100), &TestStore::default()).await;
        let (peer, _) = net.opening().await;
        peer.answer(0, 0, 0).await;
        live(&mut events).await;
        peer.say("1:x").await;
        client.publish("a").await.expect("room");
        let waits = |client: weirline_client::Client| spawn_local(async move { client.publish("b").await });
        let (first, second) = (waits(client.clone()), waits(client.clone()));
        let flushing = spawn_local({
            let client = client.clone();
            async move { client.flush().await }
        });
        let closing = spawn_local({
            let client = client.clone();
            async move { client.ended().await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        driver.abort();
        for waiting in [first, second] {
            let ended = waiting.await.expect("no panic");
            assert!(
                matches!(ended, Err(PublishError::Ended(ClientError::DriverDropped))),
                "{ended:?}"
            );
        }
        assert!(matches!(
            flushing.await.expect("no panic"),
            Err(ClientError::DriverDropped)
        ));
        assert!(matches!(
            closing.await.expect("no panic"),
            ClientError::DriverDropped
        ));
        // What was delivered can still be taken.
        message(&mut events).await;
        assert_eq!(events.next().await, None);
    });
}

#[test]
fn a_driver_that_never_ran_ends_its_handles() {
    world(async {
        let net = Net::new();
        let built = builder()
            .build(net.connector.clone(), TestStore::default(), entropy(1))
            .await;
        let (client, mut events, driver) = built.expect("a client");
        drop(driver);
        assert!(matches!(client.ended().await, ClientError::DriverDropped));
        assert_eq!(events.next().await, None);
    });
}

#[test]
fn dropped_futures_of_the_handles_lose_nothing() {
    world(async {
        for n in 0..6 {
            let mut net = Net::new();
            let small = builder().outbox(1, 100);
            let (client, mut events, _driver) = start(&net, small, &TestStore::default()).await;
            let (mut peer, _) = net.opening().await;
            peer.answer(0, 0, 0).await;
            live(&mut events).await;
            // Each future is dropped after n polls, and made again until it is ready.
            let mut published = 0;
            for round in 1..=10_u64 {
                peer.say(&format!("{round}:in")).await;
                let mut batch = Vec::new();
                while !batch.iter().any(|event| matches!(event, Event::Message(_))) {
                    if polls(n, events.next_batch(&mut batch, 1)).await.is_none() {
                        // With no poll nothing can happen.
                        batch.extend(polls(n + 1, events.next()).await.flatten());
                        tokio::task::yield_now().await;
                    }
                }
                let Some(Event::Message(taken)) =
                    batch.iter().find(|event| matches!(event, Event::Message(_)))
                else {
                    panic!()
                };
                assert_eq!(taken.position.offset.get(), round);
                while published < round {
                    let text = format!("out{round}");
                    match polls(n, client.publish(text.as_str())).await {
                        Some(ticket) => published = ticket.expect("taken").0,
                        None if n == 0 => published = client.publish(text.as_str()).await.expect("taken").0,
                        None => tokio::task::yield_now().await,
                    }
                }
                assert_eq!(published, round);
                peer.expect(&format!("{round}:out{round}")).await;
                peer.say(&format!("ACK:{round}")).await;
                while polls(n + 1, client.flush()).await.is_none() {
                    tokio::task::yield_now().await;
                }
                assert_eq!(client.outbox().0, 0);
            }
            // A dropped close has been asked for.
            if polls(n, client.close()).await.is_none() && n == 0 {
                let _ = polls(1, client.close()).await;
            }
            assert_eq!(peer.recv().await, None);
            assert_eq!(peer.end().await.received.map(u16::from), Some(1000));
        }
    });
}

/// The driver is dropped after each number of polls; a client made from what the store has goes on.
#[test]
fn a_dropped_driver_leaves_a_store_that_another_client_goes_on_from() {
    const MESSAGES: u64 = 8;
    world(async {
        let mut taken_by_some_first = std::collections::BTreeSet::new();
        for n in 0..60 {
            let mut net = Net::new();
            let store = TestStore::default();
            let built = builder()
                .build(net.connector.clone(), store.clone(), entropy(1000 + n))
                .await;
            let (client, events, driver) = built.expect("a client");
            for message in 1..=MESSAGES {
                client.publish(message.to_string()).await.expect("room");
            }
            let polls_max = usize::try_from(n).expect("small");
            let running = spawn_local(polls(polls_max, driver.run()));
            // A server that counts what it takes, as PROTOCOL.md says; nothing is answered by the driver's polls alone.
            let mut server = Counting::default();
            let patience = Duration::from_secs(5);
            while let Ok(peer) = tokio::time::timeout(patience, net.accept_any()).await {
                server.serve(peer).await;
            }
            running.abort();
            let taken_by_first = server.taken.len();
            drop((client, events));

            let stored = store.last().map_or(0, |state| state.outbox.len());
            let (client, _events, _driver) = start(&net, builder(), &store).await;
            // What was not stored was not sent either; the application publishes it again.
            if stored == 0 && taken_by_first == 0 {
                for message in 1..=MESSAGES {
                    client.publish(message.to_string()).await.expect("room");
                }
            }
            while server.taken.len() < usize::try_from(MESSAGES).expect("small") {
                server.serve(net.accept_any().await).await;
            }
            let expect: Vec<_> = (1..=MESSAGES).map(|message| message.to_string()).collect();
            assert_eq!(
                server.taken, expect,
                "dropped after {n} polls, {taken_by_first} taken before"
            );
            taken_by_some_first.insert(taken_by_first);
        }
        // The drops fell before anything was sent and after everything was.
        let reached = (taken_by_some_first.first(), taken_by_some_first.last());
        assert_eq!(reached, (Some(&0), Some(&8)), "{taken_by_some_first:?}");
    });
}

/// Takes publishes of sessions, each number once.
#[derive(Default)]
struct Counting {
    taken: Vec<String>,
    secret: Option<String>,
    attach: u64,
    count: u64,
}

impl Counting {
    /// One connection, until it ends or is silent for a second.
    async fn serve(&mut self, peer: Option<common::Peer>) {
        let Some(mut peer) = peer else { return };
        let Some(opening) = peer.try_opening().await else {
            return;
        };
        if self.secret.as_ref() != Some(&opening.secret) {
            assert_eq!(opening.attach, 1, "an unknown session begins with attach 1");
            assert!(
                self.count == 0,
                "a session that was published to is not forgotten"
            );
            self.secret = Some(opening.secret);
            self.attach = 0;
        }
        assert!(
            opening.attach > self.attach,
            "I11: attach numbers rise, also over processes"
        );
        self.attach = opening.attach;
        if peer
            .try_say(&format!("RESUME_FROM:{}", self.count))
            .await
            .is_none()
            || peer
                .try_say(&format!("RESUMED:0:0@{}", common::EPOCH))
                .await
                .is_none()
        {
            return;
        }
        let second = Duration::from_secs(1);
        while let Ok(Some(text)) = tokio::time::timeout(second, peer.recv()).await {
            if text.starts_with("ACK:") {
                continue;
            }
            let (seq, payload) = text.split_once(':').expect("n:payload");
            let seq: u64 = seq.parse().expect("a number");
            assert!(seq <= self.count + 1, "a number is skipped");
            if seq == self.count + 1 {
                self.count = seq;
                self.taken.push(payload.to_owned());
            }
            let _ = peer.try_say(&format!("ACK:{}", self.count)).await;
        }
    }
}

/// The driver of a client over TCP may be given to any executor.
#[test]
fn the_driver_can_be_sent() {
    async fn build() -> impl Send {
        let builder = weirline_client::ClientBuilder::new(common::URL).expect("a URL");
        let store = weirline_client::MemoryStore::default();
        let built = builder
            .build(weirline_client::TcpConnector, store, entropy(1))
            .await;
        built.expect("a client").2.run()
    }
    world(async { drop(build().await) });
}
