//! Feeds heads byte by byte, to count instructions:
//!
//! ```text
//! cargo build --release -p weirline-handshake --example bytewise
//! for bytes in 1024 16384; do valgrind --tool=callgrind --toggle-collect='*handle_input*' …/examples/bytewise $bytes; done
//! ```

use weirline_handshake::{ClientRequest, HeadLimits, Progress, RequestReader, WsUrl};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let length: usize = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "16384".to_owned())
        .parse()?;
    let url: WsUrl = "ws://localhost:7070/echo".parse()?;
    let plain = ClientRequest::new(&url, *b"the sample nonce");
    let rest = length.saturating_sub(plain.encode().len() + "x-padding: \r\n".len());
    let padding = http::HeaderValue::from_str(&"p".repeat(rest))?;
    let head = plain
        .header(http::HeaderName::from_static("x-padding"), padding)?
        .encode();

    let mut reader = RequestReader::new(HeadLimits::default());
    for (index, byte) in head.iter().enumerate() {
        if let Progress::Done { request, .. } = reader.handle_input(std::slice::from_ref(byte))? {
            assert_eq!(index + 1, head.len(), "the head ends with its last byte");
            println!("{} bytes, {} header fields", head.len(), request.headers().len());
        }
    }
    Ok(())
}
