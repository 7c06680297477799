//! What is logged of a session: its facts, and nothing that opens it. A program of its own, since there is one log for all its threads.

#[path = "../session/client.rs"]
#[allow(dead_code, reason = "each program uses a part of this")]
mod client;
#[path = "../common/mod.rs"]
mod common;
#[path = "../session/peer.rs"]
#[allow(dead_code, reason = "each program uses a part of this")]
mod peer;

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use weirline_resume::wire::Form;

use crate::client::{Client, Way};
use crate::common::{Server, config, run};
use crate::peer::{Peer, field, hello_again, hello_new, value};

/// Writes down every field of every event, of all levels.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<String>>);

impl Visit for &Logged {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0.lock().unwrap(), "{field}={value:?} ").unwrap();
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        write!(self.0.lock().unwrap(), "{field}={value} ").unwrap();
    }
}

impl Subscriber for Logged {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= &Level::TRACE
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut &*self);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut &*self);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut &*self);
        self.0.lock().unwrap().push('\n');
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Neither the token nor the value of the upgrade nor a payload nor a credential is there, however the session goes; what happened is.
#[test]
fn no_secret_is_logged_and_what_happened_is() {
    let logged = Logged::default();
    tracing::subscriber::set_global_default(logged.clone()).unwrap();
    for form in [Form::Json, Form::Binary] {
        logged.0.lock().unwrap().clear();
        let secrets = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&secrets);
        run(session(form, told));
        let text = logged.0.lock().unwrap().clone();
        for secret in secrets.lock().unwrap().iter() {
            assert!(
                secret.len() > 6 && !text.contains(secret.as_str()),
                "{secret} in\n{text}"
            );
        }
        for fact in [
            "event=session.attached",
            "event=session.welcome",
            "outcome=New",
            "outcome=Resumed",
            "event=session.subscribed",
            "event=session.subok",
            "event=session.unsubscribed",
            "event=session.unsub",
            "event=session.gap",
            "event=session.flow",
            "event=session.reject",
            "event=session.credential_refused",
            "event=session.bye",
            "event=session.draining",
            "code=4409",
        ] {
            assert!(text.contains(fact), "{form:?}: no {fact} in\n{text}");
        }
    }
}

async fn session(form: Form, secrets: Arc<Mutex<Vec<String>>>) {
    let log = weirline_log::MemoryConfig {
        stream_messages_max: 2,
        ..weirline_log::MemoryConfig::default()
    };
    let server = Server::start_over(config(), log);
    let mut maker = Peer::open_saying(&server, form, &hello_new("")).await;
    let welcome = maker.expect_type("welcome").await;
    secrets.lock().unwrap().push(field(&welcome, "token").into());
    let mut publisher = Client::new(form, Way::Subprotocol);
    for _ in 0..5 {
        publisher.publish("s", "a payload of somebody");
    }
    publisher.dial(&server).await;
    publisher.until_acked().await;
    secrets.lock().unwrap().push("a payload of somebody".into());

    let subs =
        r#"{"sub":1,"stream":"s","after":0,"policy":"break","messages":1},{"sub":2,"stream":"t","after":0}"#;
    let hello = hello_again(&welcome, 2, subs);
    secrets
        .lock()
        .unwrap()
        .extend([value(Form::Json, &hello), value(Form::Binary, &hello)]);
    let mut peer = Peer::open_saying(&server, form, &hello).await;
    maker.expect(&["4409 superseded"]).await;
    peer.say(r#"{"t":"unsub","sub":2}"#).await;
    peer.say(r#"{"t":"auth","credential":"letmein-letmein"}"#).await;
    secrets.lock().unwrap().push("letmein-letmein".into());
    while !peer.hear().await.starts_with("1008 Backpressure") {}

    let mut wrong = Peer::open_saying(&server, form, &hello).await;
    let mut last = wrong.hear().await;
    if last.contains("welcome") {
        // Detached, and the same dial again.
        wrong.say(r#"{"t":"bye"}"#).await;
        while !last.starts_with("1000") {
            last = wrong.hear().await;
        }
    }
    let mut unknown = Peer::open_saying(&server, form, &hello_again(&welcome, 3, "")).await;
    unknown.expect_reject("session-unknown").await;
    server.stop();
    publisher.until_over().await;
    server.stopped().await;
}
