//! The same over loopback, on the server's own threads.
#![expect(
    clippy::disallowed_methods,
    reason = "the server is given a thread, as a program gives it its main one"
)]

use tokio::net::TcpStream;
use tokio::sync::oneshot;
use weirline_log::{EventLog as _, LogReader as _, MemoryConfig, MemoryLog, Offset, ReadLimits};
use weirline_server::runtime;
use weirline_tokio::Entropy;

use crate::FORMS;
use crate::client::{Client, START, Way, stream};
use crate::common::config;

const STREAMS: [&str; 4] = ["a", "b", "c", "d"];
const MESSAGES: usize = 100;

/// I2, I6: six clients on two workers publish to four streams, are cut while they do, and each has in the end what the log has.
#[test]
fn clients_on_threads_are_cut_and_miss_nothing() {
    let bound = runtime::bind(config(), ([127, 0, 0, 1], 0).into()).unwrap();
    let address = bound.local_addr();
    let (stop, stopped) = oneshot::channel::<()>();
    let (writer, log) = MemoryLog::new(MemoryConfig::default(), 1).split();
    let reader = log.clone();
    let server = std::thread::spawn(move || {
        bound.run((writer, reader), Entropy::os(), (), async {
            let _ = stopped.await;
        })
    });
    let clients: Vec<_> = (0..6)
        .map(|number| std::thread::spawn(move || on_a_thread(client(address, number))))
        .collect();
    let got: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    stop.send(()).unwrap();
    server.join().unwrap().unwrap();
    let limits = ReadLimits {
        messages: usize::MAX,
        bytes: usize::MAX,
    };
    for name in STREAMS {
        let mut entries = Vec::new();
        log.read(&stream(name), Offset::ZERO, limits, &mut entries)
            .unwrap();
        let wanted: Vec<(u64, String)> = entries
            .iter()
            .map(|entry| {
                (
                    entry.offset.get(),
                    String::from_utf8(entry.payload.to_vec()).unwrap(),
                )
            })
            .collect();
        assert_eq!(wanted.len(), 6 * MESSAGES);
        for got in &got {
            assert!(got[name] == wanted, "{name}");
        }
    }
}

fn on_a_thread<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

async fn client(
    address: std::net::SocketAddr,
    number: usize,
) -> std::collections::BTreeMap<String, Vec<(u64, String)>> {
    let mut client = Client::new(FORMS[number % 2], Way::Header);
    for name in STREAMS {
        client.subscribe(name, START);
    }
    let mut published = 0;
    let done = |client: &Client| {
        client.machine.outbox_len().0 == 0 && STREAMS.iter().all(|name| client.count(name) == 6 * MESSAGES)
    };
    for dials in 1.. {
        client.dial_over(TcpStream::connect(address).await.unwrap()).await;
        for _ in 0..dials * 50 {
            if published < MESSAGES {
                published += 1;
                for name in STREAMS {
                    client.publish(name, &format!("{number}/{published}"));
                }
            }
            if done(&client) || !client.step().await {
                break;
            }
        }
        if done(&client) {
            break;
        }
        client.cut();
    }
    client.got
}
