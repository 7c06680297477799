//! Breadth first over all states: each is met once, by a shortest way.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::action::{Action, KINDS};
use crate::bounds::Profile;
use crate::hash::Set;
use crate::process::Fault;
use crate::world::{Fixed, World};

/// A fault-free continuation that is longer than this never comes to rest.
const CALM_MAX: usize = 400;

/// Where a state came from: the number of the state before, and what happened there.
#[derive(Clone, Copy)]
struct Origin {
    parent: u32,
    action: u8,
}

/// A violated invariant, with a shortest way to it.
pub(crate) struct Violation {
    pub(crate) fault: Fault,
    pub(crate) steps: Vec<Action>,
    /// How many of the steps are the fault-free continuation.
    pub(crate) calm: usize,
}

/// What came of a search.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) states: usize,
    pub(crate) transitions: u64,
    /// Steps from the beginning to the states that were reached last.
    pub(crate) depth: usize,
    /// Every state within the bounds was met.
    pub(crate) exhausted: bool,
    /// States that were followed to their rest.
    pub(crate) settled: u64,
    /// New states of each depth.
    pub(crate) layers: Vec<usize>,
    /// States that were met in fault-free continuations only, or in these first.
    pub(crate) calm_states: usize,
    /// How often each kind of action was taken.
    pub(crate) taken: Vec<u64>,
    pub(crate) violation: Option<Violation>,
}

pub(crate) struct Search {
    root: World,
    /// Of so many states one is followed to its rest.
    calm_every: u64,
    seen: Set<u128>,
    /// States whose fault-free continuation is known to end well.
    calm: Set<u64>,
    origins: Vec<Origin>,
    /// The worlds on the way to the state that is being left: neighbours share most of it.
    way: Vec<(u32, World)>,
    found: Found,
}

impl Search {
    pub(crate) fn new(root: World, calm_every: u64) -> Self {
        Self {
            root,
            calm_every,
            seen: Set::default(),
            calm: Set::default(),
            origins: Vec::new(),
            way: Vec::new(),
            found: Found {
                taken: vec![0; KINDS.len()],
                ..Found::default()
            },
        }
    }

    pub(crate) fn run(mut self, states_max: usize, mut progress: impl FnMut(&Found)) -> Found {
        let root = self.root.clone();
        self.seen.insert(root.keys().0);
        self.origins.push(Origin { parent: 0, action: 0 });
        self.way.push((0, root));
        let mut next = 0;
        let mut actions = Vec::new();
        'all: while next < self.origins.len() {
            let Ok(number) = u32::try_from(next) else { break };
            self.go_to(number);
            if self.found.layers.len() < self.way.len() {
                self.found.layers.push(0);
            }
            if let Some(layer) = self.found.layers.last_mut() {
                *layer += 1;
            }
            let Some((_, world)) = self.way.last() else { break };
            let world = world.clone();
            world.actions(&mut actions);
            for &action in &actions {
                if let Err(violation) = self.take(number, &world, action) {
                    self.found.violation = Some(violation);
                    break 'all;
                }
                if self.origins.len() >= states_max {
                    break 'all;
                }
            }
            next += 1;
            if next.is_multiple_of(1 << 16) {
                self.found.states = self.origins.len();
                self.found.depth = self.way.len();
                progress(&self.found);
            }
        }
        self.found.exhausted = next == self.origins.len();
        self.found.states = self.origins.len();
        self.found.depth = self.way.len();
        self.found.calm_states = self.calm.len();
        self.found
    }

    /// One action from a state; what it leads to is checked, and how it ends without faults.
    fn take(&mut self, from: u32, world: &World, action: Action) -> Result<(), Violation> {
        self.found.transitions += 1;
        self.found.taken[action.kind as usize] += 1;
        let mut after = world.clone();
        if let Err(fault) = guarded(|| after.apply(action)) {
            let mut steps = self.steps(from);
            steps.push(action);
            return Err(Violation {
                fault,
                steps,
                calm: 0,
            });
        }
        let (key, calm_key) = after.keys();
        if !self.seen.insert(key) {
            return Ok(());
        }
        self.origins.push(Origin {
            parent: from,
            action: action.code(),
        });
        if !calm_key.is_multiple_of(self.calm_every) {
            return Ok(());
        }
        self.found.settled += 1;
        if let Err((fault, calm)) = self.settle(after, calm_key) {
            let mut steps = self.steps(from);
            steps.push(action);
            let extra = calm.len();
            steps.extend(calm);
            return Err(Violation {
                fault,
                steps,
                calm: extra,
            });
        }
        Ok(())
    }

    /// From every state a continuation without faults ends at rest, and complete.
    fn settle(&mut self, mut world: World, mut key: u64) -> Result<(), (Fault, Vec<Action>)> {
        let mut met = Vec::new();
        let mut steps = Vec::new();
        loop {
            if self.calm.contains(&key) {
                break;
            }
            met.push(key);
            let Some(action) = world.calm() else {
                guarded(|| world.check_at_rest()).map_err(|fault| (fault, steps))?;
                break;
            };
            if steps.len() == CALM_MAX {
                return Err(("I19: it never comes to rest".into(), steps));
            }
            steps.push(action);
            if let Err(fault) = guarded(|| world.apply(action)) {
                return Err((fault, steps));
            }
            key = world.keys().1;
        }
        self.calm.extend(met);
        Ok(())
    }

    /// Makes the world of a state the last of the way.
    fn go_to(&mut self, number: u32) {
        let mut missing = Vec::new();
        let mut at = number;
        let mut depth = self.depth(number);
        self.way.truncate(depth + 1);
        while self.way.len() <= depth || self.way[depth].0 != at {
            let origin = self.origins[at as usize];
            missing.push((at, origin.action));
            at = origin.parent;
            depth -= 1;
        }
        self.way.truncate(depth + 1);
        for (number, action) in missing.into_iter().rev() {
            let Some((_, world)) = self.way.last() else { return };
            let mut world = world.clone();
            // It was applied before without a fault.
            let _ = world.apply(Action::of(action));
            self.way.push((number, world));
        }
    }

    fn depth(&self, mut number: u32) -> usize {
        let mut depth = 0;
        while number != 0 {
            number = self.origins[number as usize].parent;
            depth += 1;
        }
        depth
    }

    fn steps(&self, mut number: u32) -> Vec<Action> {
        let mut steps = Vec::new();
        while number != 0 {
            let origin = self.origins[number as usize];
            steps.push(Action::of(origin.action));
            number = origin.parent;
        }
        steps.reverse();
        steps
    }
}

/// A panic of a machine is a violation too.
fn guarded(act: impl FnOnce() -> Result<(), Fault>) -> Result<(), Fault> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("a panic: {}", text.unwrap_or_default()))
    })
}

/// The steps of a violation, as sentences.
pub(crate) fn tell(fixed: &Arc<Fixed>, profile: &Profile, violation: &Violation) -> Vec<String> {
    let mut world = World::begin(fixed, profile);
    let mut lines = Vec::new();
    let faults = violation.steps.len() - violation.calm;
    for (at, &action) in violation.steps.iter().enumerate() {
        if at == faults {
            lines.push("     and from here on without faults:".into());
        }
        lines.push(format!("{:>3}. {}", at + 1, world.describe(action)));
        let _ = guarded(|| world.apply(action));
    }
    lines.push(format!("     {}", violation.fault));
    lines
}
