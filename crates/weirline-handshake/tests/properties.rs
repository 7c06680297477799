//! Properties of both readers over generated input.

mod common;

use common::{feed, request};
use proptest::collection::vec;
use proptest::prelude::*;
use weirline_handshake::{
    ClientRequest, Escaped, HandshakeError, HeadLimits, Origin, ResponseProgress, ResponseReader,
    Subprotocol, WsUrl,
};

/// Pieces that are likely to matter to a parser of heads.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        &b"\r\n"[..],
        b"\r\n\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b":",
        b",",
        b";",
        b"=",
        b"\"",
        b"\\",
        b"\0",
        b"\xff",
        b"GET / HTTP/1.1\r\n",
        b"GET /a?b HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\n",
        b"HTTP/1.1 101 X\r\n",
        b"HTTP/1.1 503 X\r\n",
        b"HTTP/1.1 103 X\r\n\r\n",
        b"Host: a\r\n",
        b"Upgrade: websocket\r\n",
        b"Connection: Upgrade\r\n",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        b"Sec-WebSocket-Version: 13\r\n",
        b"Origin: https://a.example\r\n",
        b"Origin: ",
        b"Host: ",
        b"Sec-WebSocket-Protocol: a, b\r\n",
        b"Sec-WebSocket-Protocol: ",
        b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=8\r\n",
        b"Sec-WebSocket-Extensions: ",
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 0\r\n",
        b"Content-Length: 3\r\n",
        b"Retry-After: 3\r\n",
        b"\x81\x85",
    ]);
    prop_oneof![4 => known.prop_map(<[u8]>::to_vec), 1 => vec(any::<u8>(), 0..12)]
}

/// A valid request with some bytes replaced, removed or put in.
fn nearly_valid() -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<prop::sample::Index>(), 0..3_u8, piece());
    vec(edit, 0..4).prop_map(|edits| {
        let mut head = request(&[
            ("+Origin", Some("https://a.example")),
            ("+Sec-WebSocket-Protocol", Some("a, b")),
        ]);
        head.extend_from_slice(b"\x81\x80\x00\x00\x00\x00");
        for (index, what, piece) in edits {
            let at = index.index(head.len());
            match what {
                0 => head[at] = piece.first().copied().unwrap_or(0),
                1 => drop(head.remove(at)),
                _ => drop(head.splice(at..at, piece)),
            }
        }
        head
    })
}

fn input() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        nearly_valid(),
        vec(piece(), 0..40).prop_map(|pieces| pieces.concat()),
        vec(any::<u8>(), 0..300)
    ]
}

fn cuts(indices: &[prop::sample::Index], length: usize) -> Vec<usize> {
    let mut cuts: Vec<_> = indices.iter().map(|index| index.index(length + 1)).collect();
    cuts.sort_unstable();
    cuts
}

fn limits() -> impl Strategy<Value = HeadLimits> {
    prop_oneof![
        Just(HeadLimits::default()),
        (0..400_usize, 0..10_usize).prop_map(|(b, h)| HeadLimits::new(b, h))
    ]
}

fn client() -> ClientRequest {
    let url = WsUrl::parse("ws://a/").expect("valid");
    ClientRequest::new(&url, *b"the sample nonce")
        .subprotocols(&["a"])
        .expect("tokens")
}

fn feed_answer(input: &[u8], cuts: &[usize], limits: HeadLimits) -> String {
    let mut reader = ResponseReader::new(limits, &client());
    let mut start = 0;
    for &end in cuts.iter().chain([&input.len()]) {
        match reader.handle_input(&input[start..end]) {
            Ok(ResponseProgress::NeedMore) => start = end,
            Ok(ResponseProgress::Done { response, consumed }) => {
                return format!("{response:?} {}", start + consumed);
            }
            Err(error) => return format!("{error:?}"),
        }
    }
    format!("{:?}", reader.handle_eof())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// Law 3: any split gives the same; and peer input never panics. What is shown of a refusal is one clean line.
    #[test]
    fn requests_do_not_depend_on_the_split(
        input in input(), limits in limits(), indices in vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let whole = feed(&input, &[], limits);
        let bytewise: Vec<_> = (1..input.len()).collect();
        for cuts in [cuts(&indices, input.len()), bytewise] {
            prop_assert_eq!(format!("{:?}", whole), format!("{:?}", feed(&input, &cuts, limits)));
        }
        match whole {
            None => prop_assert!(input.len() <= limits.bytes),
            Some(Ok((_, consumed))) => {
                prop_assert!(consumed <= limits.bytes.min(input.len()));
                prop_assert!(input[..consumed].ends_with(b"\r\n\r\n"));
            }
            Some(Err(rejection)) => {
                prop_assert!(matches!(rejection.status().as_u16(), 400 | 403 | 405 | 426 | 431));
                let shown = rejection.to_string();
                prop_assert!(!shown.chars().any(char::is_control), "{:?}", shown);
                let answer = rejection.encode();
                let head = answer.windows(4).filter(|window| *window == b"\r\n\r\n").count();
                prop_assert_eq!(head, 1);
            }
        }
    }

    /// The same for answers, up to and with the end of the stream.
    #[test]
    fn answers_do_not_depend_on_the_split(
        input in input(), limits in limits(), indices in vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let whole = feed_answer(&input, &[], limits);
        let bytewise: Vec<_> = (1..input.len()).collect();
        for cuts in [cuts(&indices, input.len()), bytewise] {
            prop_assert_eq!(&whole, &feed_answer(&input, &cuts, limits));
        }
    }

    /// Encode, then decode: what one side says the other understands, both ways.
    #[test]
    fn both_sides_understand_each_other(
        nonce: [u8; 16], path in "(/[a-z0-9._~%-]{0,9}){0,3}", query in prop::option::of("[a-z0-9=&/?-]{0,20}"),
        port in prop::option::of(1..=u16::MAX), names in prop::collection::btree_set("[a-zA-Z0-9.+-]{1,12}", 0..5),
        origin in prop::option::of("(http|https)://[a-z]{1,9}(:[1-9][0-9]{0,3})?"), residue in vec(any::<u8>(), 0..20),
    ) {
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let query_part = query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        let url = WsUrl::parse(&format!("ws://host.example{port}{path}{query_part}")).expect("valid");
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let mut sent = ClientRequest::new(&url, nonce).subprotocols(&names).expect("tokens");
        let origin = origin.map(|origin| Origin::parse(&origin).expect("valid"));
        if let Some(origin) = &origin {
            sent = sent.origin(origin.clone());
        }
        let wire = [&sent.encode()[..], &residue].concat();
        let (received, consumed) = feed(&wire, &[], HeadLimits::default()).expect("complete").expect("valid");
        prop_assert_eq!(&wire[consumed..], &residue[..]);
        prop_assert_eq!(received.path(), if path.is_empty() { "/" } else { &path });
        prop_assert_eq!(received.query(), query.as_deref());
        prop_assert_eq!(received.origin(), origin.as_ref());
        prop_assert_eq!(received.key(), sent.key());
        prop_assert_eq!(received.subprotocols(), sent.offered_subprotocols());

        let answer = received.accept().subprotocol(names.last().copied()).expect("offered").encode();
        let wire = [&answer[..], &residue].concat();
        let mut reader = ResponseReader::new(HeadLimits::default(), &sent);
        let Ok(ResponseProgress::Done { response, consumed }) = reader.handle_input(&wire) else {
            return Err(TestCaseError::fail("the answer is complete"));
        };
        prop_assert_eq!(&wire[consumed..], &residue[..]);
        prop_assert_eq!(response.subprotocol().map(Subprotocol::as_str), names.last().copied());

        // Another key's answer is refused.
        let mut other = nonce;
        other[0] ^= 1;
        let mut reader = ResponseReader::new(HeadLimits::default(), &sent.with_key(other));
        prop_assert!(matches!(reader.handle_input(&wire), Err(HandshakeError::Accept)));
    }

    /// An origin that was shown is the same origin when it is read again; parsing never panics.
    #[test]
    fn origins_survive_being_shown(text in prop_oneof!["\\PC{0,40}", "[a-z]{1,6}://[a-zA-Z0-9.:\\[\\]@/-]{0,30}"]) {
        if let Ok(origin) = Origin::parse(&text) {
            prop_assert_eq!(Origin::parse(&origin.to_string()), Ok(origin));
        }
    }

    /// Two texts that differ are shown differently, and never with a control character.
    #[test]
    fn escaped_text_is_clean_and_faithful(a in any::<String>(), b in any::<String>()) {
        let shown = [&a, &b].map(|text| Escaped(text).to_string());
        prop_assert!(!shown[0].chars().any(char::is_control));
        let short = [&a, &b].iter().all(|text| text.chars().count() <= Escaped::CHARS_MAX);
        prop_assert!(!short || a == b || shown[0] != shown[1]);
    }
}
