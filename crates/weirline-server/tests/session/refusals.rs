//! Bad input: each is answered as the protocol says, and costs nobody else anything.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use weirline_resume::wire::{Form, Limits};
use weirline_resume::{SessionConfig, Verdict};
use weirline_server::Config;

use crate::FORMS;
use crate::common::{Server, config, raw, run};
use crate::peer::{Got, Peer, field, hello_again, hello_new, number, request, value};

/// What is offered decides: a form, or 400 and what to offer. An attach token is never picked.
#[test]
fn a_request_without_a_form_is_told_what_to_offer() {
    run(async {
        let server = Server::start(config());
        let attach = format!("weirline.attach.{}", value(Form::Json, &hello_new("")));
        for offers in [None, Some("weirline.v1.text"), Some(&attach[..]), Some("chat")] {
            let fields: Vec<_> = offers
                .map(|offer| ("Sec-WebSocket-Protocol", offer))
                .into_iter()
                .collect();
            let answer = raw(server.dial(4096).await, &request(&fields)).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
            let says = answer.contains("weirline.v1.bin") && answer.contains("weirline.v1.json");
            assert!(says && !answer.contains("weirline.attach."), "{answer}");
        }
        for (offers, form) in [
            ("weirline.v1.json, weirline.v1.bin".to_owned(), Form::Json),
            ("chat, weirline.v1.bin, weirline.v1.json".to_owned(), Form::Binary),
            (format!("{attach}, weirline.v1.json"), Form::Json),
        ] {
            Peer::open_with(&server, form, &[("Sec-WebSocket-Protocol", &offers)]).await;
        }
    });
}

fn attach(value: &str) -> (&str, &str) {
    ("Weirline-Attach", value)
}

/// HELLO more than once, in whatever ways, and what is none.
#[test]
fn a_wrong_hello_in_the_upgrade_is_rejected_in_band() {
    for form in FORMS {
        run(async move {
            let server = Server::start(config());
            let hello = value(Form::Json, &hello_new(""));
            let offers = |more: &str| format!("{}{more}", form.subprotocol());
            let token = format!(", weirline.attach.{hello}");
            let long = "A".repeat(8193);
            let cases = [
                (vec![attach(&hello), attach(&hello)], offers("")),
                (vec![attach(&hello)], offers(&token)),
                (vec![attach("?")], offers("")),
                (vec![attach("")], offers("")),
                (vec![attach("FA")], offers("")),
                (vec![attach(&long)], offers("")),
                (vec![attach("\u{e9}")], offers("")),
                (vec![], offers(", weirline.attach.eyJ0Ijoi")),
            ];
            for (mut fields, offers) in cases {
                fields.push(("Sec-WebSocket-Protocol", &offers));
                let mut peer = Peer::open_with(&server, form, &fields).await;
                peer.expect_reject("bad-message").await;
            }
        });
    }
}

/// Messages that are not to be answered otherwise than by REJECT and 1008. The epoch of the stream is put in for `EPOCH`.
#[test]
fn every_defect_has_its_code() {
    const SUB: &str = r#"{"sub":1,"stream":"s","after":0}"#;
    let unsubscribed = r#"{"t":"ack","sub":9,"epoch":"0123456789abcdef","offset":1}"#;
    for (messages, code) in [
        (
            &[r#"{"t":"pub","seq":2,"stream":"s","text":""}"#][..],
            "bad-sequence",
        ),
        (&[r#"{"t":"skip","from":3,"to":4}"#], "bad-sequence"),
        (
            &[r#"{"t":"ack","sub":1,"epoch":"EPOCH","offset":1}"#],
            "ack-beyond",
        ),
        (
            &[r#"{"t":"ack","sub":1,"epoch":"0123456789abcdef","offset":0}"#],
            "unknown-epoch",
        ),
        (&[r#"{"t":"sub","sub":1,"stream":"t","after":0}"#], "bad-message"),
        (
            &[
                r#"{"t":"sub","sub":2,"stream":"t","after":0}"#,
                r#"{"t":"ack","sub":2,"epoch":"0123456789abcdef","offset":0}"#,
            ],
            "bad-message",
        ),
        (&[&hello_new("")[..]], "bad-message"),
        (
            &[unsubscribed, unsubscribed, r#"{"t":"skip","from":9,"to":9}"#],
            "bad-sequence",
        ),
    ] {
        for form in FORMS {
            run(async move {
                let server = Server::start(config());
                let mut peer = Peer::open_saying(&server, form, &hello_new(SUB)).await;
                peer.expect_type("welcome").await;
                let subok = peer.expect_type("subok").await;
                for message in messages {
                    let message = message.replace("EPOCH", field(&subok, "epoch"));
                    peer.say(&message).await;
                }
                peer.expect_reject(code).await;
            });
        }
    }
}

/// What is no message at all, before WELCOME and behind it.
#[test]
fn malformed_messages_are_rejected() {
    for (form, message) in [
        (Form::Json, &b"{"[..]),
        (Form::Json, b"[]"),
        (Form::Json, br#"{"t":"welcome"}"#),
        (Form::Json, br#"{"t":"unsub","sub":0}"#),
        (Form::Binary, b""),
        (Form::Binary, b"\x02"),
        (Form::Binary, b"\x05"),
        (Form::Binary, b"\x05\x01\x00"),
    ] {
        for greet in [false, true] {
            run(async move {
                let server = Server::start(config());
                let mut peer = Peer::open(&server, form).await;
                if greet {
                    peer.say(&hello_new("")).await;
                    peer.expect_type("welcome").await;
                }
                peer.send(message).await;
                peer.expect_reject("bad-message").await;
            });
        }
    }
}

#[test]
fn a_message_of_the_other_kind_is_rejected() {
    run(async {
        let server = Server::start(config());
        for (form, opcode) in [(Form::Json, 2), (Form::Binary, 1)] {
            let mut peer = Peer::open(&server, form).await;
            peer.frame(opcode, b"{}").await;
            peer.expect_reject("bad-message").await;
        }
    });
}

#[test]
fn before_welcome_there_is_nothing_but_a_hello() {
    for form in FORMS {
        run(async move {
            let server = Server::start(config());
            let mut peer = Peer::open(&server, form).await;
            peer.say(r#"{"t":"ping","echo":1}"#).await;
            peer.expect_reject("bad-message").await;

            let mut peer = Peer::open(&server, form).await;
            let other = match form {
                Form::Json => hello_new("").replace(r#""v":1"#, r#""v":2"#).into_bytes(),
                Form::Binary => vec![1, 2],
            };
            peer.send(&other).await;
            peer.expect_reject("unsupported").await;

            let mut peer = Peer::open(&server, form).await;
            peer.send(&vec![b' '; 65_537]).await;
            peer.expect_reject("too-large").await;

            let begun = Instant::now();
            let mut peer = Peer::open(&server, form).await;
            let reject = peer.expect_reject("overdue").await;
            assert!(reject.contains(r#""resumable":true"#), "{reject}");
            assert_eq!(begun.elapsed().as_secs(), 10);
        });
    }
}

/// Nobody judges credentials: the one of a HELLO ends the connection, one on a live connection is refused and changes nothing.
#[test]
fn credentials_are_refused_by_default() {
    for form in FORMS {
        run(async move {
            let server = Server::start(config());
            let with = hello_new("").replace(r#""subs""#, r#""credential":"secret","subs""#);
            let mut peer = Peer::open_saying(&server, form, &with).await;
            let reject = peer.expect_reject("auth-refused").await;
            assert!(reject.contains(r#""resumable":true"#), "{reject}");

            let mut peer = Peer::open_saying(&server, form, &hello_new("")).await;
            peer.expect_type("welcome").await;
            for _ in 0..3 {
                peer.say(r#"{"t":"auth","credential":"secret"}"#).await;
                let answer = peer.expect_type("auth").await;
                assert!(answer.contains(r#""code":"auth-refused""#), "{answer}");
            }
            peer.say(r#"{"t":"pub","seq":1,"stream":"s","text":"x"}"#).await;
            peer.expect(&[r#"{"t":"puback","seq":1}"#]).await;
        });
    }
}

/// A judge binds sessions to principals: `NAME` is good for a minute, and whose a live connection is stays as it is.
#[test]
fn an_application_judges_credentials() {
    let judge = |credential: &str| match credential.strip_prefix("i-am-") {
        Some(name) => Verdict::Accepted {
            principal: name.into(),
            expires: Some(Duration::from_secs(60)),
        },
        None => Verdict::Refused,
    };
    let with = |hello: &str, credential: &str| {
        hello.replace(r#""subs""#, &format!(r#""credential":"{credential}","subs""#))
    };
    for form in FORMS {
        run(async move {
            let server = Server::start(Config {
                credentials: Some(Arc::new(judge)),
                ..config()
            });
            let begun = Instant::now();
            let mut peer = Peer::open_saying(&server, form, &with(&hello_new(""), "i-am-ann")).await;
            let welcome = peer.expect_type("welcome").await;
            for (credential, answer) in [
                ("i-am-ann", r#"{"t":"auth","expires":60000}"#),
                ("i-am-bob", r#""code":"auth-refused""#),
                ("nobody", r#""code":"auth-refused""#),
            ] {
                sleep(Duration::from_secs(1)).await;
                peer.say(&format!(r#"{{"t":"auth","credential":"{credential}"}}"#))
                    .await;
                let heard = peer.expect_type("auth").await;
                assert!(heard.contains(answer), "{credential}: {heard}");
            }
            let second = hello_again(&welcome, 2, "");
            for (hello, code) in [
                (with(&second, "i-am-bob"), "bad-token"),
                (second.clone(), "bad-token"),
                (with(&second, "nobody"), "auth-refused"),
            ] {
                Peer::open_saying(&server, form, &hello)
                    .await
                    .expect_reject(code)
                    .await;
            }
            // A minute behind the last that was accepted.
            let mut heard = peer.hear().await;
            while heard.contains(r#""t":"ping""#) {
                heard = peer.hear().await;
            }
            assert!(
                heard.contains(r#""code":"auth-expired","resumable":true"#),
                "{heard}"
            );
            assert_eq!(begun.elapsed().as_secs(), 61);
            peer.expect(&["1008 auth-expired"]).await;
            let mut peer = Peer::open_saying(&server, form, &with(&second, "i-am-ann")).await;
            peer.expect_type("welcome").await;
        });
    }
}

/// A refused PUB stops the count; what follows is ignored until the number comes again or is skipped.
#[test]
fn a_payload_that_is_too_large_is_refused_and_skipped() {
    for form in FORMS {
        run(async move {
            let server = Server::start(config());
            let mut peer = Peer::open_saying(&server, form, &hello_new("")).await;
            peer.expect_type("welcome").await;
            let large = "x".repeat((4 << 20) + 1);
            peer.say(&format!(r#"{{"t":"pub","seq":1,"stream":"s","text":"{large}"}}"#))
                .await;
            let puback = peer.expect_type("puback").await;
            assert!(puback.contains(r#""seq":0,"code":"too-large""#), "{puback}");
            peer.say(r#"{"t":"skip","from":1,"to":1}"#).await;
            while peer.hear().await != r#"{"t":"puback","seq":1}"# {}
            peer.say(r#"{"t":"pub","seq":2,"stream":"s","text":"y"}"#).await;
            while peer.hear().await != r#"{"t":"puback","seq":2}"# {}
        });
    }
}

/// WELCOME's `size` is the limit of the transport: a message of it passes, one byte more is 1009.
#[test]
fn the_size_that_is_said_is_the_size_that_is_taken() {
    for form in FORMS {
        run(async move {
            let mut connection = weirline_connection::Config::default();
            connection.text_bytes_max = 2000;
            connection.binary_bytes_max = 2000;
            let connection = Arc::new(connection);
            let server = Server::start(Config {
                json_connection: Arc::clone(&connection),
                binary_connection: connection,
                ..config()
            });
            let mut peer = Peer::open_saying(&server, form, &hello_new("")).await;
            let welcome = peer.expect_type("welcome").await;
            assert_eq!(number(&welcome, "size"), 2000);
            let around = match form {
                Form::Json => (r#"{"t":"pub","seq":1,"stream":"s","text":""#, "\"}"),
                Form::Binary => ("\x0c\x01\0\x01s", ""),
            };
            let message = |len: usize| {
                let payload = "x".repeat(len - around.0.len() - around.1.len());
                [around.0, &payload, around.1].concat().into_bytes()
            };
            peer.send(&message(2000)).await;
            peer.expect(&[r#"{"t":"puback","seq":1}"#]).await;
            peer.send(&message(2001)).await;
            match peer.next().await {
                Got::Close(code, _) => assert_eq!(code, 1009),
                other => panic!("{other:?}"),
            }
        });
    }
}

fn limited(window: Limits, subs_max: usize) -> Config {
    let session = SessionConfig {
        publish_window: window,
        subs_max,
        ..SessionConfig::default()
    };
    Config {
        session: Arc::new(session),
        ..config()
    }
}

/// 5.4: what is published beyond the credit is a defect.
#[test]
fn publishing_beyond_the_credit_is_rejected() {
    for form in FORMS {
        run(async move {
            let window = Limits {
                bytes: 1 << 20,
                messages: 4,
            };
            let server = Server::start(limited(window, 256));
            let mut peer = Peer::open_saying(&server, form, &hello_new("")).await;
            peer.expect_type("welcome").await;
            // In one write, so that nothing is decided in between.
            for n in 1..=5 {
                peer.say(&format!(r#"{{"t":"pub","seq":{n},"stream":"s","text":""}}"#))
                    .await;
            }
            loop {
                let heard = peer.hear().await;
                if heard.contains("credit-exceeded") && heard.contains(r#""t":"reject""#) {
                    break;
                }
                assert!(heard.contains("puback") || heard.contains("credit"), "{heard}");
            }
            peer.expect(&["1008 credit-exceeded"]).await;
        });
    }
}

#[test]
fn subscriptions_that_cannot_be_are_answered_by_unsub() {
    for form in FORMS {
        run(async move {
            let server = Server::start(limited(Limits::NONE, 2));
            let subs = r#"{"sub":1,"stream":"a","after":0},{"sub":2,"stream":"a","after":0}"#;
            let mut peer = Peer::open_saying(&server, form, &hello_new(subs)).await;
            peer.expect_type("welcome").await;
            let mut answers = [peer.hear().await, peer.hear().await];
            answers.sort();
            assert!(answers[0].starts_with(r#"{"t":"subok","sub":1,"#), "{answers:?}");
            assert!(
                answers[1].starts_with(r#"{"t":"unsub","sub":2,"code":"conflict""#),
                "{answers:?}"
            );
            peer.say(r#"{"t":"sub","sub":2,"stream":"b","after":0}"#).await;
            peer.expect_type("subok").await;
            peer.say(r#"{"t":"sub","sub":3,"stream":"c","after":0}"#).await;
            let unsub = peer.expect_type("unsub").await;
            assert!(unsub.contains(r#""sub":3,"code":"too-many""#), "{unsub}");
        });
    }
}

/// The session is as it was after each defect of its client.
#[test]
fn a_defect_harms_no_session() {
    for form in FORMS {
        run(async move {
            let server = Server::start(config());
            let mut peer = Peer::open_saying(&server, form, &hello_new("")).await;
            let welcome = peer.expect_type("welcome").await;
            for n in 1..=20 {
                peer.say(&format!(r#"{{"t":"pub","seq":{n},"stream":"s","text":"x"}}"#))
                    .await;
                peer.say(r#"{"t":"skip","from":900,"to":901}"#).await;
                loop {
                    match peer.next().await {
                        Got::Message(_) => {}
                        Got::Close(code, reason) => {
                            assert_eq!((code, &reason[..]), (1008, "bad-sequence"));
                            break;
                        }
                        Got::End => panic!("a close is said"),
                    }
                }
                let hello = hello_again(&welcome, n + 1, "");
                peer = Peer::open_saying(&server, form, &hello).await;
                let again = peer.expect_type("welcome").await;
                assert!(
                    again.contains(&format!(r#""outcome":"resumed","count":{n},"#)),
                    "{again}"
                );
            }
        });
    }
}
