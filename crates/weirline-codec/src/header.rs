//! Frame headers (RFC 6455 §5.2).

use crate::mask::MaskKey;

/// The longest header, in bytes: two, eight of length, four of mask.
pub const HEADER_BYTES_MAX: usize = 14;

/// The longest payload of a control frame, in bytes (RFC 6455 §5.5).
pub const CONTROL_PAYLOAD_BYTES_MAX: usize = 125;

/// What a frame is (RFC 6455 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OpCode {
    /// A further part of a fragmented message.
    Continuation = 0x0,
    /// A text message, or its first part.
    Text = 0x1,
    /// A binary message, or its first part.
    Binary = 0x2,
    /// The closing handshake.
    Close = 0x8,
    /// A question whether the peer is there.
    Ping = 0x9,
    /// The answer, or an unsolicited heartbeat.
    Pong = 0xA,
}

impl OpCode {
    /// Close, Ping and Pong: frames that may stand between the fragments of a message (RFC 6455 §5.5).
    #[must_use]
    pub const fn is_control(self) -> bool {
        self as u8 >= 0x8
    }

    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }
}

/// The three reserved bits, for extensions (RFC 6455 §5.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rsv(u8);

impl Rsv {
    /// No bit set: what every frame has while no extension is negotiated.
    pub const NONE: Self = Self(0);
    /// The first bit: permessage-deflate's "compressed" (RFC 7692 §6).
    pub const RSV1: Self = Self(0x40);
    /// The second bit.
    pub const RSV2: Self = Self(0x20);
    /// The third bit.
    pub const RSV3: Self = Self(0x10);

    /// These bits and those of `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether no bit is set.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// The header of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Whether this is the last fragment of its message.
    pub fin: bool,
    /// Bits of extensions.
    pub rsv: Rsv,
    /// What the frame is.
    pub opcode: OpCode,
    /// The masking key; clients must mask, servers must not (RFC 6455 §5.1).
    pub mask: Option<MaskKey>,
    /// The payload's length in bytes; at most 2^63 − 1.
    pub payload_len: u64,
}

impl FrameHeader {
    /// An unmasked header of a data frame without extension bits: none is used unless it was negotiated (RFC 6455 §5.2, §9.1).
    #[must_use]
    pub const fn data(opcode: OpCode, fin: bool, payload_len: u64) -> Self {
        Self {
            fin,
            rsv: Rsv::NONE,
            opcode,
            mask: None,
            payload_len,
        }
    }

    /// An unmasked header of a control frame, whose payload has at most 125 bytes.
    #[must_use]
    pub const fn control(opcode: OpCode, payload_len: u8) -> Self {
        Self {
            fin: true,
            rsv: Rsv::NONE,
            opcode,
            mask: None,
            payload_len: payload_len as u64,
        }
    }

    /// The same header with a masking key.
    #[must_use]
    pub const fn masked(self, key: MaskKey) -> Self {
        Self {
            mask: Some(key),
            ..self
        }
    }

    /// Reads a header from the front of `input`.
    ///
    /// Returns the header and its own length in bytes, or `None` where more input is needed. What has arrived is judged
    /// at once: an illegal first byte is an error although the rest is not there.
    ///
    /// # Errors
    ///
    /// A header that breaks RFC 6455 §5.2, §5.4 or §5.5 whatever was negotiated.
    pub fn decode(input: &[u8]) -> Result<Option<(Self, usize)>, HeaderError> {
        let Some(&first) = input.first() else {
            return Ok(None);
        };
        let opcode = OpCode::from_bits(first & 0x0F).ok_or(HeaderError::ReservedOpCode(first & 0x0F))?;
        let fin = first & 0x80 != 0;
        if opcode.is_control() && !fin {
            return Err(HeaderError::FragmentedControl(opcode));
        }
        let Some(&second) = input.get(1) else {
            return Ok(None);
        };
        let length_bits = second & 0x7F;
        if opcode.is_control() && usize::from(length_bits) > CONTROL_PAYLOAD_BYTES_MAX {
            return Err(HeaderError::LongControl(opcode));
        }
        let Some((payload_len, length_end)) = decode_length(length_bits, input)? else {
            return Ok(None);
        };
        let (mask, end) = if second & 0x80 == 0 {
            (None, length_end)
        } else {
            let Some(key) = input[length_end..].first_chunk::<4>() else {
                return Ok(None);
            };
            (Some(MaskKey::new(*key)), length_end + 4)
        };
        Ok(Some((
            Self {
                fin,
                rsv: Rsv(first & 0x70),
                opcode,
                mask,
                payload_len,
            },
            end,
        )))
    }

    /// The header's bytes, with the shortest form of the length (RFC 6455 §5.2), and the mask bit where there is a key (§5.3).
    ///
    /// # Panics
    ///
    /// Where `payload_len` is over 2^63 − 1, which no payload in memory is.
    #[must_use]
    pub fn encode(&self) -> EncodedHeader {
        assert!(
            self.payload_len >> 63 == 0,
            "a payload of {} bytes",
            self.payload_len
        );
        let mut bytes = [0u8; HEADER_BYTES_MAX];
        bytes[0] = (u8::from(self.fin) << 7) | self.rsv.0 | self.opcode as u8;
        let mask_bit = u8::from(self.mask.is_some()) << 7;
        let mut len = match self.payload_len {
            short @ 0..=125 => {
                bytes[1] = mask_bit | u8::try_from(short).expect("at most 125");
                2
            }
            medium @ 126..=0xFFFF => {
                bytes[1] = mask_bit | LENGTH_16;
                bytes[2..4].copy_from_slice(&u16::try_from(medium).expect("at most 65,535").to_be_bytes());
                4
            }
            long => {
                bytes[1] = mask_bit | LENGTH_64;
                bytes[2..10].copy_from_slice(&long.to_be_bytes());
                10
            }
        };
        if let Some(key) = self.mask {
            bytes[len..len + 4].copy_from_slice(&key.bytes());
            len += 4;
        }
        EncodedHeader { bytes, len }
    }
}

/// The payload's length and where the header's length field ends; `None` where more input is needed.
fn decode_length(bits: u8, input: &[u8]) -> Result<Option<(u64, usize)>, HeaderError> {
    let (value, end, least) = match bits {
        LENGTH_16 => match input[2..].first_chunk::<2>() {
            Some(bytes) => (u64::from(u16::from_be_bytes(*bytes)), 4, 126),
            None => return Ok(None),
        },
        LENGTH_64 => match input[2..].first_chunk::<8>() {
            Some(bytes) => (u64::from_be_bytes(*bytes), 10, 0x1_0000),
            // The first byte alone can show that the length is illegal.
            None if input.get(2).is_some_and(|high| high & 0x80 != 0) => {
                return Err(HeaderError::LengthTopBit);
            }
            None => return Ok(None),
        },
        short => (u64::from(short), 2, 0),
    };
    if value >> 63 != 0 {
        return Err(HeaderError::LengthTopBit);
    }
    if value < least {
        return Err(HeaderError::LengthNotMinimal(value));
    }
    Ok(Some((value, end)))
}

/// An encoded header: dereferences to its 2 to 14 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodedHeader {
    bytes: [u8; HEADER_BYTES_MAX],
    len: usize,
}

impl std::ops::Deref for EncodedHeader {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Why bytes are not the header of a frame. The peer is at fault; the close code is 1002.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// RFC 6455 §5.2: opcodes 3–7 and 11–15 are reserved.
    #[error("reserved opcode {0:#x}")]
    ReservedOpCode(u8),
    /// RFC 6455 §5.5: control frames must not be fragmented.
    #[error("a fragmented {0:?} frame")]
    FragmentedControl(OpCode),
    /// RFC 6455 §5.5: a control frame's payload has at most 125 bytes.
    #[error("a {0:?} frame with a payload of over 125 bytes")]
    LongControl(OpCode),
    /// RFC 6455 §5.2: the minimal number of bytes must be used to encode the length.
    #[error("a payload length of {0} in a longer form than it needs")]
    LengthNotMinimal(u64),
    /// RFC 6455 §5.2: the most significant bit of a 64-bit length must be 0.
    #[error("a payload length of 2^63 or more")]
    LengthTopBit,
}

const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> impl Strategy<Value = FrameHeader> {
        let data = (
            any::<bool>(),
            0u8..3,
            prop_oneof![0u64..300, 65_500..65_600u64, 0..=u64::MAX >> 1],
        );
        let control = (Just(true), 8u8..11, 0u64..126);
        (
            prop_oneof![data.boxed(), control.boxed()],
            0u8..8,
            proptest::option::of(any::<[u8; 4]>()),
        )
            .prop_map(|((fin, opcode, payload_len), rsv, key)| FrameHeader {
                fin,
                rsv: Rsv(rsv << 4),
                opcode: OpCode::from_bits(opcode).unwrap(),
                mask: key.map(MaskKey::new),
                payload_len,
            })
    }

    proptest! {
        #[test]
        fn encode_then_decode_is_identity(header in header(), tail in proptest::collection::vec(any::<u8>(), 0..4)) {
            let encoded = header.encode();
            let wire = [&encoded[..], &tail].concat();
            prop_assert_eq!(FrameHeader::decode(&wire), Ok(Some((header, encoded.len()))));
            for cut in 0..encoded.len() {
                prop_assert_eq!(FrameHeader::decode(&wire[..cut]), Ok(None));
            }
        }

        #[test]
        fn whatever_decodes_encodes_to_the_same_bytes(wire in proptest::collection::vec(any::<u8>(), 0..15)) {
            if let Ok(Some((header, len))) = FrameHeader::decode(&wire) {
                prop_assert_eq!(&header.encode()[..], &wire[..len]);
            }
        }

        #[test]
        fn more_input_never_mends_an_error(wire in proptest::collection::vec(any::<u8>(), 0..15)) {
            let verdicts: Vec<_> = (0..=wire.len()).map(|cut| FrameHeader::decode(&wire[..cut])).collect();
            for pair in verdicts.windows(2) {
                match pair {
                    [Ok(None), _] => {}
                    [decided, next] => prop_assert_eq!(decided, next),
                    _ => unreachable!("windows of two"),
                }
            }
        }
    }

    #[test]
    fn illegal_headers_are_refused_at_their_first_illegal_byte() {
        use HeaderError::*;
        let cases: [(&[u8], HeaderError); 10] = [
            (&[0x83], ReservedOpCode(3)),
            (&[0x8F], ReservedOpCode(15)),
            (&[0x09], FragmentedControl(OpCode::Ping)),
            (&[0x08], FragmentedControl(OpCode::Close)),
            (&[0x89, 126], LongControl(OpCode::Ping)),
            (&[0x88, 0xFF], LongControl(OpCode::Close)),
            (&[0x82, 126, 0, 125], LengthNotMinimal(125)),
            (
                &[0x82, 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF],
                LengthNotMinimal(0xFFFF),
            ),
            (&[0x82, 127, 0x80], LengthTopBit),
            (&[0x82, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0], LengthTopBit),
        ];
        for (wire, expect) in cases {
            assert_eq!(FrameHeader::decode(wire), Err(expect), "{wire:x?}");
        }
    }

    #[test]
    fn the_examples_of_the_rfc() {
        // RFC 6455 §5.7
        let cases: [(&[u8], FrameHeader); 5] = [
            (&[0x81, 0x05], FrameHeader::data(OpCode::Text, true, 5)),
            (&[0x01, 0x03], FrameHeader::data(OpCode::Text, false, 3)),
            (&[0x89, 0x05], FrameHeader::control(OpCode::Ping, 5)),
            (
                &[0x82, 0x7E, 0x01, 0x00],
                FrameHeader::data(OpCode::Binary, true, 256),
            ),
            (
                &[0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0],
                FrameHeader::data(OpCode::Binary, true, 65_536),
            ),
        ];
        for (wire, header) in cases {
            assert_eq!(&header.encode()[..], wire);
            assert_eq!(FrameHeader::decode(wire), Ok(Some((header, wire.len()))));
        }
    }
}
