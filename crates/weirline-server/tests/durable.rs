//! The server over the durable log, on a disk that fills up, fails and loses its power.

mod common;

use std::time::Duration;

use common::{Server, Socket, config, run};
use weirline_log::EventLog as _;
use weirline_log_redb::simulation::{Faults, SimDisk};
use weirline_log_redb::{RedbConfig, RedbLog, RedbReader};
use weirline_server::Config;

const SECRET: &str = "0123456789abcdefABCDEF";
const READER: &str = "the_secret_of_a_reader";
const STREAM: &str = "/v1/streams/s";

fn start(disk: &SimDisk, seed: u64) -> Server<RedbReader> {
    let limits = RedbConfig {
        checkpoint_bytes: 64 << 10,
        tail_bytes_max: 0,
        ..RedbConfig::default()
    };
    let log = RedbLog::open_storage(disk.storage(), limits, seed).unwrap();
    Server::over(config(), log.split())
}

fn full() -> Faults {
    Faults {
        capacity_bytes: Some(600 << 10),
        ..Faults::default()
    }
}

fn broken() -> Faults {
    Faults {
        write_fails_one_in: 1,
        ..Faults::default()
    }
}

/// Publishes until a message is refused; returns the last number that was not, and the refusal.
async fn publish_until_refused(publisher: &mut Socket, mut count: u64) -> (u64, String) {
    let payload = "x".repeat(2_000);
    loop {
        publisher.send(&format!("{}:{payload}", count + 1)).await;
        let answer = publisher.next().await.unwrap();
        if answer != format!("ACK:{}", count + 1) {
            return (count, answer);
        }
        count += 1;
        assert!(count < 10_000, "it is never refused");
    }
}

async fn expect_all(subscriber: &mut Socket, after: u64, last: u64) {
    for number in after + 1..=last {
        let message = subscriber.next().await.unwrap();
        assert!(
            message.starts_with(&format!("{number}:")),
            "{number}: {message:.40}"
        );
    }
}

#[test]
fn a_full_disk_refuses_messages_and_nothing_else() {
    run(async {
        let disk = SimDisk::new(5);
        let server = start(&disk, 1);
        let mut publisher = Socket::open(&server, STREAM).await;
        publisher.resume(Some((SECRET, 1)), "none", 0).await;
        let mut subscriber = Socket::open(&server, STREAM).await;
        subscriber.resume(None, "0", 0).await;
        disk.set_faults(full());
        let (count, refusal) = publish_until_refused(&mut publisher, 0).await;
        let expected = format!("ERROR:unavailable:{}:the log's storage is full", count + 1);
        assert_eq!(refusal, expected);
        expect_all(&mut subscriber, 0, count).await;

        // Readers come and go, with and without a session, and acknowledge: some room was left for their attaches.
        for attach in 1..=5 {
            let mut reader = Socket::open(&server, STREAM).await;
            reader.resume(Some((READER, attach)), "0", 0).await;
            expect_all(&mut reader, 0, count).await;
            reader.send(&format!("ACK:{count}")).await;
            reader.cut().await;
        }
        publisher.send(&format!("{}:again", count + 1)).await;
        publisher.expect(&[&expected]).await;

        disk.set_faults(Faults::default());
        // The upkeep notices that there is room.
        tokio::time::sleep(Duration::from_secs(2)).await;
        for number in count + 1..=count + 3 {
            publisher.send(&format!("{number}:small")).await;
            publisher.expect(&[&format!("ACK:{number}")]).await;
        }
        expect_all(&mut subscriber, count, count + 3).await;

        // The power goes. What was acknowledged is there, and the session goes on.
        drop(publisher);
        server.stop();
        server.stopped().await;
        disk.restart();
        let server = start(&disk, 2);
        let mut publisher = Socket::open(&server, STREAM).await;
        publisher.resume(Some((SECRET, 2)), "none", count + 3).await;
        let mut subscriber = Socket::open(&server, STREAM).await;
        subscriber.resume(None, "0", 0).await;
        expect_all(&mut subscriber, 0, count + 3).await;
    });
}

/// A disk that refuses every write: those who read go on, and what could not be acknowledged is taken later.
#[test]
fn a_broken_disk_refuses_messages_and_recovers() {
    run(async {
        let disk = SimDisk::new(6);
        let server = start(&disk, 1);
        let mut publisher = Socket::open(&server, STREAM).await;
        publisher.resume(Some((SECRET, 1)), "none", 0).await;
        let mut reader = Socket::open(&server, STREAM).await;
        reader.resume(Some((READER, 1)), "0", 0).await;
        for number in 1..=3 {
            publisher.send(&format!("{number}:m")).await;
            publisher.expect(&[&format!("ACK:{number}")]).await;
        }
        reader.expect(&["1:m", "2:m", "3:m"]).await;
        disk.set_faults(broken());
        for _ in 0..3 {
            publisher.send("4:m").await;
            publisher
                .expect(&["ERROR:unavailable:4:the log cannot be written"])
                .await;
        }
        reader.send("ACK:2").await;
        let mut other = Socket::open(&server, STREAM).await;
        other.resume(None, "0", 0).await;
        other.expect(&["1:m", "2:m", "3:m"]).await;
        // An attach has to be stored before it is answered.
        let mut late = Socket::open(&server, STREAM).await;
        late.send("SESSION:another_secret_of_someone:1").await;
        late.send("RESUME_FROM:none").await;
        late.expect(&["ERROR:unavailable:the log failed"]).await;

        disk.set_faults(Faults::default());
        publisher.send("4:m").await;
        publisher.expect(&["ACK:4"]).await;
        reader.expect(&["4:m"]).await;
        other.expect(&["4:m"]).await;
        reader.send("ACK:4").await;
        reader.handle.close(weirline_tokio::CloseCode::NORMAL, "");
        reader.ended().await;
        let mut late = Socket::open(&server, STREAM).await;
        late.resume(Some(("another_secret_of_someone", 1)), "none", 0)
            .await;
    });
}

/// After a restart sessions live as long as if their connections had ended then.
#[test]
fn sessions_wait_for_their_clients_after_a_restart() {
    run(async {
        let disk = SimDisk::new(7);
        let ttl = Config::default().session_ttl;
        for (seed, pause, survives) in [(1, ttl / 2, true), (2, ttl * 2, false)] {
            let server = start(&disk, seed);
            let name = format!("{SECRET}_{seed}");
            let mut reader = Socket::open(&server, STREAM).await;
            reader.resume(Some((&name, 1)), "none", 0).await;
            // The connection is open when the power goes.
            disk.restart();
            let server = start(&disk, seed + 10);
            tokio::time::sleep(pause).await;
            let mut reader = Socket::open(&server, STREAM).await;
            reader.send(&format!("SESSION:{name}:2")).await;
            reader.send("RESUME_FROM:none").await;
            let answer = reader.next().await.unwrap();
            if survives {
                assert_eq!(answer, "RESUME_FROM:0");
            } else {
                assert!(answer.starts_with("ERROR:session-unknown"), "{answer}");
            }
        }
    });
}
