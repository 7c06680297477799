//! The journal on a simulated disk.

use std::io;

use super::lane::{RECORD_HEADER_BYTES, SECTOR, SECTOR_BYTES, encode, header};
use super::*;
use crate::codec::checksum;
use crate::simulation::{Faults, SimDisk};
use crate::storage::Part;

const A: Part = Part::Journal(Half::A);
const B: Part = Part::Journal(Half::B);
const ID: u64 = 0x1d;
const STANDARD: u64 = 8192;

fn open(disk: &SimDisk, applied: u64) -> (Journal, Found) {
    Journal::open(&disk.storage(), ID, applied, STANDARD).unwrap()
}

fn made() -> (SimDisk, Journal) {
    let disk = SimDisk::new(1);
    let (mut journal, found) = open(&disk, 0);
    assert_eq!(found, Found::Nothing);
    journal.create().unwrap();
    (disk, journal)
}

/// The numbers and payloads of the records that the database does not have.
fn records(disk: &SimDisk, applied: u64) -> Vec<(u64, Vec<u8>)> {
    match open(disk, applied).1 {
        Found::Records(records) => records
            .into_iter()
            .map(|record| (record.seq, record.payload))
            .collect(),
        other => panic!("{other:?}"),
    }
}

/// Appends a record of about this size for each number.
fn append(journal: &mut Journal, numbers: std::ops::RangeInclusive<u64>, size: usize) {
    for seq in numbers {
        journal
            .append(seq, &vec![u8::try_from(seq).unwrap(); size])
            .unwrap();
    }
}

fn numbers(disk: &SimDisk, applied: u64) -> Vec<u64> {
    records(disk, applied).into_iter().map(|(seq, _)| seq).collect()
}

fn fail_next_sync(disk: &SimDisk) {
    disk.set_faults(Faults {
        sync_fails_one_in: 1,
        ..Faults::default()
    });
}

#[test]
fn records_are_found_again_in_order_over_both_files() {
    let (disk, mut journal) = made();
    let sizes = [0usize, 1, 471, 472, 473, 2000];
    let expect: Vec<_> = (1..).zip(sizes.map(|size| vec![7; size])).collect();
    for (seq, payload) in &expect {
        assert!(journal.has_room(payload.len()));
        journal.append(*seq, payload).unwrap();
        if *seq == 3 {
            assert!(journal.is_other_free(0));
            journal.switch();
            assert!(!journal.is_other_free(0) && journal.is_other_free(3));
        }
    }
    for applied in 0..=6 {
        let beyond: Vec<_> = expect.iter().filter(|(seq, _)| *seq > applied).cloned().collect();
        assert_eq!(records(&disk, applied), beyond, "{applied}");
    }
}

/// Many cycles: each file is written again when the database has it, and what is found is always what it has not.
#[test]
fn the_files_take_turns() {
    let (disk, mut journal) = made();
    let mut applied = 0;
    for cycle in 0..9 {
        append(&mut journal, cycle * 4 + 1..=cycle * 4 + 4, 400);
        assert_eq!(
            numbers(&disk, applied),
            (applied + 1..=cycle * 4 + 4).collect::<Vec<_>>()
        );
        // Every third time it is opened again in between.
        if cycle % 3 == 2 {
            journal = open(&disk, applied).0;
        }
        if cycle % 2 == 1 {
            applied = cycle * 4 + 4;
            journal.settle(applied);
        } else {
            assert!(journal.is_other_free(applied));
            journal.switch();
        }
    }
}

#[test]
fn a_journal_says_what_it_is() {
    for (half, part) in [(Half::A, A), (Half::B, B)] {
        let (disk, mut journal) = made();
        append(&mut journal, 1..=1, 10);
        let foreign = Journal::open(&disk.storage(), ID + 1, 0, STANDARD).unwrap().1;
        assert_eq!(foreign, Found::Foreign(Half::A));
        // The format, and a checksum that knows it.
        let mut sector = header(ID);
        sector[8] = 2;
        let sum = checksum(0, &sector[..24]);
        sector[24..32].copy_from_slice(&sum.to_le_bytes());
        disk.storage().journal(half).write(0, &sector).unwrap();
        assert_eq!(open(&disk, 0).1, Found::Newer(half, 2));
        disk.damage(part, 3, 1);
        assert_eq!(open(&disk, 0).1, Found::Damaged(half), "one without the other");
        assert!(Journal::is_made(&disk.storage()).unwrap());
    }
}

#[test]
fn a_torn_record_ends_it_and_a_damaged_one_is_noticed() {
    // Three records in the first file, and one in the second, which is written only when the first is whole.
    for (part, nth, expect) in [
        (B, 0, Ok(3)),
        (A, 2, Err(Half::A)),
        (A, 1, Err(Half::A)),
        (A, 0, Err(Half::A)),
    ] {
        let (disk, mut journal) = made();
        append(&mut journal, 1..=3, 600);
        journal.switch();
        append(&mut journal, 4..=4, 600);
        disk.damage(part, SECTOR + nth * 1024 + 100, 0);
        match (open(&disk, 0).1, expect) {
            (Found::Records(found), Ok(expect)) => assert_eq!(found.len(), expect),
            (Found::Damaged(half), Err(expect)) => assert_eq!(half, expect),
            // Without any record before it, the second file looks as after a database that has lost something.
            (Found::Ahead(4), Err(_)) => assert_eq!(nth, 0),
            other => panic!("{nth}: {other:?}"),
        }
    }
}

/// It went on after a checkpoint that the database does not have.
#[test]
fn a_journal_that_is_ahead_is_noticed() {
    let (disk, mut journal) = made();
    append(&mut journal, 1..=2, 10);
    journal.switch();
    append(&mut journal, 3..=3, 10);
    journal.settle(2);
    assert!(journal.is_other_free(2));
    journal.switch();
    append(&mut journal, 4..=4, 10);
    assert_eq!(open(&disk, 0).1, Found::Ahead(4));
    assert_eq!(numbers(&disk, 2), [3, 4]);
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
        assert_eq!(records(&disk, 0), [(1, b"one".to_vec()), (3, b"two".to_vec())]);
    }
}

/// It went on in the other file, so what failed in the first is not found between.
#[test]
fn a_failed_record_at_the_end_of_a_file_is_no_part_of_it() {
    for applied in [0, 2, 3] {
        let (disk, mut journal) = made();
        append(&mut journal, 1..=2, 10);
        fail_next_sync(&disk);
        journal.append(3, b"refused").unwrap_err();
        disk.set_faults(Faults::default());
        journal.switch();
        append(&mut journal, 4..=5, 10);
        // The process ends, and the next finds what the cache has: all of it.
        let expect = (1..=5).filter(|&n| n > applied && n != 3).collect::<Vec<_>>();
        assert_eq!(numbers(&disk, applied), expect);
        let (mut journal, _) = open(&disk, applied);
        append(&mut journal, 6..=6, 10);
        assert_eq!(numbers(&disk, applied).last(), Some(&6));
    }
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
        let found = records(&disk, 0);
        assert_eq!(found.len(), 1);
        disk.restart();
        assert_eq!(records(&disk, 0), found);
    }
}

#[test]
fn a_journal_that_was_made_half_is_made_durable_before_it_counts() {
    let mut half = 0;
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        let (mut journal, _) = open(&disk, 0);
        disk.set_faults(Faults {
            sync_fails_one_in: 3,
            ..Faults::default()
        });
        let failed = journal.create().is_err();
        disk.set_faults(Faults::default());
        disk.kill();
        if !failed || !Journal::is_made(&disk.storage()).unwrap() {
            continue;
        }
        half += 1;
        let (mut journal, _) = open(&disk, 0);
        journal.append(1, b"x").unwrap();
        disk.restart();
        assert_eq!(records(&disk, 0), [(1, b"x".to_vec())]);
    }
    assert!(half > 5, "{half}");
}

/// The first record of a cycle is torn, so that the first of the cycle before is still whole, and not the second.
#[test]
fn a_torn_beginning_of_a_cycle_begins_it_again() {
    let (disk, mut journal) = made();
    let mut old = Vec::new();
    encode((1, 0, ID), ID, b"short", &mut old);
    for seq in 1..=3 {
        journal.append(seq, b"short").unwrap();
    }
    journal.settle(3);
    journal.append(4, &[4; 600]).unwrap();
    disk.storage().journal(Half::A).write(SECTOR, &old).unwrap();

    let (mut journal, _) = open(&disk, 3);
    journal.append(4, b"again").unwrap();
    assert_eq!(records(&disk, 3), [(4, b"again".to_vec())]);
}

/// A record that imitates the next one, in a payload of the last cycle, is none.
#[test]
fn a_payload_cannot_imitate_a_record() {
    let (disk, mut journal) = made();
    let mut imitation = vec![0; SECTOR_BYTES - RECORD_HEADER_BYTES];
    encode((9, 0, ID + 1), ID + 1, b"forged", &mut imitation);
    journal.append(1, &imitation).unwrap();
    journal.settle(1);
    journal.append(2, b"x").unwrap();
    assert_eq!(records(&disk, 1), [(2, b"x".to_vec())]);
}

#[test]
fn it_grows_for_a_large_record_and_shrinks_again() {
    let (disk, mut journal) = made();
    append(&mut journal, 1..=1, 100);
    assert!(!journal.has_room(20_000));
    append(&mut journal, 2..=2, 20_000);
    assert_eq!(numbers(&disk, 0), [1, 2]);
    assert!(disk.len(A) > STANDARD);
    journal.settle(2);
    assert_eq!(disk.len(A), STANDARD);

    disk.set_faults(Faults {
        capacity_bytes: Some(2 * STANDARD),
        ..Faults::default()
    });
    let full = journal.append(3, &vec![3; 20_000]).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.len(A), STANDARD, "what it could not use is given back");
    append(&mut journal, 3..=3, 4000);
}
