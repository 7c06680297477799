//! Which pages may open a connection (R3, RFC 6455 §10.2).

use std::collections::BTreeSet;

use http::{HeaderMap, StatusCode};

use super::negotiate::Validate;
use super::rejection::{Rejection, RejectionKind};
use super::request::UpgradeRequest;
use crate::escape::Escaped;
use crate::origin::{Origin, OriginError, OriginTuple};

/// An allow-list of origins; compared as (scheme, host, port), never by prefix, suffix or substring.
///
/// The default refuses everything, requests without an Origin included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginPolicy {
    listed: BTreeSet<OriginTuple>,
    loopback: bool,
    absent: bool,
    null: bool,
    warnings: Vec<OriginWarning>,
}

/// Collects the settings of an [`OriginPolicy`].
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct OriginPolicyBuilder {
    policy: OriginPolicy,
    error: Option<OriginPolicyError>,
}

/// An entry that was understood, but not as it is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OriginWarning {
    /// The entry has the scheme of the socket, not of the page: browsers send `http` or `https`.
    #[error("the allowed origin {} is taken as {taken}: browsers send the scheme of the page; write {taken}", Escaped(.written))]
    SocketScheme {
        /// The entry as written.
        written: String,
        /// The origin that it stands for.
        taken: Origin,
    },
}

/// An entry of the allow-list is not an origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OriginPolicyError {
    /// The entry cannot be parsed. Wildcards are not supported.
    #[error("the allowed origin {} cannot be used: {error}", Escaped(.written))]
    Malformed {
        /// The entry as written.
        written: String,
        /// What is wrong with it.
        error: OriginError,
    },
    /// The entry is `null`, which anybody can send.
    #[error(
        "the allowed origin null would let every sandboxed page in: it needs the setting unsafe_allow_null"
    )]
    Null,
}

impl OriginPolicy {
    /// Starts from a policy that refuses everything.
    pub fn builder() -> OriginPolicyBuilder {
        OriginPolicyBuilder::default()
    }

    /// Entries that were not taken as they are written; show them when the server starts.
    #[must_use]
    pub fn warnings(&self) -> &[OriginWarning] {
        &self.warnings
    }

    /// Whether a page of this origin may connect; `None` stands for a request without an Origin.
    #[must_use]
    pub fn allows(&self, origin: Option<&Origin>) -> bool {
        match origin {
            None => self.absent,
            Some(Origin::Null) => self.null,
            Some(Origin::Tuple(tuple)) => {
                self.listed.contains(tuple) || (self.loopback && is_loopback_page(tuple))
            }
        }
    }

    /// Judges a request (RFC 6455 §4.2.2 item 4, §10.2).
    ///
    /// # Errors
    /// 403 when the origin is not allowed.
    pub fn check(&self, request: &UpgradeRequest) -> Result<(), Rejection> {
        let origin = request.origin();
        if self.allows(origin) {
            return Ok(());
        }
        let message = match origin {
            None => "a request without Origin is not allowed here".to_owned(),
            Some(origin) => {
                format!("Origin {origin} is not allowed here; the operator can add it to the allow-list")
            }
        };
        Err(Rejection::new(
            StatusCode::FORBIDDEN,
            RejectionKind::Origin,
            message,
        ))
    }
}

impl Validate for OriginPolicy {
    fn validate(&self, request: &UpgradeRequest) -> Result<HeaderMap, Rejection> {
        self.check(request).map(|()| HeaderMap::new())
    }
}

impl OriginPolicyBuilder {
    /// Allows one origin, written `https://host` or `https://host:port`. `wss://…` is taken as `https://…` and
    /// `ws://…` as `http://…`, with a warning. An entry that cannot be used makes [`build`](Self::build) fail.
    pub fn allow(mut self, entry: &str) -> Self {
        match Self::entry(entry) {
            Ok((tuple, warning)) => {
                self.policy.listed.insert(tuple);
                self.policy.warnings.extend(warning);
            }
            Err(error) => self.error = self.error.or(Some(error)),
        }
        self
    }

    /// Allows pages of this machine: `http` and `https` on `localhost`, 127.0.0.0/8 and `[::1]`, any port. For
    /// development: every page served by any program on this machine may then connect.
    pub fn allow_loopback(mut self) -> Self {
        self.policy.loopback = true;
        self
    }

    /// Whether requests without an Origin may connect. Every browser sends one, other programs mostly do not: allow it
    /// only where no cookie authenticates, since a program that lies about Origin needs no browser's cookie.
    pub fn absent(mut self, allowed: bool) -> Self {
        self.policy.absent = allowed;
        self
    }

    /// Whether `Origin: null` may connect. Unsafe: any page can produce it with a sandboxed frame.
    pub fn unsafe_allow_null(mut self, allowed: bool) -> Self {
        self.policy.null = allowed;
        self
    }

    /// The policy.
    ///
    /// # Errors
    /// The first entry that cannot be used.
    pub fn build(self) -> Result<OriginPolicy, OriginPolicyError> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.policy),
        }
    }

    fn entry(entry: &str) -> Result<(OriginTuple, Option<OriginWarning>), OriginPolicyError> {
        let written = || entry.to_owned();
        let tuple = match Origin::parse(entry) {
            Ok(Origin::Tuple(tuple)) => tuple,
            Ok(Origin::Null) => return Err(OriginPolicyError::Null),
            Err(error) => {
                return Err(OriginPolicyError::Malformed {
                    written: written(),
                    error,
                });
            }
        };
        let page_scheme = match tuple.scheme() {
            "wss" => "https",
            "ws" => "http",
            _ => return Ok((tuple, None)),
        };
        let tuple = tuple.with_scheme(page_scheme);
        let warning = OriginWarning::SocketScheme {
            written: written(),
            taken: Origin::Tuple(tuple.clone()),
        };
        Ok((tuple, Some(warning)))
    }
}

fn is_loopback_page(tuple: &OriginTuple) -> bool {
    matches!(tuple.scheme(), "http" | "https") && tuple.host().is_loopback()
}
