//! Frame headers (RFC 6455 §5.2) from arbitrary bytes.
//!
//! Decoding never panics, what decodes encodes to the same bytes (so there is one encoding of each header), and a verdict on a
//! prefix stands whatever follows it (so the split of the input does not matter).

use weirline_codec::{CONTROL_PAYLOAD_BYTES_MAX, FrameHeader, HEADER_BYTES_MAX, MaskKey, apply_mask};

pub(crate) fn run(input: &[u8]) {
    let whole = FrameHeader::decode(input);
    if let Ok(Some((header, header_len))) = whole {
        assert!(header_len <= HEADER_BYTES_MAX.min(input.len()));
        assert_eq!(
            &header.encode()[..],
            &input[..header_len],
            "one encoding of each header"
        );
        assert_eq!(
            header.payload_len >> 63,
            0,
            "the top bit of a length is never set"
        );
        if header.opcode.is_control() {
            assert!(header.fin && header.payload_len <= CONTROL_PAYLOAD_BYTES_MAX as u64);
        }
        if let Some(key) = header.mask {
            masks_in_pieces(key, &input[header_len..]);
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
}

/// RFC 6455 §5.3: octet i is combined with octet i modulo 4 of the key, however the payload is cut.
fn masks_in_pieces(key: MaskKey, payload: &[u8]) {
    let mut whole = payload.to_vec();
    apply_mask(key, 0, &mut whole);
    for (index, (masked, byte)) in whole.iter().zip(payload).enumerate() {
        assert_eq!(*masked, byte ^ key.bytes()[index % 4]);
    }
    let mut pieces = payload.to_vec();
    let mut at = 0;
    for piece in pieces.chunks_mut(1 + payload.len() % 13) {
        apply_mask(key, at, piece);
        at += piece.len() as u64;
    }
    assert_eq!(pieces, whole);
}
