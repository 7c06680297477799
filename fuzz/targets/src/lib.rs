//! What each fuzz target does with one input.
//!
//! A target is an ordinary function that panics where a promise is broken: it needs no fuzzer, so that the workspace's tests
//! replay the kept corpora (`fuzz/corpus/TARGET/`) by the very code that `cargo xtask fuzz` drives with libFuzzer. Every oracle
//! here is written from the standard or the protocol's page, not by calling what it judges a second time.
#![forbid(unsafe_code)]

mod assembler;
mod connection;
mod duplex;
mod extension_header;
mod frame_header;
mod multiplexed_forms;
mod peer;
mod plain_head;
mod request_head;
mod response_head;
mod resume_client;
mod resume_server;
mod session_client;
mod session_server;
mod source;
mod text_form;
mod utf8;

/// One fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of its program, and of its folder below `fuzz/corpus`.
    pub name: &'static str,
    /// Judges one input.
    pub run: fn(&[u8]),
}

/// Every target.
pub const ALL: &[Target] = &[
    Target {
        name: "frame_header",
        run: frame_header::run,
    },
    Target {
        name: "utf8",
        run: utf8::run,
    },
    Target {
        name: "assembler",
        run: assembler::run,
    },
    Target {
        name: "connection",
        run: connection::run,
    },
    Target {
        name: "duplex",
        run: duplex::run,
    },
    Target {
        name: "request_head",
        run: request_head::run,
    },
    Target {
        name: "response_head",
        run: response_head::run,
    },
    Target {
        name: "extension_header",
        run: extension_header::run,
    },
    Target {
        name: "text_form",
        run: text_form::run,
    },
    Target {
        name: "multiplexed_forms",
        run: multiplexed_forms::run,
    },
    Target {
        name: "resume_server",
        run: resume_server::run,
    },
    Target {
        name: "resume_client",
        run: resume_client::run,
    },
    Target {
        name: "session_client",
        run: session_client::run,
    },
    Target {
        name: "session_server",
        run: session_server::run,
    },
];

/// Runs the target of this name.
///
/// # Panics
///
/// Where the input shows that a promise is broken, and where there is no such target.
pub fn run(name: &str, input: &[u8]) {
    let target = ALL.iter().find(|target| target.name == name);
    (target.expect("a target of this name").run)(input);
}
