use std::borrow::Cow;
use std::time::Duration;

/// A close that this side begins: the transport sends it behind everything that `poll_transmit` gave.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Close {
    /// A WebSocket close code.
    pub code: u16,
    /// At most 123 bytes.
    pub reason: Cow<'static, str>,
}

impl Close {
    /// The session has ended (RFC 6455 §7.4.1).
    pub const NORMAL: u16 = 1000;
    /// A policy was violated: after an `ERROR`, or a break for back-pressure (RFC 6455 §7.4.1).
    pub const POLICY: u16 = 1008;
    /// The server restarts or its log changed under the connection: dial again (IANA registry of RFC 6455).
    pub const SERVICE_RESTART: u16 = 1012;
    /// A higher attach number took the session over.
    pub const SUPERSEDED: u16 = 4409;
    /// The same dial attached again by another connection: dial again.
    pub const REPEATED: u16 = 4410;

    pub(crate) const fn new(code: u16, reason: &'static str) -> Self {
        Self {
            code,
            reason: Cow::Borrowed(reason),
        }
    }

    /// The close of a break for back-pressure, with the delay that programs read from it.
    pub(crate) fn backpressure(after: Duration) -> Self {
        let reason = format!(
            "{BACKPRESSURE}; resume=1; after={}",
            after.min(HINT_MAX).as_millis()
        );
        Self {
            code: Self::POLICY,
            reason: reason.into(),
        }
    }
}

/// The delay named by the reason of a back-pressure close; `None` for any other reason.
pub(crate) fn hint(reason: &str) -> Option<Duration> {
    let millis = reason
        .strip_prefix(BACKPRESSURE)?
        .split("; ")
        .find_map(|part| part.strip_prefix("after="))?;
    Some(Duration::from_millis(millis.parse().ok()?).min(HINT_MAX))
}

const BACKPRESSURE: &str = "Backpressure: downstream saturated";
const HINT_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r20_a_break_says_when_to_come_back() {
        let close = Close::backpressure(Duration::from_millis(2300));
        assert_eq!(
            close.reason,
            "Backpressure: downstream saturated; resume=1; after=2300"
        );
        let check = |reason: &str, expect: Option<u64>| {
            assert_eq!(hint(reason), expect.map(Duration::from_millis), "{reason}");
        };
        check(&close.reason, Some(2300));
        check("Backpressure: downstream saturated", None);
        check("Backpressure: downstream saturated; after=", None);
        check("Backpressure: downstream saturated; after=99999999", Some(60_000));
        check("bad-message; after=5", None);
    }
}
