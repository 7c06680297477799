//! How long a ping takes while a large message is on its way to a slow reader: never longer than what one fragment and the
//! buffers of the transport take (R8).

mod common;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use weirline_codec::OpCode;
use weirline_tokio::*;

const MEBIBYTE: usize = 1 << 20;
/// What the transport holds in each direction.
const PIPE_BYTES: usize = 64 << 10;
/// 10 MB/s, in steps of tokio's timer.
const BYTES_PER_STEP: usize = 10_000;
const STEP: Duration = Duration::from_millis(1);
/// Steps between two pings of the reader; prime, so that they meet fragments everywhere.
const PING_EVERY: usize = 47;
/// Between two pings of the driver.
const PING_INTERVAL: Duration = Duration::from_millis(30);
/// More than the bytes of a fragment's header, a pong, and a ping that may stand before it.
const HEADERS_BYTES: usize = 64;

/// Round trips that the reader measured, and those that the driver did.
#[derive(Debug, Default)]
struct Trips {
    reader: Vec<Duration>,
    driver: Vec<Duration>,
}

/// What is ahead of a control frame at worst: what the pipe holds, and the rest of the fragment in hand.
fn longest() -> Duration {
    let bytes = PIPE_BYTES + Config::default().fragment_bytes + HEADERS_BYTES;
    STEP * u32::try_from(bytes.div_ceil(BYTES_PER_STEP)).unwrap()
}

/// 256 MiB from a server, which shares them; a client must copy and mask what it sends, and gets less.
#[tokio::test(start_paused = true)]
async fn pings_wait_for_one_fragment_of_a_large_message() {
    for (from_server, message_bytes) in [(true, 256 * MEBIBYTE), (false, 16 * MEBIBYTE)] {
        let started = now();
        let trips = send(from_server, message_bytes).await;
        let took = now() - started;
        let at_rate = STEP * u32::try_from(message_bytes / BYTES_PER_STEP).unwrap();
        assert!(took >= at_rate && took < at_rate + SECOND, "{took:?}");
        for (trips, every) in [
            (&trips.reader, STEP * u32::try_from(PING_EVERY).unwrap()),
            // The next ping is counted from the last pong.
            (&trips.driver, PING_INTERVAL + longest()),
        ] {
            let expected = took.as_millis() / every.as_millis();
            assert!(
                trips.len() as u128 + 2 >= expected,
                "{} of {expected}",
                trips.len()
            );
            println!("at most {:?} in {} pings", trips.iter().max(), trips.len());
            let (least, most) = (trips.iter().min().unwrap(), trips.iter().max().unwrap());
            assert!(*most <= longest(), "{most:?} is over {:?}", longest());
            assert!(*least >= 6 * STEP, "the pipe was not full: {least:?}");
        }
    }
}

async fn send(from_server: bool, message_bytes: usize) -> Trips {
    let (near, far) = duplex(PIPE_BYTES);
    let (handle, _inbox, handler) = channel(InboxLimits::default());
    let config = config(|config| config.ping_interval = Some(PING_INTERVAL));
    let connection = if from_server {
        Connection::server(config.into(), now())
    } else {
        Connection::client(config.into(), Box::new(|| [1, 2, 3, 4]), now())
    };
    let noted = Noted::default();
    let driver = Driver::new(near, connection, bytes::Bytes::new(), handler, noted.clone());
    handle
        .send(Message::binary(vec![0; message_bytes]))
        .await
        .unwrap();
    let reader = Reader {
        stream: far,
        masks: from_server,
        received: Vec::new(),
        sent: VecDeque::new(),
        round_trips: Vec::new(),
    };
    let (end, reader) = tokio::join!(driver, reader.read(message_bytes));
    assert_eq!(end.cause, Cause::ClosedByPeer);
    Trips {
        reader,
        driver: noted.0.take(),
    }
}

/// The driver's own measurements.
#[derive(Clone, Default)]
struct Noted(Rc<RefCell<Vec<Duration>>>);

impl Observer for Noted {
    fn round_trip(&mut self, rtt: Duration) {
        self.0.borrow_mut().push(rtt);
    }
}

/// Reads at its rate, answers pings at once, and sends its own.
struct Reader {
    stream: DuplexStream,
    masks: bool,
    received: Vec<u8>,
    /// When the pings were sent that are not answered yet.
    sent: VecDeque<Instant>,
    round_trips: Vec<Duration>,
}

impl Reader {
    /// Until so many bytes of data have come; returns the round trips of its pings.
    async fn read(mut self, message_bytes: usize) -> Vec<Duration> {
        let mut data_bytes = 0;
        let mut steps = tokio::time::interval(STEP);
        let mut buffer = vec![0; BYTES_PER_STEP];
        for step in 0.. {
            steps.tick().await;
            let read = self.stream.read(&mut buffer).await.unwrap();
            assert!(read > 0, "the stream ended early");
            self.received.extend_from_slice(&buffer[..read]);
            while let Some(frame) = decode(&mut self.received) {
                match frame.opcode {
                    OpCode::Ping => self.write(OpCode::Pong, &frame.payload).await,
                    OpCode::Pong => {
                        let sent = self.sent.pop_front().expect("one pong for each ping");
                        self.round_trips.push(now() - sent);
                    }
                    _ => data_bytes += frame.payload.len(),
                }
            }
            if data_bytes == message_bytes {
                break;
            }
            if step % PING_EVERY == PING_EVERY - 1 {
                self.sent.push_back(now());
                self.write(OpCode::Ping, b"?").await;
            }
        }
        self.write(OpCode::Close, &close_payload(1000)).await;
        self.stream.shutdown().await.unwrap();
        self.stream.read_to_end(&mut Vec::new()).await.unwrap();
        self.round_trips
    }

    async fn write(&mut self, opcode: OpCode, payload: &[u8]) {
        let frame = if self.masks {
            masked(opcode, true, payload)
        } else {
            unmasked(opcode, true, payload)
        };
        self.stream.write_all(&frame).await.unwrap();
    }
}
