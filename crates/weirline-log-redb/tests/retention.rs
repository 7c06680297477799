//! Retention by messages, bytes and age, per stream and for the whole log.

mod common;
#[path = "common/log.rs"]
mod log;

use std::time::Duration;

use common::{append, contents, stream};
use log::Log;
use weirline_log::{
    Bounds, Command, LogReader as _, LogWriter as _, Offset, PayloadKind, ReadLimits, StreamId, Upkeep,
};
use weirline_log_redb::RedbConfig;
use weirline_log_redb::simulation::SimDisk;
use weirline_log_redb::storage::Part;

/// Small checkpoints, so that retention has something to do.
fn config() -> RedbConfig {
    RedbConfig {
        checkpoint_bytes: 32 << 10,
        tail_bytes_max: 0,
        ..RedbConfig::default()
    }
}

fn bounds(log: &Log) -> Bounds {
    log.reader.bounds(&stream()).unwrap().unwrap()
}

/// What can be read is exactly what the bounds say.
fn check(log: &Log) -> Vec<u64> {
    let Bounds { trimmed, head, .. } = bounds(log);
    let numbers = contents(&log.reader);
    assert_eq!(numbers, (trimmed.get() + 1..=head.get()).collect::<Vec<_>>());
    numbers
}

#[test]
fn by_messages_it_is_exact_at_once_and_gives_the_space_back() {
    let disk = SimDisk::new(1);
    let config = RedbConfig {
        stream_messages_max: 100,
        ..config()
    };
    let mut log = Log::open(&disk, config.clone());
    for round in 0..300 {
        log.publish(round * 7 + 1, 7).unwrap();
        let kept = check(&log);
        assert_eq!(kept.len() as u64, ((round + 1) * 7).min(100));
    }
    log.checkpoint();
    let size = disk.len(Part::Database);
    for round in 300..3000 {
        log.publish(round * 7 + 1, 7).unwrap();
    }
    assert_eq!(disk.len(Part::Database), size, "the space is not used again");
    disk.restart();
    let log = Log::open(&disk, config);
    assert_eq!((check(&log).len(), bounds(&log).head.get()), (100, 21_000));
}

#[test]
fn by_bytes_it_keeps_the_newest_blocks() {
    let disk = SimDisk::new(2);
    let config = RedbConfig {
        stream_bytes_max: 200 << 10,
        ..config()
    };
    let mut log = Log::open(&disk, config.clone());
    for round in 0..1000 {
        log.publish(round * 10 + 1, 10).unwrap();
    }
    log.checkpoint();
    // Some 110 bytes for each message, and blocks of about 32 KiB, as the checkpoints are.
    let kept = check(&log).len();
    assert!((1400..1900).contains(&kept), "{kept}");
    disk.restart();
    let mut log = Log::open(&disk, config);
    assert_eq!(check(&log).len(), kept);
    // A message that is larger than all that may be kept is kept.
    let mut outcomes = Vec::new();
    log.writer
        .commit(&[append(10_001, 300 << 10)], &mut outcomes)
        .unwrap();
    log.checkpoint();
    assert_eq!(check(&log), [10_001]);
}

#[test]
fn by_age_in_the_logs_own_time_even_the_newest_goes() {
    let disk = SimDisk::new(3);
    let minute = Duration::from_secs(60);
    let config = RedbConfig {
        stream_age_max: Some(10 * minute),
        ..config()
    };
    let mut log = Log::open(&disk, config.clone());
    for n in 1..=20 {
        log.publish(n, 1).unwrap();
        log.now += minute;
        log.writer.maintain(log.now).unwrap();
    }
    // A block per minute, and one minute of slack.
    let kept = check(&log);
    assert!(
        kept.len() >= 10 && kept.len() <= 12 && kept.ends_with(&[20]),
        "{kept:?}"
    );

    // A week in which the log is closed does not count.
    log.writer.close().unwrap();
    let mut log = Log::open(&disk, config);
    log.now += minute * 60 * 24 * 7;
    log.writer.maintain(log.now - minute * 60 * 24 * 7).unwrap();
    assert_eq!(check(&log), kept);
    let start = log.now - minute * 60 * 24 * 7;
    for (minutes, expect) in [(5, 5..8), (20, 0..1)] {
        while log.writer.maintain(start + minute * minutes).unwrap() == Upkeep::More {}
        let kept = check(&log).len();
        assert!(expect.contains(&kept), "after {minutes} minutes there are {kept}");
    }
    assert_eq!((bounds(&log).trimmed.get(), bounds(&log).head.get()), (20, 20));
    log.publish(21, 1).unwrap();
    assert_eq!(check(&log), [21]);
}

#[test]
fn over_the_limit_of_the_whole_log_the_oldest_go_first_whatever_their_stream() {
    let disk = SimDisk::new(4);
    let config = RedbConfig {
        bytes_max: 300 << 10,
        ..config()
    };
    let mut log = Log::open(&disk, config);
    let quiet = StreamId::new("quiet").unwrap();
    let publish_quietly = |log: &mut Log| {
        let payload = vec![b'q'; 1000].into();
        let command = Command::Append {
            stream: quiet.clone(),
            author: None,
            kind: PayloadKind::Binary,
            payload,
        };
        log.writer.commit(&[command], &mut Vec::new()).unwrap();
        log.checkpoint();
    };
    publish_quietly(&mut log);
    publish_quietly(&mut log);
    for round in 0..400 {
        log.publish(round * 10 + 1, 10).unwrap();
    }
    log.checkpoint();
    let quiet_bounds = log.reader.bounds(&quiet).unwrap().unwrap();
    assert_eq!(
        (quiet_bounds.trimmed.get(), quiet_bounds.head.get()),
        (1, 2),
        "the newest of each stream stays"
    );
    let kept = check(&log).len();
    assert!((2000..2900).contains(&kept), "{kept}");
}

/// Much that is to be removed at once is removed in steps.
#[test]
fn a_lower_limit_takes_effect_in_bounded_steps() {
    let disk = SimDisk::new(5);
    let mut log = Log::open(
        &disk,
        RedbConfig {
            checkpoint_bytes: 1024,
            ..config()
        },
    );
    for n in 1..=1500 {
        log.publish(n, 3).unwrap();
    }
    log.writer.close().unwrap();
    let mut log = Log::open(
        &disk,
        RedbConfig {
            stream_bytes_max: 1,
            checkpoint_bytes: 1024,
            ..config()
        },
    );
    let mut steps = 0;
    while log.try_checkpoint().unwrap() == Upkeep::More || steps == 0 {
        steps += 1;
        assert!(steps < 20, "it never ends");
    }
    assert!(steps >= 2, "all in one step");
    assert!(contents(&log.reader).len() < 20);
}

/// A reader that is behind is told where the entries begin, and gets all from there.
#[test]
fn a_reader_that_was_overtaken_sees_where_it_goes_on() {
    let disk = SimDisk::new(6);
    let mut log = Log::open(
        &disk,
        RedbConfig {
            stream_messages_max: 50,
            ..config()
        },
    );
    log.publish(1, 500).unwrap();
    for checkpoint in [false, true] {
        if checkpoint {
            log.checkpoint();
        }
        let mut entries = Vec::new();
        let limits = ReadLimits {
            messages: 5,
            bytes: 1 << 20,
        };
        let after = Offset::new(3).unwrap();
        let found = log
            .reader
            .read(&stream(), after, limits, &mut entries)
            .unwrap()
            .unwrap();
        assert_eq!((found.bounds.trimmed.get(), found.entries), (450, 5));
        assert_eq!((entries[0].previous.get(), entries[0].offset.get()), (450, 451));
    }
}
