//! Handlers that panic, fail, or do not want to read: their own connection ends properly, and nobody else notices.

mod common;

use common::*;
use tokio::io::duplex;
use tokio::task::LocalSet;
use weirline_codec::OpCode;
use weirline_tokio::*;

/// A handler that does not want to read cannot keep the end of a failed connection from being seen: unread bytes would make
/// a reset of it, which destroys the Close frame.
#[tokio::test(start_paused = true)]
async fn a_closing_connection_reads_on_whatever_the_handler_wants() {
    struct Paused(&'static str);
    impl Handler for Paused {
        fn on_event(&mut self, cx: &mut Context<'_>, _: Event<'_>) -> Result<(), HandlerError> {
            cx.set_reading(false);
            match self.0 {
                "fails" => cx.fail(CloseCode::POLICY_VIOLATION, "enough"),
                "errs" => return Err(HandlerError::new("an error")),
                "panics" => panic!("on purpose"),
                "is broken" => {
                    cx.send(MessageKind::Binary, &[0; 10]).unwrap();
                    assert_eq!(cx.send(MessageKind::Binary, &[0; 10]), Err(SendError::Broken));
                }
                _ => {}
            }
            Ok(())
        }

        fn poll_work(
            &mut self,
            cx: &mut Context<'_>,
            _: &mut std::task::Context<'_>,
        ) -> Result<(), HandlerError> {
            if !cx.is_open() {
                cx.set_reading(false);
            }
            Ok(())
        }
    }
    quiet_panics();
    let more = masked(OpCode::Binary, true, &[1; 1000]).repeat(1000);
    let rows = [
        ("fails", 1008, 0),
        ("errs", 1011, 0),
        ("panics", 1011, 0),
        ("is broken", 1008, 0),
        ("pauses for ever", 1008, 60),
        ("meets a Close", 4000, 0),
        ("meets a bad frame", 1002, 0),
    ];
    for (what, code, seconds) in rows {
        let first = match what {
            "meets a Close" => masked(OpCode::Close, true, &close_payload(4000)),
            "meets a bad frame" => unmasked(OpCode::Binary, true, b"bad"),
            _ => masked(OpCode::Binary, true, b"go"),
        };
        let script = Script::new([Read::Data([first, more.clone()].concat()), Read::Eof]);
        let config = config(|config| config.send_queue.messages = 1);
        let started = now();
        let end = server(script.stream(), config, Paused(what)).await;
        assert_eq!(end.sent.map(CloseCode::value), Some(code), "{what}");
        assert_eq!(now() - started, seconds * SECOND, "{what}");
        assert!(matches!(script.state().reads[0], Read::Eof), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_panics_close_their_own_connections_only() {
    quiet_panics();
    LocalSet::new()
        .run_until(async {
            let (near, far) = duplex(4096);
            let neighbour = tokio::task::spawn_local(server(near, Config::default(), Recorder::echo()));
            let mut neighbours_peer = Peer::new(far);
            for n in 0..1000 {
                let (near, far) = duplex(4096);
                let recorder = Recorder::then(move |_, event| match event {
                    Event::Message { .. } if n % 2 == 0 => panic!("on purpose {n}"),
                    Event::Message { .. } => Err(HandlerError::new("an error")),
                    _ => Ok(()),
                });
                let seen = recorder.seen.clone();
                let driver = tokio::task::spawn_local(server(near, Config::default(), recorder));
                let mut peer = Peer::new(far);
                peer.send(OpCode::Text, b"go").await;
                peer.send(OpCode::Text, b"not looked at").await;
                assert_eq!(peer.next_close().await, Some(1011));
                drop(peer);
                let end = driver.await.expect("the panic stays inside");
                assert_eq!(facts(&end), (Some(1011), None, Cause::ClosedLocally));
                assert_eq!(
                    *seen.borrow(),
                    [Seen::Message(b"go".to_vec()), Seen::End(Cause::ClosedLocally)],
                    "told of the end, so that it can clean up"
                );
                neighbours_peer.send(OpCode::Text, b"still there?").await;
                assert_eq!(neighbours_peer.next().await.unwrap().payload, b"still there?");
            }
            assert!(!neighbour.is_finished());
        })
        .await;
}

/// The application of a channel learns how the connection ended also when a message of its own was the reason.
#[tokio::test(start_paused = true)]
async fn text_that_is_not_utf8_ends_with_1011_and_both_sides_know() {
    let (near, far) = duplex(1024);
    let (handle, mut inbox, handler) = channel(InboxLimits::default());
    let mut peer = Peer::new(far);
    let application = async {
        let bad = Message {
            kind: MessageKind::Text,
            payload: vec![0xff].into(),
        };
        handle.send(bad).await.unwrap();
        assert_eq!(peer.next_close().await, Some(1011));
        drop(peer);
        assert_eq!(inbox.recv().await, None);
        handle.closed().await.expect("the driver was not dropped")
    };
    let (end, told) = tokio::join!(server(near, Config::default(), handler), application);
    assert_eq!(end, told);
    assert_eq!(facts(&end), (Some(1011), None, Cause::ClosedLocally));
}

/// Takes one message, refuses the next, and gives up a second later.
struct GivesUp {
    how: &'static str,
    at: Option<std::time::Instant>,
    done: bool,
}

impl Handler for GivesUp {
    fn on_event(&mut self, cx: &mut Context<'_>, event: Event<'_>) -> Result<(), HandlerError> {
        assert!(
            matches!(event, Event::Message { .. }) && self.at.is_none(),
            "one message"
        );
        self.at = Some(cx.now() + SECOND);
        cx.set_reading(false);
        Ok(())
    }

    fn poll_work(
        &mut self,
        cx: &mut Context<'_>,
        _: &mut std::task::Context<'_>,
    ) -> Result<(), HandlerError> {
        if self.at.is_none_or(|at| cx.now() < at) || self.done {
            return Ok(());
        }
        self.done = true;
        match self.how {
            "fails" => cx.fail(CloseCode::POLICY_VIOLATION, "enough"),
            "errs" => return Err(HandlerError::new("an error")),
            "panics" => panic!("on purpose"),
            _ => {
                cx.send(MessageKind::Binary, &[0; 10]).unwrap();
                assert_eq!(cx.send(MessageKind::Binary, &[0; 10]), Err(SendError::Broken));
            }
        }
        Ok(())
    }

    fn next_wake(&self) -> Option<std::time::Instant> {
        self.at.filter(|_| !self.done)
    }
}

/// The message that stood in the way is thrown away with what is behind it, and the end of the peer is seen at once.
#[tokio::test(start_paused = true)]
async fn a_handler_that_gives_up_while_it_does_not_read() {
    quiet_panics();
    for (how, code) in [
        ("fails", 1008),
        ("errs", 1011),
        ("panics", 1011),
        ("is broken", 1008),
    ] {
        let wire = masked(OpCode::Binary, true, &[1; 1000]).repeat(1000);
        let script = Script::new([Read::Data(wire), Read::Eof]);
        let config = config(|config| config.send_queue.messages = 1);
        let started = now();
        let end = server(
            script.stream(),
            config,
            GivesUp {
                how,
                at: None,
                done: false,
            },
        )
        .await;
        assert_eq!(end.sent.map(CloseCode::value), Some(code), "{how}");
        assert_eq!(now() - started, SECOND, "{how}");
    }
}

/// How often a handler was called slow, and for how long it took then at least.
#[derive(Clone)]
struct SlowHandlers(std::rc::Rc<std::cell::Cell<(usize, std::time::Duration)>>);

impl Observer for SlowHandlers {
    fn handler_slow(&mut self, took: std::time::Duration) {
        let (times, least) = self.0.get();
        self.0.set((times + 1, least.min(took)));
    }
}

/// R10: a handler that keeps the thread for over 50 ms is told of, one that does not is not.
#[test]
fn a_handler_that_blocks_the_thread_is_told_of() {
    for blocks in [false, true] {
        let told = SlowHandlers(std::rc::Rc::new((0, std::time::Duration::MAX).into()));
        let mut builder = tokio::runtime::Builder::new_current_thread();
        // Where nothing blocks, the clock stands still: what the machine does meanwhile is nobody's fault.
        let runtime = builder.enable_time().start_paused(!blocks).build().unwrap();
        runtime.block_on(async {
            let handler = Recorder::then(move |_, _| {
                if blocks {
                    #[expect(clippy::disallowed_methods, reason = "what must not be done is done here")]
                    std::thread::sleep(std::time::Duration::from_millis(60));
                }
                Ok(())
            });
            let script = Script::new([Read::Data(masked(OpCode::Text, true, b"go")), Read::Eof]);
            let connection = Connection::server(Config::default().into(), now());
            let residue = bytes::Bytes::new();
            Driver::new(script.stream(), connection, residue, handler, told.clone()).await;
        });
        let (times, least) = told.0.get();
        assert_eq!(times > 0, blocks, "{times}");
        assert!(least >= std::time::Duration::from_millis(50), "{least:?}");
    }
}
