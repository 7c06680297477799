//! What one socket sends and is given, followed frame by frame: the registry of the connection learns of it, planned faults
//! fall at their byte, and what RFC 6455 forbids is reported.

use std::rc::Rc;

use crate::conn::{Conn, Op, Side};
use crate::moment::Moment;
use crate::net::Net;
use crate::sometimes;
use crate::trace::What;
use crate::wire::{Scanner, Seen};

/// Follows one end of a connection.
pub(crate) struct Watch {
    net: Rc<Net>,
    conn: Rc<Conn>,
    host: Rc<str>,
    side: Side,
    scanner: Scanner,
    /// The scanner has met something that is not WebSocket.
    lost: bool,
}

/// Errors of the text form that only a defect of one of our ends brings about.
const OUR_FAULTS: [&str; 3] = ["ERROR:bad-message", "ERROR:bad-sequence", "ERROR:ack-beyond"];

impl Watch {
    pub(crate) fn new(net: Rc<Net>, conn: Rc<Conn>, host: Rc<str>, side: Side) -> Self {
        Self {
            scanner: Scanner::new(side.sends()),
            lost: false,
            net,
            conn,
            host,
            side,
        }
    }

    /// Adds a line to the trace.
    pub(crate) fn record(&self, what: What, bytes: &[u8], note: &str) {
        self.net
            .record(&self.host, self.conn.id, what, bytes, note.to_owned());
    }

    /// How much of `bytes` may be sent now, so that what is planned falls exactly where it should.
    pub(crate) fn allowed(&self, bytes: &[u8]) -> usize {
        let rules = self.conn.rules.borrow();
        if rules.is_empty() || self.lost || self.conn.cut.get().is_some() {
            return bytes.len();
        }
        rules
            .iter()
            .filter(|rule| rule.when.by() == self.side)
            .map(|rule| self.until(&rule.when, bytes))
            .fold(bytes.len(), usize::min)
    }

    /// How many of `bytes` may pass before a look at this moment is due.
    fn until(&self, moment: &Moment, bytes: &[u8]) -> usize {
        let unit = || {
            let advanced = self.scanner.clone().advance(bytes);
            advanced.map_or(bytes.len(), |(used, _)| used)
        };
        let at_most = |left: u64| usize::try_from(left.max(1)).unwrap_or(usize::MAX);
        let traffic = self.conn.traffic(self.side.sends());
        match moment {
            Moment::Bytes { count, .. } => at_most(count.saturating_sub(traffic.sent)),
            Moment::Sent { .. } => unit(),
            Moment::Inside {
                label, nth, bytes, ..
            } => {
                let (inside, passed) = self.scanner.progress();
                if !self.scanner.inside() {
                    // The first two bytes tell what comes.
                    2
                } else if inside == label && traffic.count_sent(label) + 1 == *nth {
                    at_most(bytes.saturating_sub(passed)).min(unit())
                } else {
                    unit()
                }
            }
            _ => usize::MAX,
        }
    }

    /// The socket took these bytes.
    pub(crate) fn passed(&mut self, bytes: &[u8]) {
        let now = self.net.now();
        let direction = self.side.sends();
        let mut rest = bytes;
        while !rest.is_empty() && !self.lost {
            match self.scanner.advance(rest) {
                Ok((used, seen)) => {
                    self.conn.traffic_mut(direction).took(now, used);
                    rest = &rest[used..];
                    if let Some(seen) = seen {
                        self.saw(&seen);
                    }
                }
                Err(what) => {
                    self.lost = true;
                    if !self.conn.rogue[self.side.index()].get() {
                        let text = format!("#{} {} sent {what}", self.conn.id, self.host);
                        self.net.violate("W1", text);
                    }
                }
            }
        }
        let mut traffic = self.conn.traffic_mut(direction);
        traffic.took(now, rest.len());
        traffic.inside = self.scanner.progress();
        drop(traffic);
        self.net.happened(&self.conn);
    }

    fn saw(&self, seen: &Seen) {
        let net = &self.net;
        net.saw(&self.conn, self.side, seen);
        match seen {
            Seen::Close { code, reason } => {
                sometimes!(
                    net,
                    "close-handshake",
                    self.conn.closes_sent()[self.side.other().index()]
                );
                self.record(What::App, &[], &format!("Close {code} {reason}"));
            }
            Seen::Head { status: 101 } => self.conn.upgraded.set(true),
            Seen::Ping(_) if self.scanner.inside_message() => net.case("ping-between-fragments"),
            Seen::Pong(_) if self.scanner.inside_message() => net.case("pong-between-fragments"),
            Seen::Message { preview, len, .. } => {
                self.follow_numbers(preview);
                sometimes!(
                    net,
                    "close-crossing",
                    self.conn.closes_sent()[self.side.other().index()]
                );
                let preview = String::from_utf8_lossy(&preview[..preview.len().min(24)]).into_owned();
                if OUR_FAULTS.iter().any(|fault| preview.starts_with(fault)) {
                    let text = format!("#{}: our own ends disagree: {preview}", self.conn.id);
                    net.violate("W4", text);
                }
                self.record(What::App, &[], &format!("{} {preview:?} ({len} B)", seen.label()));
            }
            _ => {}
        }
        self.conn.traffic_mut(self.side.sends()).saw(net.now(), seen);
    }

    fn follow_numbers(&self, preview: &[u8]) {
        if self.side == Side::Server {
            self.conn.numbering.server_said(preview);
            return;
        }
        self.conn.used.set(true);
        if self.conn.by_hand.get() {
            return;
        }
        match self.conn.numbering.client_said(preview) {
            Ok(resumed) => sometimes!(self.net, "numbered-on", resumed),
            Err(text) => self.net.violate("I5", format!("#{}: {text}", self.conn.id)),
        }
    }

    /// The socket gave its reader these bytes.
    pub(crate) fn received(&self, bytes: &[u8]) {
        let now = self.net.now();
        let direction = self.side.receives();
        let under_way = &self.conn.under_way[direction.index()];
        under_way.set(under_way.get().saturating_sub(bytes.len()));
        self.conn.has_room(direction.index(), now);
        self.conn.wake(self.side.other(), Op::Write);
        self.conn.traffic_mut(direction).gave(now, bytes.len());
        self.record(What::Received, bytes, "");
        self.net.happened(&self.conn);
    }

    /// The socket's own direction was ended.
    pub(crate) fn shut_down(&self) {
        let now = self.net.now();
        self.conn.traffic_mut(self.side.sends()).fin_at.get_or_insert(now);
        self.record(What::Shutdown, &[], "");
        self.net.happened(&self.conn);
    }

    /// The socket gave its reader the end of the other direction.
    pub(crate) fn end_of_stream(&self, note: &str) {
        let now = self.net.now();
        self.conn
            .traffic_mut(self.side.receives())
            .fin_read_at
            .get_or_insert(now);
        self.record(What::Eof, &[], note);
        self.net.happened(&self.conn);
    }
}
