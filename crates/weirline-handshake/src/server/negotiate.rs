//! What the application decides about a valid request.

use http::HeaderMap;

use super::rejection::{Rejection, RejectionKind};
use super::request::UpgradeRequest;

/// Chooses the first offered subprotocol, in the client's order, that is supported.
///
/// No offer gives `None`: the application decides which protocol is spoken then.
///
/// # Errors
/// 400 when there are offers and all of them are unknown: a client that would not understand the answer should learn
/// it from a status, not from garbage.
pub fn negotiate_subprotocol<'s>(
    request: &UpgradeRequest,
    supported: &[&'s str],
) -> Result<Option<&'s str>, Rejection> {
    let offers = request.subprotocols();
    let chosen = offers
        .iter()
        .find_map(|offer| supported.iter().find(|name| *offer == **name));
    match chosen {
        Some(name) => Ok(Some(name)),
        None if offers.is_empty() => Ok(None),
        None => {
            let supported = if supported.is_empty() {
                "none".to_owned()
            } else {
                supported.join(", ")
            };
            let message = format!("no offered subprotocol is supported here; supported: {supported}");
            Err(Rejection::protocol(RejectionKind::Subprotocol, message))
        }
    }
}

/// The application's own check of a request (R4): it can refuse, and it can add headers to the 101.
///
/// Implemented for closures, and for [`OriginPolicy`](super::OriginPolicy).
pub trait Validate {
    /// Judges the request; returns headers to add to the 101 ([`UpgradeResponse::headers`](super::UpgradeResponse::headers)).
    ///
    /// # Errors
    /// The [`Rejection`] to answer with.
    fn validate(&self, request: &UpgradeRequest) -> Result<HeaderMap, Rejection>;
}

impl<F> Validate for F
where
    F: Fn(&UpgradeRequest) -> Result<HeaderMap, Rejection>,
{
    fn validate(&self, request: &UpgradeRequest) -> Result<HeaderMap, Rejection> {
        self(request)
    }
}
