//! What a client says and reports, message by message, against a scripted server.

#![expect(
    clippy::disallowed_methods,
    reason = "a test needs some instant to count from"
)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use weirline_log::{Epoch, Offset, PayloadKind, Position};
use weirline_resume::text::{ErrorCode, GapReason};
use weirline_resume::{
    AfterLoss, ClientEvent, ClientState, Dial, DialError, Failure, HandledError, PublishError, StoreMode,
    Subscribe, TextClient, TextClientConfig, Ticket,
};

const E: &str = "000000000000000e";
const F: &str = "000000000000000f";

struct Bench {
    client: TextClient,
    dial: Dial,
    now: Instant,
    entropy: u8,
}

impl Bench {
    fn new(subscribe: Subscribe) -> Self {
        Self::with(
            TextClientConfig {
                subscribe,
                ..TextClientConfig::default()
            },
            ClientState::default(),
        )
    }

    fn with(config: TextClientConfig, state: ClientState) -> Self {
        let client = TextClient::restore(config, state);
        Self {
            dial: client.current_dial(),
            client,
            now: Instant::now(),
            entropy: 0,
        }
    }

    /// Dials, and returns what is said; secrets are shown as S1, S2, … by the dial that made them.
    fn dial(&mut self) -> Vec<String> {
        self.entropy += 1;
        self.dial = self.client.dial(self.now, [self.entropy; 32]).unwrap();
        self.client.handle_connected(self.dial, self.now);
        self.said()
    }

    fn said(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        while let Some(message) = self.client.poll_transmit() {
            let text = String::from_utf8(message.to_vec()).unwrap();
            said.push((1..=self.entropy).fold(text, |text, n| {
                text.replace(
                    weirline_resume::Secret::from_entropy([n; 32]).as_str(),
                    &format!("S{n}"),
                )
            }));
        }
        said
    }

    /// The server says this; what the client says in answer.
    fn hear(&mut self, messages: &[&str]) -> Vec<String> {
        let mut said = Vec::new();
        for message in messages {
            self.client
                .handle_message(self.dial, self.now, PayloadKind::Text, message.as_bytes());
            said.extend(self.said());
        }
        said
    }

    fn events(&mut self) -> Vec<ClientEvent> {
        std::iter::from_fn(|| self.client.poll_event()).collect()
    }

    fn cut(&mut self) -> AfterLoss {
        self.client.handle_disconnected(self.dial, self.now, None)
    }

    fn publish(&mut self, payload: &'static str) -> Ticket {
        self.client
            .publish(PayloadKind::Text, Bytes::from(payload))
            .unwrap()
    }

    fn publish_all<const N: usize>(&mut self, payloads: [&'static str; N]) -> [Ticket; N] {
        payloads.map(|payload| self.publish(payload))
    }

    fn handled(&mut self, epoch: &str, offset: u64) -> Vec<String> {
        self.client.handled(at(epoch, offset)).unwrap();
        self.said()
    }

    #[track_caller]
    fn fails(&mut self, message: &str) {
        self.hear(&[message]);
        let last = self.events().pop();
        assert!(
            matches!(last, Some(ClientEvent::Failed(Failure::Protocol(_)))),
            "{message}: {last:?}"
        );
        assert_eq!(self.client.poll_close().map(|close| close.code), Some(1008));
        assert_eq!(self.client.dial(self.now, [0; 32]), Err(DialError::Stopped));
    }
}

fn at(epoch: &str, offset: u64) -> Position {
    Position {
        epoch: epoch.parse::<Epoch>().unwrap(),
        offset: Offset::new(offset).unwrap(),
    }
}

fn resumed(n: u64, head: u64, epoch: &str) -> String {
    format!("RESUMED:{n}:{head}@{epoch}")
}

#[test]
fn the_first_dial_says_where_from() {
    let check = |subscribe, expect: &str| assert_eq!(Bench::new(subscribe).dial(), ["SESSION:S1:1", expect]);
    check(Subscribe::Head, "RESUME_FROM:head");
    check(Subscribe::Nothing, "RESUME_FROM:none");
    check(Subscribe::After(Offset::new(7).unwrap()), "RESUME_FROM:7");
    check(Subscribe::At(at(E, 7)), &format!("RESUME_FROM:7@{E}"));
}

#[test]
fn an_unanswered_secret_is_replaced_and_an_answered_one_is_kept() {
    let mut bench = Bench::new(Subscribe::Nothing);
    assert_eq!(bench.dial()[0], "SESSION:S1:1");
    bench.cut();
    assert_eq!(bench.dial()[0], "SESSION:S2:1");
    bench.hear(&["RESUME_FROM:0"]);
    bench.cut();
    assert_eq!(bench.dial()[0], "SESSION:S2:2");
    bench.cut();
    assert_eq!(bench.dial()[0], "SESSION:S2:3");
}

#[test]
fn head_without_an_answer_is_head_again_and_with_one_a_position() {
    let mut bench = Bench::new(Subscribe::Head);
    assert_eq!(bench.dial()[1], "RESUME_FROM:head");
    bench.hear(&["RESUME_FROM:0"]);
    bench.cut();
    assert_eq!(bench.dial()[1], "RESUME_FROM:head");
    bench.hear(&["RESUME_FROM:0", &resumed(5, 5, E)]);
    bench.cut();
    assert_eq!(
        bench.dial()[1],
        format!("RESUME_FROM:5@{E}"),
        "an idle client has a position"
    );
    assert_eq!(
        bench.client.state().position,
        Some(at(E, 5)),
        "a later process has it, too"
    );
}

#[test]
fn what_is_taken_in_and_not_handled_is_not_asked_for_again() {
    let mut bench = Bench::new(Subscribe::After(Offset::ZERO));
    bench.dial();
    bench.hear(&[
        "RESUME_FROM:0",
        &resumed(0, 9, E),
        "1:a",
        "2:b",
        "GAP:3:4:retention",
    ]);
    assert_eq!(bench.handled(E, 1), ["ACK:1"]);
    bench.cut();
    assert_eq!(bench.dial()[1], format!("RESUME_FROM:4@{E}"));
    assert_eq!(
        bench.client.state().position,
        Some(at(E, 1)),
        "a later process asks for it again"
    );
    // The first ACK of a connection repeats the handled position, and not before the answer.
    assert_eq!(bench.hear(&["RESUME_FROM:0"]), [""; 0]);
    assert_eq!(bench.hear(&[&resumed(4, 9, E)]), ["ACK:1"]);
    assert_eq!(bench.handled(E, 4), ["ACK:4"], "a GAP is acknowledged like data");
    assert_eq!(bench.handled(E, 2), [""; 0]);
    assert_eq!(bench.client.handled(at(E, 5)), Err(HandledError::NeverDelivered));
    assert_eq!(bench.client.handled(at(F, 1)), Err(HandledError::NeverDelivered));
}

#[test]
fn adjacent_gaps_are_one() {
    let check = |heard: &[&str], expect: &[(u64, u64, GapReason)]| {
        let mut bench = Bench::new(Subscribe::After(Offset::ZERO));
        bench.dial();
        bench.hear(&["RESUME_FROM:0", &resumed(0, 9, E)]);
        bench.hear(heard);
        let gaps = bench.events().into_iter().filter_map(|event| match event {
            ClientEvent::Gap { from, to, reason, .. } => Some((from.get(), to.get(), reason)),
            _ => None,
        });
        assert_eq!(gaps.collect::<Vec<_>>(), expect, "{heard:?}");
    };
    use GapReason::{Dropped, Retention};
    check(&["GAP:1:2:retention", "GAP:3:5:retention"], &[(1, 5, Retention)]);
    check(
        &["GAP:1:2:retention", "GAP:3:5:dropped"],
        &[(1, 2, Retention), (3, 5, Dropped)],
    );
    // Between them lies a hole of the log, which nobody has missed.
    check(
        &["GAP:1:2:retention", "GAP:4:5:retention"],
        &[(1, 2, Retention), (4, 5, Retention)],
    );
    check(
        &["GAP:1:2:dropped", "3:c", "GAP:4:5:dropped"],
        &[(1, 2, Dropped), (4, 5, Dropped)],
    );
}

#[test]
fn after_a_reset_nothing_of_the_earlier_epoch_is_acknowledged() {
    let mut bench = Bench::new(Subscribe::After(Offset::ZERO));
    bench.dial();
    bench.hear(&["RESUME_FROM:0", &resumed(0, 9, E), "1:a", "2:b", "3:c"]);
    bench.cut();
    bench.dial();
    assert_eq!(
        bench.hear(&["RESUME_FROM:0", &format!("RESET:{F}:2"), "3:x"]),
        [""; 0]
    );
    assert_eq!(bench.handled(E, 2), [""; 0]);
    assert_eq!(bench.client.state().position, Some(at(E, 2)));
    assert_eq!(bench.handled(E, 3), [""; 0]);
    assert_eq!(
        bench.handled(F, 2),
        ["ACK:2"],
        "the common history, when the RESET is handled"
    );
    assert_eq!(bench.handled(F, 3), ["ACK:3"]);
    assert_eq!(bench.client.handled(at(E, 3)), Err(HandledError::NeverDelivered));
}

#[test]
fn two_resets_before_anything_is_handled() {
    let mut bench = Bench::new(Subscribe::After(Offset::ZERO));
    bench.dial();
    bench.hear(&["RESUME_FROM:0", &resumed(0, 9, E), "1:a", "2:b"]);
    bench.cut();
    bench.dial();
    bench.hear(&["RESUME_FROM:0", &format!("RESET:{F}:1"), "2:x"]);
    bench.cut();
    assert_eq!(bench.dial()[1], format!("RESUME_FROM:2@{F}"));
    bench.hear(&["RESUME_FROM:0", "RESET:00000000000000aa:1"]);
    assert_eq!(bench.handled(E, 1), [""; 0]);
    assert_eq!(bench.handled(F, 2), [""; 0]);
    assert_eq!(bench.client.handled(at(F, 3)), Err(HandledError::NeverDelivered));
    assert_eq!(bench.handled("00000000000000aa", 1), ["ACK:1"]);
}

#[test]
fn nothing_is_published_before_the_count_and_what_it_covers_is_dropped() {
    let mut bench = Bench::new(Subscribe::Nothing);
    let tickets = bench.publish_all(["a", "b", "c"]);
    assert_eq!(bench.dial().len(), 2);
    assert_eq!(bench.hear(&["RESUME_FROM:0"]), ["1:a", "2:b", "3:c"]);
    bench.hear(&["ACK:1"]);
    bench.cut();
    bench.dial();
    assert_eq!(bench.hear(&["RESUME_FROM:2"]), ["3:c"]);
    let acked: Vec<_> = bench
        .events()
        .into_iter()
        .filter(|event| matches!(event, ClientEvent::Acked { .. }))
        .collect();
    assert_eq!(
        acked,
        [tickets[0], tickets[1]].map(|through| ClientEvent::Acked { through })
    );
}

#[test]
fn i5_an_ack_is_cumulative() {
    let mut bench = Bench::new(Subscribe::Nothing);
    bench.publish_all(["a", "b", "c", "d"]);
    bench.dial();
    bench.hear(&["RESUME_FROM:0", "ACK:3", "ACK:2", "ACK:3"]);
    assert_eq!(bench.client.outbox_len(), (1, 1));
    assert_eq!(
        bench
            .events()
            .iter()
            .filter(|event| matches!(event, ClientEvent::Acked { .. }))
            .count(),
        1
    );
    bench.fails("ACK:5");
}

#[test]
fn a_final_refusal_moves_the_rest_up() {
    let mut bench = Bench::new(Subscribe::Nothing);
    let tickets = bench.publish_all(["a", "b", "c"]);
    bench.dial();
    bench.hear(&["RESUME_FROM:0", "ACK:1"]);
    bench.events();
    assert_eq!(bench.hear(&["ERROR:too-large:2:at most 0 bytes"]), ["2:c"]);
    let (code, text) = (ErrorCode::TooLarge, "at most 0 bytes".to_owned());
    assert_eq!(
        bench.events(),
        [ClientEvent::Refused {
            ticket: tickets[1],
            code,
            text,
            retried: false
        }]
    );
    bench.hear(&["ACK:2"]);
    assert_eq!(bench.events(), [ClientEvent::Acked { through: tickets[2] }]);
}

#[test]
fn a_refusal_for_the_time_being_is_sent_again_after_a_second() {
    let mut bench = Bench::new(Subscribe::Nothing);
    bench.publish_all(["a", "b"]);
    bench.dial();
    assert_eq!(bench.hear(&["RESUME_FROM:0"]), ["1:a", "2:b"]);
    assert_eq!(bench.hear(&["ERROR:unavailable:1:full"]), [""; 0]);
    let due = bench.client.poll_timeout().unwrap();
    assert_eq!(due, bench.now + Duration::from_secs(1));
    bench.client.handle_timeout(due);
    assert_eq!(bench.said(), ["1:a", "2:b"]);
    assert_eq!(bench.client.poll_timeout(), None);
}

#[test]
fn without_a_session_a_cut_makes_uncertain_and_numbers_begin_again() {
    let config = TextClientConfig {
        session: false,
        subscribe: Subscribe::Nothing,
        in_flight_messages_max: 2,
        ..TextClientConfig::default()
    };
    let mut bench = Bench::with(config, ClientState::default());
    let tickets = bench.publish_all(["a", "b", "c", "d"]);
    assert_eq!(bench.dial(), ["RESUME_FROM:none"]);
    assert_eq!(bench.hear(&["RESUME_FROM:0"]), ["1:a", "2:b"]);
    assert_eq!(bench.hear(&["ACK:1"]), ["3:c"]);
    bench.cut();
    assert!(bench.events().contains(&ClientEvent::Uncertain {
        from: tickets[1],
        to: tickets[2]
    }));
    bench.dial();
    assert_eq!(bench.hear(&["RESUME_FROM:0"]), ["1:d"]);
}

/// Without a session the server may have appended what stands behind the refused number.
#[test]
fn without_a_session_what_stands_behind_a_refusal_is_uncertain() {
    let config = TextClientConfig {
        session: false,
        subscribe: Subscribe::Nothing,
        ..TextClientConfig::default()
    };
    for (code, first) in [("unavailable", 0), ("too-large", 1)] {
        let mut bench = Bench::with(config.clone(), ClientState::default());
        let tickets = bench.publish_all(["a", "b", "c"]);
        bench.dial();
        bench.hear(&["RESUME_FROM:0", &format!("ERROR:{code}:1:no")]);
        bench
            .client
            .handle_disconnected(bench.dial, bench.now, Some((1008, code)));
        let expect = ClientEvent::Uncertain {
            from: tickets[first],
            to: tickets[2],
        };
        assert!(bench.events().contains(&expect), "{code}");
        assert_eq!(bench.client.outbox_len(), (0, 0));
    }
}

#[test]
fn a_forgotten_session_is_renewed_and_what_was_sent_is_uncertain() {
    let mut bench = Bench::with(
        TextClientConfig {
            in_flight_messages_max: 2,
            subscribe: Subscribe::After(Offset::ZERO),
            ..TextClientConfig::default()
        },
        ClientState::default(),
    );
    let tickets = bench.publish_all(["a", "b", "c"]);
    bench.dial();
    bench.hear(&["RESUME_FROM:0", &resumed(0, 4, E), "1:x"]);
    bench.cut();
    assert_eq!(bench.dial()[0], "SESSION:S1:2");
    bench.events();
    bench.hear(&["ERROR:session-unknown:begin with attach 1"]);
    assert_eq!(
        bench.events(),
        [
            ClientEvent::Uncertain {
                from: tickets[0],
                to: tickets[1]
            },
            ClientEvent::SessionRenewed
        ]
    );
    let after = bench
        .client
        .handle_disconnected(bench.dial, bench.now, Some((1008, "session-unknown")));
    assert_eq!(after, AfterLoss::Redial { hint: None });
    assert_eq!(
        bench.dial(),
        ["SESSION:S3:1", &format!("RESUME_FROM:1@{E}")],
        "the position is kept"
    );
    assert_eq!(bench.hear(&["RESUME_FROM:0"]), ["1:c"]);
}

#[test]
fn a_count_below_what_was_acknowledged_is_a_loss_and_numbers_go_on_from_it() {
    let mut bench = Bench::new(Subscribe::Nothing);
    bench.publish_all(["a", "b", "c"]);
    bench.dial();
    bench.hear(&["RESUME_FROM:0", "ACK:2"]);
    bench.cut();
    bench.dial();
    bench.events();
    assert_eq!(bench.hear(&["RESUME_FROM:1"]), ["2:c"]);
    let number = |n| weirline_log::Seq::new(n).unwrap();
    assert_eq!(
        bench.events()[0],
        ClientEvent::LostAfterAck {
            from: number(2),
            to: number(2)
        }
    );
    bench.hear(&["ACK:2"]);
    assert_eq!(bench.client.outbox_len(), (0, 0));
}

#[test]
fn a_count_beyond_what_was_sent_does_not_swallow_the_rest() {
    let mut bench = Bench::with(
        TextClientConfig {
            in_flight_messages_max: 1,
            subscribe: Subscribe::Nothing,
            ..TextClientConfig::default()
        },
        ClientState::default(),
    );
    bench.publish_all(["a", "b"]);
    bench.dial();
    assert_eq!(bench.hear(&["RESUME_FROM:0"]), ["1:a"]);
    bench.cut();
    bench.dial();
    assert_eq!(bench.hear(&["RESUME_FROM:5"]), ["6:b"]);
}

#[test]
fn i12_superseded_only_on_the_current_connection() {
    let stale = "ERROR:stale-attach:the session is at attach 9";
    let mut bench = Bench::new(Subscribe::Nothing);
    bench.dial();
    bench.hear(&["RESUME_FROM:0"]);
    let old = bench.dial;
    bench.dial();
    assert_eq!(
        bench.client.handle_disconnected(old, bench.now, Some((4409, ""))),
        AfterLoss::Ignored
    );
    bench
        .client
        .handle_message(old, bench.now, PayloadKind::Text, stale.as_bytes());
    bench
        .client
        .handle_message(old, bench.now, PayloadKind::Text, b"garbage");
    assert!(!bench.client.is_stopped());
    bench.events();
    assert_eq!(
        bench
            .client
            .handle_disconnected(bench.dial, bench.now, Some((4409, ""))),
        AfterLoss::Stopped
    );
    assert_eq!(bench.events(), [ClientEvent::Superseded]);
    assert_eq!(bench.client.dial(bench.now, [9; 32]), Err(DialError::Stopped));
    assert_eq!(
        bench.client.publish(PayloadKind::Text, Bytes::new()),
        Err(PublishError::Stopped)
    );

    let mut bench = Bench::new(Subscribe::Nothing);
    bench.dial();
    bench.hear(&[stale]);
    assert_eq!(bench.events(), [ClientEvent::Superseded]);
}

#[test]
fn dialing_freezes_the_position() {
    let mut bench = Bench::new(Subscribe::After(Offset::ZERO));
    bench.dial();
    bench.hear(&["RESUME_FROM:0", &resumed(0, 3, E), "1:a"]);
    let old = bench.dial;
    bench.dial = bench.client.dial(bench.now, [0; 32]).unwrap();
    bench
        .client
        .handle_message(old, bench.now, PayloadKind::Text, b"2:b");
    bench.client.handle_connected(bench.dial, bench.now);
    assert_eq!(bench.said()[1], format!("RESUME_FROM:1@{E}"));
}

#[test]
fn each_error_has_its_consequence() {
    let check = |code: &str, stops: bool| {
        let mut bench = Bench::new(Subscribe::Nothing);
        bench.dial();
        bench.hear(&[&format!("ERROR:{code}:text")]);
        let after = bench
            .client
            .handle_disconnected(bench.dial, bench.now, Some((1008, code)));
        let expect = if stops {
            AfterLoss::Stopped
        } else {
            AfterLoss::Redial { hint: None }
        };
        assert_eq!(after, expect, "{code}");
        assert_eq!(bench.client.is_stopped(), stops, "{code}");
    };
    check("bad-message", true);
    check("bad-sequence", true);
    check("ack-beyond", true);
    check("forbidden", true);
    check("stale-attach", true);
    check("session-unknown", false);
    check("unavailable", false);
}

#[test]
fn r20_the_hint_of_a_break_is_read() {
    let mut bench = Bench::new(Subscribe::Nothing);
    bench.dial();
    let reason = "Backpressure: downstream saturated; resume=1; after=2300";
    let hint = Some(Duration::from_millis(2300));
    assert_eq!(
        bench
            .client
            .handle_disconnected(bench.dial, bench.now, Some((1008, reason))),
        AfterLoss::Redial { hint }
    );
    assert_eq!(bench.events(), [ClientEvent::Disconnected { hint }]);
}

#[test]
fn r19_a_pause_withholds_publishing_until_continue_or_the_next_connection() {
    let mut bench = Bench::new(Subscribe::Nothing);
    bench.dial();
    bench.hear(&["RESUME_FROM:0", "PAUSE:publishing"]);
    bench.publish("a");
    assert_eq!(bench.said(), [""; 0]);
    assert_eq!(bench.hear(&["CONTINUE"]), ["1:a"]);
    bench.hear(&["PAUSE:publishing"]);
    bench.cut();
    bench.dial();
    assert_eq!(bench.hear(&["RESUME_FROM:0"]), ["1:a"]);
}

#[test]
fn a_dial_without_answer_is_given_up_after_ten_seconds() {
    for opening in [&[][..], &["RESUME_FROM:0"]] {
        let mut bench = Bench::new(Subscribe::Head);
        bench.dial();
        bench.hear(opening);
        let due = bench.client.poll_timeout().unwrap();
        assert_eq!(due, bench.now + Duration::from_secs(10));
        bench.client.handle_timeout(due - Duration::from_millis(1));
        assert_eq!(bench.client.poll_close(), None);
        bench.client.handle_timeout(due);
        assert!(bench.client.poll_close().is_some());
        bench.hear(&["RESUME_FROM:0", &resumed(3, 3, E)]);
        assert_eq!(
            bench.client.taken(),
            None,
            "what comes behind the deadline is ignored"
        );
        assert_eq!(bench.cut(), AfterLoss::Redial { hint: None });
    }
}

#[test]
fn a_stored_client_says_nothing_that_is_not_stored() {
    let config = TextClientConfig {
        store: StoreMode::Durable,
        subscribe: Subscribe::Nothing,
        ..TextClientConfig::default()
    };
    let mut bench = Bench::with(config, ClientState::default());
    bench.publish("a");
    let store = |bench: &mut Bench| bench.client.handle_stored(bench.client.revision());
    assert_eq!(bench.dial(), [""; 0], "not the attach");
    store(&mut bench);
    assert_eq!(bench.said().len(), 2);
    assert_eq!(
        bench.hear(&["RESUME_FROM:0"]),
        [""; 0],
        "no publish before the answer is stored"
    );
    assert!(bench.client.needs_store());
    store(&mut bench);
    assert!(!bench.client.needs_store());
    assert_eq!(bench.said(), ["1:a"]);
    bench.publish("b");
    bench.publish("c");
    assert_eq!(bench.said(), [""; 0]);
    store(&mut bench);
    assert_eq!(bench.said(), ["2:b", "3:c"]);
    assert_eq!(
        bench.hear(&["ERROR:forbidden:2:no"]),
        [""; 0],
        "nor under another number"
    );
    store(&mut bench);
    assert_eq!(bench.said(), ["2:c"]);
}

#[test]
fn a_later_process_goes_on_where_the_store_was() {
    let mut bench = Bench::new(Subscribe::After(Offset::ZERO));
    let tickets = bench.publish_all(["a", "b"]);
    bench.dial();
    bench.hear(&["RESUME_FROM:0", &resumed(0, 9, E), "1:x", "2:y"]);
    bench.handled(E, 1);
    let state = bench.client.state();
    let mut later = Bench::with(TextClientConfig::default(), state.clone());
    assert_eq!(later.client.state(), state);
    later.entropy = 1;
    assert_eq!(later.dial(), ["SESSION:S1:2", &format!("RESUME_FROM:1@{E}")]);
    assert_eq!(later.publish("c"), Ticket(tickets[1].0 + 1));
    assert_eq!(
        later.hear(&["RESUME_FROM:1", &resumed(1, 9, E)]),
        ["2:b", "3:c", "ACK:1"]
    );
}

#[test]
fn i15_the_outbox_is_bounded_and_says_so() {
    let config = TextClientConfig {
        outbox_messages_max: 3,
        outbox_bytes_max: 10,
        ..TextClientConfig::default()
    };
    let mut client = TextClient::new(config);
    let mut publish = |bytes: usize| {
        client
            .publish(PayloadKind::Binary, Bytes::from(vec![0; bytes]))
            .map(|_| ())
    };
    let full = |messages, bytes| Err(PublishError::OutboxFull { messages, bytes });
    assert_eq!(publish(4), Ok(()));
    assert_eq!(publish(7), full(1, 4));
    assert_eq!(publish(0), Ok(()));
    assert_eq!(publish(6), Ok(()));
    assert_eq!(publish(0), full(3, 10));
    let mut client = TextClient::new(TextClientConfig {
        outbox_bytes_max: 10,
        ..TextClientConfig::default()
    });
    assert!(
        client
            .publish(PayloadKind::Binary, Bytes::from(vec![0; 99]))
            .is_ok(),
        "an empty outbox takes one"
    );
    assert!(!client.has_room(0));
    let not_utf8 = client.publish(PayloadKind::Text, Bytes::from_static(b"\xff"));
    assert_eq!(not_utf8, Err(PublishError::NotUtf8));
}

#[test]
fn what_is_in_flight_is_bounded() {
    let config = TextClientConfig {
        in_flight_bytes_max: 4,
        subscribe: Subscribe::Nothing,
        ..TextClientConfig::default()
    };
    let mut bench = Bench::with(config, ClientState::default());
    bench.publish_all(["aaa", "bb", "cccccc", "d"]);
    bench.dial();
    assert_eq!(bench.hear(&["RESUME_FROM:0"]), ["1:aaa"]);
    assert_eq!(bench.hear(&["ACK:1"]), ["2:bb"]);
    assert_eq!(bench.hear(&["ACK:2"]), ["3:cccccc"], "one of any size");
    assert_eq!(bench.hear(&["ACK:3"]), ["4:d"]);
}

#[test]
fn a_server_that_breaks_the_protocol_is_left() {
    let check = |subscribe, before: &[&str], broken: &str| {
        let mut bench = Bench::new(subscribe);
        bench.dial();
        bench.hear(before);
        assert_eq!(bench.client.poll_close(), None, "{before:?}");
        bench.fails(broken);
    };
    let zero = Subscribe::After(Offset::ZERO);
    let live = resumed(0, 9, E);
    let live = ["RESUME_FROM:0", live.as_str(), "3:c"];
    check(zero, &[], "hello");
    check(zero, &[], "1:a");
    check(zero, &[], &resumed(0, 0, E));
    check(zero, &["RESUME_FROM:0"], "1:a");
    check(zero, &["RESUME_FROM:0"], "RESUME_FROM:0");
    check(zero, &["RESUME_FROM:0"], &resumed(1, 1, E));
    check(zero, &["RESUME_FROM:0"], &format!("RESET:{E}:1"));
    check(Subscribe::Head, &["RESUME_FROM:0"], &resumed(1, 2, E));
    check(Subscribe::Head, &["RESUME_FROM:0"], &format!("RESET:{E}:0"));
    check(Subscribe::At(at(F, 4)), &["RESUME_FROM:0"], &resumed(4, 4, E));
    check(Subscribe::Nothing, &["RESUME_FROM:0"], "1:a");
    check(Subscribe::Nothing, &["RESUME_FROM:0"], "GAP:1:2:dropped");
    check(zero, &live, "3:c");
    check(zero, &live, "2:b");
    check(zero, &live, "GAP:3:4:dropped");
    check(zero, &live, &resumed(0, 9, E));
    check(zero, &live, "ACK:1");
    check(zero, &live, "ERROR:too-large:1:no");
}

#[test]
fn behind_an_end_not_even_nonsense_counts() {
    let mut bench = Bench::new(Subscribe::Head);
    bench.dial();
    let due = bench.client.poll_timeout().unwrap();
    bench.client.handle_timeout(due);
    bench.hear(&["nonsense"]);
    assert_eq!(bench.cut(), AfterLoss::Redial { hint: None });
    bench.hear(&["nonsense"]);
    assert!(!bench.client.is_stopped());
    bench.dial();
    bench.hear(&["ERROR:stale-attach:another"]);
    assert_eq!(bench.events().pop(), Some(ClientEvent::Superseded));
    bench.hear(&["nonsense"]);
    assert_eq!(bench.events(), []);
}

#[test]
fn an_answer_to_what_is_not_asked_yet_breaks_the_protocol() {
    let mut bench = Bench::with(
        TextClientConfig {
            store: StoreMode::Durable,
            ..TextClientConfig::default()
        },
        ClientState::default(),
    );
    assert_eq!(bench.dial(), [""; 0], "withheld until it is stored");
    bench.fails("RESUME_FROM:0");
}
