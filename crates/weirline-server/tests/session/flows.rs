//! What a client does all day: attach, subscribe, publish, be cut, and go on.

use weirline_log::{LogReader as _, Offset, ReadLimits};
use weirline_resume::SessionEvent;
use weirline_resume::wire::{Begin, Form};

use crate::FORMS;
use crate::client::{Client, START, Way, stream};
use crate::common::{Server, Socket, config, run};
use crate::peer::{Peer, field, hello_again, hello_new, number};

const WAYS: [Way; 3] = [Way::Header, Way::Subprotocol, Way::Message];

/// What the log has of a stream.
fn log_of(server: &Server, name: &str) -> Vec<String> {
    let limits = ReadLimits {
        messages: usize::MAX,
        bytes: usize::MAX,
    };
    let mut entries = Vec::new();
    server
        .log
        .read(&stream(name), Offset::ZERO, limits, &mut entries)
        .unwrap();
    let text = |payload: &[u8]| String::from_utf8(payload.to_vec()).unwrap();
    entries.iter().map(|entry| text(&entry.payload)).collect()
}

fn numbered(prefix: &str, range: std::ops::RangeInclusive<u64>) -> Vec<(u64, String)> {
    range.map(|n| (n, format!("{prefix}{n}"))).collect()
}

/// In both forms, and whichever way the HELLO comes: what is published is acknowledged, and delivered to its publisher and to others.
#[test]
fn a_session_publishes_and_subscribes() {
    for (form, way) in FORMS.iter().flat_map(|form| WAYS.map(|way| (*form, way))) {
        run(async move {
            let server = Server::start(config());
            let mut other = Client::new(Form::Binary, Way::Header);
            other.subscribe("s", Begin::Head);
            other.dial(&server).await;
            other
                .until(|client| client.has(|event| matches!(event, SessionEvent::Subscribed { .. })))
                .await;
            let mut client = Client::new(form, way);
            client.subscribe("s", START);
            for n in 1..=500 {
                client.publish("s", &format!("m\"{n}"));
            }
            client.dial(&server).await;
            client.until(|client| client.count("s") == 500).await;
            client.until_acked().await;
            other.until(|client| client.count("s") == 500).await;
            assert_eq!(client.got["s"], numbered("m\"", 1..=500), "{form:?} {way:?}");
            assert_eq!(other.got["s"], client.got["s"]);
        });
    }
}

/// With the HELLO in the upgrade the server answers at once: WELCOME, SUBOK and what was missed, and the client has said nothing
/// but its request.
#[test]
fn a_cut_client_is_back_in_one_round_trip() {
    for form in FORMS {
        run(async move {
            let server = Server::start(config());
            let sub = r#"{"sub":1,"stream":"s","after":0}"#;
            let mut peer = Peer::open_saying(&server, form, &hello_new(sub)).await;
            let welcome = peer.expect_type("welcome").await;
            assert_eq!(field(&welcome, "outcome"), "new");
            let epoch = field(&peer.expect_type("subok").await, "epoch").to_owned();
            peer.say(r#"{"t":"pub","seq":1,"stream":"s","text":"a"}"#).await;
            peer.say(r#"{"t":"pub","seq":2,"stream":"s","binary":"AP8"}"#)
                .await;
            // Acknowledgements and messages overtake each other.
            let mut heard = Vec::new();
            for _ in 0..10 {
                heard.push(peer.hear().await);
                if heard.iter().any(|it| it.contains(r#""t":"puback","seq":2"#)) && heard.len() >= 3 {
                    break;
                }
            }
            assert!(heard.contains(&r#"{"t":"data","sub":1,"offset":1,"prev":0,"text":"a"}"#.to_owned()));
            drop(peer);
            let sub = format!(r#"{{"sub":7,"stream":"s","after":1,"epoch":"{epoch}"}}"#);
            let mut peer = Peer::open_saying(&server, form, &hello_again(&welcome, 2, &sub)).await;
            let again = peer.expect_type("welcome").await;
            assert_eq!(field(&again, "outcome"), "resumed");
            assert_eq!((number(&again, "count"), number(&again, "attach")), (2, 2));
            assert!(!again.contains("token"), "said once: {again}");
            peer.expect(&[
                &format!(
                    r#"{{"t":"subok","sub":7,"epoch":"{epoch}","offset":1,"head":2,"state":"resumed"}}"#
                ),
                r#"{"t":"data","sub":7,"offset":2,"prev":1,"binary":"AP8"}"#,
            ])
            .await;
        });
    }
}

/// I6, I7: cut again and again, at whatever point, each message is in the log once and in order, and each is delivered once.
#[test]
fn publishing_and_delivery_are_exactly_once_over_cuts() {
    const MESSAGES: u64 = 400;
    for form in FORMS {
        run(async move {
            let server = Server::start(config());
            let mut client = Client::new(form, Way::Header);
            for name in ["a", "b"] {
                client.subscribe(name, START);
            }
            for n in 1..=MESSAGES {
                client.publish("a", &format!("a{n}"));
                client.publish("b", &format!("b{n}"));
            }
            let mut cuts = 0;
            let done = |client: &Client| {
                client.machine.outbox_len().0 == 0
                    && ["a", "b"]
                        .iter()
                        .all(|name| client.count(name) as u64 == MESSAGES)
            };
            while !done(&client) {
                client.way = WAYS[cuts % 3];
                client.dial(&server).await;
                // Each connection has more turns than the last: from one that is cut before WELCOME to one that lasts.
                for _ in 0..cuts * 3 {
                    if done(&client) || !client.step().await {
                        break;
                    }
                }
                if !done(&client) {
                    client.cut();
                    cuts += 1;
                }
            }
            assert!(cuts > 10, "{cuts}");
            for name in ["a", "b"] {
                let wanted = numbered(name, 1..=MESSAGES);
                assert_eq!(client.got[name], wanted, "{form:?}");
                let texts: Vec<String> = wanted.into_iter().map(|(_, text)| text).collect();
                assert_eq!(log_of(&server, name), texts);
            }
        });
    }
}

/// A grown stream reaches exactly its subscribers: of two hundred streams on one connection, and of others that share some of them,
/// each has what it asked for, in order.
#[test]
fn many_streams_on_one_connection() {
    const STREAMS: usize = 200;
    run(async {
        let server = Server::start(config());
        let mut clients = Vec::new();
        for (form, every) in [(Form::Json, 1), (Form::Binary, 1), (Form::Binary, 3)] {
            let mut client = Client::new(form, Way::Message);
            for number in (0..STREAMS).step_by(every) {
                client.subscribe(&format!("s{number}"), Begin::Head);
            }
            client.dial(&server).await;
            let wanted = STREAMS.div_ceil(every);
            client
                .until(|client| {
                    let open = |event: &&SessionEvent| matches!(event, SessionEvent::Subscribed { .. });
                    client.events.iter().filter(open).count() == wanted
                })
                .await;
            clients.push((client, every));
        }
        let mut publisher = Client::new(Form::Binary, Way::Header);
        for n in 1..=5 {
            for number in 0..STREAMS {
                publisher.publish(&format!("s{number}"), &format!("{number}:{n}"));
            }
        }
        publisher.dial(&server).await;
        publisher.until_acked().await;
        for (mut client, every) in clients {
            let names: Vec<usize> = (0..STREAMS).step_by(every).collect();
            client
                .until(|client| {
                    names
                        .iter()
                        .all(|number| client.count(&format!("s{number}")) == 5)
                })
                .await;
            for number in names {
                let got = &client.got[&format!("s{number}")];
                assert_eq!(*got, numbered(&format!("{number}:"), 1..=5));
            }
        }
    });
}

/// One log for all forms: what the text form publishes the others read, and the other way round.
#[test]
fn text_and_multiplexed_forms_share_their_streams() {
    run(async {
        let server = Server::start(config());
        let mut text = Socket::open(&server, "/v1/streams/s").await;
        text.resume(None, "0", 0).await;
        let mut clients = FORMS.map(|form| Client::new(form, Way::Header));
        for client in &mut clients {
            client.subscribe("s", START);
            client.subscribe("other", START);
            client.dial(&server).await;
            client.until_live().await;
        }
        let mut wanted = Vec::new();
        for round in 0..20_u64 {
            for (at, client) in clients.iter_mut().enumerate() {
                let payload = format!("{at} {round}");
                client.publish("s", &payload);
                client.until_acked().await;
                wanted.push(payload);
            }
            text.send(&format!("{}:text {round}", round + 1)).await;
            wanted.push(format!("text {round}"));
            let (mut seen, mut acked) = (0, false);
            while seen < 3 || !acked {
                let said = text.next().await.unwrap();
                if said.starts_with("ACK:") {
                    acked = true;
                } else {
                    seen += 1;
                    let number = wanted.len() - 3 + seen;
                    assert_eq!(said, format!("{number}:{}", wanted[number - 1]));
                }
            }
        }
        for client in &mut clients {
            client.until(|client| client.count("s") == wanted.len()).await;
            let got = client.got["s"].iter().map(|(_, text)| text);
            assert!(got.eq(&wanted));
            assert_eq!(client.count("other"), 0);
        }
    });
}

/// A sub that has ended is free again, for the same stream and for another one, and the old one is not heard of.
#[test]
fn subscriptions_come_and_go() {
    for form in FORMS {
        run(async move {
            let server = Server::start(config());
            let mut peer = Peer::open(&server, form).await;
            peer.say(&hello_new(r#"{"sub":1,"stream":"a","from":"head"}"#))
                .await;
            peer.expect_type("welcome").await;
            peer.expect_type("subok").await;
            let mut publisher = Client::new(form, Way::Header);
            publisher.dial(&server).await;
            for n in 1..=30 {
                let (to, other) = if n % 2 == 1 { ("a", "b") } else { ("b", "a") };
                publisher.publish(to, &format!("{to}{n}"));
                publisher.publish(other, &format!("{other}{n}"));
                publisher.until_acked().await;
                peer.expect(&[&format!(
                    r#"{{"t":"data","sub":1,"offset":{n},"prev":{},"text":"{to}{n}"}}"#,
                    n - 1
                )])
                .await;
                peer.say(r#"{"t":"unsub","sub":1}"#).await;
                peer.expect(&[r#"{"t":"unsub","sub":1}"#]).await;
                peer.say(&format!(
                    r#"{{"t":"sub","sub":1,"stream":"{other}","after":{n}}}"#
                ))
                .await;
                let subok = peer.expect_type("subok").await;
                assert_eq!((number(&subok, "offset"), number(&subok, "head")), (n, n));
            }
        });
    }
}

/// BYE is the only message that ends a session; what was sent before it counts.
#[test]
fn bye_ends_the_session_behind_everything_that_was_sent() {
    for form in FORMS {
        run(async move {
            let server = Server::start(config());
            let mut client = Client::new(form, Way::Header);
            for n in 1..=50 {
                client.publish("s", &format!("m{n}"));
            }
            client.dial(&server).await;
            client.machine.end();
            client.until_over().await;
            assert!(client.has(|event| matches!(event, SessionEvent::Ended { fault: None })));
            assert_eq!(log_of(&server, "s").len(), 50);
        });
    }
}

/// The recorded ack serves a client that gives no position.
#[test]
fn a_recorded_ack_is_where_delivery_goes_on() {
    for form in FORMS {
        run(async move {
            let server = Server::start(config());
            let mut peer = Peer::open(&server, form).await;
            peer.say(&hello_new(r#"{"sub":1,"stream":"s","after":0}"#)).await;
            let welcome = peer.expect_type("welcome").await;
            let epoch = field(&peer.expect_type("subok").await, "epoch").to_owned();
            for n in 1..=3 {
                peer.say(&format!(r#"{{"t":"pub","seq":{n},"stream":"s","text":"x"}}"#))
                    .await;
            }
            while !peer.hear().await.contains(r#""offset":3"#) {}
            peer.say(&format!(r#"{{"t":"ack","sub":1,"epoch":"{epoch}","offset":2}}"#))
                .await;
            peer.say(r#"{"t":"ping","echo":5,"subs":[{"sub":1}]}"#).await;
            while !peer.hear().await.contains(r#""t":"pong","echo":5"#) {}
            drop(peer);
            let sub = r#"{"sub":1,"stream":"s","from":"acked-or-start"}"#;
            let mut peer = Peer::open_saying(&server, form, &hello_again(&welcome, 2, sub)).await;
            peer.expect_type("welcome").await;
            let subok = peer.expect_type("subok").await;
            assert_eq!((number(&subok, "offset"), number(&subok, "head")), (2, 3));
            let data = peer.expect_type("data").await;
            assert_eq!(number(&data, "offset"), 3);
        });
    }
}
