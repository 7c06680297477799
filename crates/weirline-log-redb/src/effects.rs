//! What one commit changed, as the journal has it.
//!
//! These are effects, not commands: to apply them takes no decision, and gives the same with any configuration.

use bytes::Bytes;
use weirline_log::{
    Attach, Epoch, Offset, PayloadKind, Position, Proof, RollingHash, Seq, SessionChange, SessionId,
    SessionRecord, SessionState, StreamId,
};

use crate::codec::{Damage, Put, Take, small};
use crate::run::Run;

/// The effects of one commit, read back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// A stream was made.
    Made {
        number: u32,
        name: StreamId,
        epoch: Epoch,
    },
    /// Entries were appended.
    Appended { number: u32, run: Run },
    /// A session is this, or is no more.
    Session {
        id: SessionId,
        session: Option<SessionRow>,
    },
    /// A session has published, or given up, up to this.
    Counted {
        id: SessionId,
        count: Seq,
        hash: RollingHash,
    },
}

/// A session as it is stored: streams have numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionRow {
    pub(crate) attach: Attach,
    pub(crate) count: Seq,
    pub(crate) hash: RollingHash,
    pub(crate) proof: Option<Proof>,
    /// For a tombstone, the end of its time.
    pub(crate) until_ms: Option<u64>,
    pub(crate) acked: Vec<(u32, Position)>,
}

const MADE: u8 = 1;
const APPENDED: u8 = 2;
const ENDED: u8 = 3;
const SESSION: u8 = 4;
const COUNTED: u8 = 5;

pub(crate) fn put_made(out: &mut Vec<u8>, number: u32, name: &StreamId, epoch: Epoch) {
    out.put_u8(MADE);
    out.put_u32(number);
    out.put_u64(epoch.get());
    put_name(out, name);
}

pub(crate) fn put_name(out: &mut Vec<u8>, name: &StreamId) {
    out.put_u32(small(name.as_str().len()));
    out.put(name.as_str().as_bytes());
}

pub(crate) fn take_name(take: &mut Take<'_>) -> Result<StreamId, Damage> {
    let len = take.u32()? as usize;
    let name = std::str::from_utf8(take.bytes(len)?).ok();
    name.and_then(|name| StreamId::new(name).ok())
        .ok_or(Damage("not the name of a stream"))
}

pub(crate) fn put_appended(out: &mut Vec<u8>, number: u32, run: &Run) {
    out.put_u8(APPENDED);
    out.put_u32(number);
    out.put_u64(run.first.get());
    out.put_u64(run.time_ms);
    out.put_u32(small(run.entries.len()));
    for (kind, payload) in &run.entries {
        out.put_u8(u8::from(*kind == PayloadKind::Binary));
        out.put_u32(small(payload.len()));
        out.put(payload);
    }
}

/// `number_of` says the number of a stream, which exists.
pub(crate) fn put_session(
    out: &mut Vec<u8>,
    change: &SessionChange<'_>,
    number_of: impl Fn(&StreamId) -> Option<u32>,
) {
    let Some(after) = change.after else {
        out.put_u8(ENDED);
        out.put(change.id.as_bytes());
        return;
    };
    let only_count = |before: &&SessionRecord| {
        let alive = |session: &SessionRecord| !matches!(session.state, SessionState::Tombstone { .. });
        let same = before.attach == after.attach && before.proof == after.proof;
        alive(before) && alive(after) && same && before.acked == after.acked
    };
    if change.before.filter(only_count).is_some() {
        out.put_u8(COUNTED);
        out.put(change.id.as_bytes());
        out.put_u64(after.count.get());
        out.put(&after.hash.0);
    } else {
        out.put_u8(SESSION);
        out.put(change.id.as_bytes());
        put_row(out, after, number_of);
    }
}

pub(crate) fn put_row(
    out: &mut Vec<u8>,
    session: &SessionRecord,
    number_of: impl Fn(&StreamId) -> Option<u32>,
) {
    out.put_u64(session.attach.get());
    out.put_u64(session.count.get());
    out.put(&session.hash.0);
    out.put_u8(u8::from(session.proof.is_some()));
    if let Some(Proof { owner, nonce }) = &session.proof {
        out.put(owner);
        out.put(nonce);
    }
    out.put_u64(match session.state {
        SessionState::Attached | SessionState::Detached => u64::MAX,
        SessionState::Tombstone { until } => millis(until),
    });
    let acked = session.acked.iter();
    let acked: Vec<_> = acked
        .filter_map(|(stream, at)| Some((number_of(stream)?, at)))
        .collect();
    out.put_u32(small(acked.len()));
    for (number, at) in acked {
        out.put_u32(number);
        out.put_u64(at.epoch.get());
        out.put_u64(at.offset.get());
    }
}

pub(crate) fn take_row(take: &mut Take<'_>) -> Result<SessionRow, Damage> {
    let (attach, count) = (take.number()?, take.number()?);
    let hash = RollingHash(take.array()?);
    let proof = match take.u8()? {
        0 => None,
        1 => Some(Proof {
            owner: take.array()?,
            nonce: take.array()?,
        }),
        _ => return Err(Damage("an unknown kind of proof")),
    };
    let until = take.u64()?;
    let mut acked = Vec::new();
    for _ in 0..take.u32()? {
        let number = take.u32()?;
        let epoch = Epoch::new(take.u64()?);
        let offset = take.number()?;
        acked.push((number, Position { epoch, offset }));
    }
    Ok(SessionRow {
        attach,
        count,
        hash,
        proof,
        until_ms: (until != u64::MAX).then_some(until),
        acked,
    })
}

/// Milliseconds of the log's own time; below the value that stands for 'never'.
pub(crate) fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis())
        .unwrap_or(u64::MAX)
        .min(u64::MAX - 1)
}

/// The effects of a record with this number, and the log's time when it was committed.
pub(crate) fn decode(seq: u64, payload: &[u8]) -> Result<(u64, Vec<Effect>), Damage> {
    let shared = Bytes::copy_from_slice(payload);
    let mut take = Take(&shared);
    let time_ms = take.u64()?;
    let mut effects = Vec::new();
    while !take.is_empty() {
        effects.push(match take.u8()? {
            MADE => {
                let (number, epoch) = (take.u32()?, Epoch::new(take.u64()?));
                let name = take_name(&mut take)?;
                Effect::Made { number, name, epoch }
            }
            APPENDED => {
                let number = take.u32()?;
                let run = take_run(seq, &mut take, &shared)?;
                Effect::Appended { number, run }
            }
            ENDED => Effect::Session {
                id: SessionId(take.array()?),
                session: None,
            },
            SESSION => Effect::Session {
                id: SessionId(take.array()?),
                session: Some(take_row(&mut take)?),
            },
            COUNTED => Effect::Counted {
                id: SessionId(take.array()?),
                count: take.number()?,
                hash: RollingHash(take.array()?),
            },
            _ => return Err(Damage("an unknown effect")),
        });
    }
    Ok((time_ms, effects))
}

fn take_run(seq: u64, take: &mut Take<'_>, shared: &Bytes) -> Result<Run, Damage> {
    let first: Offset = take.number()?;
    let time_ms = take.u64()?;
    let mut run = Run::new(first, seq, time_ms);
    for _ in 0..take.u32()? {
        let kind = match take.u8()? {
            0 => PayloadKind::Text,
            1 => PayloadKind::Binary,
            _ => return Err(Damage("an unknown kind of payload")),
        };
        let len = take.u32()? as usize;
        run.push(kind, shared.slice_ref(take.bytes(len)?));
    }
    Ok(run)
}
