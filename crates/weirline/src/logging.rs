//! Logs to stderr, without ever making the server wait for whoever reads them.

use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::cli::LogFormat;

/// Lines that may wait for the thread that writes them. Beyond it they are dropped, counted, and the count is logged.
const LINES_MAX: usize = 8192;

/// How long the end of the process waits for the last lines.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// Starts logging; the lines are written when the guard is dropped.
pub(crate) fn start(format: LogFormat) -> io::Result<LogGuard> {
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .from_env_lossy();
    let notice: fn(u64) -> String = match format {
        LogFormat::Text => |lost| format!("WARN log lines were dropped event=\"log.dropped\" lines={lost}\n"),
        LogFormat::Json => {
            |lost| format!("{{\"level\":\"WARN\",\"event\":\"log.dropped\",\"lines\":{lost}}}\n")
        }
    };
    let (writer, guard) = spawn_writer(io::stderr(), LINES_MAX, notice)?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    match format {
        LogFormat::Text => logs
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            .init(),
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
    Ok(guard)
}

/// Takes whole lines and passes them to a thread.
#[derive(Debug, Clone)]
struct LineWriter {
    lines: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    End,
}

/// Waits for the last lines when it is dropped, for at most [`FLUSH_MAX`].
#[derive(Debug)]
pub(crate) struct LogGuard {
    lines: SyncSender<Message>,
    finished: Receiver<()>,
}

fn spawn_writer(
    mut out: impl Write + Send + 'static,
    lines_max: usize,
    notice: fn(u64) -> String,
) -> io::Result<(LineWriter, LogGuard)> {
    let (lines, waiting) = sync_channel(lines_max);
    let (finish, finished) = sync_channel(1);
    let dropped = Arc::new(AtomicU64::new(0));
    let lost = Arc::clone(&dropped);
    thread::Builder::new().name("logs".into()).spawn(move || {
        // A reader that is gone, or a full disk, is no reason to stop serving.
        while let Ok(Message::Line(line)) = waiting.recv() {
            let _ = out.write_all(&line);
            let lost = lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                let _ = out.write_all(notice(lost).as_bytes());
            }
        }
        let _ = out.flush();
        let _ = finish.send(());
    })?;
    let guard = LogGuard {
        lines: lines.clone(),
        finished,
    };
    Ok((LineWriter { lines, dropped }, guard))
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        // A full queue means that nobody reads, and then there is nothing to wait for.
        if self.lines.try_send(Message::End).is_ok() {
            let _: Result<(), RecvTimeoutError> = self.finished.recv_timeout(FLUSH_MAX);
        }
    }
}

impl MakeWriter<'_> for LineWriter {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Write for LineWriter {
    /// The subscriber formats an event as a whole and writes it at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.lines.try_send(Message::Line(line.to_vec())) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Condvar, Mutex};

    /// A reader that reads nothing until it is let go.
    #[derive(Clone, Default)]
    struct Gate(Arc<Shared>);

    #[derive(Default)]
    struct Shared {
        open: (Mutex<bool>, Condvar),
        text: Mutex<Vec<u8>>,
    }

    impl Gate {
        fn open(&self) {
            *self.0.open.0.lock().unwrap() = true;
            self.0.open.1.notify_all();
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.text.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (open, opened) = &self.0.open;
            drop(opened.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
            self.0.text.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// R14: a terminal that was stopped, or a pipe that nobody empties, must not stop the server.
    #[test]
    fn a_reader_that_does_not_read_loses_lines_and_nobody_waits() {
        let gate = Gate::default();
        let (mut writer, guard) = spawn_writer(gate.clone(), 10, |lost| format!("dropped {lost}\n")).unwrap();
        for n in 0..1000 {
            writer.write_all(format!("{n}\n").as_bytes()).unwrap();
        }
        gate.open();
        drop(guard);
        // The guard gave up if the queue was full at that moment; the next end does not.
        drop(writer);
        while !gate.text().contains("dropped") {
            thread::yield_now();
        }
        let text = gate.text();
        let lost = text.lines().find_map(|line| line.strip_prefix("dropped "));
        let lost: u64 = lost.unwrap().parse().unwrap();
        assert!((980..=990).contains(&lost), "{text}");
        assert!(text.starts_with("0\n"), "{text}");
    }

    #[test]
    fn every_line_is_written_before_the_end() {
        let gate = Gate::default();
        gate.open();
        let (mut writer, guard) =
            spawn_writer(gate.clone(), LINES_MAX, |lost| format!("dropped {lost}\n")).unwrap();
        for n in 0..1000 {
            writer.write_all(format!("{n}\n").as_bytes()).unwrap();
        }
        drop(guard);
        assert_eq!(gate.text().lines().count(), 1000);
    }
}
