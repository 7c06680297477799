//! One run of libFuzzer, from its start to its outcome, by what it prints.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStderr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::process::Run;

/// How often to look at what runs.
pub(super) const LOOK: Duration = Duration::from_millis(200);
/// How often to show it.
const SHOW: Duration = Duration::from_secs(15);
/// Loading the corpus counts as no fuzzing, and ends late inputs: so long a run may be over its time.
const GRACE: Duration = Duration::from_secs(120);
/// The last lines that are kept, to be shown where no line says what went wrong.
const LAST_LINES: usize = 12;

/// What libFuzzer says of its progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) runs: u64,
    pub(super) edges: u64,
    pub(super) inputs: u64,
}

/// How a run ended.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) target: String,
    pub(super) took: Duration,
    pub(super) progress: Progress,
    pub(super) failed: bool,
    /// What was printed about the failure.
    pub(super) why: Vec<String>,
    /// The input that fails.
    pub(super) input: Option<PathBuf>,
}

/// What was read so far.
#[derive(Debug, Default)]
struct Read {
    progress: Progress,
    why: Vec<String>,
    input: Option<PathBuf>,
    last: VecDeque<String>,
}

/// A run that goes on.
pub(super) struct Watched {
    target: String,
    child: Child,
    reader: Option<JoinHandle<()>>,
    read: Arc<Mutex<Read>>,
    time: Duration,
    started: Instant,
    shown: Instant,
}

impl Watched {
    pub(super) fn start(target: &str, run: &Run, time: Duration) -> Result<Self, String> {
        let (child, output) = run.spawn_reading()?;
        let read = Arc::new(Mutex::new(Read::default()));
        let reader = {
            let read = Arc::clone(&read);
            std::thread::spawn(move || follow(output, &read))
        };
        let now = Instant::now();
        Ok(Self {
            target: target.to_owned(),
            child,
            reader: Some(reader),
            read,
            time,
            started: now,
            shown: now,
        })
    }

    /// Shows how it goes, and says when it is over.
    pub(super) fn look(&mut self) -> Result<Option<Outcome>, String> {
        let ended = self.child.try_wait().map_err(|error| error.to_string())?;
        let took = self.started.elapsed();
        let failed = match ended {
            Some(status) => !status.success(),
            None if took > self.time + GRACE => {
                let _ = self.child.kill();
                let _ = self.child.wait();
                true
            }
            None => {
                self.show(took);
                return Ok(None);
            }
        };
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        let mut read = std::mem::take(&mut *self.read.lock().unwrap_or_else(PoisonError::into_inner));
        if failed && read.why.is_empty() {
            read.why = read.last.into();
        }
        Ok(Some(Outcome {
            target: self.target.clone(),
            took,
            progress: read.progress,
            failed,
            why: read.why,
            input: read.input,
        }))
    }

    fn show(&mut self, took: Duration) {
        if self.shown.elapsed() < SHOW {
            return;
        }
        self.shown = Instant::now();
        let Progress { runs, edges, inputs } =
            self.read.lock().unwrap_or_else(PoisonError::into_inner).progress;
        println!(
            "{:<18} {:>4} of {} s  {runs} runs  {edges} edges  {inputs} inputs",
            self.target,
            took.as_secs(),
            self.time.as_secs()
        );
    }
}

fn follow(output: ChildStderr, read: &Mutex<Read>) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    // Bytes, not text: what is printed of an input need not be UTF-8.
    while let Ok(1..) = output.read_until(b'\n', &mut line) {
        let text = String::from_utf8_lossy(&line);
        read.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .line(text.trim_end());
        line.clear();
    }
}

impl Read {
    fn line(&mut self, line: &str) {
        if let Some(progress) = parse_progress(line) {
            self.progress = Progress {
                runs: progress.runs.max(self.progress.runs),
                ..progress
            };
        } else if let Some(runs) = line.strip_prefix("stat::number_of_executed_units:") {
            self.progress.runs = runs.trim().parse().unwrap_or(self.progress.runs);
        }
        if let Some((_, path)) = line.split_once("Test unit written to ") {
            self.input = Some(PathBuf::from(path.trim()));
        }
        // The panic and the line that follows it; or libFuzzer's own verdict (a time-out, memory).
        let follows = self.why.last().is_some_and(|last| last.contains("panicked at"));
        let verdict = line.contains("panicked at") || line.contains("ERROR: libFuzzer");
        if self.why.len() < LAST_LINES && (verdict || follows) && !line.is_empty() {
            self.why.push(line.to_owned());
        }
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line.to_owned());
    }
}

/// `#4096  pulse  cov: 701 ft: 2383 corp: 449/22Kb …`
fn parse_progress(line: &str) -> Option<Progress> {
    let rest = line.strip_prefix('#')?;
    let runs = rest.split(char::is_whitespace).next()?.parse().ok()?;
    let after = |name: &str| rest.split_once(name).map(|(_, rest)| rest.trim_start());
    let number = |text: &str| {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        text[..digits].parse().ok()
    };
    Some(Progress {
        runs,
        edges: after("cov:").and_then(number)?,
        inputs: after("corp:").and_then(number)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Read {
        let mut read = Read::default();
        lines.iter().for_each(|line| read.line(line));
        read
    }

    #[test]
    fn progress_is_the_latest_that_was_printed() {
        let read = read(&[
            "INFO: seed corpus: files: 3",
            "#4\tINITED cov: 10 ft: 11 corp: 3/5b exec/s: 0 rss: 28Mb",
            "#4096\tpulse  cov: 701 ft: 2383 corp: 449/22Kb lim: 580 exec/s: 19036 rss: 29Mb",
            "stat::number_of_executed_units: 5000",
        ]);
        let expect = Progress {
            runs: 5000,
            edges: 701,
            inputs: 449,
        };
        assert_eq!((read.progress, read.why.len(), read.input), (expect, 0, None));
    }

    #[test]
    fn a_finding_names_its_reason_and_its_input() {
        let read = read(&[
            "thread '<unnamed>' panicked at targets/src/utf8.rs:5:5:",
            "assertion failed: left == right",
            "stack backtrace:",
            "   0: rust_begin_unwind",
            "==1== ERROR: libFuzzer: deadly signal",
            "artifact_prefix='fuzz/artifacts/utf8/'; Test unit written to fuzz/artifacts/utf8/crash-00",
        ]);
        assert_eq!(read.input, Some("fuzz/artifacts/utf8/crash-00".into()));
        assert_eq!(
            read.why,
            [
                "thread '<unnamed>' panicked at targets/src/utf8.rs:5:5:",
                "assertion failed: left == right",
                "==1== ERROR: libFuzzer: deadly signal",
            ]
        );
    }

    #[test]
    fn other_lines_are_no_progress() {
        assert_eq!(parse_progress("#x pulse cov: 1 corp: 2/3b"), None);
        assert_eq!(parse_progress("# cov"), None);
        assert_eq!(parse_progress("Done 12 runs in 3 second(s)"), None);
    }
}
