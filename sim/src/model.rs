//! The reference model: what was committed, who holds what, and therefore what each client must have seen.
//!
//! It is small and slow on purpose. It hears of every commit from a wrapper around the real log's writer, and of every
//! event from the applications, and says at once when the two do not fit.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use weirline_log::{
    AckRefusal, AppendRefusal, Attach, AttachRefusal, Author, Command, Epoch, LogReader, Offset, Outcome,
    ReadLimits, SessionId, StreamId,
};

use crate::net::Net;
use crate::trace::digest;

/// A stream's name and one of its epochs.
pub type LogKey = (String, Epoch);

/// The reference model of one run.
pub struct Model {
    net: Rc<Net>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// How often the server has started.
    starts: u32,
    /// How often its log has begun.
    life: u32,
    logs: BTreeMap<LogKey, Log>,
    current: BTreeMap<String, Epoch>,
    sessions: BTreeMap<SessionId, Session>,
    /// Whose session it is, as the stores say.
    owners: BTreeMap<SessionId, usize>,
    /// How far each client has handled each log, over all its processes.
    handled: BTreeMap<(usize, LogKey), Offset>,
    /// The last ticket that each client has ever stored.
    stored: BTreeMap<usize, u64>,
    /// Whose each payload is, and its ticket.
    tickets: BTreeMap<u64, (usize, u64)>,
    /// Where in the logs each payload is.
    places: BTreeMap<u64, (LogKey, Offset)>,
}

/// One epoch of one stream.
#[derive(Clone, Default)]
pub struct Log {
    /// In order.
    pub entries: Vec<Committed>,
    /// All up to here may be gone.
    pub trimmed: Offset,
    /// The start of the server in which it was written.
    pub life: u32,
}

/// An entry of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its place.
    pub offset: Offset,
    /// The place before.
    pub previous: Offset,
    /// What it says.
    pub digest: u64,
    /// Who said it.
    pub author: Option<Author>,
    /// When it was committed.
    pub at: Duration,
}

#[derive(Default)]
struct Session {
    attach: Attach,
    attached: bool,
    count: u64,
    acks: BTreeMap<LogKey, Offset>,
}

impl Log {
    /// The last offset.
    #[must_use]
    pub fn head(&self) -> Offset {
        self.entries.last().map_or(Offset::ZERO, |entry| entry.offset)
    }

    /// The entry at a place.
    #[must_use]
    pub fn at(&self, offset: Offset) -> Option<&Committed> {
        let index = self
            .entries
            .binary_search_by_key(&offset, |entry| entry.offset)
            .ok()?;
        self.entries.get(index)
    }
}

impl Model {
    /// Nothing has happened.
    #[must_use]
    pub fn new(net: Rc<Net>) -> Rc<Self> {
        Rc::new(Self {
            net,
            state: RefCell::default(),
        })
    }

    /// The server starts, with an empty log or with the one it had; says how often it has.
    pub fn server_starts(&self, finds_its_log: bool) -> u32 {
        let mut state = self.state.borrow_mut();
        state.starts += 1;
        if state.life == 0 || !finds_its_log {
            state.life += 1;
            state.current.clear();
            state.sessions.clear();
        }
        for session in state.sessions.values_mut() {
            session.attached = false;
        }
        state.starts
    }

    /// What a restarted server has found: every message that was ever committed, and no other (I8).
    pub fn found(&self, reader: &impl LogReader) {
        let state = self.state.borrow();
        if state.starts > 1 {
            self.net.case("log-found");
        }
        for (name, epoch) in &state.current {
            let Some(log) = state.logs.get(&(name.clone(), *epoch)) else {
                continue;
            };
            let Ok(stream) = StreamId::new(name) else { continue };
            let limits = ReadLimits {
                messages: usize::MAX,
                bytes: usize::MAX,
            };
            let mut entries = Vec::new();
            let bounds = reader.read(&stream, Offset::ZERO, limits, &mut entries);
            let bounds = bounds.ok().flatten().map(|read| read.bounds);
            if bounds.is_none_or(|bounds| bounds.epoch != *epoch || bounds.head != log.head()) {
                let text = format!(
                    "{name} was {epoch} with the head {}, and is {bounds:?}",
                    log.head()
                );
                self.net.violate("I8", text);
            }
            for entry in &entries {
                let committed = log.at(entry.offset);
                if committed.is_none_or(|committed| committed.digest != digest(&entry.payload)) {
                    let text = format!("{name} has another message at {} than before", entry.offset);
                    self.net.violate("I8", text);
                }
            }
            let kept = log.entries.iter().filter(|entry| entry.offset > log.trimmed);
            if entries.len() < kept.count() {
                let text = format!("{name} has only {} of its messages", entries.len());
                self.net.violate("I8", text);
            }
        }
    }

    /// Which of the server's logs is the present one, from 1.
    #[must_use]
    pub fn life(&self) -> u32 {
        self.state.borrow().life
    }

    /// The store of a client holds this session.
    pub fn owns(&self, client: usize, session: SessionId) {
        self.state.borrow_mut().owners.insert(session, client);
    }

    /// The store of a client holds everything up to this ticket.
    pub fn stored(&self, client: usize, ticket: u64) {
        let mut state = self.state.borrow_mut();
        let last = state.stored.entry(client).or_default();
        *last = ticket.max(*last);
    }

    /// A client took a message under this ticket.
    pub fn took(&self, client: usize, ticket: u64, digest: u64) {
        self.state.borrow_mut().tickets.insert(digest, (client, ticket));
    }

    /// A copy of a log.
    #[must_use]
    pub fn log(&self, key: &LogKey) -> Option<Log> {
        self.state.borrow().logs.get(key).cloned()
    }

    /// The present epoch of a stream, and its head.
    #[must_use]
    pub fn head(&self, stream: &str) -> Option<(Epoch, Offset)> {
        let state = self.state.borrow();
        let epoch = *state.current.get(stream)?;
        Some((
            epoch,
            state
                .logs
                .get(&(stream.to_owned(), epoch))
                .map_or(Offset::ZERO, Log::head),
        ))
    }

    /// Where a payload is.
    #[must_use]
    pub fn place(&self, digest: u64) -> Option<(LogKey, Offset)> {
        self.state.borrow().places.get(&digest).cloned()
    }

    /// A client says that it has handled everything up to an offset.
    pub fn handled(&self, client: usize, key: LogKey, offset: Offset) {
        let mut state = self.state.borrow_mut();
        let place = state.handled.entry((client, key)).or_default();
        *place = offset.max(*place);
    }

    /// The real log committed a command with this outcome.
    pub fn committed(&self, command: &Command, outcome: &Outcome, reader: &impl LogReader) {
        match command {
            Command::Open { stream } => {
                if let Outcome::Opened(bounds) = outcome {
                    self.opened(stream.as_str(), bounds.epoch);
                }
            }
            Command::Attach { session, attach, .. } => self.attached(*session, *attach, outcome),
            Command::Append {
                stream,
                author,
                payload,
                ..
            } => {
                let bounds = reader.bounds(stream).ok().flatten();
                self.appended(
                    stream.as_str(),
                    bounds.map(|bounds| bounds.epoch),
                    *author,
                    payload,
                    outcome,
                );
                if let Some(bounds) = bounds {
                    let mut state = self.state.borrow_mut();
                    if let Some(log) = state.logs.get_mut(&(stream.as_str().to_owned(), bounds.epoch)) {
                        log.trimmed = bounds.trimmed;
                    }
                }
            }
            Command::Ack {
                session,
                attach,
                stream,
                epoch,
                offset,
            } => {
                self.acked(
                    *session,
                    *attach,
                    (stream.as_str().to_owned(), *epoch),
                    *offset,
                    outcome,
                );
            }
            Command::Detach { session, attach, .. }
            | Command::Expire { session, attach, .. }
            | Command::End { session, attach, .. } => self.left(command, *session, *attach, outcome),
            _ => {}
        }
    }

    fn opened(&self, stream: &str, epoch: Epoch) {
        let mut state = self.state.borrow_mut();
        let life = state.life;
        if let Some(old) = state.current.insert(stream.to_owned(), epoch)
            && old != epoch
        {
            self.net.violate(
                "I9",
                format!("{stream} changed its epoch from {old} to {epoch} within one life"),
            );
        }
        let log = state
            .logs
            .entry((stream.to_owned(), epoch))
            .or_insert_with(|| Log {
                life,
                ..Log::default()
            });
        if log.life != life {
            self.net.violate(
                "I8",
                format!("epoch {epoch} of {stream} was used by an earlier start of the server"),
            );
        }
    }

    fn attached(&self, id: SessionId, attach: Attach, outcome: &Outcome) {
        let mut state = self.state.borrow_mut();
        let known = state.sessions.contains_key(&id);
        let session = state.sessions.entry(id).or_default();
        match outcome {
            Outcome::Attached { count, previous, .. } => {
                if attach <= session.attach {
                    let text = format!("attach {attach} of {id:?} won over {}", session.attach);
                    self.net.violate("I11", text);
                }
                if count.get() != session.count {
                    let text = format!(
                        "{id:?} was told the count {count}, but {} are in the log",
                        session.count
                    );
                    self.net.violate("I6", text);
                }
                if session.attached && previous.is_none() {
                    self.net.violate(
                        "I12",
                        format!("attach {attach} of {id:?} did not end {}", session.attach),
                    );
                }
                session.attach = attach;
                session.attached = true;
            }
            Outcome::AttachRefused(AttachRefusal::Stale { .. }) => {
                self.net.case("stale-attach");
                if attach > session.attach {
                    let text = format!("attach {attach} of {id:?} was refused over {}", session.attach);
                    self.net.violate("I11", text);
                }
            }
            _ => {}
        }
        if !known && !matches!(outcome, Outcome::Attached { .. }) {
            state.sessions.remove(&id);
        }
    }

    fn appended(
        &self,
        stream: &str,
        epoch: Option<Epoch>,
        author: Option<Author>,
        payload: &Bytes,
        outcome: &Outcome,
    ) {
        match outcome {
            Outcome::Appended { offset, previous, .. } => {
                let Some(epoch) = epoch else {
                    return self
                        .net
                        .violate("I8", format!("{stream} took a message and does not exist"));
                };
                self.opened(stream, epoch);
                let entry = Committed {
                    offset: *offset,
                    previous: *previous,
                    digest: digest(payload),
                    author,
                    at: self.net.now(),
                };
                self.append(&(stream.to_owned(), epoch), entry);
            }
            Outcome::Duplicate { .. } => {
                self.net.case("duplicate");
                let Some(author) = author else {
                    return self.net.violate("I6", "a duplicate without an author");
                };
                let state = self.state.borrow();
                let count = state
                    .sessions
                    .get(&author.session)
                    .map_or(0, |session| session.count);
                if author.seq.get() > count {
                    self.net.violate(
                        "I6",
                        format!("sequence {} was called a duplicate at {count}", author.seq),
                    );
                }
            }
            Outcome::AppendRefused(AppendRefusal::Fenced) => self.net.case("fenced"),
            _ => {}
        }
    }

    fn append(&self, key: &LogKey, entry: Committed) {
        let mut state = self.state.borrow_mut();
        if let Some(author) = entry.author {
            let session = state.sessions.entry(author.session).or_default();
            if !session.attached || session.attach != author.attach {
                let text = format!("attach {} appended over {}", author.attach, session.attach);
                self.net.violate("I10", text);
            }
            if author.seq.get() != session.count + 1 {
                let invariant = if author.seq.get() <= session.count {
                    "I6"
                } else {
                    "I7"
                };
                let text = format!("sequence {} was appended after {}", author.seq, session.count);
                self.net.violate(invariant, text);
            }
            session.count = author.seq.get();
        }
        let (life, owned) = (
            state.life,
            entry
                .author
                .is_some_and(|author| state.owners.contains_key(&author.session)),
        );
        let before = state.places.insert(entry.digest, (key.clone(), entry.offset));
        // A plain script begins again when the server has forgotten its session; a shipped client never does.
        let again =
            |place: &(LogKey, Offset)| owned || state.logs.get(&place.0).is_none_or(|log| log.life == life);
        if let Some(place) = before.filter(again) {
            let text = format!(
                "one message is at {} of {:?} and at {} of {key:?}",
                place.1, place.0, entry.offset
            );
            self.net.violate("I6", text);
        }
        if let Some(&(client, ticket)) = state.tickets.get(&entry.digest)
            && state.stored.get(&client).is_none_or(|stored| *stored < ticket)
        {
            self.net.violate(
                "S1",
                format!("client {client} sent message {ticket} before it was stored"),
            );
        }
        let Some(log) = state.logs.get_mut(key) else {
            return;
        };
        if entry.previous != log.head() || entry.offset <= log.head() {
            let text = format!(
                "{} after {} was appended at the head {}",
                entry.offset,
                entry.previous,
                log.head()
            );
            self.net.violate("I3", text);
        }
        let session = |entry: &Committed| entry.author.map(|author| author.session);
        if log
            .entries
            .last()
            .is_some_and(|last| session(last) != session(&entry))
        {
            self.net.case("interleaved");
        }
        log.entries.push(entry);
    }

    fn acked(&self, id: SessionId, attach: Attach, key: LogKey, offset: Offset, outcome: &Outcome) {
        let mut state = self.state.borrow_mut();
        match outcome {
            Outcome::Acked { position } => {
                self.net.case("ack-recorded");
                let owner = state.owners.get(&id).copied();
                let handled = owner
                    .and_then(|client| state.handled.get(&(client, key.clone())))
                    .copied();
                if let Some(owner) = owner
                    && handled.unwrap_or_default() < offset
                {
                    let text = format!(
                        "client {owner} acknowledged {offset} and had handled {handled:?} of {key:?}"
                    );
                    self.net.violate("I4", text);
                }
                let session = state.sessions.entry(id).or_default();
                if !session.attached || session.attach != attach {
                    let text = format!("attach {attach} acknowledged over {}", session.attach);
                    self.net.violate("I10", text);
                }
                let recorded = session.acks.entry(key).or_default();
                if position.offset < *recorded {
                    let text = format!(
                        "the recorded ack went from {recorded} back to {}",
                        position.offset
                    );
                    self.net.violate("I4", text);
                }
                *recorded = position.offset;
            }
            Outcome::AckRefused(AckRefusal::Fenced) => self.net.case("fenced"),
            _ => {}
        }
    }

    fn left(&self, command: &Command, id: SessionId, attach: Attach, outcome: &Outcome) {
        let mut state = self.state.borrow_mut();
        let Some(session) = state.sessions.get_mut(&id) else {
            return;
        };
        match outcome {
            Outcome::Detached | Outcome::Ended | Outcome::Expired => {
                if attach != session.attach {
                    let text = format!("attach {attach} ended {} by {command:?}", session.attach);
                    self.net.violate("I10", text);
                }
                if matches!(outcome, Outcome::Expired) {
                    self.net.case("expired");
                    session.acks.clear();
                    if session.attached {
                        self.net.violate("I10", format!("{id:?} expired while attached"));
                    }
                    if session.count == 0 {
                        // Only sessions that published are remembered.
                        state.sessions.remove(&id);
                        return;
                    }
                }
                session.attached = false;
            }
            Outcome::Ignored if attach < session.attach => self.net.case("fenced"),
            _ => {}
        }
    }
}
