//! What went through a queue, exactly.

/// A number of messages and the bytes they were pushed with.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// How many messages.
    pub messages: u64,
    /// Their bytes, as given to [`push`](crate::BoundedQueue::push).
    pub bytes: u64,
}

impl Tally {
    #[inline]
    pub(crate) const fn add(&mut self, bytes: usize) {
        self.add_all(1, bytes);
    }

    #[inline]
    pub(crate) const fn add_all(&mut self, messages: usize, bytes: usize) {
        self.messages += messages as u64;
        self.bytes += bytes as u64;
    }
}

/// The exact account of a [`BoundedQueue`](crate::BoundedQueue) since it was made.
///
/// `pushed = popped + dropped + queued`, for messages and for bytes, after every call.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Taken in: queued at some time.
    pub pushed: Tally,
    /// Handed out by [`pop`](crate::BoundedQueue::pop).
    pub popped: Tally,
    /// Thrown away, by the drop-oldest strategy or by [`clear`](crate::BoundedQueue::clear).
    pub dropped: Tally,
    /// Given back to the producer (`Full` or `Broken`): not part of `pushed`.
    pub refused: Tally,
}
