//! Full disks and I/O errors: what is refused, what goes on, and how it goes on by itself.

mod common;
#[path = "common/log.rs"]
mod log;

use common::{append, contents, stream};
use log::Log;
use weirline_log::{Bounds, LogError, LogReader as _, LogWriter as _, Offset};
use weirline_log_redb::RedbConfig;
use weirline_log_redb::simulation::{Faults, SimDisk};
use weirline_log_redb::storage::Part;

fn config() -> RedbConfig {
    RedbConfig {
        checkpoint_bytes: 64 << 10,
        tail_bytes_max: 0,
        // So that reads go to the disk.
        cache_bytes: 0,
        ..RedbConfig::default()
    }
}

/// Publishes until a commit fails, and says how many were acknowledged.
fn publish_until_refused(log: &mut Log, from: u64) -> (u64, LogError) {
    let mut acknowledged = from;
    loop {
        match log.publish(acknowledged + 1, 10) {
            Ok(()) => acknowledged += 10,
            Err(error) => return (acknowledged, error),
        }
        assert!(acknowledged < 1_000_000, "it is never full");
    }
}

#[test]
fn a_full_disk_refuses_to_publish_goes_on_reading_and_recovers_without_a_restart() {
    let disk = SimDisk::new(3);
    let mut log = Log::open(&disk, config());
    disk.set_faults(Faults {
        capacity_bytes: Some(600 << 10),
        ..Faults::default()
    });
    let (acknowledged, error) = publish_until_refused(&mut log, 0);
    assert!(matches!(error, LogError::StorageFull(_)), "{error}");
    assert!(error.to_string().contains("free some space"), "{error}");
    assert!(acknowledged > 500, "{acknowledged}");

    // Refused is refused, in the same words, as long as there is no room; what is read is what was acknowledged.
    for _ in 0..40 {
        let error = log.publish(acknowledged + 1, 10).unwrap_err();
        assert!(matches!(error, LogError::StorageFull(_)), "{error}");
    }
    assert!(matches!(
        log.writer.maintain(log.now).unwrap_err(),
        LogError::StorageFull(_)
    ));
    assert_eq!(contents(&log.reader), (1..=acknowledged).collect::<Vec<_>>());

    // The process may end here, too.
    disk.restart();
    drop(log);
    let mut log = Log::open(&disk, config());
    assert_eq!(contents(&log.reader), (1..=acknowledged).collect::<Vec<_>>());
    let (acknowledged, _) = publish_until_refused(&mut log, acknowledged);

    disk.set_faults(Faults::default());
    let mut tries = 0;
    while log.publish(acknowledged + 1, 10).is_err() {
        tries += 1;
        assert!(tries <= 16, "it does not go on by itself");
    }
    assert_eq!(contents(&log.reader), (1..=acknowledged + 10).collect::<Vec<_>>());
    // Whoever calls maintain goes on at once.
    disk.set_faults(Faults {
        capacity_bytes: Some(1200 << 10),
        ..Faults::default()
    });
    let (acknowledged, _) = publish_until_refused(&mut log, acknowledged + 10);
    disk.set_faults(Faults::default());
    log.writer.maintain(log.now).unwrap();
    log.publish(acknowledged + 1, 10).unwrap();
    assert_eq!(contents(&log.reader), (1..=acknowledged + 10).collect::<Vec<_>>());
}

#[test]
fn an_error_of_the_journal_refuses_that_batch_and_no_other() {
    let disk = SimDisk::new(4);
    let mut log = Log::open(&disk, config());
    log.publish(1, 10).unwrap();
    for faults in [
        Faults {
            write_fails_one_in: 1,
            ..Faults::default()
        },
        Faults {
            sync_fails_one_in: 1,
            ..Faults::default()
        },
    ] {
        disk.set_faults(faults);
        let error = log.publish(11, 1).unwrap_err();
        assert!(matches!(error, LogError::Storage(_)), "{error}");
        assert_eq!(contents(&log.reader), (1..=10).collect::<Vec<_>>());
    }
    disk.set_faults(Faults::default());
    log.publish(11, 1).unwrap();
    disk.restart();
    assert_eq!(
        contents(&Log::open(&disk, config()).reader),
        (1..=11).collect::<Vec<_>>()
    );
}

/// A disk that takes no writes can be read, also after the database has failed and could not be opened to be written.
#[test]
fn reading_goes_on_while_the_disk_takes_no_writes() {
    let disk = SimDisk::new(5);
    let mut log = Log::open(&disk, config());
    log.publish(1, 1000).unwrap();
    log.checkpoint();
    log.publish(1001, 10).unwrap();
    disk.set_faults(Faults {
        write_fails_one_in: 1,
        ..Faults::default()
    });
    let error = log.try_checkpoint().unwrap_err();
    assert!(matches!(error, LogError::Storage(_)), "{error}");
    for _ in 0..3 {
        assert_eq!(contents(&log.reader), (1..=1010).collect::<Vec<_>>());
        log.publish(1011, 1).unwrap_err();
        log.writer.maintain(log.now).unwrap_err();
    }
    disk.set_faults(Faults::default());
    log.writer.maintain(log.now).unwrap();
    log.publish(1011, 1).unwrap();
    assert_eq!(contents(&log.reader), (1..=1011).collect::<Vec<_>>());
}

/// A read that fails makes the database fail for everybody; the next call of the writer mends it.
#[test]
fn an_error_of_a_read_is_mended_by_the_next_call_of_the_writer() {
    let disk = SimDisk::new(6);
    let mut log = Log::open(&disk, config());
    log.publish(1, 1000).unwrap();
    log.checkpoint();
    disk.set_faults(Faults {
        read_fails_one_in: 1,
        ..Faults::default()
    });
    let mut entries = Vec::new();
    let limits = weirline_log::ReadLimits {
        messages: 10,
        bytes: 10_000,
    };
    let failed = log.reader.read(&stream(), Offset::ZERO, limits, &mut entries);
    assert!(
        matches!(failed, Err(LogError::Storage(_))) && entries.is_empty(),
        "{failed:?}"
    );
    disk.set_faults(Faults::default());
    assert!(
        log.reader
            .read(&stream(), Offset::ZERO, limits, &mut entries)
            .is_err(),
        "not yet"
    );
    log.publish(1001, 1).unwrap();
    assert_eq!(contents(&log.reader), (1..=1001).collect::<Vec<_>>());
}

/// What the disk had confirmed and has not: new epochs, before anybody reads.
#[test]
fn lost_state_begins_new_epochs() {
    let disk = SimDisk::new(7);
    let mut log = Log::open(&disk, config());
    log.publish(1, 100).unwrap();
    log.checkpoint();
    let before = log.reader.bounds(&stream()).unwrap().unwrap();
    // From here on the disk lies about the database. The journal still has what one checkpoint has lost, not what two have.
    disk.set_faults(Faults {
        syncs_are_lies: true,
        ..Faults::default()
    });
    for first in [101, 201] {
        log.publish(first, 100).unwrap();
        log.checkpoint();
    }
    disk.set_faults(Faults::default());
    log.publish(301, 1).unwrap();
    disk.kill();
    drop(log);
    disk.lose_unsynced(Part::Database);
    let mut log = Log::open(&disk, config());
    let after: Bounds = log.reader.bounds(&stream()).unwrap().unwrap();
    assert_ne!(before.epoch, after.epoch);
    assert_eq!(after.head.get(), 100, "what is left");
    let common = |epoch, offset: u64| {
        let offset = Offset::new(offset).unwrap();
        log.reader.common(&stream(), epoch, offset).unwrap().get()
    };
    assert_eq!((common(before.epoch, 301), common(before.epoch, 60)), (100, 60));
    log.publish(101, 1).unwrap();
    disk.restart();
    let log = Log::open(&disk, config());
    assert_eq!(contents(&log.reader), (1..=101).collect::<Vec<_>>());
    assert_eq!(log.reader.bounds(&stream()).unwrap().unwrap().epoch, after.epoch);
}

/// A batch larger than the journal is one commit like any other.
#[test]
fn a_batch_larger_than_the_journal_is_committed_as_a_whole() {
    let disk = SimDisk::new(8);
    let mut log = Log::open(&disk, config());
    log.publish(1, 3).unwrap();
    let batch: Vec<_> = (4..40).map(|n| append(n, 10_000)).collect();
    let mut outcomes = Vec::new();
    log.writer.commit(&batch, &mut outcomes).unwrap();
    assert_eq!(outcomes.len(), 36);
    disk.restart();
    assert_eq!(
        contents(&Log::open(&disk, config()).reader),
        (1..40).collect::<Vec<_>>()
    );
}

/// A new epoch is all or nothing, wherever in its making the power goes.
#[test]
fn a_new_epoch_is_all_or_nothing() {
    let offset = |number| Offset::new(number).unwrap();
    let (mut olds, mut news) = (0, 0);
    // The interesting operations are the last; there the power goes more often.
    let cases = [(0, 0..55), (1, 40..48), (2, 40..48), (3, 40..48), (4, 40..48)];
    for (seed, operations) in cases
        .into_iter()
        .flat_map(|(seed, all)| all.map(move |n| (seed, n)))
    {
        for keep in [0, 13, 25] {
            let disk = SimDisk::new(operations + 1000 * seed + keep);
            let mut log = Log::open(&disk, config());
            for first in [1, 8, 15] {
                log.publish(first, if first == 15 { 6 } else { 7 }).unwrap();
                log.checkpoint();
            }
            let old = log.reader.bounds(&stream()).unwrap().unwrap();
            disk.set_faults(Faults {
                power_fails_after: Some(operations),
                ..Faults::default()
            });
            let begun = log.writer.begin_epoch(&stream(), offset(keep));
            disk.restart();
            drop(log);
            let mut log = Log::open(&disk, config());
            let found = log.reader.bounds(&stream()).unwrap().unwrap();
            let kept = if found.epoch == old.epoch {
                20
            } else {
                keep.min(20)
            };
            assert_eq!(contents(&log.reader), (1..=kept).collect::<Vec<_>>());
            match begun {
                Ok(bounds) => assert_eq!(bounds, Some(found)),
                Err(_) if found.epoch == old.epoch => olds += 1,
                Err(_) => news += 1,
            }
            log.publish(kept + 1, 3).unwrap();
            log.checkpoint();
            assert_eq!(contents(&log.reader), (1..=kept + 3).collect::<Vec<_>>());
            let common = log.reader.common(&stream(), old.epoch, offset(20)).unwrap();
            assert_eq!(common, offset(kept));
        }
    }
    assert!(olds > 0 && news > 0, "{olds} {news}");
}

/// Readers that outlive the writer are told so, where they would have to read the file.
#[test]
fn a_reader_without_a_writer_is_told_that_the_log_is_closed() {
    let disk = SimDisk::new(9);
    let mut log = Log::open(&disk, config());
    log.publish(1, 100).unwrap();
    log.checkpoint();
    let Log { writer, reader, .. } = log;
    writer.close().unwrap();
    let limits = weirline_log::ReadLimits {
        messages: 1,
        bytes: 1,
    };
    let read = reader.read(&stream(), Offset::ZERO, limits, &mut Vec::new());
    assert!(matches!(read, Err(LogError::Closed)), "{read:?}");
    assert_eq!(reader.bounds(&stream()).unwrap().unwrap().head.get(), 100);
}

/// What was refused before a checkpoint does not come back behind what was acknowledged after it.
#[test]
fn a_refused_record_is_of_the_past_after_a_checkpoint() {
    let disk = SimDisk::new(10);
    let mut log = Log::open(&disk, config());
    log.publish(1, 100).unwrap();
    disk.set_faults(Faults {
        sync_fails_one_in: 1,
        ..Faults::default()
    });
    log.publish(901, 1).unwrap_err();
    disk.set_faults(Faults::default());
    for number in 101..=104 {
        log.checkpoint();
        log.publish(number, 1).unwrap();
        disk.kill();
        log = Log::open(&disk, config());
        assert_eq!(contents(&log.reader), (1..=number).collect::<Vec<_>>());
    }
}
