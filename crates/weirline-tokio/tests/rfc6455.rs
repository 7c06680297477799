//! What RFC 6455 asks of whoever holds the stream: what is on it in which order, and when it is closed.

mod common;

use std::collections::BTreeSet;

use common::*;
use weirline_codec::OpCode;
use weirline_handshake::{ClientRequest, HandshakeError, Rejection, UpgradeRequest, UpgradeResponse};
use weirline_tokio::*;

const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn request() -> ClientRequest {
    ClientRequest::new(&"ws://localhost/echo".parse().unwrap(), *b"the sample nonce")
}

fn answer(from: &str, to: &str) -> Vec<u8> {
    let answer = std::str::from_utf8(ANSWER).unwrap();
    let changed = answer.replacen(from, to, 1);
    assert_ne!(changed, answer, "{from:?} occurs");
    changed.into()
}

/// RFC 6455 §4.1: the request goes out at once, and nothing behind it until the answer is read.
#[tokio::test(start_paused = true)]
async fn a_client_sends_its_request_and_waits_for_the_answer() {
    for at in [0, 1, ANSWER.len() / 2, ANSWER.len() - 1] {
        let script = Script::default();
        let request = request();
        let mut connecting = Box::pin(connect(script.stream(), &request, 10 * SECOND));
        assert!(cut(&mut connecting, 1).await.is_none(), "no answer is there");
        assert_eq!(script.written(), request.encode());
        if at > 0 {
            script.push(Read::Data(ANSWER[..at].to_vec()));
        }
        assert!(cut(&mut connecting, 1).await.is_none(), "half an answer is none");
        assert_eq!(script.written(), request.encode(), "cut at {at}");
        script.push(Read::Data(ANSWER[at..].to_vec()));
        let connected = connecting.await.expect("accepted");

        script.push(Read::Eof);
        let connection = Connection::client(Config::default().into(), Entropy::os().mask_source(), now());
        let (handle, _inbox, handler) = channel(InboxLimits::default());
        handle.try_send(Message::text("hello")).expect("room");
        Driver::new(connected.stream, connection, connected.residue, handler, ()).await;
        let written = script.written();
        let behind = written
            .strip_prefix(&request.encode()[..])
            .expect("the request first");
        assert_eq!(decode_all(behind.to_vec())[0].payload, b"hello");
    }
}

/// RFC 6455 §4.1, §7.2.1: a client that fails the connection during the handshake closes the stream and sends nothing more.
#[tokio::test(start_paused = true)]
async fn a_client_whose_handshake_fails_closes_the_stream() {
    type Wrong = fn(&HandshakeError) -> bool;
    let answers: [(Vec<u8>, Wrong); 7] = [
        (answer("Upgrade: websocket\r\n", ""), |error| {
            matches!(error, HandshakeError::Upgrade)
        }),
        (answer("Connection: Upgrade\r\n", ""), |error| {
            matches!(error, HandshakeError::Connection)
        }),
        (answer("s3pP", "S3pP"), |error| {
            matches!(error, HandshakeError::Accept)
        }),
        (
            answer("\r\n\r\n", "\r\nSec-WebSocket-Extensions: x\r\n\r\n"),
            |error| matches!(error, HandshakeError::ExtensionNotOffered),
        ),
        (
            answer("\r\n\r\n", "\r\nSec-WebSocket-Protocol: x\r\n\r\n"),
            |error| matches!(error, HandshakeError::SubprotocolNotOffered),
        ),
        (answer("\r\n", "\n"), |error| {
            matches!(error, HandshakeError::Head(_))
        }),
        (answer("101 Switching Protocols", "204 No Content"), |error| {
            error.status().is_some_and(|status| status == 204)
        }),
    ];
    for (answer, wrong) in answers {
        let shown = String::from_utf8_lossy(&answer).into_owned();
        let script = Script::new([Read::Data(answer)]);
        match connect(script.stream(), &request(), SECOND).await {
            Err(ConnectError::Handshake(error)) => assert!(wrong(&error), "{error:?} for {shown}"),
            other => panic!("{other:?} for {shown}"),
        }
        assert!(script.state().dropped, "the stream is closed: {shown}");
        assert_eq!(script.written(), request().encode(), "{shown}");
    }
}

/// RFC 6455 §4.2.2, §7.2.2: a server that aborts the handshake answers with an HTTP error once, and closes the stream.
#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_answers_once_and_closes_the_stream() {
    let good = String::from_utf8(request().encode().to_vec()).unwrap();
    let refuse = |request: &UpgradeRequest| match request.path() {
        "/403" => Err(Rejection::forbidden("no")),
        "/404" => Err(Rejection::not_found("no")),
        _ => Ok::<UpgradeResponse, Rejection>(request.accept()),
    };
    for (wire, status) in [
        (good.replace("Sec-WebSocket-Key", "X-Key"), "400"),
        (good.replace("/echo", "/403"), "403"),
        (good.replace("/echo", "/404"), "404"),
        (good.replace("GET", "PUT"), "405"),
        (good.replace("Version: 13", "Version: 25"), "426"),
    ] {
        // The peer does not leave: the server does.
        let second = request().encode().to_vec();
        let script = Script::new([Read::Data(wire.into()), Read::Data(second)]);
        let started = now();
        let refused = accept(script.stream(), &AcceptSettings::default(), refuse).await;
        assert!(matches!(refused, Err(AcceptError::Rejected(_))), "{refused:?}");
        assert!(now() - started <= SECOND, "{status}");
        let answer = String::from_utf8(script.written()).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "one answer: {answer}");
        let state = script.state();
        assert!(state.shut_down && state.dropped, "the stream is closed: {status}");
    }
}

/// RFC 6455 §5.1, §7.1.7: who fails the connection says why, ends the stream, and looks at nothing that follows.
#[tokio::test(start_paused = true)]
async fn who_fails_the_connection_closes_the_stream() {
    let reserved = |mut frame: Vec<u8>| {
        frame[0] |= 0x40;
        frame
    };
    let from_server = unmasked(OpCode::Text, true, b"hello");
    let from_client = masked(OpCode::Text, true, b"hello");
    for (is_server, good, bad) in [
        (true, &from_client, from_server.clone()),
        (true, &from_client, reserved(from_client.clone())),
        (false, &from_server, from_client.clone()),
        (false, &from_server, reserved(from_server.clone())),
    ] {
        let close = match is_server {
            true => masked(OpCode::Close, true, &close_payload(1000)),
            false => unmasked(OpCode::Close, true, &close_payload(1000)),
        };
        let wire = [good.clone(), bad, good.clone(), close].concat();
        let script = Script::new([Read::Data(wire), Read::Eof]);
        let recorder = Recorder::new();
        let seen = recorder.seen.clone();
        let end = match is_server {
            true => server(script.stream(), Config::default(), recorder).await,
            false => client(script.stream(), Config::default(), recorder).await,
        };
        assert!(matches!(end.cause, Cause::Protocol(_)), "{end:?}");
        assert!(
            !end.close_received,
            "the Close behind the failure is not looked at"
        );
        let cause = end.cause.clone();
        assert_eq!(
            *seen.borrow(),
            [Seen::Message(b"hello".to_vec()), Seen::End(cause)]
        );
        let frames = decode_all(script.written());
        assert_eq!((frames.len(), frames[0].opcode), (1, OpCode::Close));
        assert_eq!(frames[0].payload[..2], 1002u16.to_be_bytes());
        let state = script.state();
        assert!(state.shut_down && state.dropped, "the stream is closed");
    }
}

/// RFC 6455 §5.5.1, §7.1.1: once both Closes are through, the server ends the stream at once, the client when the server has
/// done so or does not for long.
#[tokio::test(start_paused = true)]
async fn both_closes_close_the_stream() {
    for (is_server, eof) in [(true, true), (true, false), (false, true), (false, false)] {
        let close = match is_server {
            true => masked(OpCode::Close, true, &close_payload(1000)),
            false => unmasked(OpCode::Close, true, &close_payload(1000)),
        };
        let script = Script::new([Read::Data(close)]);
        let started = now();
        let driver = match is_server {
            true => server(script.stream(), Config::default(), Recorder::new()),
            false => client(script.stream(), Config::default(), Recorder::new()),
        };
        let mut driver = Box::pin(driver);
        assert!(cut(&mut driver, 1).await.is_none(), "the peer's end is awaited");
        assert_eq!(decode_all(script.written()).len(), 1, "our Close");
        assert_eq!(script.state().shut_down, is_server);
        if eof {
            script.push(Read::Eof);
        }
        let end = driver.await;
        assert_eq!(facts(&end), (Some(1000), Some(1000), Cause::ClosedByPeer));
        let seconds = if eof { 0 } else { 2 };
        assert_eq!(now() - started, seconds * SECOND, "{is_server} {eof}");
        assert!(script.state().dropped, "the stream is closed");
    }
}

/// RFC 6455 §5.3, §10.3: each frame has a key of its own, from a strong source: no repetition, no step from one to the next,
/// no bit that is mostly the same. What a weak source gives fails this beyond any chance.
#[test]
fn masking_keys_are_fresh_and_cannot_be_guessed() {
    let source = || {
        let mut keys = Entropy::os().mask_source();
        std::iter::from_fn(move || Some(u32::from_be_bytes(keys())))
    };
    let keys: Vec<u32> = source().take(2048).collect();
    let distinct: BTreeSet<u32> = keys.iter().copied().collect();
    assert!(
        distinct.len() >= keys.len() - 3,
        "{} distinct keys",
        distinct.len()
    );
    let steps: BTreeSet<u32> = keys
        .windows(2)
        .map(|pair| pair[1].wrapping_sub(pair[0]))
        .collect();
    assert!(steps.len() >= keys.len() - 4, "{} distinct steps", steps.len());
    for bit in 0..32 {
        let set = keys.iter().filter(|key| *key >> bit & 1 == 1).count();
        assert!(
            (800..1248).contains(&set),
            "bit {bit} is set in {set} of 2048 keys"
        );
    }
    let again: BTreeSet<u32> = source().take(2048).collect();
    assert!(
        distinct.intersection(&again).count() <= 3,
        "two connections have the same keys"
    );
}
