//! A stream of numbers.

use weirline_log::{Command, Entry, LogReader as _, Offset, PayloadKind, ReadLimits, StreamId};
use weirline_log_redb::RedbReader;

pub(crate) fn stream() -> StreamId {
    StreamId::new("numbers").unwrap()
}

/// A message that says its number, and has this size.
pub(crate) fn append(number: u64, size: usize) -> Command {
    let mut payload = number.to_string().into_bytes();
    payload.resize(size.max(payload.len()), b' ');
    Command::Append {
        stream: stream(),
        author: None,
        kind: PayloadKind::Text,
        payload: payload.into(),
    }
}

/// The numbers in the stream. Offsets rise by one, whatever was trimmed.
pub(crate) fn contents(reader: &RedbReader) -> Vec<u64> {
    let mut entries: Vec<Entry> = Vec::new();
    let limits = ReadLimits {
        messages: 100,
        bytes: 100_000,
    };
    loop {
        let after = entries.last().map_or(Offset::ZERO, |entry| entry.offset);
        match reader.read(&stream(), after, limits, &mut entries).unwrap() {
            Some(found) if found.entries > 0 => {}
            _ => break,
        }
    }
    assert!(entries.windows(2).all(|pair| pair[1].previous == pair[0].offset));
    let number = |entry: &Entry| {
        std::str::from_utf8(&entry.payload)
            .unwrap()
            .trim_end()
            .parse()
            .unwrap()
    };
    entries.iter().map(number).collect()
}
