//! How much memory a piece of work takes, told by an allocator that counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, with books of what each thread has taken and not given back.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    /// Below zero when a thread gives back what another one took.
    static TAKEN: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// The most that was taken at a time while `work` ran on this thread, in bytes.
pub(crate) fn most_taken(work: impl FnOnce()) -> usize {
    let before = TAKEN.get();
    MOST.set(before);
    work();
    MOST.get().saturating_sub(before).unsigned_abs()
}

fn count(change: isize) {
    let taken = TAKEN.get() + change;
    TAKEN.set(taken);
    MOST.set(MOST.get().max(taken));
}

/// No allocation is larger than `isize::MAX`.
fn size(bytes: usize) -> isize {
    bytes.cast_signed()
}

// SAFETY: everything is done by the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(size(layout.size()));
        // SAFETY: as promised to this function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(size(layout.size()));
        // SAFETY: as promised to this function.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-size(layout.size()));
        // SAFETY: as promised to this function.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(size(new_size) - size(layout.size()));
        // SAFETY: as promised to this function.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[test]
fn the_most_that_was_taken_is_counted_and_not_what_is_left() {
    let most = most_taken(|| {
        drop(vec![1_u8; 10_000]);
        drop(vec![1_u8; 30_000]);
    });
    assert!((30_000..40_000).contains(&most), "{most}");
}
