//! Where a client's state outlives its connections, and perhaps its process.

use std::future::Future;

use weirline_resume::{ClientState, StoreMode};

use crate::error::StoreError;

/// Keeps one client's [`ClientState`]: session, attach number, position and outbox.
///
/// The driver saves before **every** dial, so that a later process never dials with a number that was used. With
/// [`StoreMode::Durable`] it also saves what is published before it is sent, and what is handled when nothing else is being saved;
/// saves never overlap, and what happened during one goes into the next together.
///
/// A state must belong to one client at a time: two that go on from copies of one state supersede each other.
pub trait Store {
    /// Whether what is saved outlives the process. The default is the careful answer.
    fn mode(&self) -> StoreMode {
        StoreMode::Durable
    }

    /// What was saved last, `None` before the first save. Called once, by
    /// [`ClientBuilder::build`](crate::ClientBuilder::build), and dropped only with it.
    fn load(&mut self) -> impl Future<Output = Result<Option<ClientState>, StoreError>>;

    /// Saves the whole state in one atomic step: after a crash, `load` gives either this state or the one before.
    /// Returns when it is as durable as this store makes it.
    ///
    /// The driver does not drop the future before it is ready, unless the driver itself is dropped.
    ///
    /// # Errors
    /// [`StoreError`] ends the client: it neither dials nor sends on a state that is not saved.
    fn save(&mut self, state: ClientState) -> impl Future<Output = Result<(), StoreError>>;
}

/// Keeps the state in memory, for one process.
///
/// What it holds can be taken by [`MemoryStore::into_state`], and given to another client by [`MemoryStore::from`].
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Option<ClientState>,
}

impl MemoryStore {
    /// The state that was saved last.
    #[must_use]
    pub fn into_state(self) -> Option<ClientState> {
        self.state
    }
}

impl From<ClientState> for MemoryStore {
    fn from(state: ClientState) -> Self {
        Self { state: Some(state) }
    }
}

impl Store for MemoryStore {
    fn mode(&self) -> StoreMode {
        StoreMode::Volatile
    }

    async fn load(&mut self) -> Result<Option<ClientState>, StoreError> {
        Ok(self.state.clone())
    }

    async fn save(&mut self, state: ClientState) -> Result<(), StoreError> {
        self.state = Some(state);
        Ok(())
    }
}

impl<S: Store> Store for &mut S {
    fn mode(&self) -> StoreMode {
        S::mode(self)
    }

    async fn load(&mut self) -> Result<Option<ClientState>, StoreError> {
        S::load(self).await
    }

    async fn save(&mut self, state: ClientState) -> Result<(), StoreError> {
        S::save(self, state).await
    }
}
