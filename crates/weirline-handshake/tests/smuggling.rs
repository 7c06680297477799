//! Heads that two parsers could read differently, and heads that are too large (THREATS.md).

mod common;

use common::{VALID, feed, read, read_within, request};
use weirline_handshake::{HeadLimits, Progress, RejectionKind as Kind, RequestReader};

#[test]
fn bodies_and_other_protocols_are_refused() {
    let check = |added: &[(&str, &str)], kind: Kind| {
        let names: Vec<_> = added
            .iter()
            .map(|(name, value)| (format!("+{name}"), *value))
            .collect();
        let changes: Vec<_> = names
            .iter()
            .map(|(name, value)| (name.as_str(), Some(*value)))
            .collect();
        let rejection = read(&request(&changes)).expect_err("refused");
        assert_eq!(
            (rejection.status().as_u16(), rejection.kind()),
            (400, kind),
            "{added:?}"
        );
        assert_closes(&rejection.encode());
    };
    for coding in [
        "chunked",
        "identity",
        "gzip, chunked",
        "xchunked",
        "",
        "chunked, identity",
        "\"chunked\"",
    ] {
        check(&[("Transfer-Encoding", coding)], Kind::Body);
        check(
            &[("Transfer-Encoding", coding), ("Content-Length", "0")],
            Kind::Body,
        );
    }
    for length in [
        "1",
        "5",
        "-0",
        "+0",
        "00",
        "0x0",
        "0, 0",
        "0,5",
        "",
        "0 0",
        "18446744073709551616",
        "٠",
    ] {
        check(&[("Content-Length", length)], Kind::Body);
    }
    check(&[("Content-Length", "0"), ("Content-Length", "0")], Kind::Body);
    check(&[("Content-Length", "0"), ("content-length", "7")], Kind::Body);
    check(&[("Upgrade", "h2c")], Kind::Upgrade);
    check(&[("Upgrade", "foo, H2C")], Kind::Upgrade);
    check(&[("Upgrade", "\u{e9}, h2c")], Kind::Upgrade);
    check(&[("HTTP2-Settings", "AAMAAABkAAQAAP__")], Kind::Upgrade);
}

#[test]
fn fields_that_must_be_there_once_are_refused_twice() {
    let check = |name: &str, value: &str, status: u16, kind: Kind| {
        let rejection = read(&request(&[(&format!("+{name}"), Some(value))])).expect_err("refused");
        assert_eq!(
            (rejection.status().as_u16(), rejection.kind()),
            (status, kind),
            "{name}: {value}"
        );
        assert_closes(&rejection.encode());
    };
    check("Host", "server.example", 400, Kind::Host);
    check("host", "other.example", 400, Kind::Host);
    check("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", 400, Kind::Key);
    check("SEC-WEBSOCKET-KEY", "x3JJHMbDL1EzLkh9GBhXDw==", 400, Kind::Key);
    check("Sec-WebSocket-Version", "13", 426, Kind::Version);
    check("sec-websocket-version", "8", 426, Kind::Version);
    let origin = ("+Origin", Some("https://good.example"));
    let rejection = read(&request(&[origin, origin])).expect_err("refused");
    assert_eq!(
        (rejection.status().as_u16(), rejection.kind()),
        (403, Kind::Origin)
    );
}

#[test]
fn lines_that_end_in_doubt_are_refused() {
    let valid = String::from_utf8(request(&[])).expect("ASCII");
    let check = |from: &str, to: &str| {
        let head = valid.replacen(from, to, 1);
        assert_ne!(head, valid, "{from:?} occurs");
        let rejection = read(head.as_bytes()).expect_err("refused");
        assert_eq!(
            (rejection.status().as_u16(), rejection.kind()),
            (400, Kind::Head),
            "{from:?} → {to:?}"
        );
        assert_closes(&rejection.encode());
    };
    check("HTTP/1.1\r\n", "HTTP/1.1\n");
    check("Upgrade: websocket\r\n", "Upgrade: websocket\n");
    check("13\r\n\r\n", "13\n\r\n");
    check("13\r\n\r\n", "13\r\n\n");
    check("13\r\n\r\n", "13\n\n");
    check("13\r\n\r\n", "13\r\n\r\r\n");
    check("websocket\r\n", "websocket\r\r\n");
    check("websocket\r\n", "websocket\rX: y\r\n");
    check("websocket\r\n", "websocket\r\n X: y\r\n"); // obs-fold
    check("websocket\r\n", "websocket\r\n\tX: y\r\n");
    check("HTTP/1.1\r\n", "HTTP/1.1\r\n Host: evil.example\r\n");
    check("13\r\n\r\n", "13\r\n \r\n\r\n");
    check("Host:", "Host :");
    check("Host:", "Ho st:");
    check("Host:", ":");
    check("Host: ", "Host");
    check("Host:", "H\u{f6}st:");
    check("Host:", "\0Host:");
    check("server.example", "server.example\0");
    check("server.example", "server\u{1b}[31m.example");
    check("server.example", "server.example\u{7f}");
    check("GET", "\r\nGET");
    check("GET", "\nGET");
    check("GET /", "GET\t/");
}

#[test]
fn a_refusal_comes_as_soon_as_it_is_certain() {
    let check = |input: &[u8], kind: Kind| {
        let rejection = feed(input, &[], HeadLimits::default())
            .expect("no need for more")
            .expect_err("refused");
        assert_eq!(rejection.kind(), kind, "{:?}", String::from_utf8_lossy(input));
    };
    check(b"\x16\x03\x01\x02\x00", Kind::Head); // TLS ClientHello
    check(b"SSH-2.0-OpenSSH_9.2\r\n\n", Kind::Head);
    check(b"GET / HTTP/1.1\n", Kind::Head);
    check(b"GET / HTTP/1.1\r\nA: b\x7f", Kind::Head);
    check(b"GET / HTTP/1.1\r\nA: b\x00", Kind::Head);
    check(b"GET / HTTP/1.1\r\n\t", Kind::Head);
    check(&b"a".repeat(16 * 1024 + 1), Kind::HeadTooLarge);
    check(
        format!("GET / HTTP/1.1\r\n{}a", "a: b\r\n".repeat(64)).as_bytes(),
        Kind::HeadTooLarge,
    );
}

#[test]
fn the_limits_are_exact() {
    let limits = HeadLimits::default();
    let with_padding = |length: usize| {
        let empty = request(&[("+X-Padding", Some(""))]).len();
        request(&[("+X-Padding", Some(&"p".repeat(length - empty)))])
    };
    let (_, consumed) = read_within(&with_padding(limits.bytes), limits).expect("at the limit");
    assert_eq!(consumed, limits.bytes);
    let rejection = read_within(&with_padding(limits.bytes + 1), limits).expect_err("over the limit");
    assert_eq!(
        (rejection.status().as_u16(), rejection.kind()),
        (431, Kind::HeadTooLarge)
    );

    let with_fields = |count: usize| {
        let more = vec![("+X-Field", Some("1")); count - VALID.len()];
        request(&more)
    };
    let (accepted, _) = read_within(&with_fields(limits.headers), limits).expect("at the limit");
    assert_eq!(accepted.headers().len(), limits.headers);
    for count in [limits.headers + 1, 1000] {
        let rejection = read_within(&with_fields(count), limits).expect_err("over the limit");
        assert_eq!(
            (rejection.status().as_u16(), rejection.kind()),
            (431, Kind::HeadTooLarge),
            "{count}"
        );
    }
    // 10,000 fields within a byte limit that would allow them.
    let rejection = feed(&with_fields(10_000), &[], HeadLimits::new(1 << 20, 64))
        .expect("decided")
        .expect_err("431");
    assert_eq!(rejection.status(), 431);
}

#[test]
fn no_limit_makes_the_reader_panic() {
    // A header map holds less than 32,768 distinct names.
    let names: Vec<_> = (0..40_000).map(|n| format!("+X-{n}")).collect();
    let fields: Vec<_> = names.iter().map(|name| (name.as_str(), Some("1"))).collect();
    let request = request(&fields);
    let rejection = feed(&request, &[], HeadLimits::new(1 << 20, usize::MAX))
        .expect("decided")
        .expect_err("431");
    assert_eq!(rejection.status(), 431);
    let rejection = feed(&request, &[], HeadLimits::new(0, 0))
        .expect("decided")
        .expect_err("431");
    assert_eq!(rejection.status(), 431);
}

#[test]
fn early_data_is_returned_and_never_read_as_a_request() {
    let head = request(&[]);
    for behind in [
        &b"\x81\x85\x01\x02\x03\x04abcde"[..],
        &request(&[]),
        b"\r\n\r\n",
        b"\0",
    ] {
        let input = [&head, behind].concat();
        for cut in 0..input.len() {
            let (_, consumed) = feed(&input, &[cut], HeadLimits::default())
                .expect("complete")
                .expect("valid");
            assert_eq!(&input[consumed..], behind, "cut at {cut}");
        }
    }
    // A wrong version with a second request behind it: one answer, which closes (the tunnelling trick).
    let input = [request(&[("Sec-WebSocket-Version", Some("777"))]), head].concat();
    let rejection = read(&input).expect_err("refused");
    assert_eq!(rejection.status(), 426);
    assert_closes(&rejection.encode());
}

#[test]
#[should_panic(expected = "the reader serves one request")]
fn a_reader_takes_no_second_request() {
    let mut reader = RequestReader::new(HeadLimits::default());
    assert!(matches!(
        reader.handle_input(&request(&[])),
        Ok(Progress::Done { .. })
    ));
    let _ = reader.handle_input(&request(&[]));
}

#[test]
fn a_reader_knows_whether_anything_came() {
    let mut reader = RequestReader::new(HeadLimits::default());
    assert!(reader.is_untouched());
    assert!(matches!(reader.handle_input(b""), Ok(Progress::NeedMore)));
    assert!(reader.is_untouched());
    assert!(matches!(reader.handle_input(b"G"), Ok(Progress::NeedMore)));
    assert!(!reader.is_untouched());
}

fn assert_closes(answer: &[u8]) {
    let text = std::str::from_utf8(answer).expect("UTF-8");
    assert_eq!(text.matches("HTTP/1.1 4").count(), 1, "one answer: {text}");
    assert!(text.contains("\r\nConnection: close"), "{text}");
}
