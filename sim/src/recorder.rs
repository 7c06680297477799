//! The real log's writer, watched: every commit is told to the model and to the trace.

use std::rc::Rc;
use std::time::Instant;

use weirline_log::{Attach, Command, LogError, LogReader, LogWriter, Outcome, SessionId, Upkeep};

use crate::model::Model;
use crate::net::Net;

/// A writer that tells.
pub struct Recorder<W, R> {
    inner: W,
    reader: R,
    model: Rc<Model>,
    net: Rc<Net>,
}

impl<W, R> Recorder<W, R> {
    /// Around `inner`, whose log `reader` reads.
    pub fn new(inner: W, reader: R, model: Rc<Model>, net: Rc<Net>) -> Self {
        Self {
            inner,
            reader,
            model,
            net,
        }
    }
}

impl<W: LogWriter, R: LogReader> LogWriter for Recorder<W, R> {
    fn commit(&mut self, batch: &[Command], outcomes: &mut Vec<Outcome>) -> Result<(), LogError> {
        let before = outcomes.len();
        self.inner.commit(batch, outcomes)?;
        let of_batch = &outcomes[before..];
        if of_batch.len() != batch.len() {
            self.net.violate(
                "I8",
                format!("{} commands had {} outcomes", batch.len(), of_batch.len()),
            );
        }
        for (command, outcome) in batch.iter().zip(of_batch) {
            self.net
                .note("log", format!("{} → {}", brief(command), brief_outcome(outcome)));
            self.model.committed(command, outcome, &self.reader);
        }
        Ok(())
    }

    fn detached(&self) -> Vec<(SessionId, Attach)> {
        self.inner.detached()
    }

    fn maintain(&mut self, now: Instant) -> Result<Upkeep, LogError> {
        self.inner.maintain(now)
    }
}

fn brief(command: &Command) -> String {
    match command {
        Command::Open { stream } => format!("open {stream}"),
        Command::Attach { session, attach, .. } => {
            format!("attach {attach} of {}", short(session.as_bytes()))
        }
        Command::Append {
            stream,
            author: Some(author),
            payload,
            ..
        } => {
            let session = short(author.session.as_bytes());
            format!(
                "append to {stream} {} B, {} of {session} by attach {}",
                payload.len(),
                author.seq,
                author.attach
            )
        }
        Command::Append { stream, payload, .. } => format!("append to {stream} {} B", payload.len()),
        Command::Ack {
            session,
            attach,
            offset,
            ..
        } => {
            format!("ack {offset} of {} by attach {attach}", short(session.as_bytes()))
        }
        Command::Detach { session, attach, .. } => {
            format!("detach {attach} of {}", short(session.as_bytes()))
        }
        Command::Expire { session, attach, .. } => {
            format!("expire {attach} of {}", short(session.as_bytes()))
        }
        Command::End { session, attach, .. } => format!("end {attach} of {}", short(session.as_bytes())),
        _ => "another command".to_owned(),
    }
}

fn brief_outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Attached {
            kind,
            count,
            previous,
            ..
        } => format!("{kind:?}, count {count}, before {previous:?}"),
        other => format!("{other:?}"),
    }
}

/// The first bytes of a session's name.
#[must_use]
pub fn short(id: &[u8]) -> String {
    id.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}
