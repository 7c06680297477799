//! Requests that are accepted or refused by RFC 6455 §4.2.1, R1 and R2, each with its status.

mod common;

use common::{read, request};
use weirline_handshake::{ExtensionOffer, Host, RejectionKind as Kind, negotiate_subprotocol};

#[test]
fn r1_the_request_of_the_standard_is_accepted() {
    // RFC 6455 §1.3.
    let head =
        b"GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://example.com\r\n\
        Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let request = read(head).expect("valid");
    assert_eq!(request.path(), "/chat");
    assert_eq!(request.query(), None);
    assert_eq!(
        request.host().host(),
        &Host::Name("server.example.com".to_owned())
    );
    assert_eq!(
        request.origin().map(ToString::to_string).as_deref(),
        Some("http://example.com")
    );
    assert_eq!(request.subprotocols(), ["chat", "superchat"]);
    assert_eq!(request.extensions(), []);
    assert_eq!(request.headers().len(), 7);
    let chosen = negotiate_subprotocol(&request, &["superchat", "chat"]).expect("offered");
    let answer = request.accept().subprotocol(chosen).expect("offered").encode();
    let expect = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n";
    assert_eq!(std::str::from_utf8(&answer).expect("ASCII"), expect);
}

#[test]
fn spellings_that_mean_the_same_are_accepted() {
    let check = |changes: &[(&str, Option<&str>)]| {
        read(&request(changes)).unwrap_or_else(|rejection| panic!("{changes:?}: {rejection}"));
    };
    check(&[]);
    check(&[("Upgrade", Some("WebSocket"))]);
    check(&[("Upgrade", Some("foo/2, WEBSOCKET"))]);
    check(&[("Connection", Some("keep-alive, Upgrade"))]);
    check(&[
        ("Connection", Some("keep-alive")),
        ("+Connection", Some("UPGRADE")),
    ]);
    check(&[("Sec-WebSocket-Version", Some("  13\t"))]);
    check(&[("+Content-Length", Some("0"))]);
    check(&[("Host", Some("[::1]:7070"))]);
    check(&[("Host", None), ("+hOsT", Some("server.example"))]);
    check(&[("+Cookie", Some("a=\u{e9}"))]);
    check(&[(
        "+Sec-WebSocket-Extensions",
        Some("permessage-deflate; client_max_window_bits, x; y=\"z\""),
    )]);
}

#[test]
fn fields_that_break_the_standard_are_refused() {
    let check = check_refused;
    check(&[("Host", None)], 400, Kind::Host);
    check(&[("Host", Some(""))], 400, Kind::Host);
    check(&[("Host", Some("user@server.example"))], 400, Kind::Host);
    check(&[("Host", Some("a, b"))], 400, Kind::Host);
    check(&[("Host", Some("żółw.example"))], 400, Kind::Host);
    check(&[("Upgrade", None)], 426, Kind::Upgrade);
    check(&[("Upgrade", None), ("Connection", None)], 426, Kind::Upgrade);
    check(&[("Upgrade", Some("websockets"))], 400, Kind::Upgrade);
    check(&[("Upgrade", Some("TLS/1.0"))], 400, Kind::Upgrade);
    check(&[("Upgrade", Some(""))], 400, Kind::Upgrade);
    check(&[("Connection", None)], 400, Kind::Connection);
    check(&[("Connection", Some("keep-alive"))], 400, Kind::Connection);
    check(&[("Connection", Some("upgraded"))], 400, Kind::Connection);
}

#[test]
fn r2_versions_keys_and_lists_are_checked_byte_by_byte() {
    let check = check_refused;
    check(&[("Sec-WebSocket-Version", None)], 426, Kind::Version);
    for version in [
        "", "8", "7", "0", "12", "14", "013", "13.0", "+13", "13, 8", "13,13", "\"13\"", "256", "ⅩⅢ",
    ] {
        check(&[("Sec-WebSocket-Version", Some(version))], 426, Kind::Version);
    }
    check(&[("Sec-WebSocket-Key", None)], 400, Kind::Key);
    for key in [
        "",
        "short",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ==,",
        "dGhlIHNhbXBsZSBub25jZQAA",
    ] {
        check(&[("Sec-WebSocket-Key", Some(key))], 400, Kind::Key);
    }
    check(
        &[("+Sec-WebSocket-Protocol", Some("a, a"))],
        400,
        Kind::Subprotocol,
    );
    check(
        &[("+Sec-WebSocket-Protocol", Some("a b"))],
        400,
        Kind::Subprotocol,
    );
    check(&[("+Sec-WebSocket-Protocol", Some("ä"))], 400, Kind::Subprotocol);
    check(
        &[
            ("+Sec-WebSocket-Protocol", Some("a")),
            ("+Sec-WebSocket-Protocol", Some("b, a")),
        ],
        400,
        Kind::Subprotocol,
    );
    for offer in [
        ";",
        "a b",
        "a;",
        "a; =1",
        "a; b=",
        "a; b=\"",
        "a; b=\"c d\"",
        "a/b",
        "a; b=\"\"",
        "a;;b",
        "é",
    ] {
        check(
            &[("+Sec-WebSocket-Extensions", Some(offer))],
            400,
            Kind::Extension,
        );
    }
}

#[test]
fn start_lines_that_break_the_standard_are_refused() {
    let check = |line: &str, status: u16, kind: Kind| {
        let head = String::from_utf8(request(&[])).expect("ASCII");
        let head = head.replacen("GET /chat?room=1 HTTP/1.1", line, 1);
        let rejection = read(head.as_bytes()).expect_err(line);
        assert_eq!(
            (rejection.status().as_u16(), rejection.kind()),
            (status, kind),
            "{line:?}"
        );
    };
    for method in ["POST", "HEAD", "OPTIONS", "CONNECT", "get", "PRI", "PROPFIND"] {
        check(&format!("{method} / HTTP/1.1"), 405, Kind::Method);
    }
    check("GET / HTTP/1.0", 400, Kind::HttpVersion);
    check("GET / HTTP/2.0", 400, Kind::Head);
    check("GET / HTTP/1.2", 400, Kind::Head);
    check("GET /", 400, Kind::Head);
    check("GET  / HTTP/1.1", 400, Kind::Head);
    check("GET / HTTP/1.1 ", 400, Kind::Head);
    check("GET /a b HTTP/1.1", 400, Kind::Head);
    check(" GET / HTTP/1.1", 400, Kind::Head);
    check("GET chat HTTP/1.1", 400, Kind::Target);
    check("GET * HTTP/1.1", 400, Kind::Target);
    check("GET server.example:80 HTTP/1.1", 400, Kind::Target);
    check("GET /a#b HTTP/1.1", 400, Kind::Target);
    check("GET /ż HTTP/1.1", 400, Kind::Target);
    check("GET http://other.example/ HTTP/1.1", 400, Kind::Target);
    check("GET http://server.example:8080/ HTTP/1.1", 400, Kind::Target);
    check("GET http://user@server.example/ HTTP/1.1", 400, Kind::Target);
    check("GET ftp://server.example/ HTTP/1.1", 400, Kind::Target);
}

#[test]
fn targets_are_kept_as_sent() {
    let check = |target: &str, path: &str, query: Option<&str>| {
        let head = String::from_utf8(request(&[])).expect("ASCII");
        let request = read(head.replacen("/chat?room=1", target, 1).as_bytes()).expect(target);
        assert_eq!((request.path(), request.query()), (path, query), "{target:?}");
    };
    check("/", "/", None);
    check("/?", "/", Some(""));
    check(
        "/v1/streams/a.b?from=1&x=%20?",
        "/v1/streams/a.b",
        Some("from=1&x=%20?"),
    );
    check("/a/../b", "/a/../b", None);
    check("/%2e%2e/b", "/%2e%2e/b", None);
    check("//server.example/x", "//server.example/x", None);
    check(
        "/x?u=http://other.example/",
        "/x",
        Some("u=http://other.example/"),
    );
    check("http://server.example", "/", None);
    check("WS://SERVER.example/a?b", "/a", Some("b"));
    check("https://server.example?b", "/", Some("b"));
}

#[test]
fn subprotocols_are_negotiated_in_the_clients_order() {
    let check = |offer: Option<&str>, supported: &[&str], expect: Result<Option<&str>, u16>| {
        let changes = offer.map(|offer| ("+Sec-WebSocket-Protocol", Some(offer)));
        let request = read(&request(changes.as_slice())).expect("valid");
        let chosen =
            negotiate_subprotocol(&request, supported).map_err(|rejection| rejection.status().as_u16());
        assert_eq!(chosen, expect, "{offer:?} {supported:?}");
    };
    let ours = ["weirline.v1.text", "weirline.v1.json"];
    check(None, &ours, Ok(None));
    check(None, &[], Ok(None));
    check(
        Some("weirline.v1.json, weirline.v1.text"),
        &ours,
        Ok(Some("weirline.v1.json")),
    );
    check(
        Some("mqtt, weirline.v1.text"),
        &ours,
        Ok(Some("weirline.v1.text")),
    );
    check(
        Some("weirline.attach.QUJD, weirline.v1.text"),
        &ours,
        Ok(Some("weirline.v1.text")),
    );
    check(Some("mqtt"), &ours, Err(400));
    check(Some("WEIRLINE.v1.text"), &ours, Err(400));
    check(Some("weirline.v1.tex"), &ours, Err(400));
    check(Some("mqtt"), &[], Err(400));
}

#[test]
fn extension_offers_are_declined() {
    let offers = "permessage-deflate; client_max_window_bits, x-webkit-deflate-frame";
    let request = read(&request(&[("+Sec-WebSocket-Extensions", Some(offers))])).expect("valid");
    assert!(matches!(
        request.extensions(),
        [ExtensionOffer::PermessageDeflate(_), ExtensionOffer::Unknown { name }] if name == "x-webkit-deflate-frame"
    ));
    let answer = request.accept().encode();
    assert!(
        !answer
            .to_ascii_lowercase()
            .windows(10)
            .any(|window| window == b"extensions")
    );
}

fn check_refused(changes: &[(&str, Option<&str>)], status: u16, kind: Kind) {
    let rejection = read(&request(changes)).expect_err("refused");
    assert_eq!(
        (rejection.status().as_u16(), rejection.kind()),
        (status, kind),
        "{changes:?}"
    );
}
