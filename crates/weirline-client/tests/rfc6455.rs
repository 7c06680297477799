//! What RFC 6455 §4.1 asks of a client as a whole: which URLs it dials, how many dials it has under way, and with which
//! key each of them.

mod common;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use common::{MemoryConnector, Net, Tcp, TestStore, builder, entropy, live, start, world};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream, ReadBuf};
use tokio::task::spawn_local;
use weirline_client::{BuildError, ClientBuilder, Connector};

/// RFC 6455 §3, §4.1 item 1: what is no WebSocket URL is refused before anything is dialled.
#[test]
fn what_is_no_url_makes_no_client() {
    for url in [
        "",
        "server:7070/v1/streams/test",
        "http://server:7070/v1/streams/test",
        "ws://",
        "ws:///v1/streams/test",
        "ws://server:0/v1/streams/test",
        "ws://server:7070/v1/streams/a b",
        "ws://server:7070/v1/streams/test#part",
        "ws://user@server:7070/v1/streams/test",
        "ws://serwer.żółw/v1/streams/test",
    ] {
        let built = ClientBuilder::new(url);
        assert!(
            matches!(&built, Err(BuildError::Url { url: named, .. }) if named == url),
            "{url:?}: {built:?}"
        );
    }
    let _ = ClientBuilder::new("ws://server:7070/v1/streams/test").expect("a URL");
}

/// RFC 6455 §4.1 item 5: a secure URL would need TLS below, which this client does not have; it never falls back to less.
#[test]
fn a_secure_url_makes_no_client_that_speaks_in_the_clear() {
    for url in [
        "wss://server/v1/streams/test",
        "WSS://server:7070/v1/streams/test",
    ] {
        match ClientBuilder::new(url) {
            Err(BuildError::Url { why, .. }) => assert!(why.contains("TLS"), "{why}"),
            other => panic!("{url}: {other:?}"),
        }
    }
}

/// Counts the streams and attempts that are under way at once.
#[derive(Clone)]
struct Counting {
    inner: MemoryConnector,
    under_way: Rc<Cell<usize>>,
    most: Rc<Cell<usize>>,
}

struct UnderWay(Rc<Cell<usize>>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

struct Counted {
    inner: DuplexStream,
    _under_way: UnderWay,
}

impl Connector for Counting {
    type Stream = Counted;

    async fn connect(&self, host: &str, port: u16) -> io::Result<Counted> {
        self.under_way.set(self.under_way.get() + 1);
        let under_way = UnderWay(self.under_way.clone());
        self.most.set(self.most.get().max(self.under_way.get()));
        tokio::time::sleep(Duration::from_secs(2)).await;
        let inner = self.inner.connect(host, port).await?;
        Ok(Counted {
            inner,
            _under_way: under_way,
        })
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(task, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(task)
    }
}

/// RFC 6455 §4.1 item 2: a client has one connection at most that is being opened, whatever became of those before it, and
/// none beside one that is open.
#[test]
fn a_client_has_one_dial_under_way() {
    world(async {
        let mut net = Net::new();
        let connector = Counting {
            inner: net.connector.clone(),
            under_way: Rc::default(),
            most: Rc::default(),
        };
        let built = builder().build(connector.clone(), TestStore::default(), entropy(7));
        let (client, mut events, driver) = built.await.expect("a client");
        let driver = spawn_local(driver.run());
        // Refused, never answered, answered and never upgraded, upgraded and cut: each is followed by another dial.
        net.tcp(Tcp::Refused);
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(connector.most.get(), 1, "dials under way at once, refused");
        net.tcp(Tcp::Silent);
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(connector.most.get(), 1, "dials under way at once, unanswered");
        net.tcp(Tcp::Open);
        let silent = net.stream().await;
        let publishing = spawn_local({
            let client = client.clone();
            async move {
                for _ in 0..20 {
                    client.publish("more to do").await.expect("room");
                }
            }
        });
        let (peer, _) = net.opening().await;
        drop(silent);
        peer.answer(0, 0, 0).await;
        live(&mut events).await;
        publishing.await.expect("no panic");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(connector.under_way.get(), 1, "the open connection alone");
        peer.cut();
        let (peer, _) = net.opening().await;
        peer.answer(0, 0, 0).await;
        live(&mut events).await;
        assert!(net.dials().len() >= 5, "{} dials", net.dials().len());
        assert_eq!(connector.most.get(), 1, "dials under way at once");
        client.close().await;
        driver.await.expect("no panic").expect("closed");
        assert_eq!(connector.under_way.get(), 0);
    });
}

/// RFC 6455 §4.1 item 7: the nonce is drawn anew for each connection.
#[test]
fn each_dial_has_a_key_of_its_own() {
    world(async {
        let mut net = Net::new();
        let (client, _events, driver) = start(&net, builder(), &TestStore::default()).await;
        let mut keys = BTreeSet::new();
        for _ in 0..5 {
            let mut stream = net.stream().await;
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                assert!(stream.read_buf(&mut request).await.expect("a request") > 0);
            }
            let request = String::from_utf8(request).expect("ASCII");
            let lines: Vec<_> = request
                .split("\r\n")
                .filter_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))
                .collect();
            let [key] = lines[..] else {
                panic!("one key in {request}")
            };
            assert!(
                key.len() == 24 && key.ends_with("=="),
                "16 bytes in base64: {key}"
            );
            keys.insert(key.to_owned());
        }
        assert_eq!(keys.len(), 5, "{keys:?}");
        client.close().await;
        driver.await.expect("no panic").expect("closed");
    });
}
