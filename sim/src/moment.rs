//! Moments in the life of a connection, and what is planned for them: faults that fall when something happens, not by time.

use serde::{Deserialize, Serialize};

use crate::conn::{Conn, Cut, Side};
use crate::pairs::Step;
use crate::wire::Direction;

/// Something that has happened at one of the two sockets. Once it is true it stays true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Moment {
    /// The socket has taken so many bytes.
    Bytes {
        /// Whose socket.
        by: Side,
        /// How many, the head included.
        count: u64,
    },
    /// It has taken so many bytes of its n-th message or control frame of this label.
    Inside {
        /// Whose socket.
        by: Side,
        /// `DATA`, `CLOSE`, `PING` or `PONG`.
        label: String,
        /// Which one, from 1.
        nth: u64,
        /// How many, headers included.
        bytes: u64,
    },
    /// It has taken the n-th message or control frame of this label whole, and nothing of it has arrived.
    Sent {
        /// Whose socket.
        by: Side,
        /// The label: `ACK`, `DATA`, `RESUME_FROM`, `CLOSE`, `HEAD`, …
        label: String,
        /// Which one, from 1.
        nth: u64,
    },
    /// It has given its reader the n-th such thing of the other side.
    Read {
        /// Whose socket.
        by: Side,
        /// The label.
        label: String,
        /// Which one, from 1.
        nth: u64,
    },
    /// Its direction was ended.
    Fin {
        /// Whose socket.
        by: Side,
    },
    /// It has given its reader the end of the other side's direction.
    ReadFin {
        /// Whose socket.
        by: Side,
    },
    /// It was dropped.
    Gone {
        /// Whose socket.
        by: Side,
    },
}

/// What happens then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Act {
    /// The connection is cut, at the side of the moment.
    Cut(Cut),
    /// What goes this way arrives later.
    Hold {
        /// Which way.
        direction: Direction,
        /// How much later, at most.
        for_ms: u64,
    },
    /// What was held this way arrives.
    Release {
        /// Which way.
        direction: Direction,
    },
    /// From here on the reader is given so many bytes per second at most.
    Rate {
        /// Which way.
        direction: Direction,
        /// How many.
        bytes_per_second: u64,
    },
    /// The application at one end does something.
    Order {
        /// Which end.
        side: Side,
        /// What.
        step: Step,
    },
}

/// A moment, and what happens then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// When.
    pub when: Moment,
    /// How much later.
    #[serde(default)]
    pub after_ms: u64,
    /// What.
    pub then: Act,
}

/// A rule for one of a client's connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fuse {
    /// The client's number.
    pub client: usize,
    /// Which of its connections, from 1.
    pub dial: u64,
    /// What happens to it.
    pub rule: Rule,
}

impl Moment {
    /// When the side has sent its Close.
    #[must_use]
    pub fn close_sent(by: Side) -> Self {
        Self::sent(by, "CLOSE", 1)
    }

    /// When the side has read the other's Close.
    #[must_use]
    pub fn close_read(by: Side) -> Self {
        let label = "CLOSE".to_owned();
        Self::Read { by, label, nth: 1 }
    }

    /// When the side has sent the n-th thing of a label.
    #[must_use]
    pub fn sent(by: Side, label: &str, nth: u64) -> Self {
        let label = label.to_owned();
        Self::Sent { by, label, nth }
    }

    /// Whose socket it happens at.
    #[must_use]
    pub fn by(&self) -> Side {
        match *self {
            Self::Bytes { by, .. }
            | Self::Inside { by, .. }
            | Self::Sent { by, .. }
            | Self::Read { by, .. }
            | Self::Fin { by }
            | Self::ReadFin { by }
            | Self::Gone { by } => by,
        }
    }

    /// Whether it has come.
    #[must_use]
    pub fn is_past(&self, conn: &Conn) -> bool {
        let sends = conn.traffic(self.by().sends());
        let receives = conn.traffic(self.by().receives());
        match self {
            Self::Bytes { count, .. } => sends.sent >= *count,
            Self::Inside {
                label, nth, bytes, ..
            } => {
                let whole = sends.count_sent(label);
                whole >= *nth || (whole + 1 == *nth && sends.inside.0 == label && sends.inside.1 >= *bytes)
            }
            Self::Sent { label, nth, .. } => sends.count_sent(label) >= *nth,
            Self::Read { label, nth, .. } => receives.count_read(label) >= *nth,
            Self::Fin { .. } => sends.fin_at.is_some(),
            Self::ReadFin { .. } => receives.fin_read_at.is_some(),
            Self::Gone { by } => conn.dropped[by.index()].get().is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wire::Seen;

    const AT: Duration = Duration::from_millis(5);

    #[test]
    fn a_moment_comes_once_and_stays() {
        let conn = Conn::new(1, 1000);
        let close = Seen::Close {
            code: 1000,
            reason: String::new(),
        };
        let inside = Moment::Inside {
            by: Side::Server,
            label: "CLOSE".to_owned(),
            nth: 1,
            bytes: 2,
        };
        let [sent, read] = [Moment::close_sent(Side::Server), Moment::close_read(Side::Client)];
        let past = |moments: [&Moment; 3]| moments.map(|moment| moment.is_past(&conn));
        let all = [&inside, &sent, &read];
        assert_eq!(past(all), [false; 3]);
        conn.traffic_mut(Direction::ToClient).inside = ("CLOSE", 3);
        assert_eq!(past(all), [true, false, false]);
        conn.traffic_mut(Direction::ToClient).took(AT, 4);
        conn.traffic_mut(Direction::ToClient).saw(AT, &close);
        assert_eq!(past(all), [true, true, false]);
        conn.traffic_mut(Direction::ToClient).gave(AT, 3);
        assert_eq!(past(all), [true, true, false]);
        conn.traffic_mut(Direction::ToClient).gave(AT, 1);
        assert_eq!(past(all), [true; 3]);
        assert!(!Moment::close_read(Side::Server).is_past(&conn));
    }
}
