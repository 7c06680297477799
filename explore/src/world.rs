//! Processes, links, server machines, and the hub that owns the commit order: one state of the exploration.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weirline_log::{AttachKind, Command, Outcome, SessionId, StreamId};
use weirline_resume::wire::{Form, Limits};
use weirline_resume::{AfterLoss, Dial, JsonTails, Outgoing, Session, SessionConfig, SessionEntropy};

use crate::bounds::{Budget, Profile};
use crate::hash::Hash128;
use crate::log::{Log, Reader};
use crate::process::{Fault, Process};

/// Links that exist at once: more are not dialled.
pub(crate) const LINKS_MAX: usize = 4;
const PROCESSES_MAX: usize = 2;

#[derive(Clone, Hash)]
pub(crate) enum Frame {
    Message(Outgoing),
    Close(u16, String),
}

/// A connection: two queues, a server's end, and which process and dial its client's end belongs to.
#[derive(Clone, Hash)]
pub(crate) struct Link {
    pub(crate) process: usize,
    pub(crate) dial: Dial,
    pub(crate) to_server: VecDeque<Outgoing>,
    pub(crate) to_client: VecDeque<Frame>,
    pub(crate) server: Option<Session>,
    pub(crate) client_open: bool,
    /// With the committer.
    pub(crate) batch: Vec<Command>,
    /// The session whose current connection this is.
    holds: Option<SessionId>,
    /// The hub's notice of a takeover is under way.
    pub(crate) fenced: Option<bool>,
    /// The HELLO, while an intermediary may repeat it.
    hello: Option<Outgoing>,
}

/// What never changes, shared by all states.
pub(crate) struct Fixed {
    pub(crate) now: Instant,
    config: Arc<SessionConfig>,
}

impl Fixed {
    pub(crate) fn new(now: Instant) -> Self {
        let config = SessionConfig {
            publish_window: Limits {
                bytes: 1 << 16,
                messages: 3,
            },
            read_messages_max: 2,
            ..SessionConfig::default()
        };
        Self {
            now,
            config: Arc::new(config),
        }
    }

    /// The clock stands. What is due within a second may be told that it came; nothing later ever is.
    pub(crate) fn soon(&self) -> Instant {
        self.now + Duration::from_secs(1)
    }
}

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) fixed: Arc<Fixed>,
    pub(crate) log: Log,
    pub(crate) processes: Vec<Process>,
    pub(crate) links: Vec<Link>,
    pub(crate) left: Budget,
    pub(crate) published: u8,
    /// Of the next connection.
    entropy: u8,
}

impl World {
    fn new(fixed: Arc<Fixed>, left: Budget) -> Self {
        let name = "a".parse::<StreamId>();
        let log = Log::new(name.unwrap_or_else(|_| unreachable!("a legal name")));
        let process = Process::new(&log);
        Self {
            fixed,
            log,
            processes: vec![process],
            links: Vec::new(),
            left,
            published: 0,
            entropy: 0,
        }
    }

    /// Where an exploration begins.
    pub(crate) fn begin(fixed: &Arc<Fixed>, profile: &Profile) -> Self {
        let mut world = Self::new(Arc::clone(fixed), profile.budget);
        while profile.attached
            && let Some(action) = world.calm()
        {
            // Nothing has gone wrong: what is wrong here shows in every profile that begins from nothing.
            if world.apply(action).is_err() {
                break;
            }
        }
        world.left = profile.budget;
        world
    }

    /// Hashes of everything that decides what may come, and of what decides what comes without further faults.
    pub(crate) fn keys(&self) -> (u128, u64) {
        let mut hash = self.core();
        let calm = hash.finish();
        self.left.hash(&mut hash);
        (hash.value(), calm)
    }

    fn core(&self) -> Hash128 {
        let mut hash = Hash128::default();
        (&self.log, &self.processes, &self.links).hash(&mut hash);
        (self.published, self.entropy).hash(&mut hash);
        hash
    }

    pub(crate) fn is_current(&self, link: &Link) -> bool {
        link.client_open && self.processes[link.process].dial == link.dial
    }

    fn fresh(&mut self) -> SessionEntropy {
        self.entropy += 1;
        SessionEntropy {
            session: [self.entropy; 32],
            token: [self.entropy; 32],
            spread: 0,
        }
    }

    fn new_link(&mut self, process: usize, dial: Dial, entropy: SessionEntropy, client_open: bool) -> Link {
        let config = Arc::clone(&self.fixed.config);
        let server = Session::new(config, Form::Binary, "", entropy, self.fixed.now);
        Link {
            process,
            dial,
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            server: Some(server),
            client_open,
            batch: Vec::new(),
            holds: None,
            fenced: None,
            hello: None,
        }
    }

    pub(crate) fn dial(&mut self, process: usize) -> Result<(), Fault> {
        let entropy = self.fresh();
        if !self.processes[process].begin_dial(self.fixed.now, self.entropy) {
            return Ok(());
        }
        let dial = self.processes[process].dial;
        let link = self.new_link(process, dial, entropy, true);
        self.links.push(link);
        let now = self.fixed.now;
        self.processes[process].client.handle_connected(dial, now, false);
        self.client_turn(process)
    }

    /// An intermediary sends the HELLO of a link once more; nobody reads the answer.
    pub(crate) fn repeat(&mut self, index: usize) {
        let Some(hello) = self.links[index].hello.take() else {
            return;
        };
        let entropy = self.fresh();
        let mut link = self.new_link(self.links[index].process, Dial::default(), entropy, false);
        link.to_server.push_back(hello);
        self.links.push(link);
    }

    pub(crate) fn can_repeat(&self, index: usize) -> bool {
        self.links[index].hello.is_some()
    }

    /// Everything that a client has to say goes out, and the application is told everything.
    pub(crate) fn client_turn(&mut self, index: usize) -> Result<(), Fault> {
        let now = self.fixed.now;
        let repeats = self.left.repeats > 0;
        let process = &mut self.processes[index];
        let mut links = self.links.iter_mut();
        if let Some(link) =
            links.find(|link| link.process == index && link.client_open && link.dial == process.dial)
        {
            while let Some(message) = process.client.poll_transmit() {
                if link.hello.is_none() && link.to_server.is_empty() && repeats && link.to_client.is_empty() {
                    link.hello = Some(message.clone());
                }
                link.to_server.push_back(message);
            }
            if process.client.poll_close().is_some() {
                link.client_open = false;
                link.to_client.clear();
                process.client.handle_disconnected(link.dial, now, None);
            }
        }
        process.take_events(&self.log)?;
        process.check_outbox()
    }

    pub(crate) fn deliver_to_server(&mut self, index: usize) -> Result<(), Fault> {
        let link = &mut self.links[index];
        if let (Some(server), Some(message)) = (&mut link.server, link.to_server.pop_front()) {
            server.handle_message(self.fixed.now, message.kind, &message.to_vec());
        }
        self.server_turn(index)
    }

    pub(crate) fn deliver_to_client(&mut self, index: usize) -> Result<(), Fault> {
        let now = self.fixed.now;
        let link = &mut self.links[index];
        let index = link.process;
        let process = &mut self.processes[index];
        let current = process.dial == link.dial;
        match link.to_client.pop_front() {
            Some(Frame::Message(message)) => {
                let message_bytes = message.to_vec();
                process
                    .client
                    .handle_message(link.dial, now, message.kind, &message_bytes);
            }
            Some(Frame::Close(code, reason)) => {
                link.client_open = false;
                link.to_client.clear();
                let close = (code != 1006).then_some((code, reason.as_str()));
                let after = process.client.handle_disconnected(link.dial, now, close);
                if !current && !matches!(after, AfterLoss::Ignored | AfterLoss::Stopped) {
                    return Err("I10: the end of an older connection counts".into());
                }
            }
            None => {}
        }
        self.client_turn(index)?;
        self.sweep();
        Ok(())
    }

    /// Commands go to the committer, what is read and said to the client. What decides nothing is committed at once.
    pub(crate) fn server_turn(&mut self, index: usize) -> Result<(), Fault> {
        loop {
            let now = self.fixed.now;
            let link = &mut self.links[index];
            if let Some(server) = &mut link.server {
                let reader = Reader(&self.log.stream);
                let mut tails = JsonTails::default();
                while server
                    .read_from(now, &reader, 1 << 16, &mut Vec::new(), &mut tails)
                    .map_err(|error| error.to_string())?
                {}
                while let Some(message) = server.poll_transmit() {
                    if link.client_open {
                        link.to_client.push_back(Frame::Message(message));
                    }
                }
                // One batch at a time is with the committer.
                if link.batch.is_empty() {
                    link.batch.extend(std::iter::from_fn(|| server.poll_command()));
                }
                if let Some(close) = server.poll_close() {
                    if link.client_open {
                        let frame = Frame::Close(close.code, close.reason.into_owned());
                        link.to_client.push_back(frame);
                    }
                    self.disconnect_server(index);
                }
            }
            let quiet = |command: &Command| {
                matches!(
                    command,
                    Command::Open { .. } | Command::Ack { .. } | Command::Detach { .. }
                )
            };
            let batch = &self.links[index].batch;
            if batch.is_empty() || !batch.iter().all(quiet) {
                return Ok(());
            }
            self.apply_batch(index)?;
        }
    }

    fn disconnect_server(&mut self, index: usize) {
        let link = &mut self.links[index];
        if let Some(mut server) = link.server.take() {
            server.handle_disconnected(self.fixed.now);
            link.batch.extend(std::iter::from_fn(|| server.poll_command()));
            link.to_server.clear();
            link.fenced = None;
        }
    }

    /// The server's end is gone. Its client learns of it, unless it has gone first.
    pub(crate) fn lose_server(&mut self, index: usize) -> Result<(), Fault> {
        self.disconnect_server(index);
        let link = &mut self.links[index];
        if link.client_open {
            link.to_client.push_back(Frame::Close(1006, String::new()));
        }
        self.server_turn(index)?;
        self.sweep();
        Ok(())
    }

    /// The client's end is gone, with all that was on its way to it; what was on its way from it may still arrive.
    pub(crate) fn lose_client(&mut self, index: usize) -> Result<(), Fault> {
        let link = &mut self.links[index];
        link.client_open = false;
        link.to_client.clear();
        let (process, dial) = (link.process, link.dial);
        let client = &mut self.processes[process].client;
        client.handle_disconnected(dial, self.fixed.now, None);
        self.client_turn(process)?;
        self.sweep();
        Ok(())
    }

    pub(crate) fn commit(&mut self, index: usize) -> Result<(), Fault> {
        self.apply_batch(index)?;
        self.server_turn(index)?;
        self.grown()?;
        self.sweep();
        Ok(())
    }

    fn apply_batch(&mut self, index: usize) -> Result<(), Fault> {
        let now = self.fixed.now;
        for command in std::mem::take(&mut self.links[index].batch) {
            if let Command::Detach { session, .. } = &command {
                // Two connections may have come with one number: the end of one is not the other's.
                if self.links[index].holds != Some(*session) {
                    continue;
                }
                self.links[index].holds = None;
            }
            let processes = &self.processes;
            let handled = |session, position| {
                let mut known = processes
                    .iter()
                    .filter_map(|it| it.has_handled(session, position))
                    .peekable();
                known.peek().is_none() || known.any(|it| it)
            };
            let outcome = self.log.commit(&command, handled)?;
            if let (Command::Attach { session, .. }, Outcome::Attached { kind, .. }) = (&command, &outcome) {
                let repeated = *kind == AttachKind::Repeated;
                for link in &mut self.links {
                    if link.holds == Some(*session) {
                        link.holds = None;
                        link.fenced = link.server.is_some().then_some(repeated);
                    }
                }
                self.links[index].holds = Some(*session);
            }
            if let Some(server) = &mut self.links[index].server {
                server.handle_outcome(now, outcome);
            }
        }
        Ok(())
    }

    /// Every subscriber is told that the stream has grown.
    pub(crate) fn grown(&mut self) -> Result<(), Fault> {
        for index in 0..self.links.len() {
            if let Some(server) = &mut self.links[index].server {
                server.handle_grown(self.fixed.now, self.log.name());
                self.server_turn(index)?;
            }
        }
        Ok(())
    }

    pub(crate) fn fence(&mut self, index: usize) -> Result<(), Fault> {
        let link = &mut self.links[index];
        if let (Some(server), Some(repeated)) = (&mut link.server, link.fenced.take()) {
            server.handle_fenced(repeated);
        }
        self.server_turn(index)?;
        self.sweep();
        Ok(())
    }

    pub(crate) fn late_server(&mut self, index: usize) -> Result<(), Fault> {
        let soon = self.fixed.soon();
        if let Some(server) = &mut self.links[index].server {
            server.handle_timeout(soon);
        }
        self.server_turn(index)?;
        self.sweep();
        Ok(())
    }

    pub(crate) fn crash(&mut self, process: usize) -> Result<(), Fault> {
        for link in self.links.iter_mut().filter(|link| link.process == process) {
            link.client_open = false;
            link.to_client.clear();
        }
        self.processes[process].crash(&self.log);
        self.sweep();
        self.client_turn(process)
    }

    pub(crate) fn fork(&mut self) {
        let other = self.processes[0].fork(&mut self.log);
        self.processes.push(other);
    }

    pub(crate) fn can_fork(&self) -> bool {
        self.processes.len() < PROCESSES_MAX
    }

    /// The server's process ends, and with it every connection's end there; `change` is what becomes of the log.
    pub(crate) fn restart(&mut self, change: impl FnOnce(&mut Log)) {
        for link in &mut self.links {
            link.batch.clear();
            link.holds = None;
            link.fenced = None;
            link.to_server.clear();
            if link.server.take().is_some() && link.client_open {
                link.to_client.push_back(Frame::Close(1006, String::new()));
            }
        }
        change(&mut self.log);
        self.sweep();
    }

    /// Expiry does nothing while a connection is attached.
    pub(crate) fn expire(&mut self) -> Result<(), Fault> {
        let Some((session, attach)) = self.log.detached().or_else(|| self.log.living()) else {
            return Ok(());
        };
        let held = self.links.iter().any(|link| link.holds == Some(session));
        if self.log.expire((session, attach), self.fixed.now)? && held {
            return Err("I10: a session expired while a connection was attached".into());
        }
        Ok(())
    }

    /// Links of which nothing is left.
    fn sweep(&mut self) {
        self.links
            .retain(|link| link.server.is_some() || link.client_open || !link.batch.is_empty());
    }

    pub(crate) fn check_at_rest(&self) -> Result<(), Fault> {
        for process in &self.processes {
            process.check_at_rest(&self.log)?;
        }
        // I12: of two holders of one session one is left, unless the winner's session was forgotten.
        let left = self.processes.iter().filter(|it| !it.client.is_stopped()).count();
        let sessions = self.processes.iter().map(|it| it.client.session());
        let same = sessions.clone().zip(sessions.skip(1)).all(|(a, b)| a == b);
        if same && left != 1 {
            return Err(format!(
                "I12: {left} of {} holders are left",
                self.processes.len()
            ));
        }
        Ok(())
    }
}
