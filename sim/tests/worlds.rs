//! A few whole worlds: they are good, they reach something, and a seed is the same run every time.

use weirline_sim::plan::{Plan, Scenario};
use weirline_sim::run::{Verdict, run};
use weirline_sim::scene::Scene;
use weirline_sim::trace::Keep;

#[test]
fn a_seed_is_one_run() {
    for scenario in Scenario::ALL {
        let seed = 1;
        let scene = Scene::draw(scenario, seed);
        let (one, two) = (run(&scene, Keep::All), run(&scene, Keep::All));
        assert_eq!(
            one.verdict,
            Verdict::Good,
            "{scenario:?} {seed}: {:?}",
            one.violations
        );
        assert!(one.events_total > 100 && one.connections > 1);
        if cfg!(tokio_unstable) && cfg!(target_os = "linux") {
            assert_eq!(one.hash, two.hash, "{scenario:?} {seed}");
        }
    }
}

#[test]
fn another_seed_is_another_run() {
    let runs = [3, 4].map(|seed| run(&Scene::draw(Scenario::Smoke, seed), Keep::Last).hash);
    assert_ne!(runs[0], runs[1]);
}

#[test]
fn a_world_that_cannot_come_to_rest_is_reported() {
    let mut plan = Plan::draw(Scenario::Smoke, 1);
    plan.rest_ms = 1;
    plan.heal_ms = 1;
    plan.faults.clear();
    let scene = Scene::Streams(Box::new(plan));
    assert_eq!(run(&scene, Keep::Last).verdict, Verdict::NotAtRest);
}
