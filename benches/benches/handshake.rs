//! The upgrade (RFC 6455 §4): time per handshake of each side, without I/O.
//!
//! ```text
//! cargo bench -p weirline-benches --bench handshake
//! ```

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use weirline_handshake::{
    ClientRequest, HeadLimits, Progress, RequestReader, ResponseProgress, ResponseReader, WsUrl,
};

/// As a browser asks.
const BROWSER: &[u8] = b"GET /v1/streams/news HTTP/1.1\r\n\
    Host: stream.example:7070\r\n\
    Connection: Upgrade\r\n\
    Pragma: no-cache\r\n\
    Cache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
    Upgrade: websocket\r\n\
    Origin: http://stream.example:7070\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Accept-Encoding: gzip, deflate\r\n\
    Accept-Language: en-GB,en;q=0.9\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

fn handshakes(criterion: &mut Criterion) {
    let url: WsUrl = "ws://localhost:7070/echo".parse().expect("a valid URL");
    let request = ClientRequest::new(&url, *b"the sample nonce");
    let asked = request.encode();
    let answer = answer(&asked);
    let mut group = criterion.benchmark_group("handshake");
    group.bench_function("server/short", |bencher| {
        bencher.iter(|| self::answer(black_box(&asked)));
    });
    group.bench_function("server/browser", |bencher| {
        bencher.iter(|| self::answer(black_box(BROWSER)));
    });
    group.bench_function("client/request", |bencher| {
        bencher.iter(|| black_box(&request).encode());
    });
    group.bench_function("client/response", |bencher| {
        bencher.iter(|| {
            let mut reader = ResponseReader::new(HeadLimits::default(), black_box(&request));
            match reader.handle_input(black_box(&answer)) {
                Ok(ResponseProgress::Done { response, .. }) => response,
                other => panic!("no handshake: {other:?}"),
            }
        });
    });
    group.finish();
}

/// The request read and the 101 encoded.
fn answer(request: &[u8]) -> Bytes {
    match RequestReader::new(HeadLimits::default()).handle_input(request) {
        Ok(Progress::Done { request, .. }) => request.accept().encode(),
        other => panic!("no handshake: {other:?}"),
    }
}

criterion_group!(benches, handshakes);
criterion_main!(benches);
