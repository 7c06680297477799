use std::fmt;

use super::Code;

/// Why a message is not one of the multiplexed forms: what is wrong, and where. The sender is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub struct WireError {
    /// What is wrong.
    pub kind: WireErrorKind,
    /// The field, as `protocol/messages.md` calls it; empty where no field is at fault.
    pub field: &'static str,
}

/// What is wrong with a message: the words of `protocol/messages.md`, section 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireErrorKind {
    /// A text message in the binary form, or a binary one in the JSON form.
    WrongKind,
    /// Not one JSON object.
    NotJson,
    /// JSON that is nested more than 8 deep.
    TooDeep,
    /// No type, or one that this direction does not have.
    UnknownType,
    /// A version other than 1.
    UnsupportedVersion,
    /// A field that must be there is not.
    Missing,
    /// A field, or a sub within a list, occurs twice.
    Duplicate,
    /// A JSON value of another type.
    WrongType,
    /// A number outside the range of its field.
    OutOfRange,
    /// A string, a choice or flags outside what they may be.
    BadValue,
    /// Two fields that exclude each other, or one without the other that it needs.
    Conflict,
    /// A list that is too long.
    TooMany,
    /// The message ends within a field.
    Truncated,
    /// Something stands behind the last field.
    Trailing,
    /// A varint that is longer than it must be.
    NotCanonical,
}

impl WireErrorKind {
    /// The word of the page and of the vectors.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WrongKind => "wrong-kind",
            Self::NotJson => "not-json",
            Self::TooDeep => "too-deep",
            Self::UnknownType => "unknown-type",
            Self::UnsupportedVersion => "unsupported-version",
            Self::Missing => "missing",
            Self::Duplicate => "duplicate",
            Self::WrongType => "wrong-type",
            Self::OutOfRange => "out-of-range",
            Self::BadValue => "bad-value",
            Self::Conflict => "conflict",
            Self::TooMany => "too-many",
            Self::Truncated => "truncated",
            Self::Trailing => "trailing",
            Self::NotCanonical => "not-canonical",
        }
    }

    pub(super) const fn at(self, field: Name) -> WireError {
        WireError {
            kind: self,
            field: field.as_str(),
        }
    }

    pub(super) const fn anywhere(self) -> WireError {
        WireError {
            kind: self,
            field: "",
        }
    }
}

impl WireError {
    /// The code of the REJECT that answers it.
    #[must_use]
    pub const fn code(self) -> Code {
        match self.kind {
            WireErrorKind::UnsupportedVersion => Code::Unsupported,
            _ => Code::BadMessage,
        }
    }
}

impl fmt::Display for WireErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field {
            "" => write!(f, "{}", self.kind),
            field => write!(f, "{}: {field}", self.kind),
        }
    }
}

macro_rules! names {
    ($($name:ident = $word:literal,)*) => {
        /// The fields of all messages.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Name { $($name,)* }

        impl Name {
            pub(super) const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            pub(super) fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$name),)* _ => None }
            }
        }
    };
}

names! {
    Type = "t",
    Version = "v",
    Session = "session",
    Token = "token",
    Attach = "attach",
    Nonce = "nonce",
    Credential = "credential",
    Bytes = "bytes",
    Messages = "messages",
    Subs = "subs",
    Sub = "sub",
    Stream = "stream",
    After = "after",
    Epoch = "epoch",
    From = "from",
    Policy = "policy",
    Keep = "keep",
    Outcome = "outcome",
    Count = "count",
    Hash = "hash",
    Durability = "durability",
    Ttl = "ttl",
    Heartbeat = "heartbeat",
    Size = "size",
    Offset = "offset",
    Head = "head",
    State = "state",
    Code = "code",
    Detail = "detail",
    Prev = "prev",
    Text = "text",
    Binary = "binary",
    Reason = "reason",
    To = "to",
    Common = "common",
    Seq = "seq",
    Retry = "retry",
    Echo = "echo",
    Expires = "expires",
    Deadline = "deadline",
    Url = "url",
    Resumable = "resumable",
    // Only in the binary form.
    Flags = "flags",
    Start = "start",
    Kind = "kind",
    Step = "step",
}
