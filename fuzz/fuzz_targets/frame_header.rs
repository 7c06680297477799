//! Frame headers (RFC 6455 §5.2) from arbitrary bytes.
//!
//! Decoding never panics, what decodes encodes to the same bytes (so there is one encoding of each header), and a
//! verdict on a prefix stands whatever follows it (so the split of the input does not matter).
//!
//! ```text
//! cargo +nightly fuzz run frame_header
//! ```

#![no_main]

use libfuzzer_sys::fuzz_target;
use weirline_codec::{CONTROL_PAYLOAD_BYTES_MAX, FrameHeader, HEADER_BYTES_MAX};

fuzz_target!(|input: &[u8]| {
    let whole = FrameHeader::decode(input);

    if let Ok(Some((header, header_len))) = whole {
        assert!(header_len <= HEADER_BYTES_MAX.min(input.len()));
        assert_eq!(
            &header.encode()[..],
            &input[..header_len],
            "one encoding of each header"
        );
        assert!(
            header.payload_len >> 63 == 0,
            "the top bit of a length is never set"
        );
        if header.opcode.is_control() {
            assert!(header.fin && header.payload_len <= CONTROL_PAYLOAD_BYTES_MAX as u64);
        }
    }

    let mut decided = None;
    for cut in 0..=input.len().min(HEADER_BYTES_MAX) {
        let verdict = FrameHeader::decode(&input[..cut]);
        match decided {
            Some(earlier) => assert_eq!(verdict, earlier, "a verdict stands"),
            None if verdict != Ok(None) => decided = Some(verdict),
            None => {}
        }
    }
    assert_eq!(decided.unwrap_or(Ok(None)), whole, "whole = byte by byte");
});
