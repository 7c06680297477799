//! Whether reading in pieces of one byte is linear: instructions per byte of a head or a frame that drips in.

use std::sync::Arc;

use weirline_connection::{Config, Connection, Event, Input};
use weirline_handshake::{ClientRequest, HeadLimits, Progress, RequestReader, WsUrl};

use crate::callgrind::instructions;
use crate::{Outcome, judge};

/// What is fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum What {
    /// The head of an upgrade request.
    Head,
    /// A binary message in one masked frame.
    Binary,
    /// The same as text, whose UTF-8 is checked on the way.
    Text,
}

const SMALL_BYTES: usize = 1 << 10;
const RATIO_BAR: f64 = 1.2;
const INSTRUCTIONS_BAR: f64 = 100.0;
/// A text with characters of every length.
const CHARACTERS: &str = "na\u{ef}ve \u{20ac}\u{1f600} ";
/// What a run feeds beyond the run that it is compared with, which feeds once.
const REPEATED: usize = 8;

/// Measures all of them, at a small and at a large size.
pub(crate) fn compare() -> Outcome {
    for (what, large_bytes) in [
        (What::Head, 16 << 10),
        (What::Binary, 64 << 10),
        (What::Text, 64 << 10),
    ] {
        let small = instructions_per_byte(what, SMALL_BYTES)?;
        let large = instructions_per_byte(what, large_bytes)?;
        println!(
            "{what:?} byte by byte: {small:.1} instructions per byte at {SMALL_BYTES} bytes, {large:.1} at {large_bytes}"
        );
        judge(
            "the more of them",
            small.max(large),
            INSTRUCTIONS_BAR,
            "instructions",
        )?;
        judge("ratio", large / small, RATIO_BAR, "")?;
    }
    Ok(())
}

/// The work that is counted: feeds so many bytes one by one, so many times.
pub(crate) fn once(what: What, bytes: usize, times: usize) -> Outcome {
    if what == What::Head {
        let head = head(bytes)?;
        for _ in 0..times {
            let mut reader = RequestReader::new(HeadLimits::default());
            let mut done = 0;
            for byte in head.chunks(1) {
                done += usize::from(matches!(reader.handle_input(byte)?, Progress::Done { .. }));
            }
            if done != 1 {
                return Err("the head does not end with its last byte".into());
            }
        }
        return Ok(());
    }
    let frame = frame(what, bytes);
    let now = tokio::time::Instant::now().into_std();
    let mut connection = Connection::server(Arc::new(Config::default()), now);
    let mut messages = 0;
    for _ in 0..times {
        for byte in &frame {
            let mut piece = [*byte];
            let event = connection.handle_input(now, &mut Input::new(&mut piece));
            if let Some(Event::Message { payload, .. }) = event {
                messages += usize::from(payload.len() == bytes);
            }
        }
    }
    if messages == times {
        Ok(())
    } else {
        Err(format!("{messages} of {times} messages came").into())
    }
}

/// A request's head of so many bytes.
fn head(bytes: usize) -> Outcome<Vec<u8>> {
    let url: WsUrl = "ws://localhost:7070/echo".parse()?;
    let plain = ClientRequest::new(&url, *b"the sample nonce");
    let rest = bytes.saturating_sub(plain.encode().len() + "x-padding: \r\n".len());
    let padding = http::HeaderValue::from_str(&"p".repeat(rest))?;
    let head = plain.header(http::HeaderName::from_static("x-padding"), padding)?;
    Ok(head.encode().to_vec())
}

/// A client's frame with so many bytes of payload.
fn frame(what: What, bytes: usize) -> Vec<u8> {
    let first = if what == What::Text { 0x81 } else { 0x82 };
    let mut wire = vec![first, 0x80 | 127];
    if let Ok(short) = u16::try_from(bytes) {
        wire[1] = 0x80 | 126;
        wire.extend(short.to_be_bytes());
    } else {
        wire.extend((bytes as u64).to_be_bytes());
    }
    let key = [0xA5, 0x17, 0x00, 0xC3];
    wire.extend(key);
    // Whole characters, then full stops.
    let whole = bytes - bytes % CHARACTERS.len();
    let payload = CHARACTERS
        .bytes()
        .cycle()
        .take(whole)
        .chain(std::iter::repeat_n(b'.', bytes - whole));
    wire.extend(payload.zip(key.into_iter().cycle()).map(|(byte, key)| byte ^ key));
    wire
}

/// What each byte costs beyond the first time it is fed, when everything is allocated and warm.
fn instructions_per_byte(what: What, bytes: usize) -> Outcome<f64> {
    let (first, all) = (callgrind(what, bytes, 1)?, callgrind(what, bytes, 1 + REPEATED)?);
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^52")]
    let per_byte = (all - first) as f64 / (REPEATED * bytes) as f64;
    Ok(per_byte)
}

fn callgrind(what: What, bytes: usize, times: usize) -> Outcome<u64> {
    let name = clap::ValueEnum::to_possible_value(&what).ok_or("a kind without a name")?;
    let (bytes, times) = (bytes.to_string(), times.to_string());
    instructions(&["bytewise-once", name.get_name(), &bytes, &times])
}
