//! A second reading of heads, as plain as RFC 9112 allows: only where it agrees is a head one that nobody can read in two ways.

/// A complete head: its start line and its fields, names in lower case, values without the space around them.
#[derive(Debug)]
pub(crate) struct PlainHead<'a> {
    pub(crate) start: &'a [u8],
    fields: Vec<(String, &'a [u8])>,
}

/// Where the first head in `input` ends.
pub(crate) fn end(input: &[u8]) -> Option<usize> {
    let at = input.windows(4).position(|window| window == b"\r\n\r\n");
    at.map(|at| at + 4)
}

impl<'a> PlainHead<'a> {
    /// Reads a head that was accepted.
    ///
    /// # Panics
    ///
    /// Where it should not have been: a bare CR or LF, a control byte, a folded line, a name that is no token.
    pub(crate) fn read(head: &'a [u8]) -> Self {
        let lines = head
            .strip_suffix(b"\r\n\r\n")
            .expect("a head ends in a blank line");
        let mut lines = split_lines(lines).into_iter();
        let start = lines.next().expect("a start line");
        let fields = lines.map(|line| {
            let colon = line
                .iter()
                .position(|byte| *byte == b':')
                .expect("a colon in each field");
            let (name, value) = (&line[..colon], &line[colon + 1..]);
            let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
            assert!(
                !name.is_empty() && name.iter().all(token),
                "a name that is no token"
            );
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            (name, trim(value))
        });
        Self {
            start,
            fields: fields.collect(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    /// The values of a field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&'a [u8]> {
        let of_name = self.fields.iter().filter(|(field, _)| field == name);
        of_name.map(|(_, value)| *value).collect()
    }

    /// Whether the comma-separated field names a token, whatever its case.
    pub(crate) fn names(&self, field: &str, token: &str) -> bool {
        let values = self.all(field);
        let mut elements = values.iter().flat_map(|value| value.split(|byte| *byte == b','));
        elements.any(|element| trim(element).eq_ignore_ascii_case(token.as_bytes()))
    }

    /// That the message has no body, nor could be taken to have one.
    pub(crate) fn assert_bodiless(&self) {
        assert!(self.all("transfer-encoding").is_empty());
        assert!(self.all("content-length").iter().all(|length| *length == b"0"));
    }
}

fn split_lines(lines: &[u8]) -> Vec<&[u8]> {
    let mut split = Vec::new();
    let mut start = 0;
    for (index, pair) in lines.windows(2).enumerate() {
        if pair == b"\r\n" {
            split.push(&lines[start..index]);
            start = index + 2;
        }
    }
    split.push(&lines[start..]);
    for line in &split {
        let control = line.iter().any(|byte| matches!(byte, 0..=8 | 10..=31 | 127));
        assert!(
            !control && !line.is_empty(),
            "a control byte or an empty line in a head"
        );
        assert!(!matches!(line[0], b' ' | b'\t'), "a folded line");
    }
    split
}

fn trim(value: &[u8]) -> &[u8] {
    let space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !space(byte)).unwrap_or(value.len());
    let end = value
        .iter()
        .rposition(|byte| !space(byte))
        .map_or(start, |at| at + 1);
    &value[start..end]
}
