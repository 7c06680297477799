//! What peers that mean harm can do to the real process (docs/threats.md): its logs, its descriptors, its processor time.

mod common;

use std::process::Command;
use std::time::Duration;

use common::{PATIENCE, Server, Socket, is_hidden, run};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// `weirline ARGS` with everything that can be logged, and with further words for the shell before it.
fn start(before: &str, args: &[&str]) -> Server {
    let mut shell = Command::new("sh");
    let script = format!("{before} RUST_LOG=trace exec \"$0\" \"$@\"");
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_weirline")]);
    Server::start_by(shell, args)
}

/// A request with these lines, of which `\n` stands for the ends.
fn request(target: &str, lines: &str) -> Vec<u8> {
    let lines = lines.replace('\n', "\r\n");
    format!(
        "GET {target} HTTP/1.1\r\nHost: server.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\n{lines}\r\n"
    )
    .into_bytes()
}

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n";

/// A client's frame of at most 125 bytes, masked with the key 0.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).expect("short");
    [&[first, 0x80 | len, 0, 0, 0, 0][..], payload].concat()
}

/// Sends all of it and reads until the server ends the stream.
async fn exchange(server: &Server, wire: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(wire).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    ended.expect("the server ends the stream").unwrap();
    answer
}

/// Stops the server and returns its log.
fn log_of(mut server: Server) -> String {
    server.signal("TERM");
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    log
}

/// Wherever a client may put a credential, accepted or not, with every level of logs on.
#[test]
fn no_credential_reaches_the_log() {
    const SECRET: &str = "s3cr3tS3CR3T-s3cr3t_S3CR3T";
    let carried = format!(
        "{KEY}Authorization: Bearer {SECRET}\nCookie: session={SECRET}\nX-Api-Key: {SECRET}\n\
        Sec-WebSocket-Protocol: weirline.attach.{SECRET}, weirline.v1.text\n"
    );
    let target = format!("/v1/streams/s?token={SECRET}");
    let says = |texts: &[String]| {
        let frames = texts.iter().map(|text| frame(0x81, text.as_bytes()));
        [request(&target, &carried), frames.collect::<Vec<_>>().concat()].concat()
    };
    let session = format!("SESSION:{SECRET}:1");
    let opening = [session.clone(), "RESUME_FROM:0".into()];
    let close = [&4000_u16.to_be_bytes()[..], SECRET.as_bytes()].concat();
    let controls = [frame(0x89, SECRET.as_bytes()), frame(0x88, &close)].concat();
    let mut wires = vec![
        [says(&opening), controls].concat(),
        says(&[&opening[..], &[format!("1:{SECRET}")]].concat()),
        says(&[session.clone(), session.clone()]),
        says(&[format!("SESSION:{SECRET}")]),
        says(&[format!("SESSION:{SECRET}:9"), "RESUME_FROM:0".into()]),
        says(&[format!("RESUME_FROM:{SECRET}")]),
        says(&[SECRET.into()]),
    ];
    for refused in [
        format!("/nothing?token={SECRET}"),
        format!("/v1/streams/?token={SECRET}"),
        format!("/v1/streams/a%20b?token={SECRET}"),
        format!("/echo#{SECRET}"),
        format!("http://user:{SECRET}@server.example/echo"),
        format!("http://other.example/echo?{SECRET}"),
    ] {
        wires.push(request(&refused, &carried));
    }
    for lines in [
        format!("{carried}Origin: https://evil.example\n"),
        format!("{carried}Content-Length: 5\n"),
        format!("{carried}Sec-WebSocket-Extensions: x; y={SECRET}/\n"),
        format!("{KEY}Sec-WebSocket-Protocol: {SECRET}\n"),
        format!("{KEY}Sec-WebSocket-Protocol: {SECRET} x\n"),
        format!("{KEY}Authorization: Bearer {SECRET}\nAuthorization: {SECRET}\u{7f}\n"),
        format!("Sec-WebSocket-Key: {SECRET}\n"),
        format!("{KEY}Sec-WebSocket-Version: {SECRET}\n"),
    ] {
        wires.push(request(&target, &lines));
    }
    for format in ["json", "text"] {
        let server = start("", &["serve", "--log-format", format]);
        run(async {
            for wire in &wires {
                exchange(&server, wire).await;
            }
        });
        let log = log_of(server);
        assert!(log.contains("session.attached"), "the session was there: {log}");
        assert!(log.matches("handshake.refused").count() >= 10, "{log}");
        for line in log.lines() {
            assert!(!line.contains(SECRET), "{line}");
        }
    }
}

/// Whatever a peer says, it makes no line of the log, colours no terminal, and turns no text round.
#[test]
fn what_peers_say_stays_in_its_place_in_the_log() {
    const ATTACK: &str =
        "x\r\n{\"level\":\"ERROR\",\"event\":\"forged\"}\r\n\u{1b}[31m\u{202e}\u{2066}\u{200b}\u{85}\0x";
    // What HTTP lets through in a field, and in a target.
    let field = "x\t{\"event\":\"forged\"}\t\u{202e}\u{9b}31m";
    let target = "/v1/streams/x%0d%0a%1b[31m%e2%80%ae{\"event\":\"forged\"}";
    let ascii = "https://x\t{\"event\":\"forged\"}\tx";
    let close = [&4000_u16.to_be_bytes()[..], ATTACK.as_bytes()].concat();
    let open = request("/v1/streams/s", KEY);
    let wires = [
        request(target, KEY),
        request(&format!("/\u{202e}{ATTACK}"), KEY),
        request("/echo", &format!("{KEY}Origin: {ascii}\n")),
        request("/echo", &format!("{KEY}Origin: {field}\n")),
        request("/echo", &format!("{KEY}Origin: https://evil.example/{ascii}\n")),
        request("/echo", &format!("{KEY}Sec-WebSocket-Protocol: {field}\n")),
        request("/echo", &format!("{KEY}Sec-WebSocket-Protocol: {ascii}\n")),
        request("/echo", &format!("{KEY}Sec-WebSocket-Extensions: {ascii}\n")),
        request("/echo", &format!("{KEY}User-Agent: {field}\n")),
        request("/echo", &format!("{KEY}{field}\n")),
        [&open[..], &frame(0x88, &close)].concat(),
        [&open[..], &frame(0x89, ATTACK.as_bytes()), &frame(0x88, &close)].concat(),
        [&open[..], &frame(0x81, ATTACK.as_bytes())].concat(),
        [
            &open[..],
            &frame(0x81, format!("RESUME_FROM:{ATTACK}").as_bytes()),
        ]
        .concat(),
        [&open[..], &frame(0x81, format!("SESSION:{ATTACK}:1").as_bytes())].concat(),
        ATTACK.as_bytes().to_vec(),
    ];
    for format in ["json", "text"] {
        let server = start(
            "",
            &[
                "serve",
                "--origin",
                "https://good.example",
                "--log-format",
                format,
            ],
        );
        run(async {
            for wire in &wires {
                exchange(&server, wire).await;
            }
        });
        let log = log_of(server);
        assert!(log.matches("handshake.refused").count() >= 10, "{log}");
        for line in log.lines() {
            assert!(!line.contains(is_hidden), "{line:?}");
            if format == "json" {
                let line: serde_json::Value = serde_json::from_str(line).expect("one object per line");
                let event = line["event"].as_str();
                assert!(line["level"].is_string() && event != Some("forged"), "{line}");
            } else {
                let time = line.split(' ').next().unwrap_or_default();
                assert!(
                    time.len() == 27 && time.ends_with('Z'),
                    "begins with its time: {line:?}"
                );
            }
        }
    }
}

#[cfg(target_os = "linux")]
mod on_linux {
    use super::*;

    /// How many descriptors below `limit` are open. There may be others above it, inherited from before it was set.
    fn descriptors(server: &Server, limit: usize) -> usize {
        let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
        let numbers = open.map(|entry| entry.unwrap().file_name().to_string_lossy().parse::<usize>());
        numbers
            .filter(|number| number.as_ref().is_ok_and(|number| *number < limit))
            .count()
    }

    /// Time on a processor so far, in hundredths of a second.
    fn ticks(server: &Server) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
        let behind_the_name = stat.rsplit(") ").next().unwrap();
        let fields: Vec<&str> = behind_the_name.split(' ').collect();
        let [user, system] = [11, 12].map(|field| fields[field].parse::<u64>().unwrap());
        user + system
    }

    /// Polls until it is so; a test that waits this long has failed.
    async fn until(what: &str, is_so: impl Fn() -> bool) {
        let begun = tokio::time::Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < PATIENCE, "{what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// With all descriptors in use the server waits between its attempts to accept, goes on serving whom it has, and accepts
    /// again once there is room. How soon is tested on a clock that jumps, with weirline-server.
    #[test]
    fn without_descriptors_the_server_is_idle_and_recovers() {
        const LIMIT: usize = 64;
        let server = start(&format!("ulimit -n {LIMIT};"), &["dev"]);
        run(async {
            let mut first = Socket::open(&server.url("/echo")).await;
            let mut idle = Vec::new();
            for _ in 0..2 * LIMIT {
                idle.push(TcpStream::connect(server.address()).await.unwrap());
            }
            until("all descriptors are in use", || {
                descriptors(&server, LIMIT) == LIMIT
            })
            .await;

            let (begun, before) = (tokio::time::Instant::now(), ticks(&server));
            tokio::time::sleep(Duration::from_secs(2)).await;
            let used = Duration::from_millis(10 * (ticks(&server) - before));
            let took = begun.elapsed();
            assert!(
                used < took / 20,
                "{used:?} of {took:?} on a processor: 5 % is the bar"
            );
            first.send("still served").await;
            first.expect(&["still served"]).await;

            drop(idle);
            let mut late = Socket::open(&server.url("/echo")).await;
            late.send("there is room again").await;
            late.expect(&["there is room again"]).await;
        });
        let log = log_of(server);
        assert!(log.matches("accept.failed").count() >= 2, "{log}");
    }

    /// Resets in the open, with an answer unread, inside a frame, behind a Close, and inside the request: they are ordinary.
    #[test]
    fn resets_leave_nothing_behind_and_alarm_nobody() {
        const EACH: usize = 60;
        let server = start("", &["dev"]);
        let open = request("/echo", KEY);
        let message = frame(0x82, &[7; 125]);
        let wires = [
            open.clone(),
            [&open[..], &message].concat(),
            [&open[..], &message[..50]].concat(),
            [&open[..], &frame(0x88, &1000_u16.to_be_bytes())].concat(),
            open[..50].to_vec(),
        ];
        run(async {
            // So many that each worker has some of them, and all that is opened once is open.
            let mut open = Vec::new();
            for _ in 0..50 {
                open.push(Socket::open(&server.url("/echo")).await);
            }
            let baseline = descriptors(&server, usize::MAX) - open.len();
            for socket in open {
                socket.cut().await;
            }
            for _ in 0..EACH {
                for (number, wire) in wires.iter().enumerate() {
                    let mut stream = TcpStream::connect(server.address()).await.unwrap();
                    stream.write_all(wire).await.unwrap();
                    if number < 4 {
                        // Accepted, so that it is a connection that is reset.
                        let mut answer = [0; 12];
                        stream.read_exact(&mut answer).await.unwrap();
                        assert_eq!(answer, *b"HTTP/1.1 101");
                    }
                    stream.set_zero_linger().unwrap();
                }
            }
            until("descriptors are back", || {
                descriptors(&server, usize::MAX) <= baseline
            })
            .await;
        });
        let log = log_of(server);
        let opened = log.matches("event=\"connection.open\"").count();
        assert!(opened > 4 * EACH, "{opened}");
        assert_eq!(opened, log.matches("event=\"connection.closed\"").count());
        let mut alarms = log
            .lines()
            .filter(|line| line.contains(" WARN ") || line.contains(" ERROR "));
        // This machine may allow fewer descriptors than the server would like.
        assert!(alarms.all(|line| line.contains("descriptors.few")), "{log}");
        let left = log.lines().filter(|line| line.contains("worker.draining"));
        assert!(
            left.map(|line| assert!(line.contains("connections=0"), "{line}"))
                .count()
                > 0
        );
    }
}
