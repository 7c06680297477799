//! What RFC 6455 asks of the opening handshake, where the tests of requests, answers and the client do not say it: each
//! MUST with what breaks it.

mod common;

use common::{VALID, read, request};
use http::{HeaderName, HeaderValue};
use weirline_handshake::{
    ClientRequest, ClientRequestError, HandshakeError, HeadLimits, RejectionKind as Kind, ResponseProgress,
    ResponseReader, WsUrl, WsUrlError,
};

/// RFC 6455 §4.3, §9.1: `1#token` and `1#extension` hold at least one element, in one field or in several.
#[test]
fn a_list_that_names_nothing_is_malformed() {
    let check = |name: &str, values: &[&str], kind: Option<Kind>| {
        let added = format!("+{name}");
        let changes: Vec<_> = values
            .iter()
            .map(|value| (added.as_str(), Some(*value)))
            .collect();
        let read = read(&request(&changes)).map(drop);
        let refused = read.map_err(|rejection| (rejection.status().as_u16(), rejection.kind()));
        assert_eq!(refused.err(), kind.map(|kind| (400, kind)), "{name}: {values:?}");
    };
    for (name, kind) in [
        ("Sec-WebSocket-Protocol", Kind::Subprotocol),
        ("Sec-WebSocket-Extensions", Kind::Extension),
    ] {
        check(name, &[""], Some(kind));
        check(name, &[" \t"], Some(kind));
        check(name, &[","], Some(kind));
        check(name, &[" , ,"], Some(kind));
        check(name, &["", ","], Some(kind));
        // Several fields are one list, whose empty elements do not count.
        check(name, &["", "a"], None);
        check(name, &[",a,,b,"], None);
        check(name, &[], None);
    }
}

/// RFC 6455 §4.1 (answer item 5), §9.1, §11.3.2: who asked for no extension can be answered with none, not even by an empty
/// list.
#[test]
fn an_answer_with_a_list_of_extensions_is_refused() {
    for value in ["", " ", ",", "x", "permessage-deflate", "a b", "\"x\""] {
        let error = answered(&format!("Sec-WebSocket-Extensions: {value}\r\n")).expect_err(value);
        assert!(
            matches!(error, HandshakeError::ExtensionNotOffered),
            "{value:?}: {error:?}"
        );
    }
    answered("").expect("the standard's answer");
}

/// RFC 6455 §4.1, answer item 4: spaces around the value do not count, anything else does.
#[test]
fn spaces_around_the_accept_value_do_not_count() {
    let check = |value: &str, expect: bool| {
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Accept:{value}\r\n\r\n"
        );
        assert_eq!(judged(&answer).is_ok(), expect, "{value:?}");
    };
    check("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", true);
    check("  s3pPLMBiTxaQ9kYGzzhZRbK+xOo= ", true);
    check(" \ts3pPLMBiTxaQ9kYGzzhZRbK+xOo=\t \t", true);
    check(" s3pPLMBiTxaQ 9kYGzzhZRbK+xOo=", false);
    check(" \"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\"", false);
    check(" S3PPLMBITXAQ9KYGZZHZRBK+XOO=", false);
    check("", false);
}

/// RFC 6455 §4.1 items 2 to 4 of the request: what the URL makes of the request line and of `Host`.
#[test]
fn the_request_names_the_resource_and_the_host() {
    let check = |url: &str, target: &str, host: &str| {
        let url = WsUrl::parse(url).expect(url);
        let request = ClientRequest::new(&url, [7; 16]).encode();
        let request = std::str::from_utf8(&request).expect("ASCII");
        let lines: Vec<_> = request.split("\r\n").collect();
        assert_eq!(lines[0], format!("GET {target} HTTP/1.1"));
        let hosts: Vec<_> = lines.iter().filter(|line| line.starts_with("Host:")).collect();
        assert_eq!(hosts, [&format!("Host: {host}")], "{url}");
        assert!(request.ends_with("\r\n\r\n"));
    };
    check("ws://server.example", "/", "server.example");
    check("ws://server.example:80/", "/", "server.example");
    check("ws://server.example:443/a", "/a", "server.example:443");
    check(
        "ws://server.example:7070/a/b?c=d&e",
        "/a/b?c=d&e",
        "server.example:7070",
    );
    check("ws://server.example?c", "/?c", "server.example");
    check("wss://server.example:443/", "/", "server.example");
    check("wss://server.example:80/", "/", "server.example:80");
    check("ws://[2001:db8::1]:7070/%23", "/%23", "[2001:db8::1]:7070");
}

/// RFC 6455 §4.1: each field that the request must have, once and with its value.
#[test]
fn the_request_has_its_fields_once() {
    let url = WsUrl::parse("ws://server.example/chat").expect("valid");
    let request = ClientRequest::new(&url, *b"the sample nonce").encode();
    let request = std::str::from_utf8(&request).expect("ASCII");
    for (name, value) in VALID {
        let prefix = format!("{name}: ");
        let values: Vec<_> = request
            .split("\r\n")
            .filter_map(|line| line.strip_prefix(&prefix))
            .collect();
        assert_eq!(values, [value], "{name}");
    }
}

/// RFC 6455 §4.1 item 11, §9.1: this client has no extension to offer, and an application cannot offer one past it.
#[test]
fn no_extension_is_offered() {
    let url = WsUrl::parse("ws://server.example/").expect("valid");
    let request = ClientRequest::new(&url, [0; 16]);
    let sent = request.encode().to_ascii_lowercase();
    assert!(!sent.windows(10).any(|window| window == b"extensions"));
    let name = HeaderName::from_static("sec-websocket-extensions");
    let refused = request
        .header(name.clone(), HeaderValue::from_static("x-own"))
        .expect_err("reserved");
    assert_eq!(refused, ClientRequestError::ReservedHeader(name));
}

/// RFC 6455 §4.2.2 item 5: an answer for which nothing was chosen has the three fields and no more, whatever was offered.
#[test]
fn an_answer_names_no_subprotocol_that_was_not_chosen() {
    let request = read(&request(&[("+Sec-WebSocket-Protocol", Some("a, b"))])).expect("valid");
    let answer = request.accept().encode();
    let expect = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    assert_eq!(std::str::from_utf8(&answer).expect("ASCII"), expect);
}

/// RFC 6455 §3, §11.1.1, §11.1.2: a URL that was not converted to ASCII is refused, so that it is never sent as it is.
#[test]
fn urls_outside_ascii_are_refused_and_their_converted_forms_taken() {
    for scheme in ["ws", "wss"] {
        for host in [
            "bücher.example",
            "b\u{fc}cher",
            "例え.example",
            "a\u{301}.example",
        ] {
            let url = format!("{scheme}://{host}/");
            assert!(matches!(WsUrl::parse(&url), Err(WsUrlError::Host(_))), "{url}");
        }
        for local in ["/bücher", "/?q=bücher", "/a?b=\u{2028}", "/例え", "/\u{7f}"] {
            let url = format!("{scheme}://server.example{local}");
            assert_eq!(WsUrl::parse(&url), Err(WsUrlError::Path), "{url}");
        }
        let converted = format!("{scheme}://xn--bcher-kva.example/b%C3%BCcher");
        assert_eq!(WsUrl::parse(&converted).expect("ASCII").to_string(), converted);
    }
}

/// What a client says to the standard's answer with `more` fields.
fn answered(more: &str) -> Result<(), HandshakeError> {
    judged(&format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n{more}\r\n"
    ))
}

fn judged(answer: &str) -> Result<(), HandshakeError> {
    let url = WsUrl::parse("ws://server.example/chat").expect("valid");
    let request = ClientRequest::new(&url, *b"the sample nonce");
    let mut reader = ResponseReader::new(HeadLimits::default(), &request);
    match reader.handle_input(answer.as_bytes())? {
        ResponseProgress::Done { consumed, .. } => {
            assert_eq!(consumed, answer.len());
            Ok(())
        }
        ResponseProgress::NeedMore => panic!("the answer is complete"),
    }
}
