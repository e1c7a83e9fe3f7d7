//! Inspects the data folder before the host opens it, and logs the findings.

use std::{fs, path::Path};

use super::{migrate::Schema, open};

/// Bytes of the header of SQLite's log and of each frame's header (<https://sqlite.org/fileformat2.html#walformat>).
const LOG_HEADER: u64 = 32;
const FRAME_HEADER: u64 = 24;

/// Bytes of the header of the log's index, and the version of that format.
const INDEX_HEADER: usize = 48;
const INDEX_VERSION: u32 = 3_007_000;

/// The state of the files before anything is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    database_bytes: u64,
    log_bytes: u64,
    /// Frames that the log's index counts but the log does not contain.
    missing_frames: u64,
}

/// Inspects the files of a data folder.
pub(super) fn look(data_dir: &Path) -> Found {
    let [database, log, index] = open::files(data_dir);
    let length = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    let log_bytes = length(&log);
    Found {
        database_bytes: length(&database),
        log_bytes,
        missing_frames: fs::read(index).map_or(0, |index| missing_frames(&index, log_bytes)),
    }
}

/// Compares the log with its index, which a host that crashed leaves behind. The index begins with the same header
/// twice: its version as 32 bits, the page size as 16 bits at offset 14, the number of frames as 32 bits at offset 16,
/// in the machine's byte order (<https://sqlite.org/walformat.html#the_wal_index_file_format>). A damaged or
/// half-written index yields zero.
fn missing_frames(index: &[u8], log_bytes: u64) -> u64 {
    let Some((header, copy)) = index
        .first_chunk::<{ 2 * INDEX_HEADER }>()
        .map(|both| both.split_at(INDEX_HEADER))
    else {
        return 0;
    };
    if header != copy || header[..4] != INDEX_VERSION.to_ne_bytes() {
        return 0;
    }
    let page = u64::from(u16::from_ne_bytes([header[14], header[15]]));
    let counted = u64::from(u32::from_ne_bytes([header[16], header[17], header[18], header[19]]));
    // 65,536 does not fit into 16 bits and is stored as 1.
    let page = if page == 1 { 65_536 } else { page };
    if page == 0 {
        return 0;
    }
    let there = log_bytes.saturating_sub(LOG_HEADER) / (page + FRAME_HEADER);
    counted.saturating_sub(there)
}

impl Found {
    /// Logs the findings. Called once the database is known to be usable.
    pub(super) fn report(&self, schema: &Schema) {
        let Self {
            database_bytes,
            log_bytes,
            missing_frames,
        } = *self;
        if missing_frames > 0 {
            tracing::error!(
                missing_frames,
                "the end of the database's log is missing: the last writes may be lost; was the folder copied while \
                 a host was running? `windlass backup` makes complete copies"
            );
        }
        match *schema {
            Schema { before: 0, now } => tracing::info!(schema = now, "created a new database"),
            Schema { before, now } if before < now => {
                tracing::info!(
                    from = before,
                    to = now,
                    database_bytes,
                    "migrated the database to a newer schema"
                );
            }
            Schema { now, .. } => tracing::info!(schema = now, database_bytes, "opened the database"),
        }
        if log_bytes > 0 {
            tracing::info!(
                log_bytes,
                "recovered the log of the previous run, which did not shut down cleanly"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_shorter_than_its_index_is_detected() {
        let mut header = [0; INDEX_HEADER];
        header[..4].copy_from_slice(&INDEX_VERSION.to_ne_bytes());
        header[14..16].copy_from_slice(&4_096_u16.to_ne_bytes());
        header[16..20].copy_from_slice(&10_u32.to_ne_bytes());
        let index = [&header[..], &header[..], &[0; 40]].concat();
        let frames = |number: u64| LOG_HEADER + number * (4_096 + FRAME_HEADER);
        assert_eq!(missing_frames(&index, frames(10)), 0);
        // The log starts over in a file that was longer.
        assert_eq!(missing_frames(&index, frames(400)), 0);
        assert_eq!(missing_frames(&index, frames(10) - 1), 1);
        assert_eq!(missing_frames(&index, 0), 10);
        assert_eq!(missing_frames(&index[..10], 0), 0);
    }

    #[test]
    fn a_damaged_or_half_written_index_reports_nothing() {
        assert_eq!(missing_frames(&[0; 136], 0), 0);
        assert_eq!(missing_frames(&[0xA5; 136], 0), 0);
        let mut header = [7; INDEX_HEADER];
        header[..4].copy_from_slice(&INDEX_VERSION.to_ne_bytes());
        let mut index = [header, header].concat();
        index[INDEX_HEADER + 16] = 8;
        assert_eq!(missing_frames(&index, 0), 0);
    }
}
