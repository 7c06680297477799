//! The HTTP API, as a backend uses it: over a socket, beside a consumer of the text form.
#![expect(
    clippy::disallowed_methods,
    reason = "the server is given a thread, as a program gives it its main one"
)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;
use weirline_log::{EventLog as _, MemoryConfig, MemoryLog};
use weirline_server::{ApiConfig, Config, ServeError, runtime};
use weirline_tokio::Entropy;

/// A server on threads with its API; ends when dropped.
struct Server {
    api: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

impl Server {
    fn start(log: MemoryConfig) -> Self {
        let bound = runtime::bind(Config::default(), ([127, 0, 0, 1], 0).into())
            .and_then(|bound| bound.with_api(ApiConfig::default(), ([127, 0, 0, 1], 0).into()))
            .unwrap();
        let api = bound.api_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            let log = MemoryLog::new(log, 7).split();
            bound.run(log, Entropy::os(), (), async {
                let _ = stopped.await;
            })
        });
        Self {
            api,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// One request as it stands; the status, the content type and the body.
    fn raw(&self, request: &[u8]) -> (u16, String, Vec<u8>) {
        let mut stream = TcpStream::connect(self.api).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(answer[..end].to_vec())
            .unwrap()
            .to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let kind = head
            .lines()
            .find_map(|line| line.strip_prefix("content-type: "))
            .unwrap_or_default();
        (status, kind.to_owned(), answer[end + 4..].to_vec())
    }

    fn request(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> (u16, Value) {
        let host = self.api;
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        for (name, value) in fields {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        let (status, kind, body) = self.raw(&[request.as_bytes(), body].concat());
        let body: Value = serde_json::from_slice(&body).unwrap();
        if status >= 400 {
            assert_eq!(kind, "application/problem+json");
            assert_eq!(body["status"], status);
            assert!(!body["detail"].as_str().unwrap().is_empty());
        }
        (status, body)
    }

    fn get(&self, path: &str) -> (u16, Value) {
        self.request("GET", path, &[], b"")
    }

    fn publish(&self, stream: &str, fields: &[(&str, &str)], body: &[u8]) -> (u16, Value) {
        self.request("POST", &format!("/v1/streams/{stream}/messages"), fields, body)
    }

    fn batch(&self, body: &Value) -> (u16, Value) {
        let fields = [("Content-Type", "application/json")];
        self.request("POST", "/v1/publish", &fields, body.to_string().as_bytes())
    }

    fn stop(mut self) -> Result<(), ServeError> {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap()
    }
}

const TEXT: (&str, &str) = ("Content-Type", "text/plain; charset=utf-8");

#[test]
fn what_is_published_is_read() {
    let server = Server::start(MemoryConfig::default());
    assert_eq!(server.get("/v1/streams/a").0, 404);
    assert_eq!(
        server.publish("a", &[TEXT], "grüß dich".as_bytes()),
        (200, json!({"offset": 1}))
    );
    assert_eq!(server.publish("a", &[], b"\xff\x00"), (200, json!({"offset": 2})));
    assert_eq!(
        server.publish("a", &[("Content-Type", "application/json")], b"{}"),
        (200, json!({"offset": 3}))
    );
    let (status, info) = server.get("/v1/streams/a");
    assert_eq!(
        (status, &info["head"], &info["trimmed"]),
        (200, &json!(3), &json!(0))
    );
    let epoch = info["epoch"].as_str().unwrap();

    let (status, all) = server.get(&format!("/v1/streams/a/messages?epoch={epoch}"));
    assert_eq!(status, 200);
    assert_eq!(
        all["messages"],
        json!([{"offset": 1, "text": "grüß dich"}, {"offset": 2, "base64": "/wA="}, {"offset": 3, "text": "{}"}])
    );
    assert_eq!((&all["after"], &all["next"]), (&json!(0), &json!(3)));
    let (_, page) = server.get("/v1/streams/a/messages?after=1&limit=1");
    assert_eq!(
        (&page["messages"][0]["offset"], &page["next"]),
        (&json!(2), &json!(2))
    );
    let (_, none) = server.get("/v1/streams/a/messages?after=3");
    assert_eq!((&none["messages"], &none["next"]), (&json!([]), &json!(3)));
    let (status, error) = server.get("/v1/streams/a/messages?after=1&epoch=0123456789abcdef");
    assert_eq!((status, &error["code"]), (409, &json!("epoch")));
    server.stop().unwrap();
}

/// A repetition is a duplicate, whatever came between; the same key with another message is an error, and publishes nothing.
#[test]
fn a_key_publishes_once() {
    let server = Server::start(MemoryConfig::default());
    let key = |key: &'static str| [TEXT, ("Idempotency-Key", key)];
    let duplicate = (200, json!({"duplicate": true}));
    assert_eq!(
        server.publish("a", &key("k1"), b"one"),
        (200, json!({"offset": 1}))
    );
    assert_eq!(server.publish("a", &key("k1"), b"one"), duplicate);
    assert_eq!(
        server.publish("a", &key("k2"), b"one"),
        (200, json!({"offset": 2}))
    );
    assert_eq!(server.publish("a", &key("k1"), b"one"), duplicate);
    for (stream, body) in [("a", "two"), ("b", "one")] {
        let (status, error) = server.publish(stream, &key("k1"), body.as_bytes());
        assert_eq!((status, &error["code"]), (422, &json!("key-reused")));
    }
    assert_eq!(server.publish("a", &key("k1"), b"one"), duplicate);
    assert_eq!(server.get("/v1/streams/a").1["head"], 2);
    assert_eq!(server.get("/v1/streams/b").0, 404);
    server.stop().unwrap();
}

#[test]
fn a_batch_has_a_result_for_each_message() {
    let config = MemoryConfig {
        entry_bytes_max: 10,
        ..MemoryConfig::default()
    };
    let server = Server::start(config);
    let messages = json!({"messages": [
        {"stream": "a", "text": "one"},
        {"stream": "b", "base64": "AAE=", "idempotency_key": "k"},
        {"stream": "a", "text": "far too long"},
        {"stream": "b", "base64": "AAE=", "idempotency_key": "k"},
        {"stream": "a", "text": "two", "idempotency_key": "k"},
        {"stream": "a", "text": "three"},
    ]});
    let (status, published) = server.batch(&messages);
    assert_eq!(status, 200);
    let results = &published["results"];
    assert_eq!(results[0], json!({"offset": 1}));
    assert_eq!(results[1], json!({"offset": 1}));
    assert_eq!(
        (&results[2]["error"]["status"], &results[2]["error"]["code"]),
        (&json!(413), &json!("too-large"))
    );
    assert_eq!(results[3], json!({"duplicate": true}));
    assert_eq!(results[4]["error"]["code"], "key-reused");
    assert_eq!(results[5], json!({"offset": 2}));
    assert_eq!(
        server.batch(&json!({"messages": []})),
        (200, json!({"results": []}))
    );
    // What is refused has used up no key.
    let key = [("Idempotency-Key", "long")];
    assert_eq!(server.publish("a", &key, b"far too long").0, 413);
    assert_eq!(server.publish("a", &key, b"short"), (200, json!({"offset": 3})));
    server.stop().unwrap();
}

#[test]
fn streams_come_in_pages() {
    let server = Server::start(MemoryConfig::default());
    for stream in ["b", "a", "c"] {
        server.publish(stream, &[], b"x");
    }
    let names = |page: &Value| -> Vec<String> {
        let streams = page["streams"].as_array().unwrap();
        streams
            .iter()
            .map(|stream| stream["stream"].as_str().unwrap().into())
            .collect()
    };
    let (_, page) = server.get("/v1/streams?limit=2");
    assert_eq!(
        (names(&page), &page["next"]),
        (vec!["a".into(), "b".into()], &json!("b"))
    );
    let (_, page) = server.get("/v1/streams?limit=2&after=b");
    assert_eq!((names(&page), page.get("next")), (vec!["c".into()], None));
    server.stop().unwrap();
}

#[test]
fn what_makes_no_sense_is_refused_and_publishes_nothing() {
    let server = Server::start(MemoryConfig::default());
    let long_key = "k".repeat(256);
    let refusals = [
        server.publish("a%20b", &[TEXT], b"x"),
        server.publish("a", &[TEXT], b"\xff"),
        server.publish("a", &[TEXT, ("Idempotency-Key", "")], b"x"),
        server.publish("a", &[TEXT, ("Idempotency-Key", "a b")], b"x"),
        server.publish("a", &[TEXT, ("Idempotency-Key", &long_key)], b"x"),
        server.publish(
            "a",
            &[TEXT, ("Idempotency-Key", "a"), ("Idempotency-Key", "b")],
            b"x",
        ),
        server.get("/v1/streams?limit=0"),
        server.get("/v1/streams?limit=1001"),
        server.get("/v1/streams?limits=1"),
        server.get("/v1/streams/a/messages?after=-1"),
        server.get("/v1/streams/a/messages?after=18446744073709551615"),
        server.batch(&json!({"messages": [{"stream": "a", "text": "x"}, {"stream": "a"}]})),
        server.batch(&json!({"messages": [{"stream": "a", "text": "x", "base64": "AA=="}]})),
        server.batch(&json!({"messages": [{"stream": "a", "base64": "?"}]})),
        server.batch(&json!({"messages": vec![json!({"stream": "a", "text": "x"}); 1001]})),
    ];
    for (index, (status, error)) in refusals.iter().enumerate() {
        assert_eq!(
            (*status, &error["code"]),
            (400, &json!("bad-request")),
            "{index}: {error}"
        );
    }
    assert_eq!(server.batch(&json!({"messages": [{"stream": 1}]})).0, 422);
    assert_eq!(server.request("POST", "/v1/publish", &[TEXT], b"{}").0, 415);
    assert_eq!(server.get("/").1["code"], "no-route");
    assert_eq!(
        server.request("DELETE", "/v1/streams/a", &[], b"").1["code"],
        "no-method"
    );
    assert_eq!(server.get("/v1/streams/a").0, 404, "nothing was published");
    server.stop().unwrap();
}

/// A page of a browser of this machine, and one that has given our address its own name.
#[test]
fn pages_are_not_served() {
    let server = Server::start(MemoryConfig::default());
    let head = |fields: &str| format!("GET /v1/streams HTTP/1.1\r\n{fields}Connection: close\r\n\r\n");
    for (fields, expect) in [
        ("Host: localhost\r\n", 200),
        ("Host: [::1]:7071\r\n", 200),
        ("Host: evil.example\r\n", 403),
        ("Host: localhost\r\nHost: evil.example\r\n", 403),
        ("Host: localhost\r\nOrigin: http://localhost\r\n", 403),
        ("Host: localhost\r\nOrigin: null\r\n", 403),
    ] {
        let (status, _, _) = server.raw(head(fields).as_bytes());
        assert_eq!(status, expect, "{fields}");
    }
    server.stop().unwrap();
}

/// Every path and method is described, and nothing else.
#[test]
fn the_description_is_that_of_the_server() {
    let server = Server::start(MemoryConfig::default());
    let (status, description) = server.get("/v1/openapi.json");
    assert_eq!((status, &description["openapi"]), (200, &json!("3.1.0")));
    for (path, methods) in description["paths"].as_object().unwrap() {
        for method in ["get", "post", "put", "delete", "patch"] {
            let method_is_there = methods.get(method).is_some();
            let path = path.replace("{stream}", "a");
            let (_, answer) = server.request(&method.to_ascii_uppercase(), &path, &[], b"");
            assert_ne!(answer["code"], "no-route", "{path}");
            assert_eq!(answer["code"] != "no-method", method_is_there, "{method} {path}");
        }
    }
    server.stop().unwrap();
}

#[test]
fn the_api_is_for_this_machine() {
    let bound = runtime::bind(Config::default(), ([127, 0, 0, 1], 0).into()).unwrap();
    let refused = bound.with_api(ApiConfig::default(), ([0, 0, 0, 0], 0).into());
    assert!(matches!(refused, Err(ServeError::NotLoopback { .. })));
}
