//! Who is served, and how many at a time.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::Semaphore;

use super::error::ApiError;

/// Refuses what a page in a browser of this machine could send: one that names its origin, or that reached us under a name of its own
/// (DNS rebinding).
pub(super) async fn from_here(request: Request, next: Next) -> Response {
    if is_from_here(request.headers()) {
        next.run(request).await
    } else {
        ApiError::FOREIGN.into_response()
    }
}

/// Refuses what is too much.
pub(super) async fn admit(State(permits): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let Ok(_permit) = permits.try_acquire() else {
        return ApiError::BUSY.into_response();
    };
    next.run(request).await
}

fn is_from_here(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    !headers.contains_key(header::ORIGIN) && host.to_str().is_ok_and(is_loopback)
}

/// Whether the authority (RFC 9110 §7.2) is this machine's own.
fn is_loopback(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let unbracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    host.eq_ignore_ascii_case("localhost")
        || (unbracketed.unwrap_or(host).parse()).is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_authorities_are_our_own() {
        for own in [
            "localhost",
            "LOCALHOST:7071",
            "127.0.0.1",
            "127.0.0.1:7071",
            "127.9.9.9:1",
            "[::1]",
            "[::1]:7071",
        ] {
            assert!(is_loopback(own), "{own}");
        }
        for foreign in [
            "",
            ":7071",
            "example.com",
            "localhost.example.com",
            "127.0.0.1.nip.io:7071",
            "10.0.0.1",
            "[::2]:7071",
            "localhost:x",
            "127.0.0.1:7071:7071",
        ] {
            assert!(!is_loopback(foreign), "{foreign}");
        }
    }
}
