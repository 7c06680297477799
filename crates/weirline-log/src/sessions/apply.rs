//! One command after another: what an engine does not have to decide by itself.

use bytes::Bytes;

use super::SessionTable;
use super::table::Admission;
use crate::{
    AppendRefusal, Author, Bounds, Command, Offset, OpenRefusal, Outcome, PayloadKind, Position, Seq,
    StreamId,
};

/// The streams of an engine, as the commit order sees them: with what earlier commands of the same batch did.
pub trait StreamTable {
    /// What the stream holds; `None` if it does not exist.
    fn bounds(&self, stream: &StreamId) -> Option<Bounds>;

    /// What the stream holds; it is made if it does not exist. `None` if there are too many.
    fn open(&mut self, stream: &StreamId) -> Option<Bounds>;

    /// The largest payload of an entry, in bytes.
    fn entry_bytes_max(&self) -> usize;

    /// Appends to a stream, which is made if it does not exist, and says where. The payload is within the limit.
    ///
    /// # Errors
    /// [`AppendRefusal::StreamsFull`] and [`AppendRefusal::Exhausted`]; then nothing has changed, but that the stream
    /// may have been made.
    fn append(
        &mut self,
        stream: &StreamId,
        kind: PayloadKind,
        payload: &Bytes,
    ) -> Result<Offset, AppendRefusal>;
}

impl SessionTable {
    /// Applies one command to the sessions and the streams, and says what became of it.
    ///
    /// Engines differ in how they store what this changes, not in what it changes.
    pub fn apply(&mut self, streams: &mut impl StreamTable, command: &Command) -> Outcome {
        match command {
            Command::Open { stream } => streams
                .open(stream)
                .map_or(Outcome::OpenRefused(OpenRefusal::StreamsFull), Outcome::Opened),
            &Command::Attach {
                session,
                attach,
                proof,
                now,
            } => self
                .attach(session, attach, proof, now)
                .unwrap_or_else(Outcome::AttachRefused),
            Command::Append {
                stream,
                author,
                kind,
                payload,
            } => self
                .append(streams, stream, *author, *kind, payload)
                .unwrap_or_else(Outcome::AppendRefused),
            &Command::Skip { author, from } => self.skip(author, from).unwrap_or_else(Outcome::AppendRefused),
            Command::Ack {
                session,
                attach,
                stream,
                epoch,
                offset,
            } => {
                let position = Position {
                    epoch: *epoch,
                    offset: *offset,
                };
                match self.ack((*session, *attach), stream, position, streams.bounds(stream)) {
                    Ok(position) => Outcome::Acked { position },
                    Err(refusal) => Outcome::AckRefused(refusal),
                }
            }
            &Command::Detach { session, attach, now } => self.detach(session, attach, now),
            &Command::Expire { session, attach, now } => self.expire(session, attach, now),
            &Command::End { session, attach, now } => self.end(session, attach, now),
        }
    }

    fn skip(&mut self, author: Author, from: Seq) -> Result<Outcome, AppendRefusal> {
        match self.admit(author, from)? {
            Admission::Duplicate(count) => Ok(Outcome::Duplicate { count }),
            Admission::Next(_) => {
                self.count(author);
                Ok(Outcome::Skipped { count: author.seq })
            }
        }
    }

    fn append(
        &mut self,
        streams: &mut impl StreamTable,
        stream: &StreamId,
        author: Option<Author>,
        kind: PayloadKind,
        payload: &Bytes,
    ) -> Result<Outcome, AppendRefusal> {
        let admitted = author.map(|author| self.admit(author, author.seq));
        let count = match admitted.transpose()? {
            None => Seq::ZERO,
            Some(Admission::Next(count)) => count,
            Some(Admission::Duplicate(count)) => return Ok(Outcome::Duplicate { count }),
        };
        let limit = streams.entry_bytes_max();
        if payload.len() > limit {
            return Err(AppendRefusal::TooLarge { limit });
        }
        let offset = streams.append(stream, kind, payload)?;
        if let Some(author) = author {
            self.count(author);
        }
        let previous = offset.previous().unwrap_or(Offset::ZERO);
        Ok(Outcome::Appended {
            offset,
            previous,
            count,
        })
    }
}
