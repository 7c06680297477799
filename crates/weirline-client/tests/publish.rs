//! R24: the outbox, what is stored before it is sent, and what is known about a message afterwards.

mod common;

use std::rc::Rc;
use std::time::Duration;

use common::{Net, TestStore, builder, live, next, start, world};
use tokio::sync::Semaphore;
use tokio::task::spawn_local;
use weirline_client::{
    ClientBuilder, ClientError, ErrorCode, Event, LinkState, Payload, PayloadLimits, PublishError, Subscribe,
};

fn publisher() -> ClientBuilder {
    builder().subscribe(Subscribe::Nothing)
}

async fn acked(events: &mut weirline_client::Events) -> u64 {
    loop {
        if let Event::Acked(through) = events.next().await.expect("an event") {
            return through.0;
        }
    }
}

#[test]
fn r24_acks_are_cumulative_and_the_rest_is_sent_again() {
    world(async {
        let mut net = Net::new();
        let (client, mut events, _driver) = start(&net, publisher(), &TestStore::default()).await;
        // Before there is a connection.
        for text in ["a", "b", "c", "d"] {
            client.publish(text).await.expect("room");
        }
        let (mut peer, opening) = net.opening().await;
        assert_eq!(opening.from, "none");
        peer.say("RESUME_FROM:0").await;
        for text in ["1:a", "2:b", "3:c", "4:d"] {
            peer.expect(text).await;
        }
        peer.say("ACK:2").await;
        assert_eq!(acked(&mut events).await, 2);
        assert_eq!(client.outbox(), (2, 2));
        peer.cut();
        // While there is none.
        client.publish(&b"\x00\xff"[..]).await.expect("room");

        let (mut peer, opening) = net.opening().await;
        assert_eq!(opening.attach, 2);
        peer.say("RESUME_FROM:3").await;
        assert_eq!(acked(&mut events).await, 3);
        peer.expect("4:d").await;
        peer.expect("5:\0\u{fffd}").await;
        let flushing = spawn_local({
            let client = client.clone();
            async move { client.flush().await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!flushing.is_finished());
        peer.say("ACK:5").await;
        flushing.await.expect("no panic").expect("flushed");
        assert_eq!((client.outbox(), client.given_up()), ((0, 0), 0));
    });
}

#[test]
fn r24_a_full_outbox_makes_publishers_wait_in_order_or_fails() {
    world(async {
        let mut net = Net::new();
        let (client, _events, _driver) =
            start(&net, publisher().outbox(2, 1 << 20), &TestStore::default()).await;
        let (mut peer, _) = net.opening().await;
        peer.say("RESUME_FROM:0").await;
        client.publish("1").await.expect("room");
        client.publish("2").await.expect("room");
        assert!(matches!(client.try_publish("no"), Err(PublishError::Full)));
        let waiting: Vec<_> = ["3", "dropped", "4", "5"]
            .map(|text| {
                let client = client.clone();
                spawn_local(async move { client.publish(text).await.map(|ticket| ticket.0) })
            })
            .into();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(waiting.iter().all(|task| !task.is_finished()));
        // One that waits and is dropped was not published.
        waiting[1].abort();
        for n in 1..=5 {
            peer.expect(&format!("{n}:{n}")).await;
            peer.say(&format!("ACK:{n}")).await;
        }
        let mut tickets = Vec::new();
        for task in waiting {
            tickets.extend(task.await.ok().map(|ticket| ticket.expect("published")));
        }
        assert_eq!(tickets, [3, 4, 5]);
        client.flush().await.expect("acknowledged");
    });
}

#[test]
fn a_large_message_behind_many_small_ones_waits_for_room_on_the_connection() {
    world(async {
        let mut net = Net::new();
        let (client, _events, _driver) = start(&net, publisher(), &TestStore::default()).await;
        // Small ones cost the connection more than their payload, so that the large one fits into the outbox, but not
        // into what the connection takes at once.
        for _ in 0..1000 {
            client.publish("x").await.expect("room");
        }
        let large = "y".repeat((1 << 20) - 2000);
        client.publish(large.as_str()).await.expect("room");
        let (mut peer, _) = net.opening().await;
        peer.say("RESUME_FROM:0").await;
        for n in 1..=1000 {
            peer.expect(&format!("{n}:x")).await;
        }
        peer.expect(&format!("1001:{large}")).await;
    });
}

#[test]
fn r15_a_message_that_no_server_takes_is_refused_at_once() {
    world(async {
        let net = Net::new();
        let limits = PayloadLimits {
            text_bytes_max: 3,
            binary_bytes_max: 4,
        };
        let (client, _events, _driver) =
            start(&net, publisher().payloads(limits), &TestStore::default()).await;
        let check = async |payload: Payload, expect: bool| match client.publish(payload).await {
            Ok(_) => assert!(expect),
            Err(PublishError::TooLarge { .. }) => assert!(!expect),
            Err(other) => panic!("{other}"),
        };
        check("abc".into(), true).await;
        check("abcd".into(), false).await;
        check(vec![0; 4].into(), true).await;
        check(vec![0; 5].into(), false).await;
        assert!(Payload::text(b"\xff"[..].into()).is_err());
    });
}

#[test]
fn what_the_server_does_not_know_any_more_is_uncertain_and_said() {
    world(async {
        let mut net = Net::new();
        let (client, mut events, _driver) = start(&net, publisher(), &TestStore::default()).await;
        let (mut peer, first) = net.opening().await;
        peer.say("RESUME_FROM:0").await;
        client.publish("a").await.expect("room");
        client.publish("b").await.expect("room");
        peer.expect("1:a").await;
        peer.expect("2:b").await;
        peer.say("ACK:1").await;
        assert_eq!(acked(&mut events).await, 1);
        peer.cut();
        let (peer, _) = net.opening().await;
        client.publish("c").await.expect("room");
        peer.say("ERROR:session-unknown:who are you").await;
        peer.close(1008, "session-unknown");
        let uncertain = loop {
            match next(&mut events).await.expect("an event") {
                Event::Uncertain { from, to } => break (from.0, to.0),
                Event::Link(LinkState::Down { .. }) => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(uncertain, (2, 2));
        assert_eq!(next(&mut events).await, Some(Event::SessionRenewed));
        assert_eq!(client.given_up(), 1);
        // What was never sent goes on in the session that follows.
        let (mut peer, renewed) = net.opening().await;
        assert_ne!(renewed.secret, first.secret);
        assert_eq!(renewed.attach, 1);
        peer.say("RESUME_FROM:0").await;
        peer.expect("1:c").await;
        peer.say("ACK:1").await;
        client.flush().await.expect("settled");
    });
}

#[test]
fn refusals_and_losses_are_said_by_name() {
    world(async {
        let mut net = Net::new();
        let (client, mut events, _driver) = start(&net, publisher(), &TestStore::default()).await;
        let (mut peer, _) = net.opening().await;
        peer.say("RESUME_FROM:0").await;
        for text in ["a", "b", "c"] {
            client.publish(text).await.expect("room");
        }
        for text in ["1:a", "2:b", "3:c"] {
            peer.expect(text).await;
        }
        peer.say("ACK:1").await;
        peer.say("ERROR:forbidden:2:not that word").await;
        peer.expect("2:c").await;
        peer.say("ACK:2").await;
        client.flush().await.expect("settled");
        // An acknowledgement does not wait behind other events, so the two may come in either order.
        let (mut through, mut refused) = (0, None);
        while through < 3 || refused.is_none() {
            match next(&mut events).await.expect("an event") {
                Event::Acked(ticket) => through = ticket.0,
                Event::Refused {
                    ticket,
                    code,
                    retried,
                    ..
                } => refused = Some((ticket.0, code, retried)),
                _ => {}
            }
        }
        assert_eq!((through, refused), (3, Some((2, ErrorCode::Forbidden, false))));
        assert_eq!(client.given_up(), 1);
        peer.cut();
        let (peer, _) = net.opening().await;
        peer.say("RESUME_FROM:0").await;
        let lost = loop {
            if let Event::LostAfterAck { from, to } = events.next().await.expect("an event") {
                break (from.get(), to.get());
            }
        };
        assert_eq!(lost, (1, 2));
    });
}

#[test]
fn nothing_is_sent_that_is_not_stored() {
    world(async {
        let mut net = Net::new();
        let gate = Rc::new(Semaphore::new(0));
        let store = TestStore {
            gate: Some(gate.clone()),
            ..TestStore::default()
        };
        let (client, _events, _driver) = start(&net, publisher(), &store).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(net.dials().len(), 0, "no dial before its number is stored");
        gate.add_permits(1);
        let (mut peer, opening) = net.opening().await;
        assert_eq!(store.last().expect("stored").attach.get(), opening.attach);
        peer.say("RESUME_FROM:0").await;
        client.publish("a").await.expect("room");
        let silence = tokio::time::timeout(Duration::from_secs(5), peer.recv()).await;
        assert!(silence.is_err(), "sent before stored: {silence:?}");
        gate.add_permits(2);
        peer.expect("1:a").await;
        assert_eq!(store.last().expect("stored").outbox[0].payload, "a");
    });
}

#[test]
fn a_store_that_fails_ends_the_client() {
    world(async {
        // Before the first dial.
        let net = Net::new();
        let store = TestStore::default();
        store.fails.set(true);
        let (client, _events, driver) = start(&net, publisher(), &store).await;
        assert!(matches!(
            driver.await.expect("no panic"),
            Err(ClientError::Store(_))
        ));
        assert_eq!(net.dials().len(), 0);
        let error = client.publish("a").await.expect_err("ended").to_string();
        assert!(error.contains("the disk is full"), "{error}");

        // While a connection lives: it is closed properly, and nothing unstored has left.
        let mut net = Net::new();
        let store = TestStore::default();
        let (client, mut events, driver) = start(&net, publisher(), &store).await;
        let (mut peer, _) = net.opening().await;
        peer.say("RESUME_FROM:0").await;
        live(&mut events).await;
        client.publish("a").await.expect("room");
        peer.expect("1:a").await;
        store.fails.set(true);
        client.publish("b").await.expect("room");
        assert_eq!(peer.recv().await, None);
        assert_eq!(peer.end().await.received.map(u16::from), Some(1000));
        assert!(matches!(
            driver.await.expect("no panic"),
            Err(ClientError::Store(_))
        ));
        assert_eq!(net.dials().len(), 1);
    });
}

#[test]
fn a_publisher_that_takes_no_events_goes_on() {
    world(async {
        let mut net = Net::new();
        let (client, events, _driver) = start(&net, publisher(), &TestStore::default()).await;
        for round in 0..400 {
            let (mut peer, _) = net.opening().await;
            peer.say(&format!("RESUME_FROM:{round}")).await;
            client.publish("x").await.expect("room");
            peer.expect(&format!("{}:x", round + 1)).await;
            peer.say(&format!("ACK:{}", round + 1)).await;
            client.flush().await.expect("acknowledged");
            tokio::time::sleep(Duration::from_secs(31)).await;
            peer.cut();
        }
        assert_eq!(events.depth(), (0, 0));
    });
}
