//! Hosts and authorities, parsed once: what `Host`, `Origin` and `ws://` URLs have in common.

use core::net::{Ipv4Addr, Ipv6Addr};
use std::fmt;

/// A host in canonical form: two equal hosts compare equal, whatever their spelling was.
///
/// Names are lower case ASCII. A trailing dot is kept, because browsers treat `example.org.` as another host than
/// `example.org`. Names outside ASCII must come in punycode (`xn--…`), as browsers send them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Host {
    /// A registered name, lower case.
    Name(String),
    /// An IPv4 address in dotted-decimal form. Shorthands (`127.1`, `0x7f.0.0.1`, `010.0.0.1`) are refused.
    V4(Ipv4Addr),
    /// An IPv6 address, written in brackets; zone identifiers are refused.
    V6(Ipv6Addr),
}

/// A text is not a host, or not a host with a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// There is no host at all.
    #[error("the host is empty: write a name or an address")]
    Empty,
    /// The name holds a character that no host has (user info, percent-encoding, spaces, non-ASCII…).
    #[error("the host has a character that is not allowed: use letters, digits, '-', '_', '.', and punycode")]
    Character,
    /// A label is empty or longer than 63, or the name is longer than 253.
    #[error("the host has an empty or overlong label: names have at most 253 characters, labels 1 to 63")]
    Label,
    /// The name ends in a number, so it is an IPv4 address, but it is not in dotted-decimal form.
    #[error("the host is not a dotted-decimal IPv4 address: write it as 192.0.2.1")]
    Ipv4,
    /// The text in brackets is not an IPv6 address.
    #[error("the host is not an IPv6 address: write it as [2001:db8::1], without a zone")]
    Ipv6,
    /// The port is not a decimal number from 1 to 65535 without leading zeros.
    #[error("the port is not a number from 1 to 65535")]
    Port,
}

impl Host {
    /// Parses a host as it stands in an authority (IPv6 in brackets), without a port. What is not ASCII is refused (RFC 6455
    /// §11.1.1, §11.1.2).
    ///
    /// # Errors
    /// [`HostError`] says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if text.is_empty() {
            return Err(HostError::Empty);
        }
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(HostError::Ipv6)?;
            return inner.parse().map(Self::V6).map_err(|_| HostError::Ipv6);
        }
        if !text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        {
            return Err(HostError::Character);
        }
        let name = text.to_ascii_lowercase();
        let labels = name.strip_suffix('.').unwrap_or(&name);
        if labels.len() > 253
            || labels
                .split('.')
                .any(|label| label.is_empty() || label.len() > 63)
        {
            return Err(HostError::Label);
        }
        let last = labels.rsplit('.').next().unwrap_or(labels);
        if looks_numeric(last) {
            return name.parse().map(Self::V4).map_err(|_| HostError::Ipv4);
        }
        Ok(Self::Name(name))
    }

    /// Whether this is `localhost`, an address of 127.0.0.0/8, or `::1`.
    ///
    /// Names under `.localhost` do not count: not every resolver keeps them on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) => name == "localhost",
            Self::V4(address) => address.is_loopback(),
            Self::V6(address) => address.is_loopback(),
        }
    }
}

/// Shows the host as it stands in an authority: IPv6 in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::V4(address) => write!(f, "{address}"),
            Self::V6(address) => write!(f, "[{address}]"),
        }
    }
}

/// A host and, when one was written, a port: the value of a `Host` field (RFC 9110 §7.2).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Authority {
    host: Host,
    port: Option<u16>,
}

impl Authority {
    /// Parses `host` or `host:port`. User info is refused.
    ///
    /// # Errors
    /// [`HostError`] says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        // The colons inside an IPv6 literal do not separate a port.
        let host_end = match text.strip_prefix('[') {
            Some(inner) => inner.find(']').map(|at| at + 2).ok_or(HostError::Ipv6)?,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (host, port) = text.split_at(host_end);
        let host = Host::parse(host)?;
        let port = match port.strip_prefix(':') {
            Some(digits) => Some(parse_port(digits)?),
            None if port.is_empty() => None,
            None => return Err(HostError::Ipv6),
        };
        Ok(Self { host, port })
    }

    pub(crate) fn new(host: Host, port: Option<u16>) -> Self {
        Self { host, port }
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port, when one was written.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => write!(f, "{}", self.host),
        }
    }
}

fn parse_port(digits: &str) -> Result<u16, HostError> {
    // `u16::from_str` alone would take "+80" and "0080".
    if digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(HostError::Port);
    }
    digits.parse().map_err(|_| HostError::Port)
}

/// Whether the last label makes a browser read the whole name as an IPv4 address (WHATWG URL, "ends in a number").
fn looks_numeric(label: &str) -> bool {
    label.bytes().all(|b| b.is_ascii_digit())
        || label
            .strip_prefix("0x")
            .is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_canonical_or_refused() {
        let check = |input: &str, expect: Result<&str, HostError>| {
            let parsed = Authority::parse(input).map(|authority| authority.to_string());
            assert_eq!(parsed.as_deref().map_err(|error| *error), expect, "{input:?}");
        };
        check("example.org", Ok("example.org"));
        check("EXAMPLE.org:8080", Ok("example.org:8080"));
        check("example.org.", Ok("example.org."));
        check("a_b.example", Ok("a_b.example"));
        check("127.0.0.1:1", Ok("127.0.0.1:1"));
        check("[::1]:65535", Ok("[::1]:65535"));
        check("[0:0:0:0:0:0:0:1]", Ok("[::1]"));
        check("[::FFFF:7f00:1]", Ok("[::ffff:127.0.0.1]"));
        check("", Err(HostError::Empty));
        check(":80", Err(HostError::Empty));
        check("a:", Err(HostError::Port));
        check("a:0", Err(HostError::Port));
        check("a:080", Err(HostError::Port));
        check("a:+80", Err(HostError::Port));
        check("a:65536", Err(HostError::Port));
        check("a:80:90", Err(HostError::Port));
        check("user@a", Err(HostError::Character));
        check("a b", Err(HostError::Character));
        check("a/b", Err(HostError::Character));
        check("%61", Err(HostError::Character));
        check("żółw.example", Err(HostError::Character));
        check("a..b", Err(HostError::Label));
        check(".", Err(HostError::Label));
        check(".a", Err(HostError::Label));
        check("127.1", Err(HostError::Ipv4));
        check("0x7f.0.0.0x1", Err(HostError::Ipv4));
        check("2130706433", Err(HostError::Ipv4));
        check("127.0.0.01", Err(HostError::Ipv4));
        check("127.0.0.1.", Err(HostError::Ipv4));
        check("1.2.3.256", Err(HostError::Ipv4));
        check("[::1", Err(HostError::Ipv6));
        check("[::1]x", Err(HostError::Ipv6));
        check("[fe80::1%eth0]", Err(HostError::Ipv6));
        check("[]", Err(HostError::Ipv6));
        check(&"a".repeat(64), Err(HostError::Label));
        check(&["a"; 130].join("."), Err(HostError::Label));
    }
}
