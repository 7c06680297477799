//! Subprotocols (RFC 6455 §1.9, §4.1 item 10).

use std::fmt;

use crate::list::{elements, is_token};

/// The name of a subprotocol: one token, compared with its case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subprotocol(String);

/// A list of subprotocols is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubprotocolError {
    /// A name is empty or has a character that is not of a token.
    #[error("a subprotocol is not a token: use letters, digits and !#$%&'*+-.^_`|~ only")]
    NotToken,
    /// A name is there twice (RFC 6455 §4.1, item 10: they MUST all be unique).
    #[error("a subprotocol is offered twice: name each once")]
    Repeated,
    /// There are more than [`Subprotocol::OFFERS_MAX`].
    #[error("too many subprotocols are offered: name at most {}", Subprotocol::OFFERS_MAX)]
    TooMany,
}

impl Subprotocol {
    /// Names that one request may offer. More are refused, so that a short head cannot become a long list.
    pub const OFFERS_MAX: usize = 32;

    /// Makes a name from one token.
    ///
    /// # Errors
    /// [`SubprotocolError::NotToken`].
    pub fn new(name: &str) -> Result<Self, SubprotocolError> {
        if is_token(name) {
            Ok(Self(name.to_owned()))
        } else {
            Err(SubprotocolError::NotToken)
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Adds the names of one field value to those read so far.
    pub(crate) fn read_list(value: &str, into: &mut Vec<Self>) -> Result<(), SubprotocolError> {
        for element in elements(value) {
            let name = Self::new(element)?;
            if into.contains(&name) {
                return Err(SubprotocolError::Repeated);
            }
            if into.len() == Self::OFFERS_MAX {
                return Err(SubprotocolError::TooMany);
            }
            into.push(name);
        }
        Ok(())
    }
}

impl fmt::Display for Subprotocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialEq<str> for Subprotocol {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for Subprotocol {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_tokens_each_once() {
        let check = |input: &str, expect: Result<&[&str], SubprotocolError>| {
            let mut names = Vec::new();
            let read = Subprotocol::read_list(input, &mut names);
            let names: Vec<_> = names.iter().map(Subprotocol::as_str).collect();
            assert_eq!(read.map(|()| names.as_slice()), expect, "{input:?}");
        };
        check("", Ok(&[]));
        check("chat, superchat", Ok(&["chat", "superchat"]));
        check("chat,,Chat", Ok(&["chat", "Chat"]));
        check("weirline.attach.AbC_-9", Ok(&["weirline.attach.AbC_-9"]));
        check("chat, chat", Err(SubprotocolError::Repeated));
        check("a b", Err(SubprotocolError::NotToken));
        check("a/b", Err(SubprotocolError::NotToken));
        check("a;b", Err(SubprotocolError::NotToken));
        check("\"a\"", Err(SubprotocolError::NotToken));
        let many: Vec<_> = (0..=Subprotocol::OFFERS_MAX).map(|n| format!("p{n}")).collect();
        check(&many.join(","), Err(SubprotocolError::TooMany));
    }
}
