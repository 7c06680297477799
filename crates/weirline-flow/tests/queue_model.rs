//! The bounded queue against a model that keeps every item ever pushed (R16, R20).

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use weirline_flow::{BoundedQueue, BreakCause, Push, QueueLimits, Strategy as Policy, Tally};

/// Everything that was ever pushed, and how far its front and its refusals have come. Times are milliseconds.
#[derive(Debug, Clone)]
struct Model {
    limits: QueueLimits,
    policy: Policy,
    now_ms: u64,
    /// (id, bytes, pushed at)
    queued: Vec<(u32, usize, u64)>,
    next_id: u32,
    pushed: Tally,
    popped: Tally,
    dropped: Tally,
    refused: Tally,
    /// What the last transition must have answered.
    answer: Answer,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Nothing,
    Queued,
    Dropped(Tally),
    Full(u32),
    Broken(u32, BreakCause),
    Popped(Option<(u32, usize, Duration)>),
    Cleared(Tally),
    /// Whether it was the first, and so was queued.
    First(bool),
}

#[derive(Debug, Clone)]
enum Step {
    Push(usize),
    PushFirst(usize),
    Pop,
    Wait(u64),
    Clear,
}

impl Model {
    fn used(&self) -> usize {
        self.queued.iter().map(|entry| entry.1).sum()
    }

    fn late(&self) -> bool {
        match (self.policy, self.queued.first()) {
            (Policy::Break { max_latency }, Some(&(_, _, at))) => {
                u128::from(self.now_ms - at) >= max_latency.as_millis()
            }
            _ => false,
        }
    }

    fn push(&mut self, bytes: usize) -> Answer {
        let id = self.next_id;
        self.next_id += 1;
        if self.late() {
            count(&mut self.refused, bytes);
            return Answer::Broken(id, BreakCause::Late);
        }
        let full = |model: &Self| {
            !model.queued.is_empty()
                && (model.queued.len() + 1 > model.limits.messages
                    || model.used() + bytes > model.limits.bytes)
        };
        let mut lost = Tally::default();
        if full(self) {
            match self.policy {
                Policy::Pause => {
                    count(&mut self.refused, bytes);
                    return Answer::Full(id);
                }
                Policy::Break { .. } => {
                    count(&mut self.refused, bytes);
                    return Answer::Broken(id, BreakCause::Full);
                }
                _ => {
                    while full(self) {
                        let oldest = self.queued.remove(0);
                        count(&mut lost, oldest.1);
                        count(&mut self.dropped, oldest.1);
                    }
                }
            }
        }
        count(&mut self.pushed, bytes);
        self.queued.push((id, bytes, self.now_ms));
        if lost.messages > 0 {
            Answer::Dropped(lost)
        } else {
            Answer::Queued
        }
    }
}

fn count(tally: &mut Tally, bytes: usize) {
    tally.messages += 1;
    tally.bytes += bytes as u64;
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        let policy = prop_oneof![
            Just(Policy::DropOldest),
            Just(Policy::Pause),
            (1u64..30).prop_map(|ms| Policy::Break {
                max_latency: Duration::from_millis(ms)
            }),
        ];
        (0usize..6, 0usize..40, policy)
            .prop_map(|(messages, bytes, policy)| Model {
                limits: QueueLimits { messages, bytes },
                policy,
                now_ms: 0,
                queued: Vec::new(),
                next_id: 0,
                pushed: Tally::default(),
                popped: Tally::default(),
                dropped: Tally::default(),
                refused: Tally::default(),
                answer: Answer::Nothing,
            })
            .boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Step> {
        prop_oneof![
            5 => (0usize..50).prop_map(Step::Push),
            2 => (0usize..50).prop_map(Step::PushFirst),
            3 => Just(Step::Pop),
            2 => (0u64..20).prop_map(Step::Wait),
            1 => Just(Step::Clear),
        ]
        .boxed()
    }

    fn apply(mut state: Self, step: &Step) -> Self {
        state.answer = match *step {
            Step::Push(bytes) => state.push(bytes),
            // The same as a push, where nothing is queued; else nothing happens.
            Step::PushFirst(bytes) => {
                let first = state.queued.is_empty();
                assert!(!first || state.push(bytes) == Answer::Queued);
                Answer::First(first)
            }
            Step::Pop if state.queued.is_empty() => Answer::Popped(None),
            Step::Pop => {
                let (id, bytes, at) = state.queued.remove(0);
                count(&mut state.popped, bytes);
                Answer::Popped(Some((id, bytes, Duration::from_millis(state.now_ms - at))))
            }
            Step::Wait(ms) => {
                state.now_ms += ms;
                Answer::Nothing
            }
            Step::Clear => {
                let mut lost = Tally::default();
                for entry in std::mem::take(&mut state.queued) {
                    count(&mut lost, entry.1);
                    count(&mut state.dropped, entry.1);
                }
                Answer::Cleared(lost)
            }
        };
        state
    }
}

struct Real {
    queue: BoundedQueue<u32>,
    start: Instant,
    now: Instant,
    next_id: u32,
}

impl StateMachineTest for Real {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(model: &Model) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "an arbitrary starting point; the steps move it"
        )]
        let start = Instant::now();
        Real {
            queue: BoundedQueue::new(model.limits, model.policy),
            start,
            now: start,
            next_id: 0,
        }
    }

    fn apply(mut real: Self, model: &Model, step: Step) -> Self {
        let answer = match step {
            Step::Push(bytes) => {
                let id = real.next_id;
                real.next_id += 1;
                match real.queue.push(real.now, id, bytes) {
                    Push::Queued => Answer::Queued,
                    Push::Dropped(lost) => Answer::Dropped(lost),
                    Push::Full(id) => Answer::Full(id),
                    Push::Broken(id, cause) => Answer::Broken(id, cause),
                    other => panic!("{other:?}"),
                }
            }
            Step::PushFirst(bytes) => {
                let first = real.queue.push_first(real.now, real.next_id, bytes);
                real.next_id += u32::from(first);
                Answer::First(first)
            }
            Step::Pop => Answer::Popped(
                real.queue
                    .pop(real.now)
                    .map(|popped| (popped.item, popped.bytes, popped.waited)),
            ),
            Step::Wait(ms) => {
                real.now += Duration::from_millis(ms);
                Answer::Nothing
            }
            Step::Clear => Answer::Cleared(real.queue.clear()),
        };
        assert_eq!(answer, model.answer);
        real
    }

    fn check_invariants(real: &Self, model: &Model) {
        let counters = real.queue.counters();
        assert_eq!(
            (
                counters.pushed,
                counters.popped,
                counters.dropped,
                counters.refused
            ),
            (model.pushed, model.popped, model.dropped, model.refused)
        );
        assert_eq!(
            counters.pushed.messages,
            counters.popped.messages + counters.dropped.messages + real.queue.len() as u64
        );
        assert_eq!(
            counters.pushed.bytes,
            counters.popped.bytes + counters.dropped.bytes + real.queue.bytes() as u64
        );
        assert_eq!(
            (real.queue.len(), real.queue.bytes()),
            (model.queued.len(), model.used())
        );
        assert!(real.queue.len() <= model.limits.messages.max(1));
        assert!(real.queue.len() == 1 || real.queue.bytes() <= model.limits.bytes);
        assert_eq!(real.queue.is_late(real.now), model.late());
        assert_eq!(
            real.queue.oldest(),
            model
                .queued
                .first()
                .map(|entry| real.start + Duration::from_millis(entry.2))
        );
        assert!(
            !real.queue.is_empty() || real.queue.deadline().is_none(),
            "R20: an empty queue is never late"
        );
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn queue_does_what_the_model_does(sequential 1..60 => Real);
}
