//! How far each profile explores: how often an application acts, and which faults may come, how often.

/// What is left of one kind.
pub(crate) type Left = u8;

macro_rules! budget {
    ($($name:ident: $what:literal),* $(,)?) => {
        /// What may still happen. Faults of every kind together are at most `faults`.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub(crate) struct Budget { $(#[doc = $what] pub(crate) $name: Left),* }

        impl Budget {
            /// Each kind with its bound, for people.
            pub(crate) fn kinds(&self) -> [(&'static str, Left); [$($what),*].len()] {
                [$((stringify!($name), self.$name)),*]
            }
        }
    };
}

budget!(
    faults: "all faults together",
    dials: "dials of all processes",
    publishes: "messages of the application",
    longs: "messages that the log refuses for good",
    others: "messages of somebody else",
    cuts: "connections that one end loses while the other does not know",
    redials: "dials while a connection is alive: make before break",
    crashes: "client processes that die and go on from their store",
    forks: "second holders that begin from a copy of a store",
    restarts: "ends of the server process, with a log that keeps everything",
    rollbacks: "unclean stops: the last message and its count are lost, the epoch changes",
    wipes: "restarts of a log that keeps nothing",
    expiries: "ends of a session's time to live",
    forgets: "ends of a tombstone's seven days",
    trims: "entries that retention takes",
    refusals: "appends that the log refuses for now",
    repeats: "HELLOs that an intermediary sends once more",
);

/// A world to explore.
pub(crate) struct Profile {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// Whether the first process is attached and at rest when it begins.
    pub(crate) attached: bool,
    pub(crate) budget: Budget,
}

/// Nothing at all, to begin from.
const NONE: Budget = Budget {
    faults: 0,
    dials: 0,
    publishes: 0,
    longs: 0,
    others: 0,
    cuts: 0,
    redials: 0,
    crashes: 0,
    forks: 0,
    restarts: 0,
    rollbacks: 0,
    wipes: 0,
    expiries: 0,
    forgets: 0,
    trims: 0,
    refusals: 0,
    repeats: 0,
};

/// The rarer a combination, the smaller the world that reaches it: each profile has the faults that meet each other.
pub(crate) const PROFILES: &[Profile] = &[
    Profile {
        name: "publish",
        what: "two messages, cuts, crashes, refusals, expiry",
        attached: true,
        budget: Budget {
            faults: 3,
            dials: 4,
            publishes: 2,
            longs: 1,
            cuts: 2,
            crashes: 1,
            expiries: 1,
            forgets: 1,
            refusals: 1,
            restarts: 1,
            ..NONE
        },
    },
    Profile {
        name: "deliver",
        what: "four messages of somebody else, cuts, crashes, retention, redials",
        attached: true,
        budget: Budget {
            faults: 3,
            dials: 4,
            others: 4,
            cuts: 2,
            redials: 2,
            crashes: 1,
            trims: 3,
            restarts: 1,
            ..NONE
        },
    },
    Profile {
        name: "holders",
        what: "two processes on one session, redials, repeated HELLOs",
        attached: true,
        budget: Budget {
            faults: 3,
            dials: 5,
            publishes: 2,
            cuts: 1,
            redials: 1,
            crashes: 1,
            forks: 1,
            restarts: 1,
            expiries: 1,
            repeats: 1,
            ..NONE
        },
    },
    Profile {
        name: "epochs",
        what: "unclean stops and logs that keep nothing",
        attached: true,
        budget: Budget {
            faults: 3,
            dials: 5,
            publishes: 2,
            others: 1,
            cuts: 1,
            crashes: 1,
            rollbacks: 2,
            wipes: 1,
            trims: 1,
            ..NONE
        },
    },
    Profile {
        name: "begin",
        what: "a first attach, of which any answer may be lost",
        attached: false,
        budget: Budget {
            faults: 3,
            dials: 4,
            publishes: 1,
            cuts: 2,
            redials: 1,
            crashes: 1,
            expiries: 1,
            repeats: 1,
            restarts: 1,
            ..NONE
        },
    },
];
