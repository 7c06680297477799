#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

mod budget;
mod counters;
mod queue;
mod rate;

pub use budget::{Budget, Exceeded};
pub use counters::{Counters, Tally};
pub use queue::{BoundedQueue, BreakCause, Popped, Push, QueueLimits, Strategy};
pub use rate::{RateBudget, RateLimit};
