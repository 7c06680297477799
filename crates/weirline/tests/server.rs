//! `weirline dev` and `weirline serve`, as a client sees them: the real binary over loopback.

mod common;

use std::process::{Command, Stdio};

use common::{Server, Socket, run};
use weirline_handshake::{ClientRequest, HandshakeError, Origin};
use weirline_tokio::{CloseCode, ConnectError};

const SECRET: &str = "0123456789abcdefABCDEF";

#[test]
fn echo_sends_everything_back() {
    let server = Server::start(&["serve", "--echo"]);
    run(async {
        let mut socket = Socket::open(&server.url("/echo")).await;
        let long = "x".repeat(200_000);
        for text in ["hello", "", "ünïcödé", &long] {
            socket.send(text).await;
            assert_eq!(socket.next().await.as_deref(), Some(text));
        }
        socket.send_binary(b"\x00\x01").await;
        socket.expect(&["bin:\u{0}\u{1}"]).await;
        socket.handle.close(CloseCode::NORMAL, "done");
        let end = socket.ended().await;
        assert_eq!(end.received, Some(CloseCode::NORMAL), "R23: the Close is echoed");
    });
}

#[test]
fn what_is_published_is_delivered() {
    let server = Server::start(&["serve"]);
    run(async {
        let url = server.url("/v1/streams/orders");
        let mut subscriber = Socket::open(&url).await;
        subscriber.resume(None, "head", 0).await;
        let mut publisher = Socket::open(&url).await;
        publisher.resume(None, "none", 0).await;
        publisher.send("1:hello").await;
        publisher.expect(&["ACK:1"]).await;
        publisher.send_binary(b"2:\xff").await;
        publisher.expect(&["ACK:2"]).await;
        subscriber.expect(&["1:hello", "bin:2:\u{fffd}"]).await;

        // The subprotocol is named where it was offered.
        let offer = |request: ClientRequest| request.subprotocols(&["weirline.v1.text"]).unwrap();
        let mut late = Socket::try_open(&url, offer).await.unwrap();
        late.resume(None, "0", 0).await;
        late.expect(&["1:hello", "bin:2:\u{fffd}"]).await;
    });
}

#[test]
fn a_subscriber_goes_on_where_it_was_cut() {
    let server = Server::start(&["serve"]);
    run(async {
        let url = server.url("/v1/streams/s");
        let mut publisher = Socket::open(&url).await;
        publisher.resume(None, "none", 0).await;
        let mut subscriber = Socket::open(&url).await;
        let epoch = subscriber.resume(None, "0", 0).await;
        for n in 1..=3 {
            publisher.send(&format!("{n}:m{n}")).await;
        }
        subscriber.expect(&["1:m1", "2:m2", "3:m3"]).await;
        subscriber.cut().await;
        publisher.send("4:m4").await;
        publisher.send("5:m5").await;

        let mut subscriber = Socket::open(&url).await;
        assert_eq!(subscriber.resume(None, &format!("3@{epoch}"), 0).await, epoch);
        subscriber.expect(&["4:m4", "5:m5"]).await;
        publisher.send("6:m6").await;
        subscriber.expect(&["6:m6"]).await;
    });
}

/// I6: what was sent again after a cut is in the log once.
#[test]
fn a_publisher_with_a_session_publishes_once() {
    let server = Server::start(&["serve"]);
    run(async {
        let url = server.url("/v1/streams/s");
        let mut publisher = Socket::open(&url).await;
        publisher.resume(Some(&format!("{SECRET}:1")), "none", 0).await;
        publisher.send("1:a").await;
        publisher.expect(&["ACK:1"]).await;
        publisher.cut().await;

        let mut publisher = Socket::open(&url).await;
        publisher.resume(Some(&format!("{SECRET}:2")), "none", 1).await;
        publisher.send("1:a").await;
        publisher.send("2:b").await;
        assert!(matches!(
            publisher.next().await.as_deref(),
            Some("ACK:1" | "ACK:2")
        ));
        let mut reader = Socket::open(&url).await;
        reader.resume(None, "0", 0).await;
        reader.expect(&["1:a", "2:b"]).await;
    });
}

/// I12: the higher attach wins at once, although the old connection is alive.
#[test]
fn a_takeover_closes_the_old_connection_with_4409() {
    let server = Server::start(&["serve"]);
    run(async {
        let url = server.url("/v1/streams/s");
        let mut old = Socket::open(&url).await;
        old.resume(Some(&format!("{SECRET}:1")), "none", 0).await;
        let mut new = Socket::open(&url).await;
        new.resume(Some(&format!("{SECRET}:2")), "none", 0).await;
        let end = old.ended().await;
        assert_eq!(end.received.map(CloseCode::value), Some(4409));

        new.send("1:mine").await;
        new.expect(&["ACK:1"]).await;
        // I11: a lower or equal one loses, and does not disturb the winner.
        for attach in [1, 2] {
            let mut late = Socket::open(&url).await;
            late.send(&format!("SESSION:{SECRET}:{attach}")).await;
            late.send("RESUME_FROM:none").await;
            let error = late.next().await.unwrap();
            assert!(error.starts_with("ERROR:stale-attach:"), "{error}");
            assert_eq!(late.ended().await.received, Some(CloseCode::POLICY_VIOLATION));
        }
        new.send("2:still mine").await;
        new.expect(&["ACK:2"]).await;
    });
}

#[test]
fn what_is_not_allowed_is_refused_with_its_status() {
    let dev = Server::start(&["dev"]);
    let open = Server::start(&["serve", "--origin", "https://good.example"]);
    let check =
        async |server: &Server, path: &str, origin: Option<&str>, offer: Option<&str>, expect: u16| {
            let status = match Socket::try_open(&server.url(path), |mut request| {
                if let Some(origin) = origin {
                    request = request.origin(Origin::parse(origin).unwrap());
                }
                match offer {
                    Some(offer) => request.subprotocols(&[offer]).unwrap(),
                    None => request,
                }
            })
            .await
            {
                Ok(_) => 101,
                Err(ConnectError::Handshake(HandshakeError::Refused(refused))) => refused.status.as_u16(),
                Err(other) => panic!("{other}"),
            };
            assert_eq!(status, expect, "{path} {origin:?} {offer:?}");
        };
    run(async {
        check(&dev, "/v1/streams/a", None, None, 101).await;
        check(&dev, "/echo", Some("http://localhost:3000"), None, 101).await;
        check(&dev, "/echo", Some("https://evil.example"), None, 403).await;
        check(&dev, "/nothing", None, None, 404).await;
        check(&open, "/echo", None, None, 404).await;
        check(&open, "/v1/streams/a/b", None, None, 404).await;
        check(&open, "/v1/streams/a", Some("https://good.example"), None, 101).await;
        check(&open, "/v1/streams/a", Some("http://good.example"), None, 403).await;
        check(
            &open,
            "/v1/streams/a",
            Some("https://good.example.evil.example"),
            None,
            403,
        )
        .await;
        check(&open, "/v1/streams/a", Some("http://localhost:3000"), None, 403).await;
        check(&open, "/nothing", Some("https://evil.example"), None, 403).await;
        check(&open, "/v1/streams/a", None, Some("weirline.v1.text"), 101).await;
        check(&open, "/v1/streams/a", None, Some("mqtt"), 400).await;
    });
}

#[test]
fn sigterm_closes_everything_with_1001_and_exits_0() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start(&["dev", "--log-format", "json"]);
        run(async {
            let echo = Socket::open(&server.url("/echo")).await;
            let mut stream = Socket::open(&server.url("/v1/streams/s")).await;
            stream.resume(Some(&format!("{SECRET}:1")), "head", 0).await;
            server.signal(signal);
            for socket in [echo, stream] {
                assert_eq!(socket.ended().await.received, Some(CloseCode::GOING_AWAY));
            }
        });
        let (status, log) = server.wait();
        assert_eq!(status.code(), Some(0), "{log}");
        // R30: every transition is there, one object per line, each with its event, and with its connection once there is one.
        for line in log.lines() {
            assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
            assert!(line.contains("\"event\":\""), "{line}");
            let about_one = ["connection.", "driver.", "stream.", "session."]
                .iter()
                .any(|kind| line.contains(&format!("\"event\":\"{kind}")));
            if about_one && !line.contains("connection.accepted") {
                assert!(line.contains("\"conn\":\""), "{line}");
            }
        }
        for event in [
            "connection.accepted",
            "connection.open",
            "connection.closed",
            "driver.ended",
            "session.attached",
            "session.detached",
            "stream.told",
            "server.stopping",
            "server.stopped",
        ] {
            assert!(
                log.contains(&format!("\"event\":\"{event}\"")),
                "{event} in {log}"
            );
        }
    }
}

#[test]
fn a_second_signal_stops_at_once() {
    let mut server = Server::start(&["dev"]);
    run(async {
        // A peer that never answers the Close keeps the first signal waiting.
        let stubborn = tokio::net::TcpStream::connect(server.address()).await.unwrap();
        let request = "GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
        let mut read = Vec::new();
        let mut exchange = |expect: &'static [u8]| {
            while !read.windows(expect.len()).any(|window| window == expect) {
                let mut buffer = [0; 512];
                match stubborn.try_read(&mut buffer) {
                    Ok(0) => panic!("closed"),
                    Ok(n) => read.extend_from_slice(&buffer[..n]),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
                    Err(error) => panic!("{error}"),
                }
            }
            true
        };
        stubborn.writable().await.unwrap();
        stubborn.try_write(request.as_bytes()).unwrap();
        while !exchange(b"\r\n\r\n") {
            stubborn.readable().await.unwrap();
        }
        server.signal("TERM");
        // The Close with 1001 says that the first signal was heard.
        while !exchange(b"\x03\xe9") {
            stubborn.readable().await.unwrap();
        }
        server.signal("TERM");
        let (status, log) = server.wait();
        assert_eq!(status.code(), Some(130), "{log}");
    });
}

#[test]
fn an_address_in_use_is_explained() {
    let server = Server::start(&["dev"]);
    for workers in ["1", "2"] {
        let second = Command::new(env!("CARGO_BIN_EXE_weirline"))
            .args(["dev", "--listen", server.address(), "--workers", workers])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let error = String::from_utf8(second.stderr).unwrap();
        assert_eq!(second.status.code(), Some(1), "{error}");
        assert!(
            error.contains("is in use") && error.contains("--listen"),
            "{error}"
        );
    }
}

#[test]
fn dev_is_for_this_machine() {
    let output = Command::new(env!("CARGO_BIN_EXE_weirline"))
        .args(["dev", "--listen", "0.0.0.0:0"])
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        error.contains("loopback") && error.contains("weirline serve"),
        "{error}"
    );
}

/// The soft limit that shells give would end the server's growth at some thousand connections.
#[test]
#[cfg(unix)]
fn the_limit_of_descriptors_is_raised() {
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        "ulimit -S -n 128 && exec \"$0\" \"$@\"",
        env!("CARGO_BIN_EXE_weirline"),
    ]);
    let mut server = Server::start_by(shell, &["dev"]);
    run(async {
        let mut idle = Vec::new();
        for _ in 0..200 {
            idle.push(tokio::net::TcpStream::connect(server.address()).await.unwrap());
        }
        let mut socket = Socket::open(&server.url("/echo")).await;
        socket.send("more than the soft limit").await;
        socket.expect(&["more than the soft limit"]).await;
    });
    server.signal("TERM");
    let (_, log) = server.wait();
    let line = log.lines().find(|line| line.contains("descriptors.limit"));
    assert!(line.is_some_and(|line| line.contains("before=128")), "{log}");
}
