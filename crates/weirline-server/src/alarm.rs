//! Knowing that a part of the server has ended, however it did.

use std::sync::Arc;

use tokio::sync::Notify;

/// Goes off when any of its guards is dropped: a part has ended, perhaps in a panic.
#[derive(Debug, Clone, Default)]
pub(crate) struct Alarm(Arc<Notify>);

/// Held by a part for as long as it runs.
#[derive(Debug)]
pub(crate) struct AlarmGuard(Alarm);

impl Alarm {
    pub(crate) fn guard(&self) -> AlarmGuard {
        AlarmGuard(self.clone())
    }

    pub(crate) async fn rung(&self) {
        self.0.notified().await;
    }
}

impl Drop for AlarmGuard {
    fn drop(&mut self) {
        self.0.0.notify_one();
    }
}
