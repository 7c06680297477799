//! A long message on its way in, read straight to where it belongs.

use bytes::{BufMut, BytesMut};

/// The buffer of a message that is being assembled, to read the next bytes from the network into: the rest of a long frame then needs no
/// copy. See [`Connection::take_assembly`](crate::Connection::take_assembly).
#[derive(Debug)]
#[must_use = "the message is in it: give it to `Connection::handle_assembly`"]
pub struct Assembly {
    buffer: BytesMut,
    /// What it held when it was taken.
    before: usize,
    /// How much more it may hold then: not beyond the frame, and not much beyond what has arrived.
    room: usize,
}

impl Assembly {
    /// `rest` is what the frame still needs. Memory grows with what has arrived, never by what a header declares; and only when the buffer is
    /// full, since to grow means to double: half empty it would hold four times what has arrived.
    pub(crate) fn new(mut buffer: BytesMut, rest: usize) -> Self {
        let before = buffer.len();
        let mut room = buffer.capacity() - before;
        if room < ROOM_BYTES_MIN {
            room = before;
            buffer.reserve(room.min(rest));
        }
        let room = room.min(rest);
        Self { buffer, before, room }
    }

    /// Where the next bytes go, as they come from the network. It takes some at least.
    pub fn room(&mut self) -> impl BufMut {
        let room = self.room - (self.buffer.len() - self.before);
        (&mut self.buffer).limit(room)
    }

    /// The buffer, and where what is new in it begins.
    pub(crate) fn into_parts(self) -> (BytesMut, usize) {
        (self.buffer, self.before)
    }
}

/// A frame that needs less than this is copied out of the buffer of the read, which then also brings what stands behind it. Nor is memory for more
/// kept ready before so much has arrived: a peer that begins a message and stops must not cost more than it sent.
pub(crate) const DIRECT_BYTES_MIN: usize = 64 << 10;

/// A buffer with less room than this is as good as full: smaller reads are not worth their calls.
const ROOM_BYTES_MIN: usize = 256;
