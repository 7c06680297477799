//! The cases: the rows of `docs/closing.md`, by their names there, and a few more. Each is run twice, with "our end" as the server
//! and as the client.

use crate::conn::Side;
use crate::moment::{Act, Moment, Rule};
use crate::pairs::{End, Frame, Pace, Pair, Raw, Settings, Shipped, Step};

/// One connection, and what is known of it.
#[derive(Clone, Debug)]
pub struct Case {
    /// The name of the row.
    pub name: &'static str,
    /// The side of our end.
    pub us: Side,
    /// What happens.
    pub pair: Pair,
    /// How many messages a shipped end receives is no matter of chance.
    pub counts: bool,
    /// How the grounds are known to differ.
    known: Vec<Difference>,
}

/// A known difference.
#[derive(Clone, Copy, Debug)]
pub struct Difference {
    /// Whether our end sees it, or the other.
    pub ours: bool,
    /// What is seen in the simulated network.
    pub simulated: &'static str,
    /// What is seen over loopback.
    pub real: &'static str,
    /// Why.
    pub why: &'static str,
}

impl Case {
    /// For people.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{}, our end the {:?}", self.name, self.us)
    }

    /// How the grounds are known to differ for the end of this side.
    #[must_use]
    pub fn difference(&self, side: Side) -> Option<&Difference> {
        let ours = side == self.us;
        self.known.iter().find(|known| known.ours == ours)
    }
}

/// All cases.
#[must_use]
pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for us in [Side::Server, Side::Client] {
        cases.extend(closes(us));
        cases.extend(ends_of_stream(us));
        cases.extend(resets(us));
        cases.extend(applications(us));
        cases.extend(peers_that_fail(us));
    }
    cases
}

/// Longer than anything takes that happens at all.
const PATIENCE_MS: u64 = 5_000;
const NORMAL: Step = Step::Close { code: 1000 };

fn settings() -> Settings {
    Settings {
        stall_ms: 800,
        close_ms: 800,
        eof_ms: 300,
        window_bytes: 32 << 10,
        queue_bytes: 256 << 10,
        ..Settings::default()
    }
}

fn shipped(steps: Vec<Step>) -> Shipped {
    Shipped {
        settings: settings(),
        inbox_messages: 5_000,
        pace: Pace::Full,
        steps,
    }
}

fn raw(steps: Vec<Step>) -> Raw {
    Raw {
        pongs: true,
        answers: true,
        fins: true,
        rogue: false,
        wrong: None,
        pace: Pace::Full,
        steps,
    }
}

fn case(name: &'static str, us: Side, ours: Shipped, other: End) -> Case {
    let ours = End::Shipped(ours);
    let ends = match us {
        Side::Client => [ours, other],
        Side::Server => [other, ours],
    };
    Case {
        name,
        us,
        pair: Pair {
            start_ms: 0,
            ends,
            rules: Vec::new(),
            rates: [None, None],
            end_ms: 2 * PATIENCE_MS,
        },
        counts: false,
        known: Vec::new(),
    }
}

/// The same, and how many messages were received counts.
fn counted(case: Case) -> Case {
    Case { counts: true, ..case }
}

/// Our end against one like it.
fn alike(name: &'static str, us: Side, ours: Vec<Step>, other: Vec<Step>) -> Case {
    case(name, us, shipped(ours), End::Shipped(shipped(other)))
}

/// Our end against a peer by hand.
fn against(name: &'static str, us: Side, ours: Vec<Step>, other: Raw) -> Case {
    case(name, us, shipped(ours), End::Raw(other))
}

fn until(moment: Moment) -> Step {
    let ms_max = PATIENCE_MS;
    Step::Await { moment, ms_max }
}

fn first_data_read(by: Side) -> Step {
    until(Moment::Read {
        by,
        label: "DATA".to_owned(),
        nth: 1,
    })
}

/// More than the buffers of both sockets hold.
const MUCH: Step = Step::Send {
    count: 100,
    bytes: 16 << 10,
};

fn closes(us: Side) -> Vec<Case> {
    let them = us.other();
    let mut simultaneous = alike(
        "simultaneous_close",
        us,
        vec![Step::Close { code: 1001 }],
        Vec::new(),
    );
    // Told when the first Close is out: nothing of it is read yet.
    simultaneous.pair.rules.push(Rule {
        when: Moment::close_sent(us),
        after_ms: 0,
        then: Act::Order {
            side: them,
            step: NORMAL,
        },
    });
    let mut no_fin = raw(vec![
        Step::Close { code: 4000 },
        until(Moment::ReadFin { by: them }),
        Step::Quit,
    ]);
    no_fin.fins = false;
    let mut answer_only = raw(vec![until(Moment::ReadFin { by: them }), Step::Quit]);
    answer_only.fins = false;
    let mut mute = raw(Vec::new());
    mute.answers = false;
    vec![
        simultaneous,
        counted(alike("close_after_send", us, vec![MUCH, NORMAL], Vec::new())),
        alike(
            "close_with_data_in_flight",
            us,
            vec![
                Step::Send {
                    count: 40,
                    bytes: 1_000,
                },
                first_data_read(us),
                NORMAL,
            ],
            vec![MUCH],
        ),
        against(
            "close_with_unread_data_in_flight",
            us,
            vec![first_data_read(us), NORMAL],
            raw(vec![MUCH]),
        ),
        against("close_without_fin", us, Vec::new(), no_fin),
        against("answer_without_fin", us, vec![NORMAL], answer_only),
        against("close_never_answered", us, vec![NORMAL], mute),
        against(
            "close_without_a_code",
            us,
            Vec::new(),
            raw(vec![Step::Close { code: 1005 }]),
        ),
    ]
}

fn ends_of_stream(us: Side) -> Vec<Case> {
    let them = us.other();
    let half = |last: Step| {
        let mut other = raw(vec![
            until(Moment::sent(us, "DATA", 1)),
            last,
            until(Moment::Fin { by: them }),
            Step::Read(Pace::Full),
        ]);
        other.pace = Pace::Stopped;
        other
    };
    let mut in_place = raw(vec![until(Moment::close_read(them)), Step::Fin]);
    in_place.answers = false;
    in_place.fins = false;
    vec![
        against("fin_without_close", us, Vec::new(), raw(vec![Step::Fin])),
        against(
            "fin_inside_a_message",
            us,
            Vec::new(),
            raw(vec![
                Step::Frame(Frame {
                    bytes: 10,
                    declared: Some(20),
                    ..Frame::default()
                }),
                Step::Fin,
            ]),
        ),
        against("half_close_behind_a_close", us, vec![MUCH], half(NORMAL)),
        against("half_close_without_a_close", us, vec![MUCH], half(Step::Fin)),
        against("fin_in_place_of_an_answer", us, vec![NORMAL], in_place),
        against("left_at_once", us, Vec::new(), raw(vec![Step::Quit])),
    ]
}

fn resets(us: Side) -> Vec<Case> {
    let them = us.other();
    let reset = Step::Rst { drain: true };
    let stopped = |steps: Vec<Step>| Raw {
        pace: Pace::Stopped,
        ..raw(steps)
    };
    let mut in_place = raw(vec![until(Moment::close_read(them)), reset.clone()]);
    in_place.answers = false;
    // Whether it would still see the end is a race.
    let mut behind = raw(vec![
        until(Moment::close_read(them)),
        Step::Read(Pace::Stopped),
        until(Moment::close_read(us)),
        reset.clone(),
    ]);
    behind.fins = false;
    vec![
        against(
            "reset_while_idle",
            us,
            Vec::new(),
            raw(vec![Step::Sleep { ms: 50 }, reset.clone()]),
        ),
        against(
            "reset_with_data_in_flight",
            us,
            vec![MUCH],
            stopped(vec![until(Moment::sent(us, "DATA", 2)), reset]),
        ),
        overtaking(us),
        against("reset_in_place_of_an_answer", us, vec![NORMAL], in_place),
        against("reset_behind_both_closes", us, vec![NORMAL], behind),
        against(
            "left_over_unread_data",
            us,
            vec![MUCH],
            stopped(vec![
                until(Moment::sent(us, "DATA", 2)),
                Step::Sleep { ms: 50 },
                Step::Quit,
            ]),
        ),
    ]
}

/// A reset right behind messages that have arrived, or are about to.
fn overtaking(us: Side) -> Case {
    let steps = vec![
        first_data_read(us.other()),
        Step::Send { count: 3, bytes: 20 },
        until(Moment::sent(us.other(), "DATA", 3)),
        Step::Rst { drain: false },
    ];
    let hello = Step::Send { count: 1, bytes: 20 };
    let mut case = counted(against("reset_behind_data", us, vec![hello], raw(steps)));
    case.known.push(Difference {
        ours: true,
        simulated: "– / – / the transport failed: connection reset, 0 messages received",
        real: "– / – / the transport failed: connection reset, 3 messages received",
        why: "Linux lets a reader have what arrived before the reset; here that is drawn, since other systems do not",
    });
    case
}

fn applications(us: Side) -> Vec<Case> {
    let them = us.other();
    let pause = Step::Sleep { ms: 50 };
    let mut blind = shipped(vec![
        until(Moment::sent(them, "DATA", 3)),
        pause.clone(),
        Step::Abort,
    ]);
    blind.pace = Pace::Stopped;
    blind.inbox_messages = 1;
    let mut mute = raw(Vec::new());
    mute.answers = false;
    vec![
        alike("abort", us, vec![pause.clone(), Step::Abort], Vec::new()),
        case(
            "abort_with_unread_data",
            us,
            blind,
            End::Shipped(shipped(vec![MUCH])),
        ),
        against(
            "abort_behind_a_close",
            us,
            vec![NORMAL, until(Moment::close_read(them)), Step::Abort],
            mute,
        ),
        counted(alike(
            "handles_dropped",
            us,
            vec![
                Step::Send {
                    count: 8,
                    bytes: 1_000,
                },
                Step::DropHandles,
                Step::DropInbox,
            ],
            Vec::new(),
        )),
        alike(
            "driver_dropped",
            us,
            vec![pause.clone(), Step::DropDriver],
            Vec::new(),
        ),
        alike("handler_failed", us, vec![pause, Step::FailHandler], Vec::new()),
    ]
}

fn peers_that_fail(us: Side) -> Vec<Case> {
    let mut deaf = raw(vec![until(Moment::Gone { by: us }), Step::Read(Pace::Full)]);
    deaf.pace = Pace::Stopped;
    let mut no_pongs = raw(Vec::new());
    no_pongs.pongs = false;
    no_pongs.answers = false;
    let mut pinging = shipped(Vec::new());
    pinging.settings.ping_interval_ms = Some(150);
    pinging.settings.ping_timeout_ms = 150;
    let rogue = |frame: Frame, wrong: u16| Raw {
        rogue: true,
        wrong: Some(wrong),
        ..raw(vec![Step::Frame(frame), Step::Bytes(vec![0xff; 400_000])])
    };
    let reserved = Frame {
        opcode: 0x42,
        bytes: 3,
        ..Frame::default()
    };
    let huge = Frame {
        declared: Some(1 << 40),
        ..Frame::default()
    };
    vec![
        against("nothing_ever_read", us, vec![MUCH, NORMAL], deaf),
        case("pings_never_answered", us, pinging, End::Raw(no_pongs)),
        against("protocol_broken", us, Vec::new(), rogue(reserved, 1002)),
        against("length_too_big", us, Vec::new(), rogue(huge, 1009)),
    ]
}
