//! Which pages may connect (R3; THREATS.md, cross-site hijacking).

mod common;

use common::{read, request};
use weirline_handshake::{OriginPolicy, OriginPolicyBuilder, OriginPolicyError, Validate};

/// 101 when the request with this Origin is let in, else the status of the refusal.
fn verdict(policy: &OriginPolicy, origin: Option<&str>) -> u16 {
    let changes = origin.map(|origin| ("+Origin", Some(origin)));
    let decided = read(&request(changes.as_slice())).and_then(|request| policy.check(&request));
    decided.map_or_else(|rejection| rejection.status().as_u16(), |()| 101)
}

fn listed() -> OriginPolicyBuilder {
    OriginPolicy::builder()
        .allow("https://good.example")
        .allow("https://app.good.example:8443")
        .allow("http://[2001:db8::1]:8080")
        .allow("http://192.0.2.1")
        .allow("https://xn--bcher-kva.example")
}

#[test]
fn r3_listed_origins_are_let_in() {
    let policy = listed().build().expect("valid");
    for origin in [
        "https://good.example",
        "https://good.example:443",
        "HTTPS://good.example",
        "https://GOOD.Example",
        "https://app.good.example:8443",
        "http://[2001:db8::1]:8080",
        "http://[2001:DB8:0:0:0:0:0:1]:8080",
        "http://192.0.2.1",
        "http://192.0.2.1:80",
        "https://xn--bcher-kva.example",
        "https://XN--BCHER-KVA.example",
    ] {
        assert_eq!(verdict(&policy, Some(origin)), 101, "{origin}");
    }
}

#[test]
fn r3_everything_else_is_403() {
    let policy = listed().build().expect("valid");
    assert!(REFUSED.len() >= 60, "{} vectors", REFUSED.len());
    for origin in REFUSED {
        assert_eq!(verdict(&policy, Some(origin)), 403, "{origin}");
    }
    assert_eq!(verdict(&policy, None), 403, "no Origin");
}

/// Bytes that are no text, and lengths that a parser may not expect: 403 all the same, whatever the policy.
#[test]
fn what_is_no_origin_is_403_and_never_500() {
    let long = [b"https://".to_vec(), vec![b'a'; 10_000]].concat();
    let dots = [b"https://".to_vec(), b"a.".repeat(5000)].concat();
    let brackets = [b"https://".to_vec(), b"[".repeat(5000)].concat();
    let bytes: [&[u8]; 8] = [
        b"https://\xff",
        b"\xff\xfe",
        b"https://good.example\x80",
        b"https://\xc3\xa9.example",
        b"\t",
        &long,
        &dots,
        &brackets,
    ];
    let open = listed().absent(true).unsafe_allow_null(true).allow_loopback();
    let policy = open.build().expect("valid");
    for origin in bytes {
        let head = String::from_utf8(request(&[])).expect("ASCII");
        let (before, after) = head.split_at(head.len() - 2);
        let wire = [before.as_bytes(), b"Origin: ", origin, b"\r\n", after.as_bytes()].concat();
        let decided = read(&wire).and_then(|request| policy.check(&request));
        let status = decided.expect_err("refused").status();
        assert_eq!(status, 403, "{}", String::from_utf8_lossy(origin));
    }
}

#[test]
fn absent_and_null_need_their_settings() {
    let check = |builder: OriginPolicyBuilder, origin: Option<&str>, expect: u16| {
        let policy = builder.build().expect("valid");
        assert_eq!(verdict(&policy, origin), expect, "{origin:?} under {policy:?}");
    };
    check(OriginPolicy::builder(), None, 403);
    check(OriginPolicy::builder(), Some("https://good.example"), 403);
    check(OriginPolicy::builder(), Some("null"), 403);
    check(listed().absent(true), None, 101);
    check(listed().absent(true), Some("null"), 403);
    check(listed().absent(true), Some(""), 403);
    check(listed().absent(true), Some("https://evil.example"), 403);
    check(listed().unsafe_allow_null(true), Some("null"), 101);
    check(listed().unsafe_allow_null(true), None, 403);
    check(
        listed().unsafe_allow_null(true),
        Some("https://evil.example"),
        403,
    );
    check(listed().allow_loopback(), Some("null"), 403);
}

#[test]
fn loopback_means_this_machine_only() {
    let policy = OriginPolicy::builder().allow_loopback().build().expect("valid");
    for origin in [
        "http://localhost",
        "https://localhost:3000",
        "http://LOCALHOST:5173",
        "http://127.0.0.1:8080",
        "http://127.255.0.1",
        "http://[::1]",
        "https://[::1]:7070",
    ] {
        assert_eq!(verdict(&policy, Some(origin)), 101, "{origin}");
    }
    for origin in [
        "http://localhost.evil.example",
        "http://evil-localhost",
        "http://localhost.",
        "http://a.localhost",
        "http://localhost.localdomain",
        "http://127.0.0.1.evil.example",
        "http://127.1",
        "http://0.0.0.0",
        "http://128.0.0.1",
        "http://0x7f000001",
        "http://[::]",
        "http://[::ffff:127.0.0.1]",
        "http://[::1].evil.example",
        "ftp://localhost",
        "ws://localhost",
        "chrome-extension://localhost",
        "http://localhost@evil.example",
        "http://192.168.0.1",
        "null",
    ] {
        assert_eq!(verdict(&policy, Some(origin)), 403, "{origin}");
    }
    assert_eq!(verdict(&policy, None), 403);
}

#[test]
fn entries_are_checked_when_the_policy_is_built() {
    let built = |entry: &str| OriginPolicy::builder().allow(entry).build();
    // The guide writes the scheme of the socket.
    let policy = built("wss://Good.example").expect("accepted");
    let [warning] = policy.warnings() else {
        panic!("one warning")
    };
    assert!(
        warning
            .to_string()
            .contains("wss://Good.example is taken as https://good.example"),
        "{warning}"
    );
    assert_eq!(verdict(&policy, Some("https://good.example")), 101);
    assert_eq!(verdict(&policy, Some("wss://good.example")), 403);
    let policy = built("ws://good.example:8080").expect("accepted");
    assert_eq!(
        (
            verdict(&policy, Some("http://good.example:8080")),
            policy.warnings().len()
        ),
        (101, 1)
    );
    let policy = built("ws://good.example").expect("accepted");
    assert_eq!(verdict(&policy, Some("http://good.example")), 101);
    assert!(
        built("https://good.example")
            .expect("accepted")
            .warnings()
            .is_empty()
    );

    assert_eq!(built("null"), Err(OriginPolicyError::Null));
    for entry in [
        "",
        "*",
        "https://*.good.example",
        "good.example",
        "https://good.example/",
        "https://b\u{fc}cher.example",
    ] {
        let error = built(entry).expect_err(entry);
        assert!(
            matches!(error, OriginPolicyError::Malformed { .. }),
            "{entry}: {error}"
        );
    }
    let error = built("https://x\n.example/").expect_err("malformed").to_string();
    assert!(
        !error.contains('\n') && error.contains(r"https://x\n.example/"),
        "{error}"
    );
}

#[test]
fn a_refused_origin_is_shown_without_its_controls() {
    let policy = listed().build().expect("valid");
    assert!(policy.validate(&read(&request(&[])).expect("valid")).is_err());
    let rejection = read(&request(&[("+Origin", Some("https://a\tb"))])).expect_err("malformed");
    assert_eq!(rejection.status(), 403);
    assert!(rejection.to_string().contains(r"https://a\tb"), "{rejection}");
    assert!(!rejection.to_string().contains('\t'));
}

/// Origins that are not those of [`listed`].
const REFUSED: &[&str] = &[
    // other hosts that look alike
    "https://good.example.evil.example",
    "https://evilgood.example",
    "https://evil-good.example",
    "https://evil.good.example",
    "https://good.example.",
    "https://good.examples",
    "https://good.exampl",
    "https://good",
    "https://example",
    "https://ood.example",
    "https://good-example",
    "https://goodXexample",
    "https://www.good.example",
    "https://good.example.com",
    "https://good_example",
    "https://good..example",
    "https://.good.example",
    "https://g00d.example",
    "https://bcher-kva.example",
    "https://xn--good.example",
    // other schemes and ports
    "http://good.example",
    "http://good.example:443",
    "https://good.example:80",
    "https://good.example:8443",
    "https://good.example:4430",
    "https://app.good.example",
    "https://app.good.example:443",
    "wss://good.example",
    "ws://good.example",
    "ftp://good.example",
    "chrome-extension://good.example",
    "httpss://good.example",
    "http://[2001:db8::1]",
    "http://[2001:db8::2]:8080",
    "https://192.0.2.1",
    "http://192.0.2.1:8080",
    "http://192.0.2.10",
    // no origin at all, or several
    "null",
    "NULL",
    "",
    "*",
    "good.example",
    "//good.example",
    "https:good.example",
    "https:/good.example",
    "https//good.example",
    "://good.example",
    "https://",
    "file://",
    "about:blank",
    "data:text/html,x",
    "https://good.example https://evil.example",
    "https://evil.example https://good.example",
    "https://good.example, https://evil.example",
    "https://good.example,https://good.example",
    // user info, paths, encodings
    "https://good.example@evil.example",
    "https://evil.example@good.example",
    "https://user:pw@good.example",
    "https://good.example/",
    "https://good.example/chat",
    "https://good.example?x",
    "https://good.example#x",
    "https://good.example\\.evil.example",
    "https://evil.example/https://good.example",
    "https://evil.example?https://good.example",
    "https://evil.example#https://good.example",
    "https://good%2eexample",
    "https://good.example%00",
    "https://good.example%20",
    "https://good.example;x",
    "https://good.example:",
    "https://good.example:0",
    "https://good.example:0443",
    "https://good.example:+443",
    "https://good.example:443:443",
    "https://good.example:65979",
    "https://good.example:x",
    "https://bücher.example",
    "https://ｇood.example",
    "https://gооd.example",
    "https://good。example",
    // addresses in other spellings
    "http://192.0.2.1.",
    "http://192.0.513",
    "http://3221225985",
    "http://0xc0000201",
    "http://0300.0.02.01",
    "http://192.0.2.01",
    "http://[::ffff:192.0.2.1]",
    "http://[2001:db8::1",
    "http://2001:db8::1:8080",
    "http://[2001:db8::1%25eth0]:8080",
    "http://[2001:db8::1]8080",
    "http://[]:8080",
];
