//! What a publisher sends on one connection, by number: the oracle of I5 as it can be seen on the wire.
//!
//! After the server has said `RESUME_FROM:m`, the client's buffer is exactly what is above m. So the first message is m + 1,
//! each further one is the next, and only a refused number comes again.

use std::cell::Cell;

/// The numbers of one connection.
#[derive(Debug, Default)]
pub struct Numbering {
    /// What the server has said that it has.
    count: Cell<Option<u64>>,
    /// The last number that the client has sent.
    last: Cell<Option<u64>>,
    /// The last number that the server has refused.
    refused: Cell<Option<u64>>,
}

impl Numbering {
    /// The server has sent a message that begins so.
    pub fn server_said(&self, message: &[u8]) {
        if let Some(count) = message.strip_prefix(b"RESUME_FROM:") {
            self.count.set(number(count).map(|(count, _)| count));
        } else if let Some(error) = message.strip_prefix(b"ERROR:") {
            let behind_code = error
                .iter()
                .position(|byte| *byte == b':')
                .map(|at| &error[at + 1..]);
            if let Some((refused, _)) = behind_code.and_then(number) {
                self.refused.set(Some(refused));
            }
        }
    }

    /// The client has sent a message that begins so. Says whether it is the first of a connection on which the server had some
    /// before: there the buffer shows.
    ///
    /// # Errors
    ///
    /// What the number should have been.
    pub fn client_said(&self, message: &[u8]) -> Result<bool, String> {
        let Some((sent, b':')) = number(message) else {
            return Ok(false);
        };
        let Some(count) = self.count.get() else {
            return Err(format!("{sent} was published before the server said what it has"));
        };
        let before = self.last.replace(Some(sent));
        let next = before.unwrap_or(count) + 1;
        if sent != next && self.refused.take() != Some(sent) {
            return Err(format!(
                "{sent} was published where {next} is next (the server has {count})"
            ));
        }
        Ok(before.is_none() && count > 0)
    }
}

/// The number at the front, and the byte behind it (0 at the end).
fn number(text: &[u8]) -> Option<(u64, u8)> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value = std::str::from_utf8(&text[..digits]).ok()?.parse().ok()?;
    Some((value, text.get(digits).copied().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages of both sides: `<` from the server, `>` from the client. The last one's verdict counts.
    fn check(talk: &[&str], expect: Result<bool, ()>) {
        let numbering = Numbering::default();
        let mut verdict = Ok(false);
        for message in talk {
            match message.split_at(1) {
                ("<", said) => numbering.server_said(said.as_bytes()),
                (_, said) => verdict = numbering.client_said(said.as_bytes()),
            }
        }
        assert_eq!(verdict.map_err(drop), expect, "{talk:?}");
    }

    #[test]
    fn the_buffer_begins_above_the_count_and_has_no_holes() {
        check(&["<RESUME_FROM:0", ">1:a"], Ok(false));
        check(&["<RESUME_FROM:7", ">8:a"], Ok(true));
        check(&["<RESUME_FROM:7", ">8:a", ">9:b"], Ok(false));
        check(&["<RESUME_FROM:7", ">7:acknowledged"], Err(()));
        check(&["<RESUME_FROM:7", ">9:a hole"], Err(()));
        check(&["<RESUME_FROM:7", ">8:a", ">10:a hole"], Err(()));
        check(&["<RESUME_FROM:7", ">8:a", ">8:again"], Err(()));
        check(&[">1:too early"], Err(()));
        check(&["<RESUME_FROM:0", ">ACK:3", ">1:a"], Ok(false));
    }

    #[test]
    fn a_refused_number_comes_again_once() {
        let refused = ["<RESUME_FROM:0", ">1:a", ">2:b", "<ERROR:too-large:1:why", ">1:c"];
        check(&refused, Ok(false));
        check(&[&refused[..], &[">2:b"]].concat(), Ok(false));
        check(&[&refused[..], &[">1:d"]].concat(), Err(()));
    }
}
