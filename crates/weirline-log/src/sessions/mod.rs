//! Sessions and tombstones, for every engine alike.
//!
//! ```text
//!                 Attach 1                    Detach
//!   (unknown) ──────────────▶  attached  ◀──────────────▶  detached
//!       ▲                       │    ▲        Attach          │
//!       │                   End │    │ Attach (revived)       │ Expire
//!       │ 7 days                ▼    │                        │
//!       └───────────────────  tombstone  ◀────────────────────┘     only if it published; else (unknown) at once
//! ```

mod apply;
mod clock;
mod record;
mod table;

pub use apply::StreamTable;
pub use clock::LogClock;
pub use record::{SessionLimits, SessionRecord, SessionState};
pub use table::{SessionChange, SessionTable};
