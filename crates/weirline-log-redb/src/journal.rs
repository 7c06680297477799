//! The journal: each commit is one record, written behind the one before, and synced.
//!
//! It decides what is committed. The database follows at each checkpoint, after which the journal begins again at its
//! start. A record begins with a sector of its own, so that no sector which has been synced is written again before the
//! next checkpoint; and its place is kept from the start, so that a full disk does not stop it in the middle.
//!
//! ```text
//! sector 0:  "weirline" │ format u32 │ 0 u32 │ log id u64 │ checksum u64
//! record:    "wrec" │ length u32 │ seq u64 │ checksum of the record before u64 │ checksum u64 │ payload │ 0 … to the sector's end
//! ```

use std::io;
use std::sync::Arc;

use crate::codec::{Put, Take, checksum, small};
use crate::storage::Medium;

const MAGIC: &[u8; 8] = b"weirline";
const RECORD_MAGIC: &[u8; 4] = b"wrec";
const FORMAT: u32 = 1;
const SECTOR: u64 = 512;
const SECTOR_BYTES: usize = 512;
const RECORD_HEADER_BYTES: usize = 32;

/// One commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The number of the commit, rising by one.
    pub(crate) seq: u64,
    pub(crate) payload: Vec<u8>,
}

/// What a journal holds that is opened.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Its records, in order, possibly none.
    Records(Vec<Record>),
    /// It is empty, or was not finished when it was made.
    Nothing,
    /// It is of a later format.
    Newer(u32),
    /// It belongs to another log.
    Foreign,
    /// A record is damaged that a later one proves to have been whole.
    Damaged,
}

/// The journal, ready for the next record.
#[derive(Debug)]
pub(crate) struct Journal {
    medium: Arc<dyn Medium>,
    log_id: u64,
    /// The size it was made for; larger batches make it longer for a while.
    standard: u64,
    len: u64,
    at: u64,
    /// The checksum of the record before.
    chain: u64,
    buffer: Vec<u8>,
}

impl Journal {
    /// Looks into a journal, without a change. Commits up to `applied` are in the database.
    pub(crate) fn open(
        medium: Arc<dyn Medium>,
        log_id: u64,
        applied: u64,
        standard: u64,
    ) -> io::Result<(Self, Found)> {
        let len = medium.len()?;
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?];
        medium.read(0, &mut bytes)?;
        let mut journal = Self {
            medium,
            log_id,
            standard: standard.next_multiple_of(SECTOR),
            len,
            at: SECTOR,
            chain: log_id,
            buffer: Vec::new(),
        };
        let found = match judge_header(&bytes, log_id) {
            Some(found) => found,
            None => journal.scan(&bytes, applied),
        };
        Ok((journal, found))
    }

    /// Makes an empty journal of what is there.
    pub(crate) fn create(&mut self) -> io::Result<()> {
        self.medium.set_len(0)?;
        self.len = 0;
        self.grow(self.standard)?;
        self.medium.write(0, &header(self.log_id))?;
        self.medium.sync()?;
        self.reset();
        Ok(())
    }

    /// Follows the records from the start to the end of what is whole.
    fn scan(&mut self, bytes: &[u8], applied: u64) -> Found {
        let mut records: Vec<Record> = Vec::new();
        while let Some((record, chain, sum)) = parse(bytes, self.at, self.log_id)
            && chain == self.chain
            && records.last().is_none_or(|last| record.seq == last.seq + 1)
        {
            self.at += padded(record.payload.len());
            self.chain = sum;
            records.push(record);
        }
        // Each record is synced before the next is written. So a record that is whole, and later than all that could be
        // followed, shows that the one between is not merely unfinished.
        let last = records.last().map_or(applied, |last| last.seq.max(applied));
        let mut sectors = (self.at..bytes.len() as u64).step_by(SECTOR_BYTES);
        let later = |at| parse(bytes, at, self.log_id).is_some_and(|(record, ..)| record.seq > last);
        if sectors.any(later) {
            Found::Damaged
        } else {
            Found::Records(records)
        }
    }

    /// Whether a record with such a payload has its place behind those that are there.
    pub(crate) fn has_room(&self, payload: usize) -> bool {
        self.at + padded(payload) <= self.len
    }

    /// Whether there is any record since the last [`reset`](Self::reset).
    pub(crate) fn is_empty(&self) -> bool {
        self.at == SECTOR
    }

    /// Makes place for a record with such a payload behind those that are there.
    pub(crate) fn reserve(&mut self, payload: usize) -> io::Result<()> {
        if self.has_room(payload) {
            return Ok(());
        }
        let before = self.len;
        self.grow(self.at + padded(payload)).inspect_err(|_| {
            // What was not needed before is given back; if even that fails, it is only room.
            if self.medium.set_len(before).is_ok() {
                self.len = before;
            }
        })
    }

    /// Writes zeros up to `len`, so that the filesystem has to find the place before it is needed.
    fn grow(&mut self, len: u64) -> io::Result<()> {
        let zeros = [0; 64 << 10];
        let (mut at, end) = (self.len, len.next_multiple_of(SECTOR));
        while at < end {
            let step = usize::try_from(end - at).map_or(zeros.len(), |left| left.min(zeros.len()));
            self.medium.write(at, &zeros[..step])?;
            at += step as u64;
        }
        self.medium.sync()?;
        self.len = self.len.max(end);
        Ok(())
    }

    /// Writes a record and syncs it. After an error it is not committed, and the next record takes its place.
    pub(crate) fn append(&mut self, seq: u64, payload: &[u8]) -> io::Result<()> {
        self.reserve(payload.len())?;
        self.buffer.clear();
        let sum = encode(seq, self.chain, self.log_id, payload, &mut self.buffer);
        self.medium.write(self.at, &self.buffer)?;
        self.medium.sync()?;
        self.at += self.buffer.len() as u64;
        self.chain = sum;
        self.buffer.shrink_to(BUFFER_KEPT);
        Ok(())
    }

    /// Begins again at the start: the database has everything.
    pub(crate) fn reset(&mut self) {
        self.at = SECTOR;
        self.chain = self.log_id;
        // The records behind the new end have lower numbers than all that follow, so this need not survive.
        if self.len > self.standard && self.medium.set_len(self.standard).is_ok() {
            self.len = self.standard;
        }
    }
}

const BUFFER_KEPT: usize = 1 << 20;

fn header(log_id: u64) -> Vec<u8> {
    let mut sector = Vec::with_capacity(SECTOR_BYTES);
    sector.put(MAGIC);
    sector.put_u32(FORMAT);
    sector.put_u32(0);
    sector.put_u64(log_id);
    sector.put_u64(checksum(0, &sector));
    sector.resize(SECTOR_BYTES, 0);
    sector
}

/// What the first sector says, unless the records may be read.
fn judge_header(bytes: &[u8], log_id: u64) -> Option<Found> {
    let Some(sector) = bytes.get(..SECTOR_BYTES) else {
        return Some(Found::Nothing);
    };
    let mut take = Take(sector);
    let parsed = (take.array::<8>(), take.u32(), take.u32(), take.u64(), take.u64());
    let (Ok(magic), Ok(format), Ok(_), Ok(id), Ok(sum)) = parsed else {
        return Some(Found::Nothing);
    };
    if magic != *MAGIC || sum != checksum(0, &sector[..24]) {
        return Some(Found::Nothing);
    }
    match (format, id) {
        (newer, _) if newer > FORMAT => Some(Found::Newer(newer)),
        (_, id) if id != log_id => Some(Found::Foreign),
        _ => None,
    }
}

fn padded(payload: usize) -> u64 {
    ((RECORD_HEADER_BYTES + payload) as u64).next_multiple_of(SECTOR)
}

/// Appends the record to the buffer, and says its checksum. The log's id is part of it: a payload that imitates a record
/// does not know it.
fn encode(seq: u64, chain: u64, log_id: u64, payload: &[u8], buffer: &mut Vec<u8>) -> u64 {
    buffer.put(RECORD_MAGIC);
    buffer.put_u32(small(payload.len()));
    buffer.put_u64(seq);
    buffer.put_u64(chain);
    let sum = checksum(checksum(log_id, buffer), payload);
    buffer.put_u64(sum);
    buffer.put(payload);
    buffer.resize(buffer.len().next_multiple_of(SECTOR_BYTES), 0);
    sum
}

/// The record at `at`, the checksum of the one before it, and its own; `None` if there is none that is whole.
fn parse(bytes: &[u8], at: u64, log_id: u64) -> Option<(Record, u64, u64)> {
    let bytes = bytes.get(usize::try_from(at).ok()?..)?;
    let mut take = Take(bytes);
    if take.array().ok()? != *RECORD_MAGIC {
        return None;
    }
    let len = take.u32().ok()? as usize;
    let (seq, chain) = (take.u64().ok()?, take.u64().ok()?);
    let head = &bytes[..RECORD_HEADER_BYTES - 8];
    let sum = take.u64().ok()?;
    let payload = take.bytes(len).ok()?;
    if checksum(checksum(log_id, head), payload) != sum {
        return None;
    }
    let record = Record {
        seq,
        payload: payload.to_vec(),
    };
    Some((record, chain, sum))
}
