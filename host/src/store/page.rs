//! How much is read at once: rows are counted, and so are their bytes, because a row may have some tens of megabytes.

/// Bytes after which no further row is read.
const PAGE_BYTES: usize = 8 << 20;

/// What may still be read.
#[derive(Debug)]
pub(super) struct Page {
    bytes: usize,
}

impl Page {
    /// Nothing read yet.
    pub(super) fn new() -> Self {
        Self { bytes: PAGE_BYTES }
    }

    /// Counts a row. The first is always read.
    pub(super) fn read(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Whether no further row is to be read.
    pub(super) fn is_full(&self) -> bool {
        self.bytes == 0
    }
}
