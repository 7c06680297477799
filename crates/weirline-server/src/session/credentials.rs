//! What a client's credential is worth: asked of the application, and nothing by default.

use std::time::{Duration, Instant};

use tracing::info;
use weirline_resume::{Session, Verdict};

use crate::config::Judge;
use crate::registry::Place;

/// Whose the connection is, and until when.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    principal: Box<str>,
    expires: Option<Instant>,
}

impl Credentials {
    /// Judges what was offered, and ends the session's connection when its credential has run out.
    pub(super) fn handle(
        &mut self,
        now: Instant,
        judge: Option<&Judge>,
        session: &mut Session,
        place: &Place,
    ) {
        if let Some(credential) = session.poll_credential() {
            let verdict = judge.map_or(Verdict::Refused, |judge| judge(&credential));
            self.judged(now, &verdict, session.is_live(), place);
            session.handle_credential(now, verdict);
        }
        if self.expires.is_some_and(|at| at <= now) {
            // While the attach is being decided nothing can be said yet.
            let undecided = !session.is_live() && session.identity().is_some();
            self.expires = undecided.then(|| now + UNDECIDED);
            session.expire_credential();
        }
    }

    fn judged(&mut self, now: Instant, verdict: &Verdict, live: bool, place: &Place) {
        let conn = place.id();
        match verdict {
            // A live connection stays whose it was.
            Verdict::Accepted { principal, expires } if !live || *principal == self.principal => {
                self.principal.clone_from(principal);
                self.expires = expires.map(|after| now + after);
                info!(event = "session.credential_accepted", %conn, principal = ?self.principal, "accepted");
            }
            _ => info!(event = "session.credential_refused", %conn, "not accepted"),
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.expires
    }
}

/// When to look again.
const UNDECIDED: Duration = Duration::from_millis(100);
