//! What a seed of a scenario runs: a whole server with its clients, or connections without a server around them.

use serde::{Deserialize, Serialize};

use crate::pairs::{self, PairsPlan};
use crate::plan::{Plan, Scenario};

/// One run, as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scene {
    /// The shipped server, and applications over the shipped client.
    Streams(Box<Plan>),
    /// Connections, each with two ends and nothing else.
    Pairs(Box<PairsPlan>),
}

impl Scene {
    /// Draws the scene of a seed.
    #[must_use]
    pub fn draw(scenario: Scenario, seed: u64) -> Self {
        match scenario {
            Scenario::Smoke
            | Scenario::Partition
            | Scenario::SlowConsumer
            | Scenario::ServerCrash
            | Scenario::PowerLoss
            | Scenario::Takeover
            | Scenario::EpochReset
            | Scenario::RetentionGap
            | Scenario::ReconnectStorm => Self::Streams(Box::new(Plan::draw(scenario, seed))),
            // Half-closing peers meet drivers alone, and the whole server.
            Scenario::HalfClose if seed.is_multiple_of(4) => {
                Self::Streams(Box::new(Plan::draw(scenario, seed)))
            }
            Scenario::FinRace
            | Scenario::HalfClose
            | Scenario::HalfOpen
            | Scenario::ZeroWindow
            | Scenario::Oversize
            | Scenario::PingStarvation => Self::Pairs(Box::new(pairs::draw(scenario, seed))),
        }
    }

    /// Its seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        match self {
            Self::Streams(plan) => plan.seed,
            Self::Pairs(plan) => plan.seed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scene_survives_being_saved_and_is_that_of_its_seed() {
        for seed in 0..100 {
            for scenario in Scenario::ALL {
                let scene = Scene::draw(scenario, seed);
                let saved = serde_json::to_string(&scene).unwrap();
                assert_eq!(serde_json::from_str::<Scene>(&saved).unwrap(), scene);
                assert_eq!(Scene::draw(scenario, seed), scene);
            }
        }
    }
}
