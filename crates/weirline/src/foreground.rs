//! A command that ends by itself, or when it is told to.

use std::future::Future;
use std::io;

/// Runs `command` on a runtime of its own. What blocks a thread when it ends, such as a read from stdin or a write to stdout, is
/// not waited for.
pub(crate) fn run<T, E: From<io::Error>>(command: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(command);
    runtime.shutdown_background();
    result
}
