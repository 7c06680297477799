//! Where a simulated client stores its state: the disk outlives the process.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use weirline_client::{Store, StoreError};
use weirline_resume::{ClientState, StoreMode};

use crate::model::Model;
use crate::rng::Rng;

/// The disk of a client's process.
#[derive(Clone, Default)]
pub struct Disk(Rc<RefCell<Option<ClientState>>>);

impl Disk {
    /// Another disk with the same content.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self(Rc::new(RefCell::new(self.0.borrow().clone())))
    }

    /// What is stored.
    #[must_use]
    pub fn state(&self) -> Option<ClientState> {
        self.0.borrow().clone()
    }
}

/// The store of a process, on a disk.
pub struct SimStore {
    disk: Disk,
    model: Rc<Model>,
    client: usize,
    rng: Rng,
    save_ms_max: u64,
}

impl SimStore {
    /// Of client number `client`; a save takes up to `save_ms_max` milliseconds.
    #[must_use]
    pub fn new(disk: Disk, model: Rc<Model>, client: usize, rng: Rng, save_ms_max: u64) -> Self {
        Self {
            disk,
            model,
            client,
            rng,
            save_ms_max,
        }
    }
}

impl Store for SimStore {
    fn mode(&self) -> StoreMode {
        StoreMode::Durable
    }

    async fn load(&mut self) -> Result<Option<ClientState>, StoreError> {
        Ok(self.disk.state())
    }

    async fn save(&mut self, state: ClientState) -> Result<(), StoreError> {
        let ms = self.rng.within(0..=self.save_ms_max);
        if ms > 0 {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        if let Some(secret) = &state.secret {
            self.model.owns(self.client, secret.session_id());
        }
        self.model.stored(self.client, state.last_ticket.0);
        *self.disk.0.borrow_mut() = Some(state);
        Ok(())
    }
}
