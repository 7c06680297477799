//! A server as a child process.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::{Result, SERVER_CORE};

/// Killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) fn start(binary: &Path, name: &str) -> Result<Self> {
        let mut command = Command::new(binary);
        command.args([name, "--core", &SERVER_CORE.to_string()]);
        let (child, address) = spawn(&mut command)?;
        Ok(Self { child, address })
    }

    /// CPU time of all its threads so far, in nanoseconds.
    pub(crate) fn cpu_ns(&self) -> Result<u64> {
        let mut sum = 0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let account = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            let ran = account.split_whitespace().next().ok_or("no CPU time")?;
            sum += ran.parse::<u64>()?;
        }
        Ok(sum)
    }

    /// Resident bytes, from the kernel's exact account.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        let rollup = self.read("smaps_rollup")?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"));
        let kibibytes: u64 = line.ok_or("no Rss")?.trim().trim_end_matches(" kB").parse()?;
        Ok(kibibytes * 1024)
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.child.id());
        std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}").into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a server, and waits until it says where it listens.
pub(crate) fn spawn(command: &mut Command) -> Result<(Child, SocketAddr)> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
    match line.trim().strip_prefix("listening on ") {
        Some(address) => Ok((child, address.parse()?)),
        None => {
            let _ = child.kill();
            let _ = child.wait();
            Err(format!("{command:?} said {line:?}").into())
        }
    }
}
