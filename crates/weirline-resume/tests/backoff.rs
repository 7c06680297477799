//! I17: at most ten dials per outage, each delay at least max(formula, hint), and accept-then-close counts as failure.

#![expect(
    clippy::disallowed_methods,
    reason = "a test needs some instant to count from"
)]

use std::time::{Duration, Instant};

use proptest::prelude::*;
use weirline_resume::Backoff;

#[derive(Clone, Copy, Debug)]
struct Attempt {
    uniform: f64,
    hint: Option<Duration>,
    /// How long the session was live, when the dial succeeded.
    live: Option<Duration>,
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let hint = proptest::option::of((0u64..90_000).prop_map(Duration::from_millis));
    let live =
        proptest::option::of(prop_oneof![0u64..30_000, 29_990u64..30_010].prop_map(Duration::from_millis));
    (0.0..1.0f64, hint, live).prop_map(|(uniform, hint, live)| Attempt { uniform, hint, live })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn i17_dials_of_an_outage_are_few_and_late(attempts in prop::collection::vec(attempt(), 1..60)) {
        let mut now = Instant::now();
        let mut backoff = Backoff::default();
        let mut dials = 0;
        for Attempt { uniform, hint, live } in attempts {
            let Some(delay) = backoff.next(uniform, hint) else {
                prop_assert_eq!(dials, 10);
                return Ok(());
            };
            let formula = (2f64.powi(dials) + uniform).min(30.0);
            let hint = hint.unwrap_or_default().min(Duration::from_secs(60));
            prop_assert!(delay.as_secs_f64() + 1e-6 >= formula.max(hint.as_secs_f64()));
            prop_assert!(delay.as_secs_f64() - 1e-6 <= formula.max(hint.as_secs_f64()));
            dials += 1;
            prop_assert!(dials <= 10);
            now += delay;
            if let Some(live) = live {
                backoff.handle_live(now);
                now += live;
                if live >= Duration::from_secs(30) {
                    dials = 0;
                }
            }
            backoff.handle_lost(now);
        }
    }
}
