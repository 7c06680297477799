//! R25, R37, I12, I17: when a client dials, how long it waits, and when it stops.

mod common;

use std::time::Duration;

use common::{Net, Tcp, TestStore, builder, next, start, world};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use weirline_client::{Cause, ClientError, Event, LinkState, PublishError};

fn secs(from: Instant, to: Instant) -> f64 {
    (to - from).as_secs_f64()
}

/// Delays between dials that fail at once, in seconds.
fn delays(net: &Net) -> Vec<f64> {
    net.dials()
        .windows(2)
        .map(|pair| secs(pair[0], pair[1]))
        .collect()
}

fn check_formula(delays: &[f64]) {
    for (n, delay) in delays.iter().enumerate() {
        let base = f64::from(1 << n);
        let (low, high) = (base.min(30.0), (base + 1.0).min(30.0));
        assert!(
            (low - 0.001..=high + 0.002).contains(delay),
            "dial {n} waited {delay} s"
        );
    }
}

#[test]
fn r25_the_first_connect_is_immediate_and_an_outage_has_ten_dials() {
    world(async {
        let net = Net::new();
        net.tcp(Tcp::Refused);
        let begun = Instant::now();
        let (client, _events, driver) = start(&net, builder(), &TestStore::default()).await;
        let error = driver.await.expect("no panic").expect_err("exhausted");
        let ClientError::Exhausted {
            attempts: 10,
            last: Cause::Dial(_),
        } = error
        else {
            panic!("{error}")
        };
        assert_eq!(net.dials()[0], begun);
        assert_eq!(net.dials().len(), 11);
        check_formula(&delays(&net));
        assert!(matches!(
            client.try_publish("late"),
            Err(PublishError::Ended(ClientError::Exhausted { .. }))
        ));
    });
}

#[test]
fn i17_accept_then_close_counts_as_failure() {
    world(async {
        let mut net = Net::new();
        let (_client, _events, driver) = start(&net, builder(), &TestStore::default()).await;
        for _ in 0..11 {
            let (peer, _) = net.opening().await;
            peer.answer(0, 0, 0).await;
            peer.close(1000, "");
            peer.end().await;
        }
        let error = driver.await.expect("no panic").expect_err("exhausted");
        assert!(matches!(
            error,
            ClientError::Exhausted {
                attempts: 10,
                last: Cause::Closed { code: 1000, .. }
            }
        ));
        check_formula(&delays(&net));
    });
}

#[test]
fn i17_only_thirty_seconds_live_reset_the_attempts() {
    async fn outage_after(live: u64) -> usize {
        let mut net = Net::new();
        let (_client, _events, driver) = start(&net, builder(), &TestStore::default()).await;
        for _ in 0..13 {
            let opened = tokio::select! {
                biased;
                opened = net.opening() => opened,
                () = tokio::time::sleep(Duration::from_secs(120)) => break,
            };
            opened.0.answer(0, 0, 0).await;
            tokio::time::sleep(Duration::from_secs(live)).await;
            opened.0.cut();
        }
        driver.abort();
        net.dials().len()
    }
    world(async {
        assert_eq!(outage_after(29).await, 11);
        assert_eq!(outage_after(31).await, 13);
    });
}

#[test]
fn r25_hints_of_the_server_lengthen_a_delay_up_to_a_minute() {
    async fn check(close: Option<(u16, &str)>, http: Option<&str>, expect: f64) {
        let mut net = Net::new();
        let (_client, mut events, driver) = start(&net, builder(), &TestStore::default()).await;
        if let Some((code, reason)) = close {
            let (peer, _) = net.opening().await;
            peer.answer(0, 0, 0).await;
            peer.close(code, reason);
            peer.end().await;
        }
        if let Some(answer) = http {
            let mut stream = net.stream().await;
            stream
                .read_buf(&mut Vec::with_capacity(4096))
                .await
                .expect("a request");
            stream.write_all(answer.as_bytes()).await.expect("room");
        }
        let waited = loop {
            if let Event::Link(LinkState::Waiting { delay, attempt: 1 }) =
                events.next().await.expect("an event")
            {
                break delay;
            }
        };
        let before = Instant::now();
        let _ = net.stream().await;
        assert!((waited.as_secs_f64() - secs(before, Instant::now())).abs() < 0.005);
        assert!(
            (waited.as_secs_f64() - expect).abs() < 1.001,
            "{close:?} {http:?}: {waited:?}"
        );
        assert!(expect < 2.0 || waited.as_secs_f64() >= expect);
        driver.abort();
    }
    world(async {
        let busy =
            |after: &str| format!("HTTP/1.1 503 Busy\r\nRetry-After: {after}\r\nContent-Length: 0\r\n\r\n");
        check(Some((1001, "")), None, 1.0).await;
        check(
            Some((1008, "Backpressure: downstream saturated; resume=1; after=7300")),
            None,
            7.3,
        )
        .await;
        check(
            Some((1008, "Backpressure: downstream saturated; resume=1; after=999999")),
            None,
            60.0,
        )
        .await;
        check(None, Some(&busy("45")), 45.0).await;
        check(None, Some(&busy("600")), 60.0).await;
        check(None, Some(&busy("0")), 1.0).await;
        check(
            None,
            Some("HTTP/1.1 429 Slower\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n"),
            9.0,
        )
        .await;
        check(None, Some("HTTP/1.1 502 Gone\r\nContent-Length: 0\r\n\r\n"), 1.0).await;
        check(None, Some("no HTTP at all\r\n\r\n"), 1.0).await;
    });
}

#[test]
fn a_status_that_will_not_pass_ends_the_client() {
    world(async {
        for status in [301, 400, 401, 403, 404, 426] {
            let mut net = Net::new();
            let (_client, _events, driver) = start(&net, builder(), &TestStore::default()).await;
            let mut stream = net.stream().await;
            stream
                .read_buf(&mut Vec::with_capacity(4096))
                .await
                .expect("a request");
            let answer = format!("HTTP/1.1 {status} No\r\nContent-Length: 7\r\n\r\nnot you");
            stream.write_all(answer.as_bytes()).await.expect("room");
            match driver.await.expect("no panic") {
                Err(ClientError::Refused {
                    status: said,
                    message,
                }) => {
                    assert_eq!((said, message.as_str()), (status, "not you"));
                }
                other => panic!("{status}: {other:?}"),
            }
            assert_eq!(net.dials().len(), 1);
        }
    });
}

#[test]
fn a_dial_has_ten_seconds_from_its_start_to_the_first_answer() {
    #[derive(Clone, Copy, Debug)]
    enum Stuck {
        Tcp,
        Upgrade,
        Count,
        Position,
    }
    world(async {
        for stuck in [Stuck::Tcp, Stuck::Upgrade, Stuck::Count, Stuck::Position] {
            let mut net = Net::new();
            if matches!(stuck, Stuck::Tcp) {
                net.tcp(Tcp::Silent);
            }
            let begun = Instant::now();
            let (_client, mut events, driver) = start(&net, builder(), &TestStore::default()).await;
            let mut held = (None, None);
            match stuck {
                Stuck::Tcp => {}
                Stuck::Upgrade => held.0 = Some(net.stream().await),
                Stuck::Count => held.1 = Some(net.opening().await),
                Stuck::Position => {
                    let opened = net.opening().await;
                    opened.0.say("RESUME_FROM:0").await;
                    held.1 = Some(opened);
                }
            }
            let down = next(&mut events).await;
            assert_eq!(
                down,
                Some(Event::Link(LinkState::Down {
                    cause: Cause::DialTimeout
                })),
                "{stuck:?}"
            );
            assert!((secs(begun, Instant::now()) - 10.0).abs() < 0.01, "{stuck:?}");
            driver.abort();
        }
    });
}

#[test]
fn i12_superseded_is_final() {
    world(async {
        for way in ["4409", "stale-attach at the opening", "stale-attach later"] {
            let mut net = Net::new();
            let (client, mut events, driver) = start(&net, builder(), &TestStore::default()).await;
            let (mut peer, opening) = net.opening().await;
            assert_eq!(opening.attach, 1);
            if way != "stale-attach at the opening" {
                peer.answer(0, 0, 0).await;
            }
            if way == "4409" {
                peer.close(4409, "superseded");
            } else {
                peer.say("ERROR:stale-attach:there is a higher one").await;
                peer.close(1008, "stale-attach");
            }
            assert_eq!(peer.recv().await, None);
            assert!(
                matches!(driver.await.expect("no panic"), Err(ClientError::Superseded)),
                "{way}"
            );
            assert!(matches!(
                client.publish("x").await,
                Err(PublishError::Ended(ClientError::Superseded))
            ));
            assert!(matches!(client.flush().await, Ok(())), "nothing was published");
            while events.next().await.is_some() {}
            assert_eq!(net.dials().len(), 1, "{way}");
        }
    });
}

#[test]
fn attach_numbers_rise_and_are_stored_before_each_dial() {
    world(async {
        let mut net = Net::new();
        let store = TestStore::default();
        let (_client, mut events, driver) = start(&net, builder(), &store).await;
        let mut secret = None;
        for attach in 1..=4 {
            let stream = net.stream().await;
            let stored = store.last().expect("stored before the dial");
            assert_eq!(stored.attach.get(), attach);
            drop(stream);
            // A dial that was never answered has not used its secret; the next one begins with another.
            if attach == 1 {
                let (peer, opening) = net.opening().await;
                assert_eq!(opening.attach, 1);
                peer.answer(0, 0, 0).await;
                common::live(&mut events).await;
                secret = Some(opening.secret);
                peer.cut();
            } else {
                assert_eq!(stored.secret.map(|secret| secret.as_str().to_owned()), secret);
            }
        }
        driver.abort();
    });
}
