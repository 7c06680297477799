//! On which runtime timers are.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::time::{Sleep, Timeout};

/// Where timers are set: on the runtime that a future is polled on, or on another one.
///
/// A runtime with a timer waits for its sockets with a time limit, and looks at the clock each time: 4 to 5 % of what a small message
/// costs. So a busy runtime may leave its timers to another one, whose thread does nothing else; what they wake still
/// runs where it was.
///
/// The other runtime must be driven as long as anything that was given its `Timers` lives.
#[derive(Clone, Debug, Default)]
pub struct Timers(Place);

#[derive(Clone, Debug, Default)]
enum Place {
    #[default]
    Here,
    On(Handle),
    OnDemand(fn() -> Handle),
}

impl Timers {
    /// On the runtime that the future is polled on, which must have a timer.
    #[must_use]
    pub fn here() -> Self {
        Self(Place::Here)
    }

    /// On another runtime, which must have a timer.
    #[must_use]
    pub fn on(runtime: Handle) -> Self {
        Self(Place::On(runtime))
    }

    /// On another runtime, which is asked for whenever a timer is set: it need not exist before. A connection without a keepalive sets
    /// none while its peer takes what it is sent.
    #[must_use]
    pub fn on_demand(runtime: fn() -> Handle) -> Self {
        Self(Place::OnDemand(runtime))
    }

    /// Completes at `at`. Cancellation: nothing is lost.
    ///
    /// # Panics
    ///
    /// Where that runtime has no timer; without another one, when called outside of a runtime.
    pub fn sleep_until(&self, at: Instant) -> Sleep {
        self.set(|| tokio::time::sleep_until(at.into()))
    }

    /// Completes after `duration`. See [`sleep_until`](Self::sleep_until).
    ///
    /// # Panics
    ///
    /// See [`sleep_until`](Self::sleep_until).
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.set(|| tokio::time::sleep(duration))
    }

    /// The output of `future`, or an error when `deadline` comes first. Cancellation: that of `future`.
    ///
    /// # Panics
    ///
    /// See [`sleep_until`](Self::sleep_until).
    pub fn timeout_at<F: Future>(&self, deadline: Instant, future: F) -> Timeout<F> {
        self.set(|| tokio::time::timeout_at(deadline.into(), future))
    }

    /// A timer belongs to the runtime that is current when it is made.
    fn set<T>(&self, make: impl FnOnce() -> T) -> T {
        match &self.0 {
            Place::Here => make(),
            Place::On(runtime) => {
                let _on = runtime.enter();
                make()
            }
            Place::OnDemand(runtime) => {
                let runtime = runtime();
                let _on = runtime.enter();
                make()
            }
        }
    }
}
