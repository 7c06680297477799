//! The server's side of the opening handshake (RFC 6455 §4.2).

mod negotiate;
mod policy;
mod reader;
mod rejection;
mod request;
mod response;

pub use negotiate::{Validate, negotiate_subprotocol};
pub use policy::{OriginPolicy, OriginPolicyBuilder, OriginPolicyError, OriginWarning};
pub use reader::{Progress, RequestReader};
pub use rejection::{InvalidRejection, Rejection, RejectionKind};
pub use request::UpgradeRequest;
pub use response::{ResponseError, UpgradeResponse};
