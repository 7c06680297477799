use std::time::Duration;

use crate::bench::{Bench, TOKEN, entropy, hello, hello_again};
use weirline_log::{Bounds, Offset, ReadOutcome};
use weirline_resume::wire::Form;
use weirline_resume::{JsonTails, Session, SessionRead};

/// Section 3.5, row by row.
#[test]
fn a_subscription_begins_where_it_was_asked_to() {
    let mut bench = Bench::live();
    let earlier = bench.epoch("s");
    bench.append("s", &["1", "2", "3", "4", "5"]);
    bench.begin_epoch("s", 4);
    bench.append("s", &["6", "7"]);
    // Of six messages three are kept.
    let sub = |from: &str| format!(r#"{{"t":"sub","sub":7,"stream":"s",{from},"messages":0}}"#);
    for (from, expect) in [
        (
            r#""after":6,"epoch":"E""#.to_owned(),
            &["subok sub=7 epoch=E offset=6 head=6 state=live"][..],
        ),
        (
            r#""after":4,"epoch":"E""#.into(),
            &["subok sub=7 epoch=E offset=4 head=6 state=resumed"],
        ),
        (
            r#""after":1,"epoch":"E""#.into(),
            &[
                "subok sub=7 epoch=E offset=1 head=6 state=gap",
                "gap sub=7 from=2 to=3 reason=retention",
            ],
        ),
        (
            r#""after":3"#.into(),
            &["subok sub=7 epoch=E offset=3 head=6 state=resumed"],
        ),
        (
            r#""after":7"#.into(),
            &[
                "subok sub=7 epoch=E offset=0 head=6 state=reset",
                "gap sub=7 from=1 to=3 reason=retention",
            ],
        ),
        (
            format!(r#""after":5,"epoch":"{earlier}""#),
            &["subok sub=7 epoch=E offset=4 head=6 state=reset"],
        ),
        (
            format!(r#""after":2,"epoch":"{earlier}""#),
            &[
                "subok sub=7 epoch=E offset=2 head=6 state=reset",
                "gap sub=7 from=3 to=3 reason=retention",
            ],
        ),
        (
            r#""after":5,"epoch":"00000000000000aa""#.into(),
            &[
                "subok sub=7 epoch=E offset=0 head=6 state=reset",
                "gap sub=7 from=1 to=3 reason=retention",
            ],
        ),
        (
            r#""from":"head""#.into(),
            &["subok sub=7 epoch=E offset=6 head=6 state=live"],
        ),
        (
            r#""from":"acked-or-head""#.into(),
            &["subok sub=7 epoch=E offset=6 head=6 state=live"],
        ),
        (
            r#""from":"acked-or-start""#.into(),
            &[
                "subok sub=7 epoch=E offset=0 head=6 state=gap",
                "gap sub=7 from=1 to=3 reason=retention",
            ],
        ),
    ] {
        assert_eq!(bench.say(&[&sub(&from)]), expect, "{from}");
        assert_eq!(bench.say(&[r#"{"t":"unsub","sub":7}"#]), ["unsub sub=7"]);
    }
}

/// Section 3.4.
#[test]
fn a_recorded_ack_serves_a_client_that_gives_no_position() {
    let mut bench = Bench::live();
    bench.append("s", &["1", "2", "3", "4", "5", "6"]);
    let sub = |from: &str| format!(r#"{{"t":"sub","sub":7,"stream":"s",{from},"messages":0}}"#);
    bench.say(&[
        &sub(r#""after":4,"epoch":"E""#),
        r#"{"t":"ack","sub":7,"epoch":"E","offset":4}"#,
    ]);
    bench.say(&[r#"{"t":"unsub","sub":7}"#]);
    assert_eq!(
        bench.say(&[&sub(r#""from":"acked-or-head""#)]),
        ["subok sub=7 epoch=E offset=4 head=6 state=resumed"]
    );
    bench.reconnect();
    let subs = r#","subs":[{"sub":3,"stream":"s","from":"acked-or-start","messages":0}]"#;
    let heard = bench.say(&[&hello_again(2, TOKEN, 2, subs)]);
    assert_eq!(heard[1..], ["subok sub=3 epoch=E offset=4 head=6 state=resumed"]);
}

#[test]
fn subscriptions_are_refused_one_by_one() {
    let mut bench = Bench::live();
    let sub =
        |sub: u32, stream: &str| format!(r#"{{"t":"sub","sub":{sub},"stream":"{stream}","from":"head"}}"#);
    let heard = bench.say(&[&sub(1, "a"), &sub(2, "a")]);
    assert_eq!(heard[0], "subok sub=1 epoch=E offset=0 head=0 state=live");
    assert_eq!(
        heard[1],
        "unsub sub=2 code=conflict detail=the stream is subscribed already"
    );
    bench.say(&[&sub(3, "b"), &sub(4, "c")]);
    assert_eq!(
        bench.say(&[&sub(5, "d")]),
        ["unsub sub=5 code=too-many detail=at most 3 subscriptions"]
    );
    assert_eq!(
        bench.say(&[r#"{"t":"unsub","sub":9}"#]),
        [""; 0],
        "it may have crossed"
    );
    assert_eq!(bench.say(&[r#"{"t":"unsub","sub":4}"#]), ["unsub sub=4"]);
    assert_eq!(
        bench.say(&[&sub(4, "z")]),
        ["unsub sub=4 code=unavailable detail=there are too many streams"]
    );
    assert!(
        bench.say(&[&sub(1, "y")])[0].starts_with("reject code=bad-message"),
        "in use"
    );
}

/// A number that was freed and taken again must not get what was asked for before.
#[test]
fn a_sub_that_is_used_again_is_another() {
    let mut bench = Bench::live();
    bench.append("a", &["1", "2"]);
    for message in [
        r#"{"t":"sub","sub":1,"stream":"a","after":0}"#,
        r#"{"t":"unsub","sub":1}"#,
        r#"{"t":"sub","sub":1,"stream":"b","after":0}"#,
    ] {
        bench.server_message(message);
    }
    bench.decide();
    assert_eq!(
        bench.heard(),
        ["unsub sub=1", "subok sub=1 epoch=E offset=0 head=0 state=live"]
    );
}

/// I4.
#[test]
fn acks_are_held_to_what_was_sent() {
    let ack = |sub: u32, epoch: &str, offset: u64| {
        format!(r#"{{"t":"ack","sub":{sub},"epoch":"{epoch}","offset":{offset}}}"#)
    };
    for (sub, epoch, offset, expect) in [
        (1, "E", 1, ""),
        (8, "E", 9, ""),
        (
            1,
            "E",
            3,
            "reject code=ack-beyond resumable=false detail=the last offset sent is 2",
        ),
        (
            1,
            "00000000000000aa",
            1,
            "reject code=unknown-epoch resumable=false",
        ),
    ] {
        let mut bench = Bench::live();
        bench.append("s", &["1", "2", "3"]);
        bench.say(&[
            r#"{"t":"sub","sub":1,"stream":"s","after":0,"messages":2}"#,
            &ack(1, "E", 0),
        ]);
        bench.say(&[&ack(1, "E", 2)]);
        assert_eq!(bench.recorded(), [("s".into(), 2)]);
        let heard = bench.say(&[&ack(sub, epoch, offset)]);
        let said = heard.first().map_or("", String::as_str);
        assert!(
            said.starts_with(expect) && said.is_empty() == expect.is_empty(),
            "{said}"
        );
        // Whatever it was, the session is unharmed.
        bench.reconnect();
        let subs = r#","subs":[{"sub":3,"stream":"s","from":"acked-or-start","messages":0}]"#;
        let heard = bench.say(&[&hello_again(2, TOKEN, 2, subs)]);
        assert_eq!(heard[1], "subok sub=3 epoch=E offset=2 head=3 state=resumed");
    }
    let mut bench = Bench::live();
    bench.server_message(r#"{"t":"sub","sub":2,"stream":"s","from":"head"}"#);
    bench.server_message(&ack(2, "E", 0));
    let heard = bench.heard();
    assert!(heard[0].starts_with("reject code=bad-message resumable=false detail=an ACK before SUBOK"));
}

/// The epoch changes under a subscription: RESET, and an ACK that was under way means nothing.
#[test]
fn a_reset_goes_on_behind_the_common_history() {
    let mut bench = Bench::live();
    bench.append("s", &["1", "2", "3"]);
    let earlier = bench.epoch("s");
    bench.say(&[r#"{"t":"sub","sub":1,"stream":"s","after":0}"#]);
    bench.begin_epoch("s", 2);
    bench.append("s", &["x", "y"]);
    assert_eq!(
        bench.heard(),
        [
            "reset sub=1 epoch=E common=2",
            "data sub=1 offset=3 prev=2 text=x",
            "data sub=1 offset=4 prev=3 text=y"
        ]
    );
    let late = format!(r#"{{"t":"ack","sub":1,"epoch":"{earlier}","offset":3}}"#);
    assert_eq!(bench.say(&[&late]), [""; 0]);
    assert_eq!(bench.recorded(), []);
    bench.say(&[r#"{"t":"ack","sub":1,"epoch":"E","offset":2}"#]);
    assert_eq!(bench.recorded(), [("s".into(), 2)]);
}

/// I14, with the numbers worked out by hand.
#[test]
fn credit_bounds_what_is_sent() {
    let mut bench = Bench::live();
    bench.append("s", &["12345678", "12345678", "12345678"]);
    let data = |offset: u64| format!("data sub=1 offset={offset} prev={} text=12345678", offset - 1);
    let subok = "subok sub=1 epoch=E offset=0 head=3 state=resumed".to_owned();
    // Each costs 40: with 41 a second may start, with 80 no third.
    let heard = bench.say(&[r#"{"t":"sub","sub":1,"stream":"s","after":0,"bytes":41,"messages":9}"#]);
    assert_eq!(heard, [subok, data(1), data(2)]);
    assert_eq!(
        bench.say(&[r#"{"t":"credit","sub":1,"bytes":80,"messages":9}"#]),
        [""; 0]
    );
    assert_eq!(
        bench.say(&[r#"{"t":"credit","sub":1,"bytes":5,"messages":1}"#]),
        [""; 0],
        "never less"
    );
    assert_eq!(
        bench.say(&[r#"{"t":"credit","sub":1,"bytes":81,"messages":2}"#]),
        [data(3)]
    );
    // The connection's own, and messages.
    let mut bench = Bench::new();
    bench.append("s", &["12345678", "12345678", "12345678"]);
    let subs = r#","bytes":40,"subs":[{"sub":1,"stream":"s","after":0}]"#;
    assert_eq!(bench.say(&[&hello(subs)])[2..], [data(1)]);
    assert_eq!(
        bench.say(&[r#"{"t":"credit","bytes":9007199254740991,"messages":2}"#]),
        [data(2), data(3)]
    );
}

#[test]
fn a_client_may_hold_one_or_all() {
    let mut bench = Bench::live();
    bench.say(&[
        r#"{"t":"sub","sub":1,"stream":"a","after":0}"#,
        r#"{"t":"sub","sub":2,"stream":"b","after":0}"#,
        r#"{"t":"flow","sub":1,"state":"pause","reason":"busy"}"#,
    ]);
    bench.append("a", &["1"]);
    bench.append("b", &["2"]);
    assert_eq!(bench.heard(), ["data sub=2 offset=1 prev=0 text=2"]);
    bench.say(&[r#"{"t":"flow","state":"pause","reason":"busy"}"#]);
    bench.append("b", &["3"]);
    assert_eq!(bench.say(&[r#"{"t":"flow","sub":1,"state":"resume"}"#]), [""; 0]);
    let mut heard = bench.say(&[r#"{"t":"flow","state":"resume"}"#]);
    heard.sort();
    assert_eq!(
        heard,
        [
            "data sub=1 offset=1 prev=0 text=1",
            "data sub=2 offset=2 prev=1 text=3"
        ]
    );
}

#[test]
fn the_oldest_are_dropped_where_that_was_asked_for() {
    let mut bench = Bench::live();
    bench
        .say(&[r#"{"t":"sub","sub":1,"stream":"s","after":0,"policy":"drop-oldest","keep":1,"messages":0}"#]);
    bench.append("s", &["1", "2", "3"]);
    assert_eq!(bench.heard(), [""; 0], "no credit");
    assert_eq!(
        bench.say(&[r#"{"t":"credit","sub":1,"bytes":1000,"messages":9}"#]),
        [
            "gap sub=1 from=1 to=2 reason=dropped",
            "data sub=1 offset=3 prev=2 text=3"
        ]
    );
}

/// R20: only while something waits, and the client is told before.
#[test]
fn a_subscription_that_breaks_is_starved_for_two_seconds() {
    let mut bench = Bench::quiet();
    bench.say(&[r#"{"t":"sub","sub":1,"stream":"s","after":0,"policy":"break","messages":1}"#]);
    assert_eq!(bench.deadline(), None, "nothing waits");
    bench.append("s", &["1"]);
    bench.heard();
    assert_eq!(bench.deadline(), None, "it was sent");
    bench.append("s", &["2"]);
    assert_eq!(bench.deadline(), Some(Duration::from_secs(2)));
    assert_eq!(
        bench.say(&[r#"{"t":"credit","sub":1,"bytes":1000,"messages":2}"#]),
        ["data sub=1 offset=2 prev=1 text=2"]
    );
    assert_eq!(bench.deadline(), None);
    bench.append("s", &["3"]);
    bench.now += Duration::from_secs(2);
    let now = bench.now;
    bench.server().handle_timeout(now);
    let heard = bench.heard();
    assert_eq!(heard[0], "flow sub=1 state=pause reason=slow-consumer");
    assert!(
        heard[1].starts_with("close 1008 Backpressure: downstream saturated; resume=1; after="),
        "{heard:?}"
    );
}

/// Both forms say the same; only DATA shares its payload with the log.
#[test]
fn binary_shares_payloads_with_the_log() {
    use weirline_resume::wire::{ClientMessage, ServerMessage};
    let mut bench = Bench::new();
    bench.append("s", &["hello"]);
    let now = bench.now;
    let config = bench.config();
    let mut server = Session::new(config, Form::Binary, "", entropy(1), now);
    let message = hello(r#","subs":[{"sub":1,"stream":"s","after":0}]"#);
    let message = message.replace("NONCE1", "AQEBAQEBAQEBAQEBAQEBAQ");
    let message = ClientMessage::decode(Form::Json, Form::Json.kind(), message.as_bytes())
        .unwrap()
        .unwrap();
    let mut wire = Vec::new();
    message.encode(Form::Binary, &mut wire);
    server.handle_message(now, Form::Binary.kind(), &wire);
    *bench.server() = server;
    bench.decide();
    bench.read();
    let mut told_count = 0;
    while let Some(outgoing) = bench.server().poll_transmit() {
        let whole = outgoing.to_vec();
        let told = ServerMessage::decode(Form::Binary, outgoing.kind, &whole)
            .unwrap()
            .unwrap();
        if let ServerMessage::Data(_) = told {
            assert_eq!(&outgoing.payload[..], b"hello", "the payload stands apart");
        }
        told_count += 1;
        assert_eq!(outgoing.control_text(), None, "it may have a token in it");
    }
    assert_eq!(told_count, 3);
}

/// A log may lose all its entries to their age: then there is none whose place would tell.
#[test]
fn a_gap_is_said_also_when_nothing_is_left() {
    let mut bench = Bench::live();
    bench.append("s", &["1"]);
    bench.say(&[r#"{"t":"sub","sub":1,"stream":"s","from":"head"}"#]);
    bench.append("s", &["2", "3"]);
    let Some(SessionRead::Entries { stream, after, .. }) = bench.server().poll_read(1000) else {
        panic!("there is something to read");
    };
    assert_eq!((stream.as_str(), after.get()), ("s", 1));
    let head = Offset::new(3).unwrap();
    let bounds = Bounds {
        epoch: bench.epoch("s").parse().unwrap(),
        trimmed: head,
        head,
    };
    let (now, mut tails) = (bench.now, JsonTails::default());
    let outcome = Some(ReadOutcome::new(bounds, 0));
    bench
        .server()
        .handle_entries(now, outcome, &mut Vec::new(), &mut tails);
    assert_eq!(bench.heard(), ["gap sub=1 from=2 to=3 reason=retention"]);
}

/// What was decided for a subscription that has gone does not end the one that has its number.
#[test]
fn a_refusal_that_comes_late_ends_nothing() {
    let mut bench = Bench::live();
    for stream in ["a", "b", "c"] {
        bench.append(stream, &["1"]);
    }
    for message in [
        r#"{"t":"sub","sub":1,"stream":"no-room","from":"head"}"#,
        r#"{"t":"unsub","sub":1}"#,
        r#"{"t":"sub","sub":1,"stream":"a","from":"head"}"#,
    ] {
        bench.server_message(message);
    }
    bench.decide();
    assert_eq!(
        bench.heard(),
        ["unsub sub=1", "subok sub=1 epoch=E offset=1 head=1 state=live"]
    );
}
