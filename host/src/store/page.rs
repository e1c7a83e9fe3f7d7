//! Limits how much is read at once, in bytes: a limit in rows is not enough, because a row may have tens of megabytes.

/// The usual limit of a page, in bytes.
const PAGE_BYTES: usize = 8 << 20;

/// The limit of a page that a client gets, in bytes. A page ends when it is reached, and always has at least one item.
pub const ANSWER_BYTES: usize = 4 << 20;

/// How many bytes may still be read.
#[derive(Debug)]
pub(super) struct Page {
    bytes: usize,
}

impl Page {
    /// The approximate overhead of a row in bytes, which matters if there are many small rows.
    pub(super) const ROW_BYTES: usize = 128;

    /// An empty page of the usual size.
    pub(super) fn new() -> Self {
        Self::of(PAGE_BYTES)
    }

    /// An empty page of another size, in bytes.
    pub(super) fn of(bytes: usize) -> Self {
        Self { bytes }
    }

    /// An empty page for a client.
    pub(super) fn for_answer() -> Self {
        Self::of(ANSWER_BYTES)
    }

    /// Counts a row that was read. The first row is always read, whatever its size.
    pub(super) fn read(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Whether to stop reading.
    pub(super) fn is_full(&self) -> bool {
        self.bytes == 0
    }
}
