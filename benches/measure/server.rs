//! The server as a child process.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use crate::Outcome;

/// A running server; ended when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// The server's own process, also where `child` is a tracer around it.
    pid: u32,
    /// Ends with the line of the log that says how many connections there are when the server stops.
    last: Option<JoinHandle<Option<String>>>,
}

const ARGUMENTS: [&str; 8] = [
    "serve",
    "--echo",
    "--listen",
    "127.0.0.1:0",
    "--workers",
    "1",
    // What is measured is connections, not a disk.
    "--durability",
    "memory",
];

impl Server {
    pub(crate) fn start(binary: &Path) -> Outcome<Self> {
        Self::spawn(Command::new(binary).args(ARGUMENTS))
    }

    /// Starts the server under a tracer, whose arguments come before the server's own.
    pub(crate) fn start_under(tracer: &mut Command, binary: &Path) -> Outcome<Self> {
        let mut server = Self::spawn(tracer.arg(binary).args(ARGUMENTS))?;
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", server.pid))?;
        server.pid = children
            .split_whitespace()
            .next()
            .ok_or("the tracer has no child")?
            .parse()?;
        Ok(server)
    }

    /// Starts the server and reads its log.
    pub(crate) fn start_logging(binary: &Path) -> Outcome<Self> {
        let mut server = Self::spawn_with(Command::new(binary).args(ARGUMENTS), Stdio::piped())?;
        let log = server.child.stderr.take().ok_or("no stderr")?;
        let lines = BufReader::new(log).lines().map_while(Result::ok);
        server.last = Some(std::thread::spawn(move || {
            lines.filter(|line| line.contains("worker.draining")).last()
        }));
        Ok(server)
    }

    fn spawn(command: &mut Command) -> Outcome<Self> {
        Self::spawn_with(command, Stdio::null())
    }

    fn spawn_with(command: &mut Command, stderr: Stdio) -> Outcome<Self> {
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn()?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let mut lines = BufReader::new(stdout).lines();
        let address = loop {
            let line = lines.next().ok_or("the server ended before it listened")??;
            if let Some(address) = line.strip_prefix("listening on ws://") {
                break address.trim().parse()?;
            }
        };
        // The pipe must not fill up, however much the server says.
        std::thread::spawn(move || lines.for_each(drop));
        let pid = child.id();
        Ok(Self {
            child,
            address,
            pid,
            last: None,
        })
    }

    /// Resident bytes, from the kernel's exact account.
    pub(crate) fn resident_bytes(&self) -> Outcome<u64> {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid))?;
        let line = rollup
            .lines()
            .find(|line| line.starts_with("Rss:"))
            .ok_or("no Rss in smaps_rollup")?;
        let kibibytes: u64 = line
            .split_whitespace()
            .nth(1)
            .ok_or("no figure behind Rss")?
            .parse()?;
        Ok(kibibytes * 1024)
    }

    /// How many descriptors the server has open.
    pub(crate) fn descriptors(&self) -> Outcome<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.pid))?.count())
    }

    /// Stops a server that [logs](Self::start_logging), and returns how many connections it had by its own account.
    pub(crate) fn stop_and_count(mut self) -> Outcome<usize> {
        let last = self.last.take().ok_or("the server's log is not read")?;
        self.stop()?;
        let line = last.join().map_err(|_| "the log's reader panicked")?;
        let line = line.ok_or("the server did not say how many connections it has")?;
        let count = line
            .split("connections=")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next());
        Ok(count.ok_or_else(|| format!("no count in {line:?}"))?.parse()?)
    }

    /// Asks the server to stop, and waits until it has.
    pub(crate) fn stop(mut self) -> Outcome {
        self.signal("-INT")?;
        let status = self.child.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the server ended with {status}").into())
        }
    }

    fn signal(&self, signal: &str) -> Outcome {
        Command::new("kill")
            .args([signal, &self.pid.to_string()])
            .status()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.signal("-KILL");
            let _ = self.child.wait();
        }
    }
}
