//! Consumers that are slow: by credit, by policy, and because they do not read.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use weirline_log::MemoryConfig;
use weirline_resume::SessionEvent;
use weirline_resume::wire::{Form, GapReason};

use crate::FORMS;
use crate::client::{Client, START, Way};
use crate::common::{Server, config, run};
use crate::peer::{Got, Peer, hello_new, number};

async fn publish(server: &Server, name: &str, count: u64, payload: &str) {
    let mut publisher = Client::new(Form::Binary, Way::Header);
    publisher.dial(server).await;
    for _ in 0..count {
        publisher.publish(name, payload);
        publisher.until_acked().await;
    }
}

/// I14: with so much credit comes so much, and not one more; one subscription without any stops no other.
#[test]
fn delivery_keeps_to_the_credit() {
    for form in FORMS {
        run(async move {
            let server = Server::start(config());
            publish(&server, "s", 20, "x").await;
            publish(&server, "t", 1, "y").await;
            let sub = r#"{"sub":1,"stream":"s","after":0,"messages":3},{"sub":2,"stream":"t","after":0}"#;
            let mut peer = Peer::open_saying(&server, form, &hello_new(sub)).await;
            peer.expect_type("welcome").await;
            let (mut offsets, mut other) = (Vec::new(), 0);
            for limit in [3, 4, 9, 20] {
                if limit > 3 {
                    peer.say(&format!(
                        r#"{{"t":"credit","sub":1,"bytes":9007199254740991,"messages":{limit}}}"#
                    ))
                    .await;
                }
                // The PONG comes behind everything that the server had to say.
                sleep(Duration::from_millis(10)).await;
                peer.say(&format!(r#"{{"t":"ping","echo":{limit}}}"#)).await;
                loop {
                    let heard = peer.hear().await;
                    if heard.contains(r#""t":"data","sub":1"#) {
                        offsets.push(number(&heard, "offset"));
                    } else if heard.contains(r#""t":"data","sub":2"#) {
                        other += 1;
                    } else if heard.contains(r#""t":"pong""#) {
                        break;
                    }
                }
                assert_eq!(offsets, (1..=limit).collect::<Vec<_>>());
                assert_eq!(other, 1);
            }
        });
    }
}

/// FLOW from the client holds one subscription, or all.
#[test]
fn a_client_holds_and_goes_on() {
    for form in FORMS {
        run(async move {
            let server = Server::start(config());
            let sub = r#"{"sub":1,"stream":"s","after":0},{"sub":2,"stream":"t","after":0}"#;
            let mut peer = Peer::open_saying(&server, form, &hello_new(sub)).await;
            for name in ["welcome", "subok", "subok"] {
                peer.expect_type(name).await;
            }
            peer.say(r#"{"t":"flow","sub":1,"state":"pause","reason":"busy"}"#)
                .await;
            publish(&server, "s", 1, "x").await;
            publish(&server, "t", 1, "y").await;
            peer.expect(&[r#"{"t":"data","sub":2,"offset":1,"prev":0,"text":"y"}"#])
                .await;
            peer.say(r#"{"t":"flow","state":"pause","reason":"busy"}"#).await;
            peer.say(r#"{"t":"flow","sub":1,"state":"resume"}"#).await;
            publish(&server, "t", 1, "z").await;
            peer.say(r#"{"t":"ping","echo":1}"#).await;
            peer.expect_type("pong").await;
            peer.say(r#"{"t":"flow","state":"resume"}"#).await;
            let mut heard = [peer.hear().await, peer.hear().await];
            heard.sort();
            assert_eq!(
                heard,
                [
                    r#"{"t":"data","sub":1,"offset":1,"prev":0,"text":"x"}"#,
                    r#"{"t":"data","sub":2,"offset":2,"prev":1,"text":"z"}"#,
                ]
            );
        });
    }
}

/// R19, R20: without credit for two seconds a `break` subscription ends its connection, with FLOW before the close.
#[test]
fn a_consumer_that_is_to_break_is_told_and_breaks() {
    for form in FORMS {
        run(async move {
            let server = Server::start(config());
            let sub = r#"{"sub":1,"stream":"s","after":0,"policy":"break","messages":1}"#;
            let mut peer = Peer::open_saying(&server, form, &hello_new(sub)).await;
            peer.expect_type("welcome").await;
            peer.expect_type("subok").await;
            publish(&server, "s", 2, "x").await;
            let begun = Instant::now();
            peer.expect_type("data").await;
            peer.expect(&[r#"{"t":"flow","sub":1,"state":"pause","reason":"slow-consumer"}"#])
                .await;
            assert_eq!(begun.elapsed().as_secs(), 2);
            let closed = peer.hear().await;
            assert!(
                closed.starts_with("1008 Backpressure: downstream saturated; resume=1; after="),
                "{closed}"
            );
        });
    }
}

/// R20: a peer that does not read is broken off, hears why when it reads again, and goes on where it was. Meanwhile others lack nothing.
#[test]
fn a_peer_that_does_not_read_is_broken_off() {
    for form in FORMS {
        run(async move {
            let server = Server::start(config());
            let payload = "x".repeat(40_000);
            let sub = r#"{"sub":1,"stream":"s","after":0}"#;
            let value = crate::peer::value(form, &hello_new(sub));
            let fields = [
                ("Sec-WebSocket-Protocol", form.subprotocol()),
                ("Weirline-Attach", &value),
            ];
            let mut peer = Peer::open_over(server.dial(4 << 10).await, form, &fields).await;
            peer.expect_type("welcome").await;
            peer.expect_type("subok").await;
            let mut quick = Client::new(form, Way::Header);
            quick.subscribe("s", START);
            quick.dial(&server).await;
            publish(&server, "s", 100, &payload).await;
            quick.until(|client| client.count("s") == 100).await;
            sleep(Duration::from_millis(2500)).await;
            let (mut data, mut last) = (0, String::new());
            loop {
                match peer.next().await {
                    Got::Message(message) if message.len() > 1000 => data += 1,
                    Got::Message(message) => last = String::from_utf8_lossy(&message).into_owned(),
                    Got::Close(code, reason) => {
                        assert_eq!(code, 1008);
                        assert!(reason.starts_with("Backpressure: downstream saturated; resume=1; after="));
                        break;
                    }
                    Got::End => panic!("a close is said"),
                }
            }
            assert!(
                last.contains("slow-consumer") || last.contains("publishing"),
                "{last}"
            );
            assert!((1..100).contains(&data), "{data}");
        });
    }
}

/// A gap is named, by retention and by policy, and what follows it is delivered.
#[test]
fn gaps_are_named() {
    for form in FORMS {
        run(async move {
            let log = MemoryConfig {
                stream_messages_max: 10,
                ..MemoryConfig::default()
            };
            let server = Server::start_over(config(), log);
            publish(&server, "s", 25, "x").await;
            let mut client = Client::new(form, Way::Header);
            client.subscribe("s", START);
            client.dial(&server).await;
            client.until(|client| client.count("s") == 10).await;
            assert!(client.has(|event| matches!(
                event,
                SessionEvent::Gap { from, to, reason: GapReason::Retention, .. }
                    if (from.get(), to.get()) == (1, 15)
            )));
            assert_eq!(client.got["s"].first().map(|(offset, _)| *offset), Some(16));

            let sub = r#"{"sub":1,"stream":"s","after":0,"policy":"drop-oldest","keep":2}"#;
            let mut peer = Peer::open_saying(&server, form, &hello_new(sub)).await;
            peer.expect_type("welcome").await;
            peer.expect_type("subok").await;
            peer.expect(&[
                r#"{"t":"gap","sub":1,"from":1,"to":15,"reason":"retention"}"#,
                r#"{"t":"gap","sub":1,"from":16,"to":23,"reason":"dropped"}"#,
                r#"{"t":"data","sub":1,"offset":24,"prev":23,"text":"x"}"#,
                r#"{"t":"data","sub":1,"offset":25,"prev":24,"text":"x"}"#,
            ])
            .await;
        });
    }
}

/// A position of another epoch, or beyond the head, is answered by `reset`, with what is common.
#[test]
fn a_foreign_position_is_reset() {
    for form in FORMS {
        run(async move {
            let server = Server::start(config());
            publish(&server, "s", 3, "x").await;
            for position in [r#""after":2,"epoch":"00000000000000aa""#, r#""after":9"#] {
                let sub = format!(r#"{{"sub":1,"stream":"s",{position}}}"#);
                let mut peer = Peer::open_saying(&server, form, &hello_new(&sub)).await;
                peer.expect_type("welcome").await;
                let subok = peer.expect_type("subok").await;
                assert!(
                    subok.contains(r#""offset":0,"head":3,"state":"reset""#),
                    "{subok}"
                );
                let data = peer.expect_type("data").await;
                assert_eq!(number(&data, "offset"), 1);
            }
        });
    }
}

/// The server is never silent for longer than its heartbeat.
#[test]
fn an_idle_connection_hears_the_heartbeat() {
    for form in FORMS {
        run(async move {
            let server = Server::start(config());
            let mut peer = Peer::open_saying(&server, form, &hello_new("")).await;
            peer.expect_type("welcome").await;
            for _ in 0..10 {
                let begun = Instant::now();
                let ping = peer.expect_type("ping").await;
                assert_eq!(number(&ping, "count"), 0);
                assert!(
                    begun.elapsed() <= Duration::from_secs(30),
                    "{:?}",
                    begun.elapsed()
                );
            }
        });
    }
}
