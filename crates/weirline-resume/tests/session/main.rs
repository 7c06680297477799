//! What a server says in the multiplexed forms, message by message, as a client in another language would see it.

#![expect(
    clippy::disallowed_methods,
    reason = "a test needs some instant to count from"
)]

mod attach;
mod bench;
mod life;
mod publishing;
mod streams;
