//! Just enough of Rust's lexer to ask 'does this code name X': comments, strings and test items are blanked,
//! line numbers stay.

use super::Tree;

/// Rust code without comments, string contents and character literals; every newline is kept.
pub(crate) fn without_comments(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => line_end(bytes, at),
            b'/' if bytes[at..].starts_with(b"/*") => block_comment_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' if !follows_word(bytes, at) => raw_string_end(bytes, at).unwrap_or(at),
            b'b' | b'c' if !follows_word(bytes, at) && bytes.get(at + 1) == Some(&b'r') => {
                raw_string_end(bytes, at + 1).unwrap_or(at)
            }
            b'\'' => char_end(bytes, at).unwrap_or(at),
            _ => at,
        };
        if end == at {
            out.push(bytes[at]);
            at += 1;
        } else {
            out.extend(
                bytes[at..end]
                    .iter()
                    .map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }),
            );
            at = end;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..]
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(bytes.len(), |length| at + length)
}

fn block_comment_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0usize;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    while end < bytes.len() {
        match bytes[end] {
            b'\\' => end += 2,
            b'"' => return end + 1,
            _ => end += 1,
        }
    }
    bytes.len()
}

/// `at` is on the `r`; `None` when no raw string begins there.
fn raw_string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let hashes = bytes[at + 1..].iter().take_while(|byte| **byte == b'#').count();
    let open = at + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.resize(hashes + 1, b'#');
    let length = bytes[open + 1..]
        .windows(close.len())
        .position(|window| window == close);
    Some(length.map_or(bytes.len(), |length| open + 1 + length + close.len()))
}

/// `None` for a lifetime.
fn char_end(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at + 1) == Some(&b'\\') {
        let length = bytes[at + 3..].iter().position(|byte| *byte == b'\'')?;
        return Some(at + 3 + length + 1);
    }
    let text = std::str::from_utf8(&bytes[at + 1..(at + 5).min(bytes.len())]);
    let width = match text {
        Ok(text) => text.chars().next()?.len_utf8(),
        Err(error) if error.valid_up_to() > 0 => {
            std::str::from_utf8(&bytes[at + 1..=at + error.valid_up_to()])
                .ok()?
                .chars()
                .next()?
                .len_utf8()
        }
        Err(_) => return None,
    };
    (bytes.get(at + 1 + width) == Some(&b'\'')).then_some(at + 2 + width)
}

fn follows_word(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

/// A word, `::`, or one other character, with its line (from 1) and its place in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'t> {
    pub(crate) text: &'t str,
    pub(crate) line: usize,
    at: usize,
}

/// Cuts code that [`without_comments`] has cleaned.
pub(crate) fn tokens(code: &str) -> Vec<Token<'_>> {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let mut out = Vec::new();
    let mut line = 1;
    let mut rest = code.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        if c == '\n' {
            line += 1;
        } else if word(c) {
            let mut end = at + c.len_utf8();
            while let Some((next, c)) = rest.next_if(|(_, c)| word(*c)) {
                end = next + c.len_utf8();
            }
            out.push(Token {
                text: &code[at..end],
                line,
                at,
            });
        } else if !c.is_whitespace() {
            let mut end = at + c.len_utf8();
            if c == ':' && rest.next_if(|(_, c)| *c == ':').is_some() {
                end += 1;
            }
            out.push(Token {
                text: &code[at..end],
                line,
                at,
            });
        }
    }
    out
}

/// Whether the tokens from `at` on are exactly these.
pub(crate) fn matches_at(tokens: &[Token<'_>], at: usize, pattern: &[&str]) -> bool {
    tokens.len() >= at + pattern.len()
        && pattern
            .iter()
            .zip(&tokens[at..])
            .all(|(want, have)| *want == have.text)
}

/// The index behind the bracket that closes the one at `open`.
fn closing(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return index + 1;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

/// The end of the item that begins at `at`: behind its body, or behind its `;` where braces are no body.
fn item_end(tokens: &[Token<'_>], mut at: usize) -> usize {
    let mut ends_at_semicolon = false;
    while at < tokens.len() {
        match tokens[at].text {
            ";" => return at + 1,
            "{" if !ends_at_semicolon => return closing(tokens, at),
            "(" | "[" | "{" => at = closing(tokens, at),
            word => {
                ends_at_semicolon |= ["use", "static", "type"].contains(&word)
                    || (word == "const" && !is_function(tokens, at));
                at += 1;
            }
        }
    }
    at
}

fn is_function(tokens: &[Token<'_>], at: usize) -> bool {
    tokens[at + 1..].iter().take(3).any(|token| token.text == "fn")
}

/// If an attribute at `at` says `cfg(test)` (alone or in `all(…)`), the index behind the attribute.
fn test_attribute(tokens: &[Token<'_>], at: usize) -> Option<usize> {
    let open = if matches_at(tokens, at, &["#", "["]) {
        at + 1
    } else if matches_at(tokens, at, &["#", "!", "["]) {
        at + 2
    } else {
        return None;
    };
    let end = closing(tokens, open);
    let inside = &tokens[open + 1..end];
    let cfg_test = matches_at(inside, 0, &["cfg", "(", "test", ")"])
        || (matches_at(inside, 0, &["cfg", "(", "all", "("])
            && inside.iter().any(|token| token.text == "test"));
    cfg_test.then_some(end)
}

/// What a file says about tests: its code with test items blanked, and the modules that are tests in files of their own.
pub(crate) struct Shipped {
    pub(crate) code: String,
    test_modules: Vec<String>,
}

/// Blanks everything under `#[cfg(test)]`.
pub(crate) fn shipped(text: &str) -> Shipped {
    let code = without_comments(text);
    let tokens = tokens(&code);
    let mut blanked = code.clone().into_bytes();
    let mut test_modules = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let Some(mut item) = test_attribute(&tokens, at) else {
            at += 1;
            continue;
        };
        let end = if tokens[at + 1].text == "!" {
            tokens.len()
        } else {
            while matches_at(&tokens, item, &["#", "["]) {
                item = closing(&tokens, item + 1);
            }
            item_end(&tokens, item)
        };
        if let Some(name) = module_in_its_own_file(&tokens[item.min(end)..end]) {
            test_modules.push(name.to_owned());
        }
        let last = tokens.get(end).map_or(code.len(), |token| token.at);
        for byte in &mut blanked[tokens[at].at..last] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    Shipped {
        code: String::from_utf8_lossy(&blanked).into_owned(),
        test_modules,
    }
}

fn module_in_its_own_file<'t>(item: &[Token<'t>]) -> Option<&'t str> {
    let module = item.iter().position(|token| token.text == "mod")?;
    (item.get(module + 2)?.text == ";").then(|| item[module + 1].text)
}

/// Rust files below `prefix` that are compiled into what users get: no `tests/`, `benches/`, `examples/`,
/// no file of a `#[cfg(test)] mod`. Yields name and code without comments and tests.
pub(crate) fn shipped_files<'t>(tree: &'t Tree, prefix: &str) -> Vec<(&'t str, String)> {
    let mut test_paths: Vec<String> = Vec::new();
    let mut files = Vec::new();
    for (name, text) in tree.rust().filter(|(name, _)| name.starts_with(prefix)) {
        if ["tests/", "benches/", "examples/"]
            .iter()
            .any(|folder| name.contains(&format!("/{folder}")))
        {
            continue;
        }
        let Shipped { code, test_modules } = shipped(text);
        let folder = module_folder(name);
        test_paths.extend(test_modules.iter().map(|module| format!("{folder}/{module}")));
        files.push((name, code));
    }
    files.retain(|(name, _)| {
        test_paths.iter().all(|path| {
            name.strip_prefix(path.as_str())
                .is_none_or(|rest| rest != ".rs" && !rest.starts_with('/'))
        })
    });
    files
}

/// Where the child modules of a file lie.
fn module_folder(name: &str) -> &str {
    let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
    if ["lib.rs", "main.rs", "mod.rs"].contains(&file) {
        folder
    } else {
        name.trim_end_matches(".rs")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let code = shipped(text).code;
        tokens(&code).iter().map(|token| token.text.to_owned()).collect()
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        let check = |text: &str, expect: &[&str]| assert_eq!(words(text), expect, "{text}");
        check("a // tokio\nb", &["a", "b"]);
        check("/// tokio\n//! tokio\na", &["a"]);
        check("a /* x /* tokio */ y */ b", &["a", "b"]);
        check(r#"a("tokio \" tokio") b"#, &["a", "(", ")", "b"]);
        check(r###"a(r#"tokio " tokio"#) b"###, &["a", "(", ")", "b"]);
        check(r#"a(br"tokio\") b"#, &["a", "(", ")", "b"]);
        check(
            r"f('\'', '\u{41}', 'é', '/', b'x') g",
            &["f", "(", ",", ",", ",", ",", "b", ")", "g"],
        );
        check(
            "fn f<'a>(x: &'a str)",
            &[
                "fn", "f", "<", "'", "a", ">", "(", "x", ":", "&", "'", "a", "str", ")",
            ],
        );
        check("std::net", &["std", "::", "net"]);
        check("for_r\"tokio\"", &["for_r"]);
    }

    #[test]
    fn lines_are_kept() {
        let code = without_comments("/* a\nb */ \"c\nd\"\nx");
        let at = tokens(&code);
        assert_eq!((at[0].text, at[0].line), ("x", 4));
    }

    #[test]
    fn test_items_are_not_shipped() {
        let check = |text: &str, expect: &[&str]| assert_eq!(words(text), expect, "{text}");
        check(
            "a; #[cfg(test)] mod tests { fn f() { tokio } } b;",
            &["a", ";", "b", ";"],
        );
        check("#[cfg(test)]\n#[allow(x)]\nuse tokio::{a, b}; b;", &["b", ";"]);
        check(
            "#[cfg(all(test, unix))] fn f(x: [u8; 3]) { tokio } b;",
            &["b", ";"],
        );
        check("#[cfg(test)] const fn f() { tokio } b;", &["b", ";"]);
        check(
            "#[cfg(test)] pub(crate) const X: T = T { tokio }; b;",
            &["b", ";"],
        );
        check("#![cfg(test)] tokio", &[]);
        check(
            "#[cfg(feature)] a;",
            &["#", "[", "cfg", "(", "feature", ")", "]", "a", ";"],
        );
    }

    #[test]
    fn files_of_test_modules_are_left_out() {
        let tree = Tree::planted(&[
            ("crates/x/src/lib.rs", "#[cfg(test)] mod testing; mod a;"),
            ("crates/x/src/testing.rs", "tokio"),
            ("crates/x/src/testing/deep.rs", "tokio"),
            ("crates/x/src/testing_not.rs", "shipped"),
            ("crates/x/src/a.rs", "#[cfg(test)] mod tests;"),
            ("crates/x/src/a/tests.rs", "tokio"),
            ("crates/x/tests/it.rs", "tokio"),
            ("crates/y/src/lib.rs", "other"),
        ]);
        let names: Vec<&str> = shipped_files(&tree, "crates/x/")
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(
            names,
            [
                "crates/x/src/a.rs",
                "crates/x/src/lib.rs",
                "crates/x/src/testing_not.rs"
            ]
        );
    }
}
