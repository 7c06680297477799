use std::time::Duration;

use crate::bench::{Bench, TOKEN, hello, hello_again};
use weirline_log::{Attach, AttachRefusal, Outcome};
use weirline_resume::Verdict;
use weirline_resume::wire::Form;

/// The table of the page's section 2.3.
#[test]
fn attaches_are_decided_by_owner_and_number() {
    let mut bench = Bench::new();
    bench.say(&[&hello("")]);
    let check = |bench: &mut Bench, attach: u64, token: &str, nonce: u8, expect: &str| {
        let other = bench.reconnect();
        let heard = bench.say(&[&hello_again(attach, token, nonce, "")]);
        let said = heard.first().cloned().unwrap_or_default();
        assert!(said.starts_with(expect), "{attach} {token} {nonce}: {said}");
        if said.starts_with("reject") {
            assert!(heard[1].starts_with("close 1008 "), "{heard:?}");
            bench.current = other;
        }
    };
    let other = "x".repeat(42) + "w";
    check(&mut bench, 5, &other, 5, "reject code=bad-token resumable=false");
    check(
        &mut bench,
        2,
        TOKEN,
        2,
        "welcome v=1 session=SESSION attach=2 outcome=resumed",
    );
    check(
        &mut bench,
        2,
        TOKEN,
        3,
        "reject code=stale-attach resumable=false attach=2",
    );
    check(&mut bench, 2, &other, 3, "reject code=bad-token");
    check(
        &mut bench,
        2 + (1 << 20) + 1,
        TOKEN,
        3,
        "reject code=attach-jump resumable=false",
    );
    check(
        &mut bench,
        2,
        TOKEN,
        2,
        "welcome v=1 session=SESSION attach=2 outcome=resumed",
    );
    check(
        &mut bench,
        2 + (1 << 20),
        TOKEN,
        3,
        "welcome v=1 session=SESSION attach=1048578",
    );
    let publish = r#"{"t":"pub","seq":1,"stream":"s","text":"x"}"#;
    assert_eq!(bench.say(&[publish]), ["puback seq=1"], "the session is unharmed");

    bench.reconnect();
    let unknown = hello_again(2, TOKEN, 9, "").replace("SESSION", &"A".repeat(43));
    let heard = bench.say(&[&unknown]);
    assert!(
        heard[0].starts_with("reject code=session-unknown resumable=false"),
        "{heard:?}"
    );
}

#[test]
fn the_loser_of_a_takeover_is_told_which_it_is() {
    let mut bench = Bench::new();
    bench.say(&[&hello("")]);
    let first = bench.reconnect();
    bench.say(&[&hello_again(2, TOKEN, 2, "")]);
    bench.current = first;
    bench.server().handle_fenced(false);
    assert_eq!(bench.heard(), ["close 4409 superseded"]);
    assert_eq!(
        bench.say(&[r#"{"t":"bye"}"#]),
        [""; 0],
        "nothing counts behind it"
    );

    let mut bench = Bench::new();
    bench.say(&[&hello("")]);
    bench.server().handle_fenced(true);
    assert_eq!(bench.heard(), ["close 4410 repeated"]);
}

#[test]
fn only_a_hello_comes_before_welcome() {
    for message in [
        r#"{"t":"sub","sub":1,"stream":"s","from":"head"}"#,
        r#"{"t":"pub","seq":1,"stream":"s","text":"x"}"#,
        r#"{"t":"bye"}"#,
        r#"{"t":"ping","echo":1}"#,
    ] {
        let mut bench = Bench::new();
        assert_eq!(
            bench.say(&[message]),
            [
                r#"reject code=bad-message resumable=false detail=a message before WELCOME"#,
                "close 1008 bad-message"
            ]
        );
    }
    let mut bench = Bench::new();
    bench.server_message(&hello(""));
    bench.server_message(r#"{"t":"bye"}"#);
    bench.decide();
    assert!(
        bench.heard()[0].starts_with("reject code=bad-message"),
        "not even while it is on its way"
    );
}

#[test]
fn a_hello_in_the_upgrade_is_the_hello() {
    use weirline_resume::wire::{AttachValue, ClientMessage};
    let message = hello("").replace("NONCE1", "AQEBAQEBAQEBAQEBAQEBAQ");
    let read = ClientMessage::decode(Form::Json, Form::Json.kind(), message.as_bytes());
    let Ok(Some(ClientMessage::Hello(read))) = read else {
        panic!("{read:?}")
    };
    for form in [Form::Json, Form::Binary] {
        let mut bench = Bench::new();
        let value = AttachValue::encode(form, read.clone()).unwrap();
        let now = bench.now;
        bench.server().handle_upgrade(now, &value);
        bench.decide();
        assert!(bench.heard()[0].starts_with("welcome "));
        bench.server().handle_upgrade(now, &value);
        assert_eq!(
            bench.heard(),
            [
                "reject code=bad-message resumable=false detail=a second HELLO",
                "close 1008 bad-message"
            ]
        );
    }
    let mut bench = Bench::new();
    let now = bench.now;
    bench.server().handle_upgrade(now, "not base64url!");
    assert!(bench.heard()[0].starts_with("reject code=bad-message"));
}

#[test]
fn a_hello_is_due() {
    let mut bench = Bench::new();
    let due = bench.server().poll_timeout().unwrap();
    assert_eq!(due - bench.now, Duration::from_secs(10));
    bench.server().handle_timeout(due - Duration::from_millis(1));
    assert_eq!(bench.heard(), [""; 0]);
    bench.server().handle_timeout(due);
    assert_eq!(
        bench.heard(),
        [
            "reject code=overdue resumable=true detail=HELLO is overdue",
            "close 1008 overdue"
        ]
    );
    let mut bench = Bench::new();
    let long = hello(&format!(r#","later":"{}""#, "x".repeat(65_536)));
    assert!(bench.say(&[&long])[0].starts_with("reject code=too-large resumable=false"));
}

#[test]
fn malformed_messages_and_other_versions_are_named() {
    for (message, expect) in [
        (
            r#"{"t":"later"}"#,
            "reject code=bad-message resumable=false detail=unknown-type: t",
        ),
        (
            "nonsense",
            "reject code=bad-message resumable=false detail=not-json",
        ),
        (
            r#"{"t":"hello","v":2}"#,
            "reject code=unsupported resumable=false detail=unsupported-version: v",
        ),
    ] {
        let mut bench = Bench::new();
        assert_eq!(bench.say(&[message])[0], expect);
    }
    let mut bench = Bench::live();
    assert_eq!(
        bench.say(&[r#"{"t":"x-later","sub":{}}"#]),
        [""; 0],
        "an extension"
    );
    let heard = bench.say(&[&hello("")]);
    assert_eq!(
        heard[0],
        "reject code=bad-message resumable=false detail=a second HELLO"
    );
}

#[test]
fn a_credential_is_judged_before_the_attach() {
    let with = hello(r#","credential":"abc""#);
    let mut bench = Bench::new();
    bench.server_message(&with);
    assert_eq!(bench.server().poll_command(), None);
    assert_eq!(bench.server().poll_credential().as_deref(), Some("abc"));
    assert_eq!(bench.server().poll_credential(), None, "once");
    let now = bench.now;
    bench.server().handle_credential(now, Verdict::Refused);
    assert_eq!(
        bench.heard(),
        [
            "reject code=auth-refused resumable=true detail=the credential is not accepted",
            "close 1008 auth-refused"
        ]
    );

    let mut bench = Bench::new();
    bench.server_message(&with);
    let accepted = |principal: &str| Verdict::Accepted {
        principal: principal.into(),
        expires: Some(Duration::from_secs(60)),
    };
    bench.server().poll_credential();
    bench.server().handle_credential(now, accepted("alice"));
    bench.decide();
    assert!(bench.heard()[0].starts_with("welcome "));
    // The token is alice's: to nobody it opens nothing.
    bench.reconnect();
    assert!(bench.say(&[&hello_again(2, TOKEN, 2, "")])[0].starts_with("reject code=bad-token"));

    let mut bench = Bench::live();
    let auth = r#"{"t":"auth","credential":"xyz"}"#;
    for (verdict, expect) in [
        (
            Verdict::Refused,
            "auth code=auth-refused detail=the credential is not accepted",
        ),
        (accepted(""), "auth expires=60000"),
        (
            accepted("alice"),
            "auth code=auth-refused detail=the credential is not accepted",
        ),
    ] {
        bench.say(&[auth]);
        assert_eq!(bench.server().poll_credential().as_deref(), Some("xyz"));
        bench.server().handle_credential(now, verdict);
        assert_eq!(bench.heard(), [expect]);
    }
    bench.say(&[auth]);
    assert!(
        bench.say(&[auth])[0].starts_with("reject code=bad-message"),
        "one at a time"
    );
    let mut bench = Bench::live();
    bench.server().expire_credential();
    assert!(bench.heard()[0].starts_with("reject code=auth-expired resumable=true"));
}

/// What the log says of the rolling hash is what a client computes.
#[test]
fn welcome_tells_count_and_hash() {
    let mut bench = Bench::live();
    bench.say(&[
        r#"{"t":"pub","seq":1,"stream":"news","text":"hello"}"#,
        r#"{"t":"pub","seq":2,"stream":"news","binary":"AP8"}"#,
        r#"{"t":"skip","from":3,"to":3}"#,
    ]);
    bench.reconnect();
    let heard = bench.say(&[&hello_again(2, TOKEN, 2, "")]);
    // The third row of `hashes` in the vectors.
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../vectors/protocol.json")).unwrap();
    let hash = crate::bench::base64url(vectors["hashes"][2]["hash"].as_str().unwrap());
    assert!(
        heard[0].contains(&format!("outcome=resumed count=3 hash={hash}")),
        "{heard:?}"
    );
}

#[test]
fn no_room_for_a_session_is_said_with_a_hint() {
    let mut bench = Bench::new();
    bench.server_message(&hello(""));
    bench.server().poll_command();
    let now = bench.now;
    bench
        .server()
        .handle_outcome(now, Outcome::AttachRefused(AttachRefusal::Full));
    assert_eq!(
        bench.heard(),
        [
            "reject code=unavailable resumable=true retry=5000 detail=too many sessions",
            "close 1008 unavailable"
        ]
    );
}

#[test]
fn a_session_is_known_by_its_first_attach() {
    let mut bench = Bench::live();
    let (_, attach) = bench.server().identity().unwrap();
    assert_eq!(attach, Attach::FIRST);
    assert!(bench.server().is_live());
}
