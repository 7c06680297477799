//! A queue with a message bound, a byte bound, and a strategy for being full.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::{Counters, Tally};

/// What a full queue does (R16).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strategy {
    /// Drops the oldest items to make room; the loss is counted and must be signalled to the consumer.
    DropOldest,
    /// Gives the item back: the producer waits until there is room.
    Pause,
    /// The consumer is saturated: its connection must be closed with 1008.
    Break {
        /// How long the oldest item may wait (R20; 2 s by default). An empty queue is never late.
        max_latency: Duration,
    },
}

impl Strategy {
    /// [`Strategy::Break`] with the default of 2 s.
    pub const BREAK: Self = Self::Break {
        max_latency: Duration::from_secs(2),
    };
}

/// The two bounds of a queue; it is full at whichever comes first.
///
/// An empty queue accepts one message of any size, also when a bound is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// How many messages may be queued. Default 5000.
    pub messages: usize,
    /// How many bytes may be queued. Default 1 MiB.
    pub bytes: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            messages: 5000,
            bytes: 1 << 20,
        }
    }
}

/// What became of an item given to [`BoundedQueue::push`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a refused item comes back here"]
#[non_exhaustive]
pub enum Push<T> {
    /// It is queued.
    Queued,
    /// It is queued, and so many of the oldest were dropped for it.
    Dropped(Tally),
    /// There is no room; here it is back. The producer pauses until [`BoundedQueue::has_room`].
    Full(T),
    /// There is no room, or the oldest has waited too long; here it is back. The connection must end.
    Broken(T, BreakCause),
}

/// Why a [`Strategy::Break`] queue broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BreakCause {
    /// A bound was reached.
    Full,
    /// The oldest item has waited `max_latency` or longer.
    Late,
}

/// An item, or a run of them, on its way out.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Popped<T> {
    /// The item.
    pub item: T,
    /// How many messages it stands for: 1, and those that were [merged](BoundedQueue::merge) into it.
    pub messages: usize,
    /// The bytes they were pushed with.
    pub bytes: usize,
    /// How long it was queued.
    pub waited: Duration,
}

/// A first-in-first-out queue with two bounds, a [`Strategy`], and exact [`Counters`].
///
/// It allocates nothing before the first push. What an item "weighs" is what the caller says it does; object overhead
/// should be included.
#[derive(Debug)]
pub struct BoundedQueue<T> {
    entries: VecDeque<Waiting<T>>,
    messages: usize,
    bytes: usize,
    limits: QueueLimits,
    strategy: Strategy,
    any_size_below: usize,
    counters: Counters,
}

#[derive(Debug)]
struct Waiting<T> {
    item: T,
    messages: usize,
    bytes: usize,
    since: Instant,
}

impl<T> BoundedQueue<T> {
    /// An empty queue.
    #[must_use]
    pub fn new(limits: QueueLimits, strategy: Strategy) -> Self {
        Self {
            entries: VecDeque::new(),
            messages: 0,
            bytes: 0,
            limits,
            strategy,
            any_size_below: 0,
            counters: Counters::default(),
        }
    }

    /// The same queue, which takes one message of any size not only while it is empty, but while less than `bytes` are
    /// queued: a producer that waits for such a low mark then never meets the byte bound.
    #[must_use]
    pub const fn any_size_below(mut self, bytes: usize) -> Self {
        self.any_size_below = bytes;
        self
    }

    /// Queues `item`, which weighs `bytes`, or does what the strategy says.
    pub fn push(&mut self, now: Instant, item: T, bytes: usize) -> Push<T> {
        if self.is_late(now) {
            self.counters.refused.add(bytes);
            return Push::Broken(item, BreakCause::Late);
        }
        let mut dropped = Tally::default();
        while !self.has_room(bytes) {
            match self.strategy {
                Strategy::DropOldest => drop(self.drop_oldest(&mut dropped)),
                Strategy::Pause => {
                    self.counters.refused.add(bytes);
                    return Push::Full(item);
                }
                Strategy::Break { .. } => {
                    self.counters.refused.add(bytes);
                    return Push::Broken(item, BreakCause::Full);
                }
            }
        }
        self.enqueue(now, item, bytes);
        if dropped.messages == 0 {
            Push::Queued
        } else {
            Push::Dropped(dropped)
        }
    }

    /// Adds one message of `bytes` to the newest item, where that came at this very time, there is room, and `grow` takes it in; says
    /// whether that was done. For a caller that keeps messages of one moment together: a run costs little more than one message.
    #[inline(always)]
    pub fn merge(&mut self, now: Instant, bytes: usize, grow: impl FnOnce(&mut T) -> bool) -> bool {
        if !self.takes(now, bytes) {
            return false;
        }
        let Some(newest) = self.entries.back_mut().filter(|newest| newest.since == now) else {
            return false;
        };
        if !grow(&mut newest.item) {
            return false;
        }
        newest.messages += 1;
        newest.bytes += bytes;
        self.count_in(bytes);
        true
    }

    /// Queues an item that weighs `bytes` where nothing is queued, so that it needs no judgement; says whether that was done.
    #[inline]
    pub fn push_first(&mut self, now: Instant, item: T, bytes: usize) -> bool {
        if !self.entries.is_empty() {
            return false;
        }
        self.enqueue(now, item, bytes);
        true
    }

    /// Whether a push of `bytes` would queue it without dropping anything.
    #[inline]
    #[must_use]
    pub fn takes(&self, now: Instant, bytes: usize) -> bool {
        self.has_room(bytes) && !self.is_late(now)
    }

    #[inline]
    fn enqueue(&mut self, now: Instant, item: T, bytes: usize) {
        self.entries.push_back(Waiting {
            item,
            messages: 1,
            bytes,
            since: now,
        });
        self.count_in(bytes);
    }

    #[inline]
    fn count_in(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes;
        self.counters.pushed.add(bytes);
    }

    /// Takes the oldest item, with all that was merged into it.
    pub fn pop(&mut self, now: Instant) -> Option<Popped<T>> {
        let Waiting {
            item,
            messages,
            bytes,
            since,
        } = self.entries.pop_front()?;
        self.messages -= messages;
        self.bytes -= bytes;
        self.counters.popped.add_all(messages, bytes);
        self.give_back_memory();
        Some(Popped {
            item,
            messages,
            bytes,
            waited: waited(since, now),
        })
    }

    /// Takes one message of `bytes` out of the oldest item, which the caller makes smaller; says how long it waited. The item goes
    /// with its last message.
    ///
    /// # Panics
    /// Where the item has fewer bytes than that.
    pub fn pop_one(&mut self, now: Instant, bytes: usize) -> Option<Duration> {
        let since = self.take_one(bytes)?;
        self.counters.popped.add(bytes);
        Some(waited(since, now))
    }

    /// Like [`pop_one`](Self::pop_one), for a message that is dropped. Says whether there was any.
    ///
    /// # Panics
    /// Where the item has fewer bytes than that.
    pub fn drop_one(&mut self, bytes: usize) -> bool {
        let dropped = self.take_one(bytes).is_some();
        if dropped {
            self.counters.dropped.add(bytes);
        }
        dropped
    }

    fn take_one(&mut self, bytes: usize) -> Option<Instant> {
        let oldest = self.entries.front_mut()?;
        oldest.messages -= 1;
        oldest.bytes -= bytes;
        let (since, emptied) = (oldest.since, oldest.messages == 0);
        self.messages -= 1;
        self.bytes -= bytes;
        if emptied {
            self.entries.pop_front();
            self.give_back_memory();
        }
        Some(since)
    }

    /// The oldest item, left where it is.
    #[must_use]
    pub fn front(&self) -> Option<&T> {
        self.entries.front().map(|waiting| &waiting.item)
    }

    /// The oldest item, to make it smaller before [`pop_one`](Self::pop_one) or [`drop_one`](Self::drop_one).
    pub fn front_mut(&mut self) -> Option<&mut T> {
        self.entries.front_mut().map(|waiting| &mut waiting.item)
    }

    /// The items from the oldest to the newest.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|waiting| &waiting.item)
    }

    /// Takes the oldest item, with all that was merged into it, and counts it as dropped: for a caller that keeps the items' bytes elsewhere and makes room
    /// by itself before it pushes.
    pub fn drop_front(&mut self) -> Option<T> {
        let item = self.drop_oldest(&mut Tally::default());
        self.give_back_memory();
        item
    }

    /// Drops everything that is queued, counts it as dropped, and says how much it was.
    pub fn clear(&mut self) -> Tally {
        let mut dropped = Tally::default();
        while !self.entries.is_empty() {
            self.drop_oldest(&mut dropped);
        }
        self.give_back_memory();
        dropped
    }

    /// Whether a push of `bytes` would find room, whatever the strategy.
    #[inline]
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        if self.entries.is_empty() {
            return true;
        }
        let left = self.limits.bytes.checked_sub(self.bytes);
        self.messages < self.limits.messages
            && (self.bytes < self.any_size_below || left.is_some_and(|left| bytes <= left))
    }

    /// Since when the oldest item is queued.
    #[must_use]
    pub fn oldest(&self) -> Option<Instant> {
        self.entries.front().map(|waiting| waiting.since)
    }

    /// When the oldest item will have waited too long. `None` when the queue is empty (R20), or with a strategy other
    /// than [`Strategy::Break`].
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.strategy {
            // A latency beyond what the clock can express is no limit.
            Strategy::Break { max_latency } => self.oldest()?.checked_add(max_latency),
            Strategy::DropOldest | Strategy::Pause => None,
        }
    }

    /// Whether the [`deadline`](Self::deadline) has come.
    #[inline]
    #[must_use]
    pub fn is_late(&self, now: Instant) -> bool {
        // What came at this time is not late, unless nothing may wait at all.
        self.oldest()
            .is_some_and(|since| since != now || self.waits_not_at_all())
            && self.is_overdue(now)
    }

    fn waits_not_at_all(&self) -> bool {
        self.strategy
            == Strategy::Break {
                max_latency: Duration::ZERO,
            }
    }

    fn is_overdue(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|deadline| now >= deadline)
    }

    /// How many messages are queued.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.messages
    }

    /// Whether nothing is queued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many bytes are queued.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The account since the queue was made.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// The bounds that were set.
    #[must_use]
    pub const fn limits(&self) -> QueueLimits {
        self.limits
    }

    /// The strategy that was set.
    #[must_use]
    pub const fn strategy(&self) -> Strategy {
        self.strategy
    }

    fn drop_oldest(&mut self, dropped: &mut Tally) -> Option<T> {
        let Waiting {
            item,
            messages,
            bytes,
            ..
        } = self.entries.pop_front()?;
        self.messages -= messages;
        self.bytes -= bytes;
        self.counters.dropped.add_all(messages, bytes);
        dropped.add_all(messages, bytes);
        Some(item)
    }

    /// A burst must not leave its buffer behind on an idle connection. Growing past the threshold takes so many pushes
    /// that releasing it costs nothing per message.
    fn give_back_memory(&mut self) {
        if self.entries.is_empty() && self.entries.capacity() > KEPT_CAPACITY {
            self.entries = VecDeque::new();
        }
    }
}

/// Most messages leave in the moment in which they came, which is cheaper to see than to compute.
#[inline]
fn waited(since: Instant, now: Instant) -> Duration {
    if since == now {
        Duration::ZERO
    } else {
        now.saturating_duration_since(since)
    }
}

/// What the first push allocates.
const KEPT_CAPACITY: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "an arbitrary starting point; the tests move it by hand"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn an_empty_queue_accepts_one_message_of_any_size() {
        let now = start();
        for strategy in [Strategy::DropOldest, Strategy::Pause, Strategy::BREAK] {
            for limits in [
                QueueLimits {
                    messages: 0,
                    bytes: 0,
                },
                QueueLimits {
                    messages: 5,
                    bytes: 10,
                },
            ] {
                let mut queue = BoundedQueue::new(limits, strategy);
                assert_eq!(
                    queue.push(now, 'a', usize::MAX / 2),
                    Push::Queued,
                    "{strategy:?} {limits:?}"
                );
                assert!(
                    !queue.has_room(0) || limits.messages > 1,
                    "{strategy:?} {limits:?}"
                );
                assert!(!queue.has_room(1), "{strategy:?} {limits:?}");
            }
        }
    }

    #[test]
    fn below_the_mark_a_queue_takes_one_message_of_any_size() {
        let now = start();
        let limits = QueueLimits {
            messages: 5,
            bytes: 100,
        };
        let mut queue = BoundedQueue::new(limits, Strategy::Pause).any_size_below(50);
        assert_eq!(queue.push(now, 'a', 49), Push::Queued);
        assert_eq!(queue.push(now, 'b', 1_000_000), Push::Queued);
        assert_eq!(queue.push(now, 'c', 1), Push::Full('c'), "one, not two");

        let mut queue = BoundedQueue::new(limits, Strategy::Pause).any_size_below(50);
        assert_eq!(queue.push(now, 'a', 50), Push::Queued);
        assert_eq!(queue.push(now, 'b', 51), Push::Full('b'), "not below the mark");
        assert_eq!(
            queue.push(now, 'c', 50),
            Push::Queued,
            "within the bound all the same"
        );
    }

    /// R20: the guide's code closed connections whose queue was merely empty for two seconds.
    #[test]
    fn an_empty_queue_is_never_late() {
        let t0 = start();
        let mut queue = BoundedQueue::new(QueueLimits::default(), Strategy::BREAK);
        let century = t0 + Duration::from_secs(100 * 365 * 86_400);
        assert_eq!((queue.deadline(), queue.is_late(century)), (None, false));

        assert_eq!(queue.push(t0, 'a', 1), Push::Queued);
        assert_eq!(queue.deadline(), Some(t0 + Duration::from_secs(2)));
        assert!(!queue.is_late(t0 + Duration::from_millis(1999)));
        assert!(queue.is_late(t0 + Duration::from_secs(2)));
        assert_eq!(
            queue.push(t0 + Duration::from_secs(3), 'b', 1),
            Push::Broken('b', BreakCause::Late)
        );

        let popped = queue.pop(t0 + Duration::from_secs(3)).unwrap();
        assert_eq!(
            popped,
            Popped {
                item: 'a',
                messages: 1,
                bytes: 1,
                waited: Duration::from_secs(3)
            }
        );
        assert_eq!((queue.deadline(), queue.is_late(century)), (None, false));
        // The wait of the next one counts from its own arrival.
        assert_eq!(queue.push(century, 'c', 1), Push::Queued);
    }

    #[test]
    fn only_break_has_a_deadline() {
        let t0 = start();
        for strategy in [Strategy::DropOldest, Strategy::Pause] {
            let mut queue = BoundedQueue::new(QueueLimits::default(), strategy);
            assert_eq!(queue.push(t0, 'a', 1), Push::Queued);
            assert_eq!(queue.deadline(), None);
            assert_eq!(queue.oldest(), Some(t0));
        }
    }

    #[test]
    fn one_large_item_drops_as_many_as_it_needs() {
        let now = start();
        let mut queue = BoundedQueue::new(
            QueueLimits {
                messages: 10,
                bytes: 10,
            },
            Strategy::DropOldest,
        );
        for item in 0..5 {
            assert_eq!(queue.push(now, item, 2), Push::Queued);
        }
        assert_eq!(
            queue.push(now, 5, 3),
            Push::Dropped(Tally {
                messages: 2,
                bytes: 4
            })
        );
        assert_eq!(
            queue.push(now, 6, 99),
            Push::Dropped(Tally {
                messages: 4,
                bytes: 9
            })
        );
        assert_eq!((queue.len(), queue.bytes(), queue.front()), (1, 99, Some(&6)));
    }

    /// A run is an account of messages: whatever is merged or taken apart, it is as if each had been queued alone.
    #[test]
    fn a_run_counts_as_its_messages() {
        let t0 = start();
        let later = t0 + Duration::from_secs(1);
        let limits = QueueLimits {
            messages: 4,
            bytes: 100,
        };
        let mut queue = BoundedQueue::new(limits, Strategy::BREAK);
        let grow = |run: &mut Vec<u32>| {
            run.push(1);
            true
        };
        assert!(!queue.merge(t0, 10, grow), "nothing to grow");
        assert_eq!(queue.push(t0, vec![0], 10), Push::Queued);
        assert!(queue.merge(t0, 20, grow));
        assert!(!queue.merge(t0, 20, |_| false), "the caller's choice");
        assert!(!queue.merge(later, 20, grow), "of another time");
        assert!(!queue.merge(t0, 71, grow), "too many bytes");
        assert!(queue.merge(t0, 30, grow));
        assert_eq!(queue.push(later, vec![9], 5), Push::Queued);
        assert!(!queue.merge(later, 5, grow), "too many messages");
        assert_eq!((queue.len(), queue.bytes()), (4, 65));

        assert_eq!(queue.pop_one(later, 10), Some(Duration::from_secs(1)));
        assert!(queue.drop_one(20));
        assert_eq!((queue.len(), queue.bytes()), (2, 35));
        let run = queue.pop(later).unwrap();
        assert_eq!(
            (run.messages, run.bytes, run.waited),
            (1, 30, Duration::from_secs(1))
        );
        assert_eq!(queue.pop_one(later, 5), Some(Duration::ZERO));
        assert!(queue.is_empty() && !queue.drop_one(1) && queue.pop_one(later, 1).is_none());
        let Counters {
            pushed,
            popped,
            dropped,
            ..
        } = queue.counters();
        assert_eq!((pushed.messages, pushed.bytes), (4, 65));
        assert_eq!((popped.messages, popped.bytes), (3, 45));
        assert_eq!((dropped.messages, dropped.bytes), (1, 20));
    }

    #[test]
    fn memory_comes_with_the_first_push_and_goes_after_a_burst() {
        let now = start();
        let mut queue = BoundedQueue::new(QueueLimits::default(), Strategy::Pause);
        assert_eq!(queue.entries.capacity(), 0);
        for item in 0..1000 {
            assert_eq!(queue.push(now, item, 1), Push::Queued);
        }
        while queue.pop(now).is_some() {}
        assert_eq!(queue.entries.capacity(), 0);
    }
}
