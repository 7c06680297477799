//! What may happen next, and what comes by itself when nothing goes wrong.

use std::fmt;

use weirline_resume::wire::{ClientMessage, Form, ServerMessage};

use crate::process::Fault;
use crate::world::{Frame, LINKS_MAX, World};

/// What happens; the index is that of a process or link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Action {
    pub(crate) kind: Kind,
    pub(crate) on: usize,
}

macro_rules! kinds {
    ($($name:ident: $what:literal),* $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kind { $($name),* }

        pub(crate) const KINDS: &[(Kind, &str)] = &[$((Kind::$name, $what)),*];
    };
}

kinds!(
    Store: "stores its state",
    Fence: "learns from the hub that another connection has its session",
    Commit: "has its commands committed",
    ToServer: "brings the server",
    ToClient: "brings the client",
    Handle: "handles a delivery",
    Dial: "dials",
    WaitClient: "has waited as long as it wanted to",
    WaitServer: "has waited for the hub's notice",
    ServerEnds: "ends at the server, which the client does not know",
    ClientEnds: "ends at the client, which the server does not know",
    Publish: "publishes a message",
    PublishLong: "publishes a message that the log will refuse",
    Other: "somebody else publishes",
    Redial: "dials though its connection is alive",
    Crash: "crashes and goes on from its store",
    Fork: "a second process begins from a copy of its store",
    Restart: "the server restarts",
    RollBack: "the server restarts; the last number and its message are lost, the epoch changes",
    Wipe: "the server restarts with an empty log",
    Expire: "a session's time to live is over",
    Forget: "the tombstones are forgotten",
    Trim: "retention takes the oldest entry",
    Refuse: "the log will refuse the next message",
    Repeat: "an intermediary repeats the HELLO of",
);

impl Action {
    pub(crate) fn code(self) -> u8 {
        let code = self.kind as usize * LINKS_MAX + self.on;
        u8::try_from(code).unwrap_or(u8::MAX)
    }

    pub(crate) fn of(code: u8) -> Self {
        let code = usize::from(code);
        Self {
            kind: KINDS[code / LINKS_MAX].0,
            on: code % LINKS_MAX,
        }
    }
}

impl World {
    /// Everything that may happen.
    pub(crate) fn actions(&self, out: &mut Vec<Action>) {
        out.clear();
        let mut add = |kind, on| out.push(Action { kind, on });
        let left = &self.left;
        let may_crash = left.faults > 0 && left.crashes + left.forks > 0;
        for (on, process) in self.processes.iter().enumerate() {
            let stopped = process.client.is_stopped();
            if process.wants_store(may_crash) {
                add(Kind::Store, on);
            }
            if !process.waiting.is_empty() {
                add(Kind::Handle, on);
            }
            if self.client_waits(on) {
                add(Kind::WaitClient, on);
            }
            let busy = self
                .links
                .iter()
                .any(|link| link.process == on && self.is_current(link));
            let room = self.links.len() < LINKS_MAX && left.dials > 0 && !stopped;
            if room && !busy {
                add(Kind::Dial, on);
            }
            if room && busy && left.redials > 0 && left.faults > 0 {
                add(Kind::Redial, on);
            }
            if left.publishes > 0 && !stopped {
                add(Kind::Publish, on);
            }
            if left.longs > 0 && left.faults > 0 && !stopped {
                add(Kind::PublishLong, on);
            }
            if left.crashes > 0 && left.faults > 0 {
                add(Kind::Crash, on);
            }
        }
        self.link_actions(&mut add);
        self.log_actions(&mut add);
    }

    fn link_actions(&self, add: &mut impl FnMut(Kind, usize)) {
        let left = &self.left;
        let may_cut = left.cuts > 0 && left.faults > 0;
        for (on, link) in self.links.iter().enumerate() {
            if link
                .server
                .as_ref()
                .is_some_and(weirline_resume::Session::wants_input)
                && !link.to_server.is_empty()
            {
                add(Kind::ToServer, on);
            }
            if link.client_open && !link.to_client.is_empty() {
                add(Kind::ToClient, on);
            }
            if !link.batch.is_empty() {
                add(Kind::Commit, on);
            }
            if link.fenced.is_some() {
                add(Kind::Fence, on);
            }
            if self.server_waits(on) {
                add(Kind::WaitServer, on);
            }
            // The end of a connection that the other end has left is no fault.
            if link.server.is_some() && (may_cut || !link.client_open) {
                add(Kind::ServerEnds, on);
            }
            if link.client_open && (may_cut || !self.is_current(link)) {
                add(Kind::ClientEnds, on);
            }
            let room = self.links.len() < LINKS_MAX;
            if left.repeats > 0 && left.faults > 0 && room && self.can_repeat(on) {
                add(Kind::Repeat, on);
            }
        }
    }

    fn log_actions(&self, add: &mut impl FnMut(Kind, usize)) {
        let left = &self.left;
        if left.others > 0 {
            add(Kind::Other, 0);
        }
        if left.faults == 0 {
            return;
        }
        let living = self.log.living().is_some();
        let may = [
            (
                Kind::Fork,
                left.forks > 0 && self.can_fork() && self.processes[0].client.session().is_some(),
            ),
            (Kind::Restart, left.restarts > 0 && living),
            (Kind::RollBack, left.rollbacks > 0 && self.log.can_roll_back()),
            (Kind::Wipe, left.wipes > 0 && living),
            (Kind::Expire, left.expiries > 0 && living),
            (Kind::Forget, left.forgets > 0 && self.log.has_tombstone()),
            (Kind::Trim, left.trims > 0 && self.log.can_trim()),
            (Kind::Refuse, left.refusals > 0 && !self.log.refuse),
        ];
        for (kind, may) in may {
            if may {
                add(kind, 0);
            }
        }
    }

    fn client_waits(&self, on: usize) -> bool {
        let due = self.processes[on].client.poll_timeout();
        due.is_some_and(|due| due <= self.fixed.soon())
    }

    fn server_waits(&self, on: usize) -> bool {
        let due = self.links[on]
            .server
            .as_ref()
            .and_then(weirline_resume::Session::poll_timeout);
        due.is_some_and(|due| due <= self.fixed.soon())
    }

    pub(crate) fn apply(&mut self, action: Action) -> Result<(), Fault> {
        self.pay(action);
        let on = action.on;
        match action.kind {
            Kind::Store => {
                self.processes[on].store();
                self.client_turn(on)
            }
            Kind::Handle => {
                self.processes[on].handle_one()?;
                self.client_turn(on)
            }
            Kind::WaitClient => {
                let soon = self.fixed.soon();
                self.processes[on].client.handle_timeout(soon);
                self.client_turn(on)
            }
            Kind::Dial | Kind::Redial => self.dial(on),
            Kind::Publish | Kind::PublishLong => {
                let id = self.published;
                self.published += 1;
                let long = action.kind == Kind::PublishLong;
                self.processes[on].publish(id, long, &self.log);
                self.client_turn(on)
            }
            Kind::Crash => self.crash(on),
            Kind::ToServer => self.deliver_to_server(on),
            Kind::ToClient => self.deliver_to_client(on),
            Kind::Commit => self.commit(on),
            Kind::Fence => self.fence(on),
            Kind::WaitServer => self.late_server(on),
            Kind::ServerEnds => self.lose_server(on),
            Kind::ClientEnds => self.lose_client(on),
            Kind::Repeat => {
                self.repeat(on);
                Ok(())
            }
            kind => self.apply_to_log(kind),
        }
    }

    fn apply_to_log(&mut self, kind: Kind) -> Result<(), Fault> {
        match kind {
            Kind::Other => {
                let id = self.published;
                self.published += 1;
                self.log.append_other(id);
                return self.grown();
            }
            Kind::Fork => self.fork(),
            Kind::Restart => self.restart(crate::log::Log::restart),
            Kind::RollBack => self.restart(crate::log::Log::roll_back),
            Kind::Wipe => self.restart(crate::log::Log::wipe),
            Kind::Expire => return self.expire(),
            Kind::Forget => self.log.forget(),
            Kind::Trim => self.log.trim(),
            Kind::Refuse => self.log.refuse = true,
            _ => {}
        }
        Ok(())
    }

    fn pay(&mut self, action: Action) {
        let free = match action.kind {
            Kind::ServerEnds => !self.links[action.on].client_open,
            Kind::ClientEnds => !self.is_current(&self.links[action.on]),
            _ => false,
        };
        if free {
            return;
        }
        let left = &mut self.left;
        let (one, fault) = match action.kind {
            Kind::Dial => (&mut left.dials, false),
            Kind::Publish => (&mut left.publishes, false),
            Kind::Other => (&mut left.others, false),
            Kind::Redial => {
                left.dials = left.dials.saturating_sub(1);
                (&mut left.redials, true)
            }
            Kind::PublishLong => (&mut left.longs, true),
            Kind::ServerEnds | Kind::ClientEnds => (&mut left.cuts, true),
            Kind::Crash => (&mut left.crashes, true),
            Kind::Fork => (&mut left.forks, true),
            Kind::Restart => (&mut left.restarts, true),
            Kind::RollBack => (&mut left.rollbacks, true),
            Kind::Wipe => (&mut left.wipes, true),
            Kind::Expire => (&mut left.expiries, true),
            Kind::Forget => (&mut left.forgets, true),
            Kind::Trim => (&mut left.trims, true),
            Kind::Refuse => (&mut left.refusals, true),
            Kind::Repeat => (&mut left.repeats, true),
            _ => return,
        };
        *one = one.saturating_sub(1);
        left.faults = left.faults.saturating_sub(u8::from(fault));
    }

    /// What comes next when nothing goes wrong any more; `None` at rest.
    pub(crate) fn calm(&self) -> Option<Action> {
        let process = |kind, of: &dyn Fn(usize) -> bool| {
            let on = (0..self.processes.len()).find(|&on| of(on))?;
            Some(Action { kind, on })
        };
        let link = |kind, of: &dyn Fn(usize) -> bool| {
            let on = (0..self.links.len()).find(|&on| of(on))?;
            Some(Action { kind, on })
        };
        let links = &self.links;
        link(Kind::Fence, &|on| links[on].fenced.is_some())
            .or_else(|| link(Kind::Commit, &|on| !links[on].batch.is_empty()))
            .or_else(|| process(Kind::Store, &|on| self.processes[on].wants_store(false)))
            .or_else(|| {
                link(Kind::ToServer, &|on| {
                    let wants = links[on]
                        .server
                        .as_ref()
                        .is_some_and(weirline_resume::Session::wants_input);
                    wants && !links[on].to_server.is_empty()
                })
            })
            .or_else(|| {
                link(Kind::ToClient, &|on| {
                    links[on].client_open && !links[on].to_client.is_empty()
                })
            })
            .or_else(|| process(Kind::Handle, &|on| !self.processes[on].waiting.is_empty()))
            .or_else(|| {
                link(Kind::ServerEnds, &|on| {
                    links[on].server.is_some() && !links[on].client_open
                })
            })
            .or_else(|| {
                link(Kind::ClientEnds, &|on| {
                    links[on].client_open && !self.is_current(&links[on])
                })
            })
            .or_else(|| process(Kind::WaitClient, &|on| self.client_waits(on)))
            .or_else(|| link(Kind::WaitServer, &|on| self.server_waits(on)))
            .or_else(|| {
                process(Kind::Dial, &|on| {
                    let busy = links
                        .iter()
                        .any(|link| link.process == on && self.is_current(link));
                    !busy && !self.processes[on].client.is_stopped()
                })
            })
    }

    /// What an action is about, before it happens.
    pub(crate) fn describe(&self, action: Action) -> String {
        let what = KINDS[action.kind as usize].1;
        let on = action.on;
        match action.kind {
            Kind::Store
            | Kind::Handle
            | Kind::Dial
            | Kind::WaitClient
            | Kind::Publish
            | Kind::PublishLong
            | Kind::Redial
            | Kind::Crash => format!("process {on} {what}"),
            Kind::ToServer => {
                let message = self.links[on]
                    .to_server
                    .front()
                    .map(weirline_resume::Outgoing::to_vec);
                format!(
                    "{} {what} {}",
                    self.link(on),
                    said_by_client(&message.unwrap_or_default())
                )
            }
            Kind::ToClient => {
                let said = match self.links[on].to_client.front() {
                    Some(Frame::Message(message)) => said_by_server(&message.to_vec()),
                    Some(Frame::Close(code, reason)) => format!("close {code} {reason}"),
                    None => String::new(),
                };
                format!("{} {what} {said}", self.link(on))
            }
            Kind::Commit => {
                let batch = self.links[on].batch.iter().map(|it| brief(&format!("{it:?}")));
                let batch: Vec<_> = batch.collect();
                format!("{} {what}: {}", self.link(on), batch.join(", "))
            }
            Kind::Repeat => format!("{what} {}", self.link(on)),
            Kind::Fence | Kind::WaitServer | Kind::ServerEnds | Kind::ClientEnds => {
                format!("{} {what}", self.link(on))
            }
            _ => what.to_owned(),
        }
    }

    fn link(&self, on: usize) -> String {
        let link = &self.links[on];
        format!("connection {on} of process {}", link.process)
    }
}

fn said_by_client(message: &[u8]) -> String {
    match ClientMessage::decode(Form::Binary, Form::Binary.kind(), message) {
        Ok(Some(message)) => brief(&format!("{message:?}")),
        _ => "something malformed".into(),
    }
}

fn said_by_server(message: &[u8]) -> String {
    match ServerMessage::decode(Form::Binary, Form::Binary.kind(), message) {
        Ok(Some(message)) => brief(&format!("{message:?}")),
        _ => "something malformed".into(),
    }
}

/// The beginning of a long description.
fn brief(text: &str) -> String {
    const LEN_MAX: usize = 150;
    match text.char_indices().nth(LEN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.on, KINDS[self.kind as usize].1)
    }
}
