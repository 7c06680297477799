//! Two connections of a resume server over one log, with clients that say anything at any time.
//!
//! Each step is a byte: what happens, and on which connection. What a server sends is held to `PROTOCOL.md` by an oracle for each
//! connection; what it hands to the log, to what the client published.

mod oracle;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use weirline_log::{
    Attach, Command, EventLog as _, LogWriter as _, MemoryConfig, MemoryLog, MemoryReader, MemoryWriter,
    Offset, Outcome, PayloadKind, Seq, SessionId, StreamId,
};
use weirline_resume::text::{ClientMessage, GapReason, PauseReason, Start};
use weirline_resume::{Secret, TextServer, TextServerConfig};

use crate::source::{Source, start};
use oracle::{History, Oracle};

pub(crate) fn run(input: &[u8]) {
    let mut source = Source::new(input);
    let mut world = World::new();
    for _ in 0..STEPS_MAX {
        if source.is_empty() {
            break;
        }
        world.step(&mut source);
    }
    for who in [0, 1] {
        world.commit(who, usize::MAX);
        world.transmit(who);
        world.reconnect(who);
    }
}

const STEPS_MAX: usize = 1000;

struct Link {
    server: TextServer,
    oracle: Oracle,
    /// Commands that were polled and not committed.
    queue: VecDeque<Command>,
    /// A read was made since the transport last took everything: it has no room for more.
    has_read: bool,
    /// Messages handed in although the server did not want to read, since it last did.
    over: usize,
}

struct World {
    config: Arc<TextServerConfig>,
    writer: MemoryWriter,
    reader: MemoryReader,
    links: [Link; 2],
    history: History,
    counts: BTreeMap<SessionId, u64>,
    now: Instant,
}

fn stream() -> StreamId {
    StreamId::new("s").expect("a legal name")
}

fn link(config: &Arc<TextServerConfig>, now: Instant) -> Link {
    Link {
        server: TextServer::new(Arc::clone(config), stream(), now),
        oracle: Oracle::default(),
        queue: VecDeque::new(),
        has_read: false,
        over: 0,
    }
}

impl World {
    fn new() -> Self {
        let now = start();
        let config = Arc::new(TextServerConfig {
            in_flight_messages_max: 4,
            in_flight_bytes_max: 100,
            payload_text_bytes_max: 40,
            payload_binary_bytes_max: 60,
            read_messages_max: 3,
            ..TextServerConfig::default()
        });
        let limits = MemoryConfig {
            stream_messages_max: 6,
            entry_bytes_max: 50,
            sessions_max: 2,
            publishers_max: 2,
            ..MemoryConfig::default()
        };
        let (writer, reader) = MemoryLog::new(limits, 7).split();
        Self {
            links: [link(&config, now), link(&config, now)],
            config,
            writer,
            reader,
            history: History::default(),
            counts: BTreeMap::new(),
            now,
        }
    }

    fn step(&mut self, source: &mut Source<'_>) {
        let what = source.byte();
        let who = usize::from(what >> 7);
        match what & 15 {
            0 => {
                let kind = kind(what & 64 != 0);
                let len = source.below(80);
                self.message(who, kind, source.take(len));
            }
            1..=6 => self.client_message(who, what & 15, source),
            7 => self.commit(who, 1 + source.below(5)),
            8 => self.read(who, source.below(200)),
            9 => self.transmit(who),
            10 => self.server_says(who, what, source),
            11 => {
                self.now += Duration::from_secs(u64::from(source.byte() % 16));
                self.links[who].server.handle_timeout(self.now);
            }
            12 => self.break_down(who, source.byte()),
            13 => self.reconnect(who),
            14 => self.elsewhere(source),
            _ => {
                // Everything that can move moves.
                self.commit(who, usize::MAX);
                self.read(who, 1000);
                self.transmit(who);
            }
        }
    }

    fn client_message(&mut self, who: usize, what: u8, source: &mut Source<'_>) {
        let oracle = &self.links[who].oracle;
        let number = |source: &mut Source<'_>, near: u64| match source.byte() {
            far @ 250.. => (1 << 53) - 1 - u64::from(far - 250),
            close => (near + u64::from(close % 8)).saturating_sub(2),
        };
        let text = "na\u{ef}ve".repeat(20);
        let message = match what {
            1 => {
                let secret = source.choose(&["a", "b", "c"]).repeat(22);
                let attach = Attach::new(number(source, 3).max(1)).expect("below the greatest");
                let secret = Secret::parse(&secret).expect("legal");
                ClientMessage::Session { secret, attach }
            }
            2 => ClientMessage::ResumeFrom(match source.below(5) {
                0 => Start::Head,
                1 => Start::Nothing,
                how => {
                    let epoch = self.history.some_epoch(source.below(4)).filter(|_| how == 2);
                    let offset =
                        Offset::new(number(source, self.history.head())).expect("below the greatest");
                    Start::After { offset, epoch }
                }
            }),
            3 => {
                let near = oracle.position().map_or(0, Offset::get);
                ClientMessage::Ack(Offset::new(number(source, near)).expect("below the greatest"))
            }
            _ => {
                let kind = kind(source.byte() & 1 == 0);
                let near = oracle.next_seq() + 1;
                let seq = if what == 6 { number(source, near) } else { near - 1 };
                let len = source.below(72);
                let payload = &text.as_bytes()[..text.floor_char_boundary(len)];
                let seq = Seq::new(seq.max(1)).expect("below the greatest");
                ClientMessage::Publish { seq, kind, payload }
            }
        };
        let mut wire = Vec::new();
        let kind = message.encode(&mut wire);
        self.message(who, kind, &wire);
    }

    /// A transport hands in what it has read: a little, where the server does not want any.
    fn message(&mut self, who: usize, kind: PayloadKind, message: &[u8]) {
        let link = &mut self.links[who];
        if link.server.wants_input() {
            link.over = 0;
        } else if link.over < 8 {
            link.over += 1;
        } else {
            return;
        }
        link.oracle.client_says(kind, message);
        if message.len().is_multiple_of(2) {
            link.server.handle_message(self.now, kind, message);
        } else {
            let message = Bytes::copy_from_slice(message);
            link.server.handle_message_bytes(self.now, kind, &message);
        }
    }

    /// Takes what the connection wants committed, and commits so many of it.
    fn commit(&mut self, who: usize, count: usize) {
        let link = &mut self.links[who];
        while let Some(command) = link.server.poll_command() {
            link.oracle.command(&command);
            link.queue.push_back(command);
        }
        assert!(
            link.queue.len() <= QUEUED_MAX,
            "{} commands wait",
            link.queue.len()
        );
        for _ in 0..count {
            let Some(command) = self.links[who].queue.pop_front() else {
                break;
            };
            let outcome = self.apply(&command);
            let link = &mut self.links[who];
            link.oracle.outcome(&command, &outcome);
            link.server.handle_outcome(self.now, outcome.clone());
            if let (Command::Attach { session, .. }, Outcome::Attached { previous, .. }) =
                (&command, &outcome)
            {
                self.fence(*session, *previous);
            }
        }
    }

    fn apply(&mut self, command: &Command) -> Outcome {
        let mut outcomes = Vec::new();
        let committed = self.writer.commit(std::slice::from_ref(command), &mut outcomes);
        committed.expect("a log in memory does not fail");
        let outcome = outcomes.pop().expect("an outcome for each command");
        if let (
            Command::Append {
                author,
                kind,
                payload,
                ..
            },
            Outcome::Appended { offset, .. },
        ) = (command, &outcome)
        {
            if let Some(author) = author {
                let count = self.counts.entry(author.session).or_default();
                *count += 1;
                assert_eq!(author.seq.get(), *count, "each number once and in order");
            }
            self.history.append(*offset, *kind, payload);
        }
        self.history.learn(&self.reader, &stream());
        self.links.iter_mut().for_each(|link| link.server.handle_grown());
        outcome
    }

    /// The hub closes the connection that was taken over.
    fn fence(&mut self, session: SessionId, previous: Option<Attach>) {
        for link in &mut self.links {
            if previous.is_some_and(|attach| link.server.session() == Some((session, attach))) {
                link.server.handle_fenced();
                link.oracle.given_up();
            }
        }
    }

    /// The log is read as far as the transport has room.
    fn read(&mut self, who: usize, capacity: usize) {
        let link = &mut self.links[who];
        let capacity = if link.has_read { 0 } else { capacity };
        let read = link.server.read_from(&self.reader, capacity, &mut Vec::new());
        link.has_read |= read.expect("a log in memory does not fail");
    }

    fn transmit(&mut self, who: usize) {
        let link = &mut self.links[who];
        link.has_read = false;
        let mut sent = 0;
        while let Some(message) = link.server.poll_transmit() {
            assert!(!message.is_empty() && message.len() == message.to_vec().len());
            link.oracle
                .server_says(message.kind, &message.to_vec(), &self.history);
            // The last three are the caller's: it may say them as often as it likes.
            let text = message.control_text().unwrap_or_default();
            let ours =
                text.starts_with("PAUSE") || text.starts_with("CONTINUE") || text.ends_with(":dropped");
            sent += usize::from(!ours);
        }
        assert!(sent <= SENT_MAX, "{sent} messages waited");
        if let Some(close) = link.server.poll_close() {
            link.oracle.closed(&close, &self.history);
        }
        assert_eq!(link.server.poll_close(), None);
    }

    fn server_says(&mut self, who: usize, what: u8, source: &mut Source<'_>) {
        let link = &mut self.links[who];
        match what & 0x70 {
            0x00 | 0x10 => link.server.pause(PauseReason::PUBLISHING),
            0x20 | 0x30 => link.server.resume(),
            0x40 => {
                let to = Offset::new(u64::from(source.byte() % 16)).expect("small");
                let head = self.history.head();
                if to.get() <= head {
                    link.server.skip_to(to, GapReason::Dropped);
                }
            }
            _ => link.server.handle_grown(),
        }
    }

    fn break_down(&mut self, who: usize, how: u8) {
        let link = &mut self.links[who];
        match how % 8 {
            0 => {
                let after = Duration::from_millis(u64::from(how) * 1000);
                link.server.break_off(PauseReason::SLOW_CONSUMER, after);
                link.oracle.given_up();
            }
            1 => {
                // The whole batch failed.
                link.queue.clear();
                while link.server.poll_command().is_some() {}
                link.server.handle_log_failed();
            }
            _ => {}
        }
    }

    fn reconnect(&mut self, who: usize) {
        self.links[who].server.handle_disconnected(self.now);
        self.commit(who, usize::MAX);
        let server = &mut self.links[who].server;
        assert!(server.poll_transmit().is_none() && server.poll_close().is_none());
        assert!(server.poll_command().is_none() && server.poll_timeout().is_none());
        self.links[who] = link(&self.config, self.now);
    }

    /// What others do to the log.
    fn elsewhere(&mut self, source: &mut Source<'_>) {
        match source.below(8) {
            0 => {
                let keep = Offset::new(u64::from(source.byte() % 16)).expect("small");
                if let Some(bounds) = self.writer.begin_epoch(&stream(), keep) {
                    self.history.begin_epoch(bounds);
                }
                self.links.iter_mut().for_each(|link| link.server.handle_grown());
            }
            1 => {
                let secret = source.choose(&["a", "b", "c"]).repeat(22);
                let session = Secret::parse(&secret).expect("legal").session_id();
                let attach = Attach::new(1 + source.below(8) as u64).expect("small");
                self.now += Duration::from_secs(400);
                let now = self.now;
                let outcome = self.apply(&Command::Expire { session, attach, now });
                assert!(
                    matches!(outcome, Outcome::Expired | Outcome::Ignored),
                    "{outcome:?}"
                );
            }
            _ => {
                let payload = Bytes::copy_from_slice(source.take(6));
                self.apply(&Command::Append {
                    stream: stream(),
                    author: None,
                    kind: PayloadKind::Binary,
                    payload,
                });
            }
        }
    }
}

fn kind(text: bool) -> PayloadKind {
    if text {
        PayloadKind::Text
    } else {
        PayloadKind::Binary
    }
}

/// What a connection may want committed at once: its window, what was handed in over it, an attach, an open, an ack.
const QUEUED_MAX: usize = 4 + 8 + 8;

/// What may wait to be sent at once: one read with its gaps, an answer for each message in the window and over it, the opening.
const SENT_MAX: usize = 2 * 3 + 4 + 2 * (4 + 8) + 8;
