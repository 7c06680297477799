use std::time::Duration;

use crate::bench::{Bench, HASH, TOKEN, hello, hello_again};
use weirline_log::Outcome;
use weirline_resume::Session;
use weirline_resume::wire::Url;

/// A session is made; what is published comes back, once, and is acknowledged; it is handled.
#[test]
fn a_session_publishes_and_subscribes() {
    let mut bench = Bench::new();
    let welcome = bench.say(&[&hello(r#","subs":[{"sub":1,"stream":"s","from":"head"}]"#)]);
    assert_eq!(
        welcome,
        [
            format!(
                r#"welcome v=1 session=SESSION token=TOKEN attach=1 outcome=new count=0 hash={HASH} durability=durable ttl=300000 heartbeat=30000 size=16777248 bytes=200 messages=4"#
            ),
            "subok sub=1 epoch=E offset=0 head=0 state=live".into(),
        ]
    );
    assert_eq!(
        bench.say(&[
            r#"{"t":"pub","seq":1,"stream":"s","text":"a\"b"}"#,
            r#"{"t":"pub","seq":2,"stream":"s","binary":"AP8"}"#,
        ]),
        [
            r#"data sub=1 offset=1 prev=0 text=a"b"#,
            "data sub=1 offset=2 prev=1 binary=AP8",
            "puback seq=2",
            "credit bytes=269 messages=6",
        ]
    );
    assert_eq!(
        bench.say(&[r#"{"t":"ack","sub":1,"epoch":"E","offset":2}"#]),
        [""; 0]
    );
    assert_eq!(bench.recorded(), [("s".into(), 2)]);
}

#[test]
fn pings_are_answered_and_repeat_what_may_be_lost() {
    let mut bench = Bench::live();
    bench.append("s", &["1", "2"]);
    bench.say(&[r#"{"t":"sub","sub":1,"stream":"s","after":0,"messages":1}"#]);
    let ping = r#"{"t":"ping","echo":7,"bytes":5000,"messages":50,"subs":[{"sub":1,"epoch":"E","offset":1,"bytes":500,"messages":2},{"sub":9}]}"#;
    assert_eq!(
        bench.say(&[ping]),
        [
            r#"pong echo=7 count=0 bytes=200 messages=4 subs=[{"sub":1,"epoch":"E","offset":1}]"#,
            "data sub=1 offset=2 prev=1 text=2"
        ]
    );
    assert_eq!(bench.recorded(), [("s".into(), 1)], "a position is an ACK");
    assert_eq!(bench.say(&[r#"{"t":"pong","echo":1}"#]), [""; 0]);
    let beyond = r#"{"t":"ping","echo":8,"subs":[{"sub":1,"epoch":"E","offset":9}]}"#;
    assert!(bench.say(&[beyond])[0].starts_with("reject code=ack-beyond"));
}

#[test]
fn a_server_is_never_silent_for_longer_than_its_heartbeat() {
    let mut bench = Bench::live();
    let half = Duration::from_secs(15);
    let mut said = Vec::new();
    for tick in 1..=4 {
        bench.now += half;
        let now = bench.now;
        assert!(bench.server().poll_timeout().unwrap() <= now);
        bench.server().handle_timeout(now);
        said.push(bench.heard().len());
        if tick == 2 {
            bench.say(&[r#"{"t":"ping","echo":1}"#]);
        }
    }
    assert_eq!(said, [0, 1, 0, 1]);
}

#[test]
fn bye_ends_the_session_behind_what_was_sent() {
    let mut bench = Bench::live();
    let publish = r#"{"t":"pub","seq":1,"stream":"s","text":"x"}"#;
    bench.server_message(publish);
    bench.server_message(r#"{"t":"bye"}"#);
    bench.server_message(r#"{"t":"pub","seq":2,"stream":"s","text":"x"}"#);
    assert_eq!(bench.heard(), [""; 0]);
    bench.decide();
    assert_eq!(bench.heard(), ["puback seq=1", "bye", "close 1000 "]);
    let now = bench.now;
    bench.server().handle_disconnected(now);
    assert_eq!(bench.server().poll_command(), None, "nothing to detach");
    // It published, so it is remembered, as one that has expired.
    bench.reconnect();
    let heard = bench.say(&[&hello_again(2, TOKEN, 2, "")]);
    assert!(heard[0].contains("outcome=expired count=1"), "{heard:?}");
}

#[test]
fn a_connection_that_goes_leaves_its_session() {
    let mut bench = Bench::live();
    bench.append("s", &["1"]);
    bench.say(&[r#"{"t":"sub","sub":1,"stream":"s","after":0}"#]);
    bench.server_message(r#"{"t":"pub","seq":1,"stream":"s","text":"x"}"#);
    bench.server_message(r#"{"t":"ack","sub":1,"epoch":"E","offset":1}"#);
    let now = bench.now;
    bench.server().handle_disconnected(now);
    bench.decide();
    assert_eq!(bench.head("s"), 2, "what was taken in is committed");
    assert_eq!(bench.heard(), [""; 0]);
    bench.reconnect();
    let subs = r#","subs":[{"sub":1,"stream":"s","from":"acked-or-head"}]"#;
    let heard = bench.say(&[&hello_again(2, TOKEN, 2, subs)]);
    assert!(heard[0].contains("outcome=resumed count=1"), "{heard:?}");
    assert_eq!(heard[1], "subok sub=1 epoch=E offset=1 head=2 state=resumed");
}

#[test]
fn a_server_says_when_to_leave_to_pause_and_that_it_is_over() {
    let mut bench = Bench::quiet();
    let now = bench.now;
    let url = Url::new("wss://b.example/v1/ws");
    bench
        .server()
        .drain(now, Duration::from_millis(1500), Duration::from_secs(30), url);
    assert_eq!(
        bench.heard(),
        ["drain after=1500 deadline=30000 url=wss://b.example/v1/ws"]
    );
    bench.server().pause();
    bench.server().pause();
    bench.server().resume();
    assert_eq!(
        bench.heard(),
        ["flow state=pause reason=publishing", "flow state=resume"]
    );
    assert_eq!(bench.deadline(), Some(Duration::from_secs(30)));
    bench.server().handle_timeout(now + Duration::from_secs(30));
    assert_eq!(bench.heard(), ["close 1012 drained"]);

    let mut bench = Bench::live();
    bench.server().say_ended("by the operator");
    assert_eq!(
        bench.heard(),
        ["bye code=ended detail=by the operator", "close 1000 "]
    );

    let mut bench = Bench::live();
    bench.server().break_off(Duration::from_millis(2300));
    assert_eq!(
        bench.heard(),
        [
            "flow state=pause reason=publishing",
            "close 1008 Backpressure: downstream saturated; resume=1; after=2300"
        ]
    );
    let mut bench = Bench::new();
    bench.server().turn_away();
    assert!(bench.heard()[0].starts_with("reject code=unavailable resumable=true retry=5000"));
}

#[test]
fn an_idle_session_is_small() {
    let bytes = size_of::<Session>();
    assert!(bytes <= 640, "{bytes}");
}

#[test]
#[should_panic(expected = "never given out")]
fn an_outcome_without_a_command_is_a_defect_of_the_caller() {
    let mut bench = Bench::live();
    let now = bench.now;
    bench.server().handle_outcome(now, Outcome::Detached);
}

/// I15: what answers to a client that does not read come to is bounded in bytes, however long each of them is; once they have left,
/// reading goes on.
#[test]
fn answers_that_wait_are_bounded_in_bytes() {
    let mut bench = Bench::quiet();
    let subs = [1, 2, 3].map(|sub| format!(r#"{{"t":"sub","sub":{sub},"stream":"{sub}","after":0}}"#));
    bench.say(&[&subs[0], &subs[1], &subs[2]]);
    let ping = r#"{"t":"ping","echo":1,"subs":[{"sub":1},{"sub":2},{"sub":3}]}"#;
    let answer = bench.say(&[ping])[0].len();
    let mut asked = 0;
    while bench.server().wants_input() {
        bench.server_message(ping);
        asked += 1;
        assert!(asked * answer < 150_000, "{asked} answers wait");
    }
    assert_eq!(bench.heard().len(), asked);
    assert!(bench.server().wants_input());
}
