//! The simulated world: scenarios, faults and oracles for Weirline, over turmoil.

pub mod cases;
pub mod chaos;
pub mod conn;
pub mod net;
pub mod pin;
pub mod rng;
pub mod socket;
pub mod trace;
pub mod wire;
