//! The HTTP API of the real binary, with a consumer of the text form beside it.

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

use common::{DataDir, PATIENCE};

struct Server {
    child: Child,
    ws: String,
    api: String,
}

impl Server {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_weirline"))
            .args(args)
            .args(["--listen", "127.0.0.1:0", "--api", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut next = |prefix: &str| {
            let line = lines.next().unwrap().unwrap();
            line.strip_prefix(prefix).expect("the contract's line").to_owned()
        };
        let (ws, api) = (next("listening on ws://"), next("HTTP API on http://"));
        Self { child, ws, api }
    }

    /// Publishes, and returns the body of the answer.
    fn publish(&self, stream: &str, body: &str) -> String {
        self.publish_with(stream, "", body)
    }

    /// The same, with further fields in the head.
    fn publish_with(&self, stream: &str, fields: &str, body: &str) -> String {
        let mut socket = TcpStream::connect(&self.api).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "POST /v1/streams/{stream}/messages HTTP/1.1\r\nHost: {}\r\nContent-Type: text/plain\r\n{fields}Connection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.api,
            body.len()
        );
        socket.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn streams(api: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weirline"));
    command.args(["streams", "--api", api]).output().unwrap()
}

/// What HTTP publishes, a consumer gets at once; what there is, `streams` lists.
#[test]
fn a_consumer_gets_what_http_publishes() {
    let server = Server::start(&["dev"]);
    let mut tail = Command::new(env!("CARGO_BIN_EXE_weirline"))
        .args(["tail", "--from", "1", "--offsets"])
        .arg(format!("ws://{}/v1/streams/news", server.ws))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    for (offset, message) in (1..).zip(["one", "two", "three"]) {
        assert_eq!(
            server.publish("news", message),
            format!("{{\"offset\":{offset}}}")
        );
        // It waits for each before the next is published: a consumer that is not woken waits for ever.
        assert_eq!(lines.next().unwrap().unwrap(), format!("{offset}\t{message}"));
    }
    tail.kill().unwrap();
    tail.wait().unwrap();

    server.publish("a.other", "x");
    let listed = streams(&server.api);
    assert!(listed.status.success());
    let listed = String::from_utf8(listed.stdout).unwrap();
    let columns: Vec<Vec<&str>> = listed.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(columns.len(), 2, "{listed}");
    assert_eq!(columns[0][..3], ["a.other", "1", "0"]);
    assert_eq!(columns[1][..3], ["news", "3", "0"]);
    assert_eq!(columns[1][3].len(), 16);
}

/// A backend that crashed, or whose server did, publishes again under the same key.
#[test]
fn a_key_outlives_a_crash_of_the_server() {
    let data = DataDir::new();
    let key = "Idempotency-Key: order-17\r\n";
    let server = Server::start(&["serve", "--data-dir", data.text()]);
    assert_eq!(server.publish_with("orders", key, "one"), "{\"offset\":1}");
    // Dropped: killed.
    drop(server);
    let server = Server::start(&["serve", "--data-dir", data.text()]);
    assert_eq!(server.publish_with("orders", key, "one"), "{\"duplicate\":true}");
    assert_eq!(server.publish("orders", "one"), "{\"offset\":2}");
}

#[test]
fn an_api_that_is_not_there_is_said() {
    let server = Server::start(&["serve", "--durability", "memory"]);
    // The WebSocket port answers, but is no API.
    let refused = streams(&server.ws);
    assert!(!refused.status.success());
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("426") && said.contains("no HTTP API"), "{said}");

    let taken = Command::new(env!("CARGO_BIN_EXE_weirline"))
        .args([
            "serve",
            "--durability",
            "memory",
            "--listen",
            "127.0.0.1:0",
            "--api",
            &server.api,
        ])
        .output()
        .unwrap();
    assert!(!taken.status.success());
    let said = String::from_utf8(taken.stderr).unwrap();
    assert!(said.contains("in use") && said.contains("--api"), "{said}");

    let everywhere = Command::new(env!("CARGO_BIN_EXE_weirline"))
        .args([
            "serve",
            "--durability",
            "memory",
            "--listen",
            "127.0.0.1:0",
            "--api",
            "0.0.0.0:0",
        ])
        .output()
        .unwrap();
    assert!(!everywhere.status.success());
    assert!(String::from_utf8(everywhere.stderr).unwrap().contains("loopback"));

    let api = server.api.clone();
    drop(server);
    let gone = streams(&api);
    assert!(!gone.status.success());
    assert!(String::from_utf8(gone.stderr).unwrap().contains(&api));
}
