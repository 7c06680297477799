//! What cannot be opened, and what is said about it; on real files.

mod common;

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use common::{append, contents, stream};
use weirline_log::{EventLog as _, LogReader as _, LogWriter as _};
use weirline_log_redb::{OpenError, RedbConfig, RedbLog, RedbReader, RedbWriter};

/// A directory for one test, removed behind it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("opening-{name}"));
        let _ = fs::remove_dir_all(&path);
        let _ = fs::remove_file(&path);
        Self(path)
    }

    fn open(&self) -> Result<(RedbWriter, RedbReader), OpenError> {
        // The same log has the same seed, others have others.
        let seed = self.0.as_os_str().len() as u64;
        RedbLog::open(&self.0, RedbConfig::default(), seed).map(RedbLog::split)
    }

    /// A log with three messages, which are in the database, or in the journal.
    fn with_log(name: &str, close: bool) -> Self {
        let scratch = Self::new(name);
        let (mut writer, _) = scratch.open().unwrap();
        let batch: Vec<_> = (1..=3).map(|n| append(n, 10)).collect();
        writer.commit(&batch, &mut Vec::new()).unwrap();
        if close {
            writer.close().unwrap();
        }
        scratch
    }

    fn file(&self, name: &str) -> File {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.0.join(name))
            .unwrap()
    }

    fn content(&self, name: &str) -> Vec<u8> {
        let mut content = Vec::new();
        self.file(name).read_to_end(&mut content).unwrap();
        content
    }

    fn patch(&self, name: &str, at: u64, bytes: &[u8]) {
        let mut file = self.file(name);
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(bytes).unwrap();
    }

    /// Why it is not opened: the kind, after a check that the message names the file and says what to do.
    fn refusal(&self, file: &str, advice: &str) -> OpenError {
        let error = match self.open() {
            Ok(_) => panic!("it was opened"),
            Err(error) => error,
        };
        let text = error.to_string();
        let path = if file.is_empty() {
            self.0.clone()
        } else {
            self.0.join(file)
        };
        assert!(
            text.contains(&path.display().to_string()) && text.contains(advice),
            "{text}"
        );
        error
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_log_is_made_with_its_directory_and_opened_again() {
    let scratch = Scratch::new("made");
    let scratch = Scratch(scratch.0.join("deep/er"));
    for close in [false, true, false] {
        let (mut writer, reader) = scratch.open().unwrap();
        let published = contents(&reader);
        let next = published.last().map_or(1, |last| last + 1);
        writer.commit(&[append(next, 10)], &mut Vec::new()).unwrap();
        assert_eq!(contents(&reader), (1..=next).collect::<Vec<_>>());
        if close {
            writer.close().unwrap();
        }
    }
    assert_eq!(contents(&scratch.open().unwrap().1), [1, 2, 3]);
}

#[test]
fn a_directory_in_use_is_refused_until_it_is_not() {
    let scratch = Scratch::with_log("in-use", true);
    let open = scratch.open().unwrap();
    assert!(matches!(
        scratch.refusal("", "stop that one"),
        OpenError::InUse { .. }
    ));
    drop(open);
    assert_eq!(contents(&scratch.open().unwrap().1), [1, 2, 3]);
}

#[test]
fn a_file_is_no_directory() {
    let scratch = Scratch::new("file");
    File::create(&scratch.0).unwrap();
    let refused = scratch.refusal("", "give the path of a directory");
    assert!(matches!(refused, OpenError::NotADirectory { .. }), "{refused:?}");
    let below = Scratch(scratch.0.join("below"));
    let refused = below.refusal("", "give the path of a directory");
    assert!(matches!(refused, OpenError::NotADirectory { .. }), "{refused:?}");
}

#[test]
fn damage_is_named_with_its_file() {
    // What is changed, whether the log was closed before, and the file that is named.
    type Change = fn(&Scratch);
    let cases: [(&str, bool, &str, Change); 6] = [
        ("magic", true, "log.redb", |scratch| {
            scratch.patch("log.redb", 0, b"#!/bin/sh");
        }),
        ("roots", true, "log.redb", |scratch| {
            scratch.patch("log.redb", 64, &[0xff; 256]);
        }),
        ("pages", true, "log.redb", |scratch| {
            let len = scratch.content("log.redb").len();
            scratch.patch("log.redb", 4096, &vec![0xa5; len - 4096]);
        }),
        ("cut", true, "log.redb", |scratch| {
            scratch.file("log.redb").set_len(5000).unwrap();
        }),
        ("no database", false, "log.redb", |scratch| {
            scratch.file("log.redb").set_len(0).unwrap();
        }),
        ("other log", false, "journal-a", |scratch| {
            let other = Scratch::with_log("other", false);
            scratch.patch("journal-a", 0, &other.content("journal-a"));
        }),
    ];
    for (name, close, file, change) in cases {
        let scratch = Scratch::with_log(name, close);
        change(&scratch);
        let refused = scratch.refusal(file, "restore the whole directory from a backup");
        assert!(
            matches!(refused, OpenError::Damaged { .. }),
            "{name}: {refused:?}"
        );
    }
}

#[test]
fn a_damaged_record_between_others_is_named_and_a_torn_last_one_is_not() {
    let scratch = Scratch::with_log("record", false);
    {
        let (mut writer, _) = scratch.open().unwrap();
        writer.commit(&[append(4, 10)], &mut Vec::new()).unwrap();
    }
    scratch.patch("journal-a", 1024 + 60, b"#");
    assert_eq!(
        contents(&scratch.open().unwrap().1),
        [1, 2, 3],
        "the last one may be torn"
    );
    let scratch = Scratch::with_log("record", false);
    {
        let (mut writer, _) = scratch.open().unwrap();
        writer.commit(&[append(4, 10)], &mut Vec::new()).unwrap();
    }
    scratch.patch("journal-a", 512 + 60, b"#");
    let refused = scratch.refusal("journal-a", "restore");
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused:?}");
}

/// One file of the journal without the other is damage, whether the database has what was in it or not. Without both, what
/// was confirmed may be gone: new epochs begin.
#[test]
fn a_missing_journal_is_noticed() {
    for close in [false, true] {
        for missing in ["journal-a", "journal-b"] {
            let scratch = Scratch::with_log("missing", close);
            fs::remove_file(scratch.0.join(missing)).unwrap();
            let refused = scratch.refusal(missing, "restore the whole directory from a backup");
            assert!(
                matches!(refused, OpenError::Damaged { .. }),
                "{missing}: {refused:?}"
            );
        }
    }
    let scratch = Scratch::with_log("missing", true);
    let before = scratch.open().unwrap().1.bounds(&stream()).unwrap().unwrap();
    for missing in ["journal-a", "journal-b"] {
        fs::remove_file(scratch.0.join(missing)).unwrap();
    }
    let (_writer, reader) = scratch.open().unwrap();
    let after = reader.bounds(&stream()).unwrap().unwrap();
    assert_ne!(after.epoch, before.epoch);
    assert_eq!(contents(&reader), [1, 2, 3]);
}
