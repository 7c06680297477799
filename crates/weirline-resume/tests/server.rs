//! What a server answers, message by message, as a ten-line client would see it.

#![expect(
    clippy::disallowed_methods,
    reason = "a test needs some instant to count from"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use weirline_log::{
    AppendRefusal, Attach, AttachRefusal, Command, EventLog as _, LogWriter as _, MemoryConfig, MemoryLog,
    MemoryReader, MemoryWriter, OpenRefusal, Outcome, PayloadKind, StreamId,
};
use weirline_resume::text::{GapReason, PauseReason};
use weirline_resume::{TextServer, TextServerConfig};

const SECRET: &str = "abcdefghijklmnopqrstuv";

struct Bench {
    server: TextServer,
    writer: MemoryWriter,
    reader: MemoryReader,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let config = MemoryConfig {
            stream_messages_max: 3,
            ..MemoryConfig::default()
        };
        let (writer, reader) = MemoryLog::new(config, 1).split();
        let now = Instant::now();
        Self {
            server: Self::machine(now),
            writer,
            reader,
            now,
        }
    }

    fn machine(now: Instant) -> TextServer {
        let config = TextServerConfig {
            payload_text_bytes_max: 8,
            ..TextServerConfig::default()
        };
        TextServer::new(Arc::new(config), StreamId::new("s").unwrap(), now)
    }

    /// A further connection to the same log.
    fn reconnect(&mut self) {
        self.server = Self::machine(self.now);
    }

    fn commit(&mut self, command: Command) -> Outcome {
        let mut outcomes = Vec::new();
        self.writer.commit(&[command], &mut outcomes).unwrap();
        outcomes.pop().unwrap()
    }

    fn append(&mut self, payload: &'static str) {
        let stream = StreamId::new("s").unwrap();
        self.commit(Command::Append {
            stream,
            author: None,
            kind: PayloadKind::Text,
            payload: payload.into(),
        });
        self.server.handle_grown();
    }

    fn append_all<const N: usize>(&mut self, payloads: [&'static str; N]) {
        payloads.into_iter().for_each(|payload| self.append(payload));
    }

    /// Hands in messages, lets the log decide, and returns everything that goes out; a close as `close CODE REASON`.
    fn say(&mut self, messages: &[&str]) -> Vec<String> {
        for message in messages {
            self.server
                .handle_message(self.now, PayloadKind::Text, message.as_bytes());
            self.decide();
        }
        self.heard()
    }

    fn decide(&mut self) {
        while let Some(command) = self.server.poll_command() {
            let outcome = self.commit(command);
            self.server.handle_outcome(self.now, outcome);
            self.server.handle_grown();
        }
    }

    fn heard(&mut self) -> Vec<String> {
        let mut heard = Vec::new();
        while self
            .server
            .read_from(&self.reader, 1000, &mut Vec::new())
            .unwrap()
        {}
        while let Some(message) = self.server.poll_transmit() {
            heard.push(String::from_utf8(message.to_vec()).unwrap());
        }
        heard.extend(
            self.server
                .poll_close()
                .map(|close| format!("close {} {}", close.code, close.reason)),
        );
        heard.iter().map(|line| self.without_epoch(line)).collect()
    }

    fn without_epoch(&self, line: &str) -> String {
        use weirline_log::LogReader as _;
        match self.reader.bounds(self.server.stream()).unwrap() {
            Some(bounds) => line.replace(&bounds.epoch.to_string(), "E"),
            None => line.into(),
        }
    }

    fn epoch(&self) -> String {
        use weirline_log::LogReader as _;
        self.reader
            .bounds(self.server.stream())
            .unwrap()
            .unwrap()
            .epoch
            .to_string()
    }
}

fn session(attach: u64) -> String {
    format!("SESSION:{SECRET}:{attach}")
}

#[track_caller]
fn check(messages: &[&str], expect: &[&str]) {
    assert_eq!(Bench::new().say(messages), expect);
}

#[test]
fn openings_are_answered_in_order() {
    check(&["RESUME_FROM:none"], &["RESUME_FROM:0"]);
    check(&["RESUME_FROM:head"], &["RESUME_FROM:0", "RESUMED:0:0@E"]);
    check(&["RESUME_FROM:0"], &["RESUME_FROM:0", "RESUMED:0:0@E"]);
    check(&["RESUME_FROM:7"], &["RESUME_FROM:0", "RESET:E:0"]);
    check(
        &["RESUME_FROM:7@0123456789abcdef"],
        &["RESUME_FROM:0", "RESET:E:0"],
    );
    check(
        &[&session(1), "RESUME_FROM:0"],
        &["RESUME_FROM:0", "RESUMED:0:0@E"],
    );
    check(
        &[&session(1), "RESUME_FROM:0", "1:a", "2:b"],
        &["RESUME_FROM:0", "RESUMED:0:0@E", "1:a", "2:b", "ACK:2"],
    );
}

#[test]
fn broken_openings_are_bad_messages() {
    let bad = |text: &str| {
        [
            format!("ERROR:bad-message:{text}"),
            "close 1008 bad-message".into(),
        ]
    };
    let check = |messages: &[&str], text: &str| {
        let heard = Bench::new().say(messages);
        assert_eq!(heard[heard.len() - 2..], bad(text), "{messages:?}");
    };
    check(&["hello"], "unknown message");
    check(&["1:a"], "a message before the answer to RESUME_FROM");
    check(&["ACK:1"], "an ACK without a stream");
    check(&["RESUME_FROM:none", "ACK:0"], "an ACK without a stream");
    check(&["RESUME_FROM:0", "RESUME_FROM:0"], "a second RESUME_FROM");
    check(
        &["RESUME_FROM:0", &session(1)],
        "SESSION must be the first message",
    );
    check(&[&session(1), &session(2)], "SESSION must be the first message");
    check(&["RESUME_FROM:01"], "bad number");
    check(&["SESSION:short:1"], "bad secret");
}

#[test]
fn the_opening_is_due_in_ten_seconds() {
    let mut bench = Bench::new();
    assert_eq!(
        bench.server.poll_timeout(),
        Some(bench.now + Duration::from_secs(10))
    );
    assert_eq!(bench.say(&[&session(1)]), [""; 0]);
    bench
        .server
        .handle_timeout(bench.now + Duration::from_millis(9_999));
    assert_eq!(bench.heard(), [""; 0]);
    bench.server.handle_timeout(bench.now + Duration::from_secs(10));
    assert_eq!(
        bench.heard(),
        [
            "ERROR:bad-message:RESUME_FROM is overdue",
            "close 1008 bad-message"
        ]
    );
    assert_eq!(bench.server.poll_timeout(), None);

    bench.reconnect();
    bench.say(&["RESUME_FROM:0"]);
    assert_eq!(
        bench.server.poll_timeout(),
        None,
        "an answered opening has no deadline"
    );
}

#[test]
fn sessions_are_refused_by_their_attach() {
    let mut bench = Bench::new();
    let unknown = [
        "ERROR:session-unknown:begin a session with attach 1",
        "close 1008 session-unknown",
    ];
    assert_eq!(bench.say(&[&session(2), "RESUME_FROM:0"]), unknown);
    bench.reconnect();
    bench.say(&[&session(1), "RESUME_FROM:none", "1:a"]);
    bench.reconnect();
    assert_eq!(bench.say(&[&session(7), "RESUME_FROM:none"]), ["RESUME_FROM:1"]);
    for stale in [1, 6, 7] {
        bench.reconnect();
        let expect = [
            "ERROR:stale-attach:the session is at attach 7",
            "close 1008 stale-attach",
        ];
        assert_eq!(bench.say(&[&session(stale), "RESUME_FROM:0"]), expect);
    }
    bench.reconnect();
    let jump = [
        "ERROR:bad-sequence:the attach number jumps too far",
        "close 1008 bad-sequence",
    ];
    assert_eq!(bench.say(&[&session(8 + (1 << 20)), "RESUME_FROM:0"]), jump);
}

#[test]
fn a_refused_attach_is_not_detached() {
    let mut bench = Bench::new();
    bench.say(&[&session(2), "RESUME_FROM:0"]);
    bench.server.handle_disconnected(bench.now);
    assert_eq!(bench.server.poll_command(), None);
}

#[test]
fn full_tables_are_unavailable() {
    let mut bench = Bench::new();
    for message in [&session(1), "RESUME_FROM:0"] {
        bench
            .server
            .handle_message(bench.now, PayloadKind::Text, message.as_bytes());
    }
    while bench.server.poll_command().is_some() {}
    bench
        .server
        .handle_outcome(bench.now, Outcome::AttachRefused(AttachRefusal::Full));
    bench
        .server
        .handle_outcome(bench.now, Outcome::OpenRefused(OpenRefusal::StreamsFull));
    assert_eq!(
        bench.heard(),
        ["ERROR:unavailable:too many sessions", "close 1008 unavailable"]
    );

    bench.reconnect();
    bench
        .server
        .handle_message(bench.now, PayloadKind::Text, b"RESUME_FROM:0");
    while bench.server.poll_command().is_some() {}
    bench
        .server
        .handle_outcome(bench.now, Outcome::OpenRefused(OpenRefusal::StreamsFull));
    let expect = [
        "RESUME_FROM:0",
        "ERROR:unavailable:too many streams",
        "close 1008 unavailable",
    ];
    assert_eq!(bench.heard(), expect);
}

#[test]
fn the_verdict_waits_for_the_commit() {
    let mut bench = Bench::new();
    for message in [&session(1), "RESUME_FROM:none"] {
        bench
            .server
            .handle_message(bench.now, PayloadKind::Text, message.as_bytes());
    }
    let command = bench.server.poll_command().unwrap();
    assert_eq!(bench.heard(), [""; 0]);
    assert!(!bench.server.wants_input());
    let outcome = bench.commit(command);
    bench.server.handle_outcome(bench.now, outcome);
    assert_eq!(bench.heard(), ["RESUME_FROM:0"]);
    assert!(bench.server.wants_input());
}

#[test]
fn a_skipped_number_is_a_bad_sequence() {
    check(
        &["RESUME_FROM:none", "1:a", "3:c"],
        &[
            "RESUME_FROM:0",
            "ACK:1",
            "ERROR:bad-sequence:a number was skipped",
            "close 1008 bad-sequence",
        ],
    );
}

#[test]
fn a_repeated_number_is_acknowledged_and_not_appended() {
    let mut bench = Bench::new();
    bench.say(&[&session(1), "RESUME_FROM:0", "1:a", "2:b"]);
    assert_eq!(bench.say(&["1:a"]), ["ACK:2"]);
    assert_eq!(bench.say(&["3:c"]), ["3:c", "ACK:3"]);
}

#[test]
fn behind_a_refusal_everything_is_ignored_until_the_number_comes_again() {
    let mut bench = Bench::new();
    bench.say(&[&session(1), "RESUME_FROM:none", "1:a"]);
    assert_eq!(
        bench.say(&["2:much too long"]),
        ["ERROR:too-large:2:at most 8 bytes"]
    );
    assert_eq!(bench.say(&["3:c", "4:d", "9:x"]), [""; 0]);
    assert_eq!(bench.say(&["2:c"]), ["ACK:2"]);
    assert_eq!(bench.say(&["3:d"]), ["ACK:3"]);
}

/// The log refuses a number when those behind it are on their way: they are refused too, in silence.
#[test]
fn what_was_in_flight_behind_a_refusal_is_ignored() {
    let mut bench = Bench::new();
    bench.say(&[&session(1), "RESUME_FROM:none"]);
    let send = |bench: &mut Bench, message: &str| {
        bench
            .server
            .handle_message(bench.now, PayloadKind::Text, message.as_bytes());
        bench.server.poll_command().unwrap()
    };
    let commands = ["1:a", "2:b", "3:c"].map(|message| send(&mut bench, message));
    drop(commands);
    let gap = || {
        Outcome::AppendRefused(AppendRefusal::Gap {
            expected: weirline_log::Seq::FIRST,
        })
    };
    bench
        .server
        .handle_outcome(bench.now, Outcome::AppendRefused(AppendRefusal::StreamsFull));
    assert_eq!(bench.heard(), ["ERROR:unavailable:1:there are too many streams"]);
    // The number comes again before the log has spoken about those behind the refused one.
    let again = send(&mut bench, "1:a");
    bench.server.handle_outcome(bench.now, gap());
    bench.server.handle_outcome(bench.now, gap());
    let outcome = bench.commit(again);
    bench.server.handle_outcome(bench.now, outcome);
    assert_eq!(bench.heard(), ["ACK:1"]);
}

/// Nothing is unbounded: whoever asks for refusals faster than it takes them is not read on.
#[test]
fn refusals_that_nobody_takes_stop_the_reading() {
    let mut bench = Bench::new();
    bench.say(&[&session(1), "RESUME_FROM:none"]);
    let TextServerConfig {
        read_messages_max,
        in_flight_messages_max,
        ..
    } = TextServerConfig::default();
    for refused in 1..=read_messages_max + in_flight_messages_max {
        assert!(bench.server.wants_input(), "{refused}");
        bench
            .server
            .handle_message(bench.now, PayloadKind::Text, b"1:longer than 8 bytes");
    }
    assert!(!bench.server.wants_input());
    bench.server.poll_transmit().unwrap();
    assert!(bench.server.wants_input(), "there is room again");
}

/// Two ends that both have much to say would otherwise wait for one another.
#[test]
fn entries_on_their_way_do_not_stop_the_reading() {
    let mut bench = Bench::new();
    (bench.writer, bench.reader) = MemoryLog::new(MemoryConfig::default(), 1).split();
    bench.say(&[&session(1), "RESUME_FROM:0"]);
    let read_max = TextServerConfig::default().read_messages_max;
    for _ in 0..=read_max {
        bench.append("x");
    }
    let more = bench
        .server
        .read_from(&bench.reader, usize::MAX, &mut Vec::new())
        .unwrap();
    assert!(more && bench.server.wants_input());
    let queued = std::iter::from_fn(|| bench.server.poll_transmit());
    assert_eq!(queued.count(), read_max);
}

#[test]
fn a_count_that_changed_under_the_connection_ends_it() {
    let mut bench = Bench::new();
    bench.say(&[&session(1), "RESUME_FROM:none"]);
    bench.server.handle_message(bench.now, PayloadKind::Text, b"1:a");
    bench.server.poll_command();
    let expected = weirline_log::Seq::MAX;
    bench
        .server
        .handle_outcome(bench.now, Outcome::AppendRefused(AppendRefusal::Gap { expected }));
    assert_eq!(bench.heard(), ["close 1012 the session's count changed"]);
}

#[test]
fn without_a_session_a_refusal_by_the_log_ends_the_connection() {
    let mut bench = Bench::new();
    bench.say(&["RESUME_FROM:none"]);
    for message in ["1:a", "2:b"] {
        bench
            .server
            .handle_message(bench.now, PayloadKind::Text, message.as_bytes());
        bench.server.poll_command();
    }
    bench
        .server
        .handle_outcome(bench.now, Outcome::AppendRefused(AppendRefusal::StreamsFull));
    let expect = [
        "ERROR:unavailable:1:there are too many streams",
        "close 1008 unavailable",
    ];
    assert_eq!(bench.heard(), expect);
}

#[test]
fn an_ack_beyond_what_was_sent_changes_nothing() {
    let mut bench = Bench::new();
    bench.append("a");
    bench.say(&[&session(1), "RESUME_FROM:0"]);
    bench.append("b");
    // Not sent yet, though the log has it.
    let heard = bench.say(&["ACK:1", "ACK:2"]);
    assert_eq!(
        heard[heard.len() - 2..],
        [
            "ERROR:ack-beyond:the last offset sent is 1",
            "close 1008 ack-beyond"
        ]
    );
    bench.reconnect();
    bench
        .server
        .handle_message(bench.now, PayloadKind::Text, session(2).as_bytes());
    bench
        .server
        .handle_message(bench.now, PayloadKind::Text, b"RESUME_FROM:head");
    let attach = bench.server.poll_command().unwrap();
    let Outcome::Attached { acked, .. } = bench.commit(attach) else {
        panic!()
    };
    assert_eq!(
        acked
            .iter()
            .map(|(_, position)| position.offset.get())
            .collect::<Vec<_>>(),
        [1]
    );
}

#[test]
fn acks_wait_for_one_another_and_never_go_back() {
    let mut bench = Bench::new();
    bench.append_all(["a", "b", "c"]);
    bench.say(&[&session(1), "RESUME_FROM:0"]);
    let acks = |bench: &mut Bench, offsets: &[u64]| {
        for offset in offsets {
            bench
                .server
                .handle_message(bench.now, PayloadKind::Text, format!("ACK:{offset}").as_bytes());
        }
        std::iter::from_fn(|| bench.server.poll_command()).collect::<Vec<_>>()
    };
    let offset = |command: &Command| match command {
        Command::Ack { offset, .. } => offset.get(),
        other => panic!("{other:?}"),
    };
    let first = acks(&mut bench, &[1]);
    assert_eq!(acks(&mut bench, &[2, 3, 1]), [], "one at a time");
    let outcome = bench.commit(first[0].clone());
    bench.server.handle_outcome(bench.now, outcome);
    let second = acks(&mut bench, &[]);
    assert_eq!(
        (offset(&first[0]), second.iter().map(offset).collect::<Vec<_>>()),
        (1, vec![3])
    );
}

#[test]
fn retention_is_a_gap_before_the_data() {
    let mut bench = Bench::new();
    bench.append_all(["a", "b", "c", "d", "e"]);
    let expect = [
        "RESUME_FROM:0",
        "RESUMED:0:5@E",
        "GAP:1:2:retention",
        "3:c",
        "4:d",
        "5:e",
    ];
    assert_eq!(bench.say(&["RESUME_FROM:0"]), expect);
    bench.reconnect();
    assert_eq!(
        bench.say(&["RESUME_FROM:3"]),
        ["RESUME_FROM:0", "RESUMED:3:5@E", "4:d", "5:e"]
    );
}

#[test]
fn retention_overtakes_a_live_subscriber() {
    let mut bench = Bench::new();
    bench.say(&["RESUME_FROM:0"]);
    bench.append_all(["a", "b", "c", "d"]);
    assert_eq!(bench.heard(), ["GAP:1:1:retention", "2:b", "3:c", "4:d"]);
}

#[test]
fn another_epoch_is_a_reset_to_the_common_history() {
    let mut bench = Bench::new();
    bench.append_all(["a", "b", "c"]);
    let old = bench.epoch();
    let stream = StreamId::new("s").unwrap();
    bench
        .writer
        .begin_epoch(&stream, weirline_log::Offset::new(2).unwrap())
        .unwrap();
    bench.append("x");
    let expect = ["RESUME_FROM:0", "RESET:E:2", "3:x"];
    assert_eq!(bench.say(&[&format!("RESUME_FROM:3@{old}")]), expect);
    bench.reconnect();
    assert_eq!(
        bench.say(&[&format!("RESUME_FROM:1@{old}")]),
        ["RESUME_FROM:0", "RESET:E:1", "2:b", "3:x"]
    );
    bench.reconnect();
    assert_eq!(
        bench.say(&["RESUME_FROM:3"]),
        ["RESUME_FROM:0", "RESUMED:3:3@E"],
        "unnoticed without an epoch"
    );
}

#[test]
fn an_epoch_that_changes_under_a_connection_ends_it() {
    let mut bench = Bench::new();
    bench.append("a");
    bench.say(&["RESUME_FROM:0"]);
    bench
        .writer
        .begin_epoch(&StreamId::new("s").unwrap(), weirline_log::Offset::ZERO)
        .unwrap();
    bench.append("x");
    assert_eq!(bench.heard(), ["close 1012 the stream's epoch changed"]);
}

#[test]
fn a_payload_comes_back_in_its_own_kind() {
    let mut bench = Bench::new();
    bench.say(&["RESUME_FROM:0"]);
    bench
        .server
        .handle_message(bench.now, PayloadKind::Binary, b"1:\x00\xff");
    bench.decide();
    while bench
        .server
        .read_from(&bench.reader, 1000, &mut Vec::new())
        .unwrap()
    {}
    let data = bench.server.poll_transmit().unwrap();
    assert_eq!(
        (data.kind, data.to_vec()),
        (PayloadKind::Binary, b"1:\x00\xff".to_vec())
    );
    bench
        .server
        .handle_message(bench.now, PayloadKind::Binary, b"ACK:1");
    let expect = [
        "ACK:1",
        "ERROR:bad-message:a binary message must be number:payload",
        "close 1008 bad-message",
    ];
    assert_eq!(bench.heard(), expect);
}

#[test]
fn nothing_is_read_without_capacity() {
    let mut bench = Bench::new();
    bench.say(&["RESUME_FROM:0"]);
    bench.append_all(["a", "b"]);
    assert!(bench.server.poll_read(0).is_none());
    assert!(bench.server.poll_read(1).is_some());
    // One byte of capacity takes one message: a transport never has to split.
    assert!(bench.server.read_from(&bench.reader, 1, &mut Vec::new()).unwrap());
    assert_eq!(
        bench.server.poll_transmit().map(|message| message.to_vec()),
        Some(b"1:a".to_vec())
    );
    assert_eq!(bench.server.poll_transmit(), None);
}

#[test]
fn i10_the_fenced_connection_is_closed_and_silent() {
    let mut bench = Bench::new();
    bench.say(&[&session(1), "RESUME_FROM:0", "1:a"]);
    bench.append("not sent yet");
    assert!(
        bench
            .server
            .read_from(&bench.reader, 1000, &mut Vec::new())
            .unwrap()
    );
    bench.server.handle_fenced();
    assert_eq!(bench.heard(), ["close 4409 superseded"]);
    assert_eq!(bench.say(&["2:b", "hello", "ACK:1"]), [""; 0]);
}

#[test]
fn i10_a_publish_of_the_fenced_connection_is_refused_at_its_place() {
    let mut bench = Bench::new();
    bench.say(&[&session(1), "RESUME_FROM:none"]);
    bench
        .server
        .handle_message(bench.now, PayloadKind::Text, b"1:old");
    let mut old = std::mem::replace(&mut bench.server, Bench::machine(bench.now));
    assert_eq!(
        bench.say(&[&session(2), "RESUME_FROM:0", "1:new"])[..1],
        ["RESUME_FROM:0"]
    );
    std::mem::swap(&mut old, &mut bench.server);
    bench.decide();
    assert_eq!(bench.heard(), ["close 4409 superseded"]);
}

#[test]
fn r19_a_break_is_announced() {
    let mut bench = Bench::new();
    bench.say(&["RESUME_FROM:0"]);
    bench.server.pause(PauseReason::PUBLISHING);
    bench.server.pause(PauseReason::PUBLISHING);
    assert_eq!(bench.heard(), ["PAUSE:publishing"]);
    bench.server.resume();
    bench.server.resume();
    assert_eq!(bench.heard(), ["CONTINUE"]);
    bench
        .server
        .break_off(PauseReason::SLOW_CONSUMER, Duration::from_millis(2300));
    let close = "close 1008 Backpressure: downstream saturated; resume=1; after=2300";
    assert_eq!(bench.heard(), ["PAUSE:slow-consumer", close]);
}

/// Nothing may come before the answer to the opening, also when that is given up.
#[test]
fn r19_a_break_before_the_answer_says_only_why() {
    let mut bench = Bench::new();
    bench
        .server
        .handle_message(bench.now, PayloadKind::Text, b"RESUME_FROM:0");
    bench
        .server
        .break_off(PauseReason::SLOW_CONSUMER, Duration::from_millis(5));
    let close = "close 1008 Backpressure: downstream saturated; resume=1; after=5";
    assert_eq!(bench.heard(), [close]);
}

/// A break gives up what waits: the last that is said must not stand behind it.
#[test]
fn r19_a_break_waits_for_nothing() {
    let mut bench = Bench::new();
    bench.append_all(["a", "b"]);
    bench.say(&["RESUME_FROM:0"]);
    let seen = bench.heard();
    bench.append("c");
    bench.say(&["1:published"]);
    bench.server.pause(PauseReason::PUBLISHING);
    let after = Duration::from_secs(90);
    bench.server.break_off(PauseReason::SLOW_CONSUMER, after);
    let close = "close 1008 Backpressure: downstream saturated; resume=1; after=60000";
    assert_eq!(bench.heard(), [close], "behind {seen:?}: paused already");
}

#[test]
fn r16_a_cursor_that_jumps_says_so() {
    let mut bench = Bench::new();
    bench.append_all(["a", "b", "c"]);
    bench.say(&["RESUME_FROM:3"]);
    bench.append_all(["d", "e", "f"]);
    bench
        .server
        .skip_to(weirline_log::Offset::new(5).unwrap(), GapReason::Dropped);
    bench
        .server
        .skip_to(weirline_log::Offset::new(4).unwrap(), GapReason::Dropped);
    assert_eq!(bench.heard(), ["GAP:4:5:dropped", "6:f"]);
}

#[test]
fn what_was_taken_in_is_committed_before_the_detach() {
    let mut bench = Bench::new();
    bench.append("x");
    bench.say(&[&session(1), "RESUME_FROM:0"]);
    for message in ["1:a", "ACK:1"] {
        bench
            .server
            .handle_message(bench.now, PayloadKind::Text, message.as_bytes());
    }
    bench.server.handle_disconnected(bench.now);
    let commands: Vec<_> = std::iter::from_fn(|| bench.server.poll_command()).collect();
    let [
        Command::Append { .. },
        Command::Ack { .. },
        Command::Detach {
            attach: Attach::FIRST,
            ..
        },
    ] = &commands[..]
    else {
        panic!("{commands:?}")
    };
    for command in commands {
        let outcome = bench.commit(command);
        bench.server.handle_outcome(bench.now, outcome);
    }
    assert_eq!(bench.heard(), [""; 0]);
}

#[test]
fn a_failed_log_is_unavailable() {
    let mut bench = Bench::new();
    bench.say(&[&session(1), "RESUME_FROM:none"]);
    bench.server.handle_message(bench.now, PayloadKind::Text, b"1:a");
    bench.server.poll_command();
    bench.server.handle_log_failed();
    assert_eq!(
        bench.heard(),
        ["ERROR:unavailable:the log failed", "close 1008 unavailable"]
    );
}

#[test]
fn reading_pauses_at_the_bound_of_what_is_in_flight() {
    let mut bench = Bench::new();
    bench.say(&["RESUME_FROM:none"]);
    for n in 1..=256 {
        assert!(bench.server.wants_input());
        bench
            .server
            .handle_message(bench.now, PayloadKind::Text, format!("{n}:a").as_bytes());
    }
    assert!(!bench.server.wants_input());
    bench.decide();
    assert!(bench.server.wants_input());
    assert_eq!(bench.heard(), ["ACK:256"]);
}

#[test]
fn i15_an_idle_subscriber_is_small() {
    assert!(size_of::<TextServer>() <= 300, "{}", size_of::<TextServer>());
}
