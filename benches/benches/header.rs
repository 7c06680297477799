//! Frame headers (RFC 6455 §5.2): time per header, by the form of its length.
//!
//! ```text
//! cargo bench -p weirline-benches --bench header
//! ```

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use weirline_codec::{FrameHeader, MaskKey, OpCode};

/// One for each form of the length.
const PAYLOADS_BYTES: [u64; 3] = [125, 0xFFFF, 1 << 20];
const KEY: MaskKey = MaskKey::new([0x37, 0xfa, 0x21, 0x3d]);

fn headers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("header");
    for payload in PAYLOADS_BYTES {
        // As they are on their way: from a client masked, from a server not.
        let masked = FrameHeader::data(OpCode::Binary, true, payload).masked(KEY);
        let unmasked = FrameHeader::data(OpCode::Binary, true, payload);
        let wire = masked.encode();
        group.bench_function(BenchmarkId::new("decode", payload), |bencher| {
            bencher.iter(|| FrameHeader::decode(black_box(&wire)));
        });
        group.bench_function(BenchmarkId::new("encode", payload), |bencher| {
            bencher.iter(|| black_box(&unmasked).encode());
        });
    }
    group.finish();
}

criterion_group!(benches, headers);
criterion_main!(benches);
