//! Processes, links, server machines, and a hub that owns the commit order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use weirline_log::{AttachKind, Command, Outcome, PayloadKind, Position, SessionId, StreamId};
use weirline_resume::wire::Limits;
use weirline_resume::{AfterLoss, Dial, JsonTails, Session, SessionConfig, SessionEntropy};

use crate::log::{Log, STREAMS, stream};
use crate::process::{Fate, Process};

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) processes: [u8; 3],
    pub(crate) retention: usize,
    /// One bit for each class of faults: most histories have only some.
    pub(crate) faults: u8,
    pub(crate) seed: u64,
}

macro_rules! marks {
    ($($name:ident),*) => {
        /// How often each case arose.
        #[derive(Debug, Default)]
        pub(crate) struct Marks { $(pub(crate) $name: u64),* }
        impl Marks {
            pub(crate) fn add(&mut self, other: &Self) { $(self.$name += other.$name;)* }
            pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> { [$((stringify!($name), self.$name)),*].into_iter() }
        }
    };
}
marks!(
    appended,
    skipped,
    dials,
    crashes,
    forks,
    cuts,
    lost_messages,
    takeovers,
    repeated,
    superseded,
    gaps,
    resets,
    uncertain,
    not_published,
    refused,
    retried,
    forgotten,
    rollbacks,
    lost_after_ack,
    renewed,
    expired,
    unsubscribed,
    given_up,
    paused,
    breaks,
    log_failures,
    checks,
    timeouts
);

enum Frame {
    Message(PayloadKind, Vec<u8>),
    Close(u16, String),
}

/// A connection: two queues, a server's end, and which process and dial its client's end belongs to.
struct Link {
    process: usize,
    dial: Dial,
    to_server: VecDeque<Frame>,
    to_client: VecDeque<Frame>,
    server: Option<Session>,
    client_open: bool,
    /// A batch is with the committer, or its outcomes are on their way back.
    busy: bool,
    outcomes: VecDeque<Option<Outcome>>,
    fenced: Option<bool>,
    /// The HELLO, which an intermediary may repeat.
    hello: Option<(PayloadKind, Vec<u8>)>,
}

pub(crate) struct World {
    now: Instant,
    log: Log,
    processes: Vec<Process>,
    links: Vec<Link>,
    commits: VecDeque<(usize, Vec<Command>)>,
    attached: BTreeMap<SessionId, usize>,
    server_config: Arc<SessionConfig>,
    tails: JsonTails,
    published: u64,
    entropy: u64,
    faults: u8,
    wiped: bool,
    pub(crate) marks: Marks,
}

impl World {
    pub(crate) fn new(plan: &Plan) -> Self {
        let server_config = SessionConfig {
            publish_window: Limits {
                bytes: 300,
                messages: 3,
            },
            payload_text_bytes_max: 50,
            payload_binary_bytes_max: 50,
            read_messages_max: 3,
            ..SessionConfig::default()
        };
        Self {
            now: Instant::now(),
            log: Log::new(plan.retention, plan.seed),
            processes: plan.processes.iter().map(|&kind| Process::new(kind)).collect(),
            links: Vec::new(),
            commits: VecDeque::new(),
            attached: BTreeMap::new(),
            server_config: Arc::new(server_config),
            tails: JsonTails::default(),
            published: 0,
            entropy: plan.seed,
            faults: plan.faults,
            wiped: false,
            marks: Marks::default(),
        }
    }

    /// One step of a history: what, on whom, how.
    pub(crate) fn step(&mut self, [what, whom, how]: [u8; 3]) {
        let on = |class: u8| self.faults >> class & 1 != 0;
        let process = usize::from(whom) % self.processes.len();
        // Mostly the latest links: old ones matter when they move, but seldom.
        let back = usize::from(if how & 1 == 0 { whom % 4 } else { whom });
        let link = self.links.len().checked_sub(1).map(|last| last - back.min(last));
        match what {
            0..30 => self.publish(process, how),
            30..44 => self.redial(process, how),
            44..200 => {
                if let Some(link) = link {
                    self.link_step(link, what, how);
                }
            }
            200..213 => while self.processes[process].take_event(&self.log, &mut self.marks) {},
            213..224 => while self.processes[process].handle_one(usize::from(how & 1)) {},
            224..232 => self.processes[process].store(),
            232 => self.processes[process].leave(usize::from(how & 1)),
            233 => {
                self.marks.checks += u64::from(self.processes[process].client.is_live());
                self.processes[process].client.check(u32::from(how));
            }
            234..236 if on(1) => self.crash(process),
            236..239 if on(2) => self.fork(process),
            239..243 if on(3) => self.log.refuse = how % 4,
            243..245 if on(4) => {
                self.log
                    .change_epoch(&stream(usize::from(how & 1)), u64::from(how));
                self.grown();
            }
            245 if on(5) => self.restart(how),
            246..249 if on(6) => {
                self.marks.expired += u64::from(self.log.expire(usize::from(whom), self.now));
            }
            249.. => self.advance(Duration::from_millis(u64::from(how) * 20)),
            _ => {}
        }
        self.processes[process].check_outbox();
    }

    fn link_step(&mut self, link: usize, what: u8, how: u8) {
        match what {
            44..90 => {
                if how & 2 != 0 {
                    let process = self.links[link].process;
                    self.processes[process].store();
                }
                self.run(link);
            }
            90..104 => self.client_transmits(link),
            104..118 => {
                self.deliver_to_server(link);
            }
            118..132 => {
                self.deliver_to_client(link);
            }
            132..146 => self.server_turn(link, usize::from(how)),
            146..158 => {
                self.commit();
            }
            158..170 => {
                self.deliver_outcome(link);
            }
            170..176 => self.deliver_fence(link),
            176..182 if self.faults & 1 != 0 => self.cut(link, how),
            182..186 => self.with_server(link, Session::pause),
            186..190 => self.with_server(link, Session::resume),
            190..194 if self.faults & 1 != 0 => self.repeat(link, how),
            194 if self.faults >> 7 & 1 != 0 => {
                self.marks.breaks += 1;
                self.with_server(link, |server| server.break_off(Duration::from_millis(2300)));
            }
            195..198 if self.faults & 1 != 0 => {
                self.client_transmits(link);
                while self.deliver_to_server(link) {}
                self.server_turn(link, 0);
                self.fail_batch();
            }
            _ => {
                self.run(link);
            }
        }
    }

    /// Everything on one link, for a few rounds.
    fn run(&mut self, link: usize) -> bool {
        let mut moved = false;
        for _ in 0..4 {
            self.client_transmits(link);
            while self.deliver_to_server(link) {
                moved = true;
            }
            self.server_turn(link, 200);
            while self.commit() {}
            for other in 0..self.links.len() {
                while self.deliver_outcome(other) {}
                self.deliver_fence(other);
            }
            self.server_turn(link, 200);
            while self.deliver_to_client(link) {
                moved = true;
            }
        }
        moved
    }

    fn publish(&mut self, process: usize, how: u8) {
        self.published += 1;
        // Over 40 bytes the log refuses, over 50 the server does.
        let pad = match how {
            0..200 => usize::from(how % 3),
            200..235 => 34,
            _ => 60,
        };
        let payload = format!("{:06}{}", self.published, "x".repeat(pad));
        self.processes[process].publish(usize::from(how >> 1 & 1), Bytes::from(payload));
    }

    /// A live client seldom dials. Half of the connections get through their opening at once.
    fn redial(&mut self, process: usize, how: u8) {
        if how >= 64 && self.processes[process].client.is_live() {
            return;
        }
        let links = self.links.len();
        self.dial(process, how);
        if how & 4 != 0 && self.links.len() > links {
            self.run(links);
            self.processes[process].store();
        }
    }

    fn fresh(&mut self) -> SessionEntropy {
        self.entropy = self.entropy.wrapping_add(1);
        let mut entropy = SessionEntropy {
            session: [0; 32],
            token: [7; 32],
            spread: 1 << 31,
        };
        entropy.session[..8].copy_from_slice(&self.entropy.to_le_bytes());
        entropy.token[..8].copy_from_slice(&self.entropy.to_le_bytes());
        entropy
    }

    fn dial(&mut self, process: usize, how: u8) {
        let entropy = self.fresh();
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&entropy.session[..8]);
        let mut give_up = None;
        for (index, link) in self.links.iter_mut().enumerate() {
            if link.process == process && link.client_open && how & 1 == 0 {
                give_up = Some(index);
            }
        }
        if !self.processes[process].begin_dial(self.now, nonce) {
            return;
        }
        // Break before make, or make before break: the earlier connection is then ignored, but not gone.
        if let Some(index) = give_up {
            self.links[index].client_open = false;
        }
        self.marks.dials += 1;
        let process_of = &mut self.processes[process];
        let dial = process_of.dial;
        let form = process_of.config.form;
        let mut server = Session::new(Arc::clone(&self.server_config), form, "", entropy, self.now);
        let value = process_of.client.upgrade_value().filter(|_| how & 8 != 0);
        process_of
            .client
            .handle_connected(dial, self.now, value.is_some());
        if let Some(value) = value {
            server.handle_upgrade(self.now, &value);
        }
        self.links.push(Link {
            process,
            dial,
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            server: Some(server),
            client_open: true,
            busy: false,
            outcomes: VecDeque::new(),
            fenced: None,
            hello: None,
        });
        if how & 2 == 0 {
            self.client_transmits(self.links.len() - 1);
        }
    }

    /// An intermediary sends the HELLO of a link once more; nobody reads the answer. The repeated connection may go at once.
    fn repeat(&mut self, link: usize, how: u8) {
        let Some((kind, hello)) = self.links[link].hello.clone() else {
            return;
        };
        let entropy = self.fresh();
        let form = self.processes[self.links[link].process].config.form;
        let mut server = Session::new(Arc::clone(&self.server_config), form, "", entropy, self.now);
        server.handle_message(self.now, kind, &hello);
        self.links.push(Link {
            process: self.links[link].process,
            dial: Dial::default(),
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            server: Some(server),
            client_open: true,
            busy: false,
            outcomes: VecDeque::new(),
            fenced: None,
            hello: None,
        });
        if how & 2 != 0 {
            let repeated = self.links.len() - 1;
            self.server_turn(repeated, 0);
            self.server_disconnected(repeated);
        }
    }

    fn client_transmits(&mut self, link: usize) {
        let link = &mut self.links[link];
        let process = &mut self.processes[link.process];
        if !link.client_open || link.dial != process.dial {
            return;
        }
        while let Some(message) = process.client.poll_transmit() {
            let whole = message.to_vec();
            if link.hello.is_none() {
                link.hello = Some((message.kind, whole.clone()));
            }
            link.to_server.push_back(Frame::Message(message.kind, whole));
        }
        if process.client.poll_close().is_some() {
            link.client_open = false;
            process.client.handle_disconnected(link.dial, self.now, None);
        }
    }

    fn deliver_to_server(&mut self, index: usize) -> bool {
        let link = &mut self.links[index];
        let Some(server) = &mut link.server else {
            return false;
        };
        if !server.wants_input() {
            return false;
        }
        match link.to_server.pop_front() {
            Some(Frame::Message(kind, message)) => {
                server.handle_message(self.now, kind, &message);
                true
            }
            Some(Frame::Close(..)) => unreachable!("clients cut"),
            None => {
                if !link.client_open {
                    self.server_disconnected(index);
                }
                false
            }
        }
    }

    fn server_disconnected(&mut self, index: usize) {
        let link = &mut self.links[index];
        if let Some(mut server) = link.server.take() {
            server.handle_disconnected(self.now);
            let batch: Vec<_> = std::iter::from_fn(|| server.poll_command()).collect();
            self.commits.push_back((index, batch));
            if link.client_open {
                link.to_client.push_back(Frame::Close(1006, String::new()));
            }
        }
    }

    fn server_turn(&mut self, index: usize, capacity: usize) {
        let link = &mut self.links[index];
        let Some(server) = &mut link.server else { return };
        if !link.busy {
            let batch: Vec<_> = std::iter::from_fn(|| server.poll_command()).collect();
            if !batch.is_empty() {
                link.busy = true;
                self.commits.push_back((index, batch));
            }
        }
        while server
            .read_from(
                self.now,
                &self.log.reader,
                capacity,
                &mut Vec::new(),
                &mut self.tails,
            )
            .unwrap()
        {}
        while let Some(message) = server.poll_transmit() {
            link.to_client
                .push_back(Frame::Message(message.kind, message.to_vec()));
        }
        if let Some(close) = server.poll_close() {
            link.to_client
                .push_back(Frame::Close(close.code, close.reason.into_owned()));
            self.server_disconnected(index);
        }
    }

    fn commit(&mut self) -> bool {
        let Some((index, batch)) = self.commits.pop_front() else {
            return false;
        };
        let processes = &self.processes;
        let handled = |session: SessionId, stream: &StreamId, position: Position| {
            let known = processes
                .iter()
                .filter_map(|it| it.handled(session, stream, position));
            let known: Vec<bool> = known.collect();
            // A session that was renewed in the meantime has no process to ask.
            known.is_empty() || known.contains(&true)
        };
        let mut results = Vec::new();
        for command in batch {
            let session = match &command {
                Command::Attach { session, .. } => Some(*session),
                // Two connections may have come with one number: the end of one is not the other's.
                Command::Detach { session, .. } if self.attached.get(session) != Some(&index) => continue,
                _ => None,
            };
            let outcome = self.log.commit(command, handled);
            self.marks.appended += u64::from(matches!(outcome, Outcome::Appended { .. }));
            self.marks.skipped += u64::from(matches!(outcome, Outcome::Skipped { .. }));
            results.push((session, outcome));
        }
        for (session, outcome) in results {
            if let (Some(session), Outcome::Attached { previous, kind, .. }) = (session, &outcome) {
                let repeated = *kind == AttachKind::Repeated;
                self.marks.takeovers += u64::from(previous.is_some());
                self.marks.repeated += u64::from(repeated);
                if let Some(before) = self.attached.insert(session, index) {
                    self.links[before].fenced = Some(repeated);
                }
            }
            if self.links[index].server.is_some() {
                self.links[index].outcomes.push_back(Some(outcome));
            }
        }
        self.grown();
        true
    }

    fn grown(&mut self) {
        for server in self.links.iter_mut().filter_map(|link| link.server.as_mut()) {
            for index in 0..STREAMS.len() {
                server.handle_grown(self.now, &stream(index));
            }
        }
    }

    /// The last batch fails as a whole.
    fn fail_batch(&mut self) {
        if let Some((index, _)) = self.commits.pop_back() {
            self.marks.log_failures += 1;
            self.links[index].outcomes.push_back(None);
        }
    }

    fn deliver_outcome(&mut self, index: usize) -> bool {
        let link = &mut self.links[index];
        let Some(server) = &mut link.server else {
            return false;
        };
        let Some(outcome) = link.outcomes.pop_front() else {
            return false;
        };
        match outcome {
            Some(outcome) => server.handle_outcome(self.now, outcome),
            None => server.handle_log_failed(),
        }
        let waits = self.commits.iter().any(|(of, _)| *of == index);
        link.busy = waits || !link.outcomes.is_empty();
        true
    }

    fn deliver_fence(&mut self, index: usize) {
        if let Some(repeated) = self.links[index].fenced.take() {
            self.with_server(index, |server| server.handle_fenced(repeated));
            self.server_turn(index, 0);
        }
    }

    fn deliver_to_client(&mut self, index: usize) -> bool {
        let link = &mut self.links[index];
        let process = &mut self.processes[link.process];
        if !link.client_open {
            return false;
        }
        match link.to_client.pop_front() {
            Some(Frame::Message(kind, message)) => {
                process.client.handle_message(link.dial, self.now, kind, &message);
            }
            Some(Frame::Close(code, reason)) => {
                link.client_open = false;
                let close = (code != 1006).then_some((code, reason.as_str()));
                let after = process.client.handle_disconnected(link.dial, self.now, close);
                let current = link.dial == process.dial;
                assert!(
                    current || matches!(after, AfterLoss::Ignored | AfterLoss::Stopped),
                    "I10"
                );
            }
            None => return false,
        }
        // The messages of a dead dial change nothing, and a crashed process has no dial.
        self.client_transmits(index);
        true
    }

    /// Either end learns of it now or later; what is on its way may be lost.
    fn cut(&mut self, index: usize, how: u8) {
        self.marks.cuts += 1;
        let link = &mut self.links[index];
        if how & 2 != 0 {
            self.marks.lost_messages += (link.to_client.len() + link.to_server.len()) as u64;
            link.to_client.clear();
            link.to_server.clear();
        }
        if how & 4 != 0 && link.client_open {
            link.client_open = false;
            self.processes[link.process]
                .client
                .handle_disconnected(link.dial, self.now, None);
        }
        if how & 8 != 0 || how & 12 == 0 {
            self.server_disconnected(index);
        }
    }

    fn crash(&mut self, process: usize) {
        self.marks.crashes += 1;
        for link in self.links.iter_mut().filter(|link| link.process == process) {
            link.client_open = false;
        }
        self.processes[process].crash();
    }

    fn fork(&mut self, process: usize) {
        if self.processes.len() < 5 {
            self.marks.forks += 1;
            let other = self.processes[process].fork();
            self.log.copied.extend(other.fates.keys().cloned());
            self.processes.push(other);
        }
    }

    /// A restart of the server: its log keeps nothing, or all but the last few messages.
    fn restart(&mut self, how: u8) {
        for index in 0..self.links.len() {
            self.links[index].outcomes.clear();
            self.server_disconnected(index);
        }
        self.commits.clear();
        self.attached.clear();
        if how & 1 == 0 {
            self.wiped = true;
            self.log.wipe();
        } else {
            self.marks.rollbacks += 1;
            self.log.roll_back(usize::from(how >> 5));
        }
    }

    fn advance(&mut self, time: Duration) {
        self.now += time;
        for index in 0..self.links.len() {
            let now = self.now;
            let due = self.links[index].server.as_ref().and_then(Session::poll_timeout);
            self.marks.timeouts += u64::from(due.is_some_and(|due| due <= now));
            self.with_server(index, |server| server.handle_timeout(now));
            self.server_turn(index, 0);
        }
        for process in &mut self.processes {
            process.client.handle_timeout(self.now);
        }
    }

    fn with_server(&mut self, index: usize, act: impl FnOnce(&mut Session)) {
        if let Some(server) = &mut self.links[index].server {
            act(server);
        }
    }

    /// No more faults: everything must come to rest, and then be complete.
    pub(crate) fn settle(&mut self) {
        self.log.refuse = 0;
        for index in 0..self.links.len() {
            self.cut(index, 15);
        }
        for index in 0..self.links.len() {
            self.run(index);
        }
        self.links.retain(|link| link.server.is_some());
        self.attached.clear();
        for _ in 0..10 {
            for process in 0..self.processes.len() {
                if !self.processes[process].client.is_live() {
                    self.dial(process, 0);
                }
            }
            let mut quiet = 0;
            while quiet < 2 {
                quiet = if self.round() { 0 } else { quiet + 1 };
                self.advance(Duration::from_secs(1));
            }
        }
        self.check_at_rest();
    }

    fn round(&mut self) -> bool {
        let mut moved = false;
        for process in &mut self.processes {
            process.store();
        }
        for index in 0..self.links.len() {
            moved |= self.run(index);
        }
        for process in &mut self.processes {
            while process.take_event(&self.log, &mut self.marks)
                || process.handle_one(0)
                || process.handle_one(1)
            {
                moved = true;
            }
        }
        moved
    }

    fn check_at_rest(&mut self) {
        let mut forgotten = 0;
        for process in &self.processes {
            for (payload, fate) in &process.fates {
                let known = self.log.was_appended(payload);
                match fate {
                    Fate::Refused | Fate::Forgotten => {
                        assert!(process.forked || !known, "{payload:?}: {fate:?}");
                    }
                    Fate::Acked => assert!(known, "{payload:?}: {fate:?}"),
                    Fate::Pending => assert!(process.client.is_stopped(), "{payload:?} never came to an end"),
                    Fate::Uncertain => {}
                }
                forgotten += u64::from(*fate == Fate::Forgotten);
            }
            if process.client.is_stopped() {
                assert!(
                    process.forked && process.superseded == 1,
                    "I12: superseded by nobody"
                );
                continue;
            }
            assert!(process.client.is_live(), "I13: not attachable");
            assert_eq!(
                (process.client.outbox_len().0, process.pending()),
                (0, 0),
                "I14: the outbox never emptied"
            );
            self.check_consumers(process);
        }
        self.check_holders();
        self.marks.forgotten += forgotten;
    }

    /// I14: no lag. I2: without a GAP, what was received since the start is exactly the log.
    fn check_consumers(&self, process: &Process) {
        for consumer in &process.consumers {
            let end = self.log.end(&consumer.stream);
            assert_eq!(consumer.at, Some(end), "I14: lag at rest");
            assert!(
                consumer.handled.contains(&(end.epoch, end.offset.get())),
                "not handled to the end"
            );
            let start = consumer.start.unwrap();
            if consumer.gaps > 0 || start.epoch != end.epoch {
                continue;
            }
            let history = &self.log.histories[&(consumer.stream.clone(), start.epoch)];
            let truth = history.range(start.offset.get() + 1..);
            let received = consumer
                .received
                .range((start.epoch, start.offset.get() + 1)..=(start.epoch, u64::MAX));
            assert!(
                truth
                    .map(|(_, payload)| payload)
                    .eq(received.map(|(_, payload)| payload)),
                "I2"
            );
        }
    }

    /// I12: of the holders of one session exactly one is left. I7: sequences keep their order.
    fn check_holders(&self) {
        let mut live = BTreeMap::<SessionId, (usize, usize)>::new();
        for process in &self.processes {
            let session = process.client.session().expect("it was attached");
            let (all, left) = live.entry(session).or_default();
            *all += 1;
            *left += usize::from(!process.client.is_stopped());
        }
        // The winner may have gone on to another session since, if this one was forgotten.
        let forgotten = self.wiped || self.marks.expired > 0;
        for (all, left) in live.into_values() {
            assert!(
                left == 1 || (forgotten && left == 0),
                "I12: {left} of {all} holders are left"
            );
        }
        for process in self.processes.iter().filter(|process| !process.forked) {
            let mine = |payload: &&Bytes| process.fates.contains_key(*payload);
            let order: Vec<_> = self.log.appended.iter().filter(mine).map(|it| &it[..6]).collect();
            assert!(order.is_sorted(), "I7");
        }
    }
}
