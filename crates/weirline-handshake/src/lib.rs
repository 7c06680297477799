#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod client;
mod escape;
mod extension;
mod fields;
mod head;
mod host;
mod key;
mod list;
mod origin;
mod server;
mod subprotocol;

pub use client::{
    ClientRequest, ClientRequestError, ClientResponse, HandshakeError, RefusedUpgrade, ResponseProgress,
    ResponseReader, WsUrl, WsUrlError,
};
pub use escape::Escaped;
pub use extension::{ClientWindow, DeflateOffer, ExtensionError, ExtensionOffer, OfferProblem, WindowBits};
pub use head::{HeadError, HeadLimits};
pub use host::{Authority, Host, HostError};
pub use key::{AcceptKey, GUID, KeyError, WebSocketKey};
pub use origin::{Origin, OriginError, OriginTuple};
pub use server::{
    InvalidRejection, OriginPolicy, OriginPolicyBuilder, OriginPolicyError, OriginWarning, Progress,
    Rejection, RejectionKind, RequestReader, ResponseError, UpgradeRequest, UpgradeResponse, Validate,
    negotiate_subprotocol,
};
pub use subprotocol::{Subprotocol, SubprotocolError};
