#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod accept;
mod buffer;
mod channel;
mod connect;
mod driver;
mod entropy;
mod handler;
mod net;
mod observer;
mod timers;

pub use accept::{AcceptError, AcceptSettings, Accepted, accept};
pub use channel::{
    Delivery, DriverGone, Handle, HandleSendError, Inbox, InboxLimits, Message, QueueHandler, TrySendError,
    channel,
};
pub use connect::{ConnectError, Connected, connect};
pub use driver::Driver;
pub use entropy::Entropy;
pub use handler::{Context, Handler, HandlerError};
pub use net::{Connector, Listener, TcpConnector};
pub use observer::Observer;
pub use timers::Timers;

pub use weirline_connection::{
    Cause, CloseCode, Config, Connection, End, Event, MaskSource, MessageKind, Payload, ProtocolError,
    SendError, Sent,
};
