//! `accept` and `connect` over a stream: deadlines, early data, refusals that arrive, peers that talk nonsense.

mod common;

use std::time::Duration;

use common::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use weirline_codec::OpCode;
use weirline_handshake::{ClientRequest, HandshakeError, Rejection, UpgradeRequest, UpgradeResponse};
use weirline_tokio::*;

fn request() -> ClientRequest {
    ClientRequest::new(&"ws://localhost/echo".parse().unwrap(), *b"the sample nonce")
}

fn yes(request: &UpgradeRequest) -> Result<UpgradeResponse, Rejection> {
    Ok(request.accept())
}

const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Writes a byte each second until the other side has gone; returns how many it took.
async fn drip(mut stream: DuplexStream, bytes: &[u8]) -> usize {
    for (index, byte) in bytes.iter().enumerate() {
        if stream.write_all(&[*byte]).await.is_err() {
            return index;
        }
        tokio::time::sleep(SECOND).await;
    }
    bytes.len()
}

/// An absolute deadline: bytes that trickle in do not move it.
#[tokio::test(start_paused = true)]
async fn drippers_meet_the_deadline() {
    let started = now();
    let (near, far) = duplex(1024);
    let settings = AcceptSettings::default();
    let wire = request().encode();
    let (accepted, taken) = tokio::join!(accept(near, &settings, yes), drip(far, &wire));
    assert!(
        matches!(accepted, Err(AcceptError::Deadline(after)) if after == 10 * SECOND),
        "{accepted:?}"
    );
    assert!((9..12).contains(&taken), "{taken}");

    let (near, far) = duplex(1024);
    let request = request();
    let (connected, taken) = tokio::join!(connect(near, &request, 3 * SECOND), drip(far, ANSWER));
    assert!(
        matches!(connected, Err(ConnectError::Deadline(after)) if after == 3 * SECOND),
        "{connected:?}"
    );
    assert!((2..5).contains(&taken), "{taken}");
    assert!(now() - started < 17 * SECOND);
}

/// A peer that does not read its answer cannot hold the server either.
#[tokio::test(start_paused = true)]
async fn peers_that_do_not_read_meet_a_deadline() {
    for refuse in [false, true] {
        let started = now();
        let (near, mut far) = duplex(64);
        let decide = |request: &UpgradeRequest| {
            if refuse {
                Err(Rejection::forbidden("no"))
            } else {
                yes(request)
            }
        };
        let writer = async {
            far.write_all(&request().encode()).await.unwrap();
            std::future::pending::<()>().await;
        };
        let settings = AcceptSettings::default();
        let accepted = tokio::select! {
            biased;
            accepted = accept(near, &settings, decide) => accepted,
            () = writer => unreachable!("never ends"),
        };
        match accepted {
            Err(AcceptError::Rejected(_)) if refuse => assert_eq!(now() - started, SECOND),
            Err(AcceptError::Deadline(_)) if !refuse => assert_eq!(now() - started, 10 * SECOND),
            other => panic!("{other:?}"),
        }
    }
}

/// The deadline is over all: a request at the last moment leaves little time for a refusal.
#[tokio::test(start_paused = true)]
async fn a_refusal_does_not_outlive_the_deadline() {
    let started = now();
    let (near, mut far) = duplex(1024);
    let late = async {
        tokio::time::sleep(Duration::from_millis(9500)).await;
        far.write_all(&request().encode()).await.unwrap();
        std::future::pending::<()>().await;
    };
    let settings = AcceptSettings::default();
    tokio::select! {
        biased;
        accepted = accept(near, &settings, |_| Err(Rejection::not_found("no"))) => {
            assert!(matches!(accepted, Err(AcceptError::Rejected(_))));
        }
        () = late => unreachable!("never ends"),
    }
    assert_eq!(now() - started, 10 * SECOND);
}

/// Frames in the same segment as the head, in both directions, cut anywhere.
#[tokio::test(start_paused = true)]
async fn early_frames_are_kept() {
    let hello = masked(OpCode::Text, true, b"early");
    let wire = [&request().encode()[..], &hello].concat();
    let early_answer = [ANSWER, &unmasked(OpCode::Text, true, b"early")].concat();
    for cut in (0..wire.len()).step_by(3) {
        let reads = [
            Read::Data(wire[..cut].to_vec()),
            Read::Yield,
            Read::Data(wire[cut..].to_vec()),
            Read::Eof,
        ];
        let script = Script::new(
            reads
                .into_iter()
                .filter(|read| !matches!(read, Read::Data(data) if data.is_empty())),
        );
        let accepted = accept(script.stream(), &AcceptSettings::default(), yes)
            .await
            .unwrap();
        let connection = Connection::server(Config::default().into(), now());
        let recorder = Recorder::echo();
        let seen = recorder.seen.clone();
        Driver::new(accepted.stream, connection, accepted.residue, recorder, ()).await;
        assert_eq!(seen.borrow()[0], Seen::Message(b"early".to_vec()), "{cut}");
        let echo = unmasked(OpCode::Text, true, b"early");
        assert_eq!(
            script.written(),
            [ANSWER, &echo].concat(),
            "the answer before any frame"
        );
    }
    for cut in (0..early_answer.len()).step_by(3) {
        let reads = [early_answer[..cut].to_vec(), early_answer[cut..].to_vec()];
        let script = Script::new(reads.into_iter().filter(|data| !data.is_empty()).map(Read::Data));
        script.push(Read::Eof);
        let connected = connect(script.stream(), &request(), SECOND).await.unwrap();
        let connection = Connection::client(Config::default().into(), Box::new(|| [0; 4]), now());
        let recorder = Recorder::new();
        let seen = recorder.seen.clone();
        Driver::new(connected.stream, connection, connected.residue, recorder, ()).await;
        assert_eq!(seen.borrow()[0], Seen::Message(b"early".to_vec()), "{cut}");
    }
}

/// What a client sends, the answer's status, and a line that the answer must have.
fn refusals() -> Vec<(Vec<u8>, u16, &'static str)> {
    let good = String::from_utf8(request().encode().to_vec()).unwrap();
    let flood = "X: y\r\n".repeat(100);
    vec![
        (
            good.replace("HTTP/1.1\r\n", "HTTP/1.1\r\nContent-Length: 5\r\n")
                .into(),
            400,
            "Connection: close",
        ),
        (b"nonsense\r\n\r\n".to_vec(), 400, "Connection: close"),
        (good.replace("GET", "POST").into(), 405, "Allow: GET"),
        (
            good.replace("Version: 13", "Version: 8").into(),
            426,
            "Sec-WebSocket-Version: 13",
        ),
        (
            good.replace("\r\n\r\n", &format!("\r\n{flood}\r\n")).into(),
            431,
            "Connection: close",
        ),
        (vec![b'x'; 20_000], 431, "Connection: close"),
        (good.replace("/echo", "/403").into(), 403, "Connection: close"),
        (good.replace("/echo", "/404").into(), 404, "Connection: close"),
        (good.replace("/echo", "/503").into(), 503, "Retry-After: 7"),
    ]
}

fn refuse(request: &UpgradeRequest) -> Result<UpgradeResponse, Rejection> {
    match request.path() {
        "/403" => Err(Rejection::forbidden("no")),
        "/404" => Err(Rejection::not_found("no")),
        "/503" => Err(Rejection::unavailable("later", Some(7 * SECOND))),
        _ => yes(request),
    }
}

/// Each refusal arrives whole, over real sockets, also where the client has sent more than was read: a second request gets no
/// second answer, and its bytes make no reset of the first.
#[tokio::test]
async fn refusals_arrive_and_nothing_follows_them() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for (wire, status, line) in refusals() {
        let address = Listener::local_addr(&listener).unwrap();
        let client = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let second = request().encode().repeat(1000);
            stream.write_all(&wire).await.unwrap();
            stream.write_all(&second).await.expect("no reset");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("no reset");
            stream.shutdown().await.expect("no reset");
            (answer, stream)
        };
        let server = async {
            let (stream, _) = Listener::accept(&listener).await.unwrap();
            accept(stream, &AcceptSettings::default(), refuse).await
        };
        let (accepted, (answer, stream)) = tokio::join!(server, client);
        let reset = stream.take_error().unwrap();
        assert!(reset.is_none(), "{status}: {reset:?}");
        match accepted {
            Err(AcceptError::Rejected(rejection)) => assert_eq!(rejection.status().as_u16(), status),
            other => panic!("{status}: {other:?}"),
        }
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(
            answer
                .to_lowercase()
                .contains(&format!("\r\n{}\r\n", line.to_lowercase())),
            "{answer}"
        );
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    }
}

/// A second request behind an accepted one is no frame: the connection fails, and HTTP is not spoken again.
#[tokio::test(start_paused = true)]
async fn a_request_behind_an_accepted_one_is_a_protocol_error() {
    let script = Script::new([Read::Data(request().encode().repeat(2)), Read::Eof]);
    let accepted = accept(script.stream(), &AcceptSettings::default(), yes)
        .await
        .unwrap();
    let connection = Connection::server(Config::default().into(), now());
    let end = Driver::new(accepted.stream, connection, accepted.residue, Recorder::new(), ()).await;
    assert!(matches!(end.cause, Cause::Protocol(_)), "{end:?}");
    let written = script.written();
    assert!(written.starts_with(ANSWER));
    let frames = decode_all(written[ANSWER.len()..].to_vec());
    assert_eq!((frames.len(), frames[0].opcode), (1, OpCode::Close));
}

#[tokio::test(start_paused = true)]
async fn peers_that_leave() {
    let settings = AcceptSettings::default();
    let check = async |reads: Vec<Read>| {
        accept(Script::new(reads).stream(), &settings, yes)
            .await
            .unwrap_err()
    };
    assert!(matches!(check(vec![Read::Eof]).await, AcceptError::Untouched));
    let part = Read::Data(b"GET / HT".to_vec());
    assert!(matches!(
        check(vec![part.clone(), Read::Eof]).await,
        AcceptError::Incomplete
    ));
    let reset = Read::Error(std::io::ErrorKind::ConnectionReset);
    assert!(matches!(check(vec![part, reset]).await, AcceptError::Io(_)));
    let unwritable = Script::new([Read::Data(request().encode().to_vec())])
        .writes([Write::Take(5), Write::Error(std::io::ErrorKind::BrokenPipe)]);
    let error = accept(unwritable.stream(), &settings, yes).await.unwrap_err();
    assert!(matches!(error, AcceptError::Io(_)), "{error:?}");
}

/// What servers answer that are none, or do not want us.
#[tokio::test(start_paused = true)]
async fn servers_that_do_not_accept() {
    let refused =
        b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 100\r\n\r\nlater, ".to_vec();
    let reset = Read::Error(std::io::ErrorKind::ConnectionReset);
    let check = async |reads: Vec<Read>| {
        connect(Script::new(reads).stream(), &request(), SECOND)
            .await
            .unwrap_err()
    };

    // The refusal counts, also where its text never comes to an end.
    for tail in [vec![Read::Eof], vec![reset.clone()], vec![]] {
        let error = check([vec![Read::Data(refused.clone())], tail].concat()).await;
        let ConnectError::Handshake(error) = error else {
            panic!("{error:?}")
        };
        assert_eq!(error.status().unwrap().as_u16(), 503);
        assert_eq!(error.retry_after(), Some(7 * SECOND));
        assert!(error.to_string().contains("later"), "{error}");
    }
    let error = check(vec![Read::Data(b"SSH-2.0-OpenSSH_9.9\r\n\r\n".to_vec())]).await;
    assert!(
        matches!(error, ConnectError::Handshake(HandshakeError::Head(_))),
        "{error:?}"
    );
    let error = check(vec![Read::Data(vec![b'x'; 100_000])]).await;
    assert!(
        matches!(error, ConnectError::Handshake(HandshakeError::Head(_))),
        "{error:?}"
    );
    let error = check(vec![Read::Data(ANSWER[..50].to_vec()), Read::Eof]).await;
    assert!(
        matches!(error, ConnectError::Handshake(HandshakeError::ClosedEarly)),
        "{error:?}"
    );
    let wrong = String::from_utf8(ANSWER.to_vec())
        .unwrap()
        .replace("s3pP", "S3pP");
    let error = check(vec![Read::Data(wrong.into())]).await;
    assert!(
        matches!(error, ConnectError::Handshake(HandshakeError::Accept)),
        "{error:?}"
    );
    let error = check(vec![reset]).await;
    assert!(matches!(error, ConnectError::Io(_)), "{error:?}");
    let error = check(vec![]).await;
    assert!(matches!(error, ConnectError::Deadline(_)), "{error:?}");
}
