//! What is left of a batch when the log cannot write it.

use tracing::{debug, error, info};
use weirline_log::{AckRefusal, AppendRefusal, Command, LogError, Outcome};

/// Whether the log can be written, as far as is known. Each change is one line in the log, however many messages it concerns.
#[derive(Debug, Default)]
pub(crate) struct Health {
    failing: bool,
}

impl Health {
    pub(crate) fn failed(&mut self, error: &LogError) {
        let source = std::error::Error::source(error).map(tracing::field::display);
        if std::mem::replace(&mut self.failing, true) {
            debug!(event = "log.commit_failed", %error, source, "still not");
        } else {
            error!(event = "log.commit_failed", %error, source, "the log cannot be written: publishing is refused");
        }
    }

    /// The log has taken these. Only a message proves that there is room for more of them.
    pub(crate) fn committed(&mut self, outcomes: &[Outcome]) {
        let is_message = |outcome: &Outcome| matches!(outcome, Outcome::Appended { .. });
        if self.failing && outcomes.iter().any(is_message) {
            self.failing = false;
            info!(event = "log.recovered", "the log is written again");
        }
    }
}

/// Whether a connection can go on without it. Messages are refused, and come again; acks are covered by later ones.
pub(crate) fn is_dispensable(command: &Command) -> bool {
    matches!(
        command,
        Command::Append { .. } | Command::Skip { .. } | Command::Ack { .. }
    )
}

/// Whether it ends an attachment: nobody waits for its outcome, but it must not be forgotten.
pub(crate) fn is_end(command: &Command) -> bool {
    matches!(
        command,
        Command::Detach { .. } | Command::Expire { .. } | Command::End { .. }
    )
}

/// The outcomes of the commands, of which those that are not dispensable have theirs.
pub(crate) fn complete(commands: &[Command], decided: Vec<Outcome>, error: &LogError) -> Vec<Outcome> {
    let append = match error {
        LogError::StorageFull(_) => AppendRefusal::StorageFull,
        _ => AppendRefusal::Unavailable,
    };
    let mut decided = decided.into_iter();
    let outcome = |command: &Command| match command {
        Command::Append { .. } | Command::Skip { .. } => Outcome::AppendRefused(append),
        Command::Ack { .. } => Outcome::AckRefused(AckRefusal::Unavailable),
        _ => decided.next().unwrap_or(Outcome::Ignored),
    };
    commands.iter().map(outcome).collect()
}
