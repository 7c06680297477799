//! The way up: turns and neighbours, wake-ups, nothing done while idle, any schedule of reads.

mod common;

use std::cell::RefCell;
use std::rc::Rc;

use common::*;
use proptest::prelude::*;
use tokio::task::LocalSet;
use weirline_codec::OpCode;
use weirline_tokio::*;

/// Counts turns by [`Handler::poll_work`], and notes whose turn it is.
struct Turns {
    name: usize,
    order: Rc<RefCell<Vec<usize>>>,
    last_poll: u64,
    polls: Rc<RefCell<u64>>,
}

impl Handler for Turns {
    fn on_event(&mut self, cx: &mut Context<'_>, event: Event<'_>) -> Result<(), HandlerError> {
        if *self.polls.borrow() != self.last_poll {
            self.last_poll = *self.polls.borrow();
            self.order.borrow_mut().push(self.name);
        }
        match event {
            Event::Message { kind, payload } => cx.send(kind, &payload).map_err(HandlerError::new),
            _ => Ok(()),
        }
    }
}

/// Connections with endless input, and one that says something small now and then: each gets its turn before any gets a
/// second.
#[tokio::test(start_paused = true)]
async fn endless_input_starves_nobody() {
    const FLOODED: usize = 5;
    let order = Rc::new(RefCell::new(Vec::new()));
    let local = LocalSet::new();
    let mut scripts = Vec::new();
    for name in 0..FLOODED {
        let flood = masked(OpCode::Binary, true, &[0; 1000]).repeat(8000);
        let script = Script::new([Read::Data(flood)]);
        let polls = Rc::new(RefCell::new(0));
        let handler = Turns {
            name,
            order: order.clone(),
            last_poll: 0,
            polls: polls.clone(),
        };
        let mut counted = Counted::new(server(script.stream(), Config::default(), handler));
        counted.polls = polls;
        local.spawn_local(counted);
        scripts.push(script);
    }
    local
        .run_until(async {
            while scripts.iter().any(|script| !script.state().reads.is_empty()) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    let order = order.borrow();
    assert!(
        order.len() >= 7 * FLOODED,
        "8 MB are more than a turn takes: {}",
        order.len()
    );
    for (index, turn) in order.chunks(FLOODED).enumerate() {
        let mut sorted = turn.to_vec();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..turn.len()).collect::<Vec<_>>(), "round {index}");
    }
}

/// A turn is bounded by bytes too where a peer takes output as fast as it can be written.
#[tokio::test(start_paused = true)]
async fn endless_output_starves_nobody() {
    let script = Script::default().vectored(true);
    let (handle, _inbox, handler) = channel(InboxLimits::default());
    let driver = Counted::new(server(script.stream(), Config::default(), handler));
    let polls = driver.polls.clone();
    let local = LocalSet::new();
    let driver = local.spawn_local(driver);
    local
        .run_until(async {
            handle.send(Message::binary(vec![0; 16 << 20])).await.unwrap();
            handle.close(CloseCode::NORMAL, "");
            settle().await;
            assert!(script.written().len() > 16 << 20);
            assert!((14..=24).contains(&*polls.borrow()), "{} turns", *polls.borrow());
            script.push(Read::Eof);
            driver.await.unwrap();
        })
        .await;
}

/// Idle costs nothing: no poll of the driver, no read, no write, but for the keepalive's pings.
#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_left_alone() {
    let script = Script::default();
    let config = config(|config| config.ping_timeout = 100_000 * SECOND);
    let driver = Counted::new(server(script.stream(), config, Recorder::echo()));
    let polls = driver.polls.clone();
    let local = LocalSet::new();
    let driver = local.spawn_local(driver);
    local
        .run_until(async {
            script.push(Read::Data(masked(OpCode::Text, true, b"hello")));
            settle().await;
            let (before, reads) = (*polls.borrow(), script.state().read_calls);
            assert!(before <= 2, "{before}");
            tokio::time::sleep(29 * SECOND).await;
            assert_eq!(
                (*polls.borrow(), script.state().read_calls),
                (before, reads),
                "untouched"
            );
            tokio::time::sleep(2 * SECOND).await;
            assert_eq!(*polls.borrow(), before + 1, "one turn for the ping");
            tokio::time::sleep(3600 * SECOND).await;
            assert_eq!(*polls.borrow(), before + 1);
            script.push(Read::Eof);
            driver.await.unwrap();
        })
        .await;
}

/// A message costs one poll of the driver, and one read besides the one that finds nothing.
#[tokio::test(start_paused = true)]
async fn a_message_costs_one_turn() {
    let script = Script::default();
    let driver = Counted::new(server(script.stream(), Config::default(), Recorder::echo()));
    let polls = driver.polls.clone();
    let local = LocalSet::new();
    let driver = local.spawn_local(driver);
    local
        .run_until(async {
            settle().await;
            let (before, reads) = (*polls.borrow(), script.state().read_calls);
            for n in 1..=100 {
                script.push(Read::Data(masked(OpCode::Text, true, b"hello")));
                settle().await;
                assert_eq!(*polls.borrow() - before, n);
                assert_eq!(script.state().read_calls - reads, 2 * usize::try_from(n).unwrap());
            }
            script.push(Read::Eof);
            driver.await.unwrap();
        })
        .await;
}

#[derive(Clone, Debug)]
enum Step {
    Read(usize),
    Yield,
    /// The test does other things first.
    Later,
}

fn schedule() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1usize..600).prop_map(Step::Read),
        1 => (1usize..4).prop_map(Step::Read),
        1 => Just(Step::Yield),
        1 => Just(Step::Later),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// Whatever the schedule of reads and the room of the inbox, everything arrives once and in order, without a timer's help.
    #[test]
    fn no_wake_up_is_lost(
        schedule in schedule(),
        room in 1usize..10,
        lengths in proptest::collection::vec(0usize..300, 1..40),
        take in 1usize..7,
        writes in proptest::collection::vec(prop_oneof![
            (1usize..50).prop_map(Write::Take), Just(Write::Yield), Just(Write::Block)
        ], 0..40),
    ) {
        let messages: Vec<Vec<u8>> = lengths.iter().zip(0u8..).map(|(len, n)| vec![n; *len]).collect();
        let mut wire: Vec<u8> = Vec::new();
        for message in &messages {
            wire.extend(masked(OpCode::Binary, true, message));
            wire.extend(masked(OpCode::Ping, true, b"p"));
        }
        wire.extend(masked(OpCode::Close, true, &close_payload(1000)));
        let runtime = paused();
        runtime.block_on(async {
            let script = Script::default().writes(writes);
            let mut limits = InboxLimits::default();
            limits.queue.messages = room;
            let (_handle, mut inbox, handler) = channel(limits);
            let driver = server(script.stream(), Config::default(), handler);
            let peer = async {
                let mut rest = &wire[..];
                for step in schedule.iter().cycle() {
                    match step {
                        Step::Read(len) => {
                            let (now, later) = rest.split_at(rest.len().min(*len));
                            script.push(Read::Data(now.to_vec()));
                            rest = later;
                        }
                        Step::Yield => script.push(Read::Yield),
                        Step::Later => settle().await,
                    }
                    if rest.is_empty() {
                        break;
                    }
                    if schedule.iter().all(|step| !matches!(step, Step::Read(_))) {
                        script.push(Read::Data(rest.to_vec()));
                        break;
                    }
                }
                script.push(Read::Eof);
                // As long as any write may still be blocked: input of single bytes takes its time.
                for _ in 0..2000 {
                    for _ in 0..10 {
                        tokio::task::yield_now().await;
                    }
                    script.unblock();
                    if !script.state().writes.iter().any(|write| matches!(write, Write::Block)) {
                        break;
                    }
                }
            };
            let application = async {
                let (mut received, mut turns) = (Vec::new(), 0);
                while let Some(delivery) = inbox.recv().await {
                    received.push(delivery);
                    turns += 1;
                    if turns % take == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                received
            };
            let started = now();
            let (end, (), received) = tokio::join!(driver, peer, application);
            let expected: Vec<_> =
                messages.into_iter().map(|message| Delivery::Message(Message::binary(message))).collect();
            assert_eq!(received, expected);
            assert_eq!(facts(&end), (Some(1000), Some(1000), Cause::ClosedByPeer));
            assert_eq!(now(), started);
        });
    }
}
