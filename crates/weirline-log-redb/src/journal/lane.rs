//! One of the two files of the journal.
//!
//! ```text
//! sector 0:  "weirline" │ format u32 │ 0 u32 │ log id u64 │ checksum u64
//! record:    "wrec" │ length u32 │ seq u64 │ base u64 │ checksum of the record before u64 │ checksum u64 │ payload │ 0 …
//! ```
//!
//! `seq` rises with each attempt, so a record that failed and the one that took its place are never taken for one another.
//! `base` is the commit before the first of this file.

use std::io;
use std::sync::Arc;

use crate::codec::{Put, Take, checksum, small};
use crate::storage::Medium;

const MAGIC: &[u8; 8] = b"weirline";
const RECORD_MAGIC: &[u8; 4] = b"wrec";
const FORMAT: u32 = 1;
pub(super) const SECTOR: u64 = 512;
pub(super) const SECTOR_BYTES: usize = 512;
pub(super) const RECORD_HEADER_BYTES: usize = 40;

/// One commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The number of the commit, rising.
    pub(crate) seq: u64,
    pub(crate) payload: Vec<u8>,
    /// Its checksum.
    pub(super) sum: u64,
}

/// What a file holds that is opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Its records.
    Records(Chain),
    /// It is empty, or was not finished when it was made.
    Nothing,
    /// It is of a later format.
    Newer(u32),
    /// It belongs to another log.
    Foreign,
    /// A record is damaged that a later one proves to have been whole.
    Damaged,
}

/// Records that follow each other.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// The commit before the first.
    pub(super) base: u64,
    /// The checksum of the record before the first.
    pub(super) link: u64,
    pub(super) records: Vec<Record>,
}

impl Chain {
    pub(super) fn last(&self) -> u64 {
        self.records.last().map_or(0, |last| last.seq)
    }
}

/// A file of the journal, ready for the next record.
#[derive(Debug)]
pub(super) struct Lane {
    medium: Arc<dyn Medium>,
    log_id: u64,
    /// The size it was made for; larger batches make it longer for a while.
    standard: u64,
    len: u64,
    at: u64,
    /// The commit before its first.
    base: u64,
    /// The last commit in it.
    last: u64,
    buffer: Vec<u8>,
}

impl Lane {
    /// Opens a file. Commits up to `applied` are in the database.
    ///
    /// What is read may be no more than what the operating system believes: after a sync that failed it may not be on the
    /// disk, and never get there by itself. So what was written last is written again, the same, before it counts.
    pub(super) fn open(
        medium: Arc<dyn Medium>,
        log_id: u64,
        applied: u64,
        standard: u64,
    ) -> io::Result<(Self, Content)> {
        let len = medium.len()?;
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?];
        medium.read(0, &mut bytes)?;
        let mut lane = Self {
            medium,
            log_id,
            standard: standard.next_multiple_of(SECTOR),
            len,
            at: SECTOR,
            base: applied,
            last: 0,
            buffer: Vec::new(),
        };
        let content = match judge_header(&bytes, log_id) {
            Some(content) => content,
            None => lane.scan(&bytes, applied),
        };
        if let Content::Records(chain) = &content {
            lane.medium.write(0, &bytes[..SECTOR_BYTES])?;
            if let Some(last) = chain.records.last() {
                let start = lane.at - padded(last.payload.len());
                let [start, end] = [start, lane.at].map(|at| usize::try_from(at).unwrap_or(usize::MAX));
                let again = &bytes[start..end.min(bytes.len())];
                lane.medium.write(start as u64, again)?;
            }
            lane.medium.sync()?;
        }
        Ok((lane, content))
    }

    /// Whether the file was finished when it was made, of whatever log and format.
    pub(super) fn is_made(medium: &dyn Medium) -> io::Result<bool> {
        if medium.len()? < SECTOR {
            return Ok(false);
        }
        let mut sector = [0; SECTOR_BYTES];
        medium.read(0, &mut sector)?;
        Ok(!matches!(judge_header(&sector, 0), Some(Content::Nothing)))
    }

    /// Whether a record was ever written to the file.
    pub(super) fn is_written(medium: &dyn Medium) -> io::Result<bool> {
        let mut magic = [0; RECORD_MAGIC.len()];
        if medium.len()? < SECTOR + magic.len() as u64 {
            return Ok(false);
        }
        medium.read(SECTOR, &mut magic)?;
        Ok(magic == *RECORD_MAGIC)
    }

    /// Makes an empty file of what is there.
    pub(super) fn create(&mut self) -> io::Result<()> {
        self.medium.set_len(0)?;
        self.len = 0;
        self.grow(self.standard)?;
        self.medium.write(0, &header(self.log_id))?;
        self.medium.sync()?;
        self.begin(self.base);
        Ok(())
    }

    /// Follows the records from the start to the end of what is whole. What is all of the past is as good as nothing.
    fn scan(&mut self, bytes: &[u8], applied: u64) -> Content {
        let mut chain = Chain::default();
        let mut at = SECTOR;
        while let Some(parsed) = parse(bytes, at, self.log_id) {
            match chain.records.last() {
                None => (chain.base, chain.link) = (parsed.base, parsed.chain),
                Some(last) => {
                    let follows = parsed.chain == last.sum && parsed.record.seq > last.seq;
                    if !follows || parsed.base != chain.base {
                        break;
                    }
                }
            }
            at += padded(parsed.record.payload.len());
            chain.records.push(parsed.record);
        }
        if chain.last() > applied {
            (self.at, self.base, self.last) = (at, chain.base, chain.last());
        } else {
            // Possibly torn by what came next, which then begins at the start again.
            chain = Chain::default();
        }
        // Each record is synced before the next is written. So a record that is whole, and later than all that could be
        // followed, shows that the one between is not merely unfinished.
        let last = self.last.max(applied);
        let mut sectors = (self.at..bytes.len() as u64).step_by(SECTOR_BYTES);
        let later = |at| parse(bytes, at, self.log_id).is_some_and(|parsed| parsed.record.seq > last);
        if sectors.any(later) {
            Content::Damaged
        } else {
            Content::Records(chain)
        }
    }

    /// The last commit in it; 0 if there is none since it began.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// What is behind this commit, in this file, was refused.
    pub(super) fn cut(&mut self, last: u64) {
        self.last = self.last.min(last);
    }

    /// Whether a record with such a payload has its place behind those that are there.
    pub(super) fn has_room(&self, payload: usize) -> bool {
        self.at + padded(payload) <= self.len
    }

    /// Whether there is no record since it began.
    pub(super) fn is_empty(&self) -> bool {
        self.at == SECTOR
    }

    /// Makes place for a record with such a payload behind those that are there.
    pub(super) fn reserve(&mut self, payload: usize) -> io::Result<()> {
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

    /// Writes a record that follows the one with the checksum `chain`, syncs it, and says its checksum. After an error it is
    /// not committed, and the next record takes its place, with a number of its own.
    pub(super) fn append(&mut self, seq: u64, chain: u64, payload: &[u8]) -> io::Result<u64> {
        self.reserve(payload.len())?;
        self.buffer.clear();
        let sum = encode((seq, self.base, chain), self.log_id, payload, &mut self.buffer);
        self.medium.write(self.at, &self.buffer)?;
        self.medium.sync()?;
        self.at += self.buffer.len() as u64;
        self.last = seq;
        self.buffer.shrink_to(BUFFER_KEPT);
        Ok(sum)
    }

    /// Begins at the start, behind the commit `base`: the database has everything that is here, and no number up to the last
    /// that was tried comes again.
    pub(super) fn begin(&mut self, base: u64) {
        (self.at, self.base, self.last) = (SECTOR, base, 0);
        // The records behind the new end have lower numbers than all that follow, so this need not survive.
        if self.len > self.standard && self.medium.set_len(self.standard).is_ok() {
            self.len = self.standard;
        }
    }
}

const BUFFER_KEPT: usize = 1 << 20;

pub(super) fn header(log_id: u64) -> Vec<u8> {
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
fn judge_header(bytes: &[u8], log_id: u64) -> Option<Content> {
    let Some(sector) = bytes.get(..SECTOR_BYTES) else {
        return Some(Content::Nothing);
    };
    let mut take = Take(sector);
    let parsed = (take.array::<8>(), take.u32(), take.u32(), take.u64(), take.u64());
    let (Ok(magic), Ok(format), Ok(_), Ok(id), Ok(sum)) = parsed else {
        return Some(Content::Nothing);
    };
    if magic != *MAGIC || sum != checksum(0, &sector[..24]) {
        return Some(Content::Nothing);
    }
    match (format, id) {
        (newer, _) if newer > FORMAT => Some(Content::Newer(newer)),
        (_, id) if id != log_id => Some(Content::Foreign),
        _ => None,
    }
}

fn padded(payload: usize) -> u64 {
    ((RECORD_HEADER_BYTES + payload) as u64).next_multiple_of(SECTOR)
}

/// Appends the record to the buffer, and says its checksum. The log's id is part of it: a payload that imitates a record
/// does not know it.
pub(super) fn encode(
    (seq, base, chain): (u64, u64, u64),
    log_id: u64,
    payload: &[u8],
    buffer: &mut Vec<u8>,
) -> u64 {
    let start = buffer.len();
    buffer.put(RECORD_MAGIC);
    buffer.put_u32(small(payload.len()));
    buffer.put_u64(seq);
    buffer.put_u64(base);
    buffer.put_u64(chain);
    let sum = checksum(checksum(log_id, &buffer[start..]), payload);
    buffer.put_u64(sum);
    buffer.put(payload);
    buffer.resize(buffer.len().next_multiple_of(SECTOR_BYTES), 0);
    sum
}

/// A record that is whole, and how it is tied to others.
struct Parsed {
    record: Record,
    base: u64,
    /// The checksum of the one before.
    chain: u64,
}

/// The record at `at`, if there is one that is whole.
fn parse(bytes: &[u8], at: u64, log_id: u64) -> Option<Parsed> {
    let bytes = bytes.get(usize::try_from(at).ok()?..)?;
    let mut take = Take(bytes);
    if take.array().ok()? != *RECORD_MAGIC {
        return None;
    }
    let len = take.u32().ok()? as usize;
    let (seq, base, chain) = (take.u64().ok()?, take.u64().ok()?, take.u64().ok()?);
    let head = &bytes[..RECORD_HEADER_BYTES - 8];
    let sum = take.u64().ok()?;
    let payload = take.bytes(len).ok()?;
    if checksum(checksum(log_id, head), payload) != sum {
        return None;
    }
    let payload = payload.to_vec();
    Some(Parsed {
        record: Record { seq, payload, sum },
        base,
        chain,
    })
}
