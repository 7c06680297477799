//! A server that means harm: what it says is shown to people on a terminal, and must not command it or turn its text round
//! (docs/threats.md).

mod common;

use std::process::{Child, Command, Stdio};

use common::{is_hidden, run};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use weirline_handshake::{Subprotocol, UpgradeRequest};
use weirline_tokio::{
    AcceptSettings, CloseCode, Config, Connection, Delivery, Driver, InboxLimits, Message, accept, channel,
};

/// What a body or a reason may hold, and what the text of an ERROR may: there control characters are refused.
const HIDDEN: &str = "x\u{1b}[2J\u{9b}31m\r\u{202e}\u{200b}x";
const BIDI: &str = "x\u{202e}\u{2066}\u{200b}\u{feff}x";

/// What a server does with one connection.
enum Says {
    /// Refuses the upgrade; this is the body.
    Refusal(&'static str),
    /// Closes with 4000 and this reason.
    Close(&'static str),
    /// This in place of the answer to the opening, then closes.
    Opening(String),
    /// Answers the opening, and the first line with this.
    Line(String),
}

async fn refuse(mut stream: TcpStream, body: &str) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let len = body.len();
    let answer =
        format!("HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: {len}\r\n\r\n{body}");
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let _ = stream.read_to_end(&mut head).await;
}

async fn say(stream: TcpStream, says: Says) {
    let refusal = match says {
        Says::Refusal(body) => return refuse(stream, body).await,
        says => says,
    };
    let decide = |request: &UpgradeRequest| {
        let offered = request.subprotocols().first();
        Ok(request.accept().subprotocol(offered.map(Subprotocol::as_str))?)
    };
    let accepted = accept(stream, &AcceptSettings::default(), decide).await.unwrap();
    let now = tokio::time::Instant::now().into_std();
    let connection = Connection::server(Config::default().into(), now);
    let (handle, mut inbox, handler) = channel(InboxLimits::default());
    let driver = Driver::new(accepted.stream, connection, accepted.residue, handler, ());
    let driver = tokio::task::spawn_local(driver);
    match refusal {
        Says::Close(reason) => handle.close(CloseCode::try_from(4000).unwrap(), reason),
        Says::Opening(text) => {
            handle.send(Message::text(text)).await.unwrap();
            handle.close(CloseCode::POLICY_VIOLATION, "");
        }
        Says::Line(text) => {
            handle.send(Message::text("RESUME_FROM:0")).await.unwrap();
            while let Some(Delivery::Message(message)) = inbox.recv().await {
                if message.payload.starts_with(b"1:") {
                    handle.send(Message::text(text)).await.unwrap();
                    break;
                }
            }
        }
        Says::Refusal(_) => unreachable!("answered above"),
    }
    while inbox.recv().await.is_some() {}
    driver.await.unwrap();
}

/// Runs a command against a server that says these, one a connection, and returns what it says itself.
async fn said(command: &str, says: Vec<Says>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/v1/streams/s", listener.local_addr().unwrap());
    let mut child: Child = Command::new(env!("CARGO_BIN_EXE_weirline"))
        .args([command, &url])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"a line\n").unwrap();
    for says in says {
        let (stream, _) = tokio::time::timeout(common::PATIENCE, listener.accept())
            .await
            .expect("it connects")
            .unwrap();
        say(stream, says).await;
    }
    drop(listener);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{command}: {text:?}");
    text
}

#[test]
fn what_a_server_says_is_shown_without_its_controls() {
    run(async {
        let refused = || Says::Refusal("no");
        for (command, says) in [
            ("tail", vec![Says::Refusal(HIDDEN)]),
            ("tail", vec![Says::Close(HIDDEN), refused()]),
            ("tail", vec![Says::Opening(format!("ERROR:forbidden:{BIDI}"))]),
            ("publish", vec![Says::Opening(format!("ERROR:forbidden:{BIDI}"))]),
            ("publish", vec![Says::Line(format!("ERROR:too-large:1:{BIDI}"))]),
        ] {
            let text = said(command, says).await;
            assert!(text.contains("\\u{202e}"), "{command} shows it: {text:?}");
            for line in text.lines() {
                assert!(!line.contains(is_hidden), "{command}: {line:?}");
            }
        }
    });
}
