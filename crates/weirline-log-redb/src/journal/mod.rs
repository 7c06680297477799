//! The journal: each commit is one record, written behind the one before, and synced.
//!
//! It decides what is committed; the database follows at each checkpoint. There are two files. While a checkpoint takes in
//! what is in the one, commits go on in the other; then that one begins again at its start. A record begins with a sector of
//! its own, so that no sector which has been synced is written again before a checkpoint has it; and the place of a file is
//! kept from the start, so that a full disk does not stop it in the middle.

mod lane;
#[cfg(all(test, feature = "simulation"))]
mod tests;

pub(crate) use lane::Record;

use std::io;

use crate::storage::{Half, Storage};
use lane::{Chain, Content, Lane};

/// What a journal holds that is opened.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// What the database does not have, in order, possibly nothing.
    Records(Vec<Record>),
    /// It is not there, or was not finished when it was made.
    Nothing,
    /// A file is of a later format.
    Newer(Half, u32),
    /// A file belongs to another log.
    Foreign(Half),
    /// A file is missing, or a record is damaged that a later one proves to have been whole.
    Damaged(Half),
    /// It follows a later state of the database: that has lost something. The last commit of which there is a trace.
    Ahead(u64),
}

/// The journal, ready for the next record.
#[derive(Debug)]
pub(crate) struct Journal {
    lanes: [Lane; 2],
    /// The one that is written.
    active: usize,
    /// The last commit.
    committed: u64,
    /// The checksum of its record.
    chain: u64,
}

impl Journal {
    /// Opens the two files. Commits up to `applied` are in the database.
    pub(crate) fn open(
        storage: &dyn Storage,
        log_id: u64,
        applied: u64,
        standard: u64,
    ) -> Result<(Self, Found), (Half, io::Error)> {
        let open = |half| {
            Lane::open(storage.journal(half), log_id, applied, standard).map_err(|error| (half, error))
        };
        let (a, content_a) = open(Half::A)?;
        let (b, content_b) = open(Half::B)?;
        let mut journal = Self {
            lanes: [a, b],
            active: 0,
            committed: applied,
            chain: log_id,
        };
        let found = journal.join(content_a, content_b, applied);
        Ok((journal, found))
    }

    /// Whether the journal was finished when it was made: the second file is made last, and nothing is written before.
    pub(crate) fn is_made(storage: &dyn Storage) -> Result<bool, (Half, io::Error)> {
        let written = Lane::is_written(&*storage.journal(Half::A)).map_err(|error| (Half::A, error))?;
        let made = Lane::is_made(&*storage.journal(Half::B)).map_err(|error| (Half::B, error))?;
        Ok(written || made)
    }

    /// Makes an empty journal of what is there.
    pub(crate) fn create(&mut self) -> Result<(), (Half, io::Error)> {
        for (half, lane) in [Half::A, Half::B].into_iter().zip(&mut self.lanes) {
            lane.create().map_err(|error| (half, error))?;
        }
        Ok(())
    }

    /// Puts the records of the two files in order.
    fn join(&mut self, a: Content, b: Content, applied: u64) -> Found {
        let (a, b) = match (a, b) {
            (Content::Records(a), Content::Records(b)) => (a, b),
            (Content::Newer(format), _) => return Found::Newer(Half::A, format),
            (_, Content::Newer(format)) => return Found::Newer(Half::B, format),
            (Content::Foreign, _) => return Found::Foreign(Half::A),
            (_, Content::Foreign) => return Found::Foreign(Half::B),
            (Content::Damaged, _) => return Found::Damaged(Half::A),
            (_, Content::Damaged) => return Found::Damaged(Half::B),
            (Content::Nothing, Content::Nothing) => return Found::Nothing,
            (Content::Nothing, _) => return Found::Damaged(Half::A),
            (Content::Records(a), Content::Nothing) if a.records.is_empty() => return Found::Nothing,
            (_, Content::Nothing) => return Found::Damaged(Half::B),
        };
        let b_is_newer = (b.base, b.last()) > (a.base, a.last());
        let (older, newer, active) = if b_is_newer { (a, b, 1) } else { (b, a, 0) };
        if newer.records.is_empty() {
            return Found::Records(Vec::new());
        }
        self.active = active;
        let mut records = match self.before(older, &newer, applied) {
            Ok(records) => records,
            Err(found) => return found,
        };
        records.extend(newer.records);
        if let Some(last) = records.last() {
            (self.committed, self.chain) = (last.seq, last.sum);
        }
        records.retain(|record| record.seq > applied);
        Found::Records(records)
    }

    /// The records of the other file that the newer one follows.
    fn before(&mut self, older: Chain, newer: &Chain, applied: u64) -> Result<Vec<Record>, Found> {
        let other = 1 - self.active;
        if newer.base <= applied {
            // What is there beyond was refused.
            self.lanes[other].cut(applied);
            return Ok(Vec::new());
        }
        if older.records.is_empty() || older.base > applied {
            return Err(Found::Ahead(newer.last()));
        }
        let mut records = older.records;
        let end = records.iter().position(|record| record.sum == newer.link);
        match end.filter(|&end| records[end].seq == newer.base) {
            Some(end) => {
                records.truncate(end + 1);
                self.lanes[other].cut(newer.base);
                Ok(records)
            }
            None => Err(Found::Damaged(if other == 0 { Half::A } else { Half::B })),
        }
    }

    /// Whether a record with such a payload has its place behind those that are there.
    pub(crate) fn has_room(&self, payload: usize) -> bool {
        self.lanes[self.active].has_room(payload)
    }

    /// Whether the file that is written is at its start.
    pub(crate) fn is_empty(&self) -> bool {
        self.lanes[self.active].is_empty()
    }

    /// Writes a record and syncs it. After an error it is not committed, and the next record takes its place, with a number
    /// of its own.
    pub(crate) fn append(&mut self, seq: u64, payload: &[u8]) -> io::Result<()> {
        self.chain = self.lanes[self.active].append(seq, self.chain, payload)?;
        self.committed = seq;
        Ok(())
    }

    /// Whether the database, which has everything up to `applied`, has all of the file that is not written.
    pub(crate) fn is_other_free(&self, applied: u64) -> bool {
        self.lanes[1 - self.active].last() <= applied
    }

    /// Goes on in the other file, which must be free.
    pub(crate) fn switch(&mut self) {
        self.active = 1 - self.active;
        self.lanes[self.active].begin(self.committed);
    }

    /// The database has everything up to `applied`: what is written may begin again.
    pub(crate) fn settle(&mut self, applied: u64) {
        let lane = &mut self.lanes[self.active];
        if lane.last() <= applied {
            lane.begin(self.committed);
        }
    }
}
