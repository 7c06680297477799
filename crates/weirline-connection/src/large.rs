//! A message too large to be copied beside others: sent in fragments, so that control frames can go in between (R8).

use bytes::{BufMut, Bytes, BytesMut};
use weirline_codec::{EncodedHeader, FrameHeader, MaskKey, OpCode, apply_mask};

/// A message's frames as one run of bytes that is never put together: position 0 is the first byte of its first header.
#[derive(Debug)]
pub(crate) struct Large {
    body: Body,
    /// The length of each frame but the last, header included.
    stride: usize,
    /// The whole run.
    wire_len: usize,
    /// How much of it the transport has taken.
    sent: usize,
}

#[derive(Debug)]
enum Body {
    /// Headers beside a payload that is shared with others. A prefix belongs to the first fragment.
    Shared {
        first: Bytes,
        prefix_len: usize,
        middle: EncodedHeader,
        last: EncodedHeader,
        payload: Bytes,
    },
    /// Frames as they go out: a client's are masked, so that nothing can be shared.
    Encoded(Bytes),
}

impl Large {
    /// An unmasked message of `prefix` and `payload`, in frames of `fragment` bytes (RFC 6455 §5.4, §6.1).
    pub(crate) fn shared(opcode: OpCode, prefix: &[u8], payload: Bytes, fragment: usize) -> Self {
        let len = prefix.len() + payload.len();
        let frames = len.div_ceil(fragment).max(1);
        let last_len = len - (frames - 1) * fragment;
        let first_len = if frames == 1 { len } else { fragment };
        let first_header = FrameHeader::data(opcode, frames == 1, first_len as u64).encode();
        let middle = FrameHeader::data(OpCode::Continuation, false, fragment as u64).encode();
        let last = FrameHeader::data(OpCode::Continuation, true, last_len as u64).encode();
        let mut first = BytesMut::with_capacity(first_header.len() + prefix.len());
        first.put_slice(&first_header);
        first.put_slice(prefix);
        // All full frames are equally long: their headers encode the same length.
        let wire_len = if frames == 1 {
            first.len() + payload.len()
        } else {
            first_header.len() + (frames - 2) * middle.len() + last.len() + len
        };
        let body = Body::Shared {
            first: first.freeze(),
            prefix_len: prefix.len(),
            middle,
            last,
            payload,
        };
        Self {
            body,
            stride: first_header.len() + first_len,
            wire_len,
            sent: 0,
        }
    }

    /// A masked copy of a message, with a fresh key for each frame (RFC 6455 §5.3, §6.1).
    pub(crate) fn masked(
        opcode: OpCode,
        prefix: &[u8],
        payload: &[u8],
        fragment: usize,
        mut key: impl FnMut() -> MaskKey,
    ) -> Self {
        let len = prefix.len() + payload.len();
        let mut wire = BytesMut::with_capacity(len + (len / fragment + 1) * weirline_codec::HEADER_BYTES_MAX);
        let mut stride = 0;
        let mut start = 0;
        while start < len || start == 0 {
            let end = len.min(start + fragment);
            let opcode = if start == 0 { opcode } else { OpCode::Continuation };
            let key = key();
            wire.put_slice(
                &FrameHeader::data(opcode, end == len, (end - start) as u64)
                    .masked(key)
                    .encode(),
            );
            let body = wire.len();
            wire.put_slice(&prefix[start.min(prefix.len())..end.min(prefix.len())]);
            wire.put_slice(&payload[start.saturating_sub(prefix.len())..end.saturating_sub(prefix.len())]);
            apply_mask(key, 0, &mut wire[body..]);
            if start == 0 {
                stride = wire.len();
            }
            start = end.max(1);
        }
        Self {
            stride,
            wire_len: wire.len(),
            body: Body::Encoded(wire.freeze()),
            sent: 0,
        }
    }

    /// The rest of a frame whose beginning is sent already.
    pub(crate) fn rest_of_frame(rest: &[u8]) -> Self {
        // One byte stands for what is gone, so that the run is inside its frame.
        let mut wire = BytesMut::with_capacity(rest.len() + 1);
        wire.put_u8(0);
        wire.put_slice(rest);
        Self {
            stride: wire.len(),
            wire_len: wire.len(),
            body: Body::Encoded(wire.freeze()),
            sent: 1,
        }
    }

    /// Bytes of the run, headers included.
    pub(crate) fn wire_len(&self) -> usize {
        self.wire_len
    }

    /// How many bytes the frame in hand still needs; 0 between frames.
    pub(crate) fn frame_rest(&self) -> usize {
        let frame_end = self.sent.div_ceil(self.stride) * self.stride;
        frame_end.min(self.wire_len) - self.sent
    }

    /// The transport took `n` more bytes.
    pub(crate) fn advance(&mut self, n: usize) {
        self.sent += n;
        assert!(self.sent <= self.wire_len, "more was sent than there is");
    }

    /// What is not sent, in bytes.
    pub(crate) fn remaining(&self) -> usize {
        self.wire_len - self.sent
    }

    /// Hands the run's bytes from `skip` after what is sent, at most `max` of them, to `push`, until that says stop.
    pub(crate) fn slices<'a>(
        &'a self,
        skip: usize,
        max: usize,
        push: &mut impl FnMut(&'a [u8]) -> bool,
    ) -> bool {
        let mut position = self.sent + skip;
        let end = self.wire_len.min(position.saturating_add(max));
        while position < end {
            let slice = self.slice_at(position);
            let slice = &slice[..slice.len().min(end - position)];
            if !push(slice) {
                return false;
            }
            position += slice.len();
        }
        true
    }

    /// The longest contiguous piece of the run at a position.
    fn slice_at(&self, position: usize) -> &[u8] {
        let (first, prefix_len, middle, last, payload) = match &self.body {
            Body::Encoded(bytes) => return &bytes[position..],
            Body::Shared {
                first,
                prefix_len,
                middle,
                last,
                payload,
            } => (first, *prefix_len, middle, last, payload),
        };
        if position < first.len() {
            return &first[position..];
        }
        let (frame, within) = (position / self.stride, position % self.stride);
        let is_last = (frame + 1) * self.stride >= self.wire_len;
        let first_header = first.len() - prefix_len;
        let fragment = self.stride - first_header;
        let header: &[u8] = match frame {
            0 => &first[..first_header],
            _ if is_last => last,
            _ => middle,
        };
        if within < header.len() {
            return &header[within..];
        }
        let start = frame * fragment + (within - header.len()) - prefix_len;
        let end = payload.len().min((frame + 1) * fragment - prefix_len);
        &payload[start..end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wire(large: &Large) -> Vec<u8> {
        let mut wire = Vec::new();
        large.slices(0, usize::MAX, &mut |slice| {
            assert!(!slice.is_empty(), "an empty slice would end the connection");
            wire.extend_from_slice(slice);
            true
        });
        wire
    }

    /// Frames, unmasked, with where each ends.
    fn decode(mut wire: &[u8]) -> (Vec<u8>, Vec<(OpCode, bool)>, Vec<usize>) {
        let (mut payload, mut frames, mut ends, whole) = (Vec::new(), Vec::new(), vec![0], wire.len());
        while !wire.is_empty() {
            let (header, len) = FrameHeader::decode(wire).unwrap().unwrap();
            let mut body = wire[len..len + usize::try_from(header.payload_len).unwrap()].to_vec();
            if let Some(key) = header.mask {
                apply_mask(key, 0, &mut body);
            }
            wire = &wire[len + body.len()..];
            payload.extend(body);
            frames.push((header.opcode, header.fin));
            ends.push(whole - wire.len());
        }
        (payload, frames, ends)
    }

    proptest! {
        #[test]
        fn the_run_is_the_message_in_fragments(
            prefix in proptest::collection::vec(any::<u8>(), 0..32),
            len in 0usize..2000,
            fragment in 126usize..700,
            masked: bool,
            steps in proptest::collection::vec(1usize..300, 1..20),
        ) {
            let payload: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let mut large = if masked {
                let mut n = 0u8;
                Large::masked(OpCode::Binary, &prefix, &payload, fragment, || { n = n.wrapping_add(1); MaskKey::new([n, 2, 3, 4]) })
            } else {
                Large::shared(OpCode::Binary, &prefix, payload.clone().into(), fragment)
            };
            let whole = wire(&large);
            prop_assert_eq!(whole.len(), large.wire_len());
            let (decoded, frames, ends) = decode(&whole);
            prop_assert_eq!(decoded, [prefix, payload].concat());
            for (index, (opcode, fin)) in frames.iter().enumerate() {
                prop_assert_eq!(*opcode == OpCode::Binary, index == 0);
                prop_assert_eq!(*fin, index + 1 == frames.len());
            }
            let mut sent = 0;
            for step in steps {
                let step = step.min(large.remaining());
                large.advance(step);
                sent += step;
                prop_assert_eq!(wire(&large), &whole[sent..]);
                let frame_end = ends.iter().find(|end| **end >= sent).unwrap();
                prop_assert_eq!(large.frame_rest(), frame_end - sent);
            }
        }
    }

    #[test]
    fn the_rest_of_a_frame_is_inside_it() {
        let mut large = Large::rest_of_frame(b"rest");
        assert_eq!((wire(&large), large.frame_rest()), (b"rest".to_vec(), 4));
        large.advance(4);
        assert_eq!((large.remaining(), large.frame_rest()), (0, 0));
    }
}
