//! The log on the disk, as the binary keeps it: crashes, a disk without room, and directories that cannot be used.

mod common;

use std::cell::RefCell;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use common::{DataDir, PATIENCE, Server, Socket, run};
use weirline_client::{
    BackoffConfig, ClientBuilder, Entropy, Event, Jitter, MemoryStore, Offset, Subscribe, TcpConnector,
};

const SECRET: &str = "0123456789abcdefABCDEF";

/// A client that is back as soon as its server is.
fn client(url: &str) -> ClientBuilder {
    let backoff = BackoffConfig {
        delay_max: Duration::from_millis(20),
        hint_max: Duration::from_millis(20),
        attempts_max: u32::MAX,
        stable_after: Duration::ZERO,
        jitter: Jitter::default(),
    };
    ClientBuilder::new(url).unwrap().backoff(backoff)
}

/// I8 and I6: what was acknowledged is there, in order, once, and a subscriber goes on as if nothing had been.
#[test]
fn i8_nothing_that_was_acknowledged_is_lost_in_a_crash() {
    const KILLS: u32 = 3;
    const BETWEEN: usize = 200;
    let data = DataDir::new();
    let arguments = ["serve", "--data-dir", data.text()];
    let mut server = Server::start(&arguments);
    let (address, url) = (server.address().to_owned(), server.url("/v1/streams/s"));
    run(async {
        let build = async |from| {
            let built = client(&url).subscribe(from);
            built
                .build(TcpConnector, MemoryStore::default(), Entropy::os())
                .await
                .unwrap()
        };
        let (publisher, mut published, publishing) = build(Subscribe::Nothing).await;
        let (_subscriber, mut seen, subscribing) = build(Subscribe::After(Offset::ZERO)).await;
        let drivers = [publishing, subscribing].map(|driver| tokio::task::spawn_local(driver.run()));
        let tickets = Rc::new(RefCell::new(Vec::new()));
        let (load, taken) = (publisher.clone(), Rc::clone(&tickets));
        let loading = tokio::task::spawn_local(async move {
            for number in 1_u64.. {
                let ticket = load.publish(number.to_string()).await.unwrap();
                taken.borrow_mut().push(ticket);
            }
        });
        let mut acknowledged = 0;
        for kill in 1..=KILLS {
            let until = acknowledged + BETWEEN;
            while acknowledged < until {
                let event = tokio::time::timeout(PATIENCE, published.next()).await.unwrap();
                match event.unwrap() {
                    Event::Acked(last) => {
                        acknowledged = tickets.borrow().partition_point(|ticket| *ticket <= last);
                    }
                    Event::Link(_) => {}
                    other => panic!("after kill {kill}: {other:?}"),
                }
            }
            server.kill();
            server = Server::start_at(&address, &arguments);
        }
        loading.abort();
        let _ = loading.await;
        publisher.publish("the last").await.unwrap();
        let mut offset = 0;
        loop {
            let event = tokio::time::timeout(PATIENCE, seen.next()).await.unwrap();
            match event.unwrap() {
                Event::Message(message) => {
                    offset += 1;
                    assert_eq!(message.position.offset.get(), offset);
                    if message.payload == "the last" {
                        break;
                    }
                    assert_eq!(message.payload, offset.to_string().as_str());
                }
                Event::Link(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(offset, tickets.borrow().len() as u64 + 1);
        for driver in drivers {
            driver.abort();
        }
    });
}

/// A session outlives the server: its count is known, and its attach number still counts.
#[test]
fn a_session_goes_on_after_a_crash_and_after_a_shutdown() {
    let data = DataDir::new();
    let arguments = ["serve", "--data-dir", data.text()];
    let mut server = Server::start(&arguments);
    let mut epoch = String::new();
    for life in 1..=3_u64 {
        run(async {
            let url = server.url("/v1/streams/s");
            let mut socket = Socket::open(&url).await;
            let session = format!("{SECRET}:{life}");
            let from = if life == 1 {
                "0".into()
            } else {
                format!("{}@{epoch}", life - 1)
            };
            epoch = socket.resume(Some(&session), &from, life - 1).await;
            socket.send(&format!("{life}:m{life}")).await;
            let (ack, message) = (format!("ACK:{life}"), format!("{life}:m{life}"));
            let mut both = [socket.next().await.unwrap(), socket.next().await.unwrap()];
            both.sort();
            assert_eq!(
                both,
                [message, ack].map(|text| text).into_iter().collect::<Vec<_>>()[..]
            );

            let mut late = Socket::open(&url).await;
            late.send(&format!("SESSION:{session}")).await;
            late.send("RESUME_FROM:none").await;
            let error = late.next().await.unwrap();
            assert!(error.starts_with("ERROR:stale-attach:"), "{error}");
        });
        if life == 1 {
            server.kill();
        } else {
            server.signal("TERM");
            let (status, log) = server.wait();
            assert!(status.success() && log.contains("log.checkpoint"), "{log}");
        }
        server = Server::start(&arguments);
    }
}

/// The limit of a file's size stands for a disk that is full; it is lifted while the server runs.
#[test]
fn without_room_publishing_is_refused_reading_goes_on_and_it_recovers() {
    let data = DataDir::new();
    let mut shell = Command::new("sh");
    // The journal's files have their place from the start; the database cannot grow to what is published here.
    let script = "trap '' XFSZ; ulimit -S -f 20480; exec \"$0\" \"$@\"";
    shell.args(["-c", script, env!("CARGO_BIN_EXE_weirline")]);
    let mut server = Server::start_by(shell, &["serve", "--data-dir", data.text()]);
    run(async {
        let url = server.url("/v1/streams/s");
        let mut publisher = Socket::open(&url).await;
        publisher.resume(Some(&format!("{SECRET}:1")), "none", 0).await;
        let mut subscriber = Socket::open(&url).await;
        subscriber.resume(None, "0", 0).await;
        let payload = "x".repeat(500_000);
        let mut count = 0;
        let refusal = loop {
            publisher.send(&format!("{}:{payload}", count + 1)).await;
            let answer = publisher.next().await.unwrap();
            if answer != format!("ACK:{}", count + 1) {
                break answer;
            }
            count += 1;
            assert!(count < 200, "it is never full");
        };
        let expected = format!("ERROR:unavailable:{}:the log's storage is full", count + 1);
        assert_eq!(refusal, expected);
        for number in 1..=count {
            assert!(
                subscriber
                    .next()
                    .await
                    .unwrap()
                    .starts_with(&format!("{number}:"))
            );
        }
        // Who comes with a session, or to read all of it, is let in; and it is said once, not per message.
        let mut late = Socket::open(&url).await;
        late.resume(Some("another-session-secret:1"), "0", 0).await;
        for number in 1..=count {
            assert!(late.next().await.unwrap().starts_with(&format!("{number}:")));
            late.send(&format!("ACK:{number}")).await;
        }
        publisher.send(&format!("{}:{payload}", count + 1)).await;
        assert_eq!(publisher.next().await.unwrap(), expected);

        let lifted = Command::new("prlimit")
            .args(["--fsize=unlimited:", "--pid", &server.pid().to_string()])
            .status();
        assert!(lifted.unwrap().success());
        let patience = tokio::time::Instant::now() + PATIENCE;
        loop {
            publisher.send(&format!("{}:small", count + 1)).await;
            if publisher.next().await.unwrap() == format!("ACK:{}", count + 1) {
                break;
            }
            assert!(tokio::time::Instant::now() < patience, "it does not recover");
        }
        let last = format!("{}:small", count + 1);
        subscriber.expect(&[&last]).await;
        late.expect(&[&last]).await;
    });
    server.signal("TERM");
    let (status, log) = server.wait();
    assert!(status.success(), "{log}");
    let lines = |event: &str| {
        log.lines()
            .filter(|line| line.contains(event) && !line.contains("DEBUG"))
            .count()
    };
    assert_eq!(
        (lines("log.commit_failed"), lines("log.recovered")),
        (1, 1),
        "{log}"
    );
}

#[test]
#[expect(clippy::disallowed_methods, reason = "no event loop runs here")]
fn a_directory_that_cannot_be_used_is_said_with_what_to_do() {
    let data = DataDir::new();
    let _server = Server::start(&["serve", "--data-dir", data.text()]);
    let file = format!("{}/a-file", data.text());
    std::fs::write(&file, "x").unwrap();
    let below = format!("{file}/below");
    for (directory, said) in [
        (data.text(), "in use by another process"),
        (&file, "give the path of a directory"),
        (&below, "give the path of a directory"),
        // Nobody may make a directory there.
        ("/sys/weirline", "make it belong to the user"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_weirline"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir", directory])
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(output.stdout.is_empty(), "it says that it listens");
        let line = error.lines().last().unwrap_or_default();
        let begins = "weirline: --data-dir: ";
        assert!(line.starts_with(begins) && line.contains(said), "{error}");
    }
}

/// What WELCOME says an acknowledgement means is what the log does.
#[test]
fn welcome_says_how_durable_the_log_is() {
    for (args, expect) in [
        (&["dev"][..], "memory"),
        (&["serve"][..], "durable"),
        (&["serve", "--durability", "memory"][..], "memory"),
    ] {
        let server = Server::start(args);
        run(async {
            let offer = |request: weirline_handshake::ClientRequest| {
                request.subprotocols(&["weirline.v1.json"]).unwrap()
            };
            let mut socket = Socket::try_open(&server.url("/v1/ws"), offer).await.unwrap();
            let hello = r#"{"t":"hello","v":1,"attach":1,"nonce":"AAAAAAAAAAAAAAAAAAAAAA","subs":[]}"#;
            socket.send(hello).await;
            let welcome = socket.next().await.unwrap();
            let said = format!("\"durability\":\"{expect}\"");
            assert!(welcome.contains(&said), "{args:?}: {welcome}");
        });
    }
}

#[test]
fn retention_by_count_is_kept() {
    let data = DataDir::new();
    let arguments = ["serve", "--data-dir", data.text(), "--retention-count", "2"];
    let server = Server::start(&arguments);
    run(async {
        let url = server.url("/v1/streams/s");
        let mut publisher = Socket::open(&url).await;
        publisher.resume(None, "none", 0).await;
        for number in 1..=5 {
            publisher.send(&format!("{number}:m")).await;
            publisher.expect(&[&format!("ACK:{number}")]).await;
        }
        let mut late = Socket::open(&url).await;
        late.resume(None, "0", 0).await;
        late.expect(&["GAP:1:3:retention", "4:m", "5:m"]).await;
    });
}
