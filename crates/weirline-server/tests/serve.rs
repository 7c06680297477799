//! The server as a library, on pipes and a paused clock.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Server, Socket, config, raw, run, upgrade};
use http::HeaderMap;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep};
use weirline_handshake::{HandshakeError, Rejection, UpgradeRequest};
use weirline_log::{LogReader as _, StreamId};
use weirline_server::Config;
use weirline_tokio::{Cause, CloseCode, ConnectError};

const SECRET: &str = "0123456789abcdefABCDEF";

/// I2: everybody has everything, in order, whenever they came.
#[test]
fn every_subscriber_has_the_whole_log() {
    run(async {
        let server = Server::start(config());
        let mut subscribers = Vec::new();
        for _ in 0..20 {
            let mut subscriber = Socket::open(&server, "/v1/streams/s").await;
            subscriber.resume(None, "0", 0).await;
            subscribers.push(subscriber);
        }
        let mut publisher = Socket::open(&server, "/v1/streams/s").await;
        publisher.resume(None, "none", 0).await;
        for n in 1..=300 {
            publisher.send(&format!("{n}:m{n}")).await;
        }
        let mut late = Socket::open(&server, "/v1/streams/s").await;
        late.resume(None, "0", 0).await;
        subscribers.push(late);
        for subscriber in &mut subscribers {
            for n in 1..=300 {
                assert_eq!(subscriber.next().await, Some(format!("{n}:m{n}")));
            }
        }
    });
}

/// A message larger than the send queue waits until the queue is empty; the connection is not broken for it.
#[test]
fn a_message_larger_than_the_send_queue_is_delivered() {
    run(async {
        let server = Server::start(config());
        let mut publisher = Socket::open(&server, "/v1/streams/s").await;
        publisher.resume(None, "none", 0).await;
        let large = "x".repeat(3 << 20);
        for (n, payload) in ["small", &large, "small", &large].into_iter().enumerate() {
            publisher.send(&format!("{}:{payload}", n + 1)).await;
        }
        while publisher.next().await.unwrap() != "ACK:4" {}
        let mut subscriber = Socket::open(&server, "/v1/streams/s").await;
        subscriber.resume(None, "0", 0).await;
        subscriber
            .expect(&["1:small", &format!("2:{large}"), "3:small", &format!("4:{large}")])
            .await;
    });
}

/// R19, R20: a subscriber that does not read is broken off; when it reads again it finds out why, and goes on where it was.
#[test]
fn a_slow_subscriber_is_told_before_it_is_closed() {
    run(async {
        let server = Server::start(config());
        let mut subscriber = Socket::open(&server, "/v1/streams/s").await;
        subscriber.resume(None, "0", 0).await;
        let mut publisher = Socket::open(&server, "/v1/streams/s").await;
        publisher.resume(None, "none", 0).await;
        let payload = "x".repeat(20_000);
        for n in 1..=200 {
            publisher.send(&format!("{n}:{payload}")).await;
        }
        while publisher.next().await.unwrap() != "ACK:200" {}
        // The subscriber's inbox and the pipe are full, and nobody empties them for a little longer than R20 allows.
        sleep(Duration::from_millis(2500)).await;
        let (mut last, mut taken) = (None, 0);
        while let Some(text) = subscriber.next().await {
            taken += u64::from(text.ends_with(&payload));
            last = Some(text);
        }
        assert_eq!(last.as_deref(), Some("PAUSE:slow-consumer"));
        let end = subscriber.ended().await;
        assert_eq!(end.received, Some(CloseCode::POLICY_VIOLATION));
        assert!((1..200).contains(&taken), "{taken}");
        let mut subscriber = Socket::open(&server, "/v1/streams/s").await;
        subscriber.resume(None, &taken.to_string(), 0).await;
        for n in taken + 1..=200 {
            assert_eq!(subscriber.next().await.unwrap(), format!("{n}:{payload}"));
        }
    });
}

/// A PAUSE must not be the first message: a break before the answer to the opening has left says only its reason.
#[test]
fn a_break_before_the_first_answer_says_no_more_than_why() {
    run(async {
        let server = Server::start(config());
        let mut socket = server.dial(1).await;
        let request = upgrade("/v1/streams/s");
        let mut answer = Vec::new();
        let (mut read, mut write) = tokio::io::split(&mut socket);
        let asked = async { write.write_all(request.as_bytes()).await.unwrap() };
        let answered = async {
            while !answer.ends_with(b"\r\n\r\n") {
                answer.push(read.read_u8().await.unwrap());
            }
        };
        tokio::join!(asked, answered);
        // A ping with key 0, whose pong fills the pipe, and then the opening.
        socket.write_all(&[0x89, 0x80, 0, 0, 0, 0]).await.unwrap();
        socket.write_all(&[0x81, 0x8D, 0, 0, 0, 0]).await.unwrap();
        socket.write_all(b"RESUME_FROM:0").await.unwrap();
        sleep(Duration::from_millis(2500)).await;
        let mut said = [0; 6];
        socket.read_exact(&mut said).await.unwrap();
        assert_eq!(said[..2], [0x8A, 0], "the pong");
        assert_eq!(said[2], 0x88, "then the Close");
        assert_eq!(said[4..], 1008u16.to_be_bytes());
    });
}

/// R9: what was taken in before the end of a connection is in the log.
#[test]
fn what_was_sent_before_the_close_is_committed() {
    run(async {
        let server = Server::start(config());
        let mut publisher = Socket::open(&server, "/v1/streams/s").await;
        publisher.resume(None, "none", 0).await;
        for n in 1..=100 {
            publisher.send(&format!("{n}:m{n}")).await;
        }
        publisher.handle.close(CloseCode::NORMAL, "done");
        publisher.ended().await;
        server.stop();
        server.stopped().await;
        let bounds = server.log.bounds(&StreamId::new("s").unwrap()).unwrap().unwrap();
        assert_eq!(bounds.head.get(), 100);
    });
}

#[test]
fn a_session_expires_after_its_time_and_is_revived_if_it_published() {
    run(async {
        let server = Server::start(config());
        let quiet = "aaaaaaaaaaaaaaaaaaaaaa";
        for secret in [SECRET, quiet] {
            let mut socket = Socket::open(&server, "/v1/streams/s").await;
            socket.resume(Some((secret, 1)), "none", 0).await;
            if secret == SECRET {
                socket.send("1:a").await;
                socket.expect(&["ACK:1"]).await;
            }
            socket.cut().await;
        }
        sleep(Duration::from_secs(299)).await;
        let mut socket = Socket::open(&server, "/v1/streams/s").await;
        socket.resume(Some((quiet, 2)), "none", 0).await;
        // Held sessions do not expire.
        sleep(Duration::from_secs(1000)).await;
        socket.send("1:b").await;
        socket.expect(&["ACK:1"]).await;
        socket.cut().await;
        sleep(Duration::from_secs(301)).await;
        for secret in [SECRET, quiet] {
            let mut socket = Socket::open(&server, "/v1/streams/s").await;
            socket.resume(Some((secret, 3)), "none", 1).await;
        }
    });
}

#[test]
fn a_session_that_expired_without_publishing_is_unknown() {
    run(async {
        let server = Server::start(config());
        let mut socket = Socket::open(&server, "/v1/streams/s").await;
        socket.resume(Some((SECRET, 1)), "none", 0).await;
        socket.cut().await;
        sleep(Duration::from_secs(301)).await;
        let mut socket = Socket::open(&server, "/v1/streams/s").await;
        socket.send(&format!("SESSION:{SECRET}:2")).await;
        socket.send("RESUME_FROM:none").await;
        let answer = socket.next().await.unwrap();
        assert!(answer.starts_with("ERROR:session-unknown:"), "{answer}");
    });
}

#[test]
fn resume_from_is_due_within_ten_seconds() {
    run(async {
        let server = Server::start(config());
        let begun = Instant::now();
        let mut socket = Socket::open(&server, "/v1/streams/s").await;
        let answer = socket.next().await.unwrap();
        assert!(answer.starts_with("ERROR:bad-message:"), "{answer}");
        let took = begun.elapsed();
        assert!(
            (Duration::from_secs(10)..Duration::from_secs(11)).contains(&took),
            "{took:?}"
        );
        assert_eq!(socket.ended().await.received, Some(CloseCode::POLICY_VIOLATION));
    });
}

#[test]
fn a_slow_handshake_ends_at_its_deadline() {
    run(async {
        let server = Server::start(config());
        let begun = Instant::now();
        let mut stream = server.dial(1024).await;
        for byte in upgrade("/echo").bytes() {
            if stream.write_all(&[byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_secs(1)).await;
        }
        let took = begun.elapsed();
        assert!(
            (Duration::from_secs(10)..=Duration::from_secs(12)).contains(&took),
            "{took:?}"
        );
    });
}

#[test]
fn over_the_limit_there_is_503_with_retry_after_and_room_again_later() {
    run(async {
        let server = Server::start(Config {
            connections_max: 3,
            ..config()
        });
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(Socket::open(&server, "/echo").await);
        }
        let mut hints = std::collections::BTreeSet::new();
        for _ in 0..10 {
            match Socket::try_open(&server, "/echo").await {
                Err(ConnectError::Handshake(HandshakeError::Refused(refused))) => {
                    assert_eq!(refused.status.as_u16(), 503);
                    hints.insert(refused.retry_after.unwrap());
                }
                other => panic!("{:?}", other.map(|_| ())),
            }
        }
        assert!(
            hints.len() > 3 && hints.iter().all(|hint| *hint <= Duration::from_secs(30)),
            "{hints:?}"
        );
        held.pop().unwrap().cut().await;
        sleep(Duration::from_secs(1)).await;
        let mut socket = Socket::open(&server, "/echo").await;
        socket.send("x").await;
        socket.expect(&["x"]).await;
    });
}

#[test]
fn far_over_the_limit_sockets_are_dropped() {
    run(async {
        let server = Server::start(Config {
            connections_max: 0,
            ..config()
        });
        let mut silent = Vec::new();
        for _ in 0..256 {
            silent.push(server.dial(64).await);
        }
        sleep(Duration::from_millis(1)).await;
        let mut dropped = server.dial(64).await;
        assert_eq!(dropped.read(&mut [0; 16]).await.unwrap(), 0);
        drop(silent);
    });
}

/// A lack of descriptors passes: the server waits between its attempts, and serves again soon after.
#[test]
fn accepting_backs_off_and_recovers() {
    run(async {
        let server = Server::start(Config {
            workers: 1,
            ..config()
        });
        let _first = Socket::open(&server, "/echo").await;
        server.exhausted.is.set(true);
        // The worker is inside `accept` already: it fails from the next call on.
        let _second = Socket::open(&server, "/echo").await;
        sleep(Duration::from_secs(10)).await;
        let asked = server.exhausted.asked.get();
        assert!((20..=30).contains(&asked), "{asked}");
        server.exhausted.is.set(false);
        let begun = Instant::now();
        let mut socket = Socket::open(&server, "/echo").await;
        socket.send("x").await;
        socket.expect(&["x"]).await;
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    });
}

/// R4.
#[test]
fn the_validation_hook_refuses_and_adds_headers() {
    run(async {
        let validation = |request: &UpgradeRequest| {
            if request.query() != Some("good") {
                return Err(Rejection::forbidden("no"));
            }
            Ok(HeaderMap::from_iter([(
                "x-connection-validated".parse().unwrap(),
                "yes".parse().unwrap(),
            )]))
        };
        let server = Server::start(Config {
            validation: Some(Arc::new(validation)),
            ..config()
        });
        let refused = raw(server.dial(4096).await, &upgrade("/echo?bad")).await;
        assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
        let mut stream = server.dial(4096).await;
        stream.write_all(upgrade("/echo?good").as_bytes()).await.unwrap();
        let mut answer = vec![0; 4096];
        let read = stream.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..read]).to_lowercase();
        assert!(
            answer.starts_with("http/1.1 101") && answer.contains("x-connection-validated: yes"),
            "{answer}"
        );
    });
}

#[test]
fn a_shutdown_says_1001_and_waits_for_the_answers() {
    run(async {
        let server = Server::start(config());
        let echo = Socket::open(&server, "/echo").await;
        let mut stream = Socket::open(&server, "/v1/streams/s").await;
        stream.resume(None, "head", 0).await;
        let unopened = Socket::open(&server, "/v1/streams/s").await;
        server.stop();
        for socket in [echo, stream, unopened] {
            let end = socket.ended().await;
            assert_eq!(
                (end.received, end.cause),
                (Some(CloseCode::GOING_AWAY), Cause::ClosedByPeer)
            );
        }
        server.stopped().await;
    });
}

#[test]
fn a_shutdown_ends_although_peers_do_nothing() {
    run(async {
        let server = Server::start(Config {
            shutdown_timeout: Duration::from_secs(3),
            ..config()
        });
        // One that is open and reads nothing, one in the middle of its request, one without a byte.
        let mut open = server.dial(256).await;
        open.write_all(upgrade("/echo").as_bytes()).await.unwrap();
        open.read_exact(&mut [0; 16]).await.unwrap();
        let mut half = server.dial(256).await;
        half.write_all(b"GET /").await.unwrap();
        let silent = server.dial(256).await;
        sleep(Duration::from_secs(1)).await;
        let begun = Instant::now();
        server.stop();
        server.stopped().await;
        assert!(begun.elapsed() <= Duration::from_secs(4), "{:?}", begun.elapsed());
        drop((open, half, silent));
    });
}
