//! Tokens and comma-separated lists of header fields (RFC 9110 §5.6). Every walk is linear in its input.

/// A byte of a `token` (RFC 9110 §5.6.2).
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    matches!(byte, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`'
        | b'|' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z')
}

/// Whether the whole text is one `token`: not empty, and token bytes only.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// Removes optional whitespace (SP and HTAB only) from both ends.
pub(crate) fn trim_ows(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// The elements of a list without quoted strings; empty elements are skipped (RFC 9110 §5.6.1.2).
pub(crate) fn elements(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(trim_ows)
        .filter(|element| !element.is_empty())
}

/// A reader over one field value: tokens, separators, quoted strings.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { rest: trim_ows(text) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes this separator, with whitespace around it, when it comes next.
    pub(crate) fn take(&mut self, separator: char) -> bool {
        let trimmed = self.rest.trim_start_matches([' ', '\t']);
        let Some(rest) = trimmed.strip_prefix(separator) else {
            return false;
        };
        self.rest = rest.trim_start_matches([' ', '\t']);
        true
    }

    /// Takes the longest token that comes next.
    pub(crate) fn token(&mut self) -> Option<&'a str> {
        let end = self
            .rest
            .bytes()
            .position(|byte| !is_token_byte(byte))
            .unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!token.is_empty()).then_some(token)
    }

    /// Takes a token, or a quoted string whose content is a token once unescaped (RFC 6455 §4.3, §9.1).
    pub(crate) fn token_or_quoted(&mut self) -> Option<String> {
        let Some(quoted) = self.rest.strip_prefix('"') else {
            return self.token().map(str::to_owned);
        };
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        while let Some((index, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &quoted[index + 1..];
                    return is_token(&value).then_some(value);
                }
                '\\' => value.push(chars.next()?.1),
                _ => value.push(c),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_skip_empty_elements() {
        let check = |input: &str, expect: &[&str]| {
            assert_eq!(elements(input).collect::<Vec<_>>(), expect, "{input:?}");
        };
        check("", &[]);
        check(" , ,\t,", &[]);
        check("a", &["a"]);
        check(" a ,b\t, c d ", &["a", "b", "c d"]);
    }

    #[test]
    fn quoted_strings_must_hold_a_token() {
        let check = |input: &str, expect: Option<&str>| {
            assert_eq!(
                Cursor::new(input).token_or_quoted().as_deref(),
                expect,
                "{input:?}"
            );
        };
        check("15", Some("15"));
        check("\"15\"", Some("15"));
        check("\"1\\5\"", Some("15"));
        check("\"\"", None);
        check("\"1 5\"", None);
        check("\"15", None);
        check("\"15\\", None);
        check("\"ą\"", None);
        check("", None);
    }
}
