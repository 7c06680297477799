//! From bytes to an upgrade request.

use super::rejection::Rejection;
use super::request::{UpgradeRequest, malformed};
use crate::head::{HeadLimits, HeadReader};

/// Reads one upgrade request from a byte stream, however it is cut.
///
/// The reader serves one request: after [`Progress::Done`] or a rejection it is finished.
#[derive(Debug)]
pub struct RequestReader {
    head: Option<HeadReader>,
}

/// What an input has brought.
#[derive(Debug)]
#[must_use]
pub enum Progress {
    /// The whole input was taken, and the head goes on.
    NeedMore,
    /// The head is complete and valid.
    Done {
        /// The request.
        request: Box<UpgradeRequest>,
        /// How many bytes of *this* input belong to the head. What lies behind them (the *residue*) is early data of
        /// the WebSocket connection: keep it, and process it after the 101 has been written.
        consumed: usize,
    },
}

impl RequestReader {
    /// A reader with these limits.
    #[must_use]
    pub fn new(limits: HeadLimits) -> Self {
        Self {
            head: Some(HeadReader::new(limits)),
        }
    }

    /// Takes what came from the network.
    ///
    /// # Errors
    /// [`Rejection`]: write it, ignore everything that follows, and close. It comes as soon as it is certain, so also
    /// in the middle of a head that is too long.
    ///
    /// # Panics
    /// After `Done` or a rejection: what follows a head is not a second request.
    #[inline]
    pub fn handle_input(&mut self, input: &[u8]) -> Result<Progress, Rejection> {
        if let Some(reader) = &mut self.head
            && reader.take_plain(input)
        {
            return Ok(Progress::NeedMore);
        }
        self.take_input(input)
    }

    #[inline(never)]
    fn take_input(&mut self, input: &[u8]) -> Result<Progress, Rejection> {
        let reader = self.head.as_mut().expect("the reader serves one request");
        let head = match reader.handle_input(input) {
            Ok(None) => return Ok(Progress::NeedMore),
            Ok(Some(head)) => Ok(head),
            Err(error) => Err(malformed(error)),
        };
        let field_count = reader.field_count();
        self.head = None;
        let head = head?;
        let request = UpgradeRequest::parse(&head.bytes, field_count)?;
        Ok(Progress::Done {
            request,
            consumed: head.consumed,
        })
    }

    /// Whether no byte has come yet: a peer that leaves then (a health check, a port scan) is no failed handshake.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.head.as_ref().is_some_and(HeadReader::is_untouched)
    }
}
