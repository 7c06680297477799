//! The bytes of every answer, and what an application may put into them (R4).

mod common;

use std::time::Duration;

use common::{read, request};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use weirline_handshake::{
    InvalidRejection, Rejection, RejectionKind, ResponseError, Subprotocol, UpgradeRequest, Validate,
};

#[test]
fn every_refusal_closes_and_says_why() {
    let check = check_refusal;
    let sec = Duration::from_secs;
    check(&Rejection::bad_request("no"), "400 Bad Request", &[]);
    check(&Rejection::forbidden("no"), "403 Forbidden", &[]);
    check(&Rejection::not_found("no"), "404 Not Found", &[]);
    check(
        &Rejection::method_not_allowed(),
        "405 Method Not Allowed",
        &["Allow: GET"],
    );
    let upgrade = ["Upgrade: websocket", "Sec-WebSocket-Version: 13"];
    check(
        &Rejection::upgrade_required("no"),
        "426 Upgrade Required",
        &upgrade,
    );
    check(
        &Rejection::head_too_large("no"),
        "431 Request Header Fields Too Large",
        &[],
    );
    check(
        &Rejection::unavailable("full", None),
        "503 Service Unavailable",
        &[],
    );
    check(
        &Rejection::unavailable("full", Some(sec(7))),
        "503 Service Unavailable",
        &["Retry-After: 7"],
    );
    let pause = Duration::from_millis(1001);
    check(
        &Rejection::unavailable("full", Some(pause)),
        "503 Service Unavailable",
        &["Retry-After: 2"],
    );
    check(
        &Rejection::unavailable("full", Some(Duration::ZERO)),
        "503 Service Unavailable",
        &["Retry-After: 0"],
    );
    check(
        &Rejection::unavailable("full", Some(Duration::MAX)),
        "503 Service Unavailable",
        &["Retry-After: 18446744073709551615"],
    );
    let version = read(&request(&[("Sec-WebSocket-Version", Some("8"))])).expect_err("refused");
    check(&version, "426 Upgrade Required", &upgrade);
}

#[test]
fn the_application_chooses_statuses_that_refuse() {
    for status in [401, 429, 451, 500, 599] {
        let status = StatusCode::from_u16(status).expect("a status");
        let rejection = Rejection::custom(status, "no").expect("allowed");
        assert_eq!(
            (rejection.status(), rejection.kind()),
            (status, RejectionKind::Application)
        );
    }
    for status in [100, 101, 200, 204, 302, 399, 600, 999] {
        let status = StatusCode::from_u16(status).expect("a status");
        assert_eq!(Rejection::custom(status, "no"), Err(InvalidRejection::Status));
    }
    let name = |name: &'static str| HeaderName::from_static(name);
    let value = HeaderValue::from_static("Bearer");
    let rejection = Rejection::custom(StatusCode::UNAUTHORIZED, "who are you?").expect("allowed");
    let rejection = rejection
        .header(name("www-authenticate"), value.clone())
        .expect("allowed");
    let text = String::from_utf8(rejection.encode().to_vec()).expect("UTF-8");
    assert!(
        text.starts_with("HTTP/1.1 401 Unauthorized\r\n")
            && text.contains("\r\nwww-authenticate: Bearer\r\n")
    );
    for reserved in [
        "connection",
        "content-length",
        "transfer-encoding",
        "upgrade",
        "content-type",
        "retry-after",
    ] {
        let refused = rejection.clone().header(name(reserved), value.clone());
        assert_eq!(refused, Err(InvalidRejection::ReservedHeader), "{reserved}");
    }
}

#[test]
fn a_message_cannot_split_the_answer_or_the_log() {
    let rejection = Rejection::forbidden("a\r\n\r\nHTTP/1.1 200 OK\r\n\u{1b}[2J\u{202e}");
    let text = String::from_utf8(rejection.encode().to_vec()).expect("UTF-8");
    let (_, body) = text.split_once("\r\n\r\n").expect("a head");
    for shown in [body.trim_end_matches('\n'), &rejection.to_string()] {
        assert!(
            !shown.chars().any(|c| c.is_control() || c == '\u{202e}'),
            "{shown:?}"
        );
        assert!(shown.contains(r"a\r\n\r\nHTTP/1.1 200 OK"), "{shown:?}");
    }
}

#[test]
fn r4_a_hook_refuses_and_adds_headers() {
    let token = HeaderName::from_static("x-token");
    let hook = |request: &UpgradeRequest| match request.headers().get("x-token") {
        Some(value) if value == "secret" => {
            let mut added = HeaderMap::new();
            added.append("x-connection-validated", HeaderValue::from_static("true"));
            added.append("set-cookie", HeaderValue::from_static("a=1"));
            added.append("set-cookie", HeaderValue::from_static("b=2"));
            Ok(added)
        }
        _ => Err(Rejection::forbidden("the token is wrong: ask for another")),
    };
    let decide = |changes: &[(&str, Option<&str>)]| {
        let request = read(&request(changes)).expect("valid");
        let added = hook.validate(&request)?;
        Ok::<_, Rejection>(request.accept().headers(&added)?.encode())
    };
    let answer = decide(&[(&format!("+{token}"), Some("secret"))]).expect("accepted");
    let text = String::from_utf8(answer.to_vec()).expect("ASCII");
    for line in [
        "x-connection-validated: true",
        "set-cookie: a=1",
        "set-cookie: b=2",
    ] {
        assert_eq!(
            text.matches(&format!("\r\n{line}\r\n")).count(),
            1,
            "{line} in {text}"
        );
    }
    assert!(text.ends_with("\r\n\r\n"));
    assert_eq!(decide(&[]).expect_err("refused").status(), 403);
}

#[test]
fn an_answer_says_only_what_was_offered() {
    let request = read(&request(&[("+Sec-WebSocket-Protocol", Some("a, b"))])).expect("valid");
    let accept = || request.accept();
    assert_eq!(
        accept().subprotocol("c").expect_err("not offered"),
        ResponseError::SubprotocolNotOffered
    );
    assert_eq!(
        accept().subprotocol("A").expect_err("not offered"),
        ResponseError::SubprotocolNotOffered
    );
    let chosen = accept().subprotocol("b").expect("offered");
    assert_eq!(chosen.chosen_subprotocol().map(Subprotocol::as_str), Some("b"));
    assert_eq!(chosen.subprotocol(None).expect("none").chosen_subprotocol(), None);
    for reserved in [
        "upgrade",
        "connection",
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "content-length",
    ] {
        let name = HeaderName::from_static(reserved);
        let error = accept()
            .header(name.clone(), HeaderValue::from_static("x"))
            .expect_err(reserved);
        assert_eq!(error, ResponseError::ReservedHeader(name));
        // A mistake of the application is not the peer's fault.
        assert_eq!(Rejection::from(error).status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}

fn check_refusal(rejection: &Rejection, status: &str, fields: &[&str]) {
    let bytes = rejection.encode();
    let text = std::str::from_utf8(&bytes).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let mut lines = head.split("\r\n");
    assert_eq!(lines.next(), Some(format!("HTTP/1.1 {status}").as_str()));
    let lines: Vec<_> = lines.collect();
    let connection = if fields.contains(&"Upgrade: websocket") {
        "close, upgrade"
    } else {
        "close"
    };
    assert!(
        lines.contains(&format!("Connection: {connection}").as_str()),
        "{text}"
    );
    assert!(
        lines.contains(&format!("Content-Length: {}", body.len()).as_str()),
        "{text}"
    );
    for field in fields {
        assert!(lines.contains(field), "{field} in {text}");
    }
    for name in ["Upgrade", "Sec-WebSocket-Version", "Allow", "Retry-After"] {
        let expected = fields.iter().filter(|field| field.starts_with(name)).count();
        let prefix = format!("{name}: ");
        assert_eq!(
            lines.iter().filter(|line| line.starts_with(&prefix)).count(),
            expected,
            "{name} in {text}"
        );
    }
    assert_eq!(body, format!("{}\n", rejection.message()));
    assert!(rejection.to_string().contains(status), "{rejection}");
}
