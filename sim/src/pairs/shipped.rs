//! An end run by the shipped driver, with an application over its handles.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use weirline_flow::QueueLimits;
use weirline_tokio::{
    CloseCode, Connection, Delivery, Driver, End, Event, Handle, Handler, HandlerError, Inbox, InboxLimits,
    Message, MessageKind, Observer, QueueHandler, channel,
};

use super::log::Ended;
use super::{Context, EndLog, Pace, Sequence, Shipped, Step, Wire, is_text, payload};
use crate::conn::{Conn, Side};

/// Runs an end on a stream whose handshake is done, until the connection is over and its inbox is empty.
pub async fn run_shipped<S: Wire>(stream: S, residue: Bytes, plan: &Shipped, context: Context) {
    let config = plan.settings.config();
    let now = tokio::time::Instant::now().into_std();
    let connection = match context.side {
        Side::Server => Connection::server(config, now),
        Side::Client => Connection::client(config, context.entropy.mask_source(), now),
    };
    let mut limits = InboxLimits::default();
    limits.queue = QueueLimits {
        messages: usize::try_from(plan.inbox_messages).unwrap_or(usize::MAX),
        bytes: usize::MAX,
    };
    let (handle, inbox, queue) = channel(limits);
    let app = Rc::new(App {
        handle: RefCell::new(Some(handle)),
        pace: Cell::new(plan.pace),
        failing: Cell::new(false),
        driver: RefCell::default(),
        changed: Notify::new(),
        inbox_dropped: Cell::new(false),
        over: Cell::new(false),
        inbox_end: RefCell::default(),
        context,
    });
    app.note_pace(plan.pace);
    let spy = Spy {
        queue,
        app: Rc::clone(&app),
    };
    let ears = Ears(Rc::clone(&app));
    let driver = {
        let app = Rc::clone(&app);
        tokio::task::spawn_local(async move {
            let mut stream = stream;
            let end = Driver::new(&mut stream, connection, residue, spy, ears).await;
            let error = stream.error();
            drop(stream);
            app.ended(Some(end), error);
        })
    };
    tokio::join!(app.work(driver, &plan.steps), app.read(inbox));
    app.agree().await;
    let context = &app.context;
    context.log.done.set(Some(context.now()));
}

/// What the application holds.
struct App {
    handle: RefCell<Option<Handle>>,
    pace: Cell<Pace>,
    /// The handler is to fail at its next call.
    failing: Cell<bool>,
    /// Who wakes the driver.
    driver: RefCell<Option<Waker>>,
    /// The pace changed, the handles are gone, the inbox is to go, or the connection is over.
    changed: Notify,
    inbox_dropped: Cell<bool>,
    over: Cell<bool>,
    /// The end that the inbox told, when it was read to its end.
    inbox_end: RefCell<Option<End>>,
    context: Context,
}

impl App {
    fn log(&self) -> &EndLog {
        &self.context.log
    }

    /// Does what is planned, until the driver's task is over.
    async fn work(&self, driver: JoinHandle<()>, steps: &[Step]) {
        let mut driver = driver;
        let abort = driver.abort_handle();
        let work = async {
            tokio::join!(self.steps(steps, &abort), self.orders(&abort), self.time_up());
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            _ = &mut driver => {}
            () = work => {}
        }
        if self.log().ended.borrow().is_none() {
            self.ended(None, None);
        }
        self.over.set(true);
        self.changed.notify_waiters();
    }

    /// Whoever asks the handle or the inbox is told the same end.
    async fn agree(&self) {
        let known = self
            .log()
            .ended
            .borrow()
            .as_ref()
            .and_then(|ended| ended.end.clone());
        let handle = self.handle.borrow().clone();
        let by_handle = match handle {
            Some(handle) => handle.closed().await.ok(),
            None => known.clone(),
        };
        let by_inbox = if self.log().drained.get() {
            self.inbox_end.take()
        } else {
            known.clone()
        };
        if by_handle != known || by_inbox != known {
            let text = format!(
                "the handle was told {by_handle:?}, the inbox {by_inbox:?}, the driver gave {known:?}"
            );
            self.log().is_wrong(text);
        }
    }

    async fn time_up(&self) {
        tokio::time::sleep(Duration::from_millis(self.context.end_ms)).await;
        self.close(late_code(self.context.side));
        // Without a handle there is only one way to close; and whoever does not read cannot see the answer.
        if self.handle.borrow().is_none() {
            self.log()
                .deeds
                .borrow_mut()
                .dropped_inbox
                .get_or_insert(self.context.now());
            self.inbox_dropped.set(true);
        }
        self.pace.set(Pace::Full);
        self.changed.notify_waiters();
    }

    async fn steps(&self, steps: &[Step], driver: &tokio::task::AbortHandle) {
        for step in steps {
            match step {
                Step::Sleep { ms } => tokio::time::sleep(Duration::from_millis(*ms)).await,
                Step::Await { moment, ms_max } => {
                    let conn = self.context.conn.as_ref();
                    super::await_moment(conn, moment, *ms_max).await;
                }
                Step::Send { count, bytes } => {
                    for _ in 0..*count {
                        if !self.send(*bytes).await {
                            break;
                        }
                    }
                }
                other => self.act(other, driver),
            }
        }
    }

    /// Does what rules order.
    async fn orders(&self, driver: &tokio::task::AbortHandle) {
        let Some(conn) = &self.context.conn else { return };
        loop {
            let changed = conn.changed.notified();
            let order = conn.orders[self.context.side.index()].borrow_mut().pop_front();
            match order {
                None => changed.await,
                Some(Step::Send { count, bytes }) => {
                    for _ in 0..count {
                        self.try_send(bytes);
                    }
                }
                Some(other) => self.act(&other, driver),
            }
        }
    }

    fn act(&self, step: &Step, driver: &tokio::task::AbortHandle) {
        let now = Some(self.context.now());
        let mut deeds = self.log().deeds.borrow_mut();
        match step {
            Step::Close { code } => {
                drop(deeds);
                self.close(CloseCode::try_from(*code).unwrap_or(CloseCode::NORMAL));
            }
            Step::Abort => {
                if let Some(handle) = &*self.handle.borrow() {
                    deeds.aborted = deeds.aborted.or(now);
                    handle.abort();
                }
            }
            Step::DropHandles => {
                deeds.dropped_handles = deeds.dropped_handles.or(now);
                self.handle.take();
                self.changed.notify_waiters();
            }
            Step::DropInbox => {
                deeds.dropped_inbox = deeds.dropped_inbox.or(now);
                self.inbox_dropped.set(true);
                self.changed.notify_waiters();
            }
            Step::DropDriver => {
                deeds.dropped_driver = deeds.dropped_driver.or(now);
                driver.abort();
            }
            Step::FailHandler => {
                deeds.failed = deeds.failed.or(now);
                self.failing.set(true);
                if let Some(waker) = self.driver.borrow_mut().take() {
                    waker.wake();
                }
            }
            Step::Read(pace) => {
                drop(deeds);
                self.note_pace(*pace);
                self.pace.set(*pace);
                self.changed.notify_waiters();
            }
            // What only a peer by hand can do.
            _ => {}
        }
    }

    fn note_pace(&self, pace: Pace) {
        self.log().deeds.borrow_mut().was_slow |= pace != Pace::Full;
    }

    fn close(&self, code: CloseCode) {
        let Some(handle) = &*self.handle.borrow() else {
            return;
        };
        let accepted = self.log().accepted.each_ref().map(Cell::get);
        let closed = (self.context.now(), code.value(), accepted);
        let sent = |conn: &Rc<Conn>| conn.traffic(self.context.side.sends()).messages_sent;
        let sent = self.context.conn.as_ref().map_or(u64::MAX, sent);
        let mut deeds = self.log().deeds.borrow_mut();
        deeds.closed_over_data |= deeds.closed.is_none() && sent < accepted.iter().sum();
        deeds.closed.get_or_insert(closed);
        drop(deeds);
        handle.close(code, "");
    }

    /// Sends the next message of the steps; false when nothing can be sent any more.
    async fn send(&self, bytes: u64) -> bool {
        let Some(handle) = self.handle.borrow().clone() else {
            return false;
        };
        let number = self.log().accepted[Sequence::Steps.index()].get();
        let mut sending = pin!(handle.send(message(Sequence::Steps, number, bytes)));
        loop {
            let changed = self.changed.notified();
            if self.handle.borrow().is_none() {
                self.log().deeds.borrow_mut().cancelled_send = true;
                return false;
            }
            tokio::select! {
                biased;
                sent = &mut sending => {
                    if sent.is_ok() {
                        self.log().accept(Sequence::Steps);
                    }
                    return sent.is_ok();
                }
                () = changed => {}
            }
        }
    }

    fn try_send(&self, bytes: u64) {
        let number = self.log().accepted[Sequence::Orders.index()].get();
        let handle = self.handle.borrow();
        let sent = handle
            .as_ref()
            .map(|handle| handle.try_send(message(Sequence::Orders, number, bytes)));
        if let Some(Ok(())) = sent {
            self.log().accept(Sequence::Orders);
        }
    }

    /// Reads the inbox to its end, at the pace of the moment.
    async fn read(&self, inbox: Inbox) {
        let mut inbox = inbox;
        loop {
            let changed = self.changed.notified();
            if self.inbox_dropped.get() {
                return;
            }
            match self.pace.get() {
                Pace::Stopped if !self.over.get() => {
                    changed.await;
                    continue;
                }
                Pace::Each(ms) if !self.over.get() => {
                    tokio::select! {
                        biased;
                        () = changed => continue,
                        () = tokio::time::sleep(Duration::from_millis(ms)) => {}
                    }
                }
                _ => {}
            }
            let changed = self.changed.notified();
            let delivery = tokio::select! {
                biased;
                delivery = inbox.recv() => delivery,
                () = changed => continue,
            };
            match delivery {
                Some(Delivery::Message(message)) => self.receive(&message),
                Some(other) => self.log().is_wrong(format!("the inbox gave {other:?}")),
                None => break,
            }
        }
        self.log().drained.set(true);
        self.inbox_end.replace(inbox.end());
    }

    fn receive(&self, message: &Message) {
        let parsed = super::parse(&message.payload);
        let text = message.kind == MessageKind::Text;
        if parsed.is_some_and(|(_, number, _)| is_text(number) != text) {
            self.log().is_wrong("a message changed its kind".to_owned());
        }
        self.log().receive(&message.payload);
    }

    fn ended(&self, end: Option<End>, socket_error: Option<std::io::ErrorKind>) {
        self.log().ended.borrow_mut().get_or_insert(Ended {
            end,
            at: self.context.now(),
            socket_error,
        });
    }
}

/// The code of an end whose time is up: another for each side, so that an answer is never taken for a Close of one's own.
fn late_code(side: Side) -> CloseCode {
    CloseCode::try_from(match side {
        Side::Client => 4_099,
        Side::Server => 4_199,
    })
    .unwrap_or(CloseCode::GOING_AWAY)
}

fn message(sequence: Sequence, number: u64, bytes: u64) -> Message {
    let payload = payload(sequence, number, bytes);
    if is_text(number) {
        Message::text(String::from_utf8_lossy(&payload))
    } else {
        Message::binary(payload)
    }
}

/// The queue's handler, watched.
struct Spy {
    queue: QueueHandler,
    app: Rc<App>,
}

impl Spy {
    fn look(&self, cx: &weirline_tokio::Context<'_>) {
        let log = self.app.log();
        log.held_most
            .set(log.held_most.get().max(cx.connection().held_bytes()));
        if !cx.is_open() {
            self.closing();
        }
    }

    /// From here on the connection is not open any more.
    fn closing(&self) {
        let (log, context) = (self.app.log(), &self.app.context);
        if log.closing.get().is_none() {
            log.closing.set(Some(context.now()));
            let heard = |conn: &Rc<Conn>| conn.traffic(context.side.receives()).read_at;
            log.heard.set(context.conn.as_ref().and_then(heard));
        }
    }
}

impl Handler for Spy {
    fn on_event(
        &mut self,
        cx: &mut weirline_tokio::Context<'_>,
        event: Event<'_>,
    ) -> Result<(), HandlerError> {
        self.look(cx);
        self.queue.on_event(cx, event)
    }

    fn poll_work(
        &mut self,
        cx: &mut weirline_tokio::Context<'_>,
        task: &mut std::task::Context<'_>,
    ) -> Result<(), HandlerError> {
        self.app.driver.replace(Some(task.waker().clone()));
        self.look(cx);
        if self.app.failing.take() {
            // The driver does not ask a handler that has failed again.
            self.closing();
            return Err(HandlerError::new("planned"));
        }
        let result = self.queue.poll_work(cx, task);
        self.look(cx);
        result
    }

    fn next_wake(&self) -> Option<Instant> {
        self.queue.next_wake()
    }

    fn on_end(&mut self, end: &End) {
        self.queue.on_end(end);
    }
}

/// Hears of round trips.
struct Ears(Rc<App>);

impl Observer for Ears {
    fn round_trip(&mut self, rtt: Duration) {
        self.0.log().rtts.borrow_mut().push((self.0.context.now(), rtt));
    }
}
