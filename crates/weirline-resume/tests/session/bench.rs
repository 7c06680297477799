//! Server machines over one log, spoken to in JSON; what they say is shown in one line each.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use weirline_log::{
    AppendRefusal, Command, EventLog as _, LogReader as _, LogWriter as _, MemoryConfig, MemoryLog,
    MemoryReader, MemoryWriter, Offset, Outcome, PayloadKind, StreamId,
};
use weirline_resume::wire::{Form, Limits};
use weirline_resume::{JsonTails, Session, SessionConfig, SessionEntropy};

/// The token of the first session, and the hash at number 0.
pub(crate) const TOKEN: &str = "TOKEN";
pub(crate) const HASH: &str = "AAAAAAAAAAAAAAAAAAAAAA";

pub(crate) struct Bench {
    servers: Vec<Session>,
    pub(crate) current: usize,
    config: Arc<SessionConfig>,
    writer: Rc<RefCell<MemoryWriter>>,
    reader: MemoryReader,
    pub(crate) now: Instant,
    refuse: Option<AppendRefusal>,
    recorded: BTreeMap<String, u64>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with_heartbeat(Duration::from_secs(30))
    }

    fn with_heartbeat(heartbeat: Duration) -> Self {
        let config = SessionConfig {
            publish_window: Limits {
                bytes: 200,
                messages: 4,
            },
            payload_text_bytes_max: 8,
            subs_max: 3,
            heartbeat,
            ..SessionConfig::default()
        };
        let log = MemoryConfig {
            stream_messages_max: 3,
            streams_max: 3,
            ..MemoryConfig::default()
        };
        let (writer, reader) = MemoryLog::new(log, 1).split();
        let mut bench = Self {
            servers: Vec::new(),
            current: 0,
            config: Arc::new(config),
            writer: Rc::new(RefCell::new(writer)),
            reader,
            now: Instant::now(),
            refuse: None,
            recorded: BTreeMap::new(),
        };
        bench.reconnect();
        bench
    }

    /// A session that was made, and has said WELCOME.
    pub(crate) fn live() -> Self {
        let mut bench = Self::new();
        bench.say(&[&hello("")]);
        bench
    }

    /// The same, without heartbeats within the time of a test.
    pub(crate) fn quiet() -> Self {
        let mut bench = Self::with_heartbeat(Duration::from_secs(3600));
        bench.say(&[&hello("")]);
        bench
    }

    /// The same connection once more, over the same log.
    pub(crate) fn fork(&self) -> Self {
        Self {
            servers: self.servers.clone(),
            current: self.current,
            config: Arc::clone(&self.config),
            writer: Rc::clone(&self.writer),
            reader: self.reader.clone(),
            now: self.now,
            refuse: None,
            recorded: self.recorded.clone(),
        }
    }

    /// A further connection, which becomes the current one; says which was.
    pub(crate) fn reconnect(&mut self) -> usize {
        let number = u8::try_from(self.servers.len()).unwrap() + 1;
        let config = Arc::clone(&self.config);
        self.servers
            .push(Session::new(config, Form::Json, "", entropy(number), self.now));
        std::mem::replace(&mut self.current, self.servers.len() - 1)
    }

    pub(crate) fn config(&self) -> Arc<SessionConfig> {
        Arc::clone(&self.config)
    }

    pub(crate) fn server(&mut self) -> &mut Session {
        &mut self.servers[self.current]
    }

    /// Hands in messages, lets the log decide after each, and returns everything that goes out.
    pub(crate) fn say(&mut self, messages: &[&str]) -> Vec<String> {
        for message in messages {
            self.server_message(message);
            self.decide();
        }
        self.heard()
    }

    pub(crate) fn server_message(&mut self, message: &str) {
        let mut message = message
            .replace("SESSION", &URL_SAFE_NO_PAD.encode(entropy(1).session))
            .replace("TOKEN", &URL_SAFE_NO_PAD.encode(entropy(1).token));
        for nonce in 0..10u8 {
            message = message.replace(&format!("NONCE{nonce}"), &URL_SAFE_NO_PAD.encode([nonce; 16]));
        }
        if message.contains("\"E\"") {
            message = message.replace("\"E\"", &format!("\"{}\"", self.epoch("s")));
        }
        let now = self.now;
        self.server()
            .handle_message(now, PayloadKind::Text, message.as_bytes());
    }

    fn commit(&self, command: Command) -> Outcome {
        let mut outcomes = Vec::new();
        self.writer
            .borrow_mut()
            .commit(&[command], &mut outcomes)
            .unwrap();
        outcomes.pop().unwrap()
    }

    pub(crate) fn decide(&mut self) {
        while let Some(command) = self.server().poll_command() {
            let published = matches!(command, Command::Append { .. });
            let acked = match &command {
                Command::Ack { stream, .. } => Some(stream.as_str().to_owned()),
                _ => None,
            };
            let outcome = match self.refuse.take_if(|_| published) {
                Some(refusal) => Outcome::AppendRefused(refusal),
                None => self.commit(command),
            };
            if let (Some(stream), Outcome::Acked { position }) = (acked, &outcome) {
                self.recorded.insert(stream, position.offset.get());
            }
            let now = self.now;
            self.server().handle_outcome(now, outcome);
            self.grown();
        }
    }

    /// The log refuses the next message in this way.
    pub(crate) fn refuse_next(&mut self, refusal: AppendRefusal) {
        self.refuse = Some(refusal);
    }

    /// The log fails with everything that there is to commit.
    pub(crate) fn fail(&mut self) {
        while self.server().poll_command().is_some() {}
        self.server().handle_log_failed();
    }

    fn grown(&mut self) {
        for server in &mut self.servers {
            let streams: Vec<StreamId> = server.streams().cloned().collect();
            for stream in streams {
                server.handle_grown(self.now, &stream);
            }
        }
    }

    pub(crate) fn append(&mut self, stream: &str, payloads: &[&'static str]) {
        for payload in payloads {
            self.commit(Command::Append {
                stream: StreamId::new(stream).unwrap(),
                author: None,
                kind: PayloadKind::Text,
                payload: (*payload).into(),
            });
        }
        self.grown();
    }

    pub(crate) fn begin_epoch(&mut self, stream: &str, keep: u64) {
        let stream = StreamId::new(stream).unwrap();
        let keep = Offset::new(keep).unwrap();
        self.writer.borrow_mut().begin_epoch(&stream, keep).unwrap();
        self.grown();
    }

    pub(crate) fn epoch(&self, stream: &str) -> String {
        let stream = StreamId::new(stream).unwrap();
        match self.commit(Command::Open { stream }) {
            Outcome::Opened(bounds) => bounds.epoch.to_string(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn head(&self, stream: &str) -> u64 {
        let bounds = self.reader.bounds(&StreamId::new(stream).unwrap()).unwrap();
        bounds.map_or(0, |bounds| bounds.head.get())
    }

    /// The acks that the log has recorded.
    pub(crate) fn recorded(&self) -> Vec<(String, u64)> {
        self.recorded.clone().into_iter().collect()
    }

    /// When something is due, but for heartbeats.
    pub(crate) fn deadline(&mut self) -> Option<Duration> {
        let now = self.now;
        let due = self.server().poll_timeout()?;
        Some(due.duration_since(now)).filter(|wait| *wait < Duration::from_secs(1000))
    }

    pub(crate) fn read(&mut self) {
        let (mut scratch, mut tails, now) = (Vec::new(), JsonTails::default(), self.now);
        let reader = self.reader.clone();
        while self
            .server()
            .read_from(now, &reader, 1000, &mut scratch, &mut tails)
            .unwrap()
        {}
    }

    /// Everything that goes out: `type field=value …`, and a close as `close CODE REASON`.
    pub(crate) fn heard(&mut self) -> Vec<String> {
        self.read();
        let mut heard = Vec::new();
        while let Some(message) = self.server().poll_transmit() {
            assert_eq!(message.kind, PayloadKind::Text);
            heard.push(shown(&String::from_utf8(message.to_vec()).unwrap()));
        }
        let close = self.server().poll_close();
        heard.extend(close.map(|close| format!("close {} {}", close.code, close.reason)));
        let names = heard.iter().map(|line| self.named(line));
        names.collect()
    }

    /// Random values by their names.
    fn named(&self, line: &str) -> String {
        let mut line = line
            .replace(&URL_SAFE_NO_PAD.encode(entropy(1).session), "SESSION")
            .replace(&URL_SAFE_NO_PAD.encode(entropy(1).token), "TOKEN");
        for stream in ["s", "t", "a", "b", "c"] {
            let bounds = self.reader.bounds(&StreamId::new(stream).unwrap()).unwrap();
            if let Some(bounds) = bounds {
                line = line.replace(&bounds.epoch.to_string(), "E");
            }
        }
        line
    }
}

/// A HELLO that makes a session.
pub(crate) fn hello(more: &str) -> String {
    format!(r#"{{"t":"hello","v":1,"attach":1,"nonce":"NONCE1"{more}}}"#)
}

/// A HELLO to the session that the first connection made.
pub(crate) fn hello_again(attach: u64, token: &str, nonce: u8, more: &str) -> String {
    format!(
        r#"{{"t":"hello","v":1,"session":"SESSION","token":"{token}","attach":{attach},"nonce":"NONCE{nonce}"{more}}}"#
    )
}

pub(crate) fn entropy(number: u8) -> SessionEntropy {
    SessionEntropy {
        session: [number; 32],
        token: [number | 0x80; 32],
        spread: u32::MAX,
    }
}

pub(crate) fn base64url(hex: &str) -> String {
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The fields of a message in their order.
fn shown(json: &str) -> String {
    struct Shown;

    impl<'de> Visitor<'de> for Shown {
        type Value = String;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<String, A::Error> {
            let mut line = String::new();
            while let Some((name, raw)) = map.next_entry::<&str, &RawValue>()? {
                let value = serde_json::from_str::<String>(raw.get()).unwrap_or_else(|_| raw.get().into());
                match name {
                    "t" => line.push_str(&value),
                    name => line.push_str(&format!(" {name}={value}")),
                }
            }
            Ok(line)
        }
    }

    let mut deserializer = serde_json::Deserializer::from_str(json);
    deserializer.deserialize_map(Shown).unwrap()
}
