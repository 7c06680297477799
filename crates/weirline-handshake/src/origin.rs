//! The Origin of a page (RFC 6454), parsed once and compared as (scheme, host, port).

use std::fmt;

use crate::host::{Authority, Host, HostError};

/// Where a browser's page came from: the parsed value of an `Origin` field (RFC 6454 §7, RFC 6455 §10.2).
///
/// Two origins are equal when scheme, host and effective port are: `https://Good.example:443` equals
/// `https://good.example`. Nothing is matched by prefix, suffix or substring.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// `null`: a sandboxed frame, a `data:` or `file:` page. Anybody can produce it, so it identifies nobody.
    Null,
    /// An origin with scheme, host and port.
    Tuple(OriginTuple),
}

/// The three parts by which origins are compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OriginTuple {
    scheme: String,
    host: Host,
    /// The effective port; `None` only for schemes without a default port, when none was written.
    port: Option<u16>,
}

/// A text is not an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OriginError {
    /// There is no `scheme://` in front.
    #[error("the origin has no scheme: write it as https://host or https://host:port")]
    Scheme,
    /// Something follows the host and port: a path, a query, even a lone slash.
    #[error("the origin has something behind the host: remove the path, the query and the last slash")]
    Trailing,
    /// The host or the port is wrong.
    #[error("the origin is malformed: {0}")]
    Host(#[from] HostError),
}

impl Origin {
    /// Parses the value of an `Origin` field, or an entry of an allow-list.
    ///
    /// # Errors
    /// [`OriginError`] for anything but `null` or one `scheme://host[:port]`: several origins, user info, a path, a
    /// shorthand IPv4 address, characters outside ASCII.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        if text == "null" {
            return Ok(Self::Null);
        }
        let (scheme, authority) = text.split_once("://").ok_or(OriginError::Scheme)?;
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
        if !is_scheme {
            return Err(OriginError::Scheme);
        }
        if authority.contains(['/', '?', '#', '\\']) {
            return Err(OriginError::Trailing);
        }
        let authority = Authority::parse(authority)?;
        let scheme = scheme.to_ascii_lowercase();
        let port = authority.port().or_else(|| default_port(&scheme));
        Ok(Self::Tuple(OriginTuple {
            scheme,
            host: authority.host().clone(),
            port,
        }))
    }
}

/// Shows the serialised form (RFC 6454 §6.2): lower case, without the scheme's default port.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Tuple(tuple) => write!(f, "{tuple}"),
        }
    }
}

impl OriginTuple {
    /// The scheme, lower case.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The effective port: the one written, else the scheme's default (80 for `http`, 443 for `https`).
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    pub(crate) fn with_scheme(self, scheme: &str) -> Self {
        Self {
            scheme: scheme.to_owned(),
            ..self
        }
    }
}

impl fmt::Display for OriginTuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        match self.port {
            Some(port) if default_port(&self.scheme) != Some(port) => write!(f, ":{port}"),
            _ => Ok(()),
        }
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_part_that_is_wrong() {
        let check = |input: &str, expect: OriginError| {
            assert_eq!(Origin::parse(input), Err(expect), "{input:?}");
        };
        check("", OriginError::Scheme);
        check("good.example", OriginError::Scheme);
        check("://good.example", OriginError::Scheme);
        check("1http://good.example", OriginError::Scheme);
        check("ht tp://good.example", OriginError::Scheme);
        check("https://good.example/", OriginError::Trailing);
        check("https://good.example/x", OriginError::Trailing);
        check("https://good.example?x", OriginError::Trailing);
        check("https://good.example#x", OriginError::Trailing);
        check("https://good.example\\x", OriginError::Trailing);
        check("https://", OriginError::Host(HostError::Empty));
        check("https://a@b", OriginError::Host(HostError::Character));
        check("https://a:0", OriginError::Host(HostError::Port));
    }

    #[test]
    fn origins_are_shown_in_their_serialised_form() {
        let check = |input: &str, expect: &str| {
            assert_eq!(
                Origin::parse(input).map(|origin| origin.to_string()).as_deref(),
                Ok(expect)
            );
        };
        check("null", "null");
        check("HTTPS://Good.Example:443", "https://good.example");
        check("http://good.example:443", "http://good.example:443");
        check("https://[::0001]:8443", "https://[::1]:8443");
        check("chrome-extension://abcdef", "chrome-extension://abcdef");
    }
}
