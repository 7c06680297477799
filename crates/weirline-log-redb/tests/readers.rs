//! Readers on threads of their own, while the writer commits, checkpoints and trims.

mod common;
#[path = "common/log.rs"]
mod log;

use std::sync::atomic::{AtomicU64, Ordering};

use common::{contents, stream};
use log::Log;
use weirline_log::{Entry, LogReader, LogWriter, Offset, ReadLimits};
use weirline_log_redb::simulation::SimDisk;
use weirline_log_redb::{RedbConfig, RedbReader, RedbWriter};

const BATCHES: u64 = 2000;
const BATCH: u64 = 10;

/// Follows the stream to its end, from behind: each read is of one state, and nothing is skipped that retention has not taken.
/// Says how many entries it got.
fn follow(reader: &RedbReader, committed: &AtomicU64, limits: ReadLimits) -> u64 {
    let (mut at, mut count) = (Offset::ZERO, 0);
    let mut entries: Vec<Entry> = Vec::new();
    while at.get() < BATCHES * BATCH {
        entries.clear();
        let visible_before = committed.load(Ordering::Acquire);
        let Some(found) = reader.read(&stream(), at, limits, &mut entries).unwrap() else {
            std::thread::yield_now();
            continue;
        };
        let start = at.max(found.bounds.trimmed);
        assert!(
            found.bounds.head.get() >= visible_before,
            "what was committed is not visible"
        );
        assert_eq!(
            found.entries > 0,
            start < found.bounds.head,
            "{found:?} from {start}"
        );
        let mut previous = start;
        for entry in &entries {
            let text = std::str::from_utf8(&entry.payload).unwrap();
            assert_eq!(
                (entry.previous, text.trim_end()),
                (previous, entry.offset.to_string().as_str())
            );
            assert!(entry.offset <= found.bounds.head);
            previous = entry.offset;
        }
        count += entries.len() as u64;
        at = previous;
        if entries.is_empty() {
            std::thread::yield_now();
        }
    }
    count
}

/// A server moves the writer to a thread, and readers to others.
const fn both_may_move<W: LogWriter + Send + 'static, R: LogReader + Send + Sync + Unpin + 'static>() {}
const _: () = both_may_move::<RedbWriter, RedbReader>();

#[test]
fn readers_see_one_state_at_a_time_while_the_writer_works() {
    for (messages_max, tail) in [(u64::MAX, 0), (700, 20_000), (300, 0)] {
        let disk = SimDisk::new(messages_max ^ 9);
        let config = RedbConfig {
            checkpoint_bytes: 48 << 10,
            stream_messages_max: messages_max,
            tail_bytes_max: tail,
            cache_bytes: 1 << 20,
            ..RedbConfig::default()
        };
        let mut log = Log::open(&disk, config);
        let committed = AtomicU64::new(0);
        let counts: Vec<u64> = std::thread::scope(|scope| {
            let limits = [(1, 1), (7, 300), (100, 100_000)];
            let readers = limits.map(|(messages, bytes)| {
                let (reader, committed) = (log.reader.clone(), &committed);
                scope.spawn(move || follow(&reader, committed, ReadLimits { messages, bytes }))
            });
            for batch in 0..BATCHES {
                log.publish(batch * BATCH + 1, BATCH).unwrap();
                committed.store((batch + 1) * BATCH, Ordering::Release);
                if batch % 100 == 0 {
                    log.writer.maintain(log.now).unwrap();
                }
            }
            readers.into_iter().map(|reader| reader.join().unwrap()).collect()
        });
        if messages_max == u64::MAX {
            assert_eq!(counts, [BATCHES * BATCH; 3]);
        }
        log.checkpoint();
        let kept = contents(&log.reader).len() as u64;
        assert_eq!(kept, messages_max.min(BATCHES * BATCH));
    }
}
