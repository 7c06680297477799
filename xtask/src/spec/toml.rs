//! Reads as much of TOML as the list of requirements uses: arrays of tables with texts, lists of texts and numbers. The
//! files are written by hand, and this program needs no parser for the rest.

/// One `[[name]]` with what stands below it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: String,
    /// Of its heading, from 1.
    pub(crate) line: usize,
    values: Vec<(String, Value)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Value {
    Text(String),
    List(Vec<String>),
    Number(u64),
}

impl Table {
    /// A text that must be there.
    pub(crate) fn text(&mut self, key: &str) -> Result<String, String> {
        let missing = format!("line {}: [[{}]] has no `{key}`", self.line, self.name);
        self.optional_text(key)?.ok_or(missing)
    }

    pub(crate) fn optional_text(&mut self, key: &str) -> Result<Option<String>, String> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(format!("line {}: `{key}` is no text", self.line)),
        }
    }

    /// A list of texts; empty where it is not there.
    pub(crate) fn list(&mut self, key: &str) -> Result<Vec<String>, String> {
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Value::List(list)) => Ok(list),
            Some(_) => Err(format!("line {}: `{key}` is no list", self.line)),
        }
    }

    pub(crate) fn optional_number(&mut self, key: &str) -> Result<Option<u64>, String> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(Some(number)),
            Some(_) => Err(format!("line {}: `{key}` is no number", self.line)),
        }
    }

    /// Whatever nobody asked for is a mistake of whoever wrote it.
    pub(crate) fn end(self) -> Result<(), String> {
        match self.values.first() {
            None => Ok(()),
            Some((key, _)) => Err(format!(
                "line {}: [[{}]] has a `{key}`, which means nothing",
                self.line, self.name
            )),
        }
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        let at = self.values.iter().position(|(known, _)| known == key)?;
        Some(self.values.remove(at).1)
    }
}

/// The tables of a file, in their order.
///
/// # Errors
/// The line that cannot be read.
pub(crate) fn tables(text: &str) -> Result<Vec<Table>, String> {
    let mut tables: Vec<Table> = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let number = index + 1;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("[[").and_then(|rest| rest.strip_suffix("]]")) {
            tables.push(Table {
                name: name.trim().to_owned(),
                line: number,
                values: Vec::new(),
            });
            continue;
        }
        let (key, value) = line
            .split_once('=')
            .ok_or_else(|| format!("line {number}: neither a [[table]] nor `key = value`"))?;
        let value = value_of(value.trim(), &mut lines).map_err(|error| format!("line {number}: {error}"))?;
        let table = tables
            .last_mut()
            .ok_or_else(|| format!("line {number}: a value before any [[table]]"))?;
        let key = key.trim().to_owned();
        if table.values.iter().any(|(known, _)| *known == key) {
            return Err(format!("line {number}: a second `{key}`"));
        }
        table.values.push((key, value));
    }
    Ok(tables)
}

type Lines<'t> = std::iter::Enumerate<std::str::Lines<'t>>;

fn value_of(value: &str, lines: &mut Lines<'_>) -> Result<Value, String> {
    if let Some(rest) = value.strip_prefix("'''") {
        return literal(rest, lines).map(Value::Text);
    }
    if value.starts_with('[') {
        let mut whole = value.to_owned();
        while !whole.ends_with(']') {
            let (_, line) = lines.next().ok_or("a list that does not end")?;
            whole.push_str(line.trim());
        }
        return list(&whole[1..whole.len() - 1]).map(Value::List);
    }
    if value.starts_with('"') {
        let (text, rest) = quoted(value)?;
        return if rest.is_empty() {
            Ok(Value::Text(text))
        } else {
            Err(format!("`{rest}` behind a text"))
        };
    }
    value
        .parse()
        .map(Value::Number)
        .map_err(|_| format!("`{value}` is no text, list or number"))
}

/// A text over several lines in which nothing is escaped; a line break behind the opening quotes does not count.
fn literal(first: &str, lines: &mut Lines<'_>) -> Result<String, String> {
    let mut text = String::new();
    let mut line = first;
    let mut is_first = true;
    loop {
        if let Some((before, behind)) = line.split_once("'''") {
            text.push_str(before);
            return if behind.trim().is_empty() {
                Ok(text)
            } else {
                Err(format!("`{behind}` behind a text"))
            };
        }
        text.push_str(line);
        if !(is_first && line.is_empty()) {
            text.push('\n');
        }
        is_first = false;
        line = lines.next().ok_or("a text that does not end")?.1;
    }
}

fn list(mut inside: &str) -> Result<Vec<String>, String> {
    let mut list = Vec::new();
    loop {
        inside = inside.trim_start_matches([' ', ',']);
        if inside.is_empty() {
            return Ok(list);
        }
        let (text, rest) = quoted(inside)?;
        list.push(text);
        inside = rest;
    }
}

/// The text in quotes at the start, and what stands behind it.
fn quoted(value: &str) -> Result<(String, &str), String> {
    let inside = value
        .strip_prefix('"')
        .ok_or_else(|| format!("`{value}` is not in quotes"))?;
    let mut text = String::new();
    let mut chars = inside.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((text, inside[at + 1..].trim_start())),
            '\\' => match chars.next() {
                Some((_, c @ ('"' | '\\'))) => text.push(c),
                _ => return Err("an escape other than \\\" and \\\\".into()),
            },
            c => text.push(c),
        }
    }
    Err("a text that does not end".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_list_uses_is_read() {
        let text = "# words\n[[row]]\nid = \"5.1-1\"\nplaces = [\"a\", \"b \\\"c\\\"\"]\n\nmore = [\n    \"d\",\n    \"e\",\n]\n\
            [[row.mutant]]\nfind = '''\n  x = \"y\";\n    z\n'''\nwith = ''''''\none = '''a'''\nnumber = 12\n";
        let mut tables = tables(text).unwrap();
        assert_eq!(tables.len(), 2);
        let mut mutant = tables.pop().unwrap();
        let mut row = tables.pop().unwrap();
        assert_eq!((row.name.as_str(), row.line), ("row", 2));
        assert_eq!(row.text("id").unwrap(), "5.1-1");
        assert_eq!(row.list("places").unwrap(), ["a", "b \"c\""]);
        assert_eq!(row.list("more").unwrap(), ["d", "e"]);
        assert_eq!(row.list("absent").unwrap(), [""; 0]);
        assert_eq!(row.optional_text("absent"), Ok(None));
        row.end().unwrap();
        assert_eq!((mutant.name.as_str(), mutant.line), ("row.mutant", 10));
        assert_eq!(mutant.text("find").unwrap(), "  x = \"y\";\n    z\n");
        assert_eq!(mutant.text("with").unwrap(), "");
        assert_eq!(mutant.text("one").unwrap(), "a");
        assert!(mutant.text("number").is_err(), "a number is no text");
        let mut mutant = super::tables("[[a]]\nnumber = 12").unwrap().pop().unwrap();
        assert_eq!(mutant.optional_number("number"), Ok(Some(12)));
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_line() {
        let check = |text: &str, expect: &str| {
            let error = tables(text).unwrap_err();
            assert!(error.starts_with(expect), "{text:?}: {error}");
        };
        check("id = 1", "line 1: a value before");
        check("[[a]]\nid", "line 2: neither");
        check("[[a]]\nid = x", "line 2: `x` is no text");
        check("[[a]]\nid = \"x\" y", "line 2: `y` behind a text");
        check("[[a]]\nid = \"x", "line 2: a text that does not end");
        check("[[a]]\nid = \"\\n\"", "line 2: an escape");
        check("[[a]]\nid = '''x", "line 2: a text that does not end");
        check("[[a]]\nid = [\"x\"", "line 2: a list that does not end");
        check("[[a]]\nid = [x]", "line 2: `x` is not in quotes");
        check("[[a]]\nid = 1\nid = 2", "line 3: a second `id`");
        let table = tables("[[a]]\nid = 1").unwrap().pop().unwrap();
        assert!(table.end().unwrap_err().contains("`id`, which means nothing"));
    }
}
