//! Giving back the memory that only the start needed.
//!
//! Reading a command line and preparing a start touch far more code, stack and heap than the loop ever does
//! afterwards, and PID 1 would hold all of it for as long as the container runs.

use std::ffi::c_void;

/// How much of the stack below us is given back at most: far more than a start uses, and well within the 1 MiB that
/// the kernel keeps free of anything else below a stack (`stack_guard_gap`, mm/mmap.c).
const STACK: usize = 256 * 1024;

/// Gives back what the start used and the loop does not: free heap, the stack below the caller, and the pages of the
/// program's own file, of which those that are needed come back from the page cache at the first touch.
///
/// Nothing changes but where the kernel finds the bytes. What it refuses stays as it is.
pub fn give_back() {
    trim_heap();
    let page = page_size();
    drop_stack_below(page);
    drop_program(page);
}

/// Free heap goes back page by page (malloc_trim(3)). Other C libraries do that by themselves.
#[cfg(target_env = "gnu")]
fn trim_heap() {
    /// How much more than is asked for the heap grows by from now on, in bytes. Of the usual 128 KiB nearly all would
    /// be given back at the next free, and asked for again (mallopt(3), `M_TOP_PAD`).
    const MORE: i32 = 16 * 1024;
    // SAFETY: it takes a plain number, and touches free memory alone.
    unsafe { libc::malloc_trim(0) };
    // SAFETY: both are plain numbers.
    unsafe { libc::mallopt(libc::M_TOP_PAD, MORE) };
}

#[cfg(not(target_env = "gnu"))]
fn trim_heap() {}

/// Nothing uses what lies below the stack pointer; of the pages below this frame nothing is read before it is written.
#[inline(never)]
fn drop_stack_below(page: usize) {
    let here = 0_u8;
    // This frame, the one call that it makes, and the 128 bytes below a stack pointer that are in use (the red zone)
    // take less.
    let end = std::ptr::from_ref(&here).addr().saturating_sub(1024) & !(page - 1);
    dont_need(end.saturating_sub(STACK), STACK);
}

/// The program's code and its constants. They are never written to, so that the file has the same bytes.
fn drop_program(page: usize) {
    let headers = program_headers();
    let loaded = headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
    // The headers are in the first page of the file. Where that is, against where the linker put it, is how far the
    // program was moved.
    let Some(first) = loaded.clone().find(|header| header.p_offset == 0) else { return };
    let moved = (headers.as_ptr().addr() & !(page - 1)).wrapping_sub(first.p_vaddr as usize);
    for header in loaded.filter(|header| header.p_flags & libc::PF_W == 0) {
        let begin = moved.wrapping_add(header.p_vaddr as usize);
        let end = begin.saturating_add(header.p_memsz as usize);
        let begin = begin & !(page - 1);
        dont_need(begin, end.saturating_sub(begin));
    }
}

/// The program headers that the kernel has loaded us by (elf(5), getauxval(3)).
fn program_headers() -> &'static [libc::Elf64_Phdr] {
    // SAFETY: the call takes a plain number.
    let address = unsafe { libc::getauxval(libc::AT_PHDR) } as usize;
    // SAFETY: as above.
    let number = unsafe { libc::getauxval(libc::AT_PHNUM) } as usize;
    let headers: *const libc::Elf64_Phdr = std::ptr::with_exposed_provenance(address);
    if headers.is_null() {
        return &[];
    }
    // SAFETY: the kernel tells where it has put so many headers, which stay there unchanged for the program's life.
    unsafe { std::slice::from_raw_parts(headers, number) }
}

fn page_size() -> usize {
    // SAFETY: the call takes a plain number.
    let size = unsafe { libc::getauxval(libc::AT_PAGESZ) } as usize;
    if size.is_power_of_two() { size } else { 4096 }
}

/// Has the kernel forget these pages (madvise(2), `MADV_DONTNEED`): of a file's they come back from it, others as
/// zeroes. What is not mapped within them is passed over.
fn dont_need(begin: usize, length: usize) {
    let begin: *mut c_void = std::ptr::without_provenance_mut(begin);
    // SAFETY: the callers pass ranges of which nothing is read again but what the file or the next write puts there.
    unsafe { libc::madvise(begin, length, libc::MADV_DONTNEED) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_stays() {
        let words: Vec<String> = (0..1000).map(|number| format!("number {number}")).collect();
        // A deep stack, so that there is something to give back.
        let sum = deep(1000);
        give_back();
        assert_eq!(deep(1000), sum);
        assert!((0..1000).zip(&words).all(|(number, word)| *word == format!("number {number}")));
    }

    #[test]
    fn the_program_is_found() {
        let found = |flag| program_headers().iter().any(|header| header.p_flags & flag != 0);
        assert!(found(libc::PF_X) && found(libc::PF_W));
    }

    fn deep(depth: u64) -> u64 {
        let here = std::hint::black_box([depth; 16]);
        if depth == 0 { 0 } else { here[7] + deep(depth - 1) }
    }
}
