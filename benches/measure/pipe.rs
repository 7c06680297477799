//! Whether sending a large message is linear: instructions per MiB through a pipe of 64 KiB.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use weirline_connection::{Config, Connection, Event, MessageKind};
use weirline_flow::Strategy;
use weirline_tokio::{CloseCode, Context, Driver, Handler, HandlerError};

use crate::callgrind::instructions;
use crate::{Outcome, judge};

const PIPE_BYTES: usize = 64 << 10;
const SMALL_MEBIBYTES: usize = 16;
const LARGE_MEBIBYTES: usize = 256;
const BAR: f64 = 1.2;

/// Sends one message, then closes.
struct SendOnce(Option<bytes::Bytes>);

impl Handler for SendOnce {
    fn on_event(&mut self, _: &mut Context<'_>, _: Event<'_>) -> Result<(), HandlerError> {
        Ok(())
    }

    fn poll_work(
        &mut self,
        cx: &mut Context<'_>,
        _: &mut std::task::Context<'_>,
    ) -> Result<(), HandlerError> {
        if let Some(payload) = self.0.take() {
            cx.send_shared(MessageKind::Binary, b"1:", payload)
                .map_err(HandlerError::new)?;
            cx.close(CloseCode::NORMAL, "");
        }
        Ok(())
    }
}

pub(crate) fn once(mebibytes: usize) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    runtime.block_on(async {
        let (near, mut far) = tokio::io::duplex(PIPE_BYTES);
        let mut config = Config::default();
        config.send_strategy = Strategy::Pause;
        config.write_stall_timeout = Duration::from_secs(3600);
        config.eof_timeout = Duration::from_millis(1);
        config.close_timeout = Duration::from_millis(1);
        let now = tokio::time::Instant::now().into_std();
        let payload = bytes::Bytes::from(vec![7; mebibytes << 20]);
        let connection = Connection::server(Arc::new(config), now);
        let driver = Driver::new(near, connection, bytes::Bytes::new(), SendOnce(Some(payload)), ());
        let reader = async {
            let mut buffer = vec![0; PIPE_BYTES];
            let mut total = 0;
            loop {
                match far.read(&mut buffer).await {
                    Ok(0) | Err(_) => return total,
                    Ok(read) => total += read,
                }
            }
        };
        let (end, total) = tokio::join!(driver, reader);
        if total < mebibytes << 20 {
            return Err(format!("only {total} bytes came through: {end:?}").into());
        }
        Ok(())
    })
}

pub(crate) fn compare() -> Outcome {
    let small = instructions_per_mebibyte(SMALL_MEBIBYTES)?;
    let large = instructions_per_mebibyte(LARGE_MEBIBYTES)?;
    println!(
        "instructions per MiB: {small:.0} at {SMALL_MEBIBYTES} MiB, {large:.0} at {LARGE_MEBIBYTES} MiB"
    );
    judge("ratio", large / small, BAR, "")
}

/// What one run costs beyond a run that sends 1 MiB, per MiB.
fn instructions_per_mebibyte(mebibytes: usize) -> Outcome<f64> {
    let callgrind = |mebibytes: usize| instructions(&["pipe-once", &mebibytes.to_string()]);
    let (base, whole) = (callgrind(1)?, callgrind(mebibytes)?);
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^52")]
    let per_mebibyte = (whole - base) as f64 / (mebibytes - 1) as f64;
    Ok(per_mebibyte)
}
