//! Answers to our request from arbitrary bytes: byte by byte and in any split as whole, up to the end of the stream; a 101 that is
//! taken answers our key and nothing that we did not ask for.
//!
//! The first byte chooses the limits, the second the cuts; the rest is what the network brings.

use weirline_handshake::{
    ClientRequest, ClientResponse, HandshakeError, HeadLimits, RefusedUpgrade, ResponseProgress,
    ResponseReader, Subprotocol, WsUrl,
};

use crate::plain_head::{PlainHead, end};
use crate::source::{Source, pieces};

pub(crate) fn run(input: &[u8]) {
    let mut source = Source::new(input);
    let limits = source.choose(&LIMITS);
    let seed = source.byte();
    let wire = source.remainder();
    let whole = feed(limits, [wire]);
    let shown = format!("{whole:?}");
    assert_eq!(
        format!("{:?}", feed(limits, pieces(seed, wire))),
        shown,
        "cut by {seed}"
    );
    assert_eq!(
        format!("{:?}", feed(limits, wire.chunks(1))),
        shown,
        "byte by byte"
    );
    match whole {
        Ok((response, consumed)) => judge_response(&response, &wire[..consumed], limits),
        Err(error) => {
            assert!(!error.to_string().chars().any(char::is_control), "{error:?}");
            if let HandshakeError::Refused(refused) = error {
                judge_refusal(&refused, wire, limits);
            }
        }
    }
}

const LIMITS: [HeadLimits; 3] = [
    HeadLimits::new(16 * 1024, 64),
    HeadLimits::new(200, 8),
    HeadLimits::new(400, 3),
];

/// The answer to the key of RFC 6455 §1.3, which is the one we send here.
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// What a reader makes of these pieces, behind which the stream ends; `consumed` counts from the first.
fn feed<'a>(
    limits: HeadLimits,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(Box<ClientResponse>, usize), HandshakeError> {
    let url = WsUrl::parse("ws://server.example/chat").expect("a plain address");
    let request = ClientRequest::new(&url, *b"the sample nonce");
    let request = request.subprotocols(&["chat", "superchat"]).expect("tokens");
    let mut reader = ResponseReader::new(limits, &request);
    let mut fed = 0;
    for piece in pieces {
        match reader.handle_input(piece)? {
            ResponseProgress::NeedMore => fed += piece.len(),
            ResponseProgress::Done { response, consumed } => return Ok((response, fed + consumed)),
        }
    }
    Err(reader.handle_eof())
}

/// The heads in `wire`, of which the last is the answer that counts.
fn heads(mut wire: &[u8], limits: HeadLimits) -> Vec<PlainHead<'_>> {
    let mut heads = Vec::new();
    while let Some(end) = end(wire) {
        assert!(end <= limits.bytes, "a longer head is refused");
        let head = PlainHead::read(&wire[..end]);
        wire = &wire[end..];
        let interim = head.start.get(9..10) == Some(b"1") && head.start.get(9..12) != Some(b"101");
        heads.push(head);
        if !interim {
            break;
        }
    }
    heads
}

/// RFC 6455 §4.1, what the client must validate, by the plain reading.
fn judge_response(response: &ClientResponse, wire: &[u8], limits: HeadLimits) {
    let mut heads = heads(wire, limits);
    let head = heads.pop().expect("an answer");
    assert!(heads.len() <= ResponseReader::INTERIM_MAX);
    assert!(wire.ends_with(b"\r\n\r\n"), "the head ends at its blank line");
    assert!(head.start.starts_with(b"HTTP/1.1 101"));
    assert!(head.len() <= limits.headers && response.headers().len() == head.len());
    head.assert_bodiless();
    assert!(head.all("upgrade").len() == 1 && head.names("upgrade", "websocket"));
    assert!(head.names("connection", "upgrade"));
    assert_eq!(head.all("sec-websocket-accept"), [ACCEPT]);
    assert!(
        head.all("sec-websocket-extensions")
            .iter()
            .all(|value| value.is_empty())
    );
    let chosen = head.all("sec-websocket-protocol");
    let told: Vec<&[u8]> = response
        .subprotocol()
        .map(Subprotocol::as_str)
        .map(str::as_bytes)
        .into_iter()
        .collect();
    assert_eq!(chosen, told);
    assert!(
        told.iter()
            .all(|name| [&b"chat"[..], b"superchat"].contains(name))
    );
}

fn judge_refusal(refused: &RefusedUpgrade, wire: &[u8], limits: HeadLimits) {
    let status = refused.status;
    assert!(!status.is_informational());
    assert!(refused.body_prefix.len() <= ResponseReader::BODY_PREFIX_MAX);
    let heads = heads(wire, limits);
    assert!(heads.len() <= ResponseReader::INTERIM_MAX + 1);
    let head = heads.last().expect("an answer");
    assert_eq!(head.start.get(9..12), Some(status.as_str().as_bytes()));
    let body = &refused.body_prefix;
    assert!(body.is_empty() || wire.windows(body.len()).any(|window| window == body));
}
