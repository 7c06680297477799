//! The client against the shipped server: cut at every byte, taken over, restarted.

mod common;

use std::time::Duration;

use common::cut::{Cut, Fault, Server, Side};
use common::{URL, entropy, live, message, next, world};
use weirline_client::{
    Client, ClientBuilder, ClientError, Event, Events, LinkState, MemoryStore, Offset, PublishError, Store,
    Subscribe,
};
use weirline_log::{LogReader as _, ReadLimits, StreamId};

fn builder() -> ClientBuilder {
    ClientBuilder::new(URL)
        .expect("a URL")
        .subscribe(Subscribe::After(Offset::ZERO))
}

/// The whole log of the stream, as text.
fn log(server: &Server) -> Vec<String> {
    let mut entries = Vec::new();
    let limits = ReadLimits {
        messages: 10_000,
        bytes: 1 << 30,
    };
    let stream = StreamId::new("test").expect("a name");
    server
        .log
        .read(&stream, Offset::ZERO, limits, &mut entries)
        .expect("a log in memory");
    entries
        .iter()
        .map(|entry| String::from_utf8_lossy(&entry.payload).into_owned())
        .collect()
}

/// Takes `count` messages, handling each; they must be offsets 1, 2, … (I1, I16: no gap in this log).
async fn take(events: &mut Events, from: u64, count: u64) -> Vec<String> {
    let mut seen = Vec::new();
    for n in from..from + count {
        let message = message(events).await;
        assert_eq!(message.position.offset.get(), n);
        events.handled(message.position).expect("delivered");
        seen.push(String::from_utf8_lossy(&message.payload).into_owned());
    }
    seen
}

/// One client publishes and reads over connections that are cut as told; everything must arrive once and in order.
fn check_cuts(cuts: [Cut; 2], volatile: bool) -> usize {
    const MESSAGES: u64 = 6;
    world(async move {
        let server = Server::start(3);
        let connector = server.connector(cuts);
        let store = common::TestStore {
            volatile,
            ..common::TestStore::default()
        };
        let built = builder().build(connector.clone(), store, entropy(5)).await;
        let (client, mut events, driver) = built.expect("a client");
        let driver = tokio::task::spawn_local(driver.run());
        let publishing = async {
            for n in 1..=MESSAGES {
                client
                    .publish(format!("{n}-{}", "x".repeat(20)))
                    .await
                    .expect("taken");
                tokio::task::yield_now().await;
            }
            client.flush().await.expect("acknowledged");
        };
        let ((), seen) = tokio::join!(publishing, take(&mut events, 1, MESSAGES));
        let expect: Vec<_> = (1..=MESSAGES)
            .map(|n| format!("{n}-{}", "x".repeat(20)))
            .collect();
        assert_eq!(log(&server), expect, "published once and in order: {cuts:?}");
        assert_eq!(seen, expect, "delivered once and in order: {cuts:?}");
        assert_eq!(client.given_up(), 0);
        client.close().await;
        driver.await.expect("no panic").expect("closed");
        connector.struck()
    })
}

#[test]
fn i22_a_cut_at_any_byte_loses_and_repeats_nothing() {
    const FAULTS: [Fault; 3] = [Fault::Rst, Fault::Fin, Fault::Silence];
    // The request and the answer of the upgrade have some 250 bytes, the exchange behind them some 400 each way.
    let mut struck = 0;
    for at in 0..700 {
        for side in [Side::Up, Side::Down] {
            let first = Cut {
                side,
                at,
                fault: FAULTS[at % 3],
            };
            let other = if side == Side::Up { Side::Down } else { Side::Up };
            let second = Cut {
                side: other,
                at: (at * 7 + 100) % 700,
                fault: FAULTS[at / 3 % 3],
            };
            struck += check_cuts([first, second], at % 2 == 0);
        }
    }
    // A cut behind the last byte of a short exchange does not happen.
    assert!(struck > 1400, "{struck}");
}

#[test]
fn i12_of_two_holders_of_a_session_exactly_one_is_superseded() {
    async fn holder(
        server: &Server,
        state: weirline_client::ClientState,
        seed: u64,
    ) -> (Client, Events, Holder) {
        let built = builder()
            .build(server.connector([]), MemoryStore::from(state), entropy(seed))
            .await;
        let (client, events, driver) = built.expect("a client");
        (client, events, tokio::task::spawn_local(driver.run()))
    }
    type Holder = tokio::task::JoinHandle<Result<(), ClientError>>;
    // The second begins with the first, or when it is live.
    for later in [false, true] {
        world(async move {
            let server = Server::start(4);
            let mut store = MemoryStore::default();
            let built = builder()
                .build(server.connector([]), &mut store, entropy(1))
                .await;
            let (client, mut events, driver) = built.expect("a client");
            let first = async {
                client.publish("one").await.expect("taken");
                client.flush().await.expect("acknowledged");
                live(&mut events).await;
                client.close().await;
            };
            let (ended, ()) = tokio::join!(driver.run(), first);
            ended.expect("closed");
            let state = store.load().await.expect("memory").expect("saved");

            // Both go on from one state, so both dial with the same number.
            let (one, mut one_events, one_ends) = holder(&server, state.clone(), 10).await;
            if later {
                live(&mut one_events).await;
            }
            let (two, mut two_events, two_ends) = holder(&server, state.clone(), 20).await;
            tokio::time::sleep(Duration::from_secs(120)).await;
            let over = [one_ends.is_finished(), two_ends.is_finished()];
            assert_eq!(over.iter().filter(|over| **over).count(), 1, "{over:?}");
            let (loser, loser_ends, winner, winner_ends) = if over[0] {
                (one, one_ends, two, two_ends)
            } else {
                (two, two_ends, one, one_ends)
            };
            assert!(matches!(
                loser_ends.await.expect("no panic"),
                Err(ClientError::Superseded)
            ));
            let late = loser.publish("late").await;
            assert!(matches!(late, Err(PublishError::Ended(ClientError::Superseded))));
            winner.publish("won").await.expect("taken");
            winner.flush().await.expect("acknowledged");
            winner.close().await;
            winner_ends.await.expect("no panic").expect("closed");
            while one_events.next().await.is_some() {}
            while two_events.next().await.is_some() {}
            assert_eq!(log(&server), ["one", "won"]);
        });
    }
}

/// The first holder is still connected when a second one, with a higher number, takes over.
#[test]
fn i12_a_higher_attach_supersedes_a_live_holder() {
    world(async {
        let server = Server::start(4);
        let store = common::TestStore::default();
        let start = async |seed| {
            let built = builder()
                .build(server.connector([]), store.clone(), entropy(seed))
                .await;
            let (client, events, driver) = built.expect("a client");
            (client, events, tokio::task::spawn_local(driver.run()))
        };
        let (client, mut events, ends) = start(1).await;
        live(&mut events).await;
        // What is acknowledged was stored, so the second holder has the same session.
        client.publish("first").await.expect("taken");
        client.flush().await.expect("acknowledged");
        let (other, mut other_events, _other_ends) = start(2).await;
        live(&mut other_events).await;
        assert!(matches!(
            ends.await.expect("no panic"),
            Err(ClientError::Superseded)
        ));
        // The one that was superseded leaves the store to its successor.
        let attaches: Vec<_> = store.saved.borrow().iter().map(|state| state.attach).collect();
        assert!(attaches.is_sorted(), "{attaches:?}");
        other.publish("won").await.expect("taken");
        other.flush().await.expect("acknowledged");
        assert_eq!(log(&server), ["first", "won"]);
    });
}

#[test]
fn a_restart_of_a_log_in_memory_is_a_reset_and_the_stream_goes_on() {
    world(async {
        let server = Server::start(5);
        let connector = server.connector([]);
        let built = builder()
            .build(connector.clone(), MemoryStore::default(), entropy(6))
            .await;
        let (client, mut events, driver) = built.expect("a client");
        let driver = tokio::task::spawn_local(driver.run());
        for text in ["a", "b"] {
            client.publish(text).await.expect("taken");
        }
        client.flush().await.expect("acknowledged");
        assert_eq!(take(&mut events, 1, 2).await, ["a", "b"]);
        server.stop().await;
        let Some(Event::Link(LinkState::Down { cause })) = next(&mut events).await else {
            panic!("not down")
        };
        assert!(cause.to_string().contains("1001"), "{cause}");
        // Published in between, never sent.
        client.publish("c").await.expect("taken");
        let server = Server::start(50);
        connector.redirect(&server);
        let mut news = Vec::new();
        let first = loop {
            match next(&mut events).await.expect("an event") {
                Event::Message(message) => break message,
                Event::Link(_) | Event::Acked(_) => {}
                event => news.push(event),
            }
        };
        // The session is unknown, nothing is uncertain, and the log is another one.
        let [
            Event::SessionRenewed,
            Event::Reset {
                taken: Some(taken),
                position,
            },
        ] = &news[..]
        else {
            panic!("{news:?}")
        };
        assert_eq!((taken.offset.get(), position.offset.get()), (2, 0));
        assert_ne!(taken.epoch, position.epoch);
        assert_eq!(
            (first.position.epoch, first.position.offset.get()),
            (position.epoch, 1)
        );
        client.flush().await.expect("acknowledged");
        assert_eq!((log(&server), client.given_up()), (vec!["c".to_owned()], 0));
        client.close().await;
        driver.await.expect("no panic").expect("closed");
    });
}
