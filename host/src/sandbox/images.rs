//! Chooses which initial memories of a module get an image.
//!
//! New instances map an image copy-on-write, so they share the pages that they do not write. Without an image, the data is
//! copied into every instance. The compiler creates an image if at least half of it is data, or if it is smaller than a
//! limit. The limit applies to a whole component and is only used at compile time, so this module chooses it from the
//! component's bytes. Two cases matter: interpreters contain a snapshot of their heap, which is scattered (a third of
//! SpiderMonkey's is data) and should have an image; and a module of a hundred bytes must not become an image of many
//! megabytes, on disk and in the host's memory.

use std::collections::BTreeMap;

use wasmparser::{Data, DataKind, Operator, Parser, Payload};

/// Images smaller than this, in bytes, are always created. Rust programs have some hundred kilobytes of data.
const ALWAYS_BYTES: u64 = 1 << 20;

/// Images up to this many times the size of their data are created.
const MOST_PER_DATA: u64 = 4;

/// Images larger than this, in bytes, are only created if at least half of them is data.
const MOST_BYTES: u64 = 64 << 20;

/// The data of one memory: its size in bytes, and the range from the first byte to the last.
#[derive(Debug)]
struct Extent {
    data: u64,
    start: u64,
    end: u64,
}

impl Extent {
    const EMPTY: Self = Self {
        data: 0,
        start: u64::MAX,
        end: 0,
    };

    fn add(&mut self, start: u64, data: u64) {
        self.data += data;
        self.start = self.start.min(start);
        self.end = self.end.max(start + data);
    }

    fn span(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    fn may_have_image(&self) -> bool {
        let span = self.span();
        span < ALWAYS_BYTES || span <= self.data.saturating_mul(MOST_PER_DATA)
    }
}

/// The size in bytes below which the compiler creates an image of a memory of this component even if it is mostly empty.
///
/// A memory that is too sparse for an image lowers the size for all memories of the component.
pub(super) fn dense_image_bytes(component: &[u8]) -> u64 {
    let extents = extents(component);
    let (dense, sparse): (Vec<_>, Vec<_>) = extents.iter().partition(|extent| extent.may_have_image());
    let wanted = dense.iter().map(|extent| extent.span() + 1).max().unwrap_or(0);
    let too_sparse = sparse.iter().map(|extent| extent.span()).min().unwrap_or(u64::MAX);
    wanted.min(too_sparse).clamp(ALWAYS_BYTES, MOST_BYTES)
}

/// The data of each memory of each core module. Unreadable parts are skipped: they do not compile either.
fn extents(component: &[u8]) -> Vec<Extent> {
    let mut extents = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        let Ok(Payload::DataSection(section)) = payload else {
            continue;
        };
        let mut memories = BTreeMap::new();
        for segment in section.into_iter().flatten() {
            if let Some((memory, start)) = place(&segment) {
                let data = segment.data.len() as u64;
                memories.entry(memory).or_insert(Extent::EMPTY).add(start, data);
            }
        }
        extents.extend(memories.into_values());
    }
    extents
}

/// The memory and address to which a segment is written at the start. `None` if the compiler does not know the address;
/// such a memory gets no image.
fn place(segment: &Data<'_>) -> Option<(u32, u64)> {
    let DataKind::Active {
        memory_index,
        offset_expr,
    } = &segment.kind
    else {
        return None;
    };
    match offset_expr.get_operators_reader().read().ok()? {
        Operator::I32Const { value } => Some((*memory_index, u64::from(value.cast_unsigned()))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A core module with `data` bytes, of which the last is at the end of the span and the others are at its start.
    fn spread(data: usize, span: usize) -> String {
        format!(
            r#"(core module (memory {}) (data (i32.const 0) "{}") (data (i32.const {}) "z"))"#,
            span.div_ceil(64 << 10),
            "a".repeat(data - 1),
            span - 1
        )
    }

    fn chosen(modules: &[String]) -> u64 {
        dense_image_bytes(&wat::parse_str(format!("(component {})", modules.concat())).unwrap())
    }

    #[test]
    fn an_image_may_have_four_times_the_size_of_its_data() {
        const DATA: usize = 512 << 10;
        assert_eq!(chosen(&[spread(DATA, 4 * DATA)]), 4 * DATA as u64 + 1);
        assert_eq!(chosen(&[spread(DATA, 4 * DATA + 1)]), ALWAYS_BYTES);
        assert_eq!(chosen(&[spread(DATA, DATA)]), ALWAYS_BYTES);
        assert_eq!(chosen(&[]), ALWAYS_BYTES);
        assert_eq!(chosen(&[spread(17 << 20, 65 << 20)]), MOST_BYTES);
    }

    #[test]
    fn a_sparse_memory_gets_no_image_because_another_is_large() {
        let dense = || spread(1 << 20, 4 << 20);
        assert_eq!(chosen(&[dense(), spread(2, 2 << 20)]), 2 << 20);
        assert_eq!(
            chosen(&[spread(2, 1000), dense()]),
            (4 << 20) + 1,
            "small enough for an image"
        );
        assert_eq!(chosen(&[dense(), spread(2, 32 << 20)]), (4 << 20) + 1);
        // Memories of the same module are treated separately.
        let both = r#"(core module (memory 64) (memory 64) (data (i32.const 0) "a") (data (i32.const 3145727) "b")
            (data (memory 1) (i32.const 0) "a"))"#;
        assert_eq!(chosen(&[both.to_owned(), dense()]), 3 << 20);
    }

    #[test]
    fn data_that_is_written_later_does_not_count() {
        let passive = format!(
            r#"(core module (memory 64) (data "{}") (data (i32.const 0) "a") (data (i32.const 3145727) "b"))"#,
            "x".repeat(1 << 20)
        );
        assert_eq!(chosen(&[passive, spread(1 << 20, 4 << 20)]), 3 << 20);
    }
}
