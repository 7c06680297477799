//! The kept inputs of every target, judged again. An input that once failed stays here for ever.

use std::path::{Path, PathBuf};

#[expect(clippy::disallowed_methods, reason = "a test reads its inputs")]
fn replay(target: &str) {
    let inputs = files(&corpus().join(target));
    assert!(!inputs.is_empty(), "{target} has no inputs");
    for path in inputs {
        let input = std::fs::read(&path).expect("a file that can be read");
        let judged = std::panic::catch_unwind(|| weirline_fuzz_targets::run(target, &input));
        assert!(judged.is_ok(), "{} fails", path.display());
    }
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus")
}

/// What a folder holds, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a folder that can be read").path())
        .collect();
    paths.sort();
    paths
}

macro_rules! replays {
    ($($target:ident)*) => {
        $(
            #[test]
            fn $target() {
                replay(stringify!($target));
            }
        )*

        const REPLAYED: &[&str] = &[$(stringify!($target)),*];
    };
}

replays! {
    assembler
    connection
    duplex
    extension_header
    frame_header
    multiplexed_forms
    request_head
    response_head
    resume_client
    resume_server
    session_client
    session_server
    text_form
    utf8
}

/// A target without a program, a program without a target, a corpus of neither, or one that is not replayed.
#[test]
fn every_target_has_a_program_and_a_corpus() {
    let names = |folder: &str| {
        let paths = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
        let stems = paths.iter().map(|path| {
            path.file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        });
        stems.collect::<Vec<String>>()
    };
    let mut targets: Vec<&str> = weirline_fuzz_targets::ALL
        .iter()
        .map(|target| target.name)
        .collect();
    targets.sort_unstable();
    assert_eq!(targets, REPLAYED);
    assert_eq!(names("../fuzz_targets"), targets);
    assert_eq!(names("../corpus"), targets);
}
