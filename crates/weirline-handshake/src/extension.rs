//! Extension offers (RFC 6455 §9.1), parsed into typed values.
//!
//! A field that breaks the grammar is the peer's error (400). An offer that keeps the grammar but asks for something
//! impossible is only declined: a client may put a better one behind it (RFC 7692 §5).

use crate::list::Cursor;

/// One offer of `Sec-WebSocket-Extensions`, in the client's order of preference.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExtensionOffer {
    /// `permessage-deflate` with parameters that can be met (RFC 7692 §7.1).
    PermessageDeflate(DeflateOffer),
    /// `permessage-deflate` that must be declined (RFC 7692 §7.1: unknown, repeated or invalid parameter).
    Unacceptable(OfferProblem),
    /// An extension that is not known here; declined.
    Unknown {
        /// Its name, a token.
        name: String,
    },
}

/// The parameters of a `permessage-deflate` offer (RFC 7692 §7.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeflateOffer {
    /// The client asks the server to forget its window after each message (§7.1.1.1).
    pub server_no_context_takeover: bool,
    /// The client says that it may forget its window after each message (§7.1.1.2).
    pub client_no_context_takeover: bool,
    /// The largest window that the server may use (§7.1.2.1).
    pub server_max_window_bits: Option<WindowBits>,
    /// Whether, and up to which size, the server may limit the client's window (§7.1.2.2).
    pub client_max_window_bits: ClientWindow,
}

/// The base-2 logarithm of a window's size: 8 to 15 (RFC 7692 §7.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WindowBits(u8);

/// What a client offers about its own window (RFC 7692 §7.1.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientWindow {
    /// The parameter is absent: the server's answer must not limit the client's window.
    #[default]
    Unlimitable,
    /// The parameter has no value: any limit may be answered.
    Limitable,
    /// The client will not use more than this anyway, and takes a smaller limit.
    AtMost(WindowBits),
}

/// Why an offer of `permessage-deflate` is declined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OfferProblem {
    /// A parameter is not one of RFC 7692 §7.1.
    #[error("permessage-deflate has a parameter that RFC 7692 does not define")]
    UnknownParameter,
    /// A parameter is there twice.
    #[error("permessage-deflate has a parameter twice")]
    RepeatedParameter,
    /// A flag has a value.
    #[error("permessage-deflate has a value behind a parameter that takes none")]
    UnexpectedValue,
    /// A window size is absent where one is needed, or is not a number from 8 to 15.
    #[error("permessage-deflate has a window size that is not a number from 8 to 15")]
    WindowBits,
}

/// A `Sec-WebSocket-Extensions` field cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExtensionError {
    /// The value breaks the grammar of RFC 6455 §9.1.
    #[error("Sec-WebSocket-Extensions is malformed: write name; parameter=value, name…")]
    Malformed,
    /// There are more than [`ExtensionOffer::OFFERS_MAX`] offers or [`ExtensionOffer::PARAMETERS_MAX`] parameters.
    #[error(
        "Sec-WebSocket-Extensions is too long: send at most {} offers of {} parameters",
        ExtensionOffer::OFFERS_MAX,
        ExtensionOffer::PARAMETERS_MAX
    )]
    TooMany,
}

impl ExtensionOffer {
    /// Offers that one request may hold.
    pub const OFFERS_MAX: usize = 16;
    /// Parameters that one offer may hold.
    pub const PARAMETERS_MAX: usize = 16;

    /// Adds the offers of one field value to those read so far, in time linear in the value.
    pub(crate) fn read_list(value: &str, into: &mut Vec<Self>) -> Result<(), ExtensionError> {
        let mut cursor = Cursor::new(value);
        loop {
            while cursor.take(',') {}
            if cursor.is_empty() {
                return Ok(());
            }
            if into.len() == Self::OFFERS_MAX {
                return Err(ExtensionError::TooMany);
            }
            let offer = Self::read(&mut cursor)?;
            into.push(offer);
            if !cursor.is_empty() && !cursor.take(',') {
                return Err(ExtensionError::Malformed);
            }
        }
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ExtensionError> {
        let name = cursor.token().ok_or(ExtensionError::Malformed)?;
        // RFC 6455 names no case rule for extensions; registered names are compared as they are written.
        let mut deflate = (name == "permessage-deflate").then(DeflateReader::default);
        let mut parameters = 0;
        while cursor.take(';') {
            parameters += 1;
            if parameters > Self::PARAMETERS_MAX {
                return Err(ExtensionError::TooMany);
            }
            let parameter = cursor.token().ok_or(ExtensionError::Malformed)?;
            let value = match cursor.take('=') {
                true => Some(cursor.token_or_quoted().ok_or(ExtensionError::Malformed)?),
                false => None,
            };
            if let Some(reader) = &mut deflate {
                reader.parameter(parameter, value.as_deref());
            }
        }
        Ok(match deflate {
            Some(DeflateReader {
                problem: Some(problem),
                ..
            }) => Self::Unacceptable(problem),
            Some(DeflateReader { offer, .. }) => Self::PermessageDeflate(offer),
            None => Self::Unknown {
                name: name.to_owned(),
            },
        })
    }
}

impl WindowBits {
    /// A window of `2^bits` bytes, when `bits` is 8 to 15.
    #[must_use]
    pub const fn new(bits: u8) -> Option<Self> {
        if matches!(bits, 8..=15) {
            Some(Self(bits))
        } else {
            None
        }
    }

    /// The base-2 logarithm of the window's size in bytes.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Parses a decimal number without leading zeros (RFC 7692 §7.1.2.1).
    fn parse(text: &str) -> Option<Self> {
        match text.as_bytes() {
            [digit @ b'8'..=b'9'] => Self::new(digit - b'0'),
            [b'1', digit @ b'0'..=b'5'] => Self::new(10 + digit - b'0'),
            _ => None,
        }
    }
}

#[derive(Default)]
struct DeflateReader {
    offer: DeflateOffer,
    client_window_seen: bool,
    problem: Option<OfferProblem>,
}

impl DeflateReader {
    /// Takes one parameter; the first problem is kept.
    fn parameter(&mut self, name: &str, value: Option<&str>) {
        let taken = match name {
            "server_no_context_takeover" => flag(&mut self.offer.server_no_context_takeover, value),
            "client_no_context_takeover" => flag(&mut self.offer.client_no_context_takeover, value),
            "server_max_window_bits" => self.server_window(value),
            "client_max_window_bits" => self.client_window(value),
            _ => Err(OfferProblem::UnknownParameter),
        };
        self.problem = self.problem.or(taken.err());
    }

    fn server_window(&mut self, value: Option<&str>) -> Result<(), OfferProblem> {
        if self.offer.server_max_window_bits.is_some() {
            return Err(OfferProblem::RepeatedParameter);
        }
        let bits = value
            .and_then(WindowBits::parse)
            .ok_or(OfferProblem::WindowBits)?;
        self.offer.server_max_window_bits = Some(bits);
        Ok(())
    }

    fn client_window(&mut self, value: Option<&str>) -> Result<(), OfferProblem> {
        if std::mem::replace(&mut self.client_window_seen, true) {
            return Err(OfferProblem::RepeatedParameter);
        }
        self.offer.client_max_window_bits = match value {
            None => ClientWindow::Limitable,
            Some(text) => ClientWindow::AtMost(WindowBits::parse(text).ok_or(OfferProblem::WindowBits)?),
        };
        Ok(())
    }
}

fn flag(flag: &mut bool, value: Option<&str>) -> Result<(), OfferProblem> {
    match (std::mem::replace(flag, true), value) {
        (_, Some(_)) => Err(OfferProblem::UnexpectedValue),
        (true, None) => Err(OfferProblem::RepeatedParameter),
        (false, None) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &str) -> Result<Vec<ExtensionOffer>, ExtensionError> {
        let mut offers = Vec::new();
        ExtensionOffer::read_list(input, &mut offers).map(|()| offers)
    }

    #[test]
    fn deflate_offers_are_typed() {
        let check = |parameters: &str, expect: DeflateOffer| {
            let read = read(&format!("permessage-deflate{parameters}"));
            assert_eq!(
                read,
                Ok(vec![ExtensionOffer::PermessageDeflate(expect)]),
                "{parameters:?}"
            );
        };
        let none = DeflateOffer::default();
        let bits = |bits| WindowBits::new(bits).expect("8 to 15");
        let at_most = |n| DeflateOffer {
            client_max_window_bits: ClientWindow::AtMost(bits(n)),
            ..none
        };
        let server = |n| DeflateOffer {
            server_max_window_bits: Some(bits(n)),
            ..none
        };
        check("", none);
        check(
            "; client_max_window_bits",
            DeflateOffer {
                client_max_window_bits: ClientWindow::Limitable,
                ..none
            },
        );
        check("; client_max_window_bits=8", at_most(8));
        check(";client_max_window_bits = \"15\"", at_most(15));
        check("; server_max_window_bits=8", server(8));
        check("; server_max_window_bits=10", server(10));
        check(
            "; server_no_context_takeover",
            DeflateOffer {
                server_no_context_takeover: true,
                ..none
            },
        );
        check(
            "; client_no_context_takeover",
            DeflateOffer {
                client_no_context_takeover: true,
                ..none
            },
        );
    }

    #[test]
    fn deflate_offers_that_cannot_be_met_are_declined() {
        let check = |parameters: &str, expect: OfferProblem| {
            let read = read(&format!("permessage-deflate; {parameters}"));
            assert_eq!(
                read,
                Ok(vec![ExtensionOffer::Unacceptable(expect)]),
                "{parameters:?}"
            );
        };
        for bits in [
            "7",
            "16",
            "0",
            "08",
            "+9",
            "015",
            "1",
            "99",
            "150",
            "18446744073709551624",
            "x",
            "\"16\"",
        ] {
            check(
                &format!("server_max_window_bits={bits}"),
                OfferProblem::WindowBits,
            );
            check(
                &format!("client_max_window_bits={bits}"),
                OfferProblem::WindowBits,
            );
        }
        check("server_max_window_bits", OfferProblem::WindowBits);
        check(
            "server_max_window_bits=9; server_max_window_bits=9",
            OfferProblem::RepeatedParameter,
        );
        check(
            "client_max_window_bits; client_max_window_bits=9",
            OfferProblem::RepeatedParameter,
        );
        check(
            "server_no_context_takeover; server_no_context_takeover",
            OfferProblem::RepeatedParameter,
        );
        check("server_no_context_takeover=1", OfferProblem::UnexpectedValue);
        check("client_no_context_takeover=true", OfferProblem::UnexpectedValue);
        check("mode=fast", OfferProblem::UnknownParameter);
        check("mode; server_max_window_bits=99", OfferProblem::UnknownParameter); // the first problem
    }

    #[test]
    fn lists_keep_their_order_and_have_a_bound() {
        let unknown = |name: &str| ExtensionOffer::Unknown {
            name: name.to_owned(),
        };
        assert_eq!(read(""), Ok(vec![]));
        assert_eq!(read(" , ,"), Ok(vec![]));
        assert_eq!(
            read("foo, bar; baz=2, Permessage-Deflate"),
            Ok(vec![
                unknown("foo"),
                unknown("bar"),
                unknown("Permessage-Deflate"),
            ])
        );
        let offers =
            read("permessage-deflate; server_max_window_bits=99, permessage-deflate").expect("grammatical");
        assert!(matches!(
            offers[..],
            [
                ExtensionOffer::Unacceptable(_),
                ExtensionOffer::PermessageDeflate(_)
            ]
        ));
        let list = |n| vec!["a"; n].join(",");
        assert_eq!(
            read(&list(ExtensionOffer::OFFERS_MAX)).map(|offers| offers.len()),
            Ok(ExtensionOffer::OFFERS_MAX)
        );
        assert_eq!(
            read(&list(ExtensionOffer::OFFERS_MAX + 1)),
            Err(ExtensionError::TooMany)
        );
        let parameters = |n| format!("a{}", "; b".repeat(n));
        assert!(read(&parameters(ExtensionOffer::PARAMETERS_MAX)).is_ok());
        assert_eq!(
            read(&parameters(ExtensionOffer::PARAMETERS_MAX + 1)),
            Err(ExtensionError::TooMany)
        );
    }
}
