//! Connections without a server around them: two ends each, a shipped driver or a peer that speaks the bytes by hand, over the
//! simulated network or over real sockets. Here the races of closing are dense.

mod draw;
mod facts;
mod log;
mod marks;
mod message;
mod oracle;
mod pings;
mod plan;
mod raw;
mod shipped;
mod world;

pub use draw::draw;
pub use log::{Context, Deeds, EndLog, Ended, RawEnd};
pub use message::{Sequence, is_text, parse, payload};
pub(crate) use oracle::at_end;
pub use plan::{End, Frame, Pace, Pair, PairsPlan, Raw, Settings, Shipped, Step, longest_sent};
pub use raw::run_raw;
pub use shipped::run_shipped;
pub use world::run;
pub(crate) use world::{PairsWorld, accepted, dialled, run_to_end};

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::conn::Conn;
use crate::moment::Moment;

/// A byte stream that can be reset.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Ends it by RST.
    fn reset(self, drain: bool);

    /// The error that waits on the socket (`SO_ERROR`), if there is one.
    fn error(&self) -> Option<io::ErrorKind>;
}

impl Wire for crate::socket::Socket {
    fn reset(self, drain: bool) {
        Self::reset(self, drain);
    }

    fn error(&self) -> Option<io::ErrorKind> {
        None
    }
}

/// Waits for a moment, but not for longer than so many milliseconds; without a connection to look at, until then.
async fn await_moment(conn: Option<&Rc<Conn>>, moment: &Moment, ms_max: u64) {
    let moment_comes = async {
        let Some(conn) = conn else {
            return std::future::pending().await;
        };
        loop {
            let changed = conn.changed.notified();
            if moment.is_past(conn) {
                return;
            }
            changed.await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_millis(ms_max), moment_comes).await;
}
