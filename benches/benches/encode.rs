//! From messages to bytes: time per message that a connection sends, by size and side, with 16 messages in one write.
//!
//! A server shares large payloads, a client must copy them to mask them.
//!
//! ```text
//! cargo bench -p weirline-benches --bench encode
//! ```

use std::hint::black_box;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use weirline_connection::{Config, Connection, MessageKind};

const PAYLOADS_BYTES: [usize; 4] = [16, 125, 1024, 16 * 1024];
const MESSAGES: usize = 16;

fn encoding(criterion: &mut Criterion) {
    let now = tokio::time::Instant::now().into_std();
    let config = Arc::new(Config::default());
    let sides = [
        ("encode/server", Connection::server(Arc::clone(&config), now)),
        (
            "encode/client",
            Connection::client(config, Box::new(|| [0x37, 0xfa, 0x21, 0x3d]), now),
        ),
    ];
    for (name, mut connection) in sides {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(MESSAGES as u64));
        for size in PAYLOADS_BYTES {
            let payload = Bytes::from(vec![b'x'; size]);
            group.bench_function(BenchmarkId::new("copied", size), |bencher| {
                bencher.iter(|| {
                    for _ in 0..MESSAGES {
                        let sent = connection.send(now, MessageKind::Binary, black_box(&payload));
                        let _ = sent.expect("the queue has room");
                    }
                    drain(&mut connection, now);
                });
            });
            group.bench_function(BenchmarkId::new("shared", size), |bencher| {
                bencher.iter(|| {
                    for _ in 0..MESSAGES {
                        let payload = black_box(&payload).clone();
                        let sent = connection.send_shared(now, MessageKind::Binary, &[], payload);
                        let _ = sent.expect("the queue has room");
                    }
                    drain(&mut connection, now);
                });
            });
        }
        group.finish();
    }
}

fn drain(connection: &mut Connection, now: Instant) {
    while connection.wants_transmit() {
        let mut slices = [IoSlice::new(&[]); 64];
        let filled = connection.poll_transmit(&mut slices);
        let bytes = black_box(&slices[..filled]).iter().map(|slice| slice.len()).sum();
        let _ = connection.handle_transmitted(now, bytes);
    }
}

criterion_group!(benches, encoding);
criterion_main!(benches);
