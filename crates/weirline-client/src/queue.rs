//! The queue between the connection and the application: bounded by reading, never by dropping.
//!
//! | what | when the application is slow |
//! |---|---|
//! | deliveries (messages, gaps, resets, verdicts on publishes) | kept; the connection stops reading the socket when [`EventLimits`] is reached |
//! | acknowledgements | cumulative, so one slot: a later one replaces an earlier one nobody took |
//! | link states | at most [`STATES_MAX`]; beyond that the oldest is dropped, and a log line has each of them |
//!
//! The message that reaches a limit is the last one taken in; what was read behind it stays encoded. A client whose
//! queue is full does not dial.

use std::collections::VecDeque;

use weirline_resume::Ticket;

use crate::event::Event;

/// Link states kept for an application that takes no events.
pub const STATES_MAX: usize = 256;

/// What one queued event is charged besides its payload, in bytes.
const EVENT_OVERHEAD: usize = size_of::<Event>();

/// How much may wait for the application before the client stops reading the socket.
///
/// Both bounds hold, and 0 counts as 1; reading goes on when the queue has fallen to half of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventLimits {
    /// Deliveries; default 5000.
    pub messages: usize,
    /// Bytes of payload, and of each event's own size; default 1 MiB. One message of any legal size is accepted
    /// by an empty queue.
    pub bytes: usize,
}

impl Default for EventLimits {
    fn default() -> Self {
        Self {
            messages: 5000,
            bytes: 1 << 20,
        }
    }
}

/// Events in the order in which they happened, with their charge.
#[derive(Debug)]
pub(crate) struct EventQueue {
    limits: EventLimits,
    items: VecDeque<Event>,
    acked: Option<Ticket>,
    /// Charged deliveries in `items`.
    messages: usize,
    bytes: usize,
    /// Link states in `items`.
    states: usize,
}

impl EventQueue {
    pub(crate) fn new(limits: EventLimits) -> Self {
        let limits = EventLimits {
            messages: limits.messages.max(1),
            bytes: limits.bytes.max(1),
        };
        Self {
            limits,
            items: VecDeque::new(),
            acked: None,
            messages: 0,
            bytes: 0,
            states: 0,
        }
    }

    pub(crate) fn push(&mut self, event: Event) {
        match event {
            Event::Acked(ticket) => {
                self.acked = Some(self.acked.map_or(ticket, |before| before.max(ticket)));
                return;
            }
            Event::Link(_) => {
                if self.states == STATES_MAX {
                    self.drop_oldest_state();
                }
                self.states += 1;
            }
            ref delivery => {
                self.messages += 1;
                self.bytes += charge(delivery);
            }
        }
        self.items.push_back(event);
    }

    /// The acknowledgement first, since a full queue must not hold it back, then everything else in order.
    pub(crate) fn pop(&mut self) -> Option<Event> {
        if let Some(ticket) = self.acked.take() {
            return Some(Event::Acked(ticket));
        }
        let event = self.items.pop_front()?;
        if matches!(event, Event::Link(_)) {
            self.states -= 1;
        } else {
            self.messages -= 1;
            self.bytes -= charge(&event);
        }
        Some(event)
    }

    /// True when reading must stop.
    pub(crate) fn is_full(&self) -> bool {
        self.messages >= self.limits.messages || self.bytes >= self.limits.bytes
    }

    /// True when reading may start again: half of each limit, so that a full queue does not toggle it per event.
    pub(crate) fn has_room(&self) -> bool {
        self.messages <= self.limits.messages / 2 && self.bytes <= self.limits.bytes / 2
    }

    /// Deliveries waiting, and their bytes.
    pub(crate) fn depth(&self) -> (usize, usize) {
        (self.messages, self.bytes)
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.limits);
    }

    fn drop_oldest_state(&mut self) {
        let oldest = self
            .items
            .iter()
            .position(|event| matches!(event, Event::Link(_)));
        if let Some(index) = oldest {
            self.items.remove(index);
            self.states -= 1;
        }
    }
}

fn charge(event: &Event) -> usize {
    EVENT_OVERHEAD + event.payload_len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::LinkState;

    fn drain(queue: &mut EventQueue) -> Vec<Event> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    fn waiting(attempt: u32) -> Event {
        Event::Link(LinkState::Waiting {
            attempt,
            delay: std::time::Duration::ZERO,
        })
    }

    #[test]
    fn acknowledgements_take_one_place_and_overtake() {
        let mut queue = EventQueue::new(EventLimits::default());
        queue.push(Event::Continued);
        for ticket in [1, 3, 2] {
            queue.push(Event::Acked(Ticket(ticket)));
        }
        assert_eq!(drain(&mut queue), [Event::Acked(Ticket(3)), Event::Continued]);
    }

    #[test]
    fn only_link_states_are_dropped_and_only_the_oldest() {
        let mut queue = EventQueue::new(EventLimits::default());
        queue.push(Event::Continued);
        for attempt in 0..1000 {
            queue.push(waiting(attempt));
        }
        assert!(!queue.is_full(), "states are not charged");
        queue.push(Event::SessionRenewed);
        let events = drain(&mut queue);
        assert_eq!(events.len(), STATES_MAX + 2);
        assert_eq!((&events[0], &events[1]), (&Event::Continued, &waiting(744)));
        assert_eq!(events.last(), Some(&Event::SessionRenewed));
        assert_eq!(queue.depth(), (0, 0));
    }

    #[test]
    fn a_full_queue_has_room_again_at_half() {
        let mut queue = EventQueue::new(EventLimits {
            messages: 4,
            bytes: 1 << 20,
        });
        for _ in 0..4 {
            assert!(!queue.is_full());
            queue.push(Event::Continued);
        }
        assert!(queue.is_full() && !queue.has_room());
        queue.pop();
        assert!(!queue.is_full() && !queue.has_room());
        queue.pop();
        assert!(queue.has_room());
    }
}
