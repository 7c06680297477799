use std::time::Duration;

use crate::bench::{Bench, TOKEN, hello, hello_again};
use weirline_log::{AppendRefusal, OpenRefusal, Outcome, Seq};

/// I10: what a connection had under way when it lost its session is refused where it stands in the commit order. Who has the session, and
/// whether this client is superseded by that, the log does not say: a repeated dial may have come and gone.
#[test]
fn a_fenced_publish_waits_for_the_notice() {
    for repeated in [Some(false), Some(true), None] {
        let mut bench = Bench::live();
        let first = bench.reconnect();
        bench.say(&[&hello_again(2, TOKEN, 2, "")]);
        bench.current = first;
        bench.say(&[r#"{"t":"sub","sub":1,"stream":"s","from":"head"}"#]);
        let publish = r#"{"t":"pub","seq":1,"stream":"s","text":"x"}"#;
        let ack = r#"{"t":"ack","sub":1,"epoch":"E","offset":0}"#;
        let long = r#"{"t":"pub","seq":2,"stream":"s","text":"far too long a text"}"#;
        bench.server_message(publish);
        bench.server_message(long);
        let mut heard = bench.say(&[ack]);
        heard.retain(|line| !line.starts_with("credit"));
        assert_eq!(heard, [""; 0], "nor is anything behind it refused");
        assert_eq!(bench.head("s"), 0);
        let close = match repeated {
            Some(repeated) => {
                bench.server().handle_fenced(repeated);
                if repeated {
                    "close 4410 repeated"
                } else {
                    "close 4409 superseded"
                }
            }
            None => {
                let now = bench.now + Duration::from_secs(1);
                assert_eq!(bench.server().poll_timeout(), Some(now));
                bench.server().handle_timeout(now);
                "close 4410 repeated"
            }
        };
        assert_eq!(bench.heard(), [close]);
    }
}

/// I6, I7: duplicates, refusals, what is ignored behind them, and skips.
#[test]
fn publishing_is_in_order_and_once() {
    let publish = |seq: u64, text: &str| format!(r#"{{"t":"pub","seq":{seq},"stream":"s","text":"{text}"}}"#);
    let credit = r#"{"t":"x-later"}"#;
    let mut bench = Bench::live();
    assert_eq!(bench.say(&[&publish(1, "a")])[0], "puback seq=1");
    assert_eq!(bench.say(&[&publish(1, "a")])[0], "puback seq=1", "taken");
    bench.say(&[credit]);
    bench.refuse_next(AppendRefusal::StreamsFull);
    assert_eq!(
        bench.say(&[&publish(2, "b"), &publish(3, "c")])[0],
        "puback seq=1 code=unavailable detail=there are too many streams"
    );
    assert_eq!(
        bench.say(&[r#"{"t":"skip","from":3,"to":4}"#]),
        [""; 0],
        "ignored as well"
    );
    assert_eq!(bench.say(&[r#"{"t":"skip","from":2,"to":5}"#])[0], "puback seq=5");
    assert_eq!(
        bench.say(&[r#"{"t":"skip","from":2,"to":5}"#])[0],
        "puback seq=5",
        "taken"
    );
    assert_eq!(bench.say(&[&publish(6, "b")])[0], "puback seq=6");
    assert_eq!(bench.head("s"), 2);
    let mut straddling = bench.fork();
    let heard = straddling.say(&[r#"{"t":"skip","from":6,"to":7}"#]);
    assert_eq!(
        heard[0],
        "reject code=bad-sequence resumable=false detail=a number was skipped"
    );
    let heard = bench.say(&[&publish(8, "x")]);
    assert_eq!(
        heard[0],
        "reject code=bad-sequence resumable=false detail=a number was skipped"
    );
    assert_eq!(heard[1], "close 1008 bad-sequence");
}

/// A refusal of the server's own waits for what stands before it: PUBACK's number says which is refused.
#[test]
fn a_refusal_is_said_in_its_turn() {
    let mut bench = Bench::live();
    for message in [
        r#"{"t":"pub","seq":1,"stream":"s","text":"a"}"#,
        r#"{"t":"pub","seq":2,"stream":"s","text":"far too long a text"}"#,
        r#"{"t":"pub","seq":3,"stream":"s","text":"c"}"#,
    ] {
        bench.server_message(message);
    }
    assert_eq!(
        bench.heard(),
        ["credit bytes=284 messages=6"],
        "number 1 is undecided"
    );
    bench.decide();
    assert_eq!(
        bench.heard()[0],
        "puback seq=1 code=too-large detail=at most 8 bytes"
    );
    assert_eq!(
        bench.say(&[r#"{"t":"pub","seq":2,"stream":"s","text":"b"}"#])[0],
        "puback seq=2"
    );

    // One before it is refused: then it is not said, since it will be sent again.
    let mut bench = Bench::live();
    bench.refuse_next(AppendRefusal::StreamsFull);
    bench.server_message(r#"{"t":"pub","seq":1,"stream":"s","text":"a"}"#);
    bench.server_message(r#"{"t":"pub","seq":2,"stream":"s","text":"far too long a text"}"#);
    bench.decide();
    let heard = bench.heard();
    assert_eq!(
        heard[0],
        "puback seq=0 code=unavailable detail=there are too many streams"
    );
    assert!(!heard.iter().any(|line| line.contains("too-large")), "{heard:?}");
    assert_eq!(
        bench.say(&[
            r#"{"t":"pub","seq":1,"stream":"s","text":"a"}"#,
            r#"{"t":"pub","seq":2,"stream":"s","text":"b"}"#
        ])[0],
        "puback seq=2"
    );
}

#[test]
fn a_publish_without_credit_is_a_defect() {
    let mut bench = Bench::live();
    for seq in 1..=4 {
        bench.server_message(&format!(r#"{{"t":"pub","seq":{seq},"stream":"s","text":"x"}}"#));
    }
    let mut beyond = bench.fork();
    beyond.server_message(r#"{"t":"pub","seq":5,"stream":"s","text":"x"}"#);
    assert_eq!(
        beyond.heard()[0],
        "reject code=credit-exceeded resumable=false detail=a PUB without credit"
    );
    bench.decide();
    assert_eq!(bench.heard(), ["puback seq=4", "credit bytes=332 messages=8"]);
}

#[test]
fn a_log_that_fails_refuses_what_is_published_and_goes_on() {
    let mut bench = Bench::live();
    bench.append("s", &["1"]);
    bench.say(&[r#"{"t":"sub","sub":1,"stream":"s","after":0}"#]);
    bench.server_message(r#"{"t":"pub","seq":1,"stream":"s","text":"a"}"#);
    bench.server_message(r#"{"t":"pub","seq":2,"stream":"s","text":"b"}"#);
    bench.server_message(r#"{"t":"ack","sub":1,"epoch":"E","offset":1}"#);
    bench.fail();
    assert_eq!(
        bench.heard()[0],
        "puback seq=0 code=unavailable detail=the log failed"
    );
    bench.append("s", &["2"]);
    assert_eq!(
        bench.heard(),
        ["data sub=1 offset=2 prev=1 text=2"],
        "reading goes on"
    );
    bench.say(&[r#"{"t":"ack","sub":1,"epoch":"E","offset":1}"#]);
    assert_eq!(bench.recorded(), [("s".into(), 1)]);
    assert_eq!(
        bench.say(&[r#"{"t":"pub","seq":1,"stream":"t","text":"a"}"#])[0],
        "puback seq=1"
    );

    let mut bench = Bench::new();
    bench.server_message(&hello(""));
    bench.fail();
    let heard = bench.heard();
    assert!(
        heard[0].starts_with("reject code=unavailable resumable=true retry="),
        "{heard:?}"
    );
    assert_eq!(bench.server().identity(), None, "nothing to detach");
}

/// The log changed under the connection: the next attach says what it is now.
#[test]
fn a_count_that_changed_is_a_reason_to_dial_again() {
    let mut bench = Bench::live();
    bench.refuse_next(AppendRefusal::Gap {
        expected: Seq::new(9).unwrap(),
    });
    let heard = bench.say(&[r#"{"t":"pub","seq":1,"stream":"s","text":"x"}"#]);
    assert_eq!(heard, ["close 1012 the session's count changed"]);
}

/// A refusal that waits for its turn behind a subscription is given up with its connection.
#[test]
fn a_refusal_that_waits_dies_with_the_connection() {
    for fails in [false, true] {
        let mut bench = Bench::live();
        bench.server_message(r#"{"t":"pub","seq":1,"stream":"s","text":"a"}"#);
        bench.server_message(r#"{"t":"sub","sub":1,"stream":"s","from":"head"}"#);
        bench.server_message(r#"{"t":"pub","seq":2,"stream":"s","text":"far too long a text"}"#);
        let commands: Vec<_> = std::iter::from_fn(|| bench.server().poll_command()).collect();
        assert_eq!(commands.len(), 2);
        bench.server_message("nonsense");
        if fails {
            bench.server().handle_log_failed();
        } else {
            let now = bench.now;
            let refused = Outcome::AppendRefused(AppendRefusal::StreamsFull);
            bench.server().handle_outcome(now, refused);
            let full = Outcome::OpenRefused(OpenRefusal::StreamsFull);
            bench.server().handle_outcome(now, full);
        }
        let now = bench.now;
        bench.server().handle_disconnected(now);
        bench.decide();
        assert_eq!(bench.heard(), [""; 0], "{fails}");
    }
}
