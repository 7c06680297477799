//! One subscription of a client, over all its connections.

use std::collections::VecDeque;

use weirline_log::{Offset, Position, StreamId};

use super::SubscribeOptions;
use crate::HandledError;
use crate::client::cursor::Cursor;
use crate::session::meter::{Meter, add, cost};
use crate::wire::{Begin, Limits, Sub, Subscribe};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ClientSub {
    pub(super) stream: StreamId,
    pub(super) options: SubscribeOptions,
    pub(super) stage: Stage,
    pub(super) cursor: Cursor,
    /// What the server may send on this connection, and has sent.
    meter: Meter,
    /// What is taken in and not handled, with its cost, whatever connection it came by.
    unhandled: VecDeque<(Position, u64)>,
    unhandled_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// It was not asked for on this connection.
    Wanted,
    /// It was asked for in this way.
    Asked(Begin),
    Open,
    /// The application wants it no more, and the server was not told.
    Leaving,
    /// UNSUB is sent: what comes before its answer is ignored.
    Left,
}

impl ClientSub {
    pub(super) fn new(stream: StreamId, options: SubscribeOptions) -> Self {
        Self {
            stream,
            options,
            stage: Stage::Wanted,
            cursor: Cursor::restore(options.position),
            meter: Meter::new(Limits::NONE),
            unhandled: VecDeque::new(),
            unhandled_bytes: 0,
        }
    }

    /// What is asked for on a connection: the position is what is taken in, and the limit is the window less what is taken in and unhandled.
    pub(super) fn ask(&mut self, sub: Sub) -> Subscribe {
        let begin = self
            .cursor
            .taken()
            .map_or(self.options.begin, |taken| Begin::After {
                offset: taken.offset,
                epoch: Some(taken.epoch),
            });
        self.stage = Stage::Asked(begin);
        self.meter = Meter::new(self.room());
        Subscribe {
            sub,
            stream: self.stream.clone(),
            begin,
            policy: self.options.policy,
            limits: self.meter.limits(),
        }
    }

    /// How much more may be taken in.
    fn room(&self) -> Limits {
        let window = self.options.window;
        Limits {
            bytes: window.bytes.saturating_sub(self.unhandled_bytes),
            messages: window.messages.saturating_sub(self.unhandled.len() as u64),
        }
    }

    /// Whether the server may send a message.
    pub(super) fn has_credit(&self) -> bool {
        self.meter.has_credit()
    }

    /// A message is taken in.
    pub(super) fn take(&mut self, offset: Offset, payload_bytes: usize) -> Option<Position> {
        let position = self.cursor.take(offset)?;
        self.meter.spend(payload_bytes);
        let cost = cost(payload_bytes);
        self.unhandled.push_back((position, cost));
        self.unhandled_bytes = add(self.unhandled_bytes, cost);
        Some(position)
    }

    pub(super) fn handled(&mut self, position: Position) -> Result<(), HandledError> {
        self.cursor.handled(position)?;
        while let Some(&(first, cost)) = self.unhandled.front() {
            let before = if first.epoch == position.epoch {
                first.offset <= position.offset
            } else {
                !self.cursor.knows(first.epoch)
            };
            if !before {
                break;
            }
            self.unhandled.pop_front();
            self.unhandled_bytes -= cost;
        }
        Ok(())
    }

    /// The history is another one from `position` on.
    pub(super) fn reset(&mut self, position: Position) {
        if self
            .cursor
            .taken()
            .is_some_and(|taken| taken.epoch == position.epoch)
        {
            // What is unhandled could not be told from what comes.
            self.unhandled.clear();
            self.unhandled_bytes = 0;
        }
        self.cursor.reset(position);
    }

    /// Further credit, when it is worth a message: half a window above the last.
    pub(super) fn grant(&mut self) -> Option<Limits> {
        if self.stage != Stage::Open {
            return None;
        }
        let (spent, room, window) = (self.meter.spent(), self.room(), self.options.window);
        let limits = Limits {
            bytes: add(spent.bytes, room.bytes),
            messages: add(spent.messages, room.messages),
        };
        let told = self.meter.limits();
        let half = |window: u64| window.div_ceil(2).max(1);
        let worth = limits.bytes >= add(told.bytes, half(window.bytes))
            || limits.messages >= add(told.messages, half(window.messages));
        worth.then(|| {
            self.meter.raise(limits);
            self.meter.limits()
        })
    }

    /// The limits the server was told.
    pub(super) fn limits(&self) -> Limits {
        self.meter.limits()
    }
}
