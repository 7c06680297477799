//! An echo by the driver over a pipe in memory: time per message, by size and by how many are under way. What the kernel costs
//! is not in it; `cargo xtask bench peers` has sockets.
//!
//! ```text
//! cargo bench -p weirline-benches --bench echo
//! ```

use std::sync::Arc;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;
use weirline_codec::{FrameHeader, MaskKey, OpCode};
use weirline_tokio::{Config, Connection, Context, Driver, Event, Handler, HandlerError};

const CASES: [(usize, usize); 4] = [(16, 1), (16, 64), (1024, 16), (16 * 1024, 1)];
const PIPE_BYTES: usize = 256 << 10;
const KEY: MaskKey = MaskKey::new([0x37, 0xfa, 0x21, 0x3d]);

struct Echo;

impl Handler for Echo {
    fn on_event(&mut self, cx: &mut Context<'_>, event: Event<'_>) -> Result<(), HandlerError> {
        match event {
            Event::Message { kind, payload } => cx.send(kind, &payload).map_err(HandlerError::new),
            _ => Ok(()),
        }
    }
}

fn echoing(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let mut group = criterion.benchmark_group("echo");
    for (size, depth) in CASES {
        let (mut near, tasks) = start(&runtime);
        let request = batch(
            FrameHeader::data(OpCode::Binary, true, size as u64).masked(KEY),
            size,
            depth,
        );
        let mut answer = batch(FrameHeader::data(OpCode::Binary, true, size as u64), size, depth);
        group.throughput(Throughput::Elements(depth as u64));
        group.bench_function(BenchmarkId::new(size.to_string(), depth), |bencher| {
            bencher.iter(|| {
                let exchange = async {
                    near.write_all(&request).await?;
                    near.read_exact(&mut answer).await
                };
                tasks.block_on(&runtime, exchange).expect("an echo")
            });
        });
    }
    group.finish();
}

/// A driver on one end of a pipe; the other end, and where the driver runs.
fn start(runtime: &Runtime) -> (DuplexStream, LocalSet) {
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    let tasks = LocalSet::new();
    let _inside = runtime.enter();
    let now = tokio::time::Instant::now().into_std();
    let connection = Connection::server(Arc::new(Config::default()), now);
    drop(tasks.spawn_local(Driver::new(far, connection, Bytes::new(), Echo, ())));
    (near, tasks)
}

/// Frames of one payload; what it is after unmasking does not matter.
fn batch(header: FrameHeader, size: usize, depth: usize) -> Vec<u8> {
    [&header.encode()[..], &vec![0; size]].concat().repeat(depth)
}

criterion_group!(benches, echoing);
criterion_main!(benches);
