//! Masking (RFC 6455 §5.3): bytes per second by size of the payload.
//!
//! 125 bytes is the largest payload of a short header, 16 MiB the default message limit; 1 MiB is beyond the inner caches
//! of most machines and so shows the memory's speed. The second group starts one byte into a word and at an odd offset,
//! as a payload does that is unmasked in pieces.
//!
//! ```text
//! cargo bench -p weirline-benches --bench mask
//! ```

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use weirline_codec::{MaskKey, apply_mask};

const SIZES_BYTES: [usize; 5] = [16, 125, 1024, 16 * 1024, 1024 * 1024];
const KEY: MaskKey = MaskKey::new([0x37, 0xfa, 0x21, 0x3d]);

fn masking(criterion: &mut Criterion) {
    for (name, start, offset) in [("mask/aligned", 0, 0), ("mask/unaligned", 1, 3)] {
        let mut group = criterion.benchmark_group(name);
        for size in SIZES_BYTES {
            let mut buffer = vec![0x55_u8; start + size];
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                bencher.iter(|| {
                    apply_mask(black_box(KEY), black_box(offset), black_box(&mut buffer[start..]));
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, masking);
criterion_main!(benches);
