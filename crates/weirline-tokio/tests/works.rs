//! A handler that has no work of its own may say so ([`Handler::WORKS`]), and nothing changes but what it costs.

mod common;

use std::cell::RefCell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use common::*;
use proptest::prelude::*;
use weirline_codec::OpCode;
use weirline_flow::Strategy as Policy;
use weirline_tokio::*;

/// Does what messages say, and has no work.
struct Obeys<const WORKS: bool> {
    started: std::time::Instant,
    seen: Rc<RefCell<Vec<(Duration, String)>>>,
}

impl<const WORKS: bool> Obeys<WORKS> {
    fn note(&self, at: std::time::Instant, what: String) {
        self.seen.borrow_mut().push((at - self.started, what));
    }
}

impl<const WORKS: bool> Handler for Obeys<WORKS> {
    const WORKS: bool = WORKS;

    fn on_event(&mut self, cx: &mut Context<'_>, event: Event<'_>) -> Result<(), HandlerError> {
        self.note(cx.now(), format!("{event:?}"));
        match event {
            Event::Message { kind, payload } => match payload.first() {
                Some(b'c') => cx.close(CloseCode::NORMAL, "as asked"),
                Some(b'f') => cx.fail(CloseCode::POLICY_VIOLATION, "as asked"),
                Some(b'a') => cx.abort(),
                Some(b'e') => return Err(HandlerError::new("on purpose")),
                Some(b'p') => panic!("on purpose"),
                Some(b's') => cx.set_reading(false),
                Some(b'q') => {}
                _ => {
                    let _ = cx.send(kind, &payload);
                }
            },
            Event::Ping { .. } => cx.set_reading(true),
            _ => {}
        }
        Ok(())
    }

    fn on_break(&mut self, cx: &mut Context<'_>, cause: &Cause) -> Result<(), HandlerError> {
        self.note(cx.now(), format!("break: {cause}"));
        cx.farewell(Some((MessageKind::Text, b"farewell")), "slow")
            .map_err(HandlerError::new)
    }

    fn on_end(&mut self, end: &End) {
        self.note(now(), format!("{end:?}"));
    }
}

/// What happens at the other end of the stream.
#[derive(Clone, Debug)]
enum Step {
    /// Frames, cut somewhere.
    Frames(Vec<(OpCode, Vec<u8>)>, usize),
    Yield,
    Wait(u64),
    Unblock,
    Error,
    Eof,
}

fn step() -> impl Strategy<Value = Step> {
    let order = prop_oneof![
        8 => Just("echo"), 4 => Just("quiet"), 3 => Just("stop"), 1 => Just("close"), 1 => Just("fail"), 1 => Just("abort"),
        1 => Just("error"), 1 => Just("panic"),
    ];
    let order = order.prop_map(|order| (OpCode::Text, order.as_bytes().to_vec()));
    let frame = prop_oneof![
        12 => order,
        4 => (0usize..200_000).prop_map(|len| (OpCode::Binary, vec![0; len])),
        4 => Just((OpCode::Ping, b"ping".to_vec())),
        1 => Just((OpCode::Close, close_payload(1001))),
        1 => Just((OpCode::Text, vec![0xFF])),
    ];
    prop_oneof![
        8 => (prop::collection::vec(frame, 1..6), 1usize..100_000)
            .prop_map(|(frames, cut)| Step::Frames(frames, cut)),
        2 => Just(Step::Yield),
        4 => (1u64..20_000).prop_map(Step::Wait),
        3 => Just(Step::Unblock),
        1 => Just(Step::Error),
        1 => Just(Step::Eof),
    ]
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        6 => (1usize..300_000).prop_map(Write::Take),
        2 => Just(Write::Yield),
        2 => Just(Write::Block),
        1 => Just(Write::Error(ErrorKind::BrokenPipe)),
    ]
}

type Run = (
    Vec<(Duration, String)>,
    Vec<u8>,
    (Option<u16>, Option<u16>, Cause),
    Duration,
);

fn run<const WORKS: bool>(steps: &[Step], writes: &[Write], flushes: &[Write], policy: Policy) -> Run {
    let runtime = paused();
    runtime.block_on(async {
        let script = Script::default()
            .writes(writes.iter().copied())
            .flushes(flushes.iter().copied());
        let seen = Rc::<RefCell<Vec<_>>>::default();
        let started = now();
        let handler = Obeys::<WORKS> {
            started,
            seen: seen.clone(),
        };
        let config = config(|config| config.send_strategy = policy);
        let driver = server(script.stream(), config, handler);
        let peer = async {
            for step in steps {
                match step {
                    Step::Frames(frames, cut) => {
                        let wire: Vec<u8> = frames
                            .iter()
                            .flat_map(|(opcode, payload)| masked(*opcode, true, payload))
                            .collect();
                        let (first, second) = wire.split_at(*cut.min(&wire.len()));
                        script.push(Read::Data(first.to_vec()));
                        if !second.is_empty() {
                            script.push(Read::Data(second.to_vec()));
                        }
                    }
                    Step::Yield => script.push(Read::Yield),
                    Step::Wait(ms) => tokio::time::sleep(Duration::from_millis(*ms)).await,
                    Step::Unblock => script.unblock(),
                    Step::Error => script.push(Read::Error(ErrorKind::ConnectionReset)),
                    Step::Eof => script.push(Read::Eof),
                }
                settle().await;
            }
        };
        // Polled only when it was woken: a lost wake-up would show.
        let local = tokio::task::LocalSet::new();
        let driver = local.run_until(async {
            let driver = tokio::task::spawn_local(driver);
            peer.await;
            tokio::time::timeout(600 * SECOND, driver).await
        });
        let (facts, ended) = match driver.await {
            Ok(end) => (facts(&end.unwrap()), now() - started),
            // Nobody answers its pings.
            Err(_) => panic!("no end: a deadline was lost"),
        };
        (seen.take(), script.written(), facts, ended)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_handler_without_work_is_the_same_whether_it_says_so(
        steps in prop::collection::vec(step(), 1..25),
        writes in prop::collection::vec(write(), 0..12),
        flushes in prop::collection::vec(write(), 0..12),
        policy in prop::sample::select(vec![Policy::BREAK, Policy::DropOldest, Policy::Pause]),
    ) {
        quiet_panics();
        let with = run::<true>(&steps, &writes, &flushes, policy);
        let without = run::<false>(&steps, &writes, &flushes, policy);
        prop_assert!(with.1 == without.1, "the same bytes out: {:?} {:?}", with.2, without.2);
        prop_assert_eq!(with.0, without.0);
        prop_assert_eq!((with.2, with.3), (without.2, without.3));
    }
}
