//! Beside tungstenite: each side of our handshake with the other side of theirs, and answers that both must refuse.

mod common;

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};

use common::{feed, request};
use proptest::prelude::*;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::handshake::server::{Request, Response};
use weirline_handshake::{
    ClientRequest, HandshakeError, HeadLimits, ResponseProgress, ResponseReader, Subprotocol, WsUrl,
};

/// A peer that answers what is written by what `answer` makes of all that was written so far.
struct Peer<F> {
    written: Vec<u8>,
    incoming: VecDeque<u8>,
    answer: F,
}

impl<F: FnMut(&[u8]) -> Option<Vec<u8>>> Peer<F> {
    fn new(incoming: &[u8], answer: F) -> Self {
        Self {
            written: Vec::new(),
            incoming: incoming.iter().copied().collect(),
            answer,
        }
    }
}

impl<F: FnMut(&[u8]) -> Option<Vec<u8>>> Read for Peer<F> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.incoming.is_empty() {
            let answer = (self.answer)(&self.written).ok_or(ErrorKind::UnexpectedEof)?;
            self.incoming.extend(answer);
        }
        self.incoming.read(into)
    }
}

impl<F> Write for Peer<F> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What tungstenite's server answers to these bytes; `None` where it refuses.
#[expect(clippy::result_large_err, reason = "tungstenite asks for this error")]
fn their_answer(wire: &[u8]) -> Option<Vec<u8>> {
    let choose = |request: &Request, mut response: Response| {
        if let Some(first) = request.headers().get("sec-websocket-protocol") {
            let first = first
                .to_str()
                .unwrap_or_default()
                .split(',')
                .next()
                .unwrap_or_default();
            let first = first.trim().parse().expect("a token is a header value");
            response.headers_mut().insert("sec-websocket-protocol", first);
        }
        Ok(response)
    };
    let mut socket = tungstenite::accept_hdr(Peer::new(wire, |_: &[u8]| None), choose).ok()?;
    Some(std::mem::take(&mut socket.get_mut().written))
}

/// Whether tungstenite's client takes the answer that `change` makes of ours.
fn their_client_takes(change: impl Fn(String) -> String) -> bool {
    let request = "ws://server.example/chat?x=1"
        .into_client_request()
        .expect("a legal address");
    let peer = Peer::new(b"", |written: &[u8]| {
        let (request, consumed) = feed(written, &[], HeadLimits::default())?.expect("we take their request");
        assert_eq!(
            (consumed, request.path(), request.query()),
            (written.len(), "/chat", Some("x=1"))
        );
        let answer = String::from_utf8(request.accept().encode().to_vec()).expect("ASCII");
        Some(change(answer).into_bytes())
    });
    tungstenite::client(request, peer).is_ok()
}

/// The answer to the standard's key, changed in one place: does our client take it?
fn our_client_takes(change: impl Fn(String) -> String) -> Result<(), HandshakeError> {
    let url = WsUrl::parse("ws://server.example/chat").expect("a legal address");
    let ours = ClientRequest::new(&url, *b"the sample nonce");
    let wire = ours.encode();
    let (request, _) = feed(&wire, &[], HeadLimits::default())
        .expect("complete")
        .expect("valid");
    let answer = String::from_utf8(request.accept().encode().to_vec()).expect("ASCII");
    let mut reader = ResponseReader::new(HeadLimits::default(), &ours);
    match reader.handle_input(change(answer).as_bytes())? {
        ResponseProgress::Done { .. } => Ok(()),
        ResponseProgress::NeedMore => Err(reader.handle_eof()),
    }
}

#[test]
fn both_clients_refuse_the_same_answers() {
    let check = |from: &str, to: &str, expect: bool| {
        let change = |answer: String| {
            let changed = answer.replacen(from, to, 1);
            assert!(from == to || changed != answer, "{from:?} occurs");
            changed
        };
        assert_eq!(
            our_client_takes(change).is_ok(),
            expect,
            "ours: {from:?} to {to:?}"
        );
        assert_eq!(their_client_takes(change), expect, "theirs: {from:?} to {to:?}");
    };
    check("", "", true);
    check("websocket", "WebSocket", true);
    check("Connection: Upgrade", "Connection: upgrade", true);
    check("websocket", "h2c", false);
    check("Upgrade: websocket\r\n", "", false);
    check("Connection: Upgrade\r\n", "", false);
    check("Connection: Upgrade", "Connection: close", false);
    check("Sec-WebSocket-Accept: ", "Sec-WebSocket-Accept: A", false);
    check("Sec-WebSocket-Accept", "X", false);
    check("101", "200", false);
    check("101", "403", false);
    check("HTTP/1.1", "ICY", false);
    check("\r\n\r\n", "\r\nSec-WebSocket-Protocol: chat\r\n\r\n", false);
}

/// Where both must refuse; theirs takes much that ours does not (bodies, a repeated key, obs-fold).
#[test]
fn both_servers_refuse_the_same_requests() {
    let check = |changes: &[(&str, Option<&str>)], expect: bool| {
        let wire = request(changes);
        let ours = feed(&wire, &[], HeadLimits::default()).expect("complete").is_ok();
        assert_eq!(
            (ours, their_answer(&wire).is_some()),
            (expect, expect),
            "{changes:?}"
        );
    };
    check(&[], true);
    check(&[("Upgrade", Some("WEBSOCKET"))], true);
    check(&[("Connection", Some("keep-alive, Upgrade"))], true);
    check(&[("Upgrade", None)], false);
    check(&[("Upgrade", Some("h2c"))], false);
    check(&[("Connection", None)], false);
    check(&[("Connection", Some("close"))], false);
    check(&[("Sec-WebSocket-Version", None)], false);
    check(&[("Sec-WebSocket-Version", Some("8"))], false);
    check(&[("Sec-WebSocket-Key", None)], false);
}

proptest! {
    /// Our request, their answer, our reading of it; with any key and any offer.
    #[test]
    fn their_server_takes_our_requests(
        nonce: [u8; 16], path in "(/[a-z0-9._~-]{0,9}){0,3}", names in prop::collection::btree_set("[a-zA-Z0-9.+-]{1,12}", 0..4),
    ) {
        let url = WsUrl::parse(&format!("ws://server.example:7070{path}")).expect("a legal address");
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let ours = ClientRequest::new(&url, nonce).subprotocols(&names).expect("tokens");
        let answer = their_answer(&ours.encode()).expect("they take our request");
        let mut reader = ResponseReader::new(HeadLimits::default(), &ours);
        let Ok(ResponseProgress::Done { response, consumed }) = reader.handle_input(&answer) else {
            return Err(TestCaseError::fail("we refuse their answer"));
        };
        prop_assert_eq!(consumed, answer.len());
        prop_assert_eq!(response.subprotocol().map(Subprotocol::as_str), names.first().copied());
    }
}
