//! What the ends of a connection have to tell, in words that are the same wherever it happened.

use weirline_tokio::{CloseCode, End};

use super::{Case, Seen};
use crate::conn::Side;
use crate::pairs::{EndLog, PairsWorld, RawEnd};

/// What both ends of each connection saw.
pub(super) fn by(world: &PairsWorld, cases: &[Case]) -> Vec<Seen> {
    let ends = cases.iter().zip(&world.states);
    ends.map(|(case, state)| {
        Side::BOTH.map(|side| {
            let log = &state.logs[side.index()];
            if case.pair.raw(side).is_some() {
                by_hand(&log.raw.borrow())
            } else {
                shipped(log, case.counts)
            }
        })
    })
    .collect()
}

/// `sent / received / cause`, as the table of `docs/closing.md` has it, and what the socket has to add.
fn shipped(log: &EndLog, counts: bool) -> String {
    let ended = log.ended.borrow();
    let Some(ended) = ended.as_ref() else {
        return "it never ended".to_owned();
    };
    let mut text = match &ended.end {
        None => "the driver was dropped".to_owned(),
        Some(End {
            sent,
            received,
            cause,
            ..
        }) => {
            let code =
                |code: &Option<CloseCode>| code.map_or_else(|| "–".to_owned(), |code| code.to_string());
            format!("{} / {} / {cause}", code(sent), code(received))
        }
    };
    if counts {
        text += &format!(", {} messages received", log.received_total());
    }
    if let Some(error) = ended.socket_error {
        text += &format!(", {error:?} on the socket");
    }
    text
}

/// What it read, and how its reading ended.
fn by_hand(raw: &RawEnd) -> String {
    let mut parts = Vec::new();
    let labels = raw.labels.iter().map(|(label, _)| label.as_str());
    for label in labels.filter(|label| *label != "CLOSE") {
        if parts.last().is_none_or(|last| last != label) {
            parts.push(label.to_owned());
        }
    }
    if let Some((code, _)) = &raw.close {
        parts.push(format!("Close {code}"));
    }
    parts.push(match raw.reading {
        None => "left".to_owned(),
        Some(Ok(())) => "end".to_owned(),
        Some(Err(kind)) => format!("{kind:?}"),
    });
    if let Some(error) = raw.socket_error {
        parts.push(format!("{error:?} on the socket"));
    }
    parts.join(", ")
}
