//! The heap of a start.
//!
//! A start allocates a few hundred small things, most of which it frees again at once, and after it next to nothing is
//! allocated for as long as the command runs. A heap that keeps books for a long life takes a third of the
//! instructions of a start. So the first memory that is asked for is taken from one piece, one thing behind the other.
//! What does not fit any more goes to the system's heap, and so do threads, of which only helpers have some, as soon as
//! the piece is used up.
//!
//! Of the piece only the last thing can be given back, and nothing is lost by it but the piece itself.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many bytes the piece has. A plain start takes half of them; of what is never taken no page is ever touched.
const ROOM: usize = 32 * 1024;

/// The program's heap: a piece of memory for the start, and the system's heap behind it.
pub struct StartHeap {
    piece: UnsafeCell<MaybeUninit<[u8; ROOM]>>,
    /// How much of it is taken.
    taken: AtomicUsize,
}

// SAFETY: each byte of the piece belongs to the one that has taken it, and what is taken changes in one step.
unsafe impl Sync for StartHeap {}

/// Everything lies as it does in the C library's heap (malloc(3)): libraries lay more into a vector of bytes than bytes. nix
/// does so with the control messages of a socket.
const LEAST: usize = 16;

impl StartHeap {
    /// A piece of which nothing is taken.
    #[must_use]
    pub const fn new() -> StartHeap {
        StartHeap { piece: UnsafeCell::new(MaybeUninit::uninit()), taken: AtomicUsize::new(0) }
    }

    fn base(&self) -> *mut u8 {
        self.piece.get().cast()
    }

    /// Where in the piece this lies, if it does.
    fn place(&self, memory: *mut u8) -> Option<usize> {
        Some(memory.addr().wrapping_sub(self.base().addr())).filter(|place| *place < ROOM)
    }

    /// Takes so much, if there is so much and no other thread takes something at this moment.
    fn take(&self, layout: Layout) -> Option<*mut u8> {
        let taken = self.taken.load(Ordering::Relaxed);
        let base = self.base();
        let gap = base.addr().wrapping_add(taken).wrapping_neg() & (layout.align().max(LEAST) - 1);
        let begin = taken.checked_add(gap)?;
        let end = begin.checked_add(layout.size()).filter(|end| *end <= ROOM)?;
        self.set_taken(taken, end).then(|| base.wrapping_add(begin))
    }

    /// Whether it was so much before.
    fn set_taken(&self, before: usize, now: usize) -> bool {
        self.taken.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl Default for StartHeap {
    fn default() -> StartHeap {
        StartHeap::new()
    }
}

// SAFETY: what is given out of the piece is aligned, overlaps nothing that was given before and not given back, and
// stays where it is; everything else is the system's heap, which is asked only for what it has given.
unsafe impl GlobalAlloc for StartHeap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.take(layout).unwrap_or_else(|| {
            // SAFETY: the caller's own request, with the caller's own promises.
            unsafe { System.alloc(layout) }
        })
    }

    #[inline]
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        match self.place(memory) {
            // Where it is not the last thing it stays taken.
            Some(begin) => drop(self.set_taken(begin + layout.size(), begin)),
            // SAFETY: it is the caller's, and as it is not of the piece it is of the system's heap.
            None => unsafe { System.dealloc(memory, layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some(memory) = self.take(layout) else {
            // SAFETY: as in `alloc`.
            return unsafe { System.alloc_zeroed(layout) };
        };
        // What was given back before is not zero.
        // SAFETY: so much was just taken.
        unsafe { memory.write_bytes(0, layout.size()) };
        memory
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some(begin) = self.place(memory) else {
            // SAFETY: as in `dealloc`.
            return unsafe { System.realloc(memory, layout, size) };
        };
        let end = begin.checked_add(size).filter(|end| *end <= ROOM);
        if end.is_some_and(|end| self.set_taken(begin + layout.size(), end)) || size <= layout.size() {
            return memory;
        }
        // SAFETY: the caller promises that the size is one that a layout can have.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: the caller promises that it is not empty.
        let new = unsafe { self.alloc(wanted) };
        if !new.is_null() {
            // SAFETY: the new one is larger than the old one, and apart from it.
            unsafe { ptr::copy_nonoverlapping(memory, new, layout.size()) };
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Something that was taken from a heap.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Taken {
        memory: *mut u8,
        layout: Layout,
    }

    impl Taken {
        fn new(heap: &StartHeap, size: usize, align: usize) -> Taken {
            let layout = Layout::from_size_align(size, align).unwrap();
            // SAFETY: none of the tests asks for nothing.
            Taken { memory: unsafe { heap.alloc(layout) }, layout }
        }

        fn resized(self, heap: &StartHeap, size: usize) -> Taken {
            // SAFETY: it was taken from this heap, with this layout.
            let memory = unsafe { heap.realloc(self.memory, self.layout, size) };
            Taken { memory, layout: Layout::from_size_align(size, self.layout.align()).unwrap() }
        }

        fn give_back(self, heap: &StartHeap) {
            // SAFETY: as above.
            unsafe { heap.dealloc(self.memory, self.layout) };
        }

        fn fill(self, with: u8) {
            // SAFETY: so much was taken.
            unsafe { self.memory.write_bytes(with, self.layout.size()) };
        }

        /// Whether the first bytes, as many, are these.
        fn holds(self, size: usize, with: u8) -> bool {
            // SAFETY: so much was taken, and was written to.
            unsafe { std::slice::from_raw_parts(self.memory, size) }.iter().all(|byte| *byte == with)
        }

        fn is_of(self, heap: &StartHeap) -> bool {
            heap.place(self.memory).is_some()
        }
    }

    #[test]
    fn each_thing_has_its_own_aligned_place() {
        let heap = StartHeap::new();
        let sizes = [(1, 1), (8, 8), (3, 1), (64, 64), (5, 2), (16, 16)];
        let all = sizes.map(|(size, align)| Taken::new(&heap, size, align));
        for (mark, taken) in (0..).zip(all) {
            assert!(
                taken.is_of(&heap) && taken.memory.addr().is_multiple_of(taken.layout.align().max(LEAST))
            );
            taken.fill(mark);
        }
        assert!((0..).zip(all).all(|(mark, taken)| taken.holds(taken.layout.size(), mark)));
    }

    #[test]
    fn the_last_thing_grows_where_it_is_and_is_given_back() {
        let heap = StartHeap::new();
        let first = Taken::new(&heap, 16, 8);
        first.fill(7);
        let grown = first.resized(&heap, 64);
        assert_eq!(first.memory, grown.memory);
        let second = Taken::new(&heap, 16, 8);
        let moved = grown.resized(&heap, 128);
        assert!(moved.memory != grown.memory && moved.holds(16, 7), "another lies behind it");
        assert_eq!(second.resized(&heap, 4).memory, second.memory);
        moved.give_back(&heap);
        assert_eq!(Taken::new(&heap, 128, 8), moved, "its place is free again");
    }

    #[test]
    fn what_does_not_fit_is_the_systems() {
        let heap = StartHeap::new();
        let large = Taken::new(&heap, ROOM + 1, 8);
        assert!(!large.is_of(&heap));
        large.give_back(&heap);
        let last = Taken::new(&heap, ROOM - 16, 8);
        assert!(last.is_of(&heap));
        last.fill(9);
        let larger = last.resized(&heap, ROOM + 16);
        assert!(!larger.is_of(&heap) && larger.holds(ROOM - 16, 9));
        let larger = larger.resized(&heap, ROOM + 32);
        assert!(larger.holds(ROOM - 16, 9));
        larger.give_back(&heap);
    }

    #[test]
    fn what_is_to_be_zero_is_zero() {
        let heap = StartHeap::new();
        let used = Taken::new(&heap, 256, 8);
        used.fill(0xff);
        used.give_back(&heap);
        for size in [256, ROOM + 1] {
            let layout = Layout::from_size_align(size, 8).unwrap();
            // SAFETY: it is not empty.
            let zeroed = Taken { memory: unsafe { heap.alloc_zeroed(layout) }, layout };
            assert!(zeroed.holds(size, 0));
            zeroed.give_back(&heap);
        }
    }

    #[test]
    fn threads_share_it() {
        let heap = &StartHeap::new();
        let work = |mark: u8| {
            move || {
                for size in 1..200 {
                    let taken = Taken::new(heap, size, 8);
                    taken.fill(mark);
                    std::thread::yield_now();
                    assert!(taken.holds(size, mark));
                    taken.give_back(heap);
                }
            }
        };
        std::thread::scope(|scope| {
            for mark in 1..5 {
                scope.spawn(work(mark));
            }
        });
    }
}
