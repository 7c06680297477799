//! Looks at what a server sends: whole messages, of the right length, with the right bytes where one looks.

use crate::Result;
use crate::cell::{Cell, byte};

/// The answers to the batches of one connection, in any split and in any fragments.
#[derive(Debug)]
pub(crate) struct Answers {
    cell: Cell,
    /// The header that is being read.
    header: [u8; HEADER_BYTES_MAX],
    header_len: usize,
    /// The frame whose payload is being read.
    frame: Option<Frame>,
    /// Of the batch's messages, the one that is being read, and how much of it was.
    message: usize,
    position: usize,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    fin: bool,
    opcode: u8,
    mask: [u8; 4],
    len: usize,
    read: usize,
}

const HEADER_BYTES_MAX: usize = 14;

impl Answers {
    pub(crate) fn new(cell: Cell) -> Self {
        Self {
            cell,
            header: [0; HEADER_BYTES_MAX],
            header_len: 0,
            frame: None,
            message: 0,
            position: 0,
        }
    }

    /// Takes bytes; says whether they end a batch. Nothing may come behind a batch that nobody has asked for.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) -> Result<bool> {
        while !bytes.is_empty() {
            let Some(frame) = &mut self.frame else {
                self.header[self.header_len] = bytes[0];
                self.header_len += 1;
                bytes = &bytes[1..];
                self.frame = decode(&self.header[..self.header_len])?;
                if self.frame.is_none_or(|frame| frame.len > 0) {
                    continue;
                }
                return Err("an empty frame".into());
            };
            let (payload, rest) = bytes.split_at(bytes.len().min(frame.len - frame.read));
            bytes = rest;
            for index in [0, payload.len() / 2, payload.len() - 1] {
                let got = payload[index] ^ frame.mask[(frame.read + index) % 4];
                if got != byte(self.message, self.position + index) {
                    return Err(format!("{}: a wrong byte", self.cell).into());
                }
            }
            frame.read += payload.len();
            self.position += payload.len();
            if frame.read == frame.len && self.end_frame()? {
                return if bytes.is_empty() {
                    Ok(true)
                } else {
                    Err("more than was asked for".into())
                };
            }
        }
        Ok(false)
    }

    /// Says whether the batch is complete.
    fn end_frame(&mut self) -> Result<bool> {
        let Some(frame) = self.frame.take() else {
            return Ok(false);
        };
        self.header_len = 0;
        let begins = self.position == frame.len;
        let whole = self.position == self.cell.payload;
        if frame.fin != whole || frame.opcode != if begins { 2 } else { 0 } {
            return Err(format!("{}: {frame:?} ends at {}", self.cell, self.position).into());
        }
        if whole {
            self.position = 0;
            self.message = (self.message + 1) % self.cell.depth;
        }
        Ok(whole && self.message == 0)
    }
}

/// The frame of a header; `None` where the header is not complete.
fn decode(header: &[u8]) -> Result<Option<Frame>> {
    let &[first, second, ref rest @ ..] = header else {
        return Ok(None);
    };
    let length_bytes = match second & 0x7F {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask_bytes = if second & 0x80 == 0 { 0 } else { 4 };
    if rest.len() < length_bytes + mask_bytes {
        return Ok(None);
    }
    let long = rest[..length_bytes]
        .iter()
        .fold(0, |len, byte| len << 8 | u64::from(*byte));
    let mut mask = [0; 4];
    mask[..mask_bytes].copy_from_slice(&rest[length_bytes..]);
    Ok(Some(Frame {
        fin: first & 0x80 != 0,
        opcode: first & 0x7F,
        mask,
        len: if length_bytes == 0 {
            usize::from(second & 0x7F)
        } else {
            usize::try_from(long)?
        },
        read: 0,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CELL: Cell = Cell::new(300, 2, 1);

    fn unmasked(cell: Cell, fragments: &[usize]) -> Vec<u8> {
        let mut wire = Vec::new();
        for message in 0..cell.depth {
            let mut position = 0;
            for (index, len) in fragments.iter().enumerate() {
                let fin = if index + 1 == fragments.len() { 0x80 } else { 0 };
                wire.push(fin | if index == 0 { 2 } else { 0 });
                match u8::try_from(*len) {
                    Ok(short @ 0..=125) => wire.push(short),
                    _ => {
                        wire.push(126);
                        wire.extend(u16::try_from(*len).unwrap().to_be_bytes());
                    }
                }
                wire.extend((position..position + len).map(|position| byte(message, position)));
                position += len;
            }
        }
        wire
    }

    /// Fed in pieces of `step`; how many batches were complete.
    fn batches(wire: &[u8], step: usize) -> Result<usize> {
        let mut answers = Answers::new(CELL);
        let mut complete = 0;
        for piece in wire.chunks(step) {
            complete += usize::from(answers.take(piece)?);
        }
        Ok(complete)
    }

    #[test]
    fn answers_are_taken_in_any_split_and_in_any_fragments() {
        let whole = unmasked(CELL, &[300]);
        let fragmented = unmasked(CELL, &[100, 1, 199]);
        for step in [1, 2, 7, 100, 10_000] {
            assert_eq!(batches(&whole, step).unwrap(), 1, "{step}");
            assert_eq!(batches(&fragmented, step).unwrap(), 1, "{step}");
            // The floor sends back what the load sent.
            assert_eq!(batches(&CELL.batch(), step).unwrap(), 1, "{step}");
        }
    }

    #[test]
    fn what_is_wrong_is_seen() {
        let right = unmasked(CELL, &[300]);
        for (position, value) in [(0, 1), (0, 0), (0, 2), (3, 45), (4, 1), (304, 0x80), (308, 0)] {
            let mut wrong = right.clone();
            assert_ne!(wrong[position], value, "{position}");
            wrong[position] = value;
            assert_ne!(batches(&wrong, 10_000).ok(), Some(1), "{position}");
        }
        assert!(batches(&[right.clone(), vec![0x82]].concat(), 10_000).is_err());
        assert_eq!(batches(&right[..right.len() - 1], 10_000).unwrap(), 0);
    }
}
