//! Who has a session: takeovers, repeated upgrades, and those who may not have it.

use weirline_resume::SessionEvent;

use crate::FORMS;
use crate::client::{Client, START, Way};
use crate::common::{Server, config, run};
use crate::peer::{Peer, field, hello_again, hello_new, number};

/// I12: of two processes that go on from one state, the later attach wins at once, and the other one stops.
#[test]
fn of_two_holders_exactly_one_is_superseded() {
    for form in FORMS {
        run(async move {
            let server = Server::start(config());
            let mut first = Client::new(form, Way::Header);
            first.subscribe("s", START);
            first.publish("s", "a");
            first.dial(&server).await;
            first.until_acked().await;
            let mut second = Client::restore(form, Way::Message, first.machine.state());
            second.subscribe("s", START);
            second.publish("s", "b");
            second.dial(&server).await;
            second.until_acked().await;
            first.until_over().await;
            let superseded = |event: &SessionEvent| *event == SessionEvent::Superseded;
            assert!(first.has(superseded) && !second.has(superseded));
            assert!(first.machine.is_stopped() && second.machine.is_live());
        });
    }
}

/// An intermediary that repeats the upgrade replaces the connection, which is told to dial again (4410), and not that it is superseded
/// (4409), as it is by a higher attach.
#[test]
fn a_repeated_dial_and_a_higher_one_close_with_codes_of_their_own() {
    for form in FORMS {
        run(async move {
            let server = Server::start(config());
            let mut maker = Peer::open_saying(&server, form, &hello_new("")).await;
            let welcome = maker.expect_type("welcome").await;
            let second = hello_again(&welcome, 2, "");
            let mut peer = Peer::open_saying(&server, form, &second).await;
            peer.expect_type("welcome").await;
            maker.expect(&["4409 superseded"]).await;
            let mut repeated = Peer::open_saying(&server, form, &second).await;
            let again = repeated.expect_type("welcome").await;
            assert_eq!(number(&again, "attach"), 2);
            peer.expect(&["4410 repeated"]).await;
            // The end of the replaced connection has detached nobody.
            drop(peer);
            repeated
                .say(r#"{"t":"pub","seq":1,"stream":"s","text":"x"}"#)
                .await;
            repeated.expect(&[r#"{"t":"puback","seq":1}"#]).await;
        });
    }
}

#[test]
fn whoever_may_not_have_the_session_is_told_why_and_harms_nobody() {
    for form in FORMS {
        run(async move {
            let server = Server::start(config());
            let mut maker = Peer::open_saying(&server, form, &hello_new("")).await;
            let welcome = maker.expect_type("welcome").await;
            let mut holder = Peer::open_saying(&server, form, &hello_again(&welcome, 3, "")).await;
            holder.expect_type("welcome").await;
            let (session, token) = (field(&welcome, "session"), field(&welcome, "token"));
            let unknown = welcome.replace(session, &"A".repeat(43));
            let wrong = welcome.replace(token, &"A".repeat(43));
            for (hello, code) in [
                (hello_again(&unknown, 2, ""), "session-unknown"),
                (hello_again(&wrong, 2, ""), "bad-token"),
                (hello_again(&welcome, 2, ""), "stale-attach"),
                (hello_again(&welcome, (1 << 20) + 4, ""), "attach-jump"),
            ] {
                let mut peer = Peer::open_saying(&server, form, &hello).await;
                let reject = peer.expect_reject(code).await;
                assert!(reject.contains(r#""resumable":false"#), "{reject}");
                let current = reject.contains(r#""attach":3"#);
                assert_eq!(current, code == "stale-attach", "{reject}");
                drop(peer);
                holder.say(r#"{"t":"ping","echo":1}"#).await;
                holder.expect_type("pong").await;
            }
        });
    }
}

/// One session in both forms, one holder after the other: the numbering goes on.
#[test]
fn many_holders_in_turn_keep_one_numbering() {
    run(async {
        let server = Server::start(config());
        let mut peer = Peer::open_saying(&server, FORMS[0], &hello_new("")).await;
        let welcome = peer.expect_type("welcome").await;
        let mut before = peer;
        for attach in 2..40 {
            let form = if attach % 2 == 0 { FORMS[0] } else { FORMS[1] };
            let hello = hello_again(&welcome, attach, "");
            let mut peer = Peer::open_saying(&server, form, &hello).await;
            let again = peer.expect_type("welcome").await;
            assert_eq!(number(&again, "count"), attach - 2);
            before.expect(&["4409 superseded"]).await;
            let seq = attach - 1;
            peer.say(&format!(r#"{{"t":"pub","seq":{seq},"stream":"s","text":"x"}}"#))
                .await;
            peer.expect(&[&format!(r#"{{"t":"puback","seq":{seq}}}"#)]).await;
            before = peer;
        }
    });
}
