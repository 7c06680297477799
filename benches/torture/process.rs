//! The server's process, on one port and one directory for all its lives.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;

/// Ended, and its directory removed, when dropped.
pub(crate) struct Server {
    binary: PathBuf,
    data: PathBuf,
    address: String,
    child: Child,
}

impl Server {
    pub(crate) fn start(binary: &Path) -> Outcome<Self> {
        let data = std::env::temp_dir().join(format!("weirline-torture-{}", std::process::id()));
        let (child, address) = spawn(binary, &data, "127.0.0.1:0")?;
        Ok(Self {
            binary: binary.to_owned(),
            data,
            address,
            child,
        })
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// SIGKILL; says how long the next one took until it listened.
    pub(crate) fn kill_and_start(&mut self) -> Outcome<Duration> {
        if let Some(status) = self.child.try_wait()? {
            return Err(format!("the server has ended by itself: {status}").into());
        }
        self.child.kill()?;
        self.child.wait()?;
        let started = Instant::now();
        (self.child, _) = spawn(&self.binary, &self.data, &self.address)?;
        Ok(started.elapsed())
    }

    pub(crate) fn stop(mut self) -> Outcome<()> {
        let terminate = ["-TERM".into(), self.child.id().to_string()];
        Command::new("kill").args(terminate).status()?;
        let status = self.child.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the server ended with {status}").into())
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

fn spawn(binary: &Path, data: &Path, address: &str) -> Outcome<(Child, String)> {
    let mut child = Command::new(binary)
        .args(["serve", "--listen", address, "--workers", "2", "--data-dir"])
        .arg(data)
        .env("RUST_LOG", "error")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().ok_or("no stdout")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    match line.trim_end().strip_prefix("listening on ws://") {
        Some(address) => Ok((child, address.to_owned())),
        None => {
            let status = child.wait()?;
            Err(format!("the server does not start again: {status}").into())
        }
    }
}
