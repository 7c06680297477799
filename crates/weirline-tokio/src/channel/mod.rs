//! Handles for applications whose work is asynchronous: bounded queues between them and the driver (R9, R18).
//!
//! ```text
//!  Handle ──at most 10 messages──▶ QueueHandler (in the driver) ──▶ send queue ──▶ socket
//!  Inbox  ◀──bounded queue──────── QueueHandler (in the driver) ◀── socket
//! ```

mod handle;
mod inbox;
mod queue_handler;
mod shared;

pub use handle::{Handle, HandleSendError, TrySendError};
pub use inbox::{Delivery, Inbox};
pub use queue_handler::QueueHandler;
pub use shared::{DriverGone, InboxLimits, Message};

use shared::Shared;

/// Makes the two ends of a connection: what the application holds, and the handler for the driver.
///
/// The connection is closed with 1000 when all handles and the inbox are dropped. While one of them lives it stays open: a
/// dropped inbox discards messages, dropped handles only stop sending.
#[must_use]
pub fn channel(limits: InboxLimits) -> (Handle, Inbox, QueueHandler) {
    let shared = Shared::new(limits);
    (
        Handle::new(shared.clone()),
        Inbox::new(shared.clone()),
        QueueHandler::new(shared),
    )
}
