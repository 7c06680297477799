//! UTF-8 (RFC 6455 §8.1): bytes per second of the incremental validator, by text, size and piece.
//!
//! ```text
//! cargo bench -p weirline-benches --bench utf8
//! ```

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use weirline_codec::Utf8Validator;

const SIZES_BYTES: [usize; 4] = [16, 125, 1024, 16 * 1024];

/// Repeated up to the size, and cut between characters.
const TEXTS: [(&str, &str); 3] = [
    ("ascii", "the quick brown fox; "),
    ("mixed", "größer, 流れ, then ascii "),
    ("wide", "川を下る船🛶"),
];

/// Pieces in which a text may arrive: odd, so that sequences straddle them.
const PIECE_BYTES: usize = 61;

fn validating(criterion: &mut Criterion) {
    for (name, sample) in TEXTS {
        let mut group = criterion.benchmark_group(format!("utf8/{name}"));
        for size in SIZES_BYTES {
            let text = text(sample, size);
            group.throughput(Throughput::Bytes(text.len() as u64));
            group.bench_function(BenchmarkId::new("whole", size), |bencher| {
                bencher.iter(|| validate(black_box(text.as_bytes()), usize::MAX));
            });
            group.bench_function(BenchmarkId::new("pieces", size), |bencher| {
                bencher.iter(|| validate(black_box(text.as_bytes()), PIECE_BYTES));
            });
        }
        group.finish();
    }
}

fn text(sample: &str, size: usize) -> String {
    let mut text = sample.repeat(size / sample.len() + 1);
    text.truncate(text.floor_char_boundary(size));
    text
}

fn validate(text: &[u8], piece: usize) {
    let mut validator = Utf8Validator::new();
    for piece in text.chunks(piece) {
        validator.push(piece).expect("valid UTF-8");
    }
    validator.finish().expect("a whole text");
}

criterion_group!(benches, validating);
criterion_main!(benches);
