//! What happened on every simulated socket, byte by byte, as one hash and, when asked for, as a list.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

/// One line of the trace.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    /// Simulated time.
    pub at: Duration,
    /// The host on which it happened; `-` for the world itself.
    pub host: String,
    /// The connection; 0 for none.
    pub conn: u32,
    /// What it was.
    pub what: What,
    /// How many bytes it moved.
    pub len: usize,
    /// The first eight bytes of the SHA-256 of these bytes.
    pub digest: u64,
    /// Words for people; part of the hash like everything else.
    pub note: String,
}

/// Kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A client begins to connect.
    Dial,
    /// A connect failed.
    DialFailed,
    /// A connection stands, seen from one end.
    Open,
    /// Bytes were accepted by a socket.
    Sent,
    /// Bytes were read from a socket.
    Received,
    /// A read gave the end of the stream.
    Eof,
    /// The sending side was shut down.
    Shutdown,
    /// The socket was dropped.
    Dropped,
    /// An operation failed.
    Error,
    /// The world interfered.
    Fault,
    /// Something above the socket: an event of an application, a commit of the log.
    App,
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>12.6} {:<10}", self.at.as_secs_f64(), self.host)?;
        if self.conn == 0 {
            write!(f, "      ")?;
        } else {
            write!(f, " #{:<4}", self.conn)?;
        }
        write!(f, " {:<9}", format!("{:?}", self.what))?;
        if self.len > 0 {
            write!(f, " {:>6} B {:016x}", self.len, self.digest)?;
        }
        if self.note.is_empty() {
            Ok(())
        } else {
            write!(f, " {}", self.note)
        }
    }
}

/// How much of the trace is kept as events; the hash always covers all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The last few, for reports.
    Last,
    /// All.
    All,
}

/// The trace of one run.
pub struct Trace {
    hash: Sha256,
    count: u64,
    keep: Keep,
    events: VecDeque<Event>,
}

/// Events kept when not all are.
const LAST: usize = 60;

impl Trace {
    /// An empty trace.
    #[must_use]
    pub fn new(keep: Keep) -> Self {
        Self {
            hash: Sha256::new(),
            count: 0,
            keep,
            events: VecDeque::new(),
        }
    }

    /// Adds an event that moved `bytes`.
    pub fn record(&mut self, at: Duration, host: &str, conn: u32, what: What, bytes: &[u8], note: String) {
        self.count += 1;
        self.hash.update(at.as_nanos().to_le_bytes());
        self.hash.update(host.as_bytes());
        self.hash.update(conn.to_le_bytes());
        self.hash.update([what as u8]);
        self.hash.update(bytes.len().to_le_bytes());
        self.hash.update(bytes);
        self.hash.update(note.as_bytes());
        let digest = if bytes.is_empty() || self.keep == Keep::Last {
            0
        } else {
            digest(bytes)
        };
        if self.keep == Keep::Last && self.events.len() == LAST {
            self.events.pop_front();
        }
        self.events.push_back(Event {
            at,
            host: host.to_owned(),
            conn,
            what,
            len: bytes.len(),
            digest,
            note,
        });
    }

    /// The hash over all events so far, as hexadecimal digits, and their number.
    #[must_use]
    pub fn hash(&self) -> (String, u64) {
        let bytes = self.hash.clone().finalize();
        (
            bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            self.count,
        )
    }

    /// The events kept.
    #[must_use]
    pub fn into_events(self) -> Vec<Event> {
        self.events.into()
    }

    /// The events kept so far.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.iter()
    }
}

/// Where two runs of one seed part: the number of the event, and what each had there.
#[must_use]
pub fn first_divergence<'a>(
    one: &'a [Event],
    two: &'a [Event],
) -> Option<(usize, Option<&'a Event>, Option<&'a Event>)> {
    let at = (0..one.len().max(two.len())).find(|&at| one.get(at) != two.get(at))?;
    Some((at, one.get(at), two.get(at)))
}

/// The first eight bytes of the SHA-256.
#[must_use]
pub fn digest(bytes: &[u8]) -> u64 {
    let hash = Sha256::digest(bytes);
    hash.iter()
        .take(8)
        .fold(0, |word, &byte| (word << 8) | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(notes: &[&str]) -> Trace {
        let mut trace = Trace::new(Keep::All);
        for note in notes {
            trace.record(
                Duration::from_millis(1),
                "server",
                1,
                What::Sent,
                b"abc",
                (*note).to_owned(),
            );
        }
        trace
    }

    #[test]
    fn the_first_divergent_event_is_found() {
        let (one, two, short) = (
            trace(&["a", "b", "c"]),
            trace(&["a", "x", "c"]),
            trace(&["a", "b"]),
        );
        assert_ne!(one.hash(), two.hash());
        assert_eq!(one.hash(), trace(&["a", "b", "c"]).hash());
        let (one, two, short) = (one.into_events(), two.into_events(), short.into_events());
        assert_eq!(first_divergence(&one, &two).unwrap().0, 1);
        let (at, left, right) = first_divergence(&one, &short).unwrap();
        assert!((at, left.is_some(), right.is_none()) == (2, true, true));
        assert!(first_divergence(&one, &one).is_none());
    }
}
