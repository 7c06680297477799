//! The buffers of a worker thread: one to read into and one to encode into for all its connections, so that an idle
//! connection holds none.

use std::cell::Cell;

use bytes::BytesMut;

/// Large reads save system calls on large pipelined messages; the size makes no difference to small ones.
const READ_BYTES: usize = 256 << 10;

/// A copy to an address that is a few bytes behind that of its source, modulo the page, takes half as long again or more: each read seems to depend on
/// the write before it. Allocations like to begin at a page, so the buffer begins in the middle of one.
const PAGE_BYTES: usize = 4096;

thread_local! {
    static BUFFER: Cell<Option<ReadBuffer>> = const { Cell::new(None) };
    static ENCODE_BUFFER: Cell<BytesMut> = Cell::new(BytesMut::new());
}

/// What is kept of the buffer to encode into, however large it has become.
const ENCODE_BYTES_KEPT: usize = 1 << 20;

/// The thread's buffer to encode into; nested drivers find an empty one.
pub(crate) fn take_encode_buffer() -> BytesMut {
    ENCODE_BUFFER.take()
}

pub(crate) fn put_back_encode_buffer(buffer: BytesMut) {
    if buffer.capacity() <= ENCODE_BYTES_KEPT {
        ENCODE_BUFFER.set(buffer);
    }
}

pub(crate) struct ReadBuffer {
    storage: Vec<u8>,
    start: usize,
}

impl ReadBuffer {
    /// Takes the thread's buffer, rather than borrowing it: a handler may drive another connection while it is in use.
    pub(crate) fn take() -> Self {
        BUFFER.take().unwrap_or_else(|| {
            let storage = vec![0; READ_BYTES + 2 * PAGE_BYTES];
            let start = storage.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES) + PAGE_BYTES / 2;
            Self { storage, start }
        })
    }

    /// Gives it back.
    pub(crate) fn put_back(self) {
        BUFFER.set(Some(self));
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.start + READ_BYTES]
    }
}
