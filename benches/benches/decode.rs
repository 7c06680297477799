//! From bytes to messages: time per message that a server's connection takes in, by size, with 64 frames in one read.
//!
//! ```text
//! cargo bench -p weirline-benches --bench decode
//! ```

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use weirline_codec::{FrameHeader, MaskKey, OpCode};
use weirline_connection::{Config, Connection, Event, Input};

const PAYLOADS_BYTES: [usize; 4] = [16, 125, 1024, 16 * 1024];
const FRAMES: usize = 64;

/// Unmasking with it changes nothing, so that the same bytes can be fed again and again; it costs what any key costs.
const KEY: MaskKey = MaskKey::new([0; 4]);

fn decoding(criterion: &mut Criterion) {
    let now = tokio::time::Instant::now().into_std();
    for (name, opcode) in [("decode/binary", OpCode::Binary), ("decode/text", OpCode::Text)] {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(FRAMES as u64));
        for size in PAYLOADS_BYTES {
            let mut wire = frames(opcode, size);
            let mut connection = Connection::server(Arc::new(Config::default()), now);
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                bencher.iter(|| {
                    let mut input = Input::new(&mut wire);
                    let mut messages = 0;
                    while !input.is_empty() {
                        let event = connection.handle_input(now, &mut input);
                        messages += usize::from(matches!(black_box(event), Some(Event::Message { .. })));
                    }
                    assert_eq!(messages, FRAMES);
                });
            });
        }
        group.finish();
    }
}

fn frames(opcode: OpCode, size: usize) -> Vec<u8> {
    let header = FrameHeader::data(opcode, true, size as u64).masked(KEY);
    [&header.encode()[..], &vec![b'x'; size]].concat().repeat(FRAMES)
}

criterion_group!(benches, decoding);
criterion_main!(benches);
