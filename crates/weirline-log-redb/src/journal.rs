//! The journal: each commit is one record, written behind the one before, and synced.
//!
//! It decides what is committed. The database follows at each checkpoint, after which the journal begins again at its
//! start. A record begins with a sector of its own, so that no sector which has been synced is written again before the
//! next checkpoint; and its place is kept from the start, so that a full disk does not stop it in the middle.
//!
//! ```text
//! sector 0:  "weirline" │ format u32 │ 0 u32 │ log id u64 │ checksum u64
//! record:    "wrec" │ length u32 │ seq u64 │ base u64 │ checksum of the record before u64 │ checksum u64 │ payload │ 0 …
//! ```
//!
//! `seq` rises with each attempt, so a record that failed and the one that took its place are never taken for one another.
//! `base` is the commit up to which the database was when the journal began again.

use std::io;
use std::sync::Arc;

use crate::codec::{Put, Take, checksum, small};
use crate::storage::Medium;

const MAGIC: &[u8; 8] = b"weirline";
const RECORD_MAGIC: &[u8; 4] = b"wrec";
const FORMAT: u32 = 1;
const SECTOR: u64 = 512;
const SECTOR_BYTES: usize = 512;
const RECORD_HEADER_BYTES: usize = 40;

/// One commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The number of the commit, rising.
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
    /// It follows a later state of the database: that has lost something. The last commit of which there is a trace.
    Ahead(u64),
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
    /// The commit after which it began again.
    base: u64,
    /// The checksum of the record before.
    chain: u64,
    buffer: Vec<u8>,
}

impl Journal {
    /// Opens a journal. Commits up to `applied` are in the database.
    ///
    /// What is read may be no more than what the operating system believes: after a sync that failed it may not be on the
    /// disk, and never get there by itself. So what was written last is written again, the same, before it counts.
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
            base: applied,
            chain: log_id,
            buffer: Vec::new(),
        };
        let found = match judge_header(&bytes, log_id) {
            Some(found) => found,
            None => journal.scan(&bytes, applied),
        };
        if let Found::Records(records) = &found {
            journal.medium.write(0, &bytes[..SECTOR_BYTES])?;
            if let Some(last) = records.last().filter(|last| last.seq > applied) {
                let start = journal.at - padded(last.payload.len());
                let [start, end] = [start, journal.at].map(|at| usize::try_from(at).unwrap_or(usize::MAX));
                journal
                    .medium
                    .write(start as u64, &bytes[start..end.min(bytes.len())])?;
            }
            journal.medium.sync()?;
        }
        Ok((journal, found))
    }

    /// Whether the journal was finished when it was made, of whatever log and format.
    pub(crate) fn is_made(medium: &dyn Medium) -> io::Result<bool> {
        if medium.len()? < SECTOR {
            return Ok(false);
        }
        let mut sector = [0; SECTOR_BYTES];
        medium.read(0, &mut sector)?;
        Ok(!matches!(judge_header(&sector, 0), Some(Found::Nothing)))
    }

    /// Makes an empty journal of what is there.
    pub(crate) fn create(&mut self) -> io::Result<()> {
        self.medium.set_len(0)?;
        self.len = 0;
        self.grow(self.standard)?;
        self.medium.write(0, &header(self.log_id))?;
        self.medium.sync()?;
        self.reset(self.base);
        Ok(())
    }

    /// Follows the records from the start to the end of what is whole.
    fn scan(&mut self, bytes: &[u8], applied: u64) -> Found {
        let mut records: Vec<Record> = Vec::new();
        let mut base = None;
        while let Some(parsed) = parse(bytes, self.at, self.log_id)
            && parsed.chain == self.chain
            && *base.get_or_insert(parsed.base) == parsed.base
            && records.last().is_none_or(|last| parsed.record.seq > last.seq)
        {
            self.at += padded(parsed.record.payload.len());
            self.chain = parsed.sum;
            records.push(parsed.record);
        }
        let last = records.last().map_or(applied, |last| last.seq.max(applied));
        if let Some(base) = base
            && base > applied
        {
            return Found::Ahead(last);
        }
        if last == applied {
            // All of it is of the past, and possibly torn by what came next: that begins at the start.
            (self.at, self.chain) = (SECTOR, self.log_id);
        } else {
            self.base = base.unwrap_or(applied);
        }
        // Each record is synced before the next is written. So a record that is whole, and later than all that could be
        // followed, shows that the one between is not merely unfinished.
        let mut sectors = (self.at..bytes.len() as u64).step_by(SECTOR_BYTES);
        let later = |at| parse(bytes, at, self.log_id).is_some_and(|parsed| parsed.record.seq > last);
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

    /// Writes a record and syncs it. After an error it is not committed, and the next record takes its place, with a number
    /// of its own.
    pub(crate) fn append(&mut self, seq: u64, payload: &[u8]) -> io::Result<()> {
        self.reserve(payload.len())?;
        self.buffer.clear();
        let sum = encode(
            (seq, self.base, self.chain),
            self.log_id,
            payload,
            &mut self.buffer,
        );
        self.medium.write(self.at, &self.buffer)?;
        self.medium.sync()?;
        self.at += self.buffer.len() as u64;
        self.chain = sum;
        self.buffer.shrink_to(BUFFER_KEPT);
        Ok(())
    }

    /// Begins again at the start: the database has everything up to this commit, and no number up to it comes again.
    pub(crate) fn reset(&mut self, applied: u64) {
        self.at = SECTOR;
        self.base = applied;
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
fn encode((seq, base, chain): (u64, u64, u64), log_id: u64, payload: &[u8], buffer: &mut Vec<u8>) -> u64 {
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
    /// Its own.
    sum: u64,
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
        record: Record { seq, payload },
        base,
        chain,
        sum,
    })
}

#[cfg(all(test, feature = "simulation"))]
mod tests {
    use super::*;
    use crate::simulation::{Faults, SimDisk};
    use crate::storage::{Part, Storage as _};

    const ID: u64 = 0x1d;
    const STANDARD: u64 = 8192;

    fn open(disk: &SimDisk, applied: u64) -> (Journal, Found) {
        Journal::open(disk.storage().journal(), ID, applied, STANDARD).unwrap()
    }

    fn made() -> (SimDisk, Journal) {
        let disk = SimDisk::new(1);
        let (mut journal, found) = open(&disk, 0);
        assert_eq!(found, Found::Nothing);
        journal.create().unwrap();
        (disk, journal)
    }

    fn records(found: Found) -> Vec<(u64, Vec<u8>)> {
        match found {
            Found::Records(records) => records
                .into_iter()
                .map(|record| (record.seq, record.payload))
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    fn fail_next_sync(disk: &SimDisk) {
        disk.set_faults(Faults {
            sync_fails_one_in: 1,
            ..Faults::default()
        });
    }

    #[test]
    fn records_are_found_again_until_the_next_cycle_begins() {
        let (disk, mut journal) = made();
        let sizes = [0usize, 1, 471, 472, 473, 2000];
        for (seq, size) in (1..).zip(sizes) {
            assert!(journal.has_room(size));
            journal.append(seq, &vec![7; size]).unwrap();
        }
        let found = records(open(&disk, 0).1);
        assert_eq!(
            found,
            (1..).zip(sizes.map(|size| vec![7; size])).collect::<Vec<_>>()
        );

        journal.reset(6);
        assert_eq!(
            records(open(&disk, 6).1).last().unwrap().0,
            6,
            "not yet overwritten"
        );
        journal.append(7, b"next").unwrap();
        assert_eq!(records(open(&disk, 6).1), [(7, b"next".to_vec())]);
    }

    /// It began again after a checkpoint that the database does not have.
    #[test]
    fn a_journal_that_is_ahead_is_noticed() {
        let (disk, mut journal) = made();
        journal.append(1, b"x").unwrap();
        journal.reset(1);
        journal.append(2, b"y").unwrap();
        assert_eq!(open(&disk, 0).1, Found::Ahead(2));
        assert_eq!(records(open(&disk, 1).1), [(2, b"y".to_vec())]);
    }

    #[test]
    fn a_journal_says_what_it_is() {
        let (disk, mut journal) = made();
        journal.append(1, b"x").unwrap();
        let foreign = Journal::open(disk.storage().journal(), ID + 1, 0, STANDARD)
            .unwrap()
            .1;
        assert_eq!(foreign, Found::Foreign);
        // The format, and a checksum that knows it.
        let mut sector = header(ID);
        sector[8] = 2;
        let sum = checksum(0, &sector[..24]);
        sector[24..32].copy_from_slice(&sum.to_le_bytes());
        disk.storage().journal().write(0, &sector).unwrap();
        assert_eq!(open(&disk, 0).1, Found::Newer(2));
        disk.damage(Part::Journal, 3, 1);
        assert_eq!(open(&disk, 0).1, Found::Nothing);
    }

    #[test]
    fn a_torn_record_ends_it_and_a_damaged_one_is_noticed() {
        for (damaged, expect) in [(3, Some(2)), (2, None), (1, None)] {
            let (disk, mut journal) = made();
            for seq in 1..=3 {
                journal.append(seq, &[7; 600]).unwrap();
            }
            disk.damage(Part::Journal, SECTOR + (damaged - 1) * 1024 + 100, 0);
            match (open(&disk, 0).1, expect) {
                (Found::Records(found), Some(expect)) => assert_eq!(found.len(), expect),
                (Found::Damaged, None) => {}
                other => panic!("{damaged}: {other:?}"),
            }
        }
    }

    /// The next record takes the place of one that failed, whether that is on the disk or not.
    #[test]
    fn a_failed_record_is_overwritten() {
        for size in 0..32 {
            let (disk, mut journal) = made();
            journal.append(1, b"one").unwrap();
            fail_next_sync(&disk);
            journal.append(2, &vec![b'x'; 500 + size * 60]).unwrap_err();
            disk.set_faults(Faults::default());
            journal.append(3, b"two").unwrap();
            disk.restart();
            let expect = [(1, b"one".to_vec()), (3, b"two".to_vec())];
            assert_eq!(records(open(&disk, 0).1), expect);
        }
    }

    /// The first record of a cycle is torn, so that the first of the cycle before is still whole, and not the second.
    #[test]
    fn a_torn_beginning_of_a_cycle_begins_it_again() {
        let (disk, mut journal) = made();
        for seq in 1..=3 {
            journal.append(seq, b"short").unwrap();
        }
        journal.reset(3);
        journal.append(4, &[4; 600]).unwrap();
        let mut old = Vec::new();
        encode((1, 0, ID), ID, b"short", &mut old);
        disk.storage().journal().write(SECTOR, &old).unwrap();

        let (mut journal, _) = open(&disk, 3);
        journal.append(4, b"again").unwrap();
        let found = records(open(&disk, 3).1);
        assert_eq!(found.last(), Some(&(4, b"again".to_vec())));
    }

    /// A record that imitates the next one, in a payload of the last cycle, is none.
    #[test]
    fn a_payload_cannot_imitate_a_record() {
        let (disk, mut journal) = made();
        let mut imitation = vec![0; SECTOR_BYTES - RECORD_HEADER_BYTES];
        encode((9, 0, ID + 1), ID + 1, b"forged", &mut imitation);
        journal.append(1, &imitation).unwrap();
        journal.reset(1);
        journal.append(2, b"x").unwrap();
        assert_eq!(records(open(&disk, 1).1), [(2, b"x".to_vec())]);
    }

    /// The sync failed, the process ended, and the next one finds in the cache what is not on the disk.
    #[test]
    fn what_is_found_is_made_durable_before_it_counts() {
        for size in 0..32 {
            let (disk, mut journal) = made();
            fail_next_sync(&disk);
            journal.append(1, &vec![b'x'; 500 + size * 60]).unwrap_err();
            disk.set_faults(Faults::default());
            disk.kill();
            let found = records(open(&disk, 0).1);
            assert_eq!(found.len(), 1);
            disk.restart();
            assert_eq!(records(open(&disk, 0).1), found);
        }
    }

    #[test]
    fn a_journal_that_was_made_half_is_made_durable_before_it_counts() {
        let mut half = 0;
        for seed in 0..64 {
            let disk = SimDisk::new(seed);
            let (mut journal, _) = open(&disk, 0);
            disk.set_faults(Faults {
                sync_fails_one_in: 2,
                ..Faults::default()
            });
            let failed = journal.create().is_err();
            disk.set_faults(Faults::default());
            disk.kill();
            if !failed || !Journal::is_made(&*disk.storage().journal()).unwrap() {
                continue;
            }
            half += 1;
            let (mut journal, _) = open(&disk, 0);
            journal.append(1, b"x").unwrap();
            disk.restart();
            assert_eq!(records(open(&disk, 0).1), [(1, b"x".to_vec())]);
        }
        assert!(half > 5, "{half}");
    }

    #[test]
    fn it_grows_for_a_large_record_and_shrinks_again() {
        let (disk, mut journal) = made();
        journal.append(1, &[1; 100]).unwrap();
        assert!(!journal.has_room(20_000));
        journal.append(2, &vec![2; 20_000]).unwrap();
        assert_eq!(records(open(&disk, 0).1).len(), 2);
        assert!(disk.len(Part::Journal) > STANDARD);
        journal.reset(2);
        assert_eq!(disk.len(Part::Journal), STANDARD);

        disk.set_faults(Faults {
            capacity_bytes: Some(STANDARD),
            ..Faults::default()
        });
        let full = journal.append(3, &vec![3; 20_000]).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert_eq!(
            disk.len(Part::Journal),
            STANDARD,
            "what it could not use is given back"
        );
        journal.append(3, &[3; 4000]).unwrap();
    }
}
