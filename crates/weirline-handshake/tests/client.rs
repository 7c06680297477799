//! The client's side: what it sends, and which answers it takes (RFC 6455 §4.1).

use std::time::Duration;

use weirline_handshake::{
    ClientRequest, ClientRequestError, ClientResponse, HandshakeError, HeadError, HeadLimits, Origin,
    ResponseProgress, ResponseReader, Subprotocol, SubprotocolError, WsUrl, WsUrlError,
};

const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn ours() -> ClientRequest {
    let url = WsUrl::parse("ws://server.example/chat").expect("valid");
    ClientRequest::new(&url, *b"the sample nonce")
        .subprotocols(&["chat", "superchat"])
        .expect("tokens")
}

/// Feeds an answer whole and byte by byte; at its end comes EOF. Both must say the same.
fn read(input: &[u8]) -> Result<(Box<ClientResponse>, usize), HandshakeError> {
    let whole = feed(input, input.len().max(1));
    let bytewise = feed(input, 1);
    assert_eq!(
        format!("{whole:?}"),
        format!("{bytewise:?}"),
        "whole = byte by byte"
    );
    whole
}

fn feed(input: &[u8], step: usize) -> Result<(Box<ClientResponse>, usize), HandshakeError> {
    let mut reader = ResponseReader::new(HeadLimits::default(), &ours());
    for (index, part) in input.chunks(step).enumerate() {
        if let ResponseProgress::Done { response, consumed } = reader.handle_input(part)? {
            return Ok((response, index * step + consumed));
        }
    }
    Err(reader.handle_eof())
}

fn answer(from: &str, to: &str) -> String {
    let changed = ACCEPTED.replacen(from, to, 1);
    assert_ne!(changed, ACCEPTED, "{from:?} occurs");
    changed
}

#[test]
fn the_request_is_that_of_the_standard() {
    let name = http::header::AUTHORIZATION;
    let request = ours().origin(Origin::parse("https://Page.example:443").expect("valid"));
    let request = request
        .header(name, "Bearer x".parse().expect("ASCII"))
        .expect("free");
    let expect = "GET /chat HTTP/1.1\r\nHost: server.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
        Origin: https://page.example\r\nSec-WebSocket-Protocol: chat, superchat\r\n\
        authorization: Bearer x\r\n\r\n";
    assert_eq!(std::str::from_utf8(&request.encode()).expect("ASCII"), expect);
    let other = request.clone().with_key([0; 16]).encode();
    assert!(
        std::str::from_utf8(&other)
            .expect("ASCII")
            .contains("Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n")
    );
}

#[test]
fn requests_that_cannot_be_sent_are_refused() {
    let subprotocols = |names: &[&str]| ours().subprotocols(names).map(|_| ());
    assert_eq!(
        subprotocols(&["a", "a"]),
        Err(ClientRequestError::Subprotocol(SubprotocolError::Repeated))
    );
    assert_eq!(
        subprotocols(&["a, b"]),
        Err(ClientRequestError::Subprotocol(SubprotocolError::NotToken))
    );
    assert_eq!(
        subprotocols(&[""]),
        Err(ClientRequestError::Subprotocol(SubprotocolError::NotToken))
    );
    assert_eq!(
        subprotocols(&["a\r\nX: y"]),
        Err(ClientRequestError::Subprotocol(SubprotocolError::NotToken))
    );
    for name in [
        "host",
        "origin",
        "upgrade",
        "connection",
        "sec-websocket-key",
        "content-length",
        "transfer-encoding",
    ] {
        let name = http::HeaderName::from_static(name);
        let error = ours()
            .header(name.clone(), "x".parse().expect("ASCII"))
            .expect_err("reserved");
        assert_eq!(error, ClientRequestError::ReservedHeader(name));
    }
}

#[test]
fn urls_are_parsed_or_refused() {
    let check = |text: &str, expect: Result<(&str, u16, &str, &str), WsUrlError>| {
        let parsed = WsUrl::parse(text);
        match (&parsed, expect) {
            (Ok(url), Ok((host, port, path, shown))) => {
                assert_eq!(
                    (url.dial_host().as_str(), url.port(), url.path_and_query()),
                    (host, port, path),
                    "{text}"
                );
                assert_eq!(url.to_string(), shown);
                assert_eq!(WsUrl::parse(shown), parsed, "what is shown is the same URL");
            }
            (parsed, expect) => assert_eq!(parsed.as_ref().err(), expect.as_ref().err(), "{text}"),
        }
    };
    check("ws://a.example", Ok(("a.example", 80, "/", "ws://a.example/")));
    check(
        "WSS://A.example/",
        Ok(("a.example", 443, "/", "wss://a.example/")),
    );
    check("ws://a:80/x", Ok(("a", 80, "/x", "ws://a/x")));
    check("wss://a:80/x", Ok(("a", 80, "/x", "wss://a:80/x")));
    check(
        "ws://127.0.0.1:7070/v1/streams/s?from=1",
        Ok((
            "127.0.0.1",
            7070,
            "/v1/streams/s?from=1",
            "ws://127.0.0.1:7070/v1/streams/s?from=1",
        )),
    );
    check(
        "ws://[::1]:7070?x",
        Ok(("::1", 7070, "/?x", "ws://[::1]:7070/?x")),
    );
    check("http://a", Err(WsUrlError::Scheme));
    check("a", Err(WsUrlError::Scheme));
    check("a:7070/x", Err(WsUrlError::Scheme));
    check("ws://u:p@a/", Err(WsUrlError::UserInfo));
    check("ws://a/#x", Err(WsUrlError::Fragment));
    check("ws://a#x", Err(WsUrlError::Fragment));
    check("ws://a/b c", Err(WsUrlError::Path));
    check("ws://a/b\r\nX: y", Err(WsUrlError::Path));
    check("ws://a/ż", Err(WsUrlError::Path));
    for malformed in [
        "ws://",
        "ws:///x",
        "ws://a:0",
        "ws://a:x",
        "ws://a b",
        "ws://a\r\n",
        "ws://[::1",
        "ws://ż",
    ] {
        assert!(
            matches!(WsUrl::parse(malformed), Err(WsUrlError::Host(_))),
            "{malformed}"
        );
    }
}

#[test]
fn the_answer_of_the_standard_is_taken_and_frames_behind_it_are_kept() {
    let input = [ACCEPTED.as_bytes(), b"\x81\x05Hello\r\n\r\n"].concat();
    let (response, consumed) = read(&input).expect("accepted");
    assert_eq!(&input[consumed..], b"\x81\x05Hello\r\n\r\n");
    assert_eq!(response.subprotocol(), None);
    let chosen = answer("\r\n\r\n", "\r\nSec-WebSocket-Protocol: superchat\r\n\r\n");
    let (response, _) = read(chosen.as_bytes()).expect("accepted");
    assert_eq!(response.subprotocol().map(Subprotocol::as_str), Some("superchat"));
    for (from, to) in [
        ("websocket", "WebSocket"),
        ("Connection: Upgrade", "Connection: keep-alive, upgrade"),
        ("Switching Protocols", ""),
        (" Switching Protocols", ""),
        ("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n"),
    ] {
        read(answer(from, to).as_bytes()).unwrap_or_else(|error| panic!("{to:?}: {error}"));
    }
}

/// The standard's answer, changed in one place, fails with this error.
macro_rules! check_changed {
    ($from:expr, $to:expr, $expect:pat) => {
        let error = read(answer($from, $to).as_bytes()).expect_err($to);
        assert!(matches!(error, $expect), "{:?}: {error:?}", $to);
    };
}

#[test]
fn answers_that_break_the_standard_are_refused() {
    let add = "\r\n\r\n";
    check_changed!("Upgrade: websocket\r\n", "", HandshakeError::Upgrade);
    check_changed!("websocket", "h2c", HandshakeError::Upgrade);
    check_changed!("websocket", "websocket, h2c", HandshakeError::Upgrade);
    check_changed!(add, "\r\nUpgrade: websocket\r\n\r\n", HandshakeError::Upgrade);
    check_changed!("Connection: Upgrade\r\n", "", HandshakeError::Connection);
    check_changed!(
        "Connection: Upgrade",
        "Connection: close",
        HandshakeError::Connection
    );
    check_changed!(
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
        "",
        HandshakeError::Accept
    );
    check_changed!("s3pP", "S3pP", HandshakeError::Accept);
    check_changed!("xOo=", "xOo", HandshakeError::Accept);
    // What the wrong GUID of the guide (R1) gives for this key.
    check_changed!(
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        "Up/o+s/t37/FBC4CxqqGbeU82cU=",
        HandshakeError::Accept
    );
    check_changed!(
        add,
        "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        HandshakeError::Accept
    );
}

#[test]
fn choices_and_heads_that_break_the_standard_are_refused() {
    let add = "\r\n\r\n";
    check_changed!(
        add,
        "\r\nSec-WebSocket-Protocol: other\r\n\r\n",
        HandshakeError::SubprotocolNotOffered
    );
    check_changed!(
        add,
        "\r\nSec-WebSocket-Protocol: chat, superchat\r\n\r\n",
        HandshakeError::SubprotocolNotOffered
    );
    check_changed!(
        add,
        "\r\nSec-WebSocket-Protocol:\r\n\r\n",
        HandshakeError::SubprotocolNotOffered
    );
    let twice = "\r\nSec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: chat\r\n\r\n";
    check_changed!(add, twice, HandshakeError::SubprotocolNotOffered);
    check_changed!(
        add,
        "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
        HandshakeError::ExtensionNotOffered
    );
    check_changed!(
        add,
        "\r\nTransfer-Encoding: chunked\r\n\r\n",
        HandshakeError::Body
    );
    check_changed!(add, "\r\nContent-Length: 5\r\n\r\n", HandshakeError::Body);
    check_changed!("HTTP/1.1", "HTTP/1.0", HandshakeError::Head(HeadError::Syntax(_)));
    check_changed!(
        "HTTP/1.1 101",
        "ICY 101",
        HandshakeError::Head(HeadError::Syntax(_))
    );
    check_changed!("101", "10", HandshakeError::Head(HeadError::Syntax(_)));
    check_changed!(
        "websocket\r\n",
        "websocket\n",
        HandshakeError::Head(HeadError::BareLf)
    );
    check_changed!(
        "websocket\r\n",
        "websocket\r\n fold\r\n",
        HandshakeError::Head(HeadError::ObsFold)
    );
    let many = format!("\r\n{}\r\n", "a: b\r\n".repeat(64));
    check_changed!(add, &many, HandshakeError::Head(HeadError::TooManyHeaders(64)));
    let long = format!("\r\nx: {}\r\n\r\n", "y".repeat(16 * 1024));
    check_changed!(add, &long, HandshakeError::Head(HeadError::TooLong(16_384)));
    for cut in [0, 1, 40, ACCEPTED.len() - 1] {
        assert!(
            matches!(
                read(&ACCEPTED.as_bytes()[..cut]),
                Err(HandshakeError::ClosedEarly)
            ),
            "cut at {cut}"
        );
    }
}

#[test]
fn a_refusal_is_reported_with_its_reason() {
    let check = check_refusal;
    check(
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno and more",
        403,
        None,
        b"no",
    );
    check(
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nno",
        403,
        None,
        b"no",
    ); // cut off by EOF
    check("HTTP/1.1 404 Not Found\r\n\r\n", 404, None, b"");
    check("HTTP/1.0 502 Bad Gateway\r\n\r\n<html>", 502, None, b"<html>");
    check(
        "HTTP/1.1 503 Full\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n",
        503,
        Some(7),
        b"",
    );
    check(
        "HTTP/1.1 503 Full\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n\r\n",
        503,
        None,
        b"",
    );
    check("HTTP/1.1 503 Full\r\nRetry-After: -1\r\n\r\n", 503, None, b"");
    check("HTTP/1.1 503 Full\r\nRetry-After: \r\n\r\n", 503, None, b"");
    check(
        "HTTP/1.1 503 Full\r\nRetry-After: 99999999999\r\n\r\n",
        503,
        None,
        b"",
    );
    check(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello",
        200,
        None,
        b"",
    );
    check(
        "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
        302,
        None,
        b"",
    );
    let long = "x".repeat(5000);
    let expect = &long.as_bytes()[..ResponseReader::BODY_PREFIX_MAX];
    check(
        &format!("HTTP/1.1 500 Oops\r\nContent-Length: 5000\r\n\r\n{long}"),
        500,
        None,
        expect,
    );
    check(&format!("HTTP/1.1 500 Oops\r\n\r\n{long}"), 500, None, expect);
    check(
        &format!("HTTP/1.1 500 Oops\r\nContent-Length: {}\r\n\r\n{long}", u64::MAX),
        500,
        None,
        expect,
    );
}

#[test]
fn a_refusal_can_be_taken_at_a_deadline() {
    let mut reader = ResponseReader::new(HeadLimits::default(), &ours());
    assert!(matches!(
        reader.handle_input(b"HTTP/1.1 503 Full\r\nRetry-After: 3\r\n"),
        Ok(ResponseProgress::NeedMore)
    ));
    assert!(!reader.is_refused());
    assert!(matches!(
        reader.handle_input(b"\r\nwait"),
        Ok(ResponseProgress::NeedMore)
    ));
    assert!(reader.is_refused());
    let error = reader.handle_eof();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
    assert_eq!(
        error.to_string(),
        "the server refused the upgrade with 503 Service Unavailable: wait"
    );
}

#[test]
fn a_refusal_is_shown_without_its_controls() {
    let input = b"HTTP/1.1 400 X\r\nContent-Length: 20\r\n\r\n\x1b[2Ja\r\nlevel=error\xff..";
    let shown = read(input).expect_err("refused").to_string();
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
    assert!(shown.contains(r"\u{1b}[2Ja\r\nlevel=error"), "{shown:?}");
}

#[test]
fn interim_answers_are_skipped_up_to_a_bound() {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    let within = format!("{}{ACCEPTED}", interim.repeat(ResponseReader::INTERIM_MAX));
    let (_, consumed) = read(within.as_bytes()).expect("accepted");
    assert_eq!(consumed, within.len());
    let over = format!("{interim}{within}");
    assert!(matches!(
        read(over.as_bytes()),
        Err(HandshakeError::TooManyInterim)
    ));
    let refused = format!(
        "HTTP/1.1 100 Continue\r\n\r\n{}",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    );
    assert_eq!(
        read(refused.as_bytes()).expect_err("refused").status(),
        Some(http::StatusCode::NOT_FOUND)
    );
}

fn check_refusal(input: &str, status: u16, retry_after: Option<u64>, body: &[u8]) {
    let error = read(input.as_bytes()).expect_err("refused");
    assert_eq!(
        error.status().map(|status| status.as_u16()),
        Some(status),
        "{input:?}"
    );
    assert_eq!(
        error.retry_after(),
        retry_after.map(Duration::from_secs),
        "{input:?}"
    );
    let HandshakeError::Refused(refused) = error else {
        panic!("{error:?}")
    };
    assert_eq!(refused.body_prefix, body, "{input:?}");
}
