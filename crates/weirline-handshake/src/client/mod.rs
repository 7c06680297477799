//! The client's side of the opening handshake (RFC 6455 §4.1).

mod error;
mod request;
mod response;
mod url;

pub use error::{HandshakeError, RefusedUpgrade};
pub use request::{ClientRequest, ClientRequestError};
pub use response::{ClientResponse, ResponseProgress, ResponseReader};
pub use url::{WsUrl, WsUrlError};
