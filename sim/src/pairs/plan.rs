//! What the two ends of a connection are, and what they do, as data.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weirline_connection::Config;

use crate::conn::Side;
use crate::moment::{Act, Moment, Rule};
use crate::net::NetPlan;
use crate::plan::Scenario;

/// One run with connections that have no server around them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairsPlan {
    /// The scenario it was drawn for.
    pub scenario: Scenario,
    /// The seed: of this plan, and of every choice in the run.
    pub seed: u64,
    /// The network.
    pub net: NetPlan,
    /// The connections.
    pub pairs: Vec<Pair>,
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// When it is dialled.
    pub start_ms: u64,
    /// The client's end and the server's.
    pub ends: [End; 2],
    /// What happens at which moment.
    pub rules: Vec<Rule>,
    /// Bytes per second that arrive at most, to the server and to the client.
    pub rates: [Option<u64>; 2],
    /// How long after the dial both ends are told to close, whatever has happened.
    pub end_ms: u64,
}

/// An end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// The shipped driver.
    Shipped(Shipped),
    /// A peer that speaks the bytes by hand.
    Raw(Raw),
}

/// An application over the shipped driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shipped {
    /// Limits and timers.
    pub settings: Settings,
    /// How many messages its inbox holds.
    pub inbox_messages: u64,
    /// How it reads at first.
    pub pace: Pace,
    /// What it does, one after the other. When its time is up it closes.
    pub steps: Vec<Step>,
}

/// A peer that speaks by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// It answers pings.
    pub pongs: bool,
    /// It answers a Close.
    pub answers: bool,
    /// It ends its direction when it has sent a Close, or has read the end of the other's.
    pub fins: bool,
    /// It may send what RFC 6455 or a limit forbids.
    pub rogue: bool,
    /// The code with which a shipped end must close because of that.
    pub wrong: Option<u16>,
    /// How it reads at first.
    pub pace: Pace,
    /// What it does, one after the other. When its time is up it leaves.
    pub steps: Vec<Step>,
}

/// How an end reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pace {
    /// At once.
    Full,
    /// Not at all.
    Stopped,
    /// With so many milliseconds for each message (an application), or each read (a peer by hand).
    Each(u64),
}

/// Something that an end does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// Waits.
    Sleep {
        /// How long.
        ms: u64,
    },
    /// Waits for a moment, but not for ever.
    Await {
        /// Which.
        moment: Moment,
        /// How long at most.
        ms_max: u64,
    },
    /// Sends messages.
    Send {
        /// How many.
        count: u64,
        /// How long each is.
        bytes: u64,
    },
    /// Reads like this from here on.
    Read(Pace),
    /// Closes; a peer by hand sends a Close frame.
    Close {
        /// The code; a peer by hand sends none for 1005.
        code: u16,
    },
    /// An application: ends the connection at once.
    Abort,
    /// An application: drops all its handles.
    DropHandles,
    /// An application: drops its inbox.
    DropInbox,
    /// An application: drops the driver.
    DropDriver,
    /// An application: its handler fails.
    FailHandler,
    /// By hand: sends a frame.
    Frame(Frame),
    /// By hand: sends bytes as they are.
    Bytes(Vec<u8>),
    /// By hand: ends its direction.
    Fin,
    /// By hand: resets the connection.
    Rst {
        /// The other end still reads what has arrived.
        drain: bool,
    },
    /// By hand: closes the socket, whatever is not read.
    Quit,
}

/// A frame made by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frame {
    /// The last of its message.
    pub fin: bool,
    /// The opcode.
    pub opcode: u8,
    /// How many bytes of payload it has.
    pub bytes: u64,
    /// How many it says that it has, where that is another number.
    pub declared: Option<u64>,
    /// How many such frames, one behind the other.
    pub count: u64,
    /// What its payload is made of.
    pub fill: u8,
    /// It is masked where it must not be, and not where it must.
    pub mask_wrong: bool,
}

impl Default for Frame {
    fn default() -> Self {
        Self {
            fin: true,
            opcode: 2,
            bytes: 0,
            declared: None,
            count: 1,
            fill: b'x',
            mask_wrong: false,
        }
    }
}

/// Limits and timers of a shipped end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How often it pings; none for never.
    pub ping_interval_ms: Option<u64>,
    /// How long it waits for an answer.
    pub ping_timeout_ms: u64,
    /// How long its application may refuse to read.
    pub pause_max_ms: u64,
    /// Bytes that may wait to be sent.
    pub queue_bytes: u64,
    /// How long a message may wait, or none: then senders wait.
    pub late_ms: Option<u64>,
    /// Bytes at which a producer waits.
    pub window_bytes: u64,
    /// The length of fragments.
    pub fragment_bytes: u64,
    /// How long the socket may take too little.
    pub stall_ms: u64,
    /// What is too little.
    pub progress_bytes: u64,
    /// How long it waits for an answer to its Close.
    pub close_ms: u64,
    /// How long it waits for the end of the stream.
    pub eof_ms: u64,
    /// The longest message and frame.
    pub message_bytes_max: u64,
    /// The longest frame.
    pub frame_bytes_max: u64,
    /// Most fragments of a message.
    pub fragments_max: u64,
    /// Control frames at once; a tenth of it per second.
    pub controls_max: u64,
}

impl Pair {
    /// The end of a side.
    #[must_use]
    pub fn end(&self, side: Side) -> &End {
        &self.ends[side.index()]
    }

    /// The shipped end of a side, if it is one.
    #[must_use]
    pub fn shipped(&self, side: Side) -> Option<&Shipped> {
        match self.end(side) {
            End::Shipped(shipped) => Some(shipped),
            End::Raw(_) => None,
        }
    }

    /// The end by hand of a side, if it is one.
    #[must_use]
    pub fn raw(&self, side: Side) -> Option<&Raw> {
        match self.end(side) {
            End::Shipped(_) => None,
            End::Raw(raw) => Some(raw),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ping_interval_ms: None,
            ping_timeout_ms: 1_000,
            pause_max_ms: 60_000,
            queue_bytes: 1 << 20,
            late_ms: None,
            window_bytes: 64 << 10,
            fragment_bytes: 64 << 10,
            stall_ms: 2_000,
            progress_bytes: 1,
            close_ms: 1_000,
            eof_ms: 500,
            message_bytes_max: 16 << 20,
            frame_bytes_max: 16 << 20,
            fragments_max: 10_000,
            controls_max: 10_000,
        }
    }
}

impl Settings {
    /// The configuration that it stands for.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        use weirline_flow::{RateLimit, Strategy};
        let ms = Duration::from_millis;
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let mut config = Config::default();
        config.ping_interval = self.ping_interval_ms.map(ms);
        config.ping_timeout = ms(self.ping_timeout_ms);
        config.pause_max = ms(self.pause_max_ms);
        config.send_queue.bytes = size(self.queue_bytes);
        config.send_strategy = self.late_ms.map_or(Strategy::Pause, |late_ms| Strategy::Break {
            max_latency: ms(late_ms),
        });
        config.send_window_bytes = size(self.window_bytes);
        config.fragment_bytes = size(self.fragment_bytes);
        config.write_stall_timeout = ms(self.stall_ms);
        config.write_progress_bytes_min = size(self.progress_bytes);
        config.close_timeout = ms(self.close_ms);
        config.eof_timeout = ms(self.eof_ms);
        config.binary_bytes_max = self.message_bytes_max;
        config.text_bytes_max = self.message_bytes_max;
        config.frame_bytes_max = self.frame_bytes_max;
        config.fragments_max = u32::try_from(self.fragments_max).unwrap_or(u32::MAX);
        let burst = u32::try_from(self.controls_max).unwrap_or(u32::MAX);
        config.control_rate = RateLimit {
            burst,
            per_second: (burst / 10).max(1),
        };
        Arc::new(config)
    }
}

/// The longest message that a shipped end may be told to send.
#[must_use]
pub fn longest_sent(plan: &Shipped, rules: &[Rule], side: Side) -> u64 {
    let ordered = rules.iter().filter_map(|rule| match &rule.then {
        Act::Order { side: of, step } if *of == side => Some(step),
        _ => None,
    });
    let sizes = plan.steps.iter().chain(ordered).map(|step| match step {
        Step::Send { bytes, .. } => *bytes,
        _ => 0,
    });
    // A message is never shorter than the head that says what it is.
    sizes.max().unwrap_or(0).max(64)
}
