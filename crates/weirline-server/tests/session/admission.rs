//! Crowds: attaching at a capped rate, and leaving one by one.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use weirline_resume::SessionEvent;
use weirline_resume::wire::Form;
use weirline_server::Config;

use crate::FORMS;
use crate::client::{Client, Way};
use crate::common::{Server, config, run};
use crate::peer::{Peer, hello_new, number};

/// I18: of a crowd so many are attached, the others are told when to come back, each at another time. Whichever way the HELLO comes, and
/// what is ignored before it is no way around.
#[test]
fn a_crowd_is_admitted_at_the_rate_and_spread() {
    run(async {
        let server = Server::start(Config {
            attach_rate: NonZeroU32::new(50),
            ..config()
        });
        sleep(Duration::from_secs(10)).await;
        let (mut admitted, mut hints, mut turned_away) = (0, BTreeSet::new(), 0);
        for n in 0..200 {
            let mut peer = match n % 4 {
                0 => Peer::open_saying(&server, Form::Binary, &hello_new("")).await,
                1 => Peer::open_saying(&server, Form::Json, &hello_new("")).await,
                _ => {
                    let mut peer = Peer::open(&server, Form::Json).await;
                    if n % 4 == 2 {
                        peer.send(br#"{"t":"x-nothing"}"#).await;
                    }
                    peer.say(&hello_new("")).await;
                    peer
                }
            };
            let answer = peer.hear().await;
            if answer.contains(r#""t":"welcome""#) {
                admitted += 1;
                continue;
            }
            assert!(
                answer.contains(r#""code":"unavailable","resumable":true"#),
                "{answer}"
            );
            hints.insert(number(&answer, "retry"));
            turned_away += 1;
        }
        // The clock stands still but for what the pipes need: one burst.
        assert!((5..=8).contains(&admitted), "{admitted}");
        assert!(
            hints.len() * 10 > turned_away * 9,
            "{} of {turned_away}",
            hints.len()
        );
        assert!(hints.iter().all(|hint| *hint <= 5000));
        sleep(Duration::from_secs(1)).await;
        let mut peer = Peer::open_saying(&server, Form::Json, &hello_new("")).await;
        peer.expect_type("welcome").await;
    });
}

/// I18: at a shutdown each client is asked to leave at a moment of its own; who stays is closed with 1012 in time, and who is not attached with
/// 1001.
#[test]
fn a_shutdown_asks_to_leave_one_by_one() {
    const CLIENTS: usize = 60;
    run(async {
        let server = Server::start(config());
        let mut clients = Vec::new();
        for n in 0..CLIENTS {
            let mut client = Client::new(FORMS[n % 2], Way::Header);
            client.dial(&server).await;
            client.until_live().await;
            clients.push(client);
        }
        let mut silent = Peer::open(&server, Form::Json).await;
        let begun = Instant::now();
        server.stop();
        let mut moments: Vec<Duration> = Vec::new();
        for client in &mut clients {
            client
                .until(|client| client.has(|event| matches!(event, SessionEvent::Drain { .. })))
                .await;
            for event in &client.events {
                if let SessionEvent::Drain { after, deadline, url } = event {
                    assert!(after <= deadline && *deadline < Duration::from_secs(10) && url.is_none());
                    moments.push(*after);
                }
            }
        }
        assert_eq!(silent.hear().await.split(' ').next(), Some("1001"));
        moments.sort();
        for second in 0..5 {
            let within = Duration::from_secs(second)..Duration::from_secs(second + 1);
            let count = moments.iter().filter(|moment| within.contains(moment)).count();
            assert!(
                (CLIENTS / 10..=CLIENTS * 3 / 10).contains(&count),
                "{count}: {moments:?}"
            );
        }
        // Everything works until then.
        let last = &mut clients[0];
        last.publish("s", "x");
        last.until_acked().await;
        for client in &mut clients {
            client.until_over().await;
            assert!(client.has(|event| matches!(event, SessionEvent::Disconnected { .. })));
            assert!(!client.machine.is_stopped());
        }
        let took = begun.elapsed();
        assert!(
            (Duration::from_secs(5)..Duration::from_secs(10)).contains(&took),
            "{took:?}"
        );
        server.stopped().await;
    });
}

/// The session outlives its connection for its time, and keeps its numbers behind that.
#[test]
fn a_session_waits_for_its_time_and_is_revived() {
    for form in FORMS {
        run(async move {
            let server = Server::start(config());
            let mut client = Client::new(form, Way::Header);
            client.publish("s", "a");
            client.dial(&server).await;
            client.until_acked().await;
            let mut outcomes = Vec::new();
            for wait in [299, 301] {
                client.cut();
                client.events.clear();
                sleep(Duration::from_secs(wait)).await;
                client.dial(&server).await;
                client.until_live().await;
                client.publish("s", "b");
                client.until_acked().await;
                outcomes.extend(client.events.iter().filter_map(|event| match event {
                    SessionEvent::Live { outcome, .. } => Some(format!("{outcome:?}")),
                    _ => None,
                }));
            }
            assert_eq!(outcomes, ["Resumed", "Expired"]);
        });
    }
}
