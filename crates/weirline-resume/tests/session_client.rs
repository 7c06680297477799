//! What a client of the multiplexed forms says and does, message by message; the server is played by the test.

#![expect(
    clippy::disallowed_methods,
    reason = "a test needs some instant to count from"
)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use weirline_log::{Epoch, Item, Offset, PayloadKind, Position, RollingHash, Seq, StreamId};
use weirline_resume::wire::{AttachValue, Begin, Code, Credential, Form, Limits, Sub};
use weirline_resume::{
    AfterLoss, Close, Dial, PublishError, SessionClient, SessionClientConfig, SessionEvent as E,
    SessionFailure, StoreMode, SubscribeError, SubscribeOptions, Ticket,
};

const SESSION: &str = "ERERERERERERERERERERERERERERERERERERERERERE";
const TOKEN: &str = "IiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiI";
const EPOCH: u64 = 0xaa;

struct Bench {
    client: SessionClient,
    dial: Dial,
    now: Instant,
}

fn stream(name: &str) -> StreamId {
    StreamId::new(name).unwrap()
}

fn at(offset: u64) -> Position {
    Position {
        epoch: Epoch::new(EPOCH),
        offset: Offset::new(offset).unwrap(),
    }
}

impl Bench {
    fn new() -> Self {
        Self::with(SessionClientConfig::default())
    }

    fn with(config: SessionClientConfig) -> Self {
        let config = SessionClientConfig {
            form: Form::Json,
            ..config
        };
        Self {
            client: SessionClient::new(config),
            dial: Dial::default(),
            now: Instant::now(),
        }
    }

    fn dial(&mut self) -> Vec<String> {
        self.dial = self.client.dial(self.now, [3; 16], None).unwrap();
        self.client.handle_connected(self.dial, self.now, false);
        self.said()
    }

    /// Dialled, and answered: the first time with a token.
    fn live() -> Self {
        let mut bench = Self::new();
        bench.dial();
        bench.hear(&welcome(1, "new", 0, RollingHash::ZERO, true));
        bench
    }

    fn hear(&mut self, message: &str) -> Vec<String> {
        self.client
            .handle_message(self.dial, self.now, PayloadKind::Text, message.as_bytes());
        self.said()
    }

    fn said(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        while let Some(message) = self.client.poll_transmit() {
            assert_eq!(message.control_text(), None, "it may have a token in it");
            said.push(String::from_utf8(message.to_vec()).unwrap());
        }
        said
    }

    fn events(&mut self) -> Vec<E> {
        std::iter::from_fn(|| self.client.poll_event()).collect()
    }

    fn publish(&mut self, payload: &str) -> Ticket {
        let payload = Bytes::from(payload.to_owned());
        self.client
            .publish(stream("s"), PayloadKind::Text, payload)
            .unwrap()
    }

    fn cut(&mut self) -> AfterLoss {
        self.client.handle_disconnected(self.dial, self.now, None)
    }
}

fn hash_of(payloads: &[&str]) -> RollingHash {
    payloads.iter().fold(RollingHash::ZERO, |hash, payload| {
        hash.then(Item::publish(&stream("s"), PayloadKind::Text, payload.as_bytes()))
    })
}

fn welcome(attach: u64, outcome: &str, count: u64, hash: RollingHash, new: bool) -> String {
    use base64::Engine as _;
    let hash = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(hash.0);
    let token = if new {
        format!(r#""token":"{TOKEN}","#)
    } else {
        String::new()
    };
    format!(
        r#"{{"t":"welcome","v":1,"session":"{SESSION}",{token}"attach":{attach},"outcome":"{outcome}","count":{count},"hash":"{hash}","durability":"durable","ttl":300000,"heartbeat":30000,"size":1024,"bytes":1000,"messages":9}}"#
    )
}

fn published(seq: u64, payload: &str) -> String {
    format!(r#"{{"t":"pub","seq":{seq},"stream":"s","text":"{payload}"}}"#)
}

#[test]
fn the_first_dial_asks_for_a_session_and_the_next_for_that_one() {
    let mut bench = Bench::new();
    let said = bench.dial();
    let hello = r#"{"t":"hello","v":1,"attach":1,"nonce":"AwMDAwMDAwMDAwMDAwMDAw"}"#;
    assert_eq!(said, [hello]);
    bench.cut();
    assert_eq!(bench.dial(), [hello], "never answered: it begins again");
    bench.hear(&welcome(1, "new", 0, RollingHash::ZERO, true));
    bench.cut();
    let again = format!(
        r#"{{"t":"hello","v":1,"session":"{SESSION}","token":"{TOKEN}","attach":2,"nonce":"AwMDAwMDAwMDAwMDAwMDAw"}}"#
    );
    assert_eq!(bench.dial(), [again]);
}

#[test]
fn a_hello_goes_with_the_upgrade_once_it_is_stored() {
    let mut bench = Bench::with(SessionClientConfig {
        store: StoreMode::Durable,
        ..SessionClientConfig::default()
    });
    bench.dial = bench
        .client
        .dial(bench.now, [3; 16], Credential::new("abc"))
        .unwrap();
    assert_eq!(bench.client.upgrade_value(), None, "not stored");
    bench.client.handle_stored(bench.client.revision());
    let value = bench.client.upgrade_value().unwrap();
    let hello = AttachValue::parse(&value).unwrap();
    assert_eq!(hello.hello().unwrap().credential.unwrap().as_str(), "abc");
    bench.client.handle_connected(bench.dial, bench.now, true);
    assert_eq!(bench.client.upgrade_value(), None, "it is too late");
    assert_eq!(bench.said(), [""; 0], "it was said");
    bench.publish("a");
    bench.hear(&welcome(1, "new", 0, RollingHash::ZERO, true));
    assert!(bench.client.needs_store());
    assert_eq!(bench.said(), [""; 0], "the token is stored before the first PUB");
    bench.client.handle_stored(bench.client.revision());
    assert_eq!(bench.said(), [published(1, "a")]);
}

/// Section 7.6: whose messages stand under the session's numbers.
#[test]
fn welcome_decides_over_what_was_sent() {
    fn check(count: u64, hash: RollingHash, events: &[E], said: &[String]) {
        let mut bench = Bench::live();
        for payload in ["a", "b", "c"] {
            bench.publish(payload);
        }
        bench.said();
        bench.hear(r#"{"t":"puback","seq":1}"#);
        bench.cut();
        bench.publish("d");
        bench.events();
        bench.dial();
        let told = bench.hear(&welcome(2, "resumed", count, hash, false));
        assert_eq!(bench.events()[1..], *events, "count {count}");
        assert_eq!(told, said, "count {count}");
    }
    let lines = |from: u64, payloads: &[&str]| -> Vec<String> {
        (from..)
            .zip(payloads)
            .map(|(seq, payload)| published(seq, payload))
            .collect()
    };
    let acked = |ticket| E::Acked {
        through: Ticket(ticket),
    };
    let not_published = |from, to| E::NotPublished {
        from: Ticket(from),
        to: Ticket(to),
    };
    check(1, hash_of(&["a"]), &[], &lines(2, &["b", "c", "d"]));
    check(2, hash_of(&["a", "b"]), &[acked(2)], &lines(3, &["c", "d"]));
    check(3, hash_of(&["a", "b", "c"]), &[acked(3)], &lines(4, &["d"]));
    // Another holder published: what was sent ends, what was not goes on behind.
    check(
        2,
        hash_of(&["a", "x"]),
        &[not_published(2, 2)],
        &lines(3, &["c", "d"]),
    );
    check(7, hash_of(&["x"]), &[not_published(2, 3)], &lines(8, &["d"]));
    // It cannot have counted what was never sent.
    check(
        4,
        hash_of(&["a", "b", "c", "d"]),
        &[not_published(2, 3)],
        &lines(5, &["d"]),
    );
    // The log lost what it acknowledged.
    let mut lost = vec![r#"{"t":"skip","from":1,"to":1}"#.to_owned()];
    lost.extend(lines(2, &["b", "c", "d"]));
    let event = E::LostAfterAck {
        from: Seq::FIRST,
        to: Seq::FIRST,
    };
    check(0, RollingHash::ZERO, &[event], &lost);
}

/// A skipped number stays a SKIP until it is acknowledged, and counts in the hash.
#[test]
fn a_refused_message_leaves_a_skip_in_its_place() {
    let mut bench = Bench::live();
    bench.events();
    bench.publish("a");
    bench.publish("b");
    bench.said();
    let said = bench.hear(r#"{"t":"puback","seq":0,"code":"forbidden","detail":"no"}"#);
    let skip = r#"{"t":"skip","from":1,"to":1}"#.to_owned();
    assert_eq!(said, [skip.clone(), published(2, "b")]);
    let refused = E::Refused {
        ticket: Ticket(1),
        code: Code::Forbidden,
        detail: "no".into(),
        retried: false,
    };
    assert_eq!(bench.events(), [refused]);
    bench.cut();
    bench.dial();
    assert_eq!(
        bench.hear(&welcome(2, "resumed", 0, RollingHash::ZERO, false)),
        [skip, published(2, "b")],
        "again, at each attach"
    );
    bench.hear(r#"{"t":"puback","seq":2}"#);
    let item = Item::publish(&stream("s"), PayloadKind::Text, b"b");
    let hash = RollingHash::ZERO
        .then(Item::skip(Seq::FIRST, Seq::FIRST))
        .then(item);
    assert_eq!((bench.client.hash(), bench.client.outbox_len()), (hash, (0, 0)));
}

#[test]
fn what_may_pass_is_tried_again_when_the_server_says() {
    let mut bench = Bench::live();
    bench.publish("a");
    bench.said();
    for (refusal, wait) in [
        (
            r#"{"t":"puback","seq":0,"code":"unavailable"}"#,
            Duration::from_secs(1),
        ),
        (
            r#"{"t":"puback","seq":0,"code":"unavailable","retry":2500}"#,
            Duration::from_millis(2500),
        ),
    ] {
        assert_eq!(bench.hear(refusal), [""; 0]);
        assert_eq!(bench.client.poll_timeout(), Some(bench.now + wait));
        bench.now += wait;
        bench.client.handle_timeout(bench.now);
        assert_eq!(bench.said(), [published(1, "a")]);
    }
}

#[test]
fn credit_and_size_bound_what_is_published() {
    let mut bench = Bench::live();
    bench.events();
    for _ in 0..10 {
        bench.publish("x");
    }
    assert_eq!(bench.said().len(), 9, "nine messages");
    assert_eq!(
        bench.hear(r#"{"t":"credit","bytes":1000,"messages":20}"#).len(),
        1
    );
    // The server takes no message of more than 1024 bytes: what would be one is given up here.
    let mut bench = Bench::live();
    bench.events();
    bench.publish(&"x".repeat(1000));
    bench.publish("b");
    assert_eq!(
        bench.said(),
        [r#"{"t":"skip","from":1,"to":1}"#.to_owned(), published(2, "b")]
    );
    assert!(matches!(
        bench.events()[..],
        [E::Refused {
            code: Code::TooLarge,
            retried: false,
            ..
        }]
    ));
    assert!(
        bench
            .hear(r#"{"t":"flow","state":"pause","reason":"publishing"}"#)
            .is_empty()
    );
    bench.publish("c");
    assert_eq!(bench.said(), [""; 0], "paused");
    assert_eq!(
        bench.hear(r#"{"t":"flow","state":"resume"}"#),
        [published(3, "c")]
    );
}

/// The first limit is the window less what is unhandled, and further credit follows handling.
#[test]
fn credit_follows_handling() {
    let mut bench = Bench::live();
    let options = SubscribeOptions {
        begin: Begin::After {
            offset: Offset::ZERO,
            epoch: None,
        },
        window: Limits {
            bytes: 1000,
            messages: 4,
        },
        ..SubscribeOptions::default()
    };
    let sub = bench.client.subscribe(stream("s"), options).unwrap();
    assert_eq!(
        bench.said(),
        [r#"{"t":"sub","sub":1,"stream":"s","after":0,"bytes":1000,"messages":4}"#]
    );
    bench.hear(r#"{"t":"subok","sub":1,"epoch":"00000000000000aa","offset":0,"head":9,"state":"resumed"}"#);
    for offset in 1..=3 {
        let prev = offset - 1;
        bench.hear(&format!(
            r#"{{"t":"data","sub":1,"offset":{offset},"prev":{prev},"text":"x"}}"#
        ));
    }
    bench.client.handled(sub, at(1)).unwrap();
    assert_eq!(
        bench.said(),
        [r#"{"t":"ack","sub":1,"epoch":"00000000000000aa","offset":1}"#]
    );
    bench.client.handled(sub, at(2)).unwrap();
    assert_eq!(
        bench.said(),
        [
            r#"{"t":"ack","sub":1,"epoch":"00000000000000aa","offset":2}"#,
            r#"{"t":"credit","sub":1,"bytes":1066,"messages":6}"#
        ]
    );
    bench.cut();
    let hello = bench.dial().remove(0);
    let subs =
        r#""subs":[{"sub":1,"stream":"s","after":3,"epoch":"00000000000000aa","bytes":967,"messages":3}]"#;
    assert!(hello.contains(subs), "{hello}");
    bench.hear(&welcome(2, "resumed", 0, RollingHash::ZERO, false));
    assert_eq!(
        bench.hear(
            r#"{"t":"subok","sub":1,"epoch":"00000000000000aa","offset":3,"head":9,"state":"resumed"}"#
        ),
        [r#"{"t":"ack","sub":1,"epoch":"00000000000000aa","offset":2}"#],
        "the first ACK repeats the handled position"
    );
}

#[test]
fn a_loss_is_found_and_asked_for_again() {
    let open = || {
        let mut bench = Bench::live();
        bench
            .client
            .subscribe(stream("s"), SubscribeOptions::default())
            .unwrap();
        bench.said();
        bench.hear(r#"{"t":"subok","sub":1,"epoch":"00000000000000aa","offset":5,"head":5,"state":"live"}"#);
        bench.client.check(7);
        let said = bench.said();
        assert!(
            said[0].starts_with(
                r#"{"t":"ping","echo":7,"subs":[{"sub":1,"epoch":"00000000000000aa","offset":5"#
            )
        );
        bench
    };
    for message in [
        r#"{"t":"data","sub":1,"offset":7,"prev":6,"text":"x"}"#,
        r#"{"t":"pong","echo":7,"subs":[{"sub":1,"epoch":"00000000000000aa","offset":6}]}"#,
    ] {
        let mut bench = open();
        bench.hear(message);
        let close = bench.client.poll_close().unwrap();
        assert_eq!((close.code, &*close.reason), (Close::POLICY, "bad-message"));
        assert_eq!(bench.cut(), AfterLoss::Redial { hint: None });
        assert!(bench.dial()[0].contains(r#""after":5"#));
    }
    let mut bench = open();
    bench.hear(r#"{"t":"pong","echo":7,"subs":[{"sub":1,"epoch":"00000000000000aa","offset":5}]}"#);
    // A hole of the log is no loss.
    bench.hear(r#"{"t":"data","sub":1,"offset":9,"prev":5,"text":"x"}"#);
    assert_eq!(bench.client.poll_close(), None);
    assert_eq!(bench.client.taken(Sub::new(1).unwrap()), Some(at(9)));
}

#[test]
fn what_a_server_must_not_say_ends_the_client() {
    for (message, broken) in [
        ("nonsense", "a malformed message"),
        (
            &*welcome(1, "resumed", 0, RollingHash::ZERO, false),
            "a second WELCOME",
        ),
        (r#"{"t":"puback","seq":1}"#, "a PUBACK of what was not sent"),
        (
            r#"{"t":"puback","seq":0,"code":"forbidden"}"#,
            "a refusal of what was not sent",
        ),
        (
            r#"{"t":"subok","sub":9,"epoch":"00000000000000aa","offset":0,"head":0,"state":"live"}"#,
            "SUBOK of what was not asked for",
        ),
        (
            r#"{"t":"data","sub":9,"offset":1,"prev":0,"text":""}"#,
            "DATA of no subscription",
        ),
        (r#"{"t":"auth"}"#, "an answer to an AUTH that was not said"),
        (r#"{"t":"bye"}"#, "a BYE that was not asked for"),
        (r#"{"t":"unsub","sub":1}"#, "UNSUB without a reason"),
        (
            r#"{"t":"data","sub":1,"offset":1,"prev":0,"text":""}"#,
            "DATA before SUBOK",
        ),
    ] {
        let mut bench = Bench::live();
        bench
            .client
            .subscribe(stream("s"), SubscribeOptions::default())
            .unwrap();
        bench.said();
        bench.events();
        bench.hear(message);
        assert_eq!(bench.events(), [E::Failed(SessionFailure::Protocol(broken))]);
        assert_eq!(bench.client.poll_close().map(|close| close.code), Some(1008));
        assert_eq!(bench.cut(), AfterLoss::Stopped);
    }
}

/// Section 9: what each REJECT means.
#[test]
fn rejections_are_final_or_not() {
    fn check(message: &str, event: &E, after: &AfterLoss) {
        let mut bench = Bench::live();
        bench.publish("a");
        bench.said();
        bench.events();
        bench.hear(message);
        let first = bench.events();
        let told = bench
            .client
            .handle_disconnected(bench.dial, bench.now, Some((1008, "x")));
        let events: Vec<_> = first.into_iter().chain(bench.events()).collect();
        assert!(events.contains(event), "{message}: {events:?}");
        assert_eq!(told, *after, "{message}");
    }
    let redial = |millis: Option<u64>| AfterLoss::Redial {
        hint: millis.map(Duration::from_millis),
    };
    let disconnected = |millis: Option<u64>| E::Disconnected {
        hint: millis.map(Duration::from_millis),
    };
    let refused = |code, detail: &str| {
        E::Failed(SessionFailure::Refused {
            code,
            detail: detail.into(),
        })
    };
    check(
        r#"{"t":"reject","code":"stale-attach","resumable":false,"attach":7}"#,
        &E::Superseded,
        &AfterLoss::Stopped,
    );
    check(
        r#"{"t":"reject","code":"session-unknown","resumable":false}"#,
        &E::Uncertain {
            from: Ticket(1),
            to: Ticket(1),
        },
        &redial(None),
    );
    check(
        r#"{"t":"reject","code":"bad-token","resumable":false,"detail":"no"}"#,
        &refused(Code::BadToken, "no"),
        &AfterLoss::Stopped,
    );
    check(
        r#"{"t":"reject","code":"unavailable","resumable":true,"retry":2500}"#,
        &disconnected(Some(2500)),
        &redial(Some(2500)),
    );
    check(
        r#"{"t":"reject","code":"later-invented","resumable":true}"#,
        &disconnected(None),
        &redial(None),
    );
    check(
        r#"{"t":"bye","code":"ended","detail":"by the operator"}"#,
        &E::Ended {
            fault: Some((Code::Ended, "by the operator".into())),
        },
        &AfterLoss::Stopped,
    );
}

/// Section 9: what each close means, and only on the present connection.
#[test]
fn closes_are_those_of_the_present_connection() {
    let redial = |millis: Option<u64>| AfterLoss::Redial {
        hint: millis.map(Duration::from_millis),
    };
    for (close, expect) in [
        (None, redial(None)),
        (Some((1012, "drained")), redial(None)),
        (Some((4410, "repeated")), redial(None)),
        (
            Some((1008, "Backpressure: downstream saturated; resume=1; after=2300")),
            redial(Some(2300)),
        ),
        (Some((4409, "superseded")), AfterLoss::Stopped),
    ] {
        let mut bench = Bench::live();
        let old = bench.dial;
        bench.dial();
        let ignored = bench.client.handle_disconnected(old, bench.now, close);
        assert_eq!(ignored, AfterLoss::Ignored, "it is not the present one");
        assert_eq!(
            bench.client.handle_disconnected(bench.dial, bench.now, close),
            expect
        );
    }
}

#[test]
fn a_server_that_is_silent_is_dead() {
    let mut bench = Bench::new();
    bench.dial();
    assert_eq!(
        bench.client.poll_timeout(),
        Some(bench.now + Duration::from_secs(10))
    );
    bench.client.handle_timeout(bench.now + Duration::from_secs(10));
    assert_eq!(
        bench.client.poll_close().map(|close| close.reason),
        Some("no answer in time".into())
    );

    let mut bench = Bench::live();
    let due = bench.now + Duration::from_secs(40);
    assert_eq!(bench.client.poll_timeout(), Some(due));
    bench.now += Duration::from_secs(30);
    assert_eq!(
        bench.hear(r#"{"t":"ping","echo":3}"#),
        [r#"{"t":"pong","echo":3}"#]
    );
    bench.client.handle_timeout(due);
    assert_eq!(bench.client.poll_close(), None);
    bench.client.handle_timeout(bench.now + Duration::from_secs(40));
    assert!(bench.client.poll_close().is_some());
}

#[test]
fn a_session_ends_when_everything_is_acknowledged() {
    let mut bench = Bench::live();
    bench.publish("a");
    bench.client.end();
    assert_eq!(
        bench.client.publish(stream("s"), PayloadKind::Text, "b".into()),
        Err(PublishError::Stopped)
    );
    assert_eq!(bench.said(), [published(1, "a")]);
    assert_eq!(
        bench.client.subscribe(stream("s"), SubscribeOptions::default()),
        Err(SubscribeError::Stopped)
    );
    assert_eq!(bench.hear(r#"{"t":"puback","seq":1}"#), [r#"{"t":"bye"}"#]);
    assert_eq!(
        bench.hear(r#"{"t":"ping","echo":1}"#),
        [""; 0],
        "nothing behind it"
    );
    bench.events();
    bench.hear(r#"{"t":"bye"}"#);
    assert_eq!(bench.events(), [E::Ended { fault: None }]);
    assert!(bench.client.is_stopped());
}

#[test]
fn subscriptions_come_and_go() {
    let mut bench = Bench::live();
    bench.events();
    let options = SubscribeOptions::default();
    let sub = bench.client.subscribe(stream("s"), options).unwrap();
    assert_eq!(
        bench.client.subscribe(stream("s"), options),
        Err(SubscribeError::Subscribed)
    );
    bench.client.unsubscribe(sub);
    assert_eq!(
        bench.events(),
        [E::Unsubscribed { sub, fault: None }],
        "the server knows nothing of it"
    );
    let sub = bench.client.subscribe(stream("s"), options).unwrap();
    bench.said();
    bench.client.unsubscribe(sub);
    assert_eq!(bench.said(), [r#"{"t":"unsub","sub":2}"#]);
    bench.hear(r#"{"t":"subok","sub":2,"epoch":"00000000000000aa","offset":0,"head":9,"state":"resumed"}"#);
    bench.hear(r#"{"t":"data","sub":2,"offset":1,"prev":0,"text":"x"}"#);
    assert_eq!(bench.events(), [], "what crosses is ignored");
    bench.hear(r#"{"t":"unsub","sub":2}"#);
    assert_eq!(bench.events(), [E::Unsubscribed { sub, fault: None }]);
    let sub = bench.client.subscribe(stream("s"), options).unwrap();
    bench.said();
    bench.hear(r#"{"t":"unsub","sub":3,"code":"forbidden","detail":"no"}"#);
    let fault = Some((Code::Forbidden, "no".into()));
    assert_eq!(bench.events(), [E::Unsubscribed { sub, fault }]);
}

#[test]
fn credentials_and_drains_are_told() {
    let mut bench = Bench::live();
    bench.events();
    let credential = || Credential::new("abc").unwrap();
    assert!(bench.client.offer(credential()) && !bench.client.offer(credential()));
    assert_eq!(bench.said(), [r#"{"t":"auth","credential":"abc"}"#]);
    bench.hear(r#"{"t":"auth","expires":60000}"#);
    bench.hear(r#"{"t":"drain","after":1500,"deadline":30000,"url":"wss://b.example/v1/ws"}"#);
    assert_eq!(
        bench.events(),
        [
            E::Credential {
                accepted: Ok(Some(Duration::from_secs(60)))
            },
            E::Drain {
                after: Duration::from_millis(1500),
                deadline: Duration::from_secs(30),
                url: Some("wss://b.example/v1/ws".into())
            }
        ]
    );
    assert!(bench.client.is_live(), "it works until then");
}

/// I21.
#[test]
fn a_session_that_lives_too_short_is_worth_a_warning() {
    let mut bench = Bench::with(SessionClientConfig {
        horizon: Duration::from_secs(301),
        ..SessionClientConfig::default()
    });
    bench.dial();
    bench.hear(&welcome(1, "new", 0, RollingHash::ZERO, true));
    let ttl = Duration::from_secs(300);
    assert!(bench.events().contains(&E::ShortTtl { ttl }));
    assert!(!Bench::live().events().contains(&E::ShortTtl { ttl }));
}

/// A HELLO has 65,536 bytes: what has no room in it is asked for behind WELCOME.
#[test]
fn many_subscriptions_do_not_make_a_hello_too_large() {
    let mut bench = Bench::new();
    for number in 0..256 {
        let name = format!("{number:0>128}");
        bench
            .client
            .subscribe(stream(&name), SubscribeOptions::default())
            .unwrap();
    }
    let hello = bench.dial().remove(0);
    assert!(hello.len() <= 65_536, "{}", hello.len());
    let said = bench.hear(&welcome(1, "new", 0, RollingHash::ZERO, true));
    let in_hello = hello.matches(r#""sub":"#).count();
    assert!(in_hello > 100);
    assert_eq!(in_hello + said.len(), 256);
}

/// What is stored is what another process goes on with, and stores again.
#[test]
fn a_state_survives_being_stored() {
    let mut bench = Bench::live();
    for (name, offset) in [("b", 2), ("a", 1)] {
        let options = SubscribeOptions {
            position: Some(at(offset)),
            ..SubscribeOptions::default()
        };
        bench.client.subscribe(stream(name), options).unwrap();
    }
    bench.publish("x");
    let state = bench.client.state();
    assert_eq!(state.positions, [(stream("a"), at(1)), (stream("b"), at(2))]);
    let config = SessionClientConfig::default();
    let mut other = SessionClient::restore(config, state.clone());
    assert_eq!(other.state(), state);
    let sub = other.subscribe(stream("b"), SubscribeOptions::default()).unwrap();
    assert_eq!(
        other.taken(sub),
        Some(at(2)),
        "the stored position serves the stream"
    );
    assert_eq!(other.state(), state);
}
