//! Loss of power at any operation, over a disk that keeps any part of what was not synced (I8), with I/O errors before.
//!
//! After each crash the log must be what was acknowledged, or that and one of the batches that were refused or under way
//! since the last acknowledgement. The model is the in-memory engine, fed with the same commands.
//!
//! `WEIRLINE_CRASHES=1000` sets how many crashes each test makes; the default is 120.

mod crash_world;

use crash_world::{Life, World};
use weirline_log_redb::simulation::Faults;

fn crashes() -> u64 {
    let asked = std::env::var("WEIRLINE_CRASHES").ok();
    asked.map_or(120, |text| text.parse().expect("WEIRLINE_CRASHES is a number"))
}

/// Makes `crashes` crashes in worlds of five lives each, and says what was lost in the first in which anything was.
fn run(crashes: u64, faults: impl Fn(&mut World) -> Faults) -> Result<Life, String> {
    run_in(crashes, false, faults)
}

fn run_in(crashes: u64, threaded: bool, faults: impl Fn(&mut World) -> Faults) -> Result<Life, String> {
    let mut total = Life::default();
    for seed in 0..crashes.div_ceil(5) {
        let mut world = World::new(seed, threaded);
        for life in 0..5 {
            let faults = faults(&mut world);
            let lived = world
                .live(faults)
                .map_err(|what| format!("seed {seed}, life {life}: {what}"))?;
            total.add(&lived);
        }
    }
    Ok(total)
}

#[test]
fn a_loss_of_power_loses_nothing_that_was_acknowledged() {
    let crashes = crashes();
    let total = run(crashes, |world| Faults {
        power_fails_after: Some(world.draw() % 120),
        ..Faults::default()
    });
    let total = total.unwrap_or_else(|what| panic!("{what}"));
    // The test would be worth nothing if it did not get to all this.
    assert!(total.crashes >= crashes, "{total:?}");
    assert!(
        total.acknowledged > crashes && total.checkpoints > crashes / 2,
        "{total:?}"
    );
    assert!(
        total.survived_unacknowledged > 0 && total.crashed_while_opening > 0,
        "{total:?}"
    );
}

#[test]
fn io_errors_before_a_loss_of_power_lose_nothing_either() {
    let crashes = crashes();
    let total = run(crashes, |world| Faults {
        power_fails_after: Some(40 + world.draw() % 200),
        write_fails_one_in: 40,
        sync_fails_one_in: 12,
        read_fails_one_in: world.draw() % 2 * 60,
        ..Faults::default()
    });
    let total = total.unwrap_or_else(|what| panic!("{what}"));
    assert!(
        total.refused > crashes && total.acknowledged > crashes,
        "{total:?}"
    );
}

#[test]
fn a_full_disk_before_a_loss_of_power_loses_nothing_either() {
    let total = run(crashes(), |world| Faults {
        power_fails_after: Some(100 + world.draw() % 200),
        capacity_bytes: Some(150_000 + world.draw() % 100_000),
        ..Faults::default()
    });
    let total = total.unwrap_or_else(|what| panic!("{what}"));
    assert!(total.refused > 0, "{total:?}");
}

/// While a thread of its own writes a checkpoint, commits go on and the power goes. Where it goes is not decided by the seed
/// alone.
#[test]
fn a_checkpoint_on_another_thread_changes_nothing_of_this() {
    let crashes = crashes();
    let total = run_in(crashes, true, |world| Faults {
        power_fails_after: Some(world.draw() % 300),
        write_fails_one_in: world.draw() % 2 * 60,
        sync_fails_one_in: world.draw() % 2 * 20,
        capacity_bytes: (world.draw() % 4 == 0).then_some(200_000),
        ..Faults::default()
    });
    let total = total.unwrap_or_else(|what| panic!("{what}"));
    assert!(
        total.acknowledged > crashes && total.survived_unacknowledged > 0,
        "{total:?}"
    );
}

/// The tests above can fail: without the syncs they do, soon.
#[test]
fn without_syncs_something_is_lost() {
    let lost = run(100, |world| Faults {
        power_fails_after: Some(world.draw() % 120),
        syncs_are_lies: true,
        ..Faults::default()
    });
    let what = lost.expect_err("nothing was lost in 100 crashes without a sync");
    println!("{what}");
}
