use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use weirline_log::{Entry, Epoch, Offset, StreamId};

use crate::wire;

/// Encoded messages in the JSON form, shared by all connections of a worker: each is encoded once, however many subscribe to it.
///
/// It keeps the latest, up to a number of bytes; what has gone is encoded again.
#[derive(Clone, Debug)]
pub struct JsonTails {
    tails: BTreeMap<(StreamId, Epoch, Offset), Bytes>,
    order: VecDeque<(StreamId, Epoch, Offset)>,
    bytes: usize,
    bytes_max: usize,
}

impl JsonTails {
    /// A cache of at most so many bytes, each message charged its length and [`JsonTails::OVERHEAD_BYTES`].
    #[must_use]
    pub const fn new(bytes_max: usize) -> Self {
        Self {
            tails: BTreeMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// What a message is charged beside its length.
    pub const OVERHEAD_BYTES: usize = 128;

    /// What this entry looks like behind the number of a subscription.
    pub(super) fn tail(&mut self, stream: &StreamId, epoch: Epoch, entry: &Entry) -> Bytes {
        let key = (stream.clone(), epoch, entry.offset);
        if let Some(tail) = self.tails.get(&key) {
            return tail.clone();
        }
        // Escapes are rare; base64 adds a third.
        let mut tail = Vec::with_capacity(entry.payload.len() + entry.payload.len() / 3 + 64);
        wire::data_tail_json(
            &mut tail,
            entry.offset,
            entry.previous,
            entry.kind,
            &entry.payload,
        );
        let tail = Bytes::from(tail);
        self.bytes += tail.len() + Self::OVERHEAD_BYTES;
        self.tails.insert(key.clone(), tail.clone());
        self.order.push_back(key);
        while self.bytes > self.bytes_max
            && let Some(oldest) = self.order.pop_front()
        {
            if let Some(gone) = self.tails.remove(&oldest) {
                self.bytes -= gone.len() + Self::OVERHEAD_BYTES;
            }
        }
        tail
    }
}

impl Default for JsonTails {
    /// 1 MiB.
    fn default() -> Self {
        Self::new(1 << 20)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weirline_log::PayloadKind;

    #[test]
    fn an_entry_is_encoded_once_and_the_cache_stays_within_its_bound() {
        let stream = StreamId::new("s").unwrap();
        let epoch = Epoch::new(1);
        let entry = |offset, payload: &'static str| Entry {
            offset: Offset::new(offset).unwrap(),
            previous: Offset::new(offset - 1).unwrap(),
            kind: PayloadKind::Text,
            payload: payload.into(),
        };
        let mut tails = JsonTails::new(400);
        let first = tails.tail(&stream, epoch, &entry(1, "a"));
        assert_eq!(&first[..], br#","offset":1,"prev":0,"text":"a"}"#);
        assert_eq!(
            tails.tail(&stream, epoch, &entry(1, "a")).as_ptr(),
            first.as_ptr(),
            "shared"
        );
        for offset in 2..50 {
            tails.tail(&stream, epoch, &entry(offset, "b"));
            assert!(tails.bytes <= 400 && tails.tails.len() == tails.order.len());
        }
        let other = tails.tail(&stream, Epoch::new(2), &entry(49, "c"));
        assert_eq!(
            &other[..],
            br#","offset":49,"prev":48,"text":"c"}"#,
            "another epoch"
        );
        let long = "x".repeat(1000);
        let huge = Entry {
            payload: long.into(),
            ..entry(60, "")
        };
        assert_eq!(tails.tail(&stream, epoch, &huge).len(), 1033);
        assert_eq!((tails.bytes, tails.order.len()), (0, 0), "too large to be kept");
    }
}
