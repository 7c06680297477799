//! WebSocket URLs (RFC 6455 §3).

use std::fmt;
use std::str::FromStr;

use crate::host::{Authority, Host, HostError};

/// `ws://host[:port]/path?query` or its `wss` form, parsed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WsUrl {
    secure: bool,
    host: Host,
    /// The effective port, so that two spellings of one URL are equal.
    port: u16,
    path_and_query: String,
}

/// A text is not a WebSocket URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WsUrlError {
    /// The scheme is not `ws` or `wss`.
    #[error("the URL does not start with ws:// or wss://: replace http by ws, https by wss")]
    Scheme,
    /// There is user info in front of the host.
    #[error("the URL has a user or a password: send credentials in a header")]
    UserInfo,
    /// The host or the port is wrong.
    #[error("the URL is malformed: {0}")]
    Host(#[from] HostError),
    /// There is a fragment (RFC 6455 §3: they MUST NOT be used).
    #[error("the URL has a fragment: remove # and what follows it, or write %23")]
    Fragment,
    /// The path or query has a space, a control or a character outside ASCII.
    #[error("the URL's path has a space or a character outside ASCII: percent-encode it")]
    Path,
}

impl WsUrl {
    /// Parses a URL (RFC 6455 §3, §4.1 item 1). Path and query are kept as written, `/` when there is none. What is not ASCII is
    /// refused: who has such a URL converts it (RFC 6455 §11.1.1, §11.1.2).
    ///
    /// # Errors
    /// [`WsUrlError`] says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, WsUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(WsUrlError::Scheme)?;
        let secure = match scheme {
            _ if scheme.eq_ignore_ascii_case("ws") => false,
            _ if scheme.eq_ignore_ascii_case("wss") => true,
            _ => return Err(WsUrlError::Scheme),
        };
        let (authority, local) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(WsUrlError::UserInfo);
        }
        let authority = Authority::parse(authority)?;
        if local.contains('#') {
            return Err(WsUrlError::Fragment);
        }
        if !local.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(WsUrlError::Path);
        }
        let slash = if local.starts_with('/') { "" } else { "/" };
        Ok(Self {
            secure,
            host: authority.host().clone(),
            port: authority.port().unwrap_or(default_port(secure)),
            path_and_query: format!("{slash}{local}"),
        })
    }

    /// Whether the scheme is `wss`, so TLS lies below.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The host as resolvers and TLS want it: IPv6 without brackets.
    #[must_use]
    pub fn dial_host(&self) -> String {
        match &self.host {
            Host::V6(address) => address.to_string(),
            host => host.to_string(),
        }
    }

    /// The port to dial: the one written, else 80 or 443.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path and, behind `?`, the query: the request's target.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        &self.path_and_query
    }

    /// The value of `Host`: the port is left out when it is the scheme's default (RFC 6455 §4.1 item 4).
    pub(super) fn host_field(&self) -> String {
        let port = Some(self.port).filter(|port| *port != default_port(self.secure));
        Authority::new(self.host.clone(), port).to_string()
    }
}

impl FromStr for WsUrl {
    type Err = WsUrlError;

    fn from_str(text: &str) -> Result<Self, WsUrlError> {
        Self::parse(text)
    }
}

impl fmt::Display for WsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "wss" } else { "ws" };
        write!(f, "{scheme}://{}{}", self.host_field(), self.path_and_query)
    }
}

fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}
