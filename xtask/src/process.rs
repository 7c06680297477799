//! Running other programs, and showing a person how to run them again.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(20);

/// A command line; its `Display` can be pasted into a shell.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    directory: PathBuf,
}

impl Run {
    pub(crate) fn new(program: impl AsRef<OsStr>, directory: &Path) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            directory: directory.to_owned(),
        }
    }

    /// The cargo that runs us, so that a `+toolchain` on the outer command line is kept.
    pub(crate) fn cargo(directory: &Path) -> Self {
        Self::new("cargo", directory)
    }

    pub(crate) fn args<I>(mut self, arguments: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        self.arguments
            .extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Runs it with our own standard streams.
    ///
    /// # Errors
    /// When the program cannot be started: a missing tool is a failure, never a skip.
    pub(crate) fn status(&self) -> Result<ExitStatus, String> {
        self.command().status().map_err(|error| self.not_started(&error))
    }

    /// Runs it with our own standard streams; anything but success is an error that names the command.
    pub(crate) fn check(&self) -> Result<(), String> {
        let status = self.status()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("`{self}` ended with {status}"))
        }
    }

    /// Runs it quietly and returns what it wrote to both streams, with its exit status.
    pub(crate) fn capture(&self) -> Result<(ExitStatus, String), String> {
        let output = self
            .command()
            .stdin(Stdio::null())
            .output()
            .map_err(|error| self.not_started(&error))?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Ok((output.status, text))
    }

    /// Like [`Run::check`], but a program that is not done within `limit` is killed and is an error.
    pub(crate) fn check_within(&self, limit: Duration) -> Result<(), String> {
        let child = self.command().spawn().map_err(|error| self.not_started(&error))?;
        let status = self.wait_within(child, limit)?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("`{self}` ended with {status}"))
        }
    }

    /// Like [`Run::capture`] by way of a file, but a program that is not done within `limit` is killed and is an error.
    pub(crate) fn capture_within(
        &self,
        limit: Duration,
        file: &Path,
    ) -> Result<(ExitStatus, String), String> {
        let failed = |error: std::io::Error| format!("{}: {error}", file.display());
        let output = std::fs::File::create(file).map_err(failed)?;
        let child = self
            .command()
            .stdin(Stdio::null())
            .stderr(output.try_clone().map_err(failed)?)
            .stdout(output)
            .spawn()
            .map_err(|error| self.not_started(&error))?;
        let status = self.wait_within(child, limit)?;
        let output = std::fs::read(file).map_err(failed)?;
        Ok((status, String::from_utf8_lossy(&output).into_owned()))
    }

    /// Starts it with what it writes to standard error in our hands; nothing else of it is shown.
    pub(crate) fn spawn_reading(&self) -> Result<(Child, ChildStderr), String> {
        let mut child = self
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| self.not_started(&error))?;
        let output = child.stderr.take().ok_or("a child without standard error")?;
        Ok((child, output))
    }

    fn wait_within(&self, mut child: Child, limit: Duration) -> Result<ExitStatus, String> {
        let started = Instant::now();
        loop {
            match child.try_wait().map_err(|error| format!("`{self}`: {error}"))? {
                Some(status) => return Ok(status),
                None if started.elapsed() < limit => std::thread::sleep(POLL),
                None => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(format!("`{self}` was not done after {} s", limit.as_secs()));
                }
            }
        }
    }

    /// Like [`Run::check`] without showing the output, unless it failed.
    pub(crate) fn check_quietly(&self) -> Result<String, String> {
        let (status, text) = self.capture()?;
        if status.success() {
            Ok(text)
        } else {
            Err(format!("`{self}` ended with {status}:\n{text}"))
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.directory);
        command
    }

    fn not_started(&self, error: &std::io::Error) -> String {
        format!("cannot run `{}`: {error}", self.program.to_string_lossy())
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.environment {
            write!(f, "{}={} ", name.to_string_lossy(), quoted(value))?;
        }
        write!(f, "{}", quoted(&self.program))?;
        for argument in &self.arguments {
            write!(f, " {}", quoted(argument))?;
        }
        Ok(())
    }
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_so_that_it_can_be_pasted() {
        let run = Run::cargo(Path::new("."))
            .env("RUSTFLAGS", "--cfg x")
            .args(["test", "it's"]);
        assert_eq!(run.to_string(), r"RUSTFLAGS='--cfg x' cargo test 'it'\''s'");
    }

    #[test]
    fn a_missing_tool_is_an_error_that_names_it() {
        let error = Run::new("weirline-no-such-tool", Path::new("."))
            .check()
            .unwrap_err();
        assert!(error.contains("weirline-no-such-tool"), "{error}");
    }

    #[test]
    fn a_command_that_hangs_is_ended() {
        let hang = Run::new("sleep", Path::new(".")).args(["60"]);
        let error = hang.check_within(Duration::from_millis(100)).unwrap_err();
        assert!(error.contains("sleep 60"), "{error}");
        assert!(
            Run::new("true", Path::new("."))
                .check_within(Duration::from_secs(60))
                .is_ok()
        );
    }

    #[test]
    fn what_a_command_wrote_is_kept_in_order() {
        let file = std::env::temp_dir().join(format!("weirline-output-{}", std::process::id()));
        let run = Run::new("sh", Path::new(".")).args(["-c", "echo one; echo two >&2; exit 3"]);
        let (status, text) = run.capture_within(Duration::from_secs(60), &file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!((status.code(), text.as_str()), (Some(3), "one\ntwo\n"));
    }

    #[test]
    fn a_failing_command_is_an_error_that_names_it() {
        let error = Run::cargo(Path::new("."))
            .args(["--no-such-flag"])
            .check_quietly()
            .unwrap_err();
        assert!(error.contains("cargo --no-such-flag"), "{error}");
    }
}
