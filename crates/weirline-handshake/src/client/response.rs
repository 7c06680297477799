//! From bytes to the server's answer (RFC 6455 §4.1, "Once the client's opening handshake has been sent").

use std::time::Duration;

use http::StatusCode;
use http::header::{self, HeaderMap};

use super::error::{HandshakeError, RefusedUpgrade};
use super::request::ClientRequest;
use crate::fields::{Single, names_token, single};
use crate::head::{HeadError, HeadLimits, HeadReader, header_map, parsed_whole};
use crate::key::AcceptKey;
use crate::subprotocol::Subprotocol;

/// Reads the answer to one request from a byte stream, however it is cut.
///
/// ```text
///  Head ──101──▶ done        Head ──100, 102…199──▶ Head (at most INTERIM_MAX times)
///    └───other──▶ Body ──enough, or the end──▶ HandshakeError::Refused
/// ```
#[derive(Debug)]
pub struct ResponseReader {
    limits: HeadLimits,
    accept: AcceptKey,
    offered: Vec<Subprotocol>,
    interim: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    Head(HeadReader),
    Body {
        refused: Box<RefusedUpgrade>,
        wanted: usize,
    },
    Finished,
}

/// What an input has brought.
#[derive(Debug)]
#[must_use]
pub enum ResponseProgress {
    /// The whole input was taken, and the answer goes on.
    NeedMore,
    /// The connection is open.
    Done {
        /// The 101.
        response: Box<ClientResponse>,
        /// How many bytes of *this* input belong to the answer. What lies behind them are frames: feed them to the
        /// connection.
        consumed: usize,
    },
}

/// A valid 101.
#[derive(Clone, Debug)]
pub struct ClientResponse {
    subprotocol: Option<Subprotocol>,
    headers: HeaderMap,
}

impl ClientResponse {
    /// The subprotocol that the server chose; always one of the offered. `None` also when the server ignored all
    /// offers: whether that is acceptable is the application's decision.
    #[must_use]
    pub fn subprotocol(&self) -> Option<&Subprotocol> {
        self.subprotocol.as_ref()
    }

    /// All header fields, in the order received.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }
}

impl ResponseReader {
    /// Bytes of a refusal's body that are kept.
    pub const BODY_PREFIX_MAX: usize = 1024;
    /// Interim answers (1xx other than 101, RFC 9110 §15.2) that are skipped.
    pub const INTERIM_MAX: usize = 8;

    /// A reader for the answer to this request.
    #[must_use]
    pub fn new(limits: HeadLimits, request: &ClientRequest) -> Self {
        Self {
            limits,
            accept: request.key().accept(),
            offered: request.offered_subprotocols().to_vec(),
            interim: 0,
            state: State::Head(HeadReader::new(limits)),
        }
    }

    /// Takes what came from the network.
    ///
    /// # Errors
    /// [`HandshakeError`]: close the connection. A refusal is reported when its body is complete or
    /// [`BODY_PREFIX_MAX`](Self::BODY_PREFIX_MAX) bytes of it have come, so that its reason can be shown.
    ///
    /// # Panics
    /// After `Done` or an error.
    #[inline]
    pub fn handle_input(&mut self, input: &[u8]) -> Result<ResponseProgress, HandshakeError> {
        if let State::Head(reader) = &mut self.state
            && reader.take_plain(input)
        {
            return Ok(ResponseProgress::NeedMore);
        }
        self.take_input(input)
    }

    #[inline(never)]
    fn take_input(&mut self, input: &[u8]) -> Result<ResponseProgress, HandshakeError> {
        let mut at = 0;
        loop {
            let rest = &input[at..];
            match std::mem::replace(&mut self.state, State::Finished) {
                State::Finished => panic!("the reader serves one answer"),
                State::Body { mut refused, wanted } => {
                    let take = rest.len().min(wanted - refused.body_prefix.len());
                    refused.body_prefix.extend_from_slice(&rest[..take]);
                    if refused.body_prefix.len() == wanted {
                        return Err(HandshakeError::Refused(refused));
                    }
                    self.state = State::Body { refused, wanted };
                    return Ok(ResponseProgress::NeedMore);
                }
                State::Head(mut reader) => {
                    let Some(head) = reader.handle_input(rest).map_err(HandshakeError::Head)? else {
                        self.state = State::Head(reader);
                        return Ok(ResponseProgress::NeedMore);
                    };
                    at += head.consumed;
                    let (status, headers) = parse(&head.bytes, reader.field_count())?;
                    if status == StatusCode::SWITCHING_PROTOCOLS {
                        let response = Box::new(self.judge(headers)?);
                        return Ok(ResponseProgress::Done {
                            response,
                            consumed: at,
                        });
                    }
                    self.state = self.after_other_status(status, headers)?;
                }
            }
        }
    }

    /// The peer has closed its side, or the deadline has come: says what that means at this point.
    ///
    /// A refusal whose body is not complete is reported as far as it has come; anything else was
    /// [`ClosedEarly`](HandshakeError::ClosedEarly).
    #[must_use]
    pub fn handle_eof(&mut self) -> HandshakeError {
        match std::mem::replace(&mut self.state, State::Finished) {
            State::Body { refused, .. } => HandshakeError::Refused(refused),
            State::Head(_) | State::Finished => HandshakeError::ClosedEarly,
        }
    }

    /// Whether the server has refused, and only the rest of its body is awaited. At a deadline
    /// [`handle_eof`](Self::handle_eof) then tells more than the deadline does.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self.state, State::Body { .. })
    }

    fn after_other_status(
        &mut self,
        status: StatusCode,
        headers: HeaderMap,
    ) -> Result<State, HandshakeError> {
        if status.is_informational() {
            self.interim += 1;
            if self.interim > Self::INTERIM_MAX {
                return Err(HandshakeError::TooManyInterim);
            }
            return Ok(State::Head(HeadReader::new(self.limits)));
        }
        let wanted = body_wanted(status, &headers);
        let retry_after = retry_after(&headers);
        let refused = RefusedUpgrade {
            status,
            headers,
            retry_after,
            body_prefix: Vec::new(),
        };
        Ok(State::Body {
            refused: Box::new(refused),
            wanted,
        })
    }

    /// RFC 6455 §4.1, items 2 to 6 of what the client must validate; §9.1 and §11.3.2 to §11.3.4 of its fields.
    fn judge(&self, headers: HeaderMap) -> Result<ClientResponse, HandshakeError> {
        match single(&headers, &header::UPGRADE) {
            Single::One(value) if value.as_bytes().eq_ignore_ascii_case(b"websocket") => {}
            Single::Absent | Single::Repeated | Single::One(_) => return Err(HandshakeError::Upgrade),
        }
        if !names_token(&headers, &header::CONNECTION, "upgrade") {
            return Err(HandshakeError::Connection);
        }
        match single(&headers, &header::SEC_WEBSOCKET_ACCEPT) {
            Single::One(value) if value == self.accept.as_str() => {}
            Single::Absent | Single::Repeated | Single::One(_) => return Err(HandshakeError::Accept),
        }
        let has_body = headers.contains_key(header::TRANSFER_ENCODING)
            || headers
                .get_all(header::CONTENT_LENGTH)
                .iter()
                .any(|length| length != "0");
        if has_body {
            return Err(HandshakeError::Body);
        }
        // An empty list names no extension, but it is none either (RFC 6455 §9.1).
        if headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
            return Err(HandshakeError::ExtensionNotOffered);
        }
        let subprotocol = match single(&headers, &header::SEC_WEBSOCKET_PROTOCOL) {
            Single::Absent => None,
            Single::Repeated => return Err(HandshakeError::SubprotocolNotOffered),
            Single::One(value) => {
                let chosen = self.offered.iter().find(|offer| value == offer.as_str());
                Some(chosen.ok_or(HandshakeError::SubprotocolNotOffered)?.clone())
            }
        };
        Ok(ClientResponse { subprotocol, headers })
    }
}

fn parse(head: &[u8], field_count: usize) -> Result<(StatusCode, HeaderMap), HandshakeError> {
    let mut slots = vec![httparse::EMPTY_HEADER; field_count];
    let mut parsed = httparse::Response::new(&mut slots);
    let complete = parsed.parse(head);
    parsed_whole(complete, head.len()).map_err(HandshakeError::Head)?;
    let headers = header_map(parsed.headers).map_err(HandshakeError::Head)?;
    // A refusal may come from an old proxy in HTTP/1.0; a 101 of 1.0 does not exist (RFC 9110 §15.2).
    let code = parsed
        .code
        .filter(|code| *code != 101 || parsed.version == Some(1));
    let status = code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(HandshakeError::Head(HeadError::Syntax(
        "it has no valid status for HTTP/1.1",
    )))?;
    Ok((status, headers))
}

/// How many bytes of body are worth waiting for.
fn body_wanted(status: StatusCode, headers: &HeaderMap) -> usize {
    // A coded body is not text; 204 and 304 have none (RFC 9112 §6.3).
    let unreadable = headers.contains_key(header::TRANSFER_ENCODING)
        || headers.contains_key(header::CONTENT_ENCODING)
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if unreadable {
        return 0;
    }
    match single(headers, &header::CONTENT_LENGTH) {
        Single::One(value) => {
            let length = value.to_str().ok().and_then(|text| text.parse().ok());
            length.unwrap_or(0).min(ResponseReader::BODY_PREFIX_MAX)
        }
        Single::Absent => ResponseReader::BODY_PREFIX_MAX,
        Single::Repeated => 0,
    }
}

/// RFC 9110 §10.2.3, the form in seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let Single::One(value) = single(headers, &header::RETRY_AFTER) else {
        return None;
    };
    let text = value.to_str().ok()?;
    let seconds: u32 = text
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())??;
    Some(Duration::from_secs(u64::from(seconds)))
}
