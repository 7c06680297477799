//! The simulated world: scenarios, faults and oracles for Weirline, over turmoil.

pub mod app;
pub mod batch;
pub mod cases;
pub mod chaos;
pub mod cli;
pub mod conform;
pub mod conn;
pub mod consumer;
pub mod disk;
pub mod ledger;
pub mod model;
pub mod moment;
pub mod net;
pub mod numbering;
pub mod oracles;
pub mod pairs;
pub mod pin;
pub mod plan;
pub mod process;
pub mod recorder;
pub mod report;
pub mod rivals;
pub mod rng;
pub mod run;
pub mod scene;
pub mod scripts;
pub mod server;
pub mod socket;
pub mod trace;
pub mod traffic;
mod watch;
pub mod wire;
pub mod world;

/// What must hold before any world runs.
///
/// # Errors
///
/// What is missing, in words for people.
pub fn startup_check() -> Result<(), String> {
    if !cfg!(tokio_unstable) {
        let what =
            "built without `--cfg tokio_unstable`: tokio's own choices are not seeded; use `cargo xtask sim`";
        return Err(what.to_owned());
    }
    if cfg!(target_os = "linux") && !pin::works() {
        return Err(
            "the clock or the random source of the operating system is not pinned in a world".to_owned(),
        );
    }
    Ok(())
}
