//! What one task leaves for another, on this thread or on another one.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A letter box with one owner who empties it, and any number of senders who never wait.
///
/// It holds no more than what its senders may have outstanding: each kind of mail has its own bound (at most two batches
/// per connection, one reply for each, one mark per stream).
#[derive(Debug, Default)]
pub(crate) struct Mailbox<T> {
    mail: Mutex<T>,
    notify: Notify,
}

/// Mail that can tell whether there is any.
pub(crate) trait Mail: Default {
    fn is_empty(&self) -> bool;
}

impl<T: Mail> Mailbox<T> {
    /// Adds to the mail and wakes the owner.
    pub(crate) fn put(&self, add: impl FnOnce(&mut T)) {
        add(&mut self.lock());
        self.notify.notify_one();
    }

    /// Waits for mail and takes it all.
    ///
    /// Dropped at any point it loses nothing: what was not returned is still in the box.
    pub(crate) async fn take(&self) -> T {
        loop {
            if let Some(mail) = self.try_take() {
                return mail;
            }
            self.notify.notified().await;
        }
    }

    /// Takes what there is.
    pub(crate) fn try_take(&self) -> Option<T> {
        let mut mail = self.lock();
        (!mail.is_empty()).then(|| std::mem::take(&mut *mail))
    }

    // Mail is added whole or not at all: a sender that panicked has left the box as it was or with its mail in it.
    fn lock(&self) -> MutexGuard<'_, T> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    impl Mail for Vec<u32> {
        fn is_empty(&self) -> bool {
            self.is_empty()
        }
    }

    #[test]
    fn taking_can_be_dropped_at_any_time() {
        let mailbox = Mailbox::<Vec<u32>>::default();
        let mut cx = Context::from_waker(Waker::noop());
        for n in 0..3 {
            let mut waiting = Box::pin(mailbox.take());
            assert!(waiting.as_mut().poll(&mut cx).is_pending());
            mailbox.put(|mail| mail.push(n));
            // It was woken, and is dropped before it runs.
            drop(waiting);
            mailbox.put(|mail| mail.push(n));
            assert_eq!(pin!(mailbox.take()).poll(&mut cx), Poll::Ready(vec![n, n]));
        }
        assert!(pin!(mailbox.take()).poll(&mut cx).is_pending());
    }
}
