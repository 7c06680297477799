//! Text from a peer, made safe for a log line, a terminal and an error body.

use std::fmt::{self, Write as _};

/// Shows text of a peer without control, bidi or other invisible characters, on one line and cut to a bound.
///
/// Everything that could start a second log line, colour a terminal, or reorder what a reader sees is written as an
/// escape (`\n`, `\u{202e}`); a backslash is doubled, so that two different texts never look the same. After
/// [`Escaped::CHARS_MAX`] characters of the source comes `…`.
///
/// ```
/// use weirline_handshake::Escaped;
/// assert_eq!(Escaped("/a\r\nlevel=error").to_string(), r"/a\r\nlevel=error");
/// assert_eq!(Escaped("caf\u{e9}").to_string(), "café");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl Escaped<'_> {
    /// Characters of the source that are shown.
    pub const CHARS_MAX: usize = 200;

    /// Whether nothing in this text needs an escape (a backslash alone does not: it may come from one).
    pub(crate) fn is_clean(text: &str) -> bool {
        !text.chars().any(is_hidden)
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, c) in self.0.chars().enumerate() {
            if index == Self::CHARS_MAX {
                return f.write_char('…');
            }
            if c == '\\' || is_hidden(c) {
                // `escape_default` also covers the short forms \t, \r, \n and \\.
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// Characters that change how their neighbours are read: controls, line separators, bidi marks and embeddings,
/// zero-width characters, tags and the byte order mark.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_spelled_out() {
        let check = |input: &str, expect: &str| assert_eq!(Escaped(input).to_string(), expect, "{input:?}");
        check("plain /path?x=1", "plain /path?x=1");
        check("a\nb\r\tc", r"a\nb\r\tc");
        check("\u{1b}[31mred", r"\u{1b}[31mred");
        check("\u{202e}gnp.exe", r"\u{202e}gnp.exe");
        check("zero\u{200b}width", r"zero\u{200b}width");
        check("line\u{2028}sep", r"line\u{2028}sep");
        check("\u{85}\u{7f}\0", r"\u{85}\u{7f}\u{0}");
        check(r"C:\n", r"C:\\n");
        check("żółw 日本", "żółw 日本");
    }

    #[test]
    fn long_text_is_cut() {
        let shown = Escaped(&"x".repeat(10_000)).to_string();
        assert_eq!(shown.chars().count(), Escaped::CHARS_MAX + 1);
        assert!(shown.ends_with('…'));
        assert!(
            !Escaped(&"x".repeat(Escaped::CHARS_MAX))
                .to_string()
                .ends_with('…')
        );
    }
}
