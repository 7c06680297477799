//! Futures on one thread, polled in an order drawn by a seed, and futures that are dropped before they are ready.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// When a future is dropped that is not ready by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Right after so many polls.
    Polled(u32),
    /// When it would be polled again after so many polls: what woke it is lost unless it is handed on.
    Woken(u32),
}

/// Both ways, after each number of polls below `polls`.
pub fn drops(polls: u32) -> impl Iterator<Item = When> {
    (0..polls).flat_map(|polls| [When::Polled(polls), When::Woken(polls)])
}

/// Polls a future until it is ready (`Some`) or its time to be dropped has come (`None`).
pub async fn dropped<F: Future>(future: F, when: When) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut polls = 0;
    std::future::poll_fn(move |task| {
        let limit = match when {
            When::Polled(limit) | When::Woken(limit) => limit,
        };
        if polls == limit {
            return Poll::Ready(None);
        }
        polls += 1;
        match future.as_mut().poll(task) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if when == When::Polled(polls) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Runs tasks to their ends, each time polling one that was woken, drawn by the seed. A task is polled only when it was woken,
/// so that a lost wake-up shows.
#[derive(Default)]
pub struct Shuffle<'a> {
    tasks: Vec<Task<'a>>,
    outer: Arc<Outer>,
}

struct Task<'a> {
    name: String,
    future: Option<Pin<Box<dyn Future<Output = ()> + 'a>>>,
    woken: Arc<Woken>,
}

struct Woken {
    yes: AtomicBool,
    outer: Arc<Outer>,
}

#[derive(Default)]
struct Outer(Mutex<Option<Waker>>);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.yes.store(true, Ordering::Relaxed);
        let outer = self.outer.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(outer) = outer {
            outer.wake();
        }
    }
}

impl<'a> Shuffle<'a> {
    /// Adds a task.
    pub fn task(&mut self, name: impl Into<String>, future: impl Future<Output = ()> + 'a) {
        self.tasks.push(Task {
            name: name.into(),
            future: Some(Box::pin(future)),
            woken: Arc::new(Woken {
                yes: AtomicBool::new(true),
                outer: self.outer.clone(),
            }),
        });
    }

    /// Polls in seeded order until all are done. Where nothing but time can go on, time goes on.
    pub async fn run(mut self, seed: u64) {
        let noise = &mut Noise::new(seed);
        std::future::poll_fn(|task| {
            *self.outer.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.waker().clone());
            while let Some(next) = self.draw(noise) {
                next.poll();
            }
            if self.tasks.iter().all(|task| task.future.is_none()) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Polls in seeded order until all are done, without letting time go by.
    ///
    /// # Panics
    /// Where tasks are left that nobody wakes.
    pub fn run_at_once(mut self, seed: u64, about: &str) {
        let noise = &mut Noise::new(seed);
        while let Some(next) = self.draw(noise) {
            next.poll();
        }
        let stuck: Vec<_> = self.tasks.iter().filter(|task| task.future.is_some()).collect();
        let names: Vec<_> = stuck.iter().map(|task| &task.name).collect();
        assert!(names.is_empty(), "nobody wakes {names:?}: {about}, seed {seed}");
    }

    fn draw(&mut self, noise: &mut Noise) -> Option<&mut Task<'a>> {
        let is_ready = |task: &&mut Task<'a>| task.future.is_some() && task.woken.yes.load(Ordering::Relaxed);
        let mut ready: Vec<_> = self.tasks.iter_mut().filter(is_ready).collect();
        if ready.is_empty() {
            return None;
        }
        let index = noise.below(ready.len());
        Some(ready.swap_remove(index))
    }
}

impl Task<'_> {
    fn poll(&mut self) {
        self.woken.yes.store(false, Ordering::Relaxed);
        let waker = Waker::from(self.woken.clone());
        if let Some(future) = &mut self.future
            && future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
        {
            self.future = None;
        }
    }
}

/// A small generator of reproducible noise (xorshift).
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % (bound as u64)).unwrap()
    }
}
