//! Extension headers that have broken other parsers (docs/threats.md): an offer is declined, or refused for its grammar, and
//! nothing that a peer writes there panics or is accepted.

mod common;

use common::{read, request};
use weirline_handshake::{
    ClientRequest, ClientWindow, ExtensionOffer, HandshakeError, HeadLimits, OfferProblem, RejectionKind,
    ResponseReader, WindowBits, WsUrl,
};

const WINDOWS: [&str; 2] = ["server_max_window_bits", "client_max_window_bits"];

/// The offers of a request with this field, whose answer accepts none of them; `None` when it is refused for its grammar.
fn offers(field: &str) -> Option<Vec<ExtensionOffer>> {
    match read(&request(&[("+Sec-WebSocket-Extensions", Some(field))])) {
        Ok(request) => {
            let answer = request.accept().encode().to_ascii_lowercase();
            let answer = String::from_utf8(answer).expect("ASCII");
            assert!(answer.starts_with("http/1.1 101 "), "{field}: {answer}");
            assert!(!answer.contains("extension"), "{field} is declined: {answer}");
            Some(request.extensions().to_vec())
        }
        Err(rejection) => {
            let (status, kind) = (rejection.status().as_u16(), rejection.kind());
            assert_eq!((status, kind), (400, RejectionKind::Extension), "{field}");
            None
        }
    }
}

/// The window that an offer names, whichever it is.
fn window(offer: &ExtensionOffer) -> Option<WindowBits> {
    let ExtensionOffer::PermessageDeflate(deflate) = offer else {
        return None;
    };
    match deflate.client_max_window_bits {
        ClientWindow::AtMost(bits) => Some(bits),
        _ => deflate.server_max_window_bits,
    }
}

/// RFC 7692 §7.1.2: 8 to 15 and nothing else, from 0 up and in every odd spelling; the server declines them all.
#[test]
fn windows_of_every_size_are_declined() {
    for bits in 0..=300_u32 {
        for (name, quote) in WINDOWS.iter().flat_map(|name| [(name, ""), (name, "\"")]) {
            let field = format!("permessage-deflate; {name}={quote}{bits}{quote}");
            let offers = offers(&field).expect("grammatical");
            let expect = u8::try_from(bits).ok().and_then(WindowBits::new);
            assert_eq!(expect.is_some(), (8..=15).contains(&bits), "{bits}");
            match expect {
                Some(expect) => assert_eq!(window(&offers[0]), Some(expect), "{field}"),
                None => assert_eq!(
                    offers,
                    [ExtensionOffer::Unacceptable(OfferProblem::WindowBits)],
                    "{field}"
                ),
            }
        }
    }
    let spelled = [
        "-8",
        "+8",
        "08",
        "008",
        "8.0",
        "0x8",
        "8e0",
        "1_0",
        "eight",
        "4294967304",
        "18446744073709551624",
        "340282366920938463463374607431768211464",
    ];
    let no_values = [
        "", "\"", "\"\"", "8 9", "\"8", "\"8 \"", "8;", "8;;", "8=9", "{8}", "\u{bc}",
    ];
    for name in WINDOWS {
        for value in spelled {
            let declined = [ExtensionOffer::Unacceptable(OfferProblem::WindowBits)];
            let field = format!("permessage-deflate; {name}={value}");
            assert_eq!(offers(&field).expect("grammatical"), declined, "{field}");
        }
        for value in no_values {
            assert_eq!(
                offers(&format!("permessage-deflate; {name}={value}")),
                None,
                "{value}"
            );
        }
    }
}

/// What a server answers that was offered nothing: any window is one too many.
#[test]
fn answers_with_a_window_are_refused() {
    let url = WsUrl::parse("ws://server.example/").expect("valid");
    let ours = ClientRequest::new(&url, *b"the sample nonce");
    for (bits, name) in (0..=300).flat_map(|bits| WINDOWS.map(|name| (bits, name))) {
        let answer = format!(
            "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
            Sec-WebSocket-Extensions: permessage-deflate; {name}={bits}\r\n\r\n"
        );
        let read = ResponseReader::new(HeadLimits::default(), &ours).handle_input(answer.as_bytes());
        assert!(
            matches!(read, Err(HandshakeError::ExtensionNotOffered)),
            "{answer}"
        );
    }
}

/// Fields as long as a head may be, of what makes parsers that go back and forth slow: each has its verdict.
#[test]
fn long_fields_are_declined_or_refused() {
    const ROOM: usize = 15 << 10;
    for (pieces, grammatical) in [
        (["a", " ", "b"], false),
        (["a", "\t", ",b"], true),
        (["a;", " ", "b"], true),
        (["a=", "\"", "b"], false),
        (["a;b=\"", "\\a", "\""], true),
        (["a;b=\"", "\\", ""], false),
        (["a", ",", "b"], true),
        (["a", ";", "b"], false),
        (["a", ";b", ""], false),
        (["a", ",b", ""], false),
        (["permessage-deflate; server_max_window_bits=", "9", ""], true),
        (["permessage-deflate", "; server_max_window_bits=9", ""], false),
        (["permessage-deflate", ", permessage-deflate", ""], false),
    ] {
        let [first, middle, last] = pieces;
        let field = format!("{first}{}{last}", middle.repeat(ROOM / middle.len()));
        assert_eq!(offers(&field).is_some(), grammatical, "{pieces:?}");
    }
}
