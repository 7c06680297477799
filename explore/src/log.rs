//! The commit order: the shipped session table over one small stream, and what is known of its history.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

use bytes::Bytes;
use weirline_log::{
    AppendRefusal, Attach, Bounds, Command, Entry, Epoch, EpochChain, EpochIds, LogClock, LogError,
    LogReader, Offset, Outcome, PayloadKind, Position, ReadLimits, ReadOutcome, SessionId, SessionLimits,
    SessionRecord, SessionState, SessionTable, StreamId, StreamTable,
};

use crate::process::{Fault, payload_of};

/// Payloads longer than this are refused by the log.
pub(crate) const ENTRY_BYTES_MAX: usize = 1;

/// What was committed under each epoch, by offset.
pub(crate) type History = BTreeMap<u64, u8>;

/// The one stream.
#[derive(Clone, Hash)]
pub(crate) struct Stream {
    name: StreamId,
    chain: EpochChain,
    trimmed: u64,
    /// The payloads behind `trimmed`.
    entries: Vec<u8>,
}

impl Stream {
    fn head(&self) -> u64 {
        self.trimmed + self.entries.len() as u64
    }

    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            epoch: self.chain.current(),
            trimmed: offset(self.trimmed),
            head: offset(self.head()),
        }
    }

    pub(crate) fn end(&self) -> Position {
        let bounds = self.bounds();
        Position {
            epoch: bounds.epoch,
            offset: bounds.head,
        }
    }
}

pub(crate) fn offset(number: u64) -> Offset {
    Offset::new(number).unwrap_or(Offset::ZERO)
}

impl StreamTable for Stream {
    fn bounds(&self, _: &StreamId) -> Option<Bounds> {
        Some(Stream::bounds(self))
    }

    fn open(&mut self, _: &StreamId) -> Option<Bounds> {
        Some(Stream::bounds(self))
    }

    fn entry_bytes_max(&self) -> usize {
        ENTRY_BYTES_MAX
    }

    fn append(&mut self, _: &StreamId, _: PayloadKind, payload: &Bytes) -> Result<Offset, AppendRefusal> {
        self.entries.push(payload.first().copied().unwrap_or_default());
        Ok(offset(self.head()))
    }
}

/// Reads the stream where it lies.
#[derive(Clone)]
pub(crate) struct Reader<'a>(pub(crate) &'a Stream);

impl LogReader for Reader<'_> {
    fn bounds(&self, _: &StreamId) -> Result<Option<Bounds>, LogError> {
        Ok(Some(self.0.bounds()))
    }

    /// The machines list no streams.
    fn streams(
        &self,
        _: Option<&StreamId>,
        _: usize,
        _: &mut Vec<(StreamId, Bounds)>,
    ) -> Result<(), LogError> {
        Ok(())
    }

    fn read(
        &self,
        _: &StreamId,
        after: Offset,
        limits: ReadLimits,
        out: &mut Vec<Entry>,
    ) -> Result<Option<ReadOutcome>, LogError> {
        let first = after.get().max(self.0.trimmed);
        let skip = usize::try_from(first - self.0.trimmed).unwrap_or(usize::MAX);
        let before = out.len();
        let ids = self.0.entries.iter().skip(skip).take(limits.messages.max(1));
        out.extend((first..).zip(ids).map(|(previous, &id)| Entry {
            offset: offset(previous + 1),
            previous: offset(previous),
            kind: PayloadKind::Binary,
            payload: payload_of(id),
        }));
        let entries = out.len() - before;
        Ok(Some(ReadOutcome::new(self.0.bounds(), entries)))
    }

    fn common(&self, _: &StreamId, epoch: Epoch, at: Offset) -> Result<Offset, LogError> {
        Ok(self.0.chain.common(epoch, at, offset(self.0.head())))
    }
}

/// What the oracles know of one session.
#[derive(Clone, Copy, Hash)]
struct Known {
    session: SessionId,
    attach: Attach,
    /// Of the dial that attached.
    nonce: Option<[u8; 16]>,
    count: u64,
    acked: Option<Position>,
}

#[derive(Clone)]
pub(crate) struct Log {
    table: SessionTable,
    pub(crate) stream: Stream,
    ids: EpochIds,
    epochs: u64,
    known: Vec<Known>,
    pub(crate) histories: BTreeMap<Epoch, History>,
    /// What is in the log, in the order in which it was appended, without what an unclean stop took back.
    pub(crate) appended: Vec<u8>,
    /// A set of payloads, as bits: an unclean stop took them back.
    pub(crate) lost: u64,
    /// Payloads in an outbox that was copied: two sessions may come of it, and publish them once each.
    pub(crate) copied: u64,
    /// An unclean stop took back a session's number, or the session.
    pub(crate) forgot: bool,
    /// The record of a session before each of its numbers was counted, and where the stream ended then.
    journal: Vec<(SessionId, SessionRecord, u64)>,
    /// The next append is refused.
    pub(crate) refuse: bool,
}

impl Hash for Log {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for (id, record) in self.table.iter() {
            (id, record).hash(state);
        }
        let Self {
            stream,
            epochs,
            known,
            histories,
            appended,
            lost,
            copied,
            forgot,
            journal,
            refuse,
            ..
        } = self;
        (stream, epochs, known, histories, appended).hash(state);
        (lost, copied, forgot, journal, refuse).hash(state);
    }
}

impl Log {
    pub(crate) fn new(name: StreamId) -> Self {
        let mut ids = EpochIds::new(1);
        let epoch = ids.draw();
        Self {
            table: new_table(),
            stream: Stream {
                name,
                chain: EpochChain::new(epoch),
                trimmed: 0,
                entries: Vec::new(),
            },
            ids,
            epochs: 1,
            known: Vec::new(),
            histories: BTreeMap::from([(epoch, History::new())]),
            appended: Vec::new(),
            lost: 0,
            copied: 0,
            forgot: false,
            journal: Vec::new(),
            refuse: false,
        }
    }

    pub(crate) fn name(&self) -> &StreamId {
        &self.stream.name
    }

    pub(crate) fn was_appended(&self, id: u8) -> bool {
        self.lost >> id & 1 != 0 || self.appended.contains(&id)
    }

    /// A message of somebody else.
    pub(crate) fn append_other(&mut self, id: u8) {
        self.note_appended(id);
        self.stream.entries.push(id);
        self.note_history(id);
    }

    fn note_appended(&mut self, id: u8) {
        self.appended.push(id);
    }

    fn note_history(&mut self, id: u8) {
        let (epoch, head) = (self.stream.chain.current(), self.stream.head());
        if let Some(history) = self.histories.get_mut(&epoch) {
            history.insert(head, id);
        }
    }

    pub(crate) fn can_trim(&self) -> bool {
        self.stream.entries.len() > 1
    }

    pub(crate) fn trim(&mut self) {
        self.stream.entries.remove(0);
        self.stream.trimmed += 1;
    }

    fn known(&mut self, session: SessionId) -> &mut Known {
        if let Some(at) = self.known.iter().position(|known| known.session == session) {
            return &mut self.known[at];
        }
        let at = self.known.len();
        self.known.push(Known {
            session,
            attach: Attach::ZERO,
            nonce: None,
            count: 0,
            acked: None,
        });
        &mut self.known[at]
    }

    /// One command in the commit order. `handled` says whether a holder of the session has handled a position.
    pub(crate) fn commit(
        &mut self,
        command: &Command,
        handled: impl Fn(SessionId, Position) -> bool,
    ) -> Result<Outcome, Fault> {
        if self.refuse && matches!(command, Command::Append { .. }) {
            self.refuse = false;
            return Ok(Outcome::AppendRefused(AppendRefusal::StreamsFull));
        }
        let author = match command {
            Command::Append { author, .. } => *author,
            Command::Skip { author, .. } => Some(*author),
            _ => None,
        };
        let before = author.and_then(|author| self.table.get(author.session).cloned());
        let end = self.stream.head();
        let outcome = self.table.apply(&mut self.stream, command);
        if let (Some(author), Some(before)) = (author, before)
            && matches!(outcome, Outcome::Appended { .. } | Outcome::Skipped { .. })
        {
            self.journal.push((author.session, before, end));
            let known = self.known(author.session);
            if known.attach != author.attach {
                return Err("I10: a message of an attach that is not current is in the log".into());
            }
            if known.count >= author.seq.get() {
                return Err("I6: a number of a session is counted twice".into());
            }
            known.count = author.seq.get();
        }
        match (command, &outcome) {
            (
                Command::Attach {
                    session,
                    attach,
                    proof,
                    ..
                },
                Outcome::Attached { .. },
            ) => {
                let nonce = proof.map(|proof| proof.nonce);
                let known = self.known(*session);
                if known.attach > *attach || known.attach == *attach && known.nonce != nonce {
                    return Err("I11: an attach won that is not higher".into());
                }
                (known.attach, known.nonce) = (*attach, nonce);
            }
            (Command::Append { payload, .. }, Outcome::Appended { .. }) => {
                let id = payload.first().copied().unwrap_or_default();
                if self.appended.contains(&id) && self.copied >> id & 1 == 0 {
                    return Err(format!("I6: message {id} is in the log twice"));
                }
                self.note_appended(id);
                self.note_history(id);
            }
            (Command::Ack { session, .. }, Outcome::Acked { position }) => {
                if !handled(*session, *position) {
                    return Err(format!("I4: {position:?} is acknowledged, and was never handled"));
                }
                let known = self.known(*session);
                let before = known.acked.replace(*position);
                if before.is_some_and(|at| at.epoch == position.epoch && at.offset > position.offset) {
                    return Err("I4: a recorded ack fell".into());
                }
            }
            _ => {}
        }
        Ok(outcome)
    }

    /// Sessions that nobody holds.
    pub(crate) fn detached(&self) -> Option<(SessionId, Attach)> {
        self.table.detached().next()
    }

    /// Any session that is alive, held or not.
    pub(crate) fn living(&self) -> Option<(SessionId, Attach)> {
        let alive = |record: &SessionRecord| !matches!(record.state, SessionState::Tombstone { .. });
        let mut all = self.table.iter();
        all.find(|(_, record)| alive(record))
            .map(|(id, record)| (id, record.attach))
    }

    /// The time to live of a session is said to be over: does something only if nobody holds it.
    pub(crate) fn expire(
        &mut self,
        (session, attach): (SessionId, Attach),
        now: Instant,
    ) -> Result<bool, Fault> {
        let expired = self
            .table
            .apply(&mut self.stream, &Command::Expire { session, attach, now });
        if expired == Outcome::Expired {
            self.known(session).acked = None;
            return Ok(true);
        }
        Ok(false)
    }

    pub(crate) fn has_tombstone(&self) -> bool {
        let tombstone = |record: &SessionRecord| matches!(record.state, SessionState::Tombstone { .. });
        self.table.iter().any(|(_, record)| tombstone(record))
    }

    /// The seven days of every tombstone are over.
    pub(crate) fn forget(&mut self) {
        let mut table = new_table();
        for (id, record) in self.table.iter() {
            if !matches!(record.state, SessionState::Tombstone { .. }) {
                table.restore(id, Some(record.clone()));
            }
        }
        self.table = table;
        self.known.retain(|known| self.table.get(known.session).is_some());
        self.forgot = true;
    }

    /// The process of the server ends and another begins: nobody holds a session any more.
    pub(crate) fn restart(&mut self) {
        let mut table = new_table();
        for (id, record) in self.table.iter() {
            table.restore(id, Some(record.clone()));
        }
        self.table = table;
    }

    pub(crate) fn can_roll_back(&self) -> bool {
        // Retention takes what is older than the last number.
        self.journal
            .last()
            .is_some_and(|(_, _, end)| *end >= self.stream.trimmed)
    }

    /// An unclean stop of a log that keeps every attach, and everything before the last number of a session.
    pub(crate) fn roll_back(&mut self) {
        self.restart();
        if let Some((id, before, end)) = self.journal.pop() {
            if let Some(mut record) = self.table.get(id).cloned() {
                (record.count, record.hash) = (before.count, before.hash);
                self.known(id).count = before.count.get();
                self.table.restore(id, Some(record));
            }
            while self.stream.head() > end
                && let Some(lost) = self.stream.entries.pop()
            {
                self.appended.retain(|&id| id != lost);
                self.lost |= 1 << lost;
            }
        }
        self.forgot = true;
        let old = self.stream.chain.current();
        let epoch = self.ids.draw();
        self.epochs += 1;
        let head = self.stream.head();
        self.stream.chain.begin(epoch, offset(head));
        let kept = self.histories[&old].range(..=head).map(|(at, id)| (*at, *id));
        let kept = kept.collect();
        self.histories.insert(epoch, kept);
        self.known.iter_mut().for_each(|known| known.acked = None);
    }

    /// A restart of a log that keeps nothing.
    pub(crate) fn wipe(&mut self) {
        self.table = new_table();
        self.known.clear();
        self.journal.clear();
        self.forgot = true;
        self.appended.drain(..).for_each(|id| self.lost |= 1 << id);
        let epoch = self.ids.draw();
        self.epochs += 1;
        self.stream.chain = EpochChain::new(epoch);
        self.stream.trimmed = 0;
        self.stream.entries.clear();
        self.histories.insert(epoch, History::new());
    }
}

fn new_table() -> SessionTable {
    let limits = SessionLimits {
        tombstone_ttl: Duration::from_secs(7 * 86_400),
        ..SessionLimits::default()
    };
    SessionTable::new(limits, LogClock::default())
}
