//! Clients that mean harm: what they can make the server hold has a bound, and nobody else notices them.

use std::time::Duration;

use tokio::time::timeout;
use weirline_resume::wire::Form;

use crate::FORMS;
use crate::client::{Client, START, Way};
use crate::common::{Server, config, run};
use crate::peer::{Got, Peer, hello_new};

const SUBS: usize = 256;

/// Connects with as many subscriptions as there may be, all of them open.
async fn with_many_subscriptions(server: &Server, form: Form) -> Peer {
    let subs: Vec<String> = (1..=SUBS)
        .map(|sub| format!(r#"{{"sub":{sub},"stream":"s{sub}","after":0}}"#))
        .collect();
    let fields = [("Sec-WebSocket-Protocol", form.subprotocol())];
    let mut peer = Peer::open_over(server.dial(64 << 10).await, form, &fields).await;
    peer.say(&hello_new(&subs.join(","))).await;
    peer.expect_type("welcome").await;
    for _ in 0..SUBS {
        peer.expect_type("subok").await;
    }
    peer
}

/// Says this again and again and reads nothing, until the server takes no more or `most` times. Returns how often.
async fn flood(peer: &mut Peer, message: &str, most: usize) -> usize {
    let mut said = 0;
    while said < most {
        match timeout(Duration::from_millis(200), peer.say(message)).await {
            Ok(true) => said += 1,
            Ok(false) | Err(_) => break,
        }
    }
    said
}

/// Every PING is answered with the standing of each subscription that it names. Who reads no answers is not listened to for long, and is
/// broken off; a client beside it has all that it came for.
#[test]
fn questions_whose_answers_nobody_reads_are_not_answered_for_ever() {
    for form in FORMS {
        run(async move {
            let server = Server::start(config());
            let mut flooder = with_many_subscriptions(&server, form).await;
            let named: Vec<String> = (1..=SUBS).map(|sub| format!(r#"{{"sub":{sub}}}"#)).collect();
            let ping = format!(r#"{{"t":"ping","echo":1,"subs":[{}]}}"#, named.join(","));
            let said = flood(&mut flooder, &ping, 100_000).await;
            assert!((10..1000).contains(&said), "{said}");

            let mut client = Client::new(form, Way::Header);
            client.subscribe("s1", START);
            client.publish("s1", "x");
            client.dial(&server).await;
            client.until(|client| client.count("s1") == 1).await;

            tokio::time::sleep(Duration::from_secs(5)).await;
            loop {
                match flooder.next().await {
                    Got::Message(_) => {}
                    Got::Close(code, reason) => {
                        assert!(
                            (code, reason.starts_with("Backpressure")) == (1008, true),
                            "{code} {reason}"
                        );
                        break;
                    }
                    Got::End => break,
                }
            }
        });
    }
}

/// Subscriptions that come and go as fast as they can slow nobody down: while one connection does nothing else, another has its turns.
#[test]
fn a_flood_of_subscriptions_leaves_others_their_turns() {
    for form in FORMS {
        run(async move {
            const ROUNDS: usize = 3000;
            let server = Server::start(config());
            let mut flooder = Peer::open_saying(&server, form, &hello_new("")).await;
            flooder.expect_type("welcome").await;
            let flooding = async {
                for round in 0..ROUNDS {
                    flooder
                        .say(&format!(
                            r#"{{"t":"sub","sub":1,"stream":"f{}","after":0}}"#,
                            round % 50
                        ))
                        .await;
                    flooder.expect_type("subok").await;
                    flooder.say(r#"{"t":"unsub","sub":1}"#).await;
                    flooder.expect_type("unsub").await;
                }
            };
            let working = async {
                let mut client = Client::new(form, Way::Header);
                client.subscribe("s", START);
                client.dial(&server).await;
                for n in 1..=100 {
                    client.publish("s", "x");
                    client.until(|client| client.count("s") == n).await;
                }
            };
            tokio::select! {
                () = flooding => panic!("the flood was over before a hundred round trips"),
                () = working => {}
            }
        });
    }
}
