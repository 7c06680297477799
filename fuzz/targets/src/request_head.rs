//! Upgrade requests from arbitrary bytes: byte by byte and in any split as whole; what is accepted is beyond dispute, and its answer
//! is one that our client takes; every refusal is one answer that closes.
//!
//! The first byte chooses the limits, the second the cuts; the rest is what the network brings.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use weirline_handshake::{
    ClientRequest, HandshakeError, HeadLimits, Progress, Rejection, RequestReader, ResponseProgress,
    ResponseReader, Subprotocol, UpgradeRequest, WsUrl, negotiate_subprotocol,
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
        None => {
            assert!(wire.len() <= limits.bytes, "nothing over the limit is waited for");
            assert_eq!(end(wire), None, "a complete head is judged");
        }
        Some(Err(rejection)) => judge_rejection(&rejection, wire, limits),
        Some(Ok((request, consumed))) => {
            assert_eq!(Some(consumed), end(wire), "the head ends at its blank line");
            assert!(consumed <= limits.bytes, "a longer head is refused");
            judge_request(&request, &PlainHead::read(&wire[..consumed]), limits);
            judge_answer(&request);
        }
    }
}

const LIMITS: [HeadLimits; 4] = [
    HeadLimits::new(16 * 1024, 64),
    HeadLimits::new(300, 8),
    HeadLimits::new(64, 64),
    HeadLimits::new(400, 3),
];

type Read = Option<Result<(Box<UpgradeRequest>, usize), Rejection>>;

/// What a reader makes of these pieces; `consumed` counts from the first.
fn feed<'a>(limits: HeadLimits, pieces: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let mut reader = RequestReader::new(limits);
    let mut fed = 0;
    for piece in pieces {
        match reader.handle_input(piece) {
            Ok(Progress::NeedMore) => fed += piece.len(),
            Ok(Progress::Done { request, consumed }) => return Some(Ok((request, fed + consumed))),
            Err(rejection) => return Some(Err(rejection)),
        }
    }
    None
}

/// RFC 6455 §4.2.1 and RFC 9112, by the plain reading.
fn judge_request(request: &UpgradeRequest, head: &PlainHead<'_>, limits: HeadLimits) {
    let start = std::str::from_utf8(head.start).expect("a start line of ASCII");
    let target = start
        .strip_prefix("GET ")
        .and_then(|rest| rest.strip_suffix(" HTTP/1.1"));
    let target = target.expect("GET, a target, HTTP/1.1");
    assert!(target.bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(request.path().starts_with('/') && target.contains(request.path().trim_start_matches('/')));
    assert!(head.len() <= limits.headers && request.headers().len() == head.len());
    head.assert_bodiless();
    assert_eq!(head.all("host").len(), 1);
    assert_eq!(head.all("sec-websocket-version"), [b"13"]);
    assert_eq!(head.all("sec-websocket-key"), [&request.key().as_bytes()[..]]);
    assert!(head.names("upgrade", "websocket") && !head.names("upgrade", "h2c"));
    assert!(head.names("connection", "upgrade"));
    assert_eq!(head.all("origin").len(), usize::from(request.origin().is_some()));
    let names = request.subprotocols();
    assert!(names.len() <= Subprotocol::OFFERS_MAX);
    for name in names {
        assert!(head.names("sec-websocket-protocol", name.as_str()));
        assert_eq!(
            names.iter().filter(|other| *other == name).count(),
            1,
            "each once"
        );
    }
    assert!(request.extensions().len() <= weirline_handshake::ExtensionOffer::OFFERS_MAX);
}

/// Our client takes our answer, with frames behind it; and reads what it would itself have sent in the same words.
fn judge_answer(request: &UpgradeRequest) {
    // A key with bits behind its last byte is legal, but none that a client of ours sends.
    let decoded = STANDARD.decode(request.key().as_bytes()).ok();
    let Some(nonce) = decoded.and_then(|bytes| <[u8; 16]>::try_from(bytes).ok()) else {
        return;
    };
    let names: Vec<&str> = request.subprotocols().iter().map(Subprotocol::as_str).collect();
    let query = request
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let address = format!("ws://{}{}{query}", request.host(), request.path());
    let url = WsUrl::parse(&address).expect("what is served can be dialled");
    let mut ours = ClientRequest::new(&url, nonce)
        .subprotocols(&names)
        .expect("tokens, each once");
    if let Some(origin) = request.origin() {
        ours = ours.origin(origin.clone());
    }
    let again = feed(HeadLimits::new(1 << 20, 64), [&ours.encode()[..]]);
    let (again, _) = again.expect("a whole head").expect("what we encode we accept");
    assert_eq!(again.subprotocols(), request.subprotocols());
    assert_eq!(again.origin(), request.origin());
    assert_eq!((again.path(), again.query()), (request.path(), request.query()));
    assert_eq!(
        (again.host().host(), again.key()),
        (request.host().host(), request.key())
    );
    let last = names.last().copied();
    let chosen = negotiate_subprotocol(request, last.as_slice()).expect("one that was offered");
    let answer = request.accept().subprotocol(chosen).expect("offered").encode();
    let wire = [&answer[..], b"\x81\x00"].concat();
    let mut reader = ResponseReader::new(HeadLimits::default(), &ours);
    let Ok(ResponseProgress::Done { response, consumed }) = reader.handle_input(&wire) else {
        panic!("our client refuses our answer: {}", answer.escape_ascii());
    };
    assert_eq!(consumed, answer.len());
    assert_eq!(response.subprotocol().map(Subprotocol::as_str), chosen);
}

fn judge_rejection(rejection: &Rejection, wire: &[u8], limits: HeadLimits) {
    let status = rejection.status().as_u16();
    assert!(matches!(status, 400 | 403 | 405 | 426 | 431), "{rejection}");
    assert!(!rejection.to_string().chars().any(char::is_control));
    if status == 431 {
        let lines = wire.iter().filter(|byte| **byte == b'\n').count();
        assert!(wire.len() > limits.bytes || lines > limits.headers);
    }
    let answer = rejection.encode();
    let url = WsUrl::parse("ws://localhost/").expect("a plain address");
    let mut reader = ResponseReader::new(HeadLimits::default(), &ClientRequest::new(&url, [7; 16]));
    let Err(HandshakeError::Refused(refused)) = reader.handle_input(&answer) else {
        panic!("our client does not see the refusal: {}", answer.escape_ascii());
    };
    assert_eq!(refused.status, rejection.status());
    assert_eq!(refused.body_text().trim_end(), rejection.message());
    let head = PlainHead::read(&answer[..end(&answer).expect("a head")]);
    assert!(head.names("connection", "close"), "a refusal closes");
}
