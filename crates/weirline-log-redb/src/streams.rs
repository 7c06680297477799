//! The streams in memory: their bounds, and what the batch in the making has appended.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use weirline_log::{
    AppendRefusal, Bounds, Epoch, EpochChain, EpochIds, Offset, PayloadKind, StreamId, StreamTable,
};

use crate::RedbConfig;
use crate::block::BlockMeta;
use crate::run::Run;

/// One stream.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    pub(crate) name: StreamId,
    pub(crate) chain: EpochChain,
    pub(crate) trimmed: Offset,
    pub(crate) head: Offset,
    pub(crate) stored: Stored,
}

/// What the database has of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    /// All blocks together.
    pub(crate) bytes: u64,
    /// The oldest block, if there is any.
    pub(crate) oldest: Option<BlockMeta>,
}

impl Stream {
    pub(crate) fn new(name: StreamId, epoch: Epoch) -> Self {
        Self {
            name,
            chain: EpochChain::new(epoch),
            trimmed: Offset::ZERO,
            head: Offset::ZERO,
            stored: Stored::default(),
        }
    }

    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            epoch: self.chain.current(),
            trimmed: self.trimmed,
            head: self.head,
        }
    }
}

/// All streams. Their numbers are their places, and never change.
#[derive(Debug)]
pub(crate) struct Streams {
    messages_max: u64,
    streams_max: usize,
    entry_bytes_max: usize,
    epochs: EpochIds,
    numbers: HashMap<StreamId, u32>,
    all: Vec<Stream>,
    batch: Batch,
}

/// What the batch in the making has done.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) seq: u64,
    /// How many streams there were before.
    streams: usize,
    /// The epochs that were to be drawn then.
    epochs: Option<EpochIds>,
    /// What those were that it has appended to.
    before: BTreeMap<u32, (Offset, Offset)>,
    pub(crate) runs: BTreeMap<u32, Run>,
}

impl Streams {
    pub(crate) fn new(config: &RedbConfig, epochs: EpochIds) -> Self {
        Self {
            messages_max: config.stream_messages_max.max(1),
            streams_max: config.streams_max.min(u32::MAX as usize),
            entry_bytes_max: config.entry_bytes_max.min(1 << 30),
            epochs,
            numbers: HashMap::new(),
            all: Vec::new(),
            batch: Batch::default(),
        }
    }

    /// Takes in a stream as it was stored; its number is the next one.
    pub(crate) fn restore(&mut self, mut stream: Stream) {
        trim_by_count(&mut stream, self.messages_max);
        self.numbers.insert(stream.name.clone(), self.next_number());
        self.all.push(stream);
        self.batch.streams = self.all.len();
    }

    /// Takes in a run that was committed before; whether it follows what is there.
    pub(crate) fn restore_run(&mut self, number: u32, run: &Run) -> bool {
        let messages_max = self.messages_max;
        let Some(stream) = self.all.get_mut(number as usize) else {
            return false;
        };
        if run.entries.is_empty() || stream.head.next() != Some(run.first) {
            return false;
        }
        stream.head = run.last();
        trim_by_count(stream, messages_max);
        true
    }

    pub(crate) fn number(&self, stream: &StreamId) -> Option<u32> {
        self.numbers.get(stream).copied()
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Stream> {
        self.all.get(number as usize)
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut Stream> {
        self.all.get_mut(number as usize)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Stream)> {
        (0..).zip(&self.all)
    }

    /// All streams as they are, by their numbers.
    pub(crate) fn to_vec(&self) -> Vec<Stream> {
        self.all.clone()
    }

    pub(crate) fn next_number(&self) -> u32 {
        u32::try_from(self.all.len()).unwrap_or(u32::MAX)
    }

    /// The epochs that follow, for another table.
    pub(crate) fn epochs(&self) -> EpochIds {
        self.epochs.clone()
    }

    /// An epoch that the stream has not had.
    pub(crate) fn draw_epoch(&mut self, chain: &EpochChain) -> Epoch {
        loop {
            let epoch = self.epochs.draw();
            if !chain.contains(epoch) {
                return epoch;
            }
        }
    }

    /// Begins a batch.
    pub(crate) fn begin(&mut self, seq: u64) {
        self.batch = Batch {
            seq,
            streams: self.all.len(),
            epochs: Some(self.epochs.clone()),
            ..Batch::default()
        };
    }

    /// What the batch has done so far; the runs get the time of their commit.
    pub(crate) fn batch(&mut self, time_ms: u64) -> &Batch {
        for run in self.batch.runs.values_mut() {
            run.time_ms = time_ms;
        }
        &self.batch
    }

    /// The streams that the batch has made.
    pub(crate) fn made(&self) -> impl Iterator<Item = (u32, &Stream)> {
        self.iter().skip(self.batch.streams)
    }

    /// The batch is committed; its runs are handed on.
    pub(crate) fn accept(&mut self) -> BTreeMap<u32, Run> {
        self.batch.streams = self.all.len();
        self.batch.epochs = None;
        self.batch.before.clear();
        std::mem::take(&mut self.batch.runs)
    }

    /// The batch is not committed: everything is as it was when it began.
    pub(crate) fn undo(&mut self) {
        for stream in self.all.drain(self.batch.streams..) {
            self.numbers.remove(&stream.name);
        }
        for (number, (trimmed, head)) in std::mem::take(&mut self.batch.before) {
            if let Some(stream) = self.all.get_mut(number as usize) {
                (stream.trimmed, stream.head) = (trimmed, head);
            }
        }
        self.batch.runs.clear();
        // Nobody has seen those of the batch.
        if let Some(epochs) = self.batch.epochs.take() {
            self.epochs = epochs;
        }
    }

    fn find_or_make(&mut self, stream: &StreamId) -> Option<u32> {
        if let Some(number) = self.number(stream) {
            return Some(number);
        }
        if self.all.len() >= self.streams_max {
            return None;
        }
        let number = self.next_number();
        let epoch = self.epochs.draw();
        self.numbers.insert(stream.clone(), number);
        self.all.push(Stream::new(stream.clone(), epoch));
        Some(number)
    }
}

fn trim_by_count(stream: &mut Stream, messages_max: u64) {
    let trimmed = stream.head.get().saturating_sub(messages_max);
    stream.trimmed = stream.trimmed.max(Offset::new(trimmed).unwrap_or(stream.trimmed));
}

impl StreamTable for Streams {
    fn bounds(&self, stream: &StreamId) -> Option<Bounds> {
        self.get(self.number(stream)?).map(Stream::bounds)
    }

    fn open(&mut self, stream: &StreamId) -> Option<Bounds> {
        let number = self.find_or_make(stream)?;
        self.get(number).map(Stream::bounds)
    }

    fn entry_bytes_max(&self) -> usize {
        self.entry_bytes_max
    }

    fn append(
        &mut self,
        stream: &StreamId,
        kind: PayloadKind,
        payload: &Bytes,
    ) -> Result<Offset, AppendRefusal> {
        let number = self.find_or_make(stream).ok_or(AppendRefusal::StreamsFull)?;
        let stream = &mut self.all[number as usize];
        let head = stream.head.next().ok_or(AppendRefusal::Exhausted)?;
        let Batch {
            seq, before, runs, ..
        } = &mut self.batch;
        before.entry(number).or_insert((stream.trimmed, stream.head));
        runs.entry(number)
            .or_insert_with(|| Run::new(head, *seq, 0))
            .push(kind, payload.clone());
        stream.head = head;
        trim_by_count(stream, self.messages_max);
        Ok(head)
    }
}
