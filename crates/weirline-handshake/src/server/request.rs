//! A valid upgrade request (RFC 6455 §4.2.1), and what makes it valid.

use http::header::{self, HeaderMap, HeaderName};

use super::rejection::{Rejection, RejectionKind as Kind};
use super::response::UpgradeResponse;
use crate::escape::Escaped;
use crate::extension::ExtensionOffer;
use crate::fields::{Single, names_token, single};
use crate::head::{HeadError, header_map, parsed_whole};
use crate::host::Authority;
use crate::key::WebSocketKey;
use crate::origin::Origin;
use crate::subprotocol::Subprotocol;

/// A request that may be answered with 101: everything RFC 6455 §4.2.1 asks for holds.
///
/// Whether it *should* be answered is the application's decision: [`OriginPolicy`](super::OriginPolicy), the path,
/// [`Validate`](super::Validate).
#[derive(Clone, Debug)]
pub struct UpgradeRequest {
    path: String,
    query: Option<String>,
    host: Authority,
    origin: Option<Origin>,
    key: WebSocketKey,
    subprotocols: Vec<Subprotocol>,
    extensions: Vec<ExtensionOffer>,
    headers: HeaderMap,
}

impl UpgradeRequest {
    /// The path as sent: it starts with `/`, is visible ASCII, and is neither decoded nor normalised.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What follows the first `?` of the target, as sent.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// The host and port that the client thinks it speaks to.
    #[must_use]
    pub fn host(&self) -> &Authority {
        &self.host
    }

    /// The page that opened the connection; `None` for clients that are no browsers (RFC 6455 §10.2).
    #[must_use]
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// The client's key.
    #[must_use]
    pub fn key(&self) -> &WebSocketKey {
        &self.key
    }

    /// The offered subprotocols in the client's order of preference, each once.
    #[must_use]
    pub fn subprotocols(&self) -> &[Subprotocol] {
        &self.subprotocols
    }

    /// The offered extensions in the client's order of preference. None is accepted unless the answer names it.
    #[must_use]
    pub fn extensions(&self) -> &[ExtensionOffer] {
        &self.extensions
    }

    /// All header fields, in the order received.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Starts the 101 that accepts this request.
    pub fn accept(&self) -> UpgradeResponse {
        UpgradeResponse::new(self)
    }

    /// Parses a complete head of so many header fields. Checks run from what two parsers could read differently to
    /// what is a mere misunderstanding.
    pub(super) fn parse(head: &[u8], field_count: usize) -> Result<Box<Self>, Rejection> {
        let mut slots = vec![httparse::EMPTY_HEADER; field_count];
        let mut parsed = httparse::Request::new(&mut slots);
        let complete = parsed.parse(head);
        parsed_whole(complete, head.len()).map_err(malformed)?;
        let headers = header_map(parsed.headers).map_err(malformed)?;
        if parsed.version != Some(1) {
            return Err(Rejection::protocol(
                Kind::HttpVersion,
                "the version is not HTTP/1.1: speak HTTP/1.1",
            ));
        }
        if parsed.method != Some("GET") {
            return Err(Rejection::method_not_allowed());
        }
        check_no_body(&headers)?;
        let host = read_host(&headers)?;
        let (path, query) = read_target(parsed.path.unwrap_or_default(), &host)?;
        check_upgrade(&headers)?;
        check_version(&headers)?;
        let key = read_key(&headers)?;
        let subprotocols = read_subprotocols(&headers)?;
        let extensions = read_extensions(&headers)?;
        let origin = read_origin(&headers)?;
        Ok(Box::new(Self {
            path,
            query,
            host,
            origin,
            key,
            subprotocols,
            extensions,
            headers,
        }))
    }
}

/// A head that cannot be read: 431 when it is too large, else 400.
pub(super) fn malformed(error: HeadError) -> Rejection {
    match error {
        HeadError::TooLong(_) | HeadError::TooManyHeaders(_) => Rejection::head_too_large(error.to_string()),
        _ => Rejection::protocol(Kind::Head, error.to_string()),
    }
}

/// A body, or the hint of one, is where request smuggling starts (RFC 9112 §11.2): a handshake has none.
fn check_no_body(headers: &HeaderMap) -> Result<(), Rejection> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        let message = "Transfer-Encoding has no place in an upgrade: send no body";
        return Err(Rejection::protocol(Kind::Body, message));
    }
    match single(headers, &header::CONTENT_LENGTH) {
        Single::Absent => Ok(()),
        Single::One(length) if length == "0" => Ok(()),
        Single::One(_) | Single::Repeated => Err(Rejection::protocol(
            Kind::Body,
            "Content-Length is not one 0: send no body with an upgrade",
        )),
    }
}

/// RFC 6455 §4.2.1 item 2, RFC 9112 §3.2: exactly one `Host`, and a valid one.
fn read_host(headers: &HeaderMap) -> Result<Authority, Rejection> {
    let refuse = |message: String| Rejection::protocol(Kind::Host, message);
    match single(headers, &header::HOST) {
        Single::Absent => Err(refuse("Host is missing: name the host and port".to_owned())),
        Single::Repeated => Err(refuse("Host is there twice: send it once".to_owned())),
        Single::One(value) => {
            let text = value
                .to_str()
                .map_err(|_| refuse("Host is not ASCII: use punycode".to_owned()))?;
            Authority::parse(text).map_err(|error| refuse(format!("Host is malformed: {error}")))
        }
    }
}

/// The origin form, or the absolute form of the same host (RFC 6455 §4.2.1 item 1, RFC 9112 §3.2.2).
fn read_target(target: &str, host: &Authority) -> Result<(String, Option<String>), Rejection> {
    let refuse = |message| Err(Rejection::protocol(Kind::Target, message));
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return refuse("the target has a fragment or a byte outside visible ASCII: percent-encode it");
    }
    let local = match target.split_once("://") {
        _ if target.starts_with('/') => target,
        Some((scheme, rest))
            if ["http", "https", "ws", "wss"]
                .iter()
                .any(|s| s.eq_ignore_ascii_case(scheme)) =>
        {
            let (authority, local) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            if Authority::parse(authority).as_ref() != Ok(host) {
                return refuse("the target names another host than Host: send the path alone");
            }
            local
        }
        _ => return refuse("the target is not a path: start it with /"),
    };
    let (path, query) = match local.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (local, None),
    };
    let path = if path.is_empty() { "/" } else { path };
    Ok((path.to_owned(), query))
}

/// RFC 6455 §4.2.1 items 3 and 4; `h2c` would hand the connection to another protocol behind a proxy's back.
fn check_upgrade(headers: &HeaderMap) -> Result<(), Rejection> {
    if !headers.contains_key(header::UPGRADE) {
        let message = "this is a WebSocket endpoint: ask for it with Upgrade: websocket";
        return Err(Rejection::upgrade_required(message));
    }
    if names_token(headers, &header::UPGRADE, "h2c") || headers.contains_key("http2-settings") {
        return Err(Rejection::protocol(
            Kind::Upgrade,
            "h2c is not served: ask for Upgrade: websocket alone",
        ));
    }
    if !names_token(headers, &header::UPGRADE, "websocket") {
        return Err(Rejection::protocol(
            Kind::Upgrade,
            "Upgrade does not name websocket",
        ));
    }
    if !names_token(headers, &header::CONNECTION, "upgrade") {
        let message = "Connection does not name upgrade: a proxy that is not set up for WebSocket removes it";
        return Err(Rejection::protocol(Kind::Connection, message));
    }
    Ok(())
}

/// RFC 6455 §4.2.1 item 6, §4.2.2 item 4, §4.4, §11.3.5, R2: byte-equal, and exactly once.
fn check_version(headers: &HeaderMap) -> Result<(), Rejection> {
    match single(headers, &header::SEC_WEBSOCKET_VERSION) {
        Single::One(version) if version == "13" => Ok(()),
        Single::Absent | Single::Repeated | Single::One(_) => {
            let message = "Sec-WebSocket-Version is not one 13: speak version 13 (RFC 6455)";
            Err(Rejection::new(
                http::StatusCode::UPGRADE_REQUIRED,
                Kind::Version,
                message,
            ))
        }
    }
}

/// RFC 6455 §4.2.1 item 5, §11.3.1: exactly once.
fn read_key(headers: &HeaderMap) -> Result<WebSocketKey, Rejection> {
    match single(headers, &header::SEC_WEBSOCKET_KEY) {
        Single::Absent => Err(Rejection::protocol(Kind::Key, "Sec-WebSocket-Key is missing")),
        Single::Repeated => Err(Rejection::protocol(Kind::Key, "Sec-WebSocket-Key is there twice")),
        Single::One(value) => WebSocketKey::parse(value.as_bytes())
            .map_err(|error| Rejection::protocol(Kind::Key, error.to_string())),
    }
}

/// RFC 6455 §4.2.1 item 8, §11.3.4: may be spread over several fields, and names at least one (§4.3).
fn read_subprotocols(headers: &HeaderMap) -> Result<Vec<Subprotocol>, Rejection> {
    let mut names = Vec::new();
    for value in texts(headers, &header::SEC_WEBSOCKET_PROTOCOL, Kind::Subprotocol) {
        Subprotocol::read_list(value?, &mut names)
            .map_err(|error| Rejection::protocol(Kind::Subprotocol, error.to_string()))?;
    }
    if names.is_empty() && headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL) {
        let message = "Sec-WebSocket-Protocol names nothing: leave it out";
        return Err(Rejection::protocol(Kind::Subprotocol, message));
    }
    Ok(names)
}

/// RFC 6455 §4.2.1 item 9, §9.1: may be spread over several fields, and names at least one.
fn read_extensions(headers: &HeaderMap) -> Result<Vec<ExtensionOffer>, Rejection> {
    let mut offers = Vec::new();
    for value in texts(headers, &header::SEC_WEBSOCKET_EXTENSIONS, Kind::Extension) {
        ExtensionOffer::read_list(value?, &mut offers)
            .map_err(|error| Rejection::protocol(Kind::Extension, error.to_string()))?;
    }
    if offers.is_empty() && headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
        let message = "Sec-WebSocket-Extensions names nothing: leave it out";
        return Err(Rejection::protocol(Kind::Extension, message));
    }
    Ok(offers)
}

fn texts<'a>(
    headers: &'a HeaderMap,
    name: &'a HeaderName,
    kind: Kind,
) -> impl Iterator<Item = Result<&'a str, Rejection>> {
    let refuse = move |_| Rejection::protocol(kind, format!("{name} has a byte outside visible ASCII"));
    headers
        .get_all(name)
        .iter()
        .map(move |value| value.to_str().map_err(refuse))
}

/// RFC 6455 §4.2.1 item 7, R3: a page's origin that cannot be read is refused whatever the policy is.
fn read_origin(headers: &HeaderMap) -> Result<Option<Origin>, Rejection> {
    let refuse = |message: String| Rejection::new(http::StatusCode::FORBIDDEN, Kind::Origin, message);
    match single(headers, &header::ORIGIN) {
        Single::Absent => Ok(None),
        Single::Repeated => Err(refuse("Origin is there twice: send it once".to_owned())),
        Single::One(value) => {
            let text = value
                .to_str()
                .map_err(|_| refuse("Origin is not ASCII: use punycode".to_owned()))?;
            let origin = Origin::parse(text);
            origin
                .map(Some)
                .map_err(|error| refuse(format!("Origin {} is refused: {error}", Escaped(text))))
        }
    }
}
