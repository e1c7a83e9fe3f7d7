//! How much is read at once: rows are counted, and so are their bytes, because a row may have some tens of megabytes.

/// Bytes after which no further row is read.
const PAGE_BYTES: usize = 8 << 20;

/// What may still be read.
#[derive(Debug)]
pub(super) struct Page {
    bytes: usize,
}

impl Page {
    /// About what a row takes beside its content, where rows are small and many.
    pub(super) const ROW_BYTES: usize = 128;

    /// Nothing read yet.
    pub(super) fn new() -> Self {
        Self::of(PAGE_BYTES)
    }

    /// A page of another size.
    pub(super) fn of(bytes: usize) -> Self {
        Self { bytes }
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
