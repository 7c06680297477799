//! How many sockets the process may have open.
//!
//! Shells give a soft limit that is often 1024, for the sake of programs that use `select`; the hard limit is what the
//! administrator allows. Each connection is one descriptor.

use std::io;

use tracing::{info, warn};

/// Descriptors that are no connections: listeners, the runtimes' own, standard streams, files.
const OTHERS: u64 = 64;

/// Raises the soft limit of descriptors to the hard one, and says so where that is too few for `connections_max`.
///
/// A failure is logged and nothing more: the server runs with what it has, and accepting backs off when that is used up.
pub(crate) fn raise_limit(connections_max: usize) {
    match raise() {
        Ok(Some(Limit { before, soft, hard })) => {
            info!(
                event = "descriptors.limit",
                before, soft, hard, "limit of open sockets"
            );
            if !is_enough(soft, connections_max) {
                warn!(
                    event = "descriptors.few",
                    soft, hard, connections_max, "fewer sockets than connections_max: raise the hard limit"
                );
            }
        }
        Ok(None) => {}
        Err(error) => warn!(event = "descriptors.failed", %error, "cannot raise the limit of open sockets"),
    }
}

/// The soft limit as it was and as it is, and the hard one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit {
    before: u64,
    soft: u64,
    hard: u64,
}

/// `None` where the system has no such limit.
#[cfg(unix)]
fn raise() -> io::Result<Option<Limit>> {
    use rlimit::Resource;
    let (before, _) = Resource::NOFILE.get()?;
    // Some systems have a lower limit than the hard one says; the crate knows them.
    rlimit::increase_nofile_limit(u64::MAX)?;
    let (soft, hard) = Resource::NOFILE.get()?;
    Ok(Some(Limit { before, soft, hard }))
}

#[cfg(not(unix))]
fn raise() -> io::Result<Option<Limit>> {
    Ok(None)
}

fn is_enough(soft: u64, connections_max: usize) -> bool {
    u64::try_from(connections_max).is_ok_and(|connections| soft >= connections.saturating_add(OTHERS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_needs_a_descriptor_and_so_do_others() {
        for (soft, connections_max, expect) in [
            (1024, 1024 - 64, true),
            (1023, 1024 - 64, false),
            (1024, 50_000, false),
            (u64::MAX, usize::MAX, true),
            (0, 0, false),
        ] {
            assert_eq!(
                is_enough(soft, connections_max),
                expect,
                "{soft} {connections_max}"
            );
        }
    }
}
