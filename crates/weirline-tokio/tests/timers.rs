//! When deadlines wake a driver, whoever polls it, and timers on another thread than the sockets.
#![expect(
    clippy::disallowed_methods,
    reason = "what a library may not start, its user does: threads"
)]

mod common;

use std::cell::Cell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use weirline_codec::OpCode;
use weirline_tokio::*;

/// Notes that it was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// One task: polls when the test says so.
#[derive(Clone, Default)]
struct Task(Arc<Woken>);

impl Task {
    fn polls<F: Future>(&self, future: Pin<&mut F>) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(&self.0));
        future.poll(&mut TaskContext::from_waker(&waker))
    }

    /// Whether it was woken since it was last asked.
    fn was_woken(&self) -> bool {
        self.0.0.swap(false, Ordering::SeqCst)
    }
}

async fn advance(by: Duration) {
    tokio::time::advance(by).await;
    settle().await;
}

fn pings(script: &Script) -> usize {
    let frames = decode_all(script.written());
    frames.iter().filter(|frame| frame.opcode == OpCode::Ping).count()
}

/// A driver may be polled by one task first and by another one later: the latter is woken.
#[tokio::test(start_paused = true)]
async fn the_task_that_polled_last_is_woken_by_the_deadline() {
    for handovers in 1..4 {
        let script = Script::default();
        let mut driver = pin!(server(script.stream(), Config::default(), Recorder::new()));
        let tasks = [Task::default(), Task::default()];
        let mut task = &tasks[0];
        assert!(task.polls(driver.as_mut()).is_pending());
        for handover in 1..=handovers {
            advance(SECOND).await;
            // Also back to the first one.
            task = &tasks[handover % 2];
            assert!(task.polls(driver.as_mut()).is_pending());
            assert!(task.polls(driver.as_mut()).is_pending(), "again, by the same one");
        }
        advance(30 * SECOND).await;
        assert!(task.was_woken());
        assert!(task.polls(driver.as_mut()).is_pending());
        assert_eq!(pings(&script), 1);

        // The next deadline, that of the pong, is set for whoever polls then.
        let other = Task::default();
        assert!(other.polls(driver.as_mut()).is_pending());
        advance(10 * SECOND).await;
        assert!(other.was_woken());
        let _ = other.polls(driver.as_mut());
        let frames = decode_all(script.written());
        assert_eq!(frames.last().unwrap().opcode, OpCode::Close, "{handovers}");
    }
}

/// Says when it is to be woken, and notes when its work was done.
struct Alarm {
    at: Rc<Cell<Option<Instant>>>,
    rang: Rc<Cell<u32>>,
}

impl Handler for Alarm {
    fn on_event(&mut self, _: &mut Context<'_>, _: Event<'_>) -> Result<(), HandlerError> {
        Ok(())
    }

    fn poll_work(&mut self, cx: &mut Context<'_>, _: &mut TaskContext<'_>) -> Result<(), HandlerError> {
        if self.at.get().is_some_and(|at| cx.now() >= at) {
            self.at.set(None);
            self.rang.set(self.rang.get() + 1);
        }
        Ok(())
    }

    fn next_wake(&self) -> Option<Instant> {
        self.at.get()
    }
}

/// The deadline moves while the driver sleeps, to an earlier time or to a later one, and another task polls it then or the same: the work
/// is done at its time, by the task that polled last.
#[tokio::test(start_paused = true)]
async fn a_deadline_that_moves_is_kept() {
    // Seconds: (first set for, moved to, handed over).
    for (first, moved, handed_over) in [
        (10, 5, false),
        (10, 5, true),
        (10, 20, false),
        (10, 20, true),
        (5, 5, true),
        (10, 2, true),
    ] {
        let (at, rang) = (Rc::new(Cell::new(None)), Rc::new(Cell::new(0)));
        let handler = Alarm {
            at: Rc::clone(&at),
            rang: Rc::clone(&rang),
        };
        let started = now();
        let mut driver = pin!(server(Script::default().stream(), Config::default(), handler));
        let mut task = Task::default();
        at.set(Some(started + first * SECOND));
        assert!(task.polls(driver.as_mut()).is_pending());
        advance(SECOND).await;
        assert!(!task.was_woken());
        at.set(Some(started + moved * SECOND));
        if handed_over {
            task = Task::default();
        }
        assert!(task.polls(driver.as_mut()).is_pending());
        let mut rang_at = None;
        for second in 2..=25 {
            advance(SECOND).await;
            if task.was_woken() {
                assert!(task.polls(driver.as_mut()).is_pending());
            }
            if rang.get() == 1 {
                rang_at = rang_at.or(Some(second));
            }
        }
        assert_eq!(rang_at, Some(moved), "{first} {moved} {handed_over}");
    }
}

/// A task may do much before it polls its driver: tokio then lets nothing in it proceed, timers included, and polls it anew. The deadline
/// must be set all the same.
#[tokio::test(start_paused = true)]
async fn a_deadline_is_kept_where_the_task_had_used_up_its_budget() {
    let script = Script::default();
    let mut driver = pin!(server(script.stream(), Config::default(), Recorder::new()));
    let mut used_up = 0;
    let ended = std::future::poll_fn(|task| {
        // The first time, and when the timer is set anew behind the ping.
        if used_up == pings(&script) {
            used_up += 1;
            while pin!(tokio::task::consume_budget()).poll(task).is_ready() {}
        }
        driver.as_mut().poll(task)
    });
    let started = now();
    let end = tokio::time::timeout(1000 * SECOND, ended)
        .await
        .expect("its deadlines");
    assert_eq!(end.cause, Cause::PingTimeout);
    assert!(now() - started <= 60 * SECOND && used_up == 2);
}

/// A thread with timers and nothing else, until it is dropped.
struct TimerThread {
    timers: Timers,
    ends: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TimerThread {
    fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let timers = Timers::on(runtime.handle().clone());
        let (ends, until_end) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let _ = runtime.block_on(until_end);
        });
        Self {
            timers,
            ends: Some(ends),
            thread: Some(thread),
        }
    }
}

impl Drop for TimerThread {
    fn drop(&mut self) {
        drop(self.ends.take());
        let ended = self.thread.take().unwrap().join();
        assert!(
            ended.is_ok() || std::thread::panicking(),
            "the timers' thread panicked"
        );
    }
}

/// A runtime that has neither timers nor sockets.
fn bare() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

const SHORT: Duration = Duration::from_millis(20);

#[test]
fn keepalive_and_its_end_come_from_another_thread() {
    let threads = TimerThread::start();
    let config = config(|config| {
        config.ping_interval = Some(SHORT);
        config.ping_timeout = SHORT;
        config.eof_timeout = SHORT;
    });
    let (end, pongs) = bare().block_on(async {
        let (near, far) = duplex(1 << 12);
        let driver = server(near, config, Recorder::new()).with_timers(threads.timers.clone());
        let peer = async {
            let mut peer = Peer::new(far);
            // Neither time here is bounded from above: an answer that comes late is no answer, and the pings go on.
            let mut pongs = 0;
            while pongs < 3 {
                match peer.next().await {
                    Some(frame) if frame.opcode == OpCode::Ping => {
                        peer.send(OpCode::Pong, &frame.payload).await;
                        pongs += 1;
                    }
                    // This thread stood still for so long.
                    _ => break,
                }
            }
            while peer.next().await.is_some() {}
            pongs
        };
        tokio::join!(driver, peer)
    });
    assert_eq!(end.cause, Cause::PingTimeout);
    assert!(pongs >= 1);
}

#[test]
fn the_deadlines_of_a_handshake_come_from_another_thread() {
    let threads = TimerThread::start();
    let mut settings = AcceptSettings::default();
    settings.deadline = SHORT;
    settings.timers = threads.timers.clone();
    let get = "GET / HTTP/1.1\r\nHost: server\r\n";
    let upgrade = format!(
        "{get}Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\n\r\n"
    );
    // Nothing is asked; a part of the question; the answer is not read; the refusal is not read.
    for (asked, refused) in [
        ("", false),
        (get, false),
        (&*upgrade, false),
        ("POST\r\n\r\n", true),
    ] {
        let (near, mut far) = duplex(if asked == upgrade { 256 } else { 64 });
        let result = bare().block_on(async {
            let ask = async {
                far.write_all(asked.as_bytes()).await.unwrap();
                // A whole request is answered, and the answer fills the pipe.
                if asked == upgrade {
                    far.read_u8().await.unwrap();
                }
            };
            let accepted = accept(near, &settings, |request| {
                let padding = "x".repeat(1000).parse().unwrap();
                Ok(request
                    .accept()
                    .header("padding".parse().unwrap(), padding)
                    .unwrap())
            });
            tokio::join!(accepted, ask).0
        });
        match result {
            Err(AcceptError::Rejected(_)) => assert!(refused),
            Err(AcceptError::Deadline(deadline)) => assert_eq!((deadline, refused), (SHORT, false)),
            other => panic!("{asked:?}: {other:?}"),
        }
    }
}

#[test]
fn each_way_to_wait_works_from_a_thread_without_timers() {
    let threads = TimerThread::start();
    let timers = &threads.timers;
    bare().block_on(async {
        let before = now();
        timers.sleep(SHORT).await;
        let slept = now() - before;
        assert!(slept >= SHORT, "{slept:?}");
        let at = now() + SHORT;
        timers.sleep_until(at).await;
        assert!(now() >= at);
        let late = timers.timeout_at(at, std::future::pending::<()>()).await;
        assert!(late.is_err());
        let in_time = timers.timeout_at(at + 1000 * SECOND, async { 5 }).await;
        assert_eq!(in_time.unwrap(), 5);
    });
}

/// One thread with timers serves others: each driver is woken where it runs.
#[test]
fn threads_share_timers() {
    let threads = TimerThread::start();
    let workers: Vec<_> = (1..=4)
        .map(|number| {
            let timers = threads.timers.clone();
            std::thread::spawn(move || {
                let config = config(|config| {
                    config.ping_interval = Some(SHORT / number);
                    config.ping_timeout = SHORT;
                    config.eof_timeout = SHORT;
                });
                let (near, _far) = duplex(1 << 12);
                bare().block_on(server(near, config, Recorder::new()).with_timers(timers))
            })
        })
        .collect();
    for worker in workers {
        assert_eq!(worker.join().unwrap().cause, Cause::PingTimeout);
    }
}
