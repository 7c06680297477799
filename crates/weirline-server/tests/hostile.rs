//! Peers that mean harm, by the thousand, on pipes and a clock that jumps (docs/threats.md): they get what the limits say, and
//! nobody else notices.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Server, Socket, config, run, upgrade};
use http::{HeaderMap, HeaderValue};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, split};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, sleep_until};
use weirline_handshake::UpgradeRequest;
use weirline_log::{LogReader as _, StreamId};
use weirline_server::Config;
use weirline_tokio::CloseCode;

const SECOND: Duration = Duration::from_secs(1);
const SECRET: &str = "0123456789abcdefABCDEF";

/// A client's text frame, masked with the key 0.
fn text_frame(text: &str) -> Vec<u8> {
    let len = u8::try_from(text.len()).expect("a short text");
    assert!(len <= 125, "{text}");
    [&[0x81, 0x80 | len, 0, 0, 0, 0][..], text.as_bytes()].concat()
}

/// Writes the first bytes at once and the others one each second, until the server ends the stream. Returns when that was, and
/// whether the server said anything.
async fn drip(stream: DuplexStream, bytes: Vec<u8>, at_once: usize) -> (Instant, bool) {
    let (mut read, mut write) = split(stream);
    let writer = async {
        let _ = write.write_all(&bytes[..at_once]).await;
        for byte in &bytes[at_once..] {
            sleep(SECOND).await;
            if write.write_all(&[*byte]).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let reader = async {
        let mut said = Vec::new();
        let _ = read.read_to_end(&mut said).await;
        (Instant::now(), !said.is_empty())
    };
    tokio::select! {
        biased;
        ended = reader => ended,
        () = writer => unreachable!("never ends"),
    }
}

/// The deadline of a handshake is absolute: two thousand peers that send a byte now and then, or none, are gone when it comes.
/// Meanwhile others connect, and wait for nothing.
#[test]
fn two_thousand_drippers_are_gone_at_their_deadline_and_delay_nobody() {
    const DRIPPERS: usize = 2000;
    run(async {
        let server = Server::start(config());
        let deadline = config().handshake.deadline;
        let request = upgrade("/echo").into_bytes();
        let long = [&request[..request.len() - 2], &b"X: y\r\n".repeat(50)].concat();
        let begun = Instant::now();
        let mut drippers: Vec<JoinHandle<(Instant, bool)>> = Vec::new();
        for number in 0..DRIPPERS {
            let (bytes, at_once) = match number % 4 {
                0 => (request.clone(), 0),
                1 => (request[..request.len() - 1].to_vec(), request.len() - 1),
                2 => (long.clone(), request.len()),
                _ => (Vec::new(), 0),
            };
            drippers.push(spawn_local(drip(server.dial(1024).await, bytes, at_once)));
        }
        for second in 0..=10 {
            sleep_until(begun + second * SECOND + SECOND / 2).await;
            let started = Instant::now();
            let mut healthy = Socket::open(&server, "/echo").await;
            healthy.send("still there?").await;
            healthy.expect(&["still there?"]).await;
            assert_eq!(started.elapsed(), Duration::ZERO, "in second {second}");
        }
        for (number, dripper) in drippers.into_iter().enumerate() {
            let (ended, said) = dripper.await.unwrap();
            let took = ended - begun;
            assert!(
                (deadline..deadline + SECOND).contains(&took),
                "{number}: {took:?}"
            );
            assert!(!said, "{number}: an answer to no request");
        }
    });
}

/// The opening of a stream has a deadline as well, however slowly its frame comes in.
#[test]
fn a_dripped_opening_ends_at_its_deadline() {
    run(async {
        let server = Server::start(config());
        let request = upgrade("/v1/streams/s").into_bytes();
        let at_once = request.len();
        let wire = [request, text_frame(&format!("SESSION:{}:1", "x".repeat(100)))].concat();
        let begun = Instant::now();
        let (ended, said) = drip(server.dial(1024).await, wire, at_once).await;
        // 10 s for the opening, then the time that a peer has to answer a Close.
        let took = ended - begun;
        assert!((10 * SECOND..=16 * SECOND).contains(&took), "{took:?}");
        assert!(said);
    });
}

/// Frames in the segment of the request wait until the answer is out: before, a peer (or a proxy between) may hold them for
/// something else than frames.
#[test]
fn early_frames_have_no_effect_before_the_answer_is_written() {
    run(async {
        // An answer that does not fit into the pipe, which holds the request and the frames.
        const PIPE_BYTES: usize = 1024;
        let padding = |_: &UpgradeRequest| {
            let value = HeaderValue::from_str(&"p".repeat(3 * PIPE_BYTES)).expect("ASCII");
            Ok(HeaderMap::from_iter([(
                "x-padding".parse().expect("a name"),
                value,
            )]))
        };
        let server = Server::start(Config {
            validation: Some(Arc::new(padding)),
            ..config()
        });
        let stream = StreamId::new("s").unwrap();
        let messages = || {
            let bounds = server.log.bounds(&stream).unwrap();
            bounds.map_or(0, |bounds| bounds.head.get())
        };
        let mut peer = server.dial(PIPE_BYTES).await;
        let early = [text_frame("RESUME_FROM:none"), text_frame("1:early")].concat();
        let wire = [upgrade("/v1/streams/s").as_bytes(), &early].concat();
        assert!(wire.len() < PIPE_BYTES);
        peer.write_all(&wire).await.unwrap();
        sleep(5 * SECOND).await;
        assert_eq!(messages(), 0, "published before the 101");

        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(peer.read_u8().await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "));
        let mut said = [0; 15 + 7];
        peer.read_exact(&mut said).await.unwrap();
        assert_eq!(said, *b"\x81\x0dRESUME_FROM:0\x81\x05ACK:1");
        assert_eq!(messages(), 1);
    });
}

/// R20: three thousand subscribers whose windows are shut are broken off 2 s after the first message that they do not take, and
/// their places are free a second later, which they had to read why. Another subscriber has each message at once.
#[test]
fn three_thousand_zero_windows_are_closed_and_delay_nobody() {
    const SHUT: usize = 3000;
    const MESSAGES: usize = 40;
    run(async {
        let config = Config {
            connections_max: SHUT + 2,
            ..config()
        };
        let server = Server::start(config);
        let mut healthy = Socket::open(&server, "/v1/streams/s").await;
        healthy.resume(None, "head", 0).await;
        let mut publisher = Socket::open(&server, "/v1/streams/s").await;
        publisher.resume(None, "none", 0).await;
        let mut shut = Vec::new();
        for _ in 0..SHUT {
            // Room for the answers of the opening, which nobody reads either.
            let mut peer = server.dial(512).await;
            let wire = [
                upgrade("/v1/streams/s").as_bytes(),
                &text_frame("RESUME_FROM:head"),
            ]
            .concat();
            peer.write_all(&wire).await.unwrap();
            shut.push(peer);
        }
        sleep(SECOND / 2).await;

        let begun = Instant::now();
        let payload = "x".repeat(2000);
        for n in 1..=MESSAGES {
            let message = format!("{n}:{payload}");
            publisher.send(&message).await;
            healthy.expect(&[&message]).await;
        }
        assert_eq!(begun.elapsed(), Duration::ZERO, "the others wait for nobody");
        sleep_until(begun + 19 * SECOND / 10).await;
        let refused = Socket::try_open(&server, "/echo").await;
        assert!(refused.is_err(), "they are all still there");

        sleep_until(begun + 31 * SECOND / 10).await;
        for (number, mut peer) in shut.into_iter().enumerate() {
            let mut rest = Vec::new();
            let _ = peer.read_to_end(&mut rest).await;
            assert!(rest.len() <= 512, "{number}");
        }
        assert_eq!(begun.elapsed(), 31 * SECOND / 10, "they were gone before");
        drop(Socket::open(&server, "/echo").await);
        publisher.send(&format!("{}:after", MESSAGES + 1)).await;
        healthy.expect(&[&format!("{}:after", MESSAGES + 1)]).await;
    });
}

/// What a thief can have resumes nothing: a guess, a part, what the logs show of a session, or a whole opening that was
/// sent before. The owner is not disturbed by any of it.
#[test]
fn a_token_that_was_guessed_or_replayed_resumes_nothing() {
    run(async {
        let server = Server::start(config());
        let mut owner = Socket::open(&server, "/v1/streams/s").await;
        owner.resume(Some((SECRET, 1)), "none", 0).await;
        owner.send("1:a").await;
        owner.expect(&["ACK:1"]).await;
        owner.cut().await;
        let mut owner = Socket::open(&server, "/v1/streams/s").await;
        owner.resume(Some((SECRET, 2)), "none", 1).await;

        let check = async |secret: &str, attach: u64, expect: &str| {
            let mut thief = Socket::open(&server, "/v1/streams/s").await;
            thief.send(&format!("SESSION:{secret}:{attach}")).await;
            thief.send("RESUME_FROM:none").await;
            let answer = thief.next().await.unwrap();
            assert!(answer.starts_with(expect), "{secret}:{attach}: {answer}");
            if answer.starts_with("ERROR:") {
                let end = thief.ended().await;
                assert_eq!(
                    end.received,
                    Some(CloseCode::POLICY_VIOLATION),
                    "{secret}:{attach}"
                );
            }
        };
        let id = weirline_resume::Secret::parse(SECRET).unwrap().session_id();
        let hash: String = id.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let shown = id.to_string();
        // Replayed.
        for attach in [1, 2] {
            check(SECRET, attach, "ERROR:stale-attach:").await;
        }
        // Too short to be one: less than 128 bits.
        for short in [&SECRET[..21], &shown, ""] {
            check(short, 3, "ERROR:bad-message:").await;
        }
        let guesses = [
            &format!("{}E", &SECRET[..21]),
            &format!("{SECRET}0"),
            &SECRET.to_lowercase(),
            &SECRET.to_uppercase(),
            &hash,
            &shown.repeat(2),
        ];
        for guess in guesses {
            assert_ne!(guess, SECRET);
            check(guess, 3, "ERROR:session-unknown:").await;
            // A first attach always has a session: one of its own, with nothing in it.
            check(guess, 1, "RESUME_FROM:0").await;
        }
        owner.send("2:b").await;
        owner.expect(&["ACK:2"]).await;
    });
}
