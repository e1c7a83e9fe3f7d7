//! [`Incoming`]: a response whose body is streamed.

use std::{fmt, io};

use super::response::Head;
use super::transport;
use crate::block_on::block_on;
use crate::failure::Result;

/// A response whose head has arrived and whose body is streamed. It implements [`Read`](io::Read).
pub struct Incoming {
    head: Head,
    body: transport::Body,
    /// The part of the last chunk that [`Read`](io::Read) has not consumed.
    rest: Vec<u8>,
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("status", &self.head.status)
            .finish_non_exhaustive()
    }
}

impl Incoming {
    pub(crate) fn new(head: Head, body: transport::Body) -> Self {
        Self {
            head,
            body,
            rest: Vec::new(),
        }
    }

    pub(crate) fn into_head(self) -> Head {
        self.head
    }

    /// The status, 200 for example.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// All headers, in the order received.
    pub fn headers(&self) -> &[(String, String)] {
        &self.head.headers
    }

    /// Reads the next bytes of the body; `None` at its end.
    ///
    /// # Errors
    /// `HttpError` if the body is cut off.
    pub fn chunk(&mut self) -> Result<Option<Vec<u8>>> {
        block_on(self.chunk_async())
    }

    /// Like [`chunk`](Self::chunk), for `async` activities.
    ///
    /// # Errors
    /// Like [`chunk`](Self::chunk).
    pub async fn chunk_async(&mut self) -> Result<Option<Vec<u8>>> {
        if !self.rest.is_empty() {
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        self.body.chunk().await
    }
}

impl io::Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            self.rest = self
                .chunk()
                .map_err(|f| io::Error::other(f.into_error()))?
                .unwrap_or_default();
        }
        let count = buffer.len().min(self.rest.len());
        buffer[..count].copy_from_slice(&self.rest[..count]);
        self.rest.drain(..count);
        Ok(count)
    }
}
